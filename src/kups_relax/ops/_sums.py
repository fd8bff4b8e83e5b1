"""Sums whose order is written out, so that no compiler or batch can choose another."""

import jax
import jax.numpy as jnp
from jax import lax

# How many parts are added at once. Another value gives other bits.
RADIX = 8


def fold(x: jax.Array, axis: int = 0) -> jax.Array:
    """Sum over one axis by folding it eightfold, again and again.

    The axis is padded with zeros to eight parts of equal length, which are laid on each other
    and added pairwise; then the same with what is left. The length decides the order, so pad to
    a fixed length: adding a padding zero is exact. Every other axis is independent: no element
    of the result depends on where it stands or what stands beside it. Eight and not two, because
    each fold is a kernel that costs time to start and to compile.

    Args:
        x: Any shape; the axis may be empty (the sum is then 0).
        axis: The axis that is summed away.
    """
    n = x.shape[axis]
    if n == 0:
        return jnp.sum(x, axis=axis)

    while n > 1:
        parts = min(RADIX, n)
        size = -(-n // parts)
        if size * parts != n:
            padding = [(0, 0, 0)] * x.ndim
            padding[axis] = (0, size * parts - n, 0)
            x = lax.pad(x, jnp.zeros((), x.dtype), padding)
        x = _pairwise(
            [lax.slice_in_dim(x, k * size, (k + 1) * size, axis=axis) for k in range(parts)]
        )
        n = size
    return lax.squeeze(x, [axis % x.ndim])


def _pairwise(terms: list[jax.Array]) -> jax.Array:
    while len(terms) > 1:
        odd = terms[len(terms) // 2 * 2 :]
        terms = [a + b for a, b in zip(terms[::2], terms[1::2], strict=False)] + odd
    return terms[0]


def fold_max(x: jax.Array, axis: int = 0) -> jax.Array:
    """Maximum over one axis; NaN where any value is NaN. Order cannot change a maximum."""
    return jnp.max(x, axis=axis)
