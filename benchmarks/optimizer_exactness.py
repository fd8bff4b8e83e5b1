"""Every named optimizer on flat ragged trees and in lanes: each system against itself alone."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import kups_relax as kr
from kups_relax import optimizers as ko

N_UPDATES = 50
ROWS = (33, 40, 64, 33, 77, 40, 64, 33)

# What options alone reach, besides all names.
NAMED = {name: ko.get(name) for name in ko.NAMED}
# The engine alone has a chart.
OPTIMIZERS = {k: v for k, v in NAMED.items() if not getattr(v, "needs_chart", False)} | {
    "averaged scale, descent guard": ko.chain(
        ko.ScaleByAseLbfgs(
            memory_size=16, initial_scale="averaged", curvature_guard=True, descent_guard=True
        ),
        ko.MaxStepSize(0.2),
        ko.Scale(-1.0),
    ),
    "conjugate-gradient:beta=hager-zhang": ko.get("conjugate-gradient:beta=hager-zhang"),
}


def main() -> dict[str, Any]:
    """Compare parameters after every update, for eager and jitted updates, f64 and f32."""
    figures: dict[str, Any] = {}
    total = mismatches = 0
    for name, dtype in itertools.product(OPTIMIZERS, ("float64", "float32")):
        with jax.enable_x64(dtype == "float64"):
            counts = [
                _rows(np.dtype(dtype), OPTIMIZERS[name]),
                _lanes(np.dtype(dtype), OPTIMIZERS[name]),
            ]
        count, wrong = map(sum, zip(*counts, strict=True))
        figures[f"{name} {dtype}"] = f"{wrong} of {count}"
        total += count
        mismatches += wrong
    return {"comparisons": total, "mismatches": mismatches, **figures}


def _rows(dtype: np.dtype, optimizer: Any) -> tuple[int, int]:
    """Ragged rows, in blocks and interleaved, eager and jitted, against single systems."""
    random = np.random.default_rng(5)
    blocked = np.repeat(np.arange(len(ROWS)), ROWS)
    start = random.normal(size=(len(blocked), 3)).astype(dtype)
    stiffness = random.uniform(0.1, 40, size=start.shape).astype(dtype)
    orders = [np.arange(len(blocked)), random.permutation(len(blocked))]
    jitted = jax.jit(optimizer.update)
    batched = []
    for order, step in zip(orders, (optimizer.update, jitted), strict=True):
        index = kr.Index.integer(blocked[order], n=len(ROWS))
        walk = _walk(optimizer, step, start[order], stiffness[order], index)
        batched.append((order, walk))
    count = wrong = 0
    for system in range(len(ROWS)):
        for order, walk in batched:
            # A system's rows in the order in which they stand.
            mine = blocked[order] == system
            x, k = start[order][mine], stiffness[order][mine]
            alone = _walk(optimizer, optimizer.update, x, k, None)
            for together, single in zip(walk, alone, strict=True):
                count += 1
                wrong += not np.array_equal(together[mine], single)
    return count, wrong


def _lanes(dtype: np.dtype, optimizer: Any) -> tuple[int, int]:
    """Lanes among others, against the same lanes in other places of an empty tile."""
    random = np.random.default_rng(6)
    x = random.normal(size=(3, 40, 8)).astype(dtype)
    stiffness = random.uniform(0.1, 40, size=x.shape).astype(dtype)
    step, lanes = jax.jit(optimizer.update), ko.Lanes(n=8)
    together = _walk(optimizer, step, x, stiffness, lanes)
    count = wrong = 0
    for lane, place in enumerate(random.permutation(8)):
        alone, k = np.zeros_like(x), np.ones_like(x)
        alone[..., place], k[..., place] = x[..., lane], stiffness[..., lane]
        for one, all_ in zip(_walk(optimizer, step, alone, k, lanes), together, strict=True):
            count += 1
            wrong += not np.array_equal(one[..., place], all_[..., lane])
    return count, wrong


def _walk(
    optimizer: Any, step: Any, x: np.ndarray, stiffness: np.ndarray, prefix: Any
) -> list[np.ndarray]:
    params = jnp.asarray(x)
    state = optimizer.init(params, prefix)
    out = []
    for _ in range(N_UPDATES):
        x = np.asarray(params)
        # Elementwise and by NumPy, so that only the optimizer is under test.
        gradient = (stiffness * x + x * x * x - np.sin(x)).astype(x.dtype)
        updates, state = step(jnp.asarray(gradient), state, params)
        params = ko.apply_updates(params, updates)
        out.append(np.asarray(params))
    return out
