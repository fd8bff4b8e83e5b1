import numpy as np
import pytest

import kups_relax as kr
from helpers import argon, argon_clusters
from kups_relax import optimizers as ko
from kups_relax.relaxation import Program, _memory, fitted, size_class

F64 = np.dtype("float64")


@pytest.fixture(autouse=True)
def anew():
    fitted.cache_clear()
    yield
    fitted.cache_clear()


def program(memory_size=20):
    optimizer = ko.chain(ko.ScaleByAseLbfgs(memory_size=memory_size), ko.Scale(-1.0))
    return Program(argon(), optimizer)


def test_a_class_that_fits_keeps_its_lanes():
    size = size_class(argon(), 8, {})
    assert fitted(program(), size, F64, 2) == size


def test_lanes_are_halved_until_all_tiles_fit(monkeypatch):
    size = size_class(argon(), 8, {})
    needed = _memory.tile_bytes(program(), size, F64)
    monkeypatch.setattr(_memory, "memory", lambda: needed / _memory.SHARE)
    assert fitted(program(), size, F64, 1) == size
    assert fitted(program(), size, F64, 2).n_lanes == size.n_lanes // 2
    assert fitted(program(), size, F64, 3).n_lanes == size.n_lanes // 4


def test_what_a_tile_needs_grows_with_what_it_holds():
    size = size_class(argon(), 100, {})
    small = _memory.tile_bytes(program(), size, F64)
    assert _memory.tile_bytes(program(200), size, F64) > 3 * small
    assert _memory.tile_bytes(program(), size, np.dtype("float32")) < 0.6 * small
    # Two histories of 20 are most of it.
    assert small > 2 * 20 * size.n_atoms * size.n_lanes * 3 * 8


def test_a_structure_that_does_not_fit_fails_alone(monkeypatch):
    [small, large] = argon_clusters([3, 150])
    needed = _memory.tile_bytes(program(), size_class(argon(), 150, {}), F64)
    monkeypatch.setattr(_memory, "memory", lambda: needed)
    result = kr.relax([small, large], argon(), max_steps=5, n_workers=1)
    assert result.status[0] != "failed"
    assert result.status[1] == "failed"
    assert "GiB" in result.reason[1]
    assert "shorter memory" in result.reason[1]


def test_the_machine_says_how_much_there_is():
    assert _memory.memory() > 1 << 28
