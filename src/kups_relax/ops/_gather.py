"""Rows taken by index, differentiated without a scatter."""

import jax
import jax.numpy as jnp
import numpy as np

from kups_relax.ops._sums import fold


def take_rows(x: jax.Array, index: jax.Array) -> jax.Array:
    """Take x[..., index[..., lane], lane] for every lane.

    Args:
        x: (..., rows, n_lanes).
        index: (*slots, n_lanes) int32, each within [0, rows).

    Returns:
        (..., *slots, n_lanes).
    """
    *lead, rows, lanes = x.shape
    lane = jnp.arange(lanes, dtype=jnp.int32)
    flat = index.astype(jnp.int32) * lanes + lane
    taken = x.reshape(*lead, rows * lanes).at[..., flat].get(mode="promise_in_bounds")
    return taken


def gather(x: jax.Array, index: jax.Array, inverse: jax.Array) -> jax.Array:
    """Take rows by index, with a gather for its transpose.

    The derivative of a gather is a scatter-add, whose order is not fixed on a GPU and which is
    slow on a CPU. Here each row collects what belongs to it through the inverse list that
    `inverse_list` made, and adds it in the list's order.

    Args:
        x: (..., rows, n_lanes).
        index: (*slots, n_lanes) int32, each within [0, rows).
        inverse: (rows, width, n_lanes) int32: for each row, the flat slot numbers that took it,
            padded with -1.

    Returns:
        (..., *slots, n_lanes).
    """
    lead = x.shape[:-2]
    slots = index.shape[:-1]

    def forward(residuals: tuple[jax.Array, jax.Array], x: jax.Array) -> jax.Array:
        return take_rows(x, residuals[0])

    def transpose(residuals: tuple[jax.Array, jax.Array], out: jax.Array) -> jax.Array:
        inverse = residuals[1]
        if out.size == 0:
            return jnp.zeros(x.shape, out.dtype)
        flat = out.reshape(*lead, int(np.prod(slots)), out.shape[-1])
        taken = take_rows(flat, jnp.maximum(inverse, 0))
        return fold(jnp.where(inverse >= 0, taken, jnp.zeros((), out.dtype)), axis=-2)

    return jax.custom_derivatives.linear_call(forward, transpose, (index, inverse), x)


def inverse_list(index: np.ndarray, n_rows: int) -> np.ndarray:
    """Make, on the host, the inverse of an index: which slots take each row.

    Args:
        index: (n_terms, ...) int; slots are numbered in C order.
        n_rows: Number of rows that the index refers to.

    Returns:
        (n_rows, width) int32, slots in increasing order, padded with -1; width is the longest
        list, at least 1.
    """
    flat = np.asarray(index).reshape(-1)
    order = np.argsort(flat, kind="stable")
    counts = np.bincount(flat, minlength=n_rows)
    width = max(1, int(counts.max(initial=0)))
    starts = np.cumsum(counts) - counts
    out = np.full((n_rows, width), -1, np.int32)
    rows = flat[order]
    out[rows, np.arange(len(flat)) - starts[rows]] = order
    return out
