"""Energy and forces of all pairs of atoms, each pair once, without a scatter.

Pairs are laid out in rings: ring k = 1 .. A/2 holds the pairs (i, i + k mod A) for every i of
the A atoms. Every pair appears once, except in the last ring of an even A, where it appears
twice and only its first half counts. A ring is a rotation of the atoms, so the partner's force
comes back by rotating the other way: two gathers whose indices are constants.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from kups_relax.ops import fold


def n_rings(capacity: int) -> int:
    """Number of rings for an atom capacity."""
    return max(1, capacity // 2)


def ring_partner(capacity: int) -> np.ndarray:
    """(n_rings, capacity) int32: the second atom of each ring entry."""
    k = np.arange(1, n_rings(capacity) + 1)[:, None]
    return ((np.arange(capacity)[None, :] + k) % capacity).astype(np.int32)


def ring_counts(capacity: int) -> np.ndarray:
    """(n_rings, capacity) bool: entries that count, each pair once."""
    counts = np.ones((n_rings(capacity), capacity), bool)
    if capacity % 2 == 0:
        counts[-1, capacity // 2 :] = False
    if capacity == 1:
        counts[:] = False
    return counts


def pack_pairs(matrix: np.ndarray, capacity: int, fill: float = 0.0) -> np.ndarray:
    """Lay a symmetric (n, n) matrix out in the rings of a capacity: (n_rings, capacity)."""
    n = len(matrix)
    full = np.full((capacity, capacity), fill, dtype=matrix.dtype)
    full[:n, :n] = matrix
    packed = full[np.arange(capacity)[None, :], ring_partner(capacity)]
    return np.where(ring_counts(capacity), packed, np.asarray(fill, matrix.dtype))


def all_pairs(
    positions: jax.Array,
    n_atoms: jax.Array,
    pair: Callable[..., tuple[jax.Array, jax.Array]],
    *parameters: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Sum a pair energy over all pairs of every lane.

    Args:
        positions: (3, A, n_lanes).
        n_atoms: (n_lanes,) int32; pairs with an atom at or beyond it count nothing.
        pair: (r2, *parameters) -> energy of each pair and its slope in r2, elementwise. It sees
            r2 = 1 in entries that do not count.
        parameters: (n_rings, A, n_lanes) each, as `pack_pairs` lays them out, or anything that
            broadcasts to it.

    Returns:
        Energy (n_lanes,), forces (3, A, n_lanes), and the atoms' halves of the energies of their
        pairs (A, n_lanes).
    """
    capacity = positions.shape[1]
    rings = n_rings(capacity)
    partner = ring_partner(capacity)
    k = np.arange(1, rings + 1)[:, None]
    back = ((np.arange(capacity)[None, :] - k) % capacity).astype(np.int32)
    atom = jnp.arange(capacity, dtype=jnp.int32)[:, None] < n_atoms
    counts = ring_counts(capacity)[:, :, None] & atom[None] & atom[partner]

    d = positions[:, partner] - positions[:, None]
    r2 = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    r2 = jnp.where(counts, r2, jnp.ones((), r2.dtype))
    energy, slope = pair(r2, *parameters)
    zero = jnp.zeros((), r2.dtype)
    energy = jnp.where(counts, energy, zero)
    pull = jnp.where(counts, slope + slope, zero) * d
    rows = jnp.arange(rings)[:, None]
    forces = fold(pull - pull[:, rows, back], axis=1)
    half = energy * 0.5
    return fold(fold(energy)), forces, fold(half + half[rows, back])
