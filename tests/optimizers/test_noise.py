"""Noise in forces, as of models in float32, stays noise: it is not blown up step by step.

Where symmetry holds forces on atoms at zero, what is left of them is noise. The softness of a cell,
taken for that of all coordinates, would send it along the stiffest directions there are.
"""

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter

import kups_relax as kr
from coordinates.symmetric_structures import symmetric_crystals
from kups_relax.ase import JaxCalculator, Optimizer

NOISE = 1e-5
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
    """Forces of another calculator, each off by up to NOISE, another way each time."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner, self.random = inner, np.random.default_rng(0)
        self.off: list[float] = []

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
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
    for one in symmetric_crystals():
        if one.potential == potential and one.atoms.info["id"] == name:
            return one.atoms.copy()
    raise LookupError(name)


def amplified(potential: str, name: str, optimizer: str) -> tuple[float, int]:
    """How many times the noise the forces get that break the symmetry; evaluations."""
    atoms = crystal(potential, name)
    noisy = Noisy(JaxCalculator(POTENTIALS[potential]))
    noisy.symmetry = FixSymmetry(atoms, symprec=1e-5)
    atoms.calc = noisy
    run = Optimizer(FrechetCellFilter(atoms), optimizer, logfile=None)
    assert run.run(fmax=0.01, steps=100)
    return max(noisy.off) / NOISE, len(noisy.off)


@pytest.mark.parametrize(
    ("potential", "name"),
    [
        pytest.param(
            potential, name, marks=[] if name.startswith("hcp Ag") else pytest.mark.extended
        )
        for potential, names in STABLE.items()
        for name in names
    ],
)
def test_case_13_noise_stays_below_ten_times_itself(potential: str, name: str) -> None:
    times, n_evaluations = amplified(potential, name, "lbfgs")
    assert times < 10
    assert n_evaluations < 40
