"""Sums, maxima and minima over the rows of each segment, in an order that nothing else decides."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from kups_relax._tree import dataclass
from kups_relax.ops._sums import fold, fold_max

# Part of the meaning of a sum: another value gives other bits.
BLOCK = 32


@dataclass
class Segments:
    """Know which rows belong to which segment, prepared for sums in a fixed order.

    A segment's rows may stand anywhere among those of others. Its sum has the same bits whatever
    stands around them, however many segments there are, eager or inside any jitted program: the
    rows are taken in row order, in blocks of 32 that are folded and added one after the other
    inside a loop. The loop also keeps the sum apart from what is around it: `x` is stored before
    it is added, so that the compiler cannot contract a product in it with the addition.

    Preparing costs one stable sort; prepare once, sum often. A sum costs what its longest
    segment would cost if all were as long, so it suits segments of similar lengths. There is no
    reverse-mode derivative.

    Attributes:
        order: (n_rows,) int32, the rows sorted by segment, in row order within each; rows that
            belong to no segment come last.
        starts: (n_segments,) int32, where each segment begins in `order`.
        counts: (n_segments,) int32, number of rows of each segment.

    Example:
        >>> import jax.numpy as jnp
        >>> segments = Segments.of(jnp.array([1, 0, 1, 3]), 3)
        >>> segments.sum(jnp.array([1.0, 2.0, 3.0, 4.0])).tolist()
        [2.0, 4.0, 0.0]
    """

    order: jax.Array
    starts: jax.Array
    counts: jax.Array

    @classmethod
    def of(cls, indices: jax.Array | np.ndarray, n_segments: int) -> "Segments":
        """Sort rows by segment; on the host where the numbers are known, else on the device.

        Args:
            indices: (n_rows,) integer, the segment of each row. A row whose number is outside
                [0, n_segments), such as the sentinel `n_segments`, belongs to nothing.
            n_segments: Number of segments.

        Raises:
            ValueError: `indices` is not one-dimensional or not of integer dtype.
        """
        if not hasattr(indices, "dtype"):
            indices = np.asarray(indices)
        if indices.ndim != 1 or not jnp.issubdtype(indices.dtype, jnp.integer):
            raise ValueError(
                f"indices have shape {indices.shape} and dtype {indices.dtype}; "
                "expected one dimension and integers."
            )
        traced = isinstance(indices, Tracer)
        xp: Any = jnp if traced else np
        indices = xp.asarray(indices)
        if indices.dtype.itemsize < 4:
            indices = indices.astype(np.int32)
        known = (indices >= 0) & (indices < n_segments)
        number = xp.where(known, indices, n_segments).astype(np.int32)
        order = jnp.argsort(number, stable=True) if traced else np.argsort(number, kind="stable")
        bounds = xp.searchsorted(number[order], xp.arange(n_segments + 1, dtype=np.int32))
        starts, ends = bounds[:-1], bounds[1:]
        return cls(
            order=jnp.asarray(order, jnp.int32),
            starts=jnp.asarray(starts, jnp.int32),
            counts=jnp.asarray(ends - starts, jnp.int32),
        )

    @property
    def n_segments(self) -> int:
        """Number of segments."""
        return self.counts.shape[0]

    def sum(self, x: jax.Array) -> jax.Array:
        """Add the rows of each segment; booleans are counted as int32.

        Args:
            x: (n_rows, ...).

        Returns:
            (n_segments, ...), dtype of `x`; zero (never -0) for a segment without rows.
        """
        x = jnp.asarray(x)
        if x.dtype == bool:
            x = x.astype(jnp.int32)
        return _add(self, x)

    def max(self, x: jax.Array, initial: Any) -> jax.Array:
        """Maximum over the rows of each segment, and `initial`; NaN where any row is NaN.

        Args:
            x: (n_rows, ...).
            initial: Scalar: the maximum of a segment without rows.

        Returns:
            (n_segments, ...), dtype of `x`; a zero is +0.
        """
        x = jnp.asarray(x)
        return _maximum(self, x, jnp.asarray(initial, x.dtype))

    def min(self, x: jax.Array, initial: Any) -> jax.Array:
        """Minimum over the rows of each segment, and `initial`; NaN where any row is NaN.

        Args:
            x: (n_rows, ...).
            initial: Scalar: the minimum of a segment without rows.

        Returns:
            (n_segments, ...), dtype of `x`; a zero is +0.
        """
        x = jnp.asarray(x)
        return _minimum(self, x, jnp.asarray(initial, x.dtype))


def _reduce(
    segments: Segments,
    x: jax.Array,
    initial: jax.Array,
    within: Callable[[jax.Array], jax.Array],
    across: Callable[[jax.Array, jax.Array], jax.Array],
) -> jax.Array:
    """Reduce blocks of rows by `within`, and add each to the result so far by `across`."""
    n_rows, tail = segments.order.shape[0], x.shape[1:]
    if x.shape[:1] != (n_rows,):
        raise ValueError(f"x has shape {x.shape}; expected {n_rows} rows, one for each index.")
    result = jnp.full((segments.n_segments, *tail), initial, x.dtype)
    if n_rows == 0 or result.size == 0:
        return result
    # A trip count that the compiler knows would let it unroll the loop and fuse what is around.
    counts = jax.lax.optimization_barrier(segments.counts)
    n_blocks = (jnp.max(counts) + (BLOCK - 1)) // BLOCK

    def body(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        block, result = carry
        slot = block * BLOCK + jnp.arange(BLOCK, dtype=jnp.int32)[:, None]
        mine = slot < counts
        sorted_rows = jnp.where(mine, segments.starts + slot, 0)
        rows = segments.order.at[sorted_rows].get(mode="promise_in_bounds")
        taken = x.at[rows].get(mode="promise_in_bounds")
        mine = mine.reshape(mine.shape + (1,) * len(tail))
        return block + 1, across(result, within(jnp.where(mine, taken, initial)))

    return jax.lax.while_loop(lambda c: c[0] < n_blocks, body, (jnp.int32(0), result))[1]


def _positive_zero(x: jax.Array) -> jax.Array:
    # Which of -0 and +0 is the larger is left to the hardware.
    return jnp.where(x == 0, jnp.zeros((), x.dtype), x)


# Jitted once here: an eager loop would be traced and compiled again at every call.
@jax.jit
def _add(segments: Segments, x: jax.Array) -> jax.Array:
    return _reduce(segments, x, jnp.zeros((), x.dtype), partial(fold, axis=0), jnp.add)


@jax.jit
def _maximum(segments: Segments, x: jax.Array, initial: jax.Array) -> jax.Array:
    return _positive_zero(_reduce(segments, x, initial, fold_max, jnp.maximum))


@jax.jit
def _minimum(segments: Segments, x: jax.Array, initial: jax.Array) -> jax.Array:
    return _positive_zero(_reduce(segments, x, initial, partial(jnp.min, axis=0), jnp.minimum))
