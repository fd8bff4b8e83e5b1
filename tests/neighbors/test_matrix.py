"""`neighbor_matrix`: the same pairs, and each found again from the other side."""

import numpy as np
import pytest
from neighbor_cases import hard_case

from kups_relax.errors import CapacityError
from kups_relax.neighbors import (
    _matrix,
    distinct_images,
    neighbor_list,
    neighbor_matrix,
    reverse_slots,
)


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
    assert np.array_equal(matrix.images[matrix.image[real]], shifts)
    assert not matrix.image[~real].any()
    assert not matrix.images[0].any()
    assert len(np.unique(matrix.images, axis=0)) == len(matrix.images)
    assert matrix.neighbor.shape[1] == matrix.counts.max()


@pytest.mark.parametrize("seed", range(24))
def test_the_other_side_is_found_in_arrays_of_any_capacity(seed):
    positions, cell, pbc, cutoff = hard_case(seed)
    i, j, shifts = neighbor_list(positions, cell, pbc, cutoff)
    matrix = neighbor_matrix(i, j, shifts, len(positions))
    n_rows, width = len(positions) + 3, matrix.neighbor.shape[1] + 5
    neighbor = padded(matrix.neighbor, n_rows, width, -1)
    reverse = padded(reverse_slots(i, j, shifts, *matrix.neighbor.shape), n_rows, width, -1)
    shift = padded(matrix.images[matrix.image], n_rows, width, 0)
    assert np.array_equal(reverse < 0, neighbor < 0)
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
    assert matrix.image.shape == (3, 0)
    assert matrix.images.tolist() == [[0, 0, 0]]
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
        reverse_slots(i, j, shifts, 2, len(i))


def test_rows_that_memory_would_not_hold_are_refused_before_they_are_made(monkeypatch):
    monkeypatch.setattr(_matrix, "MAX_SLOTS", 5)
    listed = neighbor_list(np.diag([0.0, 1.0, 1.5]), None, False, 1.6)
    with pytest.raises(CapacityError, match=r"'dust': atom 0 has 2 neighbours.*3 rows.*GiB"):
        neighbor_matrix(*listed, 3, label="dust")


@pytest.mark.parametrize("far", [3, 2**30])
def test_images_are_listed_once_however_far_they_are(far):
    shifts = np.random.default_rng(0).integers(-1, 2, (50, 3)) * [1, far, far]
    images, image = distinct_images(shifts.astype(np.int32))
    assert np.array_equal(images[image], shifts)
    assert np.array_equal(images[1:], np.unique(shifts[shifts.any(axis=1)], axis=0))
