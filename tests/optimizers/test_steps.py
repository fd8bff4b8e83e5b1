"""Steps that are bounded or scaled, per system."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ase import Atoms
from ase.optimize import LBFGS

from helpers import DTYPES, assert_same_bits
from kups_relax import optimizers as ko
from kups_relax.data import Index
from kups_relax.errors import OptionError

# Norms of three squares are added in another order than NumPy's: some units in the last place.
LAST_PLACES = {"float64": 1e-15, "float32": 5e-7}


def apply(transform, updates, index_prefix=None):
    state = transform.init(updates, index_prefix)
    got, after = transform.update(updates, state, updates)
    assert_same_bits(after, state)
    return got


def longest_row(x):
    return np.sqrt((np.asarray(x, float) ** 2).sum(axis=-1)).max()


@pytest.mark.parametrize("scale", [1e-3, 0.19, 0.21, 50.0])
def test_bounded_steps_are_those_of_ase(scale):
    step = np.random.default_rng(0).normal(size=(7, 3))
    step *= scale / longest_row(step)
    ase = LBFGS(Atoms("Ar7"), maxstep=0.2, logfile=io.StringIO())
    with jax.enable_x64(True):
        got = apply(ko.MaxStepSize(0.2), jnp.asarray(step))
    expected = ase.determine_step(step.copy().ravel()).reshape(7, 3)
    np.testing.assert_allclose(got, expected, rtol=LAST_PLACES["float64"], atol=0)
    if scale < 0.2:
        assert_same_bits(got, step)


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_system_is_bounded_by_its_own_longest_row_over_all_leaves(dtype):
    owner = np.array([0, 1, 2, 1, 0, 2, 2])
    random = np.random.default_rng(1)
    updates = {
        "atoms": random.normal(size=(7, 3)).astype(dtype) * np.array([[0.01], [9], [0.1]])[owner],
        "cell": np.array([[0.001, 0], [0, 0.1], [3.0, 4.0]]),
    }
    updates = {k: v.astype(dtype) for k, v in updates.items()}
    prefix = {"atoms": Index.integer(owner, n=3), "cell": Index.arange(3)}
    with jax.enable_x64(dtype == "float64"):
        got = apply(ko.MaxStepSize(0.2), updates, prefix)
        for system in range(3):
            mine = {
                "atoms": updates["atoms"][owner == system],
                "cell": updates["cell"][system : system + 1],
            }
            longest = max(longest_row(x) for x in mine.values())
            factor = min(1.0, 0.2 / longest)
            for k, x in mine.items():
                own = got[k][owner == system] if k == "atoms" else got[k][system : system + 1]
                assert own.dtype == dtype
                np.testing.assert_allclose(own, factor * x, rtol=LAST_PLACES[dtype], atol=0)
            alone = apply(ko.MaxStepSize(0.2), mine)
            assert_same_bits(got["atoms"][owner == system], alone["atoms"])
            assert_same_bits(got["cell"][system : system + 1], alone["cell"])
    # The second system's atoms, and the third one's cell, are what bounds them.
    assert abs(longest_row(got["cell"][2]) - 0.2) < 1e-6


@pytest.mark.parametrize("transform", [ko.MaxStepSize(0.2), ko.ClipByGlobalNorm(0.2)])
def test_zero_and_padding_stay_zero(transform):
    updates = jnp.array([[0.0, 0.0, 0.0], [3.0, 4.0, 0.0], [7.0, 7.0, 7.0]])
    got = apply(transform, updates, Index.integer([0, 1, 2], n=2))
    np.testing.assert_allclose(got, [[0, 0, 0], [0.12, 0.16, 0], [0, 0, 0]], rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("max_norm", [0.1, 3.0, 100.0])
def test_norms_are_clipped_as_by_optax(max_norm, dtype):
    random = np.random.default_rng(2)
    updates = {"a": random.normal(size=(5, 3)).astype(dtype), "b": np.asarray(0.5, dtype)}
    with jax.enable_x64(dtype == "float64"):
        updates = jax.tree.map(jnp.asarray, updates)
        got = apply(ko.ClipByGlobalNorm(max_norm), updates)
        theirs = optax.clip_by_global_norm(max_norm)
        expected, _ = theirs.update(updates, theirs.init(updates))
    for k in updates:
        assert got[k].dtype == dtype
        # Optax multiplies and divides in the other order.
        np.testing.assert_allclose(got[k], expected[k], rtol=4 * LAST_PLACES[dtype])


def test_each_system_is_clipped_by_its_own_norm():
    random = np.random.default_rng(3)
    owner = np.array([0, 1, 0, 1, 1])
    updates = random.normal(size=(5, 3)) * np.array([[0.001], [5.0]])[owner]
    with jax.enable_x64(True):
        got = np.asarray(apply(ko.ClipByGlobalNorm(0.5), updates, Index.integer(owner)))
    assert_same_bits(got[owner == 0], updates[owner == 0])
    assert abs(np.linalg.norm(got[owner == 1]) - 0.5) < 1e-15


@pytest.mark.parametrize("transform", [ko.MaxStepSize(0.2), ko.ClipByGlobalNorm(1.5)])
def test_lanes_are_bounded_as_the_same_systems_in_rows(transform):
    random = np.random.default_rng(4)
    steps = random.normal(size=(4, 6, 3)) * np.array([0.01, 0.3, 1.0, 9.0])[:, None, None]
    with jax.enable_x64(True):
        in_rows = apply(
            transform, jnp.asarray(steps.reshape(24, 3)), Index.integer(np.repeat(range(4), 6))
        )
        in_lanes = apply(transform, jnp.asarray(steps.transpose(2, 1, 0)), ko.Lanes(n=4))
    np.testing.assert_allclose(
        np.asarray(in_lanes).transpose(2, 1, 0).reshape(24, 3), in_rows, rtol=1e-14
    )


def test_scale_multiplies_every_leaf_in_its_dtype():
    updates = {"a": jnp.ones(3, jnp.float16), "b": jnp.float32(0.1)}
    got = apply(ko.Scale(-0.5), updates)
    expected = {"a": np.full(3, -0.5, np.float16), "b": np.float32(0.1) * np.float32(-0.5)}
    assert_same_bits(got, expected)


@pytest.mark.parametrize("make", [ko.MaxStepSize, ko.ClipByGlobalNorm])
@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_bounds_that_are_not_positive_are_refused(make, value):
    with pytest.raises(OptionError, match="must be a number greater than 0"):
        make(value)
