"""The name "ase-lbfgs" with variable cells against ASE's filters and LBFGS, step by step.

ASE has no bound for what a step may do to the cell, so ours is taken off (`max_strain=1.0`) to
compare steps; how many step counts the bound leaves equal is a figure of its own.
"""

import collections
import dataclasses
from typing import Any

import ase
import numpy as np
from ase.build import bulk

import kups_relax as kr
from benchmarks import periodic

N_STEPS = 20
MAX_STEPS = 1000

# Chemical symbols, lattice, lattice constants, repetitions: 1 to 8 atoms.
_Crystals = tuple[tuple[str, str, dict[str, Any], tuple[int, int, int]], ...]
ARGON: _Crystals = (
    ("Ar", "fcc", {"a": 5.3}, (1, 1, 1)),
    ("Ar", "bcc", {"a": 4.3}, (1, 1, 1)),
    ("Ar", "hcp", {"a": 3.75, "c": 6.1}, (1, 1, 1)),
    ("Ar", "fcc", {"a": 5.3, "cubic": True}, (1, 1, 1)),
    ("Ar", "fcc", {"a": 5.3, "cubic": True}, (2, 1, 1)),
)
METALS: _Crystals = (
    ("Cu", "fcc", {"a": 3.61}, (1, 1, 1)),
    ("AlNi", "cesiumchloride", {"a": 2.9}, (1, 1, 1)),
    ("Ag", "hcp", {"a": 2.9, "c": 4.8}, (1, 1, 1)),
    ("Au", "fcc", {"a": 4.06, "cubic": True}, (1, 1, 1)),
    ("CuPd", "cesiumchloride", {"a": 3.0}, (2, 2, 1)),
)
SILICON: _Crystals = (
    ("Si", "diamond", {"a": 5.43}, (1, 1, 1)),
    ("Si", "diamond", {"a": 5.43}, (1, 1, 1)),
    ("Si", "diamond", {"a": 5.43}, (2, 1, 1)),
    ("Si", "diamond", {"a": 5.43, "cubic": True}, (1, 1, 1)),
    ("Si", "diamond", {"a": 5.43, "cubic": True}, (1, 1, 1)),
)
FAMILIES: tuple[tuple[tuple[Any, ...], _Crystals], ...] = (
    ((periodic.argon(),), ARGON),
    ((kr.potentials.EMT(),), METALS),
    ((kr.potentials.StillingerWeber(), kr.potentials.Tersoff("si-t3")), SILICON),
)
# One for each of the ten structures that a family gives to each kind of cell.
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"pressure": 0.002},
    {},
    {"mask": (1, 1, 0, 0, 0, 1)},
    {},
    {},
    {"hydrostatic_strain": True},
    {},
    {"pressure": 0.002},
    {},
)


@dataclasses.dataclass(frozen=True)
class Case:
    """A start, what describes it, and how its cell changes."""

    atoms: ase.Atoms
    potential: Any
    cell: Any


def main() -> dict[str, Any]:
    """Follow 60 crystals for 20 steps, and count their steps to fmax 0.01."""
    todo = starts()
    positions, cells = _differences(todo)
    theirs = np.array([_ase_steps(case) for case in todo])
    free, bounded = (_steps(todo, max_strain) for max_strain in (1.0, 0.1))
    kinds = np.array([case.cell.name for case in todo])
    figures: dict[str, Any] = {
        "crystals": len(todo),
        f"largest difference of a coordinate over {N_STEPS} steps, A": float(positions.max()),
        f"largest difference of a lattice vector's component over {N_STEPS} steps, A": float(
            cells.max()
        ),
        "equal step counts at fmax 0.01": int((free == theirs).sum()),
        "equal step counts with the default max_strain": int((bounded == theirs).sum()),
        "median steps": float(np.median(free)),
        "converged (ours, ASE)": [int((n < MAX_STEPS).sum()) for n in (free, theirs)],
    }
    for kind in ("frechet", "unit"):
        of = kinds == kind
        figures[kind] = {
            "crystals": int(of.sum()),
            "largest difference, A": float(max(positions[of].max(), cells[of].max())),
            "equal step counts": int((free == theirs)[of].sum()),
        }
    figures["others"] = [
        f"{case.atoms.info['id']}, {case.cell.name} {OPTIONS[k % len(OPTIONS)]}: "
        f"{free[k]} steps ({bounded[k]} with the bound), ASE {theirs[k]}, "
        f"differences {positions[k]:.1e} and {cells[k]:.1e} A"
        for k, case in enumerate(todo)
        if not free[k] == bounded[k] == theirs[k] or max(positions[k], cells[k]) > 1e-7
    ]
    return figures


def starts() -> list[Case]:
    """30 crystals for each kind of cell, rattled, every other one sheared as well as strained."""
    cases = []
    for kind in (kr.FrechetCell, kr.UnitCell):
        for potentials, structures in FAMILIES:
            for k, options in enumerate(OPTIONS):
                random = np.random.default_rng(len(cases))
                symbols, lattice, constants, repetitions = structures[k % len(structures)]
                atoms = bulk(symbols, lattice, **constants).repeat(repetitions)
                atoms.rattle(0.05, rng=random)
                periodic.deformed(atoms, random, strain=0.03, shear=0.03 if k % 2 else 0.0)
                potential = potentials[k % len(potentials)]
                atoms.info["id"] = f"{len(cases)} {atoms.symbols} {lattice} {potential.name}"
                cases.append(Case(atoms, potential, kind(**options, max_strain=1.0)))
    return cases


def _relaxed(cases: list[Case], max_strain: float, **options: Any) -> list[tuple[ase.Atoms, int]]:
    """Relax all, those of one potential and one kind of cell together; atoms and steps."""
    together: dict[Any, list[int]] = collections.defaultdict(list)
    for k, case in enumerate(cases):
        together[case.potential, case.cell].append(k)
    done: dict[int, tuple[ase.Atoms, int]] = {}
    for (potential, cell), members in together.items():
        result = kr.relax(
            [cases[k].atoms for k in members],
            potential,
            "ase-lbfgs",
            cell=dataclasses.replace(cell, max_strain=max_strain),
            progress=False,
            **options,
        )
        done |= zip(members, zip(result.atoms, map(int, result.n_steps), strict=True), strict=True)
    return [done[k] for k in range(len(cases))]


def _differences(cases: list[Case]) -> tuple[np.ndarray, np.ndarray]:
    """Largest differences of each from ASE's, of positions and of the cell."""
    tracks = [_ase_track(case) for case in cases]
    positions, cells = np.zeros(len(cases)), np.zeros(len(cases))
    for n in range(N_STEPS + 1):
        # max_steps=n returns the geometry after n moves; fmax is out of reach.
        for k, (atoms, _) in enumerate(_relaxed(cases, 1.0, fmax=1e-12, max_steps=n)):
            theirs = tracks[k][min(n, len(tracks[k]) - 1)]
            positions[k] = max(positions[k], np.abs(atoms.positions - theirs[0]).max())
            cells[k] = max(cells[k], np.abs(atoms.cell.array - theirs[1]).max())
    return positions, cells


def _steps(cases: list[Case], max_strain: float) -> np.ndarray:
    relaxed = _relaxed(cases, max_strain, fmax=0.01, max_steps=MAX_STEPS)
    return np.array([n for _, n in relaxed])


def _ase_track(case: Case) -> list[tuple[np.ndarray, np.ndarray]]:
    atoms, optimizer = periodic.ase_lbfgs(case.atoms, case.potential, case.cell)
    steps = optimizer.irun(fmax=1e-12, steps=N_STEPS)
    return [(atoms.positions.copy(), atoms.cell.array.copy()) for _ in steps]


def _ase_steps(case: Case) -> int:
    _, optimizer = periodic.ase_lbfgs(case.atoms, case.potential, case.cell)
    optimizer.run(fmax=0.01, steps=MAX_STEPS)
    return optimizer.nsteps
