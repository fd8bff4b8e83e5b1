"""A neighbour list as rows of equal width, so that the device needs no scatter."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class NeighborMatrix:
    """Hold the neighbours of each atom in a row, and where each pair is seen from the other side.

    Entries beyond an atom's neighbours are -1 in `neighbor` and `reverse`, and 0 in `shift`. No
    entry depends on the width or on the number of rows, so all three may be padded further with
    the same values, and stay right.

    Where [a, k] holds what atom a does to its neighbour in column k, what that neighbour does to
    atom a is at row `neighbor[a, k]` and column `reverse[a, k]`. So all that is done to an atom is
    collected by a gather, at flat slots `neighbor * width + reverse`, where `width` is that of the
    padded rows.

    Attributes:
        neighbor: (n_atoms, width) int32, the neighbours of each atom, in the order of the list.
        shift: (n_atoms, width, 3) int32, the lattice vectors to add to each neighbour.
        reverse: (n_atoms, width) int32, the column of the same pair in the row of the neighbour.
        counts: (n_atoms,) int32, the number of neighbours of each atom.
    """

    neighbor: np.ndarray
    shift: np.ndarray
    reverse: np.ndarray
    counts: np.ndarray


def neighbor_matrix(
    i: np.ndarray, j: np.ndarray, shifts: np.ndarray, n_atoms: int
) -> NeighborMatrix:
    """Lay a full neighbour list out in rows.

    Args:
        i: (n_pairs,) int, in ascending order.
        j: (n_pairs,) int.
        shifts: (n_pairs, 3) int. The list is in the order of `neighbor_list`: by i, j, shift.
        n_atoms: Number of rows.

    Returns:
        The matrix; its width is that of the atom with the most neighbours, and may be 0.

    Raises:
        ValueError: Some pair is listed from one side only, or the order is another.

    Example:
        >>> from kups_relax.neighbors import neighbor_list
        >>> matrix = neighbor_matrix(*neighbor_list(np.diag([0.0, 1.0, 1.5]), None, False, 1.6), 3)
        >>> matrix.neighbor.tolist(), matrix.reverse.tolist()
        ([[1, 2], [0, -1], [0, -1]], [[0, 0], [0, -1], [1, -1]])
    """
    i, j, shifts = np.asarray(i), np.asarray(j), np.asarray(shifts)
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
    counts = np.bincount(i, minlength=n_atoms)
    column = np.arange(len(i)) - (np.cumsum(counts) - counts)[i]
    width = int(counts.max(initial=0))
    neighbor = np.full((n_atoms, width), -1, np.int32)
    shift = np.zeros((n_atoms, width, 3), np.int32)
    reverse = np.full((n_atoms, width), -1, np.int32)
    neighbor[i, column] = j
    shift[i, column] = shifts
    reverse[i, column] = column[mirrored]
    return NeighborMatrix(neighbor, shift, reverse, counts.astype(np.int32))
