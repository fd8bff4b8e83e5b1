"""Rings of pairs: every pair once, whatever the capacity."""

import itertools

import jax
import numpy as np
import pytest

from kups_relax.potentials._pairs import all_pairs, n_rings, pack_pairs, ring_counts, ring_partner


@pytest.mark.parametrize("capacity", range(1, 34))
def test_rings_hold_every_pair_once(capacity):
    partner, counts = ring_partner(capacity), ring_counts(capacity)
    assert partner.shape == counts.shape == (n_rings(capacity), capacity)
    first = np.broadcast_to(np.arange(capacity), partner.shape)[counts]
    pairs = sorted(map(tuple, np.sort(np.stack([first, partner[counts]], axis=1)).tolist()))
    assert pairs == list(itertools.combinations(range(capacity), 2))


@pytest.mark.parametrize("capacity", range(1, 34))
def test_all_pairs_is_the_double_loop(capacity):
    """In whole numbers, so that the order of the sum does not matter."""
    random = np.random.default_rng(capacity)
    n_atoms = np.array([capacity, 0, (capacity + 1) // 2], np.int32)
    positions = random.integers(-9, 10, size=(3, capacity, 3)).astype(float)
    matrices = [random.integers(1, 10, size=(n, n)) for n in n_atoms]
    matrices = [(m + m.T).astype(float) for m in matrices]
    weights = np.stack([pack_pairs(m, capacity, fill=np.nan) for m in matrices], axis=-1)

    with jax.enable_x64(True):
        energy, forces, energies = jax.jit(all_pairs, static_argnums=2)(
            positions, n_atoms, lambda r2, weight: (weight * r2, weight), weights
        )
    expected_energy, expected = np.zeros(3), np.zeros((3, capacity, 3))
    shares = np.zeros((capacity, 3))
    for lane, n in enumerate(n_atoms):
        for i, j in itertools.combinations(range(n), 2):
            d = positions[:, j, lane] - positions[:, i, lane]
            expected_energy[lane] += matrices[lane][i, j] * (d @ d)
            shares[[i, j], lane] += matrices[lane][i, j] * (d @ d) / 2
            expected[:, i, lane] += 2 * matrices[lane][i, j] * d
            expected[:, j, lane] -= 2 * matrices[lane][i, j] * d
    assert np.array_equal(energy, expected_energy)
    assert np.array_equal(forces, expected)
    assert np.array_equal(energies, shares)
