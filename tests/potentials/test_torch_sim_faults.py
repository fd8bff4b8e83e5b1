"""What TorchSim models do wrong, and what they cannot be asked for, costs one structure alone."""

import numpy as np
import pytest
from ase.build import fcc111, molecule
from torch_sim_models import (
    BATCHING,
    MODEL,
    POTENTIALS,
    Images,
    asked,
    giving_columns,
    giving_nan,
    giving_nothing,
    raising,
    sheared,
    single_points,
    small,
    with_xenon,
    without,
    writing,
)

import kups_relax as kr
from helpers import argon_clusters, assert_same_result
from kups_relax.errors import OptionError, PotentialError
from kups_relax.potentials import TorchSim


@pytest.fixture
def spoilt(monkeypatch):
    """Give the common model a fault."""
    return lambda fault: monkeypatch.setattr(MODEL, "spoil", fault)


def test_axes_that_this_version_cannot_tell_apart_are_refused(monkeypatch):
    monkeypatch.setattr("kups_relax.potentials._torch_sim._abilities", lambda: (False, False))
    slab = fcc111("Ar", (2, 2, 3), a=5.3, vacuum=8.0)
    slab.info["id"] = "a slab"
    with pytest.raises(PotentialError, match=r"'a slab': pbc is .*all or none"):
        single_points(POTENTIALS["one-by-one"], [slab])


def test_charges_that_this_version_cannot_tell_are_refused(monkeypatch):
    monkeypatch.setattr("kups_relax.potentials._torch_sim._abilities", lambda: (True, False))
    ion = molecule("OH")
    ion.info.update(id="hydroxide", charge=-1)
    with pytest.raises(PotentialError, match=r"'hydroxide'.*charge -1"):
        single_points(POTENTIALS["one-by-one"], [ion])


def test_a_spin_that_is_no_number_fails_its_structure_alone():
    batch = argon_clusters([3, 4])
    batch[0].info.update(id="a triplet", spin="high")
    result = kr.relax(batch, POTENTIALS["one-by-one"], max_steps=3)
    assert result.status[0] == "failed"
    assert result.status[1] != "failed"
    assert result.reason[0].startswith("spin is 'high'; it must be a number.")


@pytest.mark.parametrize("batching", BATCHING)
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (raising, "Images raised RuntimeError: no xenon, please"),
        (giving_columns, "Images returned energy of shape (1, 1); expected (1,)"),
        (without("energy"), "Images returned no energy; expected (1,)"),
        (without("forces"), "Images returned no forces; expected (6, 3)"),
        (giving_nothing, "Images returned no energy; expected (1,)"),
    ],
    ids=["raises", "wrong shape", "no energy", "no forces", "nothing"],
)
def test_a_structure_that_the_model_fails_for_fails_alone(spoilt, fault, reason, batching):
    sound = kr.relax(with_xenon(), POTENTIALS[batching], max_steps=5)
    spoilt(fault)
    result = kr.relax(with_xenon(), POTENTIALS[batching], max_steps=5)
    assert result.status[1] == "failed"
    assert reason in result.reason[1]
    for i in (0, 2, 3):
        assert_same_result(result, i, sound, i)


@pytest.mark.parametrize("batching", BATCHING)
def test_nan_ends_its_structure_alone(spoilt, batching):
    sound = kr.relax(with_xenon(), POTENTIALS[batching], max_steps=5)
    spoilt(giving_nan)
    result = kr.relax(with_xenon(), POTENTIALS[batching], max_steps=5)
    assert result.status[1] == "non_finite"
    for i in (0, 2, 3):
        assert_same_result(result, i, sound, i)


@pytest.mark.usefixtures("x64")
def test_nan_together_and_a_fault_alone_leave_no_nan_behind(spoilt):
    def fault(state, out):
        return giving_nan(state, out) if state.n_systems > 1 else raising(state, out)

    spoilt(fault)
    out, failed = POTENTIALS["together"].session().evaluate(asked(with_xenon()))
    assert list(failed) == [1]
    assert np.isfinite(out.energy).all()
    assert np.isfinite(out.forces).all()


def test_a_model_that_raises_is_named_with_its_structure_in_single_points(spoilt):
    spoilt(raising)
    with pytest.raises(PotentialError, match="'the culprit': Images raised RuntimeError"):
        single_points(POTENTIALS["one-by-one"], with_xenon())


@pytest.mark.parametrize("batching", BATCHING)
def test_models_may_write_into_the_state(spoilt, batching):
    expected = kr.relax(small(), POTENTIALS[batching], max_steps=4)
    spoilt(writing)
    got = kr.relax(small(), POTENTIALS[batching], max_steps=4)
    for i in range(len(small())):
        assert_same_result(got, i, expected, i)


def test_a_model_without_stress_relaxes_crystals_without():
    result = kr.relax([sheared()], TorchSim(Images(stress=False)), max_steps=3)
    assert result.n_steps.tolist() == [3]
    assert "stress" not in result.atoms[0].calc.results
    [point] = single_points(TorchSim(Images(stress=False)), [sheared()])
    assert point.stress is None


def test_a_stress_that_was_promised_and_is_missing_fails_its_structure(spoilt):
    spoilt(without("stress"))
    batch = [sheared(0), sheared(1)]
    batch[1].numbers[0] = 54
    result = kr.relax(batch, POTENTIALS["one-by-one"], max_steps=3)
    assert result.status.tolist() == ["max_steps", "failed"]
    assert "no stress; expected (1, 3, 3)" in result.reason[1]


def test_a_model_without_forces_is_refused():
    with pytest.raises(OptionError, match=r"Images computes no forces.*compute_forces=True"):
        TorchSim(Images(forces=False))


def test_what_is_no_model_is_refused():
    with pytest.raises(OptionError, match="'mace', which is no TorchSim model"):
        TorchSim("mace")
    with pytest.raises(OptionError, match="batching is 'all'"):
        TorchSim(Images(), batching="all")  # pyright: ignore[reportArgumentType]
