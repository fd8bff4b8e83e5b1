"""What constraints are promised to do, beside what ASE's do."""

import numpy as np
from ase import Atoms
from ase.constraints import FixConstraint

from kups_relax.coordinates._constraints import Held, held_by
from kups_relax.data import Structure

# Rounding of a few products of numbers of order one.
ROUNDING = 1e-12


def structure_of(atoms: Atoms) -> Structure:
    return Structure(
        id="mine",
        numbers=atoms.numbers.astype(np.int32),
        positions=atoms.positions.copy(),
        cell=atoms.cell[:].copy(),
        pbc=atoms.pbc.copy(),
        atoms=atoms,
    )


def held(atoms: Atoms, *held_by_these: FixConstraint, moving_cell: bool = False) -> Held:
    if held_by_these:
        atoms.set_constraint([*held_by_these])
    return held_by(structure_of(atoms), moving_cell)


def random_atoms(n_atoms: int, seed: int, cell: str = "sheared") -> Atoms:
    random = np.random.default_rng([n_atoms, seed])
    lattice = {
        "sheared": 4 * np.eye(3) + random.normal(size=(3, 3)),
        "left-handed": -4 * np.eye(3) + random.normal(size=(3, 3)),
        "symmetric": 4 * np.eye(3) + 0.5 * (s := random.normal(size=(3, 3))) + 0.5 * s.T,
        "none": np.zeros((3, 3)),
        "one": [[0, 0, 0], [0, 3, 1], [0, 0, 0]],
        "two": [[1, 4, 0], [0, 0, 0], [3, 0, 1]],
    }[cell]
    atoms = Atoms(random.choice(["H", "Ar", "Au"], n_atoms), random.normal(size=(n_atoms, 3)))
    atoms.cell = lattice
    atoms.pbc = atoms.cell.any(axis=1)
    return atoms


def on_steps(what: Held, steps: np.ndarray) -> np.ndarray:
    """What is promised of steps, in a few lines of NumPy."""
    arrays = what.arrays
    for kind in ("scaled", "cartesian"):
        if kind in what.kinds:
            steps = np.einsum("ak,kja->aj", steps, arrays[kind])
    if "symmetry" in what.kinds:
        steps = np.einsum("ijo,oaj->ai", arrays["rotation"], steps[arrays["source"]])
        steps = steps / len(arrays["source"])
    if "com" in what.kinds:
        steps = steps - arrays["mass"] @ steps / arrays["mass"].sum()
    return steps


def on_forces(what: Held, forces: np.ndarray) -> np.ndarray:
    """What is promised of forces."""
    arrays = what.arrays
    for kind in ("scaled", "cartesian"):
        if kind in what.kinds:
            forces = np.einsum("kja,aj->ak", arrays[kind], forces)
    if "symmetry" in what.kinds:
        forces = np.einsum("ijo,oaj->ai", arrays["rotation"], forces[arrays["source"]])
        forces = forces / len(arrays["source"])
    if "com" in what.kinds:
        mass = arrays["mass"]
        forces = forces - mass[:, None] * (mass @ forces / (mass @ mass))
    return forces


def ase_steps(atoms: Atoms, steps: np.ndarray) -> np.ndarray:
    copy = atoms.copy()
    copy.constraints = atoms.constraints
    copy.set_positions(atoms.positions + steps)
    return copy.positions - atoms.positions


def ase_forces(atoms: Atoms, forces: np.ndarray) -> np.ndarray:
    forces = forces.copy()
    for constraint in atoms.constraints:
        constraint.adjust_forces(atoms, forces)
    return forces


def assert_like_ase(atoms: Atoms, seed: int = 0, forces: bool = True) -> Held:
    random = np.random.default_rng(seed)
    what = held_by(structure_of(atoms), False)
    some = random.normal(size=(2, len(atoms), 3))
    np.testing.assert_allclose(
        on_steps(what, some[0]), ase_steps(atoms, some[0]), rtol=0, atol=ROUNDING
    )
    if forces:
        np.testing.assert_allclose(
            on_forces(what, some[1]), ase_forces(atoms, some[1]), rtol=0, atol=ROUNDING
        )
    once = on_steps(what, some[0])
    np.testing.assert_allclose(on_steps(what, once), once, rtol=0, atol=ROUNDING)
    return what
