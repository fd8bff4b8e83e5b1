"""Every system of a flat ragged tree gets the bits that it would get alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import DTYPES, assert_same_bits
from kups_relax import optimizers as ko
from kups_relax.data import Index
from support.crossing import in_turns

pytestmark = pytest.mark.exact

N_UPDATES = 50
# Rows of each system in the leaves "a" and "b". Few distinct sizes, as each compiles a program.
ROWS = {"a": [33, 64, 33, 33, 64], "b": [3, 1, 3, 3, 1]}
N_SYSTEMS = len(ROWS["a"])
OPTIMIZERS = {
    "lbfgs": ko.lbfgs(),
    "ase-lbfgs": ko.ase_lbfgs(),
    # The compiler knows best what to do with a history that is short: without rounded products,
    # nearly every system of this one differs.
    "short": ko.chain(
        ko.ScaleByAseLbfgs(memory_size=3, alpha=10.0), ko.MaxStepSize(0.2), ko.Scale(-1.0)
    ),
}
# Eager updates are tested in every combination, jitted ones in four.
JITTED = (
    *(("lbfgs", "float64"), ("ase-lbfgs", "float32")),
    *(("short", "float64"), ("short", "float32")),
)


def gradient(x: np.ndarray, stiffness: np.ndarray) -> np.ndarray:
    """Elementwise and by NumPy, so that only the optimizer is under test."""
    return (stiffness * x + x * x * x - np.sin(x)).astype(x.dtype)


def run(optimizer, step, x, stiffness, prefix=None):
    params = {k: jnp.asarray(v) for k, v in x.items()}
    state = optimizer.init(params, prefix)
    for _ in range(N_UPDATES):
        grads = {k: jnp.asarray(gradient(np.asarray(v), stiffness[k])) for k, v in params.items()}
        updates, state = step(grads, state, params)
        params = ko.apply_updates(params, updates)
    return {k: np.asarray(v) for k, v in params.items()}, state


def systems():
    """For each system and leaf: where it starts, and how stiff it is, stacked.

    Leaf "a" has rows of 3, leaf "b" has plain numbers.
    """
    random = np.random.default_rng(7)

    def leaf(k, n):
        shape = (n, 3) if k == "a" else (n,)
        return np.stack([random.normal(size=shape), random.uniform(0.1, 40, size=shape)])

    return [{k: leaf(k, counts[s]) for k, counts in ROWS.items()} for s in range(N_SYSTEMS)]


def joined(cases, interleaved):
    """All systems in one tree, and the owner of each row."""
    owner, x = {}, {}
    for k, counts in ROWS.items():
        rows = np.repeat(np.arange(N_SYSTEMS), counts)
        order = np.random.default_rng(8).permutation(len(rows)) if interleaved else slice(None)
        owner[k] = rows[order]
        # A stable sort by owner gives each system its rows in their own order.
        in_order = np.concatenate([case[k] for case in cases], axis=1)
        x[k] = np.empty_like(in_order)
        x[k][:, np.argsort(owner[k], kind="stable")] = in_order
    return owner, x


@pytest.mark.parametrize(("name", "dtype"), in_turns(OPTIMIZERS, DTYPES, leave={"ase-lbfgs"}))
def test_system_in_a_ragged_batch_has_the_bits_of_the_system_alone(name, dtype):
    cases = systems()
    optimizer = OPTIMIZERS[name]
    steps = [optimizer.update]
    if (name, dtype) in JITTED:
        steps.append(jax.jit(optimizer.update))
    with jax.enable_x64(dtype == "float64"):
        alone = []
        for case in cases:
            x, stiffness = ({k: v[i].astype(dtype) for k, v in case.items()} for i in (0, 1))
            alone.append(run(optimizer, optimizer.update, x, stiffness))
        for interleaved in (False, True):
            owner, both = joined(cases, interleaved)
            x, stiffness = ({k: v[i].astype(dtype) for k, v in both.items()} for i in (0, 1))
            prefix = {k: Index.integer(v, n=N_SYSTEMS) for k, v in owner.items()}
            for step in steps:
                batched, state = run(optimizer, step, x, stiffness, prefix)
                for s, (expected, alone_state) in enumerate(alone):
                    assert_same_bits({k: v[owner[k] == s] for k, v in batched.items()}, expected)
                    weights = state[0].weights_memory.data[s]
                    assert_same_bits(weights, alone_state[0].weights_memory.data[0])


@pytest.mark.extended
@pytest.mark.parametrize("dtype", DTYPES)
def test_eager_and_jitted_updates_have_the_same_bits(dtype):
    random = np.random.default_rng(3)
    x = {
        "a": random.normal(size=(33, 3)).astype(dtype),
        "b": random.normal(size=(3, 3)).astype(dtype),
    }
    stiffness = {k: np.full_like(v, 3.0) for k, v in x.items()}
    optimizer = ko.lbfgs()
    with jax.enable_x64(dtype == "float64"):
        eager, _ = run(optimizer, optimizer.update, x, stiffness)
        jitted, _ = run(optimizer, jax.jit(optimizer.update), x, stiffness)
        larger = jax.jit(lambda g, s, p: optimizer.update(jax.tree.map(lambda x: x * 1, g), s, p))
        inside, _ = run(optimizer, larger, x, stiffness)
    assert_same_bits(jitted, eager)
    assert_same_bits(inside, eager)
