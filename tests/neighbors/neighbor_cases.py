"""Cells that neighbour lists get wrong, and the list by brute force."""

import itertools
from typing import Any

import numpy as np

KINDS = ("random", "orthogonal", "skewed", "left-handed", "thin", "one atom")


def hard_case(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Positions, cell, pbc and cutoff; the kind of cell goes round with the seed."""
    random = np.random.default_rng([7, seed])
    kind = KINDS[seed % len(KINDS)]
    n_atoms = 1 if kind == "one atom" else int(random.integers(2, 7))
    cell = np.diag(random.uniform(2.0, 5.0, 3))
    if kind in ("random", "left-handed", "one atom"):
        while not 2 < abs(np.linalg.det(cell := random.normal(size=(3, 3)) * 2.5)) < 100:
            pass
    if kind == "left-handed":
        cell *= -np.sign(np.linalg.det(cell))
    elif kind == "skewed":
        cell[2] += random.integers(-3, 4) * cell[0] + random.uniform(-3, 3) * cell[1]
        cell[1] += random.uniform(-2, 2) * cell[0]
    elif kind == "thin":
        cell[random.integers(3)] *= 0.3
    pbc = random.random(3) < 0.7
    spread = random.choice([1.0, 1.0, 4.0])
    fractional = random.uniform(-spread + 1, spread, (n_atoms, 3))
    positions = fractional @ cell
    if random.random() < 0.3:
        # Atoms on grid points, faces of the cell among them.
        positions = np.round(fractional * 2) / 2 @ cell
    return positions, cell, pbc, float(random.uniform(1.0, 4.0))


def brute_force(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All images that could be near, one after the other, in the canonical order."""
    n_images = np.zeros(3, int)
    if pbc.any():
        # How far a fractional coordinate can be from that of a near image.
        inverse = np.linalg.pinv(cell[pbc])
        widest = np.ptp(positions @ inverse, axis=0)
        n_images[pbc] = np.ceil(widest + cutoff * np.linalg.norm(inverse, axis=0)).astype(int) + 1
    shifts = np.array(list(itertools.product(*(range(-n, n + 1) for n in n_images))))
    found = []
    for i, j in itertools.product(range(len(positions)), repeat=2):
        d = positions[j] - positions[i] + shifts @ cell
        near = shifts[(d * d).sum(axis=1) < cutoff**2]
        found += [(i, j, *shift) for shift in near.tolist() if i != j or any(shift)]
    table = np.array(sorted(found), int).reshape(-1, 5)
    return table[:, 0], table[:, 1], table[:, 2:]


def in_order(i: Any, j: Any, shifts: Any) -> np.ndarray:
    """(n_pairs, 5): a list as one sorted table."""
    table = np.column_stack([i, j, shifts]).astype(np.int64).reshape(-1, 5)
    return table[np.lexsort(table.T[::-1])]
