import dataclasses

import numpy as np
import pytest
from ase import Atoms

import kups_relax as kr
from helpers import argon, argon_clusters
from kups_relax import optimizers as ko
from kups_relax.errors import CapacityError
from kups_relax.potentials import MMFF94, LennardJones, Morse
from kups_relax.potentials._pair_potential import NeighborPairs
from kups_relax.relaxation import Program, SizeClass, _memory, fitted, size_class
from kups_relax.relaxation._tiles import Tile, abstract_terms, tile_shapes

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
    assert "all pairs of its 150 atoms, which need 0.00143 GiB" in result.reason[1]
    assert "Give it a cutoff, LennardJones(..., cutoff=...)" in result.reason[1]


def test_a_history_that_does_not_fit_is_refused_with_its_size(monkeypatch):
    monkeypatch.setattr(_memory, "memory", lambda: 1 << 20)
    size = size_class(argon(), 150, {})
    with pytest.raises(CapacityError, match=r"history; .* GiB .*Give the optimizer a shorter"):
        fitted(program(200), size, F64, 1)


def test_arrays_whose_rows_the_device_cannot_number_are_refused(monkeypatch):
    monkeypatch.setattr(_memory, "memory", lambda: 1 << 60)
    size = SizeClass(1 << 24, 1, (("images", 32), ("neighbors", 256)))
    with pytest.raises(CapacityError, match="an array of 4294967296 entries"):
        fitted(Program(NeighborPairs(LennardJones(cutoff=3.0)), ko.get("lbfgs")), size, F64, 1)


@pytest.mark.parametrize("potential", [LennardJones(), Morse(), MMFF94()])
def test_matrices_of_all_pairs_are_refused_before_they_are_made(potential, monkeypatch):
    def prepare(self, structure):
        raise AssertionError("memory was asked for")

    monkeypatch.setattr(type(potential), "prepare", prepare)
    [entry] = kr.io.structures_from(Atoms("Ar2", [[0, 0, 0], [0, 0, 4.0]], info={"id": "dust"}))
    n = 1_000_000
    large = dataclasses.replace(entry, numbers=np.full(n, 18, np.int32), positions=np.zeros((n, 3)))
    with pytest.raises(CapacityError, match=r"'dust': .* all pairs of its 1000000 atoms.*GiB"):
        _memory.prepare(potential, large, F64, 2)


def test_what_a_tile_needs_is_told_without_taking_it():
    form, size = (
        NeighborPairs(LennardJones(cutoff=8.5)),
        SizeClass(96, 2, (("images", 32), ("neighbors", 128))),
    )
    tile = Tile(form, size, F64)
    names = ["positions", "reference", *(f"terms.{name}" for name in form.fields())]
    held = [(tile.arrays()[name].shape, tile.arrays()[name].dtype) for name in names]
    assert held == tile_shapes(form, size, F64)
    terms = abstract_terms(form, size, F64)
    for name, array in tile.terms().arrays.items():
        assert array.shape == terms[name].shape
    assert terms.counts.keys() == tile.terms().counts.keys()


def test_the_machine_says_how_much_there_is():
    assert _memory.memory() > 1 << 28
