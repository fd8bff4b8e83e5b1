"""What the tests of L-BFGS share: gradients by NumPy, and a walk down them."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def cubic(x: np.ndarray) -> np.ndarray:
    """The gradient of a well in every coordinate."""
    return (3 * x + x**3).astype(x.dtype)


def walk(
    optimizer: Any, gradient: Callable, x: Any, n_updates: int, index_prefix: Any = None
) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Yield (x, g, direction, state) of each update; steps are minus the direction.

    Eager, so that tests share what was compiled for a shape.
    """
    state = optimizer.init(jax.tree.map(jnp.asarray, x), index_prefix)
    for _ in range(n_updates):
        g = jax.tree.map(gradient, x)
        direction, state = optimizer.update(jax.tree.map(jnp.asarray, g), state, x)
        yield x, g, direction, state
        x = jax.tree.map(lambda x, d: x - np.asarray(d), x, direction)


def run(
    optimizer: Any, gradient: Callable, x: Any, index_prefix: Any = None, n_updates: int = 8
) -> tuple[Any, Any, Any]:
    """Return (x, direction, state) of the last update."""
    *_, (x, _, direction, state) = walk(optimizer, gradient, x, n_updates, index_prefix)
    return x, direction, state
