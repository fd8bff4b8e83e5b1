"""What is held in forces is held in steps: small inputs that once went wrong."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixCom
from ase.filters import FrechetCellFilter
from benchmarks.held import deformation

import kups_relax as kr
from kups_relax.ase import Optimizer

# What two optimizers' minima at a threshold of 5e-3 eV/Angstrom may differ by, eV.
NEAR = 1e-4


def copper() -> Atoms:
    atoms = bulk("Cu", a=3.7, cubic=True)
    atoms.set_cell(atoms.cell.array @ np.diag([1.02, 0.98, 1.01]), scale_atoms=True)
    atoms.rattle(0.05, seed=2)
    return atoms


def relaxed(optimizer: str, **options: bool) -> Atoms:
    cell = kr.FrechetCell(**options)
    result = kr.relax(copper(), kr.potentials.EMT(), optimizer, cell=cell, fmax=5e-3)
    assert result.converged.all(), result.reason
    return result.atoms[0]


def test_case_17_a_constant_volume_is_kept_by_preconditioned() -> None:
    end = relaxed("preconditioned", constant_volume=True)
    assert end.get_volume() == pytest.approx(copper().get_volume(), rel=1e-12)
    # As with "lbfgs", and ASE's BFGS on its own filter.
    assert end.get_potential_energy() == pytest.approx(0.15305, abs=NEAR)


@pytest.mark.extended
def test_case_18_a_shape_is_kept_by_preconditioned() -> None:
    f = deformation(copper(), relaxed("preconditioned", hydrostatic_strain=True))
    np.testing.assert_allclose(f, f[0, 0] * np.eye(3), rtol=0, atol=1e-12)
    assert f[0, 0] == pytest.approx(0.9672, abs=1e-3)


def test_case_19_a_filter_keeps_its_volume_in_the_bridge() -> None:
    atoms = copper()
    atoms.calc = EMT()
    volume = atoms.get_volume()
    what = FrechetCellFilter(atoms, constant_volume=True)
    assert Optimizer(what, "preconditioned", logfile=None).run(fmax=5e-3, steps=100)
    assert atoms.get_volume() == pytest.approx(volume, rel=1e-12)
    assert atoms.get_potential_energy() == pytest.approx(0.15305, abs=NEAR)


def water() -> Atoms:
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=3)
    atoms.set_constraint(FixCom())
    return atoms


@pytest.mark.extended
def test_case_20_a_held_centre_of_mass_costs_no_evaluations() -> None:
    result = kr.relax(water(), kr.potentials.MMFF94(), "preconditioned")
    assert result.converged.all()
    assert result.n_evaluations[0] <= 8
    [end] = result.atoms
    np.testing.assert_allclose(end.get_center_of_mass(), water().get_center_of_mass(), atol=1e-12)


def test_case_20_a_held_centre_of_mass_costs_no_evaluations_in_gfn2() -> None:
    tblite = pytest.importorskip("tblite.ase", reason="GFN2-xTB comes from tblite")
    atoms = water()
    atoms.calc = tblite.TBLite(method="GFN2-xTB", verbosity=0)
    run = Optimizer(atoms, "preconditioned", logfile=None)
    assert run.run(fmax=0.01, steps=20)
    assert run.nsteps <= 8
