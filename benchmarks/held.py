"""Check in results that nothing held moves: optimizers by name x constraints and cell options.

Every optimizer relaxes the same structures for a few steps, in `relax` and in the ASE bridge; then
the geometries are looked at, not the forces: did anything move that is held?

Nearly all of its time is compiling, and no figure depends on how fast programs are:
`XLA_FLAGS="--xla_backend_optimization_level=0" python -m benchmarks held` takes half of it.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import (
    FixAtoms,
    FixCartesian,
    FixCom,
    FixedLine,
    FixedPlane,
    FixScaled,
    FixSymmetry,
)
from ase.filters import FrechetCellFilter, UnitCellFilter

import kups_relax as kr
from kups_relax.ase import Optimizer
from kups_relax.errors import OptionError
from kups_relax.optimizers import NAMED

# Angstrom, or a strain: more than rounding of some dozen steps.
MOVED = 1e-9
STEPS = 12

MASK = "xx+yy+xy"
CELLS: dict[str, Any] = {
    "fixed cell": None,
    "frechet, mask": kr.FrechetCell(mask=MASK),
    "frechet, shape": kr.FrechetCell(hydrostatic_strain=True),
    "frechet, volume": kr.FrechetCell(constant_volume=True),
    "frechet, volume and mask": kr.FrechetCell(constant_volume=True, mask=MASK),
    "frechet, shape and mask": kr.FrechetCell(hydrostatic_strain=True, mask=MASK),
    "unit, mask": kr.UnitCell(mask=MASK),
    "unit, shape": kr.UnitCell(hydrostatic_strain=True),
    "unit, volume": kr.UnitCell(constant_volume=True),
}
# With these, constraints too.
CROSSED = ("fixed cell", "frechet, volume")
FILTERS = {"frechet": FrechetCellFilter, "unit": UnitCellFilter}


@dataclasses.dataclass(frozen=True)
class Case:
    """Something that can be held.

    Attributes:
        name: What people call it.
        atoms: The structure, its constraints set.
        cell: How the cell changes.
        moved: By how much what is held differs between two structures.
    """

    name: str
    atoms: Atoms
    cell: Any
    moved: Callable[[Atoms, Atoms], float]


def crystal() -> Atoms:
    """Four copper atoms in a cell without symmetry."""
    atoms = bulk("Cu", a=3.7, cubic=True)
    strain = np.array([[1.02, 0.01, 0.0], [0.01, 0.98, 0.02], [0.0, 0.02, 1.01]])
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.rattle(0.05, seed=2)
    atoms.set_masses([1.0, 2.0, 30.0, 4.0])
    return atoms


def symmetric() -> Atoms:
    """A tetragonal cell, stretched within its symmetry; its atoms stay where they are."""
    atoms = bulk("Cu", a=3.7, cubic=True)
    atoms.symbols[[0, 1]] = "Au"
    atoms.set_cell(atoms.cell.array @ np.diag([1.02, 1.02, 0.97]), scale_atoms=True)
    atoms.set_constraint(FixSymmetry(atoms, symprec=1e-5))
    return atoms


def cases(cells: Iterable[str] = tuple(CELLS), crossed: Iterable[str] = tuple(CELLS)) -> list[Case]:
    """Make all that can be held, with each cell; with those that are not crossed, it alone."""
    return [
        Case(f"{held}; {name}", atoms(), CELLS[name], both(moved, _of_cell(CELLS[name])))
        for name, (held, (atoms, moved)) in itertools.product(cells, _HELD.items())
        if (held == "nothing" or name in crossed)
        and (CELLS[name] is None or held not in _IN_SPACE)
        and not (held == "symmetry" and CELLS[name] is not None and CELLS[name].mask)
    ]


def both(*moved: Callable[[Atoms, Atoms], float]) -> Callable[[Atoms, Atoms], float]:
    """Take the larger of what several say."""
    return lambda start, end: max(each(start, end) for each in moved)


def deformation(start: Atoms, end: Atoms) -> np.ndarray:
    """(3, 3) F of cell = cell0 @ F.T."""
    return np.linalg.solve(start.cell.array, end.cell.array).T


def _way(start: Atoms, end: Atoms) -> np.ndarray:
    """(n_atoms, 3) how atoms moved in the undeformed cell."""
    return end.positions @ np.linalg.inv(deformation(start, end).T) - start.positions


def _of_cell(cell: Any) -> Callable[[Atoms, Atoms], float]:
    def moved(start: Atoms, end: Atoms) -> float:
        f = deformation(start, end)
        if cell is None:
            return float(np.abs(f - np.eye(3)).max())
        largest = 0.0
        if cell.mask is not None:
            mask = np.zeros((3, 3), bool)
            mask[:2, :2] = True
            largest = float(np.abs((f - np.eye(3))[~mask]).max())
        if cell.hydrostatic_strain:
            stretched = np.diag(f) if cell.mask is None else np.diag(f)[:2]
            off = f - np.diag(np.diag(f))
            largest = max(largest, float(np.ptp(stretched)), float(np.abs(off).max()))
        if cell.constant_volume:
            # A unit cell keeps the volume to first order: the trace of its strain.
            volume = np.trace(f) - 3 if cell.name == "unit" else np.linalg.det(f) - 1
            largest = max(largest, abs(float(volume)))
        return largest

    return moved


def _with(constraint: Callable[[], Any]) -> Callable[[], Atoms]:
    def make() -> Atoms:
        atoms = crystal()
        atoms.set_constraint(constraint())
        return atoms

    return make


def _rows(which: list[int], along: Any) -> Callable[[Atoms, Atoms], float]:
    directions = np.atleast_2d(np.asarray(along, float))

    def moved(start: Atoms, end: Atoms) -> float:
        return float(np.abs(_way(start, end)[which] @ directions.T).max())

    return moved


def _scaled(start: Atoms, end: Atoms) -> float:
    way = np.linalg.solve(start.cell.array.T, _way(start, end).T).T
    return float(np.abs(way[[0, 1], :2]).max())


def _com(start: Atoms, end: Atoms) -> float:
    mass = start.get_masses()
    return float(np.abs(mass @ _way(start, end)).max() / mass.sum())


def _symmetry(start: Atoms, end: Atoms) -> float:
    """By how much the operations of the start do not map the end onto itself."""
    [constraint] = start.constraints
    way, f = _way(start, end), deformation(start, end)
    inverse = np.linalg.inv(start.cell.array)
    largest = 0.0
    for rotation, mapped in zip(constraint.rotations, constraint.symm_map, strict=True):
        turn = (inverse @ rotation.T @ start.cell.array).T
        largest = max(largest, float(np.abs(way[mapped] - way @ turn.T).max()))
        largest = max(largest, float(np.abs(turn @ f @ np.linalg.inv(turn) - f).max()))
    return largest


# What acts on steps in space, and says nothing of a geometry where the cell moves.
_IN_SPACE = ("cartesian", "line", "plane", "several")
_HELD: dict[str, tuple[Callable[[], Atoms], Callable[[Atoms, Atoms], float]]] = {
    "nothing": (crystal, lambda start, end: 0.0),
    "atoms": (_with(lambda: FixAtoms([0, 3])), _rows([0, 3], np.eye(3))),
    "scaled": (_with(lambda: FixScaled([0, 1], (True, True, False))), _scaled),
    "com": (_with(FixCom), _com),
    "symmetry": (symmetric, _symmetry),
    "cartesian": (
        _with(lambda: FixCartesian([1, 2], (True, False, True))),
        _rows([1, 2], [[1, 0, 0], [0, 0, 1]]),
    ),
    "line": (
        _with(lambda: FixedLine([0, 3], [1, 1, 0])),
        _rows([0, 3], [[1, -1, 0], [0, 0, 1]]),
    ),
    "plane": (_with(lambda: FixedPlane([2, 3], [1, 2, -1])), _rows([2, 3], [1, 2, -1])),
    "several": (
        _with(lambda: [FixAtoms([0]), FixedPlane([1, 2], [0, 1, 1]), FixedPlane(2, [1, 0, 0])]),
        both(_rows([0], np.eye(3)), _rows([1, 2], [0, 1, 1]), _rows([2], [1, 0, 0])),
    ),
}


def relaxed(optimizer: str, chosen: list[Case], potential: Any) -> dict[str, float]:
    """Relax for some steps with `relax`; say by how much each moved what it holds."""
    moved = {}
    for cell in {id(case.cell): case.cell for case in chosen}.values():
        members = [case for case in chosen if case.cell is cell]
        starts = [case.atoms for case in members]
        result = kr.relax(
            starts, potential, optimizer, cell=cell, fmax=1e-6, max_steps=STEPS, progress=False
        )
        for case, end, status, reason in zip(
            members, result.atoms, result.status, result.reason, strict=True
        ):
            if status not in ("converged", "max_steps"):
                raise RuntimeError(f"{optimizer}, {case.name}: {status}: {reason}")
            moved[case.name] = case.moved(case.atoms, end)
            if np.array_equal(end.positions, case.atoms.positions) and case.cell is None:
                assert np.abs(end.get_forces()).max() < 1e-3 or case.name.startswith("symmetry")
    return moved


def bridged(optimizer: str, case: Case, calculator: Any) -> float:
    """Relax for some steps in ASE; say by how much what is held moved."""
    atoms = case.atoms.copy()
    atoms.calc = calculator
    what: Any = atoms
    if case.cell is not None:
        mask = None if case.cell.mask is None else [1, 1, 0, 0, 0, 1]
        what = FILTERS[case.cell.name](
            atoms,
            mask=mask,
            hydrostatic_strain=case.cell.hydrostatic_strain,
            constant_volume=case.cell.constant_volume,
        )
    Optimizer(what, optimizer, logfile=None).run(fmax=1e-6, steps=STEPS)
    return case.moved(case.atoms, atoms)


def main() -> dict[str, Any]:
    """Run all optimizers by name with all that can be held."""
    potential, chosen = kr.potentials.EMT(), cases(crossed=CROSSED)
    largest: dict[str, dict[str, float]] = {"relax": {}, "bridge": {}}
    n_moved = 0
    passed_by = []
    for optimizer in NAMED:
        moved = {"relax": relaxed(optimizer, chosen, potential), "bridge": {}}
        for case in chosen:
            try:
                moved["bridge"][case.name] = bridged(optimizer, case, EMT())
            except OptionError as error:
                passed_by.append(f"{optimizer}, {case.name}: {error}")
        for way, of in moved.items():
            largest[way][optimizer] = max(of.values())
            n_moved += sum(value > MOVED for value in of.values())
            for name, value in of.items():
                if value > MOVED:
                    print(f"{way}, {optimizer}, {name}: moved by {value:.2g}", flush=True)
        print(optimizer, {way: max(of.values()) for way, of in moved.items()}, flush=True)
    return {
        "optimizers": len(NAMED),
        "cases": [case.name for case in chosen],
        "comparisons": 2 * len(NAMED) * len(chosen) - len(passed_by),
        "moved by more than 1e-9": n_moved,
        "largest move of what is held, Angstrom or strain": largest,
        "refused in words": passed_by,
    }
