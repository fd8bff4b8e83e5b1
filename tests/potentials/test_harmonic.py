"""Wells and springs have the minima that are known."""

import numpy as np
import pytest
from ase import Atoms

import kups_relax as kr
from helpers import central_differences, evaluate
from kups_relax import relaxation
from kups_relax.data import Structure
from kups_relax.errors import OptionError, PotentialError
from kups_relax.potentials import Harmonic


def chain_of(n, seed=0):
    random = np.random.default_rng(seed)
    return Atoms(f"H{n}", np.cumsum(random.normal(size=(n, 3)), axis=0))


def test_energy_is_the_formula():
    potential = Harmonic(well=0.7, bond=5.0, length=1.3)
    chains = [chain_of(n) for n in (1, 2, 7, 8)]
    energy, _ = evaluate(potential, chains)
    for got, atoms in zip(energy, chains, strict=True):
        x = atoms.positions
        stretch = np.linalg.norm(np.diff(x, axis=0), axis=1) - 1.3
        np.testing.assert_allclose(got, 0.35 * np.sum(x**2) + 2.5 * np.sum(stretch**2), rtol=1e-14)


def test_forces_are_the_slope_of_the_energy():
    potential, atoms = Harmonic(well=0.7, bond=5.0, length=1.3), chain_of(6)
    _, [forces] = evaluate(potential, [atoms])
    np.testing.assert_allclose(forces, central_differences(potential, atoms), rtol=0, atol=1e-9)


def test_a_spring_without_length_has_no_direction_and_no_nan():
    positions = np.array([[0, 0, 0], [0, 0, 0], [0, 0, 1.5]])
    structure = Structure(id="H3", numbers=np.ones(3, np.int32), positions=positions)
    [got] = relaxation.evaluate(Harmonic(well=0.0, bond=2.0), [structure])
    assert np.isfinite(got.energy)
    assert np.isfinite(got.forces).all()
    np.testing.assert_allclose(got.forces[2], [0, 0, -1.0])


def test_wells_relax_to_the_origin_and_springs_to_their_length():
    result = kr.relax(chain_of(5), Harmonic(well=2.0), fmax=1e-8)
    assert result.converged.all()
    np.testing.assert_allclose(result.atoms[0].positions, 0, atol=1e-8)
    springs = Harmonic(well=0.0, bond=3.0, length=1.1)
    result = kr.relax([chain_of(5), chain_of(7)], springs, fmax=1e-8)
    for atoms in result.atoms:
        lengths = np.linalg.norm(np.diff(atoms.positions, axis=0), axis=1)
        np.testing.assert_allclose(lengths, 1.1, atol=1e-8)


@pytest.mark.parametrize("options", [{"well": -1.0}, {"bond": float("nan")}, {"length": -0.1}])
def test_negative_options_are_refused(options):
    with pytest.raises(OptionError, match="must be a finite number, at least 0"):
        Harmonic(**options)


def test_periodic_structures_are_refused():
    with pytest.raises(PotentialError, match="Harmonic"):
        evaluate(Harmonic(), [Atoms("H", cell=[3, 3, 3], pbc=True)])
