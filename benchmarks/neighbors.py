"""Neighbour lists: processor time, beside ASE's, for dense crystals and for scattered atoms."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list as of_ase

from kups_relax.neighbors import neighbor_list

RUNS = 5


def copper(n: int) -> tuple[Atoms, float]:
    """A cubic supercell of n^3 cells of four atoms, rattled; the cutoff has 42 neighbours."""
    atoms = bulk("Cu", cubic=True) * (n, n, n)
    atoms.rattle(0.05, seed=n)
    return atoms, 4.7


def argon(n: int) -> tuple[Atoms, float]:
    """Likewise, with a long cutoff."""
    atoms = bulk("Ar", a=5.3, cubic=True) * (n, n, n)
    atoms.rattle(0.05, seed=n)
    return atoms, 8.5


def scattered(n: int) -> tuple[Atoms, float]:
    """Atoms drawn over 10^4 Angstrom, periodic along one axis of 12.5 Angstrom."""
    positions = np.random.default_rng(n).uniform(0, 1e4, (n, 3))
    return Atoms(f"Ar{n}", positions, cell=[12.5] * 3, pbc=[True, False, False]), 5.0


CASES: dict[str, tuple[Callable[[int], tuple[Atoms, float]], int, bool]] = {
    "copper, 4 atoms": (copper, 1, True),
    "copper, 108 atoms": (copper, 3, True),
    "copper, 500 atoms": (copper, 5, True),
    "copper, 4000 atoms": (copper, 10, True),
    "argon, 19652 atoms": (argon, 17, False),
    "scattered, 95 atoms": (scattered, 95, False),
    "scattered, 20000 atoms": (scattered, 20_000, False),
}


def main() -> dict[str, Any]:
    """Time each list."""
    figures: dict[str, Any] = {}
    for name, (make, n, compared) in CASES.items():
        atoms, cutoff = make(n)

        def ours(atoms: Atoms = atoms, cutoff: float = cutoff) -> int:
            return len(neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)[0])

        def theirs(atoms: Atoms = atoms, cutoff: float = cutoff) -> int:
            return len(of_ase("i", atoms, cutoff))

        figures[f"{name}: pairs"] = ours()
        figures[f"{name}: processor ms"] = _median(ours)
        if compared:
            assert theirs() == ours()
            figures[f"{name}: processor ms, ASE"] = _median(theirs)
    return figures


def _median(function: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(RUNS):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return 1e3 * statistics.median(seconds)
