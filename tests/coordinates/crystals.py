"""Crystals of argon, and what relaxes them."""

from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk

import kups_relax as kr

CUTOFF = 8.5


def lennard_jones(skin: float = 1.0) -> Any:
    return kr.potentials.LennardJones(epsilon=0.0104, sigma=3.40, cutoff=CUTOFF, skin=skin)


def crystal(seed: int, strain: float = 0.03, rattle: float = 0.05) -> Atoms:
    """One to eight atoms: fcc, bcc or hcp, sheared, stretched and rattled."""
    random = np.random.default_rng(seed)
    lattice, options = [
        ("fcc", {"a": 5.3}),
        ("bcc", {"a": 4.3}),
        ("hcp", {"a": 3.75, "c": 6.1}),
        ("fcc", {"a": 5.3, "cubic": True}),
    ][seed % 4]
    atoms = bulk("Ar", lattice, **options)
    atoms = atoms.repeat((1 + seed // 4 % 2, 1, 1))
    atoms.rattle(rattle, rng=random)
    deformation = np.eye(3) + strain * random.standard_normal((3, 3))
    atoms.set_cell(atoms.cell.array @ deformation.T, scale_atoms=True)
    atoms.info["id"] = f"crystal {seed}"
    return atoms
