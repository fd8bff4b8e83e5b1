"""The history that L-BFGS keeps, whose it is, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lbfgs_walks import cubic, run, walk

from helpers import DTYPES, Traced, assert_same_bits
from kups_relax import optimizers as ko
from kups_relax.data import Index
from kups_relax.errors import KeyMismatchError, OptionError
from kups_relax.ops import product

# State


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_new_state_holds_an_empty_history(dtype):
    params = {"a": np.ones((4, 3), dtype), "b": (np.ones(2, dtype), np.ones((4, 2, 5), dtype))}
    index = {
        "a": Index.new(["x", "y", "x", "z"]),
        "b": (Index.new(["z", "y"], keys=["x", "y", "z"]), Index.new(["x", "y", "z", "z"])),
    }
    with jax.enable_x64(dtype == "float64"):
        state = ko.ScaleByAseLbfgs(memory_size=7).init(params, index)
    assert state.count.shape == ()
    assert state.count.dtype == np.int32
    assert int(state.count) == 0
    assert_same_bits(state.params, params)
    assert_same_bits(state.updates, jax.tree.map(np.zeros_like, params))
    memory = jax.tree.map(lambda p: np.zeros((7, *p.shape), dtype), params)
    assert_same_bits(state.diff_params_memory, memory)
    assert_same_bits(state.diff_updates_memory, memory)
    assert list(state.weights_memory.keys) == ["x", "y", "z"]
    assert_same_bits(state.weights_memory.data, np.zeros((3, 7), dtype))
    assert state.index_prefix is index


def test_without_a_prefix_there_is_one_system():
    state = ko.ScaleByAseLbfgs(memory_size=2).init({"a": jnp.ones(3), "b": jnp.float32(2.0)})
    assert state.index_prefix is None
    assert list(state.weights_memory.keys) == [0]
    assert state.weights_memory.data.shape == (1, 2)
    assert state.diff_params_memory["b"].shape == (2,)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_is_stored_at_the_first_update_and_the_direction_is_gradient_over_alpha(dtype):
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(dtype)
    with jax.enable_x64(dtype == "float64"):
        optimizer = ko.ScaleByAseLbfgs(memory_size=3, alpha=8.0)
        [(_, g, direction, state)] = walk(optimizer, cubic, x, 1)
    assert int(state.count) == 1
    assert_same_bits(direction, g / np.asarray(8, dtype))
    assert_same_bits(state.params, x)
    assert_same_bits(state.updates, g)
    for memory in (state.diff_params_memory, state.diff_updates_memory):
        assert_same_bits(memory, np.zeros((3, 4, 3), dtype))
    assert_same_bits(state.weights_memory.data, np.zeros((1, 3), dtype))


def test_pair_k_is_in_slot_k_minus_1_modulo_the_memory_size():
    with jax.enable_x64(True):
        x = np.random.default_rng(0).normal(size=(4, 3))
        seen = list(walk(ko.ScaleByAseLbfgs(memory_size=3), cubic, x, 9))
        for k, (x, g, _, state) in enumerate(seen):
            assert int(state.count) == k + 1
            for pair in range(max(1, k - 2), k + 1):
                slot = (pair - 1) % 3
                s, y = seen[pair][0] - seen[pair - 1][0], seen[pair][1] - seen[pair - 1][1]
                assert_same_bits(state.diff_params_memory[slot], s)
                assert_same_bits(state.diff_updates_memory[slot], y)
                # One sum of 12 products, in another order.
                weight = state.weights_memory.data[0, slot]
                np.testing.assert_allclose(weight, 1 / np.sum(y * s), rtol=1e-14)
            assert_same_bits(state.params, x)
            assert_same_bits(state.updates, g)


def test_a_pair_without_curvature_has_weight_0_in_its_system_alone():
    index = Index.integer([0, 0, 1], n=2)
    x = jnp.array([1.0, 2.0, 3.0])
    optimizer = ko.ScaleByAseLbfgs(memory_size=2)
    state = optimizer.init(x, index)
    _, state = optimizer.update(jnp.array([1.0, 1.0, 1.0]), state, x)
    # System 0 moves at right angles to the change of its gradient, system 1 does not.
    got, state = optimizer.update(jnp.array([2.0, 0.0, 2.0]), state, x + 0.5)
    assert state.weights_memory.data.tolist() == [[0.0, 0.0], [2.0, 0.0]]
    assert_same_bits(got[:2], np.float32([2, 0]) * np.float32(1 / 70))
    # An unmoved system has no pair either, and its direction is that of the older ones.
    got, state = optimizer.update(jnp.array([2.0, 0.0, 2.0]), state, x + 0.5)
    assert state.weights_memory.data.tolist() == [[0.0, 0.0], [2.0, 0.0]]
    assert np.isfinite(got).all()


def test_state_passes_through_jit_scan_and_eval_shape():
    optimizer = ko.lbfgs()
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)
    index = Index.integer([0, 1, 1, 0], n=2)
    state = optimizer.init(x, index)
    abstract = jax.eval_shape(lambda x: optimizer.init(x, index), x)
    assert jax.tree.structure(abstract) == jax.tree.structure(state)
    for a, b in zip(jax.tree.leaves(abstract), jax.tree.leaves(state), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)

    def step(carry, _):
        x, state = carry
        updates, state = optimizer.update(product(x, jnp.full_like(x, 3)), state, x)
        return (ko.apply_updates(x, updates), state), jnp.max(jnp.abs(x))

    (scanned, last), _ = jax.jit(lambda c: jax.lax.scan(step, c, length=6))((x, state))
    for _ in range(6):
        (x, state), _ = step((x, state), None)
    assert_same_bits(scanned, x)
    assert_same_bits(last, state)
    assert jax.tree.structure(last) == jax.tree.structure(state)


# Prefixes


def test_one_index_serves_all_leaves_below_it():
    random = np.random.default_rng(1)
    params = {
        "atoms": {"x": random.normal(size=(9, 3)), "q": (random.normal(size=9),)},
        "cell": random.normal(size=(2, 3, 3)),
    }
    owner = Index.integer([0, 1, 0, 0, 1, 1, 0, 1, 0], n=2)
    shared = {"atoms": owner, "cell": Index.arange(2)}
    spelled_out = {"atoms": {"x": owner, "q": (owner,)}, "cell": Index.arange(2)}

    def of(system, tree):
        mine = np.asarray(owner.indices) == system
        atoms = jax.tree.map(lambda x: x[mine], tree["atoms"])
        return {"atoms": atoms, "cell": tree["cell"][system : system + 1]}

    optimizer = ko.ScaleByAseLbfgs(memory_size=3, alpha=10.0)
    with jax.enable_x64(True):
        x, _, _ = run(optimizer, cubic, params, shared)
        assert_same_bits(run(optimizer, cubic, params, spelled_out)[0], x)
        for system in range(2):
            assert_same_bits(run(optimizer, cubic, of(system, params))[0], of(system, x))


def test_labels_are_of_any_kind_and_their_order_does_not_matter():
    x = np.random.default_rng(2).normal(size=(5, 3))
    with jax.enable_x64(True):
        numbered = run(ko.lbfgs(), cubic, x, Index.integer([0, 1, 0, 1, 1]))[0]
        labelled = run(ko.lbfgs(), cubic, x, Index.new([("z", 7), ("a", 9)] * 2 + [("a", 9)]))[0]
    assert_same_bits(labelled, numbered)


@pytest.mark.parametrize("junk", [0.0, 1e30, np.nan, np.inf])
def test_rows_that_belong_to_nothing_change_nothing_and_do_not_move(junk):
    x = np.random.default_rng(3).normal(size=(5, 3))
    padded = np.concatenate([x[:2], np.ones((2, 3)), x[2:]])

    def gradient(x):
        g = cubic(x)
        if len(x) == 7:
            g[2:4] = junk
        return g

    with jax.enable_x64(True):
        alone = run(ko.lbfgs(), gradient, x, Index.integer([0, 1, 0, 1, 1], n=2))
        got = run(ko.lbfgs(), gradient, padded, Index.integer([0, 1, 2, 2, 0, 1, 1], n=2))
    assert_same_bits(np.delete(got[0], [2, 3], axis=0), alone[0])
    if np.isfinite(junk):
        assert_same_bits(got[0][2:4], padded[2:4])


def test_a_key_without_rows_is_a_system_that_does_nothing():
    x = np.random.default_rng(3).normal(size=(4, 3))
    with jax.enable_x64(True):
        got, _, state = run(ko.lbfgs(), cubic, x, Index.integer([0, 2, 2, 0], n=3))
        full, _, _ = run(ko.lbfgs(), cubic, x, Index.integer([0, 1, 1, 0], n=2))
    assert_same_bits(got, full)
    assert not np.asarray(state[0].weights_memory.data[1]).any()


def test_labels_cost_a_trace_and_anonymous_ones_do_not():
    optimizer = ko.ScaleByAseLbfgs(memory_size=2)
    x = jnp.ones((3, 3))

    def traces_of(prefixes):
        traced = Traced(optimizer.update)
        for prefix in prefixes:
            traced(x, optimizer.init(x, prefix), x)
        return traced.n_traces

    labelled = [Index.new([a, "m", a]) for a in "abb"]
    assert traces_of(labelled) == 2
    assert traces_of([index.anonymous() for index in labelled]) == 1
    # Which rows belong together is data.
    assert traces_of([Index.integer([0, 1, 1]), Index.integer([1, 0, 1])]) == 1
    assert traces_of([None, None]) == 1


# Misuse


@pytest.mark.parametrize("make", [ko.ScaleByAseLbfgs, ko.scale_by_ase_lbfgs])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory_size": 0}, "memory_size is 0"),
        ({"memory_size": -1}, "memory_size is -1"),
        ({"alpha": 0.0}, "alpha is 0.0"),
        ({"alpha": float("nan")}, "alpha is nan"),
    ],
)
def test_options_without_sense_are_refused(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_an_initial_scale_that_does_not_exist_is_refused():
    with pytest.raises(
        OptionError, match="'adaptiv'; it must be 'fixed', 'adaptive' or 'averaged'"
    ):
        ko.ScaleByAseLbfgs(initial_scale="adaptiv")


@pytest.mark.parametrize("optimizer", [ko.ScaleByAseLbfgs(), ko.scale_by_ase_lbfgs(), ko.lbfgs()])
def test_update_without_params_is_refused(optimizer):
    x = jnp.ones(3)
    with pytest.raises(ValueError, match="params=None"):
        optimizer.update(x, optimizer.init(x))
    with pytest.raises(ValueError, match="params=None"):
        optimizer.update(x, optimizer.init(x), None)


PARAMS = {"a": jnp.ones((2, 3)), "b": jnp.ones(2)}


@pytest.mark.parametrize(
    ("prefix", "error", "message"),
    [
        (
            {"a": Index.new(["x", "y"]), "b": Index.new(["x", "z"])},
            KeyMismatchError,
            "different keys",
        ),
        ({"a": Index.arange(2), "b": Index.zeros(2)}, KeyMismatchError, "different keys"),
        ({"a": Index.arange(3), "b": Index.arange(3)}, ValueError, r"shape \(2, 3\).* of 3 rows"),
        ({"a": Index.arange(2), "b": [0, 1]}, ValueError, "leaf of type int; expected Index"),
        ({"a": Index.arange(2)}, ValueError, "b"),
        ({"a": Index.arange(2), "b": Index.arange(2), "c": Index.arange(2)}, ValueError, "c"),
        ("systems", ValueError, "leaf of type str; expected Index"),
    ],
)
def test_prefixes_that_do_not_fit_are_refused(prefix, error, message):
    with pytest.raises(error, match=message):
        ko.ScaleByAseLbfgs().init(PARAMS, prefix)


def test_an_index_over_a_scalar_is_refused():
    with pytest.raises(ValueError, match=r"shape \(\) is indexed by an Index of 1 rows"):
        ko.ScaleByAseLbfgs().init(jnp.array(1.0), Index.zeros(1))
