"""Structures that both reading and writing are tested with."""

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixAtoms


def tagged_water() -> Atoms:
    """A molecule with everything that must survive a round trip."""
    atoms = molecule("H2O")
    atoms.positions += np.random.default_rng(0).normal(scale=0.1, size=(3, 3))
    atoms.set_tags([7, 8, 9])
    atoms.set_initial_charges([-0.8, 0.4, 0.4])
    atoms.set_masses([18.0, 1.0, 2.0])
    atoms.set_momenta(np.arange(9.0).reshape(3, 3) / 7)
    atoms.set_constraint(FixAtoms([1]))
    atoms.info.update({"id": "wet", "charge": 0, "source": "a 'tap'", "levels": [1, 2]})
    return atoms


def odd_silicon() -> Atoms:
    """A crystal whose cell has no round numbers."""
    atoms = bulk("Si")
    atoms.set_cell(atoms.cell * 1.0123456789012345, scale_atoms=True)
    atoms.info["name"] = "mp-149"
    return atoms
