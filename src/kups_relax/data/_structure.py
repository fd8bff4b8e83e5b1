"""One system on the host, before it is laid out for the device."""

import dataclasses
from typing import Any

import numpy as np

from kups_relax.errors import StructureError


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Structure:
    """Hold one system as plain NumPy arrays, with what is needed to hand it back.

    Attributes:
        id: A label for people; messages name it.
        numbers: (n_atoms,) int32, atomic numbers.
        positions: (n_atoms, 3) float64, Angstrom.
        cell: (3, 3) float64, rows are lattice vectors, Angstrom; zeros where there is none.
        pbc: (3,) bool.
        charge: Total charge in e, or None where the source does not say.
        topology: An RDKit Mol with explicit hydrogens in the order of `numbers`, or None.
            Potentials that need bonds read it; its conformers are ignored.
        atoms: The `ase.Atoms` that it came from, for everything that must survive the round trip.
    """

    id: str
    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((3, 3)))
    pbc: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(3, bool))
    charge: int | None = None
    topology: Any = None
    atoms: Any = None

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.numbers)

    def check(self) -> None:
        """Raise for what no potential can use.

        Raises:
            StructureError: No atoms, coordinates that are not finite, or two atoms on one place.
        """
        if self.n_atoms == 0:
            raise StructureError(f"{self.id!r} has no atoms. Leave it out of the input.")
        bad = np.flatnonzero(~np.isfinite(self.positions).all(axis=1))
        if len(bad):
            raise StructureError(
                f"{self.id!r}: the position of atom {bad[0]} is {self.positions[bad[0]].tolist()}; "
                f"{len(bad)} of {self.n_atoms} atoms have coordinates that are not finite. "
                "Repair the input file."
            )
        if not np.isfinite(self.cell).all():
            raise StructureError(
                f"{self.id!r}: the cell holds values that are not finite. Repair the input file."
            )
        order = np.lexsort(self.positions.T)
        same = np.flatnonzero((np.diff(self.positions[order], axis=0) == 0.0).all(axis=1))
        if len(same):
            first, second = sorted((int(order[same[0]]), int(order[same[0] + 1])))
            raise StructureError(
                f"{self.id!r}: atoms {first} and {second} are on the same place "
                f"{self.positions[first].tolist()}. Remove one of them or move them apart."
            )
