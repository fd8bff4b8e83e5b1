"""`neighbor_matrix`: the same pairs, and each found again from the other side."""

import numpy as np
import pytest
from neighbor_cases import hard_case

from kups_relax.neighbors import neighbor_list, neighbor_matrix


def padded(array, n_rows, width, fill):
    out = np.full((n_rows, width, *array.shape[2:]), fill, array.dtype)
    out[: array.shape[0], : array.shape[1]] = array
    return out


@pytest.mark.parametrize("seed", range(24))
def test_rows_hold_the_list_in_its_order(seed):
    positions, cell, pbc, cutoff = hard_case(seed)
    i, j, shifts = neighbor_list(positions, cell, pbc, cutoff)
    matrix = neighbor_matrix(i, j, shifts, len(positions))
    real = matrix.neighbor >= 0
    assert np.array_equal(real.sum(axis=1), matrix.counts)
    assert np.array_equal(np.nonzero(real)[0], i)
    assert np.array_equal(matrix.neighbor[real], j)
    assert np.array_equal(matrix.shift[real], shifts)
    assert np.array_equal(matrix.reverse < 0, ~real)
    assert not matrix.shift[~real].any()
    assert matrix.neighbor.shape[1] == matrix.counts.max()


@pytest.mark.parametrize("seed", range(24))
def test_the_other_side_is_found_in_arrays_of_any_capacity(seed):
    positions, cell, pbc, cutoff = hard_case(seed)
    i, j, shifts = neighbor_list(positions, cell, pbc, cutoff)
    matrix = neighbor_matrix(i, j, shifts, len(positions))
    n_rows, width = len(positions) + 3, matrix.neighbor.shape[1] + 5
    neighbor = padded(matrix.neighbor, n_rows, width, -1)
    reverse = padded(matrix.reverse, n_rows, width, -1)
    shift = padded(matrix.shift, n_rows, width, 0)
    real = neighbor >= 0
    slot = (neighbor * width + reverse)[real]
    rows, columns = np.nonzero(real)
    # There, the pair is seen from the neighbour; and its way back leads here.
    assert np.array_equal(neighbor.reshape(-1)[slot], rows)
    assert np.array_equal(reverse.reshape(-1)[slot], columns)
    assert np.array_equal(shift.reshape(-1, 3)[slot], -shift[real])


def test_atoms_without_neighbours_have_empty_rows():
    matrix = neighbor_matrix(*neighbor_list(np.diag([0.0, 9.0, 9.5]), None, False, 5.0), 3)
    assert matrix.neighbor.shape == (3, 0)
    assert matrix.shift.shape == (3, 0, 3)
    assert matrix.counts.tolist() == [0, 0, 0]


@pytest.mark.parametrize("spoil", ["half", "shuffled", "one shift"])
def test_a_list_that_is_not_full_or_not_in_order_is_refused(spoil):
    i, j, shifts = neighbor_list(np.array([[0.0] * 3, [0.4] * 3]), np.eye(3), True, 1.2)
    if spoil == "half":
        keep = i <= j
        i, j, shifts = i[keep], j[keep], shifts[keep]
    elif spoil == "shuffled":
        order = np.random.default_rng(0).permutation(len(i))
        i, j, shifts = i[order], j[order], shifts[order]
    else:
        shifts = shifts.copy()
        shifts[0, 0] += 5
    with pytest.raises(ValueError, match="not full and ordered"):
        neighbor_matrix(i, j, shifts, 2)
