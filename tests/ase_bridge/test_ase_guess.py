"""`preconditioned` on ASE objects: the steps of `relax`, restarts, and what is refused."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter, UnitCellFilter
from ase.io import read
from ase.mep import NEB
from ase_cases import FreshEMT, Function, gold

import kups_relax as kr
from kups_relax.ase import JaxCalculator, Optimizer, RestartFileError
from kups_relax.errors import OptionError
from support.crossing import first


def shaken(name, seed=0):
    atoms = molecule(name)
    atoms.rattle(0.1, seed=seed)
    return atoms


def run(target, fmax=0.01, steps=200):
    optimizer = Optimizer(target, "preconditioned", logfile=None)
    assert optimizer.run(fmax=fmax, steps=steps)
    return optimizer


def assert_the_steps_of_relax(molecules):
    want = kr.relax(molecules, "emt", "preconditioned", progress=False)
    assert want.converged.all()
    for i, atoms in enumerate(molecules):
        atoms.calc = JaxCalculator("emt")
        optimizer = run(atoms)
        assert optimizer.nsteps == want.n_steps[i]
        assert np.array_equal(atoms.positions, want.atoms[i].positions)
        assert atoms.get_potential_energy() == want.energy[i]


@pytest.mark.parametrize(
    "names",
    [
        ("CH3OH",),
        pytest.param(("CH3OH", "C2H2", "H2O", "CO2", "NH3"), marks=pytest.mark.extended),
    ],
)
def test_molecules_take_the_very_steps_of_relax(names):
    assert_the_steps_of_relax([shaken(name) for name in names])


@pytest.mark.extended
def test_molecules_with_atoms_held_take_the_very_steps_of_relax():
    held = shaken("CH3OH")
    held.set_constraint(FixAtoms([0]))
    assert_the_steps_of_relax([held])


@pytest.mark.extended
@pytest.mark.parametrize(
    ("cell", "filtered"), [("frechet", FrechetCellFilter), ("unit", UnitCellFilter)]
)
def test_cells_take_as_many_steps_as_in_relax(cell, filtered):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.set_cell(atoms.cell.array * [0.98, 1.0, 1.03], scale_atoms=True)
    want = kr.relax(atoms, "emt", "preconditioned", cell=cell, progress=False)
    assert want.converged.all()
    atoms.calc = JaxCalculator("emt")
    optimizer = run(filtered(atoms))
    assert optimizer.nsteps == want.n_steps[0]
    assert np.abs(atoms.positions - want.atoms[0].positions).max() < 1e-8
    assert np.abs(atoms.cell.array - want.atoms[0].cell.array).max() < 1e-8


@pytest.mark.parametrize("filtered", first([lambda atoms: atoms, FrechetCellFilter]))
def test_a_restarted_run_goes_on_bit_for_bit(filtered, tmp_path):
    def make(atoms, **options):
        atoms.calc = FreshEMT()
        return Optimizer(filtered(atoms), "preconditioned", logfile=None, **options)

    whole = gold()
    make(whole).run(fmax=1e-9, steps=14)
    files = {"restart": tmp_path / "state.json", "trajectory": tmp_path / "run.traj"}
    make(gold(), **files).run(fmax=1e-9, steps=5)
    for n_steps in (6, 3):
        atoms = read(files["trajectory"])
        make(atoms, append_trajectory=True, **files).run(fmax=1e-9, steps=n_steps)
    assert np.array_equal(atoms.positions, whole.positions)
    assert np.array_equal(atoms.cell.array, whole.cell.array)
    assert not np.array_equal(whole.positions, gold().positions)


def test_a_file_of_another_optimizer_is_refused(tmp_path):
    file = tmp_path / "state.json"
    Optimizer(gold(), "lbfgs", restart=file, logfile=None).run(fmax=1e-9, steps=2)
    with pytest.raises(RestartFileError, match=r"and this is .*ScaleByModelHessian"):
        Optimizer(gold(), "preconditioned", restart=file, logfile=None)


def test_what_is_no_single_structure_is_refused():
    images = [gold(seed=seed) for seed in range(3)]
    for image in images:
        image.calc = EMT()
    band = NEB(images, method="improvedtangent")
    for target, message in (
        (band, "NEB: the forces of a band are not the slope of an energy.*such as 'lbfgs'"),
        (Function(6), "Function.*needs Atoms.*Use another optimizer"),
    ):
        with pytest.raises(OptionError, match=message):
            Optimizer(target, "preconditioned", logfile=None).run(fmax=0.1, steps=2)
