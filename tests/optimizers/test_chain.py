"""Chains of our transforms and optax's, with a state for each lane."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from helpers import DTYPES, assert_same_bits
from kups_relax import optimizers as ko
from kups_relax.data import Index
from kups_relax.errors import OptionError
from kups_relax.ops import product

OPTIMIZERS = {
    "lbfgs": ko.lbfgs(),
    "ase-lbfgs": ko.ase_lbfgs(),
    "adam": optax.adam(0.05),
    "ours and optax's": ko.chain(ko.ClipByGlobalNorm(2.0), optax.adam(0.1), ko.MaxStepSize(0.2)),
    "optax and ours": ko.chain(optax.clip(1.0), ko.ScaleByAseLbfgs(), optax.scale(-1.0)),
    "norm of optax's": optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.1, momentum=0.9)),
    "schedule": optax.sgd(optax.exponential_decay(0.1, 5, 0.5)),
}


def lanes_of(dtype, n_lanes=8, n_rows=5, seed=0):
    """(3, n_rows, n_lanes) positions, and a stiffness for each coordinate."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(3, n_rows, n_lanes)).astype(dtype)
    return x, random.uniform(0.5, 30, size=x.shape).astype(dtype)


@functools.cache
def step_of(optimizer):
    @jax.jit
    def step(x, state, stiffness):
        updates, state = optimizer.update(product(stiffness, x), state, x)
        return ko.apply_updates(x, updates), state

    return step


def run(optimizer, x, stiffness, n_updates, state=None):
    """Go down a quadratic well in every lane."""
    x, stiffness = jnp.asarray(x), jnp.asarray(stiffness)
    if state is None:
        state = optimizer.init(x, ko.Lanes(n=x.shape[-1]))
    for _ in range(n_updates):
        x, state = step_of(optimizer)(x, state, stiffness)
    return x, state


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_lane_gets_the_bits_of_any_other_company(name, dtype):
    optimizer = ko.get(OPTIMIZERS[name])
    x, stiffness = lanes_of(dtype)
    order = np.random.default_rng(1).permutation(8)
    others, other_stiffness = lanes_of(dtype, seed=2)
    others[..., 3], other_stiffness[..., 3] = x[..., 0], stiffness[..., 0]
    with jax.enable_x64(dtype == "float64"):
        expected, _ = run(optimizer, x, stiffness, 12)
        shuffled, _ = run(optimizer, x[..., order], stiffness[..., order], 12)
        moved, _ = run(optimizer, others, other_stiffness, 12)
    assert expected.dtype == dtype
    assert_same_bits(shuffled, np.asarray(expected)[..., order])
    assert_same_bits(moved[..., 3], expected[..., 0])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_reset_makes_lanes_new_and_leaves_the_others_their_bits(name):
    optimizer = ko.get(OPTIMIZERS[name])
    x, stiffness = lanes_of("float32")
    new_x, new_stiffness = lanes_of("float32", seed=3)
    fresh = np.array([False, True, False, False, True, True, False, False])
    old, state = run(optimizer, x, stiffness, 7)
    mixed = jnp.where(fresh, new_x, old)
    state = jax.jit(optimizer.reset)(state, fresh, mixed)
    got, _ = run(optimizer, mixed, np.where(fresh, new_stiffness, stiffness), 9, state)
    undisturbed, _ = run(optimizer, x, stiffness, 16)
    new, _ = run(optimizer, new_x, new_stiffness, 9)
    assert_same_bits(got, jnp.where(fresh, new, undisturbed))


def test_a_reset_of_no_lane_changes_no_bit():
    for name in ("lbfgs", "adam"):
        optimizer = ko.get(OPTIMIZERS[name])
        x, stiffness = lanes_of("float32")
        x, state = run(optimizer, x, stiffness, 3)
        assert_same_bits(optimizer.reset(state, jnp.zeros(8, bool), x), state)


@pytest.mark.parametrize("name", ["adam", "norm of optax's", "schedule"])
def test_a_lane_follows_optax_on_the_lane_alone(name):
    """Counters, moments and norms are those of one lane; the numbers differ by rounding alone."""
    transformation = OPTIMIZERS[name]
    with jax.enable_x64(True):
        x, stiffness = lanes_of("float64")
        got, _ = run(ko.get(transformation), x, stiffness, 10)
        for lane in range(8):
            alone, k = jnp.asarray(x[..., lane]), stiffness[..., lane]
            state = transformation.init(alone)
            for _ in range(10):
                updates, state = transformation.update(k * alone, state, alone)
                alone = optax.apply_updates(alone, updates)
            np.testing.assert_allclose(got[..., lane], alone, rtol=1e-12, atol=1e-14)


def test_with_an_index_an_optax_transform_sees_the_flat_tree():
    x = {"a": jnp.arange(6.0).reshape(2, 3), "b": jnp.ones(2)}
    ours, theirs = ko.chain(optax.adam(0.1)), optax.adam(0.1)
    got, _ = ours.update(x, ours.init(x, Index.arange(2)), x)
    expected, _ = theirs.update(x, theirs.init(x), x)
    for k in x:
        # Correctly rounded and not contracted: the last place differs.
        np.testing.assert_allclose(got[k], expected[k], rtol=1e-6)


def test_a_chain_runs_in_order_and_nests():
    x = jnp.array([[3.0, 4.0]])
    double, bound = ko.Scale(2.0), ko.MaxStepSize(1.0)
    for chained, expected in [
        (ko.chain(double, bound), [[0.6, 0.8]]),
        (ko.chain(bound, double), [[1.2, 1.6]]),
        (ko.chain(ko.chain(bound), ko.chain(double, double)), [[2.4, 3.2]]),
    ]:
        got, state = chained.update(x, chained.init(x), x)
        np.testing.assert_allclose(got, expected, rtol=1e-6)
        assert len(state) == len(chained.transforms)


def test_optimizers_are_values():
    """Equal options are the same program: nothing is compiled twice."""
    assert ko.lbfgs() == ko.lbfgs()
    assert hash(ko.lbfgs()) == hash(ko.lbfgs())
    assert ko.lbfgs() != ko.ase_lbfgs()
    assert ko.MaxStepSize(0.1) != ko.MaxStepSize(0.2)


def test_applied_updates_keep_the_dtype_of_each_leaf():
    params = {"a": jnp.ones(2, jnp.float32), "b": jnp.ones((), jnp.float16)}
    with jax.enable_x64(True):
        got = ko.apply_updates(params, {"a": jnp.full(2, 0.1), "b": jnp.array(0.5)})
    assert got["a"].dtype == np.float32
    assert_same_bits(got["b"], np.float16(1.5))


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (
            lambda: ko.get("l-bfgs"),
            "no optimizer 'l-bfgs'; expected one of lbfgs, ",
        ),
        (lambda: ko.get(3), "3 is no optimizer; expected a transform"),
        (lambda: ko.get(None), "None is no optimizer"),
        (lambda: ko.get(ko.lbfgs), "is no optimizer"),
        (lambda: ko.chain(), "got no transforms"),
        (lambda: ko.chain(ko.Scale(1.0), "lbfgs"), "'lbfgs' is no optimizer"),
    ],
)
def test_what_is_no_optimizer_is_refused(misuse, message):
    with pytest.raises(OptionError, match=message):
        misuse()


def test_names_stand_for_chains():
    assert ko.get("lbfgs") == ko.lbfgs()
    assert ko.get("ase-lbfgs") == ko.chain(
        ko.ScaleByAseLbfgs(memory_size=100, alpha=70.0), ko.MaxStepSize(0.2), ko.Scale(-1.0)
    )
    assert {"lbfgs", "lbfgs-zoom", "ase-lbfgs", "fire", "adam"} <= set(ko.NAMED)
