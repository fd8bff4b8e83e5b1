"""Our potentials as ASE calculators: the numbers of relax, at home in what ASE does."""

import copy
import pickle

import ase.calculators.fd
import ase.test.calculator.test_fd as ase_fd
import ase.test.calculator.test_lj as ase_lj
import ase.test.calculator.test_morse as ase_morse
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.lj import LennardJones as AseLennardJones
from ase.eos import EquationOfState
from ase.filters import FrechetCellFilter
from ase.io import read
from ase.io.trajectory import Trajectory
from ase.md.verlet import VelocityVerlet
from ase.mep import NEB
from ase.phonons import Phonons
from ase.vibrations import Vibrations

import kups_relax as kr
from helpers import ARGON, DTYPES, argon_cluster, assert_same_bits
from kups_relax.ase import LBFGS, JaxCalculator
from kups_relax.errors import OptionError, PotentialError, StructureError
from kups_relax.potentials import MMFF94, GraphModel, Harmonic, LennardJones, Morse
from kups_relax.relaxation import _evaluate
from potentials.graph_models import CUTOFF, messages, parameters
from support.crossing import in_turns

LJ = LennardJones(**ARGON, cutoff=8.0, onset=6.0, skin=0.4)
NICKEL = Morse(epsilon=0.4205, r0=2.78, rho0=3.95, cutoff=7.5, onset=5.0)


def crystal() -> Atoms:
    atoms = bulk("Ar", a=5.4, cubic=True).repeat((1, 1, 2))
    atoms.rattle(0.3, seed=1)
    return atoms


def ethanol() -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=2)
    return atoms


RUNS = {
    "lj cluster": (LennardJones(**ARGON), argon_cluster(13)),
    "lj crystal": (LJ, crystal()),
    "morse": (NICKEL, bulk("Ni", cubic=True).repeat((2, 1, 1))),
    "mmff94": (MMFF94(), ethanol()),
    "graph": (GraphModel(messages, parameters(), CUTOFF, skin=0.3), bulk("Cu", cubic=True)),
}
RUNS["morse"][1].rattle(0.2, seed=3)
RUNS["graph"][1].rattle(0.1, seed=3)


# The numbers of relax.


@pytest.mark.parametrize(("kind", "dtype"), in_turns(RUNS, DTYPES, exact={"lj crystal"}))
def test_numbers_are_those_of_relax_to_the_bit(kind, dtype):
    """At the start, and at the geometries of a run, prepared there or on the way."""
    potential, atoms = RUNS[kind]
    moving = atoms.copy()
    moving.calc = JaxCalculator(potential, dtype)
    for max_steps in (0, 1, 7, 20):
        result = kr.relax(atoms, potential, dtype=dtype, max_steps=max_steps, fmax=1e-3)
        expected = result.atoms[0]
        fresh = Atoms(expected)
        fresh.calc = JaxCalculator(potential, dtype)
        moving.positions = expected.positions
        for got in (moving, fresh):
            assert got.get_potential_energy() == result.energy[0]
            assert_same_bits(got.get_forces(), expected.get_forces())
            if atoms.pbc.any():
                assert_same_bits(got.get_stress(), expected.get_stress())


@pytest.mark.parametrize(("kind", "optimizer"), in_turns(RUNS, ["lbfgs", "ase-lbfgs"]))
def test_a_serial_run_takes_the_steps_of_relax(kind, optimizer):
    potential, start = RUNS[kind]
    max_steps = 60 if kind == "graph" else 300
    result = kr.relax(start, potential, optimizer, fmax=0.01, max_steps=max_steps)
    atoms = start.copy()
    atoms.calc = JaxCalculator(potential)
    with LBFGS(atoms, optimizer=optimizer, logfile=None) as run:
        run.run(fmax=0.01, steps=max_steps)
    assert run.nsteps == result.n_steps[0] > 2
    assert_same_bits(atoms.positions, result.atoms[0].positions)
    assert atoms.get_potential_energy() == result.energy[0]


# Caching.


def counted(potential, monkeypatch):
    """A calculator, and how often it evaluates."""
    calculator = JaxCalculator(potential)
    calls = []
    evaluate = calculator._points.evaluate
    monkeypatch.setattr(
        calculator._points, "evaluate", lambda *a, **k: (calls.append(1), evaluate(*a, **k))[1]
    )
    return calculator, calls


def test_a_repeated_call_costs_nothing(monkeypatch):
    atoms = crystal()
    atoms.calc, calls = counted(LJ, monkeypatch)
    for _ in range(2):
        atoms.get_potential_energy()
        atoms.get_forces()
        atoms.get_stress()
        atoms.get_potential_energies()
        assert len(calls) == 1
    atoms.positions[0, 0] += 1e-9
    atoms.get_forces()
    assert len(calls) == 2
    atoms.set_cell(atoms.cell * 1.01)
    atoms.get_stress()
    assert len(calls) == 3
    atoms.set_initial_magnetic_moments([1.0] * len(atoms))
    atoms.get_forces()
    assert len(calls) == 3


def test_moving_atoms_and_another_structure_of_the_class_compile_nothing(monkeypatch):
    traces = []
    evaluate_tile = _evaluate.evaluate_tile
    monkeypatch.setattr(
        _evaluate, "evaluate_tile", lambda *a, **k: (traces.append(1), evaluate_tile(*a, **k))[1]
    )
    potential = LennardJones(0.0107, 3.39, cutoff=8.0, skin=0.4)  # compiled nowhere else
    atoms = crystal()
    atoms.calc = JaxCalculator(potential)
    atoms.get_forces()
    assert len(traces) == 1
    for k in range(4):
        atoms.rattle(0.5 if k == 2 else 0.01, seed=k)
        atoms.get_forces()
    atoms.set_cell(atoms.cell * 1.001, scale_atoms=True)
    atoms.get_stress()
    other = crystal()
    other.rattle(0.1, seed=9)
    other.calc = JaxCalculator(potential)
    other.get_forces()
    assert len(traces) == 1


def test_a_calculator_takes_a_larger_structure_after_a_smaller_one():
    shared = JaxCalculator(LennardJones(**ARGON))
    for n_atoms in (5, 20, 5):
        atoms = argon_cluster(n_atoms)
        got = shared.get_potential_energy(atoms)
        assert got == JaxCalculator(LennardJones(**ARGON)).get_potential_energy(atoms)


def test_bonds_stay_while_an_object_moves_and_are_looked_for_in_another():
    atoms = molecule("CH3CH2OH")
    atoms.calc = JaxCalculator(MMFF94())
    here = atoms.get_potential_energy()
    # Pulled apart, it is still the same molecule,
    atoms.positions[-1] += 1.5
    assert atoms.get_potential_energy() > here + 1
    # and an isomer is another one, by the same calculator.
    isomer = molecule("CH3OCH3")
    isomer.calc = JaxCalculator(MMFF94())
    expected = isomer.get_potential_energy()
    isomer.calc = atoms.calc
    assert isomer.get_potential_energy() == expected
    assert abs(expected - here) > 1e-3


def test_what_changes_the_model_is_noticed():
    atoms = crystal()
    atoms.calc = JaxCalculator(LennardJones({"Ar": 0.01, "Ne": 0.003}, 3.3, cutoff=8.0))
    energies = [atoms.get_potential_energy()]
    atoms.symbols[0] = "Ne"
    energies.append(atoms.get_potential_energy())
    atoms.pbc = (True, True, False)
    energies.append(atoms.get_potential_energy())
    atoms.pbc = False
    energies.append(atoms.get_potential_energy())
    fresh = []
    for symbol, pbc in (("Ar", True), ("Ne", True), ("Ne", (True, True, False)), ("Ne", False)):
        other = crystal()
        other.symbols[0], other.pbc = symbol, pbc
        other.calc = JaxCalculator(atoms.calc.potential)
        fresh.append(other.get_potential_energy())
    assert energies == fresh
    assert len(set(energies)) == 4


# What is missing.


def test_what_is_missing_is_not_implemented():
    water = molecule("H2O", calculator=JaxCalculator(MMFF94()))
    with pytest.raises(PropertyNotImplementedError, match=r"'H2O': JaxCalculator of mmff94 gives "):
        water.get_stress()
    with pytest.raises(PropertyNotImplementedError):
        water.get_potential_energies()
    with pytest.raises(PropertyNotImplementedError):
        water.get_dipole_moment()
    cluster = argon_cluster(3)
    cluster.calc = JaxCalculator(LJ)
    with pytest.raises(PropertyNotImplementedError, match="not periodic"):
        cluster.get_stress()
    # What there is, is there nonetheless.
    assert cluster.get_potential_energies().shape == (3,)
    assert water.get_potential_energy(force_consistent=True) == water.get_potential_energy()


def test_errors_name_structure_and_calculator():
    with pytest.raises(OptionError, match="dtype is 'float16'"):
        JaxCalculator(LJ, "float16")
    with pytest.raises(OptionError, match="no potential"):
        JaxCalculator("lennard")
    nan = Atoms("Ar2", [[0, 0, 0], [0, 0, np.nan]], calculator=JaxCalculator(LJ))
    with pytest.raises(StructureError, match=r"'Ar2'.*atom 1.*JaxCalculator of lennard-jones"):
        nan.get_potential_energy()
    periodic = bulk("Ar", a=5.3)
    periodic.calc = JaxCalculator(LennardJones(**ARGON))
    with pytest.raises(PotentialError, match=r"'Ar': pbc is.*cutoff="):
        periodic.get_forces()
    with pytest.raises(PotentialError, match=r"'Xe'.*no epsilon for Xe"):
        Atoms("Xe", calculator=JaxCalculator(LennardJones({"Ar": 1.0}))).get_potential_energy()


# At home in ASE.


def lennard_jones(sigma=1.0, epsilon=1.0, rc=None, ro=None, smooth=False):
    """ASE's arguments for our potential."""
    rc = 3 * sigma if rc is None else rc
    onset = (0.66 * rc if ro is None else ro) if smooth else None
    return JaxCalculator(LennardJones(epsilon, sigma, cutoff=rc, onset=onset))


def morse(epsilon=1.0, r0=1.0, rho0=6.0, rcut1=1.9, rcut2=2.7, A=None):
    return JaxCalculator(Morse(epsilon, r0, rho0, cutoff=rcut2 * r0, onset=rcut1 * r0))


def those_in(module, *but):
    tests = [getattr(module, name) for name in dir(module) if name.startswith("test_")]
    tests = [test for test in tests if test.__name__ not in but]
    return [pytest.param(test, id=test.__name__) for test in tests]


# It asks for stresses of atoms, which we do not have; the stress itself is tested below.
@pytest.mark.parametrize("test", those_in(ase_lj, "test_bulk_stress"))
def test_ase_tests_of_lennard_jones_pass(test, monkeypatch):
    monkeypatch.setattr(ase_lj, "LennardJones", lennard_jones)
    test()


def test_stress_is_that_of_ase_test():
    atoms = bulk("Ar", cubic=True)
    atoms.set_cell(atoms.cell * ase_lj.stretch, scale_atoms=True)
    atoms.calc = lennard_jones(rc=10)
    assert sum(atoms.get_stress()[:3]) / 3 == ase_lj.reference_pressure


# The others are about functions and arguments of ASE's own calculator.
@pytest.mark.parametrize("test", those_in(ase_morse, "test_cutoff", "test_override_neighbor_list"))
def test_ase_tests_of_morse_pass(test, monkeypatch, tmp_path):
    monkeypatch.setattr(ase_morse, "MorsePotential", morse)
    monkeypatch.chdir(tmp_path)
    test(*([tmp_path] if "testdir" in test.__code__.co_varnames[:1] else []))


@pytest.mark.parametrize("test", those_in(ase_fd))
def test_ase_tests_of_finite_differences_pass(test, monkeypatch):
    monkeypatch.setattr(ase_fd, "EMT", lambda: morse(epsilon=0.35, r0=2.55, rho0=4.0))
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1)
    test(atoms)


def test_ase_test_of_trajectories_passes(tmp_path):
    """Its steps; its module wants a marker of ASE's own."""
    h2 = molecule("H2", calculator=morse(epsilon=4.5, r0=0.74, rho0=1.5))
    h2.center(vacuum=2.0)
    h2.pbc = True
    energy = h2.get_potential_energy()
    assert not h2.calc.calculation_required(h2, ["energy"])
    forces = h2.get_forces()
    assert not h2.calc.calculation_required(h2, ["energy", "forces"])
    h2.write(tmp_path / "h2.traj")
    back = read(tmp_path / "h2.traj")
    assert abs(energy - back.get_potential_energy()) < 1e-12
    assert abs(forces - back.get_forces()).max() < 1e-12


def test_stress_is_that_of_ase_finite_strain():
    atoms = crystal()
    atoms.calc = JaxCalculator(LJ)
    numerical = ase.calculators.fd.calculate_numerical_stress(atoms, eps=1e-5)
    np.testing.assert_allclose(atoms.get_stress(), numerical, rtol=1e-6, atol=1e-9)


def test_molecular_dynamics_conserves_energy_and_follows_ase():
    runs = []
    for calculator in (
        JaxCalculator(LJ),
        AseLennardJones(**ARGON, rc=8.0, ro=6.0, smooth=True),
    ):
        atoms = crystal()
        atoms.calc = calculator
        atoms.set_momenta(np.random.default_rng(0).normal(0, 0.3, (len(atoms), 3)))
        energies = []
        md = VelocityVerlet(atoms, 4 * units.fs)
        md.attach(lambda a=atoms, e=energies: e.append(a.get_total_energy()), interval=1)
        md.run(60)
        runs.append((atoms.positions, np.array(energies)))
    np.testing.assert_allclose(runs[0][0], runs[1][0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(runs[0][1], runs[1][1], rtol=0, atol=1e-11)
    assert np.ptp(runs[0][1]) < 1e-4 * len(crystal())


def test_a_band_finds_the_barrier_that_ase_finds():
    def barrier(calculator):
        # Argon over the bridge of three others.
        start = Atoms("Ar4", [[0, 0, 0], [3.8, 0, 0], [1.9, 3.3, 0], [1.9, 1.1, 3.1]])
        end = start.copy()
        end.positions[3, 2] *= -1
        images = [start, *(start.copy() for _ in range(3)), end]
        images[2].positions[:3] *= 1.2
        for image in images:
            image.calc = calculator()
        for image in (start, end):
            LBFGS(image, logfile=None).run(fmax=0.005)
        band = NEB(images, k=0.05, method="improvedtangent")
        band.interpolate()
        LBFGS(band, logfile=None).run(fmax=0.01, steps=200)
        return np.array([image.get_potential_energy() for image in images])

    ours = barrier(lambda: JaxCalculator(LennardJones(**ARGON)))
    theirs = barrier(lambda: AseLennardJones(**ARGON, rc=1000.0))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert ours.max() > ours[0] + 0.01


def test_vibrations_are_those_of_the_curvature(tmp_path):
    # Morse: omega = sqrt(2 epsilon rho0^2 / r0^2 / m)
    pair = Atoms("H2", [[0, 0, 0], [0, 0, 0.75]])
    pair.calc = JaxCalculator(Morse(epsilon=4.5, r0=0.75, rho0=1.5))
    vibrations = Vibrations(pair, name=str(tmp_path / "vib"), delta=1e-3)
    vibrations.run()
    k = 2 * 4.5 * (1.5 / 0.75) ** 2
    expected = units._hbar * 1e10 * np.sqrt(units._e * k / (units._amu * 1.008 / 2)) / units._e
    got = vibrations.get_energies()[-1].real
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_equation_of_state_and_phonons_are_those_of_ase(tmp_path):
    calculators = (JaxCalculator(LJ), AseLennardJones(**ARGON, rc=8.0, ro=6.0, smooth=True))
    results = []
    for n, calculator in enumerate(calculators):
        volumes, energies = [], []
        for a in np.linspace(5.1, 5.4, 7):
            atoms = bulk("Ar", a=a)
            atoms.calc = calculator
            volumes.append(atoms.get_volume())
            energies.append(atoms.get_potential_energy())
        v0, e0, bulk_modulus = EquationOfState(volumes, energies).fit(warn=False)
        phonons = Phonons(
            bulk("Ar", a=5.25), calculator, supercell=(3, 3, 3), delta=0.01, name=tmp_path / str(n)
        )
        phonons.run()
        phonons.read(acoustic=True)
        omega = phonons.band_structure([[0.5, 0.5, 0], [0.25, 0, 0.1]], verbose=False)
        results.append((v0, e0, bulk_modulus, omega))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert np.all(results[0][3] > 0)


def test_a_cell_filter_relaxes_the_cell():
    atoms = bulk("Ar", a=5.4)
    atoms.calc = JaxCalculator(LJ)
    with LBFGS(FrechetCellFilter(atoms), optimizer="lbfgs", logfile=None) as run:
        assert run.run(fmax=1e-4, steps=50)
    reference = bulk("Ar", a=5.4)
    reference.calc = AseLennardJones(**ARGON, rc=8.0, ro=6.0, smooth=True)
    with LBFGS(FrechetCellFilter(reference), optimizer="lbfgs", logfile=None) as run:
        run.run(fmax=1e-4, steps=50)
    np.testing.assert_allclose(atoms.cell, reference.cell, atol=1e-6)


def test_saved_files_have_what_was_calculated(tmp_path):
    atoms = crystal()
    atoms.calc = JaxCalculator(LJ)
    with Trajectory(tmp_path / "run.traj", "w", atoms) as trajectory:
        atoms.get_stress()
        trajectory.write()
    atoms.write(tmp_path / "run.extxyz")
    for name in ("run.traj", "run.extxyz"):
        back = read(tmp_path / name)
        np.testing.assert_allclose(back.get_potential_energy(), atoms.get_potential_energy())
        np.testing.assert_allclose(back.get_forces(), atoms.get_forces(), atol=1e-7)
        np.testing.assert_allclose(back.get_stress(), atoms.get_stress(), atol=1e-7)
    assert read(tmp_path / "run.traj").calc.name == "lennard-jones"


def test_calculators_can_be_copied_and_pickled():
    atoms = crystal()
    atoms.calc = JaxCalculator(LJ)
    energy = atoms.get_potential_energy()
    for other in (copy.deepcopy(atoms.calc), pickle.loads(pickle.dumps(atoms.calc))):
        another = crystal()
        another.calc = other
        assert another.get_potential_energy() == energy
    assert atoms.calc.todict() == {**LJ.describe(), "dtype": "float64"}


def test_springs_alone_have_a_calculator_too():
    atoms = argon_cluster(4)
    atoms.calc = JaxCalculator(Harmonic())
    assert np.isfinite(atoms.get_forces()).all()
