"""Sums whose order is written out, so that no compiler or batch can choose another."""

import jax
import jax.numpy as jnp
from jax import lax


def fold(x: jax.Array, axis: int = 0) -> jax.Array:
    """Sum over one axis by folding halves onto each other.

    Rows k and k + ceil(n/2) are added first, then the same again on what is left. The length
    decides the order, so pad to a fixed length: adding a padding zero is exact. Every other
    axis is independent: no element of the result depends on where it stands or what stands
    beside it.

    Args:
        x: Any shape; the axis may be empty (the sum is then 0).
        axis: The axis that is summed away.
    """
    n = x.shape[axis]
    if n == 0:
        return jnp.sum(x, axis=axis)

    def part(x: jax.Array, start: int, stop: int) -> jax.Array:
        return lax.slice_in_dim(x, start, stop, axis=axis)

    while n > 1:
        half = (n + 1) // 2
        if n % 2:
            lower = part(x, 0, half - 1) + part(x, half, n)
            x = jnp.concatenate([lower, part(x, half - 1, half)], axis=axis)
        else:
            x = part(x, 0, half) + part(x, half, n)
        n = half
    return lax.squeeze(x, [axis % x.ndim])


def fold_max(x: jax.Array, axis: int = 0) -> jax.Array:
    """Maximum over one axis; NaN where any value is NaN. Order cannot change a maximum."""
    return jnp.max(x, axis=axis)
