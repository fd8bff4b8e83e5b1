"""One system on the host, before it is laid out for the device."""

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from kups_relax.data._symbols import SYMBOLS
from kups_relax.errors import StructureError

# Atoms may not be closer than this, Angstrom.
CLOSEST = 0.1
# Neighbouring floating-point numbers may not be further apart than this, Angstrom, at a coordinate.
RESOLUTION = 1e-3
# Atoms of which all pairs are few.
_FEW = 64


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

    def plain(self) -> "Structure":
        """Return the structure with arrays of the promised types and shapes.

        Returns:
            The structure itself where its arrays are as promised, else a copy.

        Raises:
            StructureError: An array has another shape or holds no numbers, or an atomic number is
                none of an element.
        """
        numbers = self._elements()
        n = len(numbers)
        arrays = {
            "numbers": numbers,
            "positions": self._array("positions", np.float64, (n, 3)),
            "cell": self._array("cell", np.float64, (3, 3)),
            "pbc": self._array("pbc", np.bool_, (3,)),
        }
        if all(getattr(self, name) is array for name, array in arrays.items()):
            return self
        return dataclasses.replace(self, **arrays)

    def check(self) -> None:
        """Raise for what no potential can use; takes time in proportion to the number of atoms.

        Raises:
            StructureError: No atoms, arrays of other shapes than promised, atomic numbers of no
                element, values that are not finite or too large for float64, periodic axes
                without volume, or atoms that are closer than 0.1 Angstrom.
        """
        if self._given("numbers").shape == (0,):
            raise StructureError(f"{self.id!r} has no atoms. Leave it out of the input.")
        plain = self.plain()
        if plain is not self:
            plain.check()
            return
        if not np.isfinite(self.positions).all():
            bad = np.flatnonzero(~np.isfinite(self.positions).all(axis=1))
            raise StructureError(
                f"{self.id!r}: the position of atom {bad[0]} is {self.positions[bad[0]].tolist()}; "
                f"{len(bad)} of {self.n_atoms} atoms have coordinates that are not finite. "
                "Repair the input file."
            )
        if not np.isfinite(self.cell).all():
            raise StructureError(
                f"{self.id!r}: the cell holds values that are not finite. Repair the input file."
            )
        self.check_resolution("float64")
        if self.pbc.any():
            check_cell(np.where(self.pbc[:, None], self.cell, 0.0), self.pbc, f"{self.id!r}: ")
            self._check_heights()
        self._check_distances()

    def check_resolution(self, dtype: str) -> None:
        """Raise where the numbers of a dtype are too coarse for the coordinates.

        From 16384 Angstrom on in float32, and 9e12 in float64, neighbouring numbers are more than
        0.001 Angstrom apart: the forces of a geometry and of the next differ by more than any
        sensible threshold, and no step can improve it.

        Args:
            dtype: "float32" or "float64", in which the structure is to be relaxed.

        Raises:
            StructureError: A coordinate, or a component of the cell, is too large.
        """
        limit = _largest(dtype)
        if np.abs(self.positions).max(initial=0.0) < limit and np.abs(self.cell).max() < limit:
            return
        atom = np.flatnonzero((np.abs(self.positions) >= limit).any(axis=1))
        if len(atom):
            what = f"the position of atom {atom[0]} is {self.positions[atom[0]].tolist()}"
            way = "Move the structure to the origin (atoms.center(), atoms.wrap())"
        else:
            what, way = f"the cell is {self.cell.tolist()}", "Make the cell smaller"
        way += ", or look at the unit, which is Angstrom"
        if dtype != "float64":
            way += "; or relax in float64"
        raise StructureError(
            f"{self.id!r}: {what}; from {limit:.5g} Angstrom on, numbers of dtype {dtype} are more "
            f"than {RESOLUTION} Angstrom apart, too coarse for a geometry. {way}."
        )

    def _elements(self) -> np.ndarray:
        """(n_atoms,) int32, atomic numbers of elements."""
        given = self._given("numbers")
        if given.shape == (0,):
            return np.zeros(0, np.int32)
        if given.ndim != 1 or given.dtype.kind not in "iu":
            raise StructureError(
                f"{self.id!r}: the atomic numbers have shape {given.shape} and dtype "
                f"{given.dtype}; expected one whole number for each atom."
            )
        if len(given) and not 0 < given.min() <= given.max() < len(SYMBOLS):
            bad = np.flatnonzero((given < 1) | (given >= len(SYMBOLS)))
            atom, number = int(bad[0]), int(given[bad[0]])
            what = f"atomic number {number} of atom {atom} is no element"
            if number == 0:
                what += f" but the placeholder {SYMBOLS[0]!r}"
            raise StructureError(
                f"{self.id!r}: {what}; expected 1 to {len(SYMBOLS) - 1}, {SYMBOLS[1]} to "
                f"{SYMBOLS[-1]}. Say which element it is, or remove the atom."
            )
        return _as_plain(given, np.int32)

    def _array(self, name: str, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
        given = self._given(name)
        if given.dtype.kind not in "biuf" or given.shape != shape:
            raise StructureError(
                f"{self.id!r}: {name} has shape {given.shape} and dtype {given.dtype}; expected "
                f"numbers of shape {shape} for {len(self.numbers)} atoms."
            )
        return _as_plain(given, dtype)

    def _given(self, name: str) -> np.ndarray:
        try:
            return np.asarray(getattr(self, name))
        except ValueError as error:
            raise StructureError(
                f"{self.id!r}: {name} has rows of different lengths; expected an array. {error}"
            ) from error

    def _check_heights(self) -> None:
        heights = _heights(self.cell, self.pbc)
        if heights.min() < 2 * CLOSEST:
            raise StructureError(
                f"{self.id!r}: the planes of the cell are {heights.min():.3g} Angstrom apart, so "
                "atoms are on top of their own images. Look at the cell; its unit is Angstrom."
            )

    def _check_distances(self) -> None:
        close = _close_pair(self.positions, self.cell, self.pbc)
        if close is None:
            return
        i, j, distance = close
        where = self.positions[i].tolist()
        raise StructureError(
            f"{self.id!r}: atoms {i} and {j} are {distance:.2g} Angstrom apart, near {where}; they "
            f"must be {CLOSEST} apart at least. Remove one of them or move them apart."
        )


def _as_plain(array: np.ndarray, dtype: Any) -> np.ndarray:
    """The array itself where it is of a dtype and contiguous, else a copy that is."""
    return np.asarray(array, dtype, order="C")


@functools.cache
def _largest(dtype: str) -> float:
    """The power of two from which on numbers of a dtype are more than `RESOLUTION` apart."""
    return 2.0 ** (math.floor(math.log2(RESOLUTION / np.finfo(dtype).eps)) + 1)


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
    if len(points) > _FEW:
        kept = _few_in_a_box(points)
        points, owners = points[kept], owners[kept]
    pairs = KDTree(points).query_pairs(CLOSEST, output_type="ndarray")
    if not len(pairs):
        return None
    first = pairs[np.lexsort(np.sort(owners[pairs], axis=1).T[::-1])[0]]
    i, j = sorted(owners[first].tolist())
    return i, j, float(np.linalg.norm(points[first[0]] - points[first[1]]))


def _few_in_a_box(points: np.ndarray) -> np.ndarray:
    """Rows of two points in each box so small that any two in it are too close.

    Where there are pairs that are too close, some are left; and there are never many. Without this,
    a thousand atoms on one point have half a million of them.
    """
    boxes = np.floor(points * (math.sqrt(3.0) * 1.001 / CLOSEST)).astype(np.int64)
    order = np.lexsort(boxes.T)
    boxes = boxes[order]
    third = np.zeros(len(points), bool)
    third[2:] = (boxes[2:] == boxes[:-2]).all(axis=1)
    return np.sort(order[~third])
