"""One system on the host, before it is laid out for the device."""

import dataclasses
from typing import Any

import numpy as np

from kups_relax.errors import StructureError

# Atoms may not be closer than this, Angstrom.
CLOSEST = 0.1


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
            StructureError: No atoms, values that are not finite, periodic axes without volume, or
                atoms that are closer than 0.1 Angstrom.
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
        check_cell(np.where(self.pbc[:, None], self.cell, 0.0), self.pbc, f"{self.id!r}: ")
        self._check_distances()

    def _check_distances(self) -> None:
        heights = _heights(self.cell, self.pbc)
        if heights.min() < 2 * CLOSEST:
            raise StructureError(
                f"{self.id!r}: the planes of the cell are {heights.min():.3g} Angstrom apart, so "
                "atoms are on top of their own images. Look at the cell; its unit is Angstrom."
            )
        close = _close_pair(self.positions, self.cell, self.pbc)
        if close is None:
            return
        i, j, distance = close
        where = self.positions[i].tolist()
        raise StructureError(
            f"{self.id!r}: atoms {i} and {j} are {distance:.2g} Angstrom apart, near {where}; they "
            f"must be {CLOSEST} apart at least. Remove one of them or move them apart."
        )


def check_cell(cell: np.ndarray, pbc: np.ndarray, where: str) -> None:
    """Raise for periodic vectors that span no volume.

    Args:
        cell: (3, 3), rows are lattice vectors, Angstrom.
        pbc: (3,) bool.
        where: Starts the message: which structure.

    Raises:
        StructureError: A periodic vector is zero, or depends on the others.
    """
    lengths = np.linalg.norm(cell, axis=1)
    advice = "periodic axes need three independent vectors. Set pbc=False or fix the cell."
    if not lengths[pbc].all():
        zero = np.flatnonzero(pbc & (lengths == 0))[0]
        raise StructureError(f"{where}pbc is {pbc.tolist()}, and vector {zero} is zero; {advice}")
    sizes = np.linalg.svd(cell[pbc] / lengths[pbc, None], compute_uv=False)
    if sizes.min(initial=1.0) < 1e-8:
        flat = "cell has zero volume" if pbc.all() else "two vectors are parallel"
        given = f"pbc is {pbc.tolist()}, cell is {cell.tolist()}"
        raise StructureError(f"{where}{given}: {flat}; {advice}")


def _heights(cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """(3,) distances of opposite faces of the cell; infinite along axes that are not periodic."""
    inverse = np.linalg.pinv(np.where(pbc[:, None], cell, 0.0))
    return np.where(pbc, 1 / np.maximum(np.linalg.norm(inverse, axis=0), 1e-300), np.inf)


def _close_pair(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray
) -> tuple[int, int, float] | None:
    """Find two atoms that are closer than they may be, images among them; None: there are none."""
    from scipy.spatial import KDTree

    points, owners = positions, np.arange(len(positions))
    if pbc.any():
        cell = np.where(pbc[:, None], cell, 0.0)
        inverse, margin = np.linalg.pinv(cell), CLOSEST / _heights(cell, pbc)
        points = points - np.floor(points @ inverse) @ cell
        # So near, an atom that is not in the same cell is on the other side of a face.
        for axis in np.flatnonzero(pbc):
            where = (points @ inverse)[:, axis]
            low, high = where < margin[axis], where > 1 - margin[axis]
            images = [points[low] + cell[axis], points[high] - cell[axis]]
            points = np.concatenate([points, *images])
            owners = np.concatenate([owners, owners[low], owners[high]])
    pairs = KDTree(points).query_pairs(CLOSEST, output_type="ndarray")
    if not len(pairs):
        return None
    first = pairs[np.lexsort(np.sort(owners[pairs], axis=1).T[::-1])[0]]
    i, j = sorted(owners[first].tolist())
    return i, j, float(np.linalg.norm(points[first[0]] - points[first[1]]))
