"""Noise in forces, as of models in float32: how far optimizers amplify what breaks a symmetry.

Crystals off their lattice constants, not off their symmetry, with moving and with fixed cells. Each
evaluation adds other noise to the forces. Figures are the largest force that breaks the symmetry,
as a multiple of the noise, and evaluations to 0.01 eV/Angstrom.
"""

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter

import kups_relax as kr
from benchmarks import periodic
from kups_relax.ase import JaxCalculator, Optimizer

NOISE = 1e-5
OPTIMIZERS = ("lbfgs", "ase-lbfgs", "preconditioned")
# Minima in all directions, and not only among symmetric geometries.
STABLE = {
    "emt": ("hcp Ag", "hcp Ni", "caesium chloride NiAl", "Cu3Au AuCu", "Cu3Au AlNi", "FeSi PdAl"),
    "tersoff": ("zincblende SiC", "wurtzite SiC", "lonsdaleite C"),
    "stillinger-weber": ("lonsdaleite Si",),
}
POTENTIALS: dict[str, Any] = {
    "emt": kr.potentials.EMT(),
    "tersoff": kr.potentials.Tersoff("sic-1989"),
    "stillinger-weber": kr.potentials.StillingerWeber(),
}


class Noisy(Calculator):
    """Forces of another calculator, each component off by up to NOISE, differently each time.

    Attributes:
        off: The largest force of each evaluation that breaks the symmetry, without the noise.
    """

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, inner: Any, symmetry: FixSymmetry) -> None:
        super().__init__()
        self.inner, self.symmetry = inner, symmetry
        self.random = np.random.default_rng(0)
        self.off: list[float] = []

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        """Calculate, and add noise."""
        super().calculate(atoms, properties, system_changes)
        bare = atoms.copy()
        bare.set_constraint()
        self.inner.calculate(bare, self.implemented_properties)
        self.results = dict(self.inner.results)
        forces = self.results["forces"]
        symmetric = forces.copy()
        self.symmetry.adjust_forces(bare, symmetric)
        self.off.append(float(np.abs(forces - symmetric).max()))
        self.results["forces"] = forces + NOISE * self.random.uniform(-1, 1, forces.shape)


def crystal(potential: str, name: str) -> Atoms:
    """Return one of the symmetric crystals of the tests."""
    [module] = periodic.of_tests("symmetric_structures")
    for one in module.symmetric_crystals():
        if one.potential == potential and one.atoms.info["id"] == name:
            return one.atoms.copy()
    raise LookupError(name)


def amplified(
    potential: str, name: str, optimizer: str, *, moving: bool = True
) -> tuple[float, int]:
    """Relax a crystal, and return its largest amplification and its number of evaluations."""
    atoms = crystal(potential, name)
    calculator = JaxCalculator(POTENTIALS[potential])
    noisy = Noisy(calculator, FixSymmetry(atoms, symprec=1e-5))
    atoms.calc = noisy
    what = FrechetCellFilter(atoms) if moving else atoms
    if not Optimizer(what, optimizer, logfile=None).run(fmax=0.01, steps=100):
        raise RuntimeError(f"{name} has not converged with {optimizer}.")
    return max(noisy.off) / NOISE, len(noisy.off)


def main() -> dict[str, Any]:
    """Relax all crystals with all optimizers."""
    figures: dict[str, Any] = {"noise, eV/A": NOISE}
    for moving, label in ((True, "moving cell"), (False, "fixed cell")):
        for optimizer in OPTIMIZERS:
            found = {
                name: amplified(potential, name, optimizer, moving=moving)
                for potential, names in STABLE.items()
                for name in names
            }
            figures[f"{label}, {optimizer}"] = {
                "largest amplification": max(times for times, _ in found.values()),
                "evaluations": sum(n for _, n in found.values()),
                "each": found,
            }
    return figures
