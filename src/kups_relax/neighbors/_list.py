"""Pairs of atoms within a cutoff, for any cell, in one order."""

import itertools
import math

import numpy as np

from kups_relax.data import RESOLUTION, check_cell
from kups_relax.errors import OptionError, StructureError

# A list of this many pairs takes about 8 GB; a structure that asks for more has collapsed.
MAX_PAIRS = 200_000_000

# Images of atoms that are looked through at most: about 5 GB.
MAX_IMAGES = 50_000_000

# Atoms whose pairs are judged and sorted at a time: what is needed on the way does not grow with
# the structure.
_BLOCK = 4096

# Atoms that are asked for the nearest: more than have the same distance in a crystal, and the atom.
_CANDIDATES = 20

# Lattice vectors may be so many times longer than the planes that they cross are apart.
_SKEWED = 2.0


class TooManyPairs(StructureError):
    """There are more pairs or images than are held.

    Attributes:
        n: How many there are.
    """

    def __init__(self, message: str, n: float) -> None:
        super().__init__(message)
        self.n = n


def neighbor_list(
    positions: np.ndarray,
    cell: np.ndarray | None,
    pbc: np.ndarray | bool,
    cutoff: float,
    *,
    label: str | None = None,
    most: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find all pairs of atoms closer than a cutoff, with the images of periodic axes.

    The list is full: each pair is there from i and from j, and what is true of one entry is true
    of its mirror image to the last bit. Atoms see their own images. Equal to
    `ase.neighborlist.neighbor_list("ijS", ...)` as a set, in an order of its own: by i, then j,
    then the three numbers of the shift. Positions may lie anywhere outside the cell; lattice
    vectors of axes that are not periodic do not matter.

    Costs time and memory in proportion to the atoms and the pairs, however far apart the atoms
    are and whatever the shape of the cell: 65 ms for 4000 atoms with 42 neighbours each, and at
    least 0.4 ms; 20 bytes a pair, and 50 bytes an atom or image.

    Args:
        positions: (n_atoms, 3), Angstrom.
        cell: (3, 3), rows are lattice vectors, Angstrom. None or zeros where there is none.
        pbc: (3,) bool, or one for all axes.
        cutoff: Angstrom. A pair at exactly the cutoff is out, as in ASE.
        label: Names the structure in messages.
        most: Pairs that are listed at most, which are counted before they are listed; None:
            `MAX_PAIRS`.

    Returns:
        i, j: (n_pairs,) int32, the atom at the centre and its neighbour.
        shifts: (n_pairs, 3) int32. From i to j it is
            `positions[j] - positions[i] + shifts @ cell`.

    Raises:
        OptionError: The cutoff is not a positive number.
        StructureError: Periodic axes without three independent vectors, or values that are not
            finite or so large that they have no digits left.
        TooManyPairs: Of a cell that has collapsed to nothing.

    Example:
        >>> i, j, shifts = neighbor_list(np.zeros((1, 3)), np.diag([1.0, 5.0, 5.0]), True, 1.5)
        >>> i.tolist(), j.tolist(), shifts.tolist()
        ([0, 0], [0, 0], [[-1, 0, 0], [1, 0, 0]])
    """
    search = _Search(positions, cell, pbc, cutoff, label)
    search.check_number(MAX_PAIRS if most is None else most)
    n_atoms = len(search.positions)
    parts = [search.pairs(k, k + _BLOCK) for k in range(0, max(n_atoms, 1), _BLOCK)]
    if len(parts) == 1:
        return parts[0]
    i, j, shifts = map(list, zip(*parts, strict=True))
    del parts
    return _joined(i), _joined(j), _joined(shifts)


def nearest_distances(
    positions: np.ndarray,
    cell: np.ndarray | None,
    pbc: np.ndarray | bool,
    cutoff: float,
    *,
    label: str | None = None,
) -> np.ndarray:
    """Find how far away the nearest atom is, images among them.

    Costs time and memory in proportion to the atoms, however many pairs are within the cutoff.

    Args:
        positions: (n_atoms, 3), Angstrom.
        cell: (3, 3), rows are lattice vectors, Angstrom. None or zeros where there is none.
        pbc: (3,) bool, or one for all axes.
        cutoff: Angstrom.
        label: Names the structure in messages.

    Returns:
        (n_atoms,) Angstrom; infinite for atoms that have none within the cutoff.

    Raises:
        OptionError, StructureError: See `neighbor_list`.
    """
    return _Search(positions, cell, pbc, cutoff, label).nearest()


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """Put parts behind each other, and drop them one after the other."""
    whole = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
    end = len(whole)
    while parts:
        part = parts.pop()
        whole[end - len(part) : end] = part
        end -= len(part)
    return whole


def _check_numbers(name: str, value: np.ndarray, where: str) -> None:
    if not np.isfinite(value).all():
        raise StructureError(f"{where}{name} hold values that are not finite.")
    largest = float(np.abs(value).max(initial=0))
    if np.spacing(largest) > RESOLUTION:
        raise StructureError(
            f"{where}{name} hold values of up to {largest:.3g} Angstrom, whose digits end at "
            f"{np.spacing(largest):.1g}: distances cannot be told from them. Look at the unit, "
            "and bring the atoms near the origin."
        )


class _Search:
    """Trees of a structure's atoms and their images.

    Trees, and no grid: what a grid costs grows with the space between the atoms.
    """

    def __init__(
        self,
        positions: np.ndarray,
        cell: np.ndarray | None,
        pbc: np.ndarray | bool,
        cutoff: float,
        label: str | None,
    ) -> None:
        from scipy.spatial import KDTree

        if not 0 < cutoff < np.inf:
            raise OptionError(f"cutoff is {cutoff}; it must be a positive number, in Angstrom.")
        where = f"{label!r}: " if label is not None else ""
        positions = np.ascontiguousarray(positions, np.float64).reshape(-1, 3)
        pbc = np.broadcast_to(np.asarray(pbc, bool), 3)
        cell = np.zeros((3, 3)) if cell is None else np.asarray(cell, np.float64)
        cell = np.where(pbc[:, None], cell, 0.0)
        for name, value in (("positions", positions), ("the cell", cell)):
            _check_numbers(name, value, where)
        check_cell(cell, pbc, where)
        self.positions, self._cell, self._cutoff, self._where = positions, cell, cutoff, where
        basis, change = _reduced(cell, pbc)
        self._change = None if basis is cell else change
        inverse = np.linalg.pinv(basis)
        wraps = np.where(pbc, np.floor(_combine(positions, inverse)), 0.0)
        self._wraps = wraps if wraps.any() else None
        self._inside = positions - _combine(wraps, basis)
        # What rounding could push over the edge is found here and judged by `pairs`.
        self._reach = cutoff * (1 + 1e-6) + 1e-13 * float(np.abs(positions).max(initial=0))
        self._owners, self._steps = _images(
            _combine(self._inside, inverse),
            self._reach * np.linalg.norm(inverse, axis=0),
            pbc,
            where,
        )
        self._home = np.flatnonzero(~self._steps.any(axis=1))
        self._images = KDTree(self._inside[self._owners] + _combine(self._steps, basis))

    def check_number(self, most: int) -> None:
        """Raise where there are more pairs than that."""
        from scipy.spatial import KDTree

        n_atoms = len(self.positions)
        if n_atoms * self._images.n <= most:
            return
        n_pairs = int(KDTree(self._inside).count_neighbors(self._images, self._reach))
        if n_pairs > most:
            _refuse_collapse(n_pairs, "pairs", most, n_atoms, self._reach, self._where)

    def nearest(self) -> np.ndarray:
        """(n_atoms,) how far the nearest atom or image is; infinite where none is near."""
        n = min(_CANDIDATES, self._images.n)
        _, image = self._images.query(self._inside, n, distance_upper_bound=self._reach)
        i, slot = np.nonzero(np.reshape(image, (-1, n)) < self._images.n)
        i, j, shifts = self._named(i, np.reshape(image, (-1, n))[i, slot])
        lengths = np.linalg.norm(
            self.positions[j] - self.positions[i] + shifts @ self._cell, axis=1
        )
        distances = np.full(len(self.positions), np.inf)
        np.minimum.at(distances, i, lengths)
        return np.where(distances < self._cutoff, distances, np.inf)

    def pairs(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the pairs of some atoms, in order: i, j, shifts, as `neighbor_list` does."""
        i, j, shifts = self._candidates(first, last)
        vectors = self.positions[j] - self.positions[i]
        if self._cell.any():
            vectors += _combine(shifts, self._cell)
        x, y, z = vectors.T
        near = x * x + y * y + z * z < self._cutoff * self._cutoff
        i, j, shifts = i[near], j[near], shifts[near]
        if np.abs(shifts).max(initial=0) >= 2**31:
            raise StructureError(
                f"{self._where}atoms are {np.abs(shifts).max():.0f} cells apart. Wrap them into "
                "the cell."
            )
        shifts = shifts.astype(np.int64)
        order = _order(i, j, shifts, len(self.positions))
        return i[order].astype(np.int32), j[order].astype(np.int32), shifts[order].astype(np.int32)

    def _candidates(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find all pairs of some atoms that are near, and some that rounding could push over.

        Returns:
            i, j: (n,) int64. shifts: (n, 3) float64, whole numbers.
        """
        from scipy.spatial import KDTree

        here = KDTree(self._inside[first:last])
        found = here.sparse_distance_matrix(self._images, self._reach, output_type="ndarray")
        return self._named(found["i"] + first, found["j"])

    def _named(self, i: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Say which atom each image is of, and which cells it is away; without atoms themselves."""
        # Leave out the pair of an atom and itself in the same cell.
        other = self._home[i] != image
        i, image = i[other], image[other]
        j, shifts = self._owners[image], self._steps[image]
        if self._wraps is not None:
            shifts = shifts + self._wraps[i] - self._wraps[j]
        return i, j, shifts if self._change is None else _combine(shifts, self._change)


def _reduced(cell: np.ndarray, pbc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors of the same lattice that are not skewed, and how they are made of the cell's.

    Across a skewed cell many images are near that are not within as many times its vectors. Each
    vector is made shorter by the others, as long as one can be (Semaev 2001,
    doi:10.1007/3-540-44670-2_13).
    """
    change = np.eye(3)
    skew = np.linalg.norm(cell, axis=1) * np.linalg.norm(np.linalg.pinv(cell), axis=0)
    if skew.max() <= _SKEWED:
        return cell, change
    shorter = True
    while shorter:
        shorter = False
        for axis in np.flatnonzero(pbc):
            rest = [k for k in np.flatnonzero(pbc) if k != axis]
            vectors = change @ cell
            along = np.linalg.lstsq(vectors[rest].T, vectors[axis], rcond=None)[0]
            # In three dimensions the nearest point of the others is around where it lies on them.
            near = np.round(along) + np.array(list(itertools.product((-1, 0, 1), repeat=len(rest))))
            tried = change[axis] - near @ change[rest]
            lengths = np.linalg.norm(tried @ cell, axis=1)
            best = int(lengths.argmin())
            if lengths[best] < np.linalg.norm(vectors[axis]) * (1 - 1e-9):
                change[axis], shorter = tried[best], True
    return change @ cell, change


def _images(
    fractional: np.ndarray, margin: np.ndarray, pbc: np.ndarray, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """List the images of atoms that could be near one of the atoms, these themselves among them.

    Args:
        fractional: (n_atoms, 3), where they are.
        margin: (3,), how far a near one may be outside of where the atoms are, likewise.
        pbc: (3,) bool.
        where: Starts messages.

    Returns:
        owners: (n,) int64, the atom that each is an image of.
        steps: (n, 3) float64, by how many lattice vectors.
    """
    owners = np.arange(len(fractional))
    steps = np.zeros((len(owners), 3))
    for axis in np.flatnonzero(pbc):
        along = fractional[:, axis]
        first = np.ceil(along.min() - margin[axis] - along)
        counts = np.floor(along.max() + margin[axis] - along) - first + 1
        total = float(counts[owners].sum())
        if total > MAX_IMAGES:
            _refuse_collapse(total, "images", MAX_IMAGES, len(fractional), None, where)
        counts = counts[owners].astype(np.int64)
        start = np.cumsum(counts) - counts
        first = np.repeat(first[owners] - start, counts)
        owners, steps = np.repeat(owners, counts), np.repeat(steps, counts, axis=0)
        steps[:, axis] = first + np.arange(len(owners))
    return owners, steps


def _refuse_collapse(
    n: float, what: str, most: int, n_atoms: int, reach: float | None, where: str
) -> None:
    """Raise for what memory could not hold: it would end the process."""
    within = "near the cell" if reach is None else f"within {reach:.4g} Angstrom"
    raise TooManyPairs(
        f"{where}{n_atoms} atoms have {n:.1e} {what} {within}; at most {most:.0e} are held. The "
        "cell or the structure has collapsed, or the cutoff is too long.",
        n,
    )


def _order(i: np.ndarray, j: np.ndarray, shifts: np.ndarray, n_atoms: int) -> np.ndarray:
    """Sort by i, then j, then shift; by one number for each pair where it fits, which is faster."""
    lowest = shifts.min(axis=0, initial=0)
    spans = shifts.max(axis=0, initial=0) - lowest + 1
    if n_atoms**2 * math.prod(spans.tolist()) >= 2**63:
        return np.lexsort((*shifts.T[::-1], j, i))
    key = i * n_atoms + j
    for axis in np.flatnonzero(spans > 1):
        key = key * spans[axis] + (shifts[:, axis] - lowest[axis])
    return np.argsort(key)


def _combine(shifts: np.ndarray, cell: np.ndarray) -> np.ndarray:
    # Not `@`: its rounding may depend on the row, and an entry and its mirror image must agree.
    return shifts[:, :1] * cell[0] + shifts[:, 1:2] * cell[1] + shifts[:, 2:] * cell[2]
