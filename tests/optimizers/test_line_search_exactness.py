"""Each system of a ragged tree is searched as it would be alone, to the bit, trials and all."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from helpers import DTYPES, assert_same_bits
from kups_relax import optimizers as ko
from kups_relax.data import Index
from kups_relax.errors import OptionError
from support.crossing import first, in_turns

N_UPDATES = 25
# Rows of each system in the leaves "a" and "b"; few distinct sizes, as each compiles a program.
ROWS = {"a": [33, 64, 33, 33], "b": [3, 1, 3, 3]}
N_SYSTEMS = len(ROWS["a"])
OPTIMIZERS = {
    "zoom": ko.lbfgs(memory_size=5, linesearch="zoom", max_step_size=3.0),
    "textbook": ko.lbfgs(memory_size=40, linesearch=ko.ZoomLineSearch(curvature=0.1)),
    "backtracking": ko.lbfgs(
        learning_rate=optax.exponential_decay(3.0, 5, 0.8),
        linesearch="backtracking",
        max_step_size=3.0,
        clip_norm=500.0,
        clip_value=100.0,
    ),
}


def evaluate(x, stiffness):
    """Value of one system, and gradients; wells with bumps, so that some trials are no good."""
    value = sum(
        np.sum(k * x[name] ** 2 / 2 + x[name] ** 4 / 4 + 3 * np.cos(3 * x[name]), dtype="f8")
        for name, k in stiffness.items()
    )
    gradient = {
        name: (k * x[name] + x[name] ** 3 - 9 * np.sin(3 * x[name])).astype(x[name].dtype)
        for name, k in stiffness.items()
    }
    return value, gradient


def systems(dtype):
    """For each system: where it starts, and how stiff it is."""
    random = np.random.default_rng(11)

    def leaf(name, n):
        shape = (n, 3) if name == "a" else (n,)
        start, stiffness = random.normal(size=shape) * 2, random.uniform(0.1, 40, size=shape)
        return start.astype(dtype), stiffness.astype(dtype)

    made = [{name: leaf(name, n[s]) for name, n in ROWS.items()} for s in range(N_SYSTEMS)]
    return [tuple({k: v[i] for k, v in system.items()} for i in (0, 1)) for system in made]


def run(optimizer, update, cases, owner=None):
    """Walk; return the last parameters of each system, its values, and which points it took."""
    systems = range(len(cases))

    def rows(x, s):
        return {k: v[owner[k] == s] if owner else v for k, v in x.items()}

    if owner is None:
        [(x, _)], prefix = cases, None
    else:
        x = {k: np.empty((len(o), *cases[0][0][k].shape[1:]), cases[0][0][k].dtype)
             for k, o in owner.items()}  # fmt: skip
        for s in systems:
            for k, o in owner.items():
                x[k][o == s] = cases[s][0][k]
        prefix = {k: Index.integer(o, n=len(cases)) for k, o in owner.items()}
    state = optimizer.init(jax.tree.map(jnp.asarray, x), prefix)
    values, taken = [], []
    for _ in range(N_UPDATES):
        got = [evaluate(rows(x, s), cases[s][1]) for s in systems]
        gradient = {k: np.empty_like(v) for k, v in x.items()}
        for s in systems:
            for k in x:
                gradient[k][owner[k] == s if owner else slice(None)] = got[s][1][k]
        values.append(np.array([value for value, _ in got]).astype(x["a"].dtype))
        arrays = jax.tree.map(jnp.asarray, (gradient, x))
        updates, state = update(arrays[0], state, arrays[1], value=jnp.asarray(values[-1]))
        taken.append(np.asarray(optimizer.accepted(state)))
        x = jax.tree.map(lambda x, u: x + np.asarray(u), x, updates)
    return [rows(x, s) for s in systems], np.array(values), np.array(taken)


@pytest.mark.parametrize(
    ("name", "dtype"), in_turns(OPTIMIZERS, DTYPES[::-1], leave={"textbook", "backtracking"})
)
def test_a_system_is_searched_in_a_ragged_batch_as_alone(name, dtype):
    optimizer, cases = OPTIMIZERS[name], systems(dtype)
    with jax.enable_x64(dtype == "float64"):
        alone = [run(optimizer, optimizer.update, [case]) for case in cases]
        updates = [optimizer.update]
        if (name, dtype) == ("zoom", "float32"):
            updates.append(jax.jit(optimizer.update))
        order = np.random.default_rng(8)
        owner = {k: order.permutation(np.repeat(range(N_SYSTEMS), n)) for k, n in ROWS.items()}
        for update in updates:
            x, values, taken = run(optimizer, update, cases, owner)
            for s, ([expected], own_values, own_taken) in enumerate(alone):
                assert_same_bits(x[s], expected)
                assert_same_bits(values[:, s], own_values[:, 0])
                assert np.array_equal(taken[:, s], own_taken[:, 0])
    # Trials were rejected, by different systems in different turns.
    assert 0 < (~taken).sum() < taken.size
    assert len({tuple(column) for column in taken.T}) > 1


@pytest.mark.exact
@pytest.mark.parametrize("dtype", first(DTYPES))
def test_a_lane_is_searched_as_alone_in_its_tile(dtype):
    random = np.random.default_rng(5)
    stiffness = random.uniform(0.1, 40, size=(3, 16, 8)).astype(dtype)
    start = (random.normal(size=(3, 16, 8)) * 2).astype(dtype)
    optimizer = ko.lbfgs(linesearch="zoom", max_step_size=3.0)
    update = jax.jit(optimizer.update)

    def follow(lanes):
        x, k = np.zeros_like(start), np.zeros_like(stiffness)
        x[..., lanes], k[..., lanes] = start[..., lanes], stiffness[..., lanes]
        state = optimizer.init(jnp.asarray(x), ko.Lanes(n=8))
        for _ in range(N_UPDATES):
            got = [evaluate({"a": x[..., s]}, {"a": k[..., s]}) for s in range(8)]
            gradient = np.stack([g["a"] for _, g in got], axis=-1)
            value = np.array([v for v, _ in got]).astype(dtype)
            step, state = update(jnp.asarray(gradient), state, jnp.asarray(x), value=value)
            x = x + np.asarray(step)
        return x

    with jax.enable_x64(dtype == "float64"):
        together = follow(list(range(8)))
        for lane in range(8):
            assert_same_bits(follow([lane])[..., lane], together[..., lane])


def test_states_that_systems_share_cannot_be_held():
    optimizer = ko.chain(optax.trace(0.9), ko.Scale(-0.1), ko.ZoomLineSearch())
    x = jnp.ones((4, 3))
    state = optimizer.init(x, Index.integer([0, 0, 1, 1]))
    with pytest.raises(OptionError, match="has one state for all systems of an Index"):
        optimizer.update(x, state, x, value=jnp.ones(2))
    state = optimizer.init(x)
    updates, _ = optimizer.update(x, state, x, value=jnp.ones(()))
    assert_same_bits(updates, jnp.full((4, 3), -0.1))
