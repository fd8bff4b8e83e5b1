""" "ase-lbfgs" is ASE's L-BFGS to the letter."""

import io

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones
from ase.optimize import LBFGS

import kups_relax as kr
from helpers import ARGON, argon, argon_cluster, argon_clusters

# Both run the same recursion in float64 and add in different orders; 30 steps down a potential
# that is stiff at the start let that grow to this, in Angstrom.
PARITY = 1e-9


def ase_optimizer(atoms):
    """ASE's optimizer on ASE's potential, all pairs: the cutoff is beyond every distance."""
    atoms = atoms.copy()
    # The energy is shifted by 4 epsilon (sigma/rc)^6 a pair, which is 6e-17 eV; forces are not.
    atoms.calc = LennardJones(**ARGON, rc=1000.0)
    return LBFGS(atoms, logfile=io.StringIO())


def test_positions_follow_ase_step_by_step():
    clusters = argon_clusters([5, 8, 13, 13, 16, 16])
    walks = []
    for atoms in clusters:
        optimizer = ase_optimizer(atoms)
        walk = []
        for _ in optimizer.irun(fmax=1e-12, steps=30):
            walk.append((optimizer.atoms.positions.copy(), optimizer.atoms.get_potential_energy()))
        walks.append(walk)
    n_comparisons = 0
    for step in range(31):
        result = kr.relax(clusters, argon(), "ase-lbfgs", fmax=1e-12, max_steps=step)
        for atoms, energy, walk in zip(result.atoms, result.energy, walks, strict=True):
            positions, ase_energy = walk[step]
            np.testing.assert_allclose(atoms.positions, positions, rtol=0, atol=PARITY)
            assert abs(energy - ase_energy) < PARITY
            n_comparisons += 1
        assert (result.n_steps == step).all()
    assert n_comparisons == 31 * len(clusters)


def test_step_counts_are_those_of_ase():
    clusters = argon_clusters([6] * 6 + [13] * 14, seed=1)
    result = kr.relax(clusters, argon(), "ase-lbfgs", fmax=0.01)
    counts = []
    for atoms in clusters:
        optimizer = ase_optimizer(atoms)
        assert optimizer.run(fmax=0.01, steps=1000)
        counts.append(optimizer.nsteps)
    assert result.converged.all()
    # Near the threshold, rounding may cost or save a step.
    assert np.mean(result.n_steps == counts) >= 0.95
    assert np.abs(result.n_steps - counts).max() <= 5


def test_a_structure_below_fmax_is_returned_unmoved():
    atoms = Atoms("Ar2", [[0, 0, 0], [0, 0, 2 ** (1 / 6) * ARGON["sigma"]]])
    optimizer = ase_optimizer(atoms)
    assert optimizer.run(fmax=0.01)
    assert optimizer.nsteps == 0
    for name in ("ase-lbfgs", "lbfgs"):
        result = kr.relax(atoms, argon(), name, fmax=0.01)
        assert result.n_steps.tolist() == [0]
        assert result.n_evaluations.tolist() == [1]
        assert result.converged.all()
        assert np.array_equal(result.atoms[0].positions, atoms.positions)


@pytest.mark.parametrize("max_steps", [0, 1, 7])
def test_max_steps_means_what_it_means_to_ase(max_steps):
    atoms = argon_cluster(13, seed=3)
    optimizer = ase_optimizer(atoms)
    assert not optimizer.run(fmax=0.01, steps=max_steps)
    result = kr.relax(atoms, argon(), "ase-lbfgs", fmax=0.01, max_steps=max_steps)
    assert result.n_steps.tolist() == [optimizer.nsteps] == [max_steps]
    assert result.status.tolist() == ["max_steps"]
    np.testing.assert_allclose(
        result.atoms[0].positions, optimizer.atoms.positions, rtol=0, atol=PARITY
    )
    np.testing.assert_allclose(
        result.atoms[0].get_forces(), optimizer.atoms.get_forces(), rtol=0, atol=1e-8
    )


def test_convergence_in_the_last_allowed_step_counts():
    atoms = argon_cluster(6, seed=4)
    optimizer = ase_optimizer(atoms)
    optimizer.run(fmax=0.01)
    needed = optimizer.nsteps
    assert ase_optimizer(atoms).run(fmax=0.01, steps=needed)
    assert not ase_optimizer(atoms).run(fmax=0.01, steps=needed - 1)
    for max_steps, status in [(needed, "converged"), (needed - 1, "max_steps")]:
        result = kr.relax(atoms, argon(), "ase-lbfgs", fmax=0.01, max_steps=max_steps)
        assert result.status.tolist() == [status]
        assert result.n_steps.tolist() == [max_steps]
