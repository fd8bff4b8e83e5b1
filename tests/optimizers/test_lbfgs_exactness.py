"""Every system of a flat ragged tree gets the bits that it would get alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kups_relax import optimizers as ko
from kups_relax.data import Index

N_UPDATES = 50


def gradient(x: np.ndarray, stiffness: np.ndarray) -> np.ndarray:
    """Elementwise and by NumPy, so that only the optimizer is under test."""
    return (stiffness * x + x * x * x - np.sin(x)).astype(x.dtype)


def run(optimizer, step, x, stiffness, prefix):
    params = {"a": jnp.asarray(x["a"]), "b": jnp.asarray(x["b"])}
    state = optimizer.init(params, prefix)
    for _ in range(N_UPDATES):
        grads = {k: jnp.asarray(gradient(np.asarray(v), stiffness[k])) for k, v in params.items()}
        updates, state = step(grads, state, params)
        params = ko.apply_updates(params, updates)
    return {k: np.asarray(v) for k, v in params.items()}, state


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("mode", ["eager", "jit"])
@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("name", ["ase-lbfgs", "lbfgs"])
def test_system_in_a_ragged_batch_has_the_bits_of_the_system_alone(dtype, mode, interleaved, name):
    rng = np.random.default_rng(7)
    sizes = {"a": [33, 40, 64, 77, 35, 130, 33], "b": [3, 1, 3, 3, 2, 3, 5]}
    n = len(sizes["a"])
    owner, x, stiffness = {}, {}, {}
    for leaf, counts in sizes.items():
        rows = np.repeat(np.arange(n), counts)
        owner[leaf] = rng.permutation(rows) if interleaved else rows
        x[leaf] = rng.normal(size=(len(rows), 3)).astype(dtype)
        stiffness[leaf] = rng.uniform(0.1, 40, size=(len(rows), 3)).astype(dtype)

    with jax.enable_x64(dtype is np.float64):
        optimizer = ko.get(name)
        step = jax.jit(optimizer.update) if mode == "jit" else optimizer.update
        prefix = {k: Index.integer(v, n=n) for k, v in owner.items()}
        batched, state = run(optimizer, step, x, stiffness, prefix)
        for s in range(n):
            mine = {k: owner[k] == s for k in owner}
            alone_x = {k: v[mine[k]] for k, v in x.items()}
            alone_k = {k: v[mine[k]] for k, v in stiffness.items()}
            alone, alone_state = run(optimizer, step, alone_x, alone_k, None)
            for k in x:
                assert batched[k].dtype == dtype
                assert np.array_equal(batched[k][mine[k]], alone[k])
            weights = np.asarray(state[0].weights_memory.data)
            assert np.array_equal(weights[s], np.asarray(alone_state[0].weights_memory.data)[0])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_eager_and_jitted_updates_have_the_same_bits(dtype):
    rng = np.random.default_rng(3)
    x = {"a": rng.normal(size=(50, 3)).astype(dtype), "b": rng.normal(size=(4, 3)).astype(dtype)}
    stiffness = {k: np.full_like(v, 3.0) for k, v in x.items()}
    with jax.enable_x64(dtype is np.float64):
        optimizer = ko.get("lbfgs")
        eager, _ = run(optimizer, optimizer.update, x, stiffness, None)
        jitted, _ = run(optimizer, jax.jit(optimizer.update), x, stiffness, None)
        larger = jax.jit(lambda g, s, p: optimizer.update(jax.tree.map(lambda x: x * 1, g), s, p))
        inside, _ = run(optimizer, larger, x, stiffness, None)
    for k in x:
        assert np.array_equal(eager[k], jitted[k])
        assert np.array_equal(eager[k], inside[k])
