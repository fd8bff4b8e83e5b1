"""The free energy of a calculator: what optimizers follow, and results keep beside the energy."""

import ase.io
import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase_calculator_cases import molecules, rattled
from faulty_calculators import NoFreeEnergy, Smeared

import kups_relax as kr
from helpers import bits
from kups_relax.potentials import AseCalculator
from support.crossing import first

OPTIONS = {"fmax": 0.02, "max_steps": 60, "progress": False}
STARTS = molecules()[:2]


def energies(atoms):
    return atoms.get_potential_energy(), atoms.get_potential_energy(force_consistent=True)


@pytest.fixture(scope="module")
def smeared():
    return kr.relax(STARTS, AseCalculator(Smeared), "lbfgs-zoom", trajectory=1, **OPTIONS)


def test_results_have_both_energies(smeared):
    for atoms, energy in zip(smeared.atoms, smeared.energy, strict=True):
        assert atoms.get_potential_energy() == energy
        assert energy == 5.0 - 3.0 * energies(atoms)[1]


@pytest.mark.parametrize("optimizer", first(["lbfgs-zoom", "preconditioned", "conjugate-gradient"]))
def test_searches_follow_the_free_energy(smeared, optimizer):
    # EMT has one energy, which is the free energy here: the same steps, to the bit.
    one = smeared
    if optimizer != "lbfgs-zoom":
        one = kr.relax(STARTS, AseCalculator(Smeared), optimizer, **OPTIONS)
    other = kr.relax(STARTS, AseCalculator(EMT), optimizer, **OPTIONS)
    assert one.converged.all()
    assert np.array_equal(one.n_evaluations, other.n_evaluations)
    for a, b in zip(one.atoms, other.atoms, strict=True):
        assert np.array_equal(bits(a.positions), bits(b.positions))
        assert energies(a)[1] == b.get_potential_energy()


def test_fingerprints_tell_apart_what_differs_in_the_free_energy_alone():
    start = rattled("Cu4")
    same = kr.relax(start, AseCalculator(NoFreeEnergy), **OPTIONS)
    both = kr.relax(start, AseCalculator(EMT), **OPTIONS)
    assert same.fingerprint[0] == both.fingerprint[0]
    atoms = both.atoms[0]
    atoms.calc.results["free_energy"] -= 1.0
    assert both.fingerprint[0] != same.fingerprint[0]


@pytest.mark.parametrize("ending", ["extxyz", "traj", "h5"])
def test_outputs_keep_both_energies(smeared, ending, tmp_path):
    path = tmp_path / f"out.{ending}"
    result = kr.relax(STARTS, AseCalculator(Smeared), "lbfgs-zoom", output=path, **OPTIONS)
    back = list(kr.open(path).atoms) if ending == "h5" else ase.io.read(path, ":")
    assert list(map(energies, back)) == list(map(energies, smeared.atoms))
    assert result.fingerprint.tolist() == smeared.fingerprint.tolist()


def test_trajectories_keep_both_energies_of_every_geometry(smeared, tmp_path):
    path = tmp_path / "way.h5"
    store = kr.relax(
        STARTS, AseCalculator(Smeared), "lbfgs-zoom", trajectory=1, output=path, **OPTIONS
    )
    for i in range(len(STARTS)):
        frames = smeared.trajectory(i)
        assert len(frames) > 2
        for frame in frames:
            energy, free = energies(frame)
            assert energy == 5.0 - 3.0 * free
        assert list(map(energies, store.trajectory(i))) == list(map(energies, frames))


def test_worker_processes_tell_it_too(smeared):
    result = kr.relax(STARTS, AseCalculator(Smeared, workers=1), "lbfgs-zoom", **OPTIONS)
    assert list(map(energies, result.atoms)) == list(map(energies, smeared.atoms))


def test_a_calculator_over_a_calculator_passes_it_on():
    atoms = rattled("Cu4")
    atoms.calc = kr.ase.JaxCalculator(AseCalculator(Smeared))
    energy, free = energies(atoms)
    assert energy == 5.0 - 3.0 * free
    atoms.calc = kr.ase.JaxCalculator(AseCalculator(NoFreeEnergy))
    assert energies(atoms) == (free, free)


@pytest.mark.parametrize("optimizer", first(["lbfgs-zoom", "preconditioned"]))
def test_optimizers_of_ase_follow_it(optimizer):
    ways = []
    for calculator in (Smeared(), EMT()):
        atoms = rattled("CH4")
        atoms.calc = calculator
        run = kr.ase.Optimizer(atoms, optimizer, logfile=None)
        assert run.run(0.02, 60)
        ways.append((run.nsteps, atoms.positions))
    assert ways[0][0] == ways[1][0]
    assert np.array_equal(ways[0][1], ways[1][1])


def test_a_free_energy_that_is_no_number_fails_the_structure():
    class Broken(EMT):
        def calculate(self, *arguments, **options):
            super().calculate(*arguments, **options)
            self.results["free_energy"] = "low"

    result = kr.relax(rattled("Cu4"), AseCalculator(Broken), **OPTIONS)
    assert result.status == ["failed"]
    assert "Broken gave a free energy that is 'low'" in result.reason[0]
