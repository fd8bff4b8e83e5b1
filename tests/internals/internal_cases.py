"""Structures whose internal coordinates are counted."""

import collections
from typing import Any

from ase import Atoms
from ase.build import bulk, molecule

from kups_relax import coordinates, internals
from kups_relax.data import Structure
from kups_relax.internals import Guide
from kups_relax.internals._bonds import bonds_of
from kups_relax.internals._rows import Rows, bonded_rows
from kups_relax.io import structures_from


def structure_of(atoms: Atoms) -> Structure:
    [structure] = structures_from(atoms)
    assert isinstance(structure, Structure)
    return structure


def rows_of(atoms: Atoms) -> Rows:
    structure = structure_of(atoms)
    return bonded_rows(structure, bonds_of(structure))


def counted(rows: Rows) -> dict[int, int]:
    """How many rows of each kind there are."""
    return dict(collections.Counter(rows.kind.tolist()))


def guide_for(atoms: Atoms, cell: Any = None) -> tuple[Guide, Any]:
    structure = structure_of(atoms)
    return internals.guide_of(
        structure, *coordinates.coordinates_of(structure, coordinates.get(cell))
    )


def water_dimer() -> Atoms:
    first, second = molecule("H2O"), molecule("H2O")
    second.positions += [0.0, 0.0, 3.0]
    return first + second


def argon_crystal() -> Atoms:
    return bulk("Ar", "fcc", a=5.26, cubic=True)
