"""Inverses of symmetric matrices, in sums whose order is written out.

LAPACK is faster, and no way: JAX spreads a batch of factorisations over the threads that run its
programs, and waits for them; two programs at once wait for each other for ever (jax 0.10, CPU).
Its bits depend on the number of threads besides.
"""

import jax
import jax.numpy as jnp
from jax import lax

from kups_relax.ops._apart import apart
from kups_relax.ops._rounding import rounded
from kups_relax.ops._sums import fold

# Columns that are eliminated at once.
_WIDTH = 8


def inverse(matrix: jax.Array, needed: jax.Array) -> jax.Array:
    """Invert symmetric positive definite matrices, by Gauss and Jordan, a few columns at a time.

    No pivots are sought, which positive definite matrices do not need. All of a matrix is
    computed, though a half would do: whole rows are what vector units like. 192 x 192 costs 1.7
    ms of one core in float64, as long as XLA optimises at level 3; at level 2 it is five times as
    much.

    Args:
        matrix: (L, n, n).
        needed: () bool, see `apart`.

    Returns:
        (L, n, n). Values that are not finite where a matrix is singular.
    """
    n_lanes, n, _ = matrix.shape
    padded = -(-n // _WIDTH) * _WIDTH
    if padded != n:
        rest = padded - n
        one = jnp.broadcast_to(jnp.eye(rest, dtype=matrix.dtype), (n_lanes, rest, rest))
        matrix = jnp.pad(matrix, ((0, 0), (0, rest), (0, rest))).at[:, n:, n:].set(one)
    place = jnp.arange(padded, dtype=jnp.int32)

    def sweep(k: jax.Array, a: jax.Array) -> jax.Array:
        start = k * _WIDTH
        rows = lax.dynamic_slice_in_dim(a, start, _WIDTH, axis=1)
        pivot = apart(needed, _small_inverse, lax.dynamic_slice_in_dim(rows, start, _WIDTH, axis=2))
        own = (place >= start) & (place < start + _WIDTH)
        rows, new = apart(needed, _eliminated, pivot, jnp.where(own, 0.0, rows))
        a = a - _outer(new, rows)
        new = lax.dynamic_update_slice_in_dim(new, -pivot, start, axis=2)
        a = lax.dynamic_update_slice_in_dim(a, new, start, axis=1)
        return lax.dynamic_update_slice_in_dim(a, jnp.swapaxes(new, 1, 2), start, axis=2)

    def whole(a: jax.Array) -> jax.Array:
        return -lax.fori_loop(jnp.int32(0), jnp.int32(padded // _WIDTH), sweep, a)

    return rounded(whole)(matrix)[:, :n, :n]


def times(matrix: jax.Array, x: jax.Array) -> jax.Array:
    """Multiply vectors, (..., n, L), by symmetric matrices, (L, n, n)."""
    columns = jnp.moveaxis(x, -1, -2)[..., None]
    return jnp.moveaxis(fold(matrix * columns, axis=-2), -2, -1)


def _small_inverse(matrix: jax.Array) -> jax.Array:
    """(L, p, p): one column at a time."""
    place = jnp.arange(_WIDTH, dtype=jnp.int32)

    def sweep(j: jax.Array, a: jax.Array) -> jax.Array:
        own = place == j
        row = lax.dynamic_index_in_dim(a, j, 1, keepdims=False)
        pivot = lax.dynamic_index_in_dim(row, j, 1)
        column = jnp.where(own, 0.0, lax.dynamic_index_in_dim(a, j, 2, keepdims=False))
        row = jnp.where(own, 1.0, row) / pivot
        a = jnp.where(own, 0.0, a) - column[:, :, None] * row[:, None, :]
        return jnp.where(own[:, None], row[:, None, :], a)

    return lax.fori_loop(jnp.int32(0), jnp.int32(_WIDTH), sweep, matrix)


def _eliminated(pivot: jax.Array, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
    parts = [pivot[:, :, k, None] * rows[:, None, k] for k in range(_WIDTH)]
    return rows, _added(parts)


def _outer(new: jax.Array, rows: jax.Array) -> jax.Array:
    return _added([new[:, k, :, None] * rows[:, k, None, :] for k in range(_WIDTH)])


def _added(parts: list[jax.Array]) -> jax.Array:
    while len(parts) > 1:
        parts = [a + b for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]
