"""Structures for effective medium theory: elements, alloys, cells and clusters of every kind."""

import numpy as np
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.cluster import Icosahedron


def icosahedron(shells: int, seed: int) -> Atoms:
    """Cu and Au at random, about half and half, rattled; 13, 55, 147 atoms with 2, 3, 4 shells."""
    atoms = Icosahedron("Cu", shells, latticeconstant=3.8)
    random = np.random.default_rng(seed)
    atoms.symbols[random.permutation(len(atoms))[: len(atoms) // 2]] = "Au"
    atoms.rattle(0.05, seed=seed)
    atoms.info["id"] = f"CuAu-{len(atoms)}-{seed}"
    return atoms


def cases() -> dict[str, Atoms]:
    """Molecules, metals, alloys; cells of one atom, sheared, left-handed; unwrapped atoms."""
    sheared = bulk("Cu", cubic=True) * (2, 1, 1)
    sheared.symbols[[0, 3]] = "Al"
    sheared.set_cell(sheared.cell.array @ [[1, 0.1, 0], [0, 0.97, 0.2], [0.05, 0, 1.03]], True)
    handed = bulk("Ag", a=4.2)
    handed.set_cell(handed.cell.array[[1, 0, 2]])
    unwrapped = bulk("Ni", cubic=True)
    unwrapped.symbols[1] = "Pd"
    unwrapped.positions += unwrapped.cell.array.T @ np.array([3.0, -2.0, 1.0])
    unwrapped.positions[2] -= 4 * unwrapped.cell.array[0]
    slab = fcc111("Pt", (2, 2, 3), vacuum=6.0)
    slab += Atoms("CO", slab.positions[-1] + [[0, 0, 1.9], [0, 0, 3.05]])
    wire = Atoms("Au3", [[0, 0, 0], [0, 0, 2.6], [0, 1.5, 5.2]], cell=[0, 0, 7.5], pbc=(0, 0, 1))
    out = {
        "one atom": bulk("Cu", a=3.5),
        "sheared": sheared,
        "left-handed": handed,
        "unwrapped": unwrapped,
        "slab": slab,
        "wire": wire,
        "one periodic atom": Atoms("Al", cell=[2.8, 30, 30], pbc=(True, False, False)),
        "molecule": molecule("CH3CH2NH2"),
        "boxed": molecule("H2O", cell=[12, 12, 12], pbc=True),
        "far apart": Atoms("CuAu", [[0, 0, 0], [9, 0, 0]]),
        "barely": Atoms("CuAu", [[0, 0, 0], [5.8, 0, 0]]),
        "lone": Atoms("Pt", [[1, 2, 3]]),
        "cluster": icosahedron(3, 0),
    }
    for seed, atoms in enumerate(out.values()):
        atoms.rattle(0.05, seed=seed)
    return out
