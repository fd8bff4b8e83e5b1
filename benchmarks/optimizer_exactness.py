"""`ScaleByAseLbfgs` and `MaxStepSize` on flat ragged trees: each system against itself alone."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import kups_relax as kr
from kups_relax import optimizers as ko

N_UPDATES = 50


def main() -> dict[str, Any]:
    """Compare parameters after every update, for eager and jitted updates, f64 and f32."""
    figures: dict[str, Any] = {}
    total = mismatches = 0
    for dtype, mode, order, name in itertools.product(
        ("float64", "float32"), ("eager", "jit"), ("blocked", "interleaved"), ("ase-lbfgs", "lbfgs")
    ):
        with jax.enable_x64(dtype == "float64"):
            count, wrong = _compare(np.dtype(dtype), mode == "jit", order == "interleaved", name)
        figures[f"{name} {dtype} {mode} {order}"] = f"{wrong} of {count}"
        total += count
        mismatches += wrong
    return {"comparisons": total, "mismatches": mismatches, **figures}


def _compare(dtype: np.dtype, jit: bool, interleaved: bool, name: str) -> tuple[int, int]:
    random = np.random.default_rng(5)
    rows = [33, 40, 64, 33, 77, 40, 64, 33]
    owner = np.repeat(np.arange(len(rows)), rows)
    owner = random.permutation(owner) if interleaved else owner
    start = random.normal(size=(len(owner), 3)).astype(dtype)
    stiffness = random.uniform(0.1, 40, size=start.shape).astype(dtype)
    optimizer = ko.get(name)
    step = jax.jit(optimizer.update) if jit else optimizer.update
    index = kr.Index.integer(owner, n=len(rows))
    batched = _trajectory(optimizer, step, start, stiffness, index)
    count = wrong = 0
    for system in range(len(rows)):
        mine = owner == system
        alone = _trajectory(optimizer, step, start[mine], stiffness[mine], None)
        for together, single in zip(batched, alone, strict=True):
            count += 1
            wrong += not np.array_equal(together[mine], single)
    return count, wrong


def _trajectory(
    optimizer: Any, step: Any, x: np.ndarray, stiffness: np.ndarray, index: Any
) -> list[np.ndarray]:
    params = jnp.asarray(x)
    state = optimizer.init(params, index)
    out = []
    for _ in range(N_UPDATES):
        x = np.asarray(params)
        # Elementwise and by NumPy, so that only the optimizer is under test.
        gradient = (stiffness * x + x * x * x - np.sin(x)).astype(x.dtype)
        updates, state = step(jnp.asarray(gradient), state, params)
        params = ko.apply_updates(params, updates)
        out.append(np.asarray(params))
    return out
