"""One structure in fifty cannot be relaxed: each has its reason, and the others their bits."""

import collections
from typing import Any

import ase
import numpy as np

import kups_relax as kr
from benchmarks.stream import clusters

N = 2_000
EVERY = 50


def main() -> dict[str, Any]:
    """Relax with and without the poisoned ones."""
    argon = kr.potentials.LennardJones({"Ar": 0.0104}, {"Ar": 3.4})
    good = list(clusters(N, seed=2))
    mixed: list[tuple[int | None, Any]] = []
    for i, atoms in enumerate(good):
        if i % EVERY == 0:
            mixed.append((None, _poisoned(atoms, i // EVERY)))
        else:
            mixed.append((i, atoms))
    alone = kr.relax([good[i] for i, _ in mixed if i is not None], argon, progress=False)
    result = kr.relax([atoms for _, atoms in mixed], argon, progress=False)
    bad = np.array([i is None for i, _ in mixed])
    reasons = collections.Counter(_kind(reason) for reason in result.reason[bad])
    return {
        "structures": N,
        "poisoned": int(bad.sum()),
        "poisoned with a reason": int(sum(bool(r) for r in result.reason[bad])),
        "poisoned that converged": int(result.converged[bad].sum()),
        "reasons": dict(reasons),
        "others": int((~bad).sum()),
        "others that differ": int((result.fingerprint[~bad] != alone.fingerprint).sum()),
    }


def _poisoned(atoms: ase.Atoms, kind: int) -> ase.Atoms:
    atoms = atoms.copy()
    if kind % 5 == 0:
        atoms.positions[1] = np.nan
    elif kind % 5 == 1:
        atoms.positions[1] = atoms.positions[0]
    elif kind % 5 == 2:
        atoms.symbols[0] = "Xe"
    elif kind % 5 == 3:
        del atoms[:]
    else:
        atoms.pbc, atoms.cell = True, np.zeros((3, 3))
    return atoms


def _kind(reason: str) -> str:
    kinds = ("not finite", "apart", "no epsilon", "no atoms", "vector", "")
    return next(kind for kind in kinds if kind in reason) or "other"
