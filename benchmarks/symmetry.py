"""FixSymmetry: space groups of 50 crystals before and after a relaxation of atoms and cell."""

import collections
from typing import Any

import numpy as np
import spglib
from ase import Atoms
from ase.constraints import FixSymmetry

import kups_relax as kr
from benchmarks import periodic

SYMPREC = 1e-5
FMAX = 0.01
MAX_STEPS = 500

# Of the noble gases' parameters only their order matters here.
POTENTIALS = {
    "emt": kr.potentials.EMT(),
    "stillinger-weber": kr.potentials.StillingerWeber(),
    "tersoff": kr.potentials.Tersoff("sic-1989"),
    "lennard-jones": kr.potentials.LennardJones(
        epsilon={"Ne": 0.0031, "Ar": 0.0104, "Kr": 0.0140, "Xe": 0.0200},
        sigma={"Ne": 2.75, "Ar": 3.40, "Kr": 3.65, "Xe": 3.98},
        cutoff=9.0,
    ),
}


def main() -> dict[str, Any]:
    """Relax the crystals of each potential in one batch, held by FixSymmetry."""
    [module] = periodic.of_tests("symmetric_structures")
    crystals = list(module.symmetric_crystals())
    together: dict[str, list[Any]] = collections.defaultdict(list)
    for crystal in crystals:
        together[crystal.potential].append(crystal)
    figures: dict[str, Any] = {"crystals": len(crystals)}
    counts = collections.Counter()
    lost = []
    for name, members in together.items():
        held = [crystal.atoms.copy() for crystal in members]
        for atoms in held:
            atoms.set_constraint(FixSymmetry(atoms, symprec=SYMPREC))
        result = kr.relax(
            held, POTENTIALS[name], cell="frechet", fmax=FMAX, max_steps=MAX_STEPS, progress=False
        )
        for crystal, atoms, start, status in zip(
            members, result.atoms, held, result.status, strict=True
        ):
            before, after = _group(start), _group(atoms)
            same = before == after == crystal.number
            counts["unchanged"] += same
            counts[status] += 1
            counts["cells that changed by more than 1e-3"] += _strain(start, atoms) > 1e-3
            counts["cells with the metric of their symmetry"] += _respects(start, atoms)
            if not same:
                label = f"{crystal.atoms.info['id']}: {before}, then {after}, {status}"
                lost.append(label)
        figures[f"{name}: crystals, median steps"] = [len(held), float(np.median(result.n_steps))]
        print(f"   {name}: {dict(counts)} so far", flush=True)
    return {**figures, **counts, "space groups that changed": lost}


def _group(atoms: Atoms) -> int:
    found = spglib.get_symmetry_dataset(_spglib(atoms), symprec=SYMPREC)
    return 0 if found is None else found.number


def _spglib(atoms: Atoms) -> Any:
    return atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers


def _strain(start: Atoms, end: Atoms) -> float:
    """The largest component of what happened to the cell."""
    return float(np.abs(np.linalg.solve(start.cell.array, end.cell.array) - np.eye(3)).max())


def _respects(start: Atoms, end: Atoms) -> bool:
    """Whether every rotation of the start leaves the metric of the final cell as it is."""
    found: Any = spglib.get_symmetry(_spglib(start), symprec=SYMPREC)
    rotations, metric = found["rotations"], end.cell.array @ end.cell.array.T
    turned = np.einsum("nki,kl,nlj->nij", rotations, metric, rotations)
    return bool(np.abs(turned - metric).max() < 1e-10 * np.abs(metric).max())
