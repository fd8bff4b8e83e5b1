"""Crystals that several benchmarks use, from seeds, and ASE's relaxation of them."""

import importlib
import pathlib
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import ase
import numpy as np
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.tersoff import Tersoff, TersoffParameters
from ase.filters import FrechetCellFilter, UnitCellFilter
from ase.optimize import LBFGS

import kups_relax as kr
from benchmarks import cases

# Of nearly no deformation, at every step of ASE's filter.
warnings.filterwarnings("ignore", "logm result may be inaccurate", RuntimeWarning)

CUTOFF = 8.5
FILTERS = {kr.FrechetCell: FrechetCellFilter, kr.UnitCell: UnitCellFilter}


def argon(skin: float = 1.0) -> kr.potentials.LennardJones:
    """Make argon with a cutoff, for crystals."""
    return kr.potentials.LennardJones(**cases.ARGON, cutoff=CUTOFF, skin=skin)


def deformed(
    atoms: ase.Atoms, random: np.random.Generator, strain: float, shear: float = 0.0
) -> ase.Atoms:
    """Stretch or squeeze each Cartesian axis by up to `strain`, and shear by up to `shear`."""
    deformation = np.diag(1 + strain * random.uniform(-1, 1, 3))
    deformation += shear * random.uniform(-1, 1, (3, 3)) * (1 - np.eye(3))
    atoms.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
    return atoms


def ase_calculator(potential: Any) -> Any:
    """Return ASE's own calculator for a potential; where there is none, ours as a calculator."""
    if isinstance(potential, kr.potentials.EMT):
        return EMT()
    if isinstance(potential, kr.potentials.LennardJones):
        options = {"epsilon": potential.epsilon, "sigma": potential.sigma}
        return LennardJones(**options, rc=potential.cutoff)
    if isinstance(potential, kr.potentials.Tersoff):
        return Tersoff({key: TersoffParameters(*values) for key, values in potential.triplets})
    return kr.ase.JaxCalculator(potential)


def ase_lbfgs(atoms: ase.Atoms, potential: Any, cell: Any = None) -> tuple[ase.Atoms, LBFGS]:
    """Copy a structure and set ASE's optimizer on it; with a cell, through ASE's filter."""
    atoms = atoms.copy()
    atoms.calc = ase_calculator(potential)
    moving: Any = atoms
    if cell is not None:
        moving = FILTERS[type(cell)](
            atoms,
            mask=np.ones(6) if cell.mask is None else np.array(cell.mask, float),
            hydrostatic_strain=cell.hydrostatic_strain,
            constant_volume=cell.constant_volume,
            scalar_pressure=cell.pressure,
        )
    logfile: Any = None  # ASE's annotation lacks what its documentation offers
    return atoms, LBFGS(moving, logfile=logfile)


def of_tests(*names: str) -> Sequence[Any]:
    """Import modules of the tests: their structures and oracles are those of benchmarks too."""
    tests = pathlib.Path(__file__).parent.parent / "tests"
    for folder in (tests, tests / "coordinates", tests / "potentials", tests / "store"):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
    return [importlib.import_module(name) for name in names]
