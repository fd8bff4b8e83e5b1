import jax
import pytest

import kups_relax as kr
from helpers import argon, argon_clusters
from kups_relax import _platform
from kups_relax.testing import count_programs


def relax():
    return kr.relax(argon_clusters([3, 12, 5, 30]), argon(), max_steps=20, n_workers=1)


def test_programs_are_given_up_before_there_are_too_many(monkeypatch):
    want = relax().fingerprint
    with count_programs() as programs:
        assert (relax().fingerprint == want).all()
    assert programs.n_traced("_advance") == 0

    # As if each program were one too many.
    monkeypatch.setattr(_platform, "FULL", 0.0)
    monkeypatch.setattr(_platform, "_known", set())
    with count_programs() as programs:
        assert (relax().fingerprint == want).all()
    assert programs.n_traced("_advance") > 0


def test_programs_take_memory_maps():
    used, allowed = _platform.n_maps()
    if not used:
        pytest.skip("this system does not say how many memory maps a process has")
    assert 0 < used < allowed
    potential = kr.potentials.LennardJones(epsilon=0.0101, sigma=3.4)
    kr.relax(argon_clusters([3]), potential, max_steps=2)
    # What the guard is for: if this fails, programs have become cheap, and it can go.
    with_program = _platform.n_maps()[0]
    assert with_program > used + 20
    jax.clear_caches()
    assert _platform.n_maps()[0] < with_program
