"""A serial run in ASE takes the steps that `relax` takes, to the bit."""

import threading

import jax
import numpy as np
import pytest
from ase_cases import Engine, hung

import kups_relax as kr
from helpers import argon, argon_cluster
from kups_relax.ase import LBFGS, Optimizer
from kups_relax.ase._one_system import OneSystem
from kups_relax.testing import count_programs
from support.crossing import first

OPTIMIZERS = ("lbfgs", "ase-lbfgs")

# Adamantane: 26 atoms, but more angles than tiles of 32 atoms have room for.
LARGER = "C1C2CC3CC1CC(C2)C3"


def assert_same_run(potential, source, optimizer, max_steps=300):
    """Relax a structure both ways; return the number of steps."""
    result = kr.relax(source, potential, optimizer, max_steps=max_steps, progress=False)
    [structure] = kr.io.structures_from(source)
    atoms = kr.io.to_atoms(structure, structure.positions)
    atoms.calc = Engine(potential, source)
    with Optimizer(atoms, optimizer, logfile=None) as run:
        converged = run.run(fmax=0.01, steps=max_steps)
    assert converged == result.converged[0]
    assert run.nsteps == result.n_steps[0]
    assert atoms.calc.n_calls == result.n_evaluations[0]
    assert np.array_equal(atoms.positions, result.atoms[0].positions)
    assert atoms.get_potential_energy() == result.energy[0]
    assert np.array_equal(atoms.get_forces(), result.atoms[0].get_forces())
    return run.nsteps


@pytest.mark.parametrize(
    ("optimizer", "sizes"),
    [
        pytest.param("lbfgs", (13,), marks=pytest.mark.exact),
        ("ase-lbfgs", (40,)),
        ("lbfgs-zoom", (13,)),
        *(
            pytest.param(optimizer, (2, 5, 8, 13, 40), marks=pytest.mark.extended)
            for optimizer in (*OPTIMIZERS, "lbfgs-zoom", "lbfgs-backtracking")
        ),
    ],
)
def test_clusters_take_the_steps_of_relax(optimizer, sizes):
    n_steps = [assert_same_run(argon(), argon_cluster(n, seed=5), optimizer) for n in sizes]
    assert max(n_steps) > 20


@pytest.mark.extended
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_clusters_of_all_sizes_take_the_steps_of_relax(optimizer):
    for n_atoms in range(2, 41, 2):
        assert_same_run(argon(), argon_cluster(n_atoms, seed=n_atoms), optimizer)


@pytest.mark.parametrize("optimizer", first(OPTIMIZERS))
def test_molecules_take_the_steps_of_relax(optimizer):
    potential = kr.potentials.MMFF94()
    for smiles in ("CCO", "c1ccccc1O"):
        assert assert_same_run(potential, molecule(smiles), optimizer) > 20


def test_a_molecule_in_a_larger_class_than_its_atoms_need_takes_the_steps_of_relax():
    potential, mol = kr.potentials.MMFF94(), molecule(LARGER)
    assert (
        Engine(potential, mol).atom_capacity
        > OneSystem(kr.optimizers.get("lbfgs"), 3 * mol.GetNumAtoms()).capacity
    )
    assert_same_run(potential, mol, "lbfgs", max_steps=100)


def test_lbfgs_is_the_optimizer_of_its_name():
    for name in OPTIMIZERS:
        atoms = argon_cluster(7)
        assert LBFGS(atoms, optimizer=name, logfile=None).transform == kr.optimizers.get(name)
    assert LBFGS(atoms, logfile=None).transform == kr.optimizers.get("ase-lbfgs")


def test_the_next_structure_of_a_size_compiles_nothing():
    LBFGS(hung(41), logfile=None).run(fmax=1e-9, steps=3)
    with count_programs() as programs:
        for n_atoms in (33, 48, 40):
            LBFGS(hung(n_atoms), logfile=None).run(fmax=1e-9, steps=3)
        assert programs.n_traced("step") == 0
        # Options that nobody else has, so that nothing is compiled yet.
        LBFGS(hung(49), alpha=51, logfile=None).run(fmax=1e-9, steps=3)
        LBFGS(hung(40), alpha=50, logfile=None).run(fmax=1e-9, steps=3)
        assert programs.n_traced("step") == 2


def test_no_program_is_compiled_after_the_first_step_of_a_size(caplog):
    with jax.log_compiles(True):
        LBFGS(hung(41), logfile=None, alpha=60).run(fmax=1e-9, steps=3)
        assert [r for r in caplog.records if "ompil" in r.getMessage()]
        caplog.clear()
        LBFGS(hung(35), logfile=None, alpha=60).run(fmax=1e-9, steps=3)
        assert not [r for r in caplog.records if "ompil" in r.getMessage()]


@pytest.mark.parametrize("x64", [False, True])
def test_steps_are_float64_whatever_the_setting_in_any_thread(x64):
    ends = []

    def run():
        with jax.enable_x64(x64):
            atoms = hung(6)
            LBFGS(atoms, logfile=None).run(fmax=1e-10)
            ends.append(atoms.positions)

    run()
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert np.abs(ends[0]).max() < 1e-9
    assert np.array_equal(*ends)


def molecule(smiles):
    from rdkit import Chem
    from rdkit.Chem import AllChem

    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=7)
    return mol
