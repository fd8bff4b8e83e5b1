"""ASE calculators as potentials: the steps, the bits, and the options."""

import ase.optimize
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase_calculator_cases import QUICK, molecules, rattled, relax
from faulty_calculators import Faulty, NoStress, Remembering

import kups_relax as kr
import kups_relax.ase
from helpers import assert_same_result
from kups_relax.errors import OptionError
from kups_relax.potentials import AseCalculator
from kups_relax.relaxation import evaluate
from kups_relax.testing import count_programs


@pytest.mark.exact
@pytest.mark.parametrize("optimizer", ["lbfgs", "ase-lbfgs"])
def test_steps_are_those_of_the_ase_optimizer_to_the_bit(optimizer):
    structures = [*molecules(), rattled("Cu4")]
    result = relax(structures, optimizer=optimizer)
    assert result.converged.sum() > 4
    for i, atoms in enumerate(structures):
        atoms.calc = EMT()
        run = kups_relax.ase.LBFGS(atoms, optimizer=optimizer, logfile=None)
        run.run(QUICK["fmax"], QUICK["max_steps"])
        assert result.n_steps[i] == run.nsteps
        assert np.array_equal(result.atoms[i].positions, atoms.positions)
        assert np.array_equal(result.atoms[i].get_forces(), atoms.get_forces())
        assert result.energy[i] == atoms.get_potential_energy()
    assert np.array_equal(result.atoms[-1].get_stress(), atoms.get_stress())


def test_ases_own_lbfgs_takes_as_many_steps_to_the_same_place():
    structures = molecules()
    result = relax(structures, optimizer="ase-lbfgs")
    for i, atoms in enumerate(structures):
        atoms.calc = EMT()
        run = ase.optimize.LBFGS(atoms, logfile=None)
        run.run(QUICK["fmax"], QUICK["max_steps"])
        assert result.n_steps[i] == run.nsteps
        np.testing.assert_allclose(result.atoms[i].positions, atoms.positions, atol=1e-9)


@pytest.mark.exact
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_and_company_change_no_bits(workers):
    structures = [*molecules(), rattled("Cu4"), rattled("CH4", 1), rattled("Cu4", 1)]
    alone = [relax([atoms]) for atoms in structures]
    together = relax(structures, workers=workers)
    for i, one in enumerate(alone):
        assert_same_result(together, i, one, 0)


def test_what_a_calculator_remembers_is_of_its_structure_alone():
    report = kr.verify(molecules(), AseCalculator(Remembering), draws=3, fmax=0.05, max_steps=20)
    assert report.ok
    assert relax(molecules()[:1], Remembering).energy != relax(molecules()[:1]).energy


def test_float32_rounds_what_the_calculator_gives():
    [atoms] = relax(molecules()[:1], options={**QUICK, "dtype": "float32"}).atoms
    again = atoms.copy()
    again.calc = EMT()
    forces = again.get_forces().astype(np.float32)
    assert np.array_equal(atoms.get_forces().astype(np.float32), forces)


@pytest.mark.parametrize(
    "optimizer",
    [
        pytest.param(name, marks=[] if name == "lbfgs" else pytest.mark.extended)
        for name in ("lbfgs", "lbfgs-zoom", "lbfgs-backtracking", "preconditioned", "fire", "adam")
    ],
)
def test_a_structure_has_a_calculator_of_its_own_and_is_given_its_count(optimizer):
    made = []

    def factory():
        made.append(Faulty())
        return made[-1]

    structures = [*molecules(), rattled("Cu4")]
    result = relax(structures, factory, optimizer, {**QUICK, "cell": "frechet"})
    assert len(made) == len(structures)
    assert sorted(c.n_calls for c in made) == sorted(result.n_evaluations)


def test_a_fixed_cell_needs_no_stress():
    with_stress, without = (relax([rattled("Cu4")], factory) for factory in (EMT, NoStress))
    assert without.converged.all()
    assert np.array_equal(without.atoms[0].positions, with_stress.atoms[0].positions)
    assert "stress" in with_stress.atoms[0].calc.results
    assert "stress" not in without.atoms[0].calc.results
    [one] = evaluate(AseCalculator(NoStress), kr.io.structures_from(rattled("Cu4")))
    assert one.stress is None


def test_the_calculator_sees_what_the_atoms_carry():
    seen = []

    class Looking(EMT):
        def calculate(self, atoms, *args):
            super().calculate(atoms, *args)
            seen.append(atoms.copy())

    atoms = rattled("H2O", colour="blue")
    atoms.set_initial_charges([1, 0, 0])
    atoms.set_initial_magnetic_moments([0, 1, 0])
    atoms.set_cell([7, 8, 9])
    relax([atoms], Looking)
    assert np.array_equal(seen[0].positions, atoms.positions)
    for one in seen:
        assert one.info == atoms.info
        assert one.get_initial_charges().tolist() == [1, 0, 0]
        assert one.get_initial_magnetic_moments().tolist() == [0, 1, 0]
        assert np.array_equal(one.cell, atoms.cell)


def test_a_molecules_charge_reaches_the_calculator():
    seen = []

    class Looking(EMT):
        def calculate(self, atoms, *args):
            super().calculate(atoms, *args)
            seen.append(atoms.get_initial_charges().sum())

    chem = pytest.importorskip("rdkit.Chem")
    relax([chem.AddHs(chem.MolFromSmiles("C[NH3+]"))], Looking, options={**QUICK, "max_steps": 0})
    assert seen == [1]


def test_structures_larger_than_a_tile_of_many_run():
    atoms = bulk("Cu", cubic=True).repeat(7)  # 1372 atoms
    atoms.rattle(0.01, seed=1)
    result = relax([atoms], options={**QUICK, "max_steps": 1})
    atoms.calc = EMT()
    kups_relax.ase.LBFGS(atoms, optimizer="lbfgs", logfile=None).run(0.05, 1)
    assert np.array_equal(result.atoms[0].positions, atoms.positions)


def test_another_calculator_compiles_nothing():
    optimizer = "lbfgs:memory-size=3"  # compiled nowhere else
    with count_programs() as programs:
        relax(molecules()[:1], optimizer=optimizer)
        assert programs.n_traced("_load") == programs.n_traced("_settle") == 1
        relax(molecules()[:2], lambda: EMT(), optimizer)
        assert programs.n_traced("_load") == programs.n_traced("_settle") == 1


@pytest.mark.parametrize(
    ("factory", "options", "message"),
    [
        (3, {}, "factory is 3, which cannot be called; expected a function that returns a new"),
        (EMT, {"workers": -1}, "workers is -1; it must be a whole number"),
        (EMT, {"workers": 1.5}, "workers is 1.5; it must be a whole number"),
        (
            EMT,
            {"workers": 1, "timeout": 0},
            "timeout is 0; it must be a number greater than 0, or None, in seconds",
        ),
        (
            EMT,
            {"workers": 1, "timeout": "1"},
            "timeout is '1'; it must be a number greater than 0, or None",
        ),
        (EMT, {"timeout": 5.0}, "in this process a calculator cannot be stopped. Give workers=1"),
    ],
)
def test_options_that_make_no_sense_are_refused(factory, options, message):
    with pytest.raises(OptionError, match=message):
        AseCalculator(factory, **options)


def test_equal_options_are_equal_potentials():
    one, same = AseCalculator(EMT, workers=2), AseCalculator(EMT, workers=2)
    assert one == same
    assert hash(one) == hash(same)
    assert one != AseCalculator(EMT)
    assert one != AseCalculator(lambda: EMT(), workers=2)


def test_records_say_what_calculates_in_plain_values():
    assert AseCalculator(EMT, workers=1, timeout=2).describe() == {
        "name": "EMT",
        "factory": "ase.calculators.emt.EMT",
        "workers": 1,
        "timeout": 2,
    }
    assert AseCalculator(lambda: EMT()).name == "AseCalculator"
    assert AseCalculator(EMT, name="quick").describe()["name"] == "quick"
