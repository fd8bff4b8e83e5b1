"""Evaluations of "preconditioned" and "lbfgs" with each constraint that is kept.

Eight molecules in GFN2-xTB, four crystals in EMT with cells that stay and cells that move.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.constraints import (
    FixAtoms,
    FixCartesian,
    FixCom,
    FixedLine,
    FixedPlane,
    FixScaled,
    FixSymmetry,
)

import kups_relax as kr
from benchmarks.evaluations import _engines

FMAX, MAX_STEPS = 0.01, 500
OPTIMIZERS = ("lbfgs", "preconditioned")
MOLECULES = ("H2O", "CH3OH", "CH3CH2OH", "H2CO", "C6H6", "CH3COOH", "NH3", "CH3SH")

CONSTRAINTS: dict[str, Callable[[Atoms], Any]] = {
    "FixAtoms": lambda atoms: FixAtoms([0]),
    "FixCartesian": lambda atoms: FixCartesian([0, 1], (True, False, False)),
    "FixScaled": lambda atoms: FixScaled([0], (True, True, False)),
    "FixedLine": lambda atoms: FixedLine([1], [1, 1, 0]),
    "FixedPlane": lambda atoms: FixedPlane([0, 1], [0, 1, 1]),
    "FixCom": lambda atoms: FixCom(),
}


def molecules() -> list[Atoms]:
    """Eight of the G2 set, rattled."""
    made = []
    for number, name in enumerate(MOLECULES):
        atoms = molecule(name)
        atoms.rattle(0.05, seed=number)
        atoms.info["id"] = name
        made.append(atoms)
    return made


def crystals() -> list[Atoms]:
    """A strained metal, an ordered alloy, a random one, and a slab; rattled."""
    random = np.random.default_rng(5)
    copper = bulk("Cu", a=3.7, cubic=True)
    ordered = bulk("Cu", a=3.8, cubic=True)
    ordered.symbols[[0, 1]] = "Au"
    alloy = bulk("Ni", a=3.7, cubic=True).repeat((2, 1, 1))
    alloy.symbols = random.choice(["Ni", "Cu", "Al"], len(alloy))
    slab = fcc111("Pt", (2, 2, 3), vacuum=8.0)
    made = []
    for name, atoms in {"Cu": copper, "CuAu": ordered, "NiCuAl": alloy, "Pt slab": slab}.items():
        atoms.rattle(0.05, rng=random)
        if atoms.pbc.all():
            strain = np.eye(3) + 0.02 * random.standard_normal((3, 3))
            atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        atoms.info["id"] = name
        made.append(atoms)
    return made


def symmetric() -> list[Atoms]:
    """Four crystals that are off their lattice constants, not off their symmetry."""
    made = []
    for name, atoms, strain in (
        ("Cu", bulk("Cu", a=3.75, cubic=True), (1, 1, 1)),
        ("Ag hcp", bulk("Ag", "hcp", a=2.95, c=4.7), (1, 1, 1.02)),
        ("Pt", bulk("Pt", a=3.95, cubic=True), (1.01, 1.01, 0.98)),
        ("NiAl", bulk("NiAl", "cesiumchloride", a=2.95), (1, 1, 1)),
    ):
        atoms.set_cell(atoms.cell.array @ np.diag(strain), scale_atoms=True)
        atoms.info["id"] = name
        made.append(atoms)
    return made


def measure(structures: list[Atoms], constraint: Any, potential: Any, cell: Any) -> dict[str, Any]:
    """Count the evaluations of each structure with both optimizers."""
    held = []
    for atoms in structures:
        held.append(atoms.copy())
        held[-1].set_constraint(constraint(held[-1]))
    counts: dict[str, Any] = {}
    for optimizer in OPTIMIZERS:
        result = kr.relax(
            held,
            potential,
            optimizer,
            cell=cell,
            fmax=FMAX,
            max_steps=MAX_STEPS,
            progress=False,
        )
        for label, status, reason in zip(result.ids, result.status, result.reason, strict=True):
            if status != "converged":
                print(f"   {optimizer}, {label}: {status}: {reason}")
        counts[optimizer] = result.n_evaluations.tolist()
        counts[f"{optimizer}, not converged"] = int((~result.converged).sum())
    ours, reference = (np.array(counts[name]) for name in reversed(OPTIMIZERS))
    counts["totals"] = [int(reference.sum()), int(ours.sum())]
    counts["over twice"] = [
        str(label)
        for label, one, other in zip(result.ids, ours, reference, strict=True)
        if one > 2 * other
    ]
    return counts


def main() -> dict[str, Any]:
    """Measure all of them, and compare the totals."""
    emt = kr.potentials.EMT()
    figures: dict[str, Any] = {"optimizers": OPTIMIZERS, "fmax, eV/A": FMAX}
    gfn2 = kr.potentials.AseCalculator(_engines.gfn2, workers=2)
    sets: list[tuple[str, list[Atoms], Any, Any, dict[str, Any]]] = [
        (
            "molecules",
            molecules(),
            gfn2,
            None,
            CONSTRAINTS,
        ),
        ("crystals", crystals(), emt, None, CONSTRAINTS),
        ("crystals, cells move", crystals()[:3], emt, kr.FrechetCell(), CONSTRAINTS),
        (
            "symmetric crystals, cells move",
            symmetric(),
            emt,
            kr.FrechetCell(),
            {"FixSymmetry": lambda atoms: FixSymmetry(atoms, symprec=1e-5)},
        ),
    ]
    worse = []
    for name, structures, potential, cell, constraints in sets:
        figures[name] = {}
        for kind, constraint in constraints.items():
            counts = measure(structures, constraint, potential, cell)
            print(f"{name}, {kind}: {counts['totals']}, over twice: {counts['over twice']}")
            figures[name][kind] = counts
            if counts["totals"][1] > counts["totals"][0] or counts["over twice"]:
                worse.append(f"{name}, {kind}")
    figures["where preconditioned needs more"] = worse
    return figures
