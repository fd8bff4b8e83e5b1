"""The same structure, told differently: moved, turned, strained, in another order."""

import dataclasses

import numpy as np

from kups_relax.data import Structure


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Variant(Structure):
    """A structure that has moved since its arrays were prepared, as in a relaxation.

    Attributes:
        reference: What its arrays are prepared for.
    """

    reference: Structure


def moved(reference: Structure, positions: np.ndarray) -> Variant:
    """Return the structure with other positions, and the arrays that it has here."""
    there = changed(reference, positions)
    own = {field.name: getattr(there, field.name) for field in dataclasses.fields(Structure)}
    return Variant(**own, reference=reference)


def changed(
    structure: Structure, positions: np.ndarray, cell: np.ndarray | None = None
) -> Structure:
    """Return the structure with other positions, and another cell if one is given."""
    cell = structure.cell if cell is None else cell
    atoms = structure.atoms
    if atoms is not None:
        atoms = atoms.copy()
        atoms.set_constraint()
        atoms.set_cell(cell)
        atoms.set_positions(positions)
    return dataclasses.replace(structure, positions=positions, cell=cell, atoms=atoms)


def permuted(structure: Structure, order: np.ndarray) -> Structure:
    """Return the structure whose atom k is this one's atom order[k]."""
    topology, atoms = structure.topology, structure.atoms
    if topology is not None:
        from rdkit.Chem import RenumberAtoms

        topology = RenumberAtoms(topology, order.tolist())
    if atoms is not None:
        atoms = atoms.copy()
        atoms.set_constraint()
        atoms = atoms[order]
    return dataclasses.replace(
        structure,
        numbers=structure.numbers[order],
        positions=structure.positions[order],
        topology=topology,
        atoms=atoms,
    )


def turned(structure: Structure, turn: np.ndarray) -> Structure:
    """Return the structure and its cell turned by an orthogonal matrix: x -> turn x."""
    return changed(structure, structure.positions @ turn.T, structure.cell @ turn.T)


def strained(structure: Structure, strain: np.ndarray) -> Structure:
    """Return the structure and its cell strained: x -> (1 + strain) x."""
    return turned(structure, np.eye(3) + strain)


def doubled(structure: Structure, axis: int) -> Structure:
    """Return two cells of the structure along one axis as one structure, without topology."""
    vector = structure.cell[axis]
    cell = structure.cell.copy()
    cell[axis] = 2 * vector
    atoms = structure.atoms
    if atoms is not None:
        atoms = atoms.copy()
        atoms.set_constraint()
        atoms = atoms.repeat([2 if k == axis else 1 for k in range(3)])
    return dataclasses.replace(
        structure,
        numbers=np.tile(structure.numbers, 2),
        positions=np.concatenate([structure.positions, structure.positions + vector]),
        cell=cell,
        charge=None if structure.charge is None else 2 * structure.charge,
        topology=None,
        atoms=atoms,
    )


def rattled(structure: Structure, amplitude: float, random: np.random.Generator) -> Structure:
    """Return the structure with every coordinate moved by a normal deviate of that amplitude."""
    return changed(
        structure, structure.positions + amplitude * random.normal(size=(structure.n_atoms, 3))
    )


def random_rotation(random: np.random.Generator) -> np.ndarray:
    """Return a proper rotation, uniformly drawn."""
    q, r = np.linalg.qr(random.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))
