"""A neighbour list as rows of equal width, so that the device needs no scatter."""

import dataclasses

import numpy as np

from kups_relax.errors import CapacityError

# Slots that rows may have together: the device numbers them by int32.
MAX_SLOTS = 2**31 - 1


@dataclasses.dataclass(frozen=True, eq=False)
class NeighborMatrix:
    """Hold the neighbours of each atom in a row, and in which image of the cell each is.

    Entries beyond an atom's neighbours are -1 in `neighbor` and 0 in `image`. No entry depends on
    the width or on the number of rows, so both may be padded further with the same values.

    Takes memory in proportion to n_atoms * width, where width is that of the longest row.

    Attributes:
        neighbor: (n_atoms, width) int32, the neighbours of each atom, in the order of the list.
        image: (n_atoms, width) int32, rows of `images`.
        images: (n_images, 3) int32, lattice vectors to add to a neighbour; 0 in the first row.
        counts: (n_atoms,) int32, the number of neighbours of each atom.
    """

    neighbor: np.ndarray
    image: np.ndarray
    images: np.ndarray
    counts: np.ndarray


def neighbor_matrix(
    i: np.ndarray, j: np.ndarray, shifts: np.ndarray, n_atoms: int, *, label: str | None = None
) -> NeighborMatrix:
    """Lay a full neighbour list out in rows.

    Args:
        i: (n_pairs,) int, in ascending order.
        j: (n_pairs,) int.
        shifts: (n_pairs, 3) int. The list is in the order of `neighbor_list`: by i, j, shift.
        n_atoms: Number of rows.
        label: Names the structure in messages.

    Returns:
        The matrix; its width is that of the atom with the most neighbours, and may be 0.

    Raises:
        CapacityError: Rows as long as the longest one would have more than 2^31 slots together.

    Example:
        >>> from kups_relax.neighbors import neighbor_list
        >>> matrix = neighbor_matrix(*neighbor_list(np.diag([0.0, 1.0, 1.5]), None, False, 1.6), 3)
        >>> matrix.neighbor.tolist()
        [[1, 2], [0, -1], [0, -1]]
    """
    counts = np.bincount(i, minlength=n_atoms)
    width = int(counts.max(initial=0))
    if n_atoms * width > MAX_SLOTS:
        where = f"{label!r}: " if label is not None else ""
        raise CapacityError(
            f"{where}atom {counts.argmax()} has {width} neighbours, and {n_atoms} rows of that "
            f"length would take {n_atoms * width * 8 / 2**30:.3g} GiB; at most {MAX_SLOTS} "
            "entries are held. Look for atoms that are too close together, or give the potential "
            "a shorter cutoff."
        )
    images, number = distinct_images(shifts)
    column = _columns(i, counts)
    neighbor = np.full((n_atoms, width), -1, np.int32)
    image = np.zeros((n_atoms, width), np.int32)
    neighbor[i, column] = j
    image[i, column] = number
    return NeighborMatrix(neighbor, image, images, counts.astype(np.int32))


def reverse_slots(
    i: np.ndarray, j: np.ndarray, shifts: np.ndarray, n_atoms: int, width: int
) -> np.ndarray:
    """Find, for each pair of a list, where the same pair is seen from the other side.

    Where [a, k] holds what atom a does to its neighbour in column k, what that neighbour does to
    atom a is at row `neighbor[a, k]` and column `reverse[a, k]`. So all that is done to an atom is
    collected by a gather.

    Args:
        i: (n_pairs,) int, in ascending order.
        j: (n_pairs,) int.
        shifts: (n_pairs, 3) int. The list is in the order of `neighbor_list`: by i, j, shift.
        n_atoms: Number of rows.
        width: Of the rows, as `neighbor_matrix` made them.

    Returns:
        (n_atoms, width) int32, -1 where there is no pair.

    Raises:
        ValueError: Some pair is listed from one side only, or the order is another.
    """
    # In this order, the mirror images of all pairs stand in the order of the list itself.
    mirrored = np.lexsort((*-shifts.T[::-1], i, j))
    if not (
        np.array_equal(j[mirrored], i)
        and np.array_equal(i[mirrored], j)
        and np.array_equal(-shifts[mirrored], shifts)
    ):
        raise ValueError(
            "the list is not full and ordered by i, j and shift; take it from `neighbor_list`."
        )
    column = _columns(i, np.bincount(i, minlength=n_atoms))
    reverse = np.full((n_atoms, width), -1, np.int32)
    reverse[i, column] = column[mirrored]
    return reverse


def distinct_images(shifts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """List each image of the cell once.

    Args:
        shifts: (n_pairs, 3) int.

    Returns:
        (n_images, 3) int32, 0 first, then by their numbers; and (n_pairs,) int32, which one each
        pair's is.
    """
    # Most are 0, and sorting is slow.
    across = shifts.any(axis=1)
    image = np.zeros(len(shifts), np.int32)
    others = shifts[across]
    lowest = others.min(axis=0, initial=0).astype(np.int64)
    spans = (others.max(axis=0, initial=0) - lowest + 1).tolist()
    if spans[0] * spans[1] * spans[2] < 2**63:
        # One number for each image is sorted a hundred times as fast as rows are.
        x, y, z = (others - lowest).T
        key, which = np.unique((x * spans[1] + y) * spans[2] + z, return_inverse=True)
        rest, z = np.divmod(key, spans[2])
        others = np.stack([*np.divmod(rest, spans[1]), z], axis=1) + lowest
    else:
        others, which = np.unique(others, axis=0, return_inverse=True)
    image[across] = which.reshape(-1) + 1
    return np.vstack([np.zeros((1, 3)), others]).astype(np.int32), image


def _columns(i: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(n_pairs,) which of its atom's pairs each is."""
    return np.arange(len(i)) - (np.cumsum(counts) - counts)[i]
