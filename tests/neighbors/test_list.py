"""`neighbor_list`: ASE's pairs, in one order, whatever the cell."""

import numpy as np
import pytest
from ase.build import bulk, fcc111, molecule
from ase.neighborlist import primitive_neighbor_list
from neighbor_cases import brute_force, hard_case, in_order

from kups_relax.errors import OptionError, StructureError
from kups_relax.neighbors import TooManyPairs, _list, nearest_distances, neighbor_list
from support.crossing import first


def same(pairs, expected):
    return np.array_equal(np.column_stack(pairs), in_order(*expected))


@pytest.mark.parametrize("n", first([150, 500]))
def test_hard_cells_have_the_pairs_of_ase(n):
    n_pairs = 0
    for seed in range(n):
        positions, cell, pbc, cutoff = hard_case(seed)
        pairs = neighbor_list(positions, cell, pbc, cutoff)
        expected = primitive_neighbor_list("ijS", pbc, cell, positions, cutoff)
        assert same(pairs, expected), (seed, positions, cell, pbc, cutoff)
        n_pairs += len(pairs[0])
    assert n_pairs > 20 * n


@pytest.mark.parametrize("n", first([50, 100]))
def test_hard_cells_have_the_pairs_of_brute_force(n):
    for seed in range(500, 500 + n):
        case = hard_case(seed)
        assert same(neighbor_list(*case), brute_force(*case)), (seed, case)


def test_the_order_is_by_i_then_j_then_shift():
    atoms = bulk("Cu") * (2, 1, 1)
    pairs = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, 6.0)
    assert [x.dtype for x in pairs] == [np.int32] * 3
    table = np.column_stack(pairs).tolist()
    assert table == sorted(table)
    assert all(np.array_equal(a, b) for a, b in zip(
        pairs, neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, 6.0), strict=True
    ))  # fmt: skip


def test_atoms_see_their_own_images():
    i, j, shifts = neighbor_list(np.zeros((1, 3)), np.eye(3), True, 1.2)
    assert not i.any()
    assert not j.any()
    assert sorted(map(tuple, shifts.tolist())) == sorted(
        map(tuple, np.concatenate([np.eye(3, dtype=int), -np.eye(3, dtype=int)]).tolist())
    )


@pytest.mark.parametrize("far", [10, 10_000, 100_000_000])
def test_positions_far_outside_the_cell_keep_their_vectors(far):
    random = np.random.default_rng(0)
    positions = np.round(random.uniform(0, 8, (12, 3)) * 1024) / 1024
    cell = np.diag([8.0, 8.0, 8.0])
    wraps = random.integers(-far, far, (12, 3))
    i, j, shifts = neighbor_list(positions, cell, True, 3.0)
    # Powers of two: moving the atoms rounds nothing.
    got = neighbor_list(positions + wraps * 8.0, cell, True, 3.0)
    assert np.array_equal(got[0], i)
    assert np.array_equal(in_order(*got), in_order(i, j, shifts + wraps[i] - wraps[j]))


@pytest.mark.parametrize("cell", [None, np.zeros((3, 3)), np.eye(3) * 0.1, np.ones((3, 3))])
def test_without_periodic_axes_the_cell_does_not_matter(cell):
    atoms = molecule("C6H6")
    pairs = neighbor_list(atoms.positions + 1e4, cell, False, 2.0)
    assert same(pairs, primitive_neighbor_list("ijS", [0, 0, 0], np.eye(3), atoms.positions, 2.0))
    assert not pairs[2].any()


def test_the_vector_of_an_axis_that_is_not_periodic_does_not_matter():
    slab = fcc111("Cu", (2, 2, 3), vacuum=5.0)
    slab.positions[:, 2] += 300.0
    pbc = [True, True, False]
    expected = neighbor_list(slab.positions, slab.cell.array, pbc, 4.0)
    for third in ([0, 0, 0], [0, 0, 1e-3], [1, 1, 0], [9, 3, -40]):
        cell = np.array([*slab.cell.array[:2], third], float)
        got = neighbor_list(slab.positions, cell, pbc, 4.0)
        assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


def test_fragments_far_apart_cost_nothing():
    positions = np.array([[0, 0, 0], [0, 0, 1], [1e7, 0, 0], [1e7, 1, 0]], float)
    i, j, _ = neighbor_list(positions, None, False, 1.5)
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == [(0, 1), (1, 0), (2, 3), (3, 2)]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("length", [1e3, 1e5, 1e7])
@pytest.mark.parametrize("pbc", [[1, 1, 1], [1, 0, 1], [0, 0, 0]])
def test_boxes_much_longer_than_wide_do_not_end_the_process(axis, length, pbc):
    random = np.random.default_rng(int(length) + axis)
    cell = np.diag(np.roll([length, 3.0, 0.7], axis))
    positions = random.uniform(0, 3, (8, 3))
    positions[4:, axis] += length / 2
    case = (positions, cell, np.array(pbc, bool), 1.2)
    assert same(neighbor_list(*case), brute_force(*case))


def test_a_lost_atom_costs_nothing():
    random = np.random.default_rng(0)
    positions = random.uniform(0, 30, (3000, 3))
    n_pairs = len(neighbor_list(positions, None, False, 3.0)[0])
    positions[0] = 1e12
    n_neighbours = (np.linalg.norm(positions[1:] - positions[7], axis=1) < 3.0).sum() - 1
    i, _, _ = neighbor_list(positions, None, False, 3.0)
    assert 0 < n_pairs - len(i) < 200
    assert (i == 7).sum() == n_neighbours
    assert not (i == 0).any()


def test_the_cutoff_itself_is_outside():
    positions = np.array([[0, 0, 0], [0, 3.0, 4.0]])
    assert len(neighbor_list(positions, None, False, 5.0)[0]) == 0
    assert len(neighbor_list(positions, None, False, np.nextafter(5.0, 6))[0]) == 2


def test_a_pair_and_its_mirror_image_are_judged_alike():
    # Shells of a rotated lattice at the cutoff: rounding decides, and must not decide twice.
    random = np.random.default_rng(3)
    for _ in range(50):
        turn = np.linalg.qr(random.normal(size=(3, 3)))[0]
        cell = bulk("Cu", a=4.0, cubic=True).cell.array @ turn
        positions = bulk("Cu", a=4.0, cubic=True).positions @ turn + random.uniform(-50, 50, 3)
        for cutoff in (np.sqrt(8.0), 4.0):
            i, j, shifts = neighbor_list(positions, cell, True, cutoff)
            assert np.array_equal(in_order(i, j, shifts), in_order(j, i, -shifts))


def test_no_atoms_and_one_atom_have_no_pairs():
    for n_atoms in (0, 1):
        i, j, shifts = neighbor_list(np.zeros((n_atoms, 3)), None, False, 5.0)
        assert (i.shape, j.shape, shifts.shape) == ((0,), (0,), (0, 3))


FLAT = [[1, 0, 0], [0, 1, 0], [1, 1, 0]]


@pytest.mark.parametrize(
    ("cell", "pbc", "message"),
    [
        (None, True, "'si-2': pbc is .*vector 0 is zero"),
        (np.diag([1.0, 1.0, 0.0]), [0, 0, 1], "vector 2 is zero"),
        (FLAT, True, "cell has zero volume; periodic axes"),
        ([[1, 0, 0], [2, 0, 0], [0, 0, 1]], [1, 1, 0], "need three independent vectors"),
        (np.diag([1.0, 1.0, np.nan]), True, "the cell hold.* not finite"),
        (np.eye(3) * 1e-4, True, "has collapsed"),
    ],
)
def test_cells_without_sense_are_refused(cell, pbc, message):
    with pytest.raises(StructureError, match=message) as raised:
        neighbor_list(np.zeros((2, 3)), cell, pbc, 3.0, label="si-2")
    assert str(raised.value).startswith("'si-2': ")
    if "finite" not in message and "collapsed" not in message:
        assert "Set pbc=False or fix the cell." in str(raised.value)


def test_a_flat_cell_serves_where_its_third_vector_does_not_count():
    assert len(neighbor_list(np.zeros((1, 3)), np.array(FLAT, float), [1, 1, 0], 1.1)[0]) == 4


def test_positions_that_are_not_finite_are_refused():
    with pytest.raises(StructureError, match="positions hold values that are not finite"):
        neighbor_list(np.full((2, 3), np.inf), None, False, 3.0)


@pytest.mark.parametrize("cutoff", [0.0, -1.0, np.nan, np.inf])
def test_cutoffs_without_sense_are_refused(cutoff):
    with pytest.raises(OptionError, match="cutoff is"):
        neighbor_list(np.zeros((2, 3)), None, False, cutoff)


def test_shifts_that_int32_cannot_hold_are_refused():
    positions = np.array([[0.0, 0, 0], [4e9, 0, 0]])
    with pytest.raises(StructureError, match="Wrap them into the cell"):
        neighbor_list(positions, np.eye(3), True, 1.5)


def test_the_limit_counts_pairs_and_not_atoms(monkeypatch):
    monkeypatch.setattr(_list, "MAX_PAIRS", 1000)
    monkeypatch.setattr(_list, "MAX_IMAGES", 10_000)
    positions = np.random.default_rng(0).uniform(0, 100, (200, 3))
    assert len(neighbor_list(positions, np.eye(3) * 100, True, 3.0)[0]) < 1000
    with pytest.raises(StructureError, match="has collapsed, or the cutoff is too long"):
        neighbor_list(positions, np.eye(3) * 100, True, 40.0)


def test_many_atoms_in_a_long_thin_box_have_all_their_images():
    positions = np.random.default_rng(0).uniform(0, 1, (1000, 3)) * [3000, 3000, 0.5]
    cell = np.diag([3000, 3000, 0.5])
    i, j, shifts = neighbor_list(positions, cell, True, 1.0)
    assert (i == j).sum() == 2 * 1000
    lengths = np.linalg.norm(positions[j] - positions[i] + shifts @ cell, axis=1)
    assert lengths.max() < 1.0


AXES = [[0, 0, 0], [1, 0, 0], [0, 1, 1], [1, 1, 1]]


def counted(monkeypatch):
    """Lengths of all lists of images that are made from now on."""
    lengths = []
    images = _list._images

    def count(*arguments):
        made = images(*arguments)
        lengths.append(len(made[0]))
        return made

    monkeypatch.setattr(_list, "_images", count)
    return lengths


@pytest.mark.parametrize("pbc", AXES)
@pytest.mark.parametrize("kind", ["scattered", "far outside", "thin", "flat", "skewed"])
def test_what_is_looked_through_is_bounded_by_atoms_and_pairs(kind, pbc, monkeypatch):
    looked = counted(monkeypatch)
    random = np.random.default_rng([*pbc, len(kind)])
    for _ in range(20):
        n_atoms = int(random.integers(1, 10 if kind in ("thin", "flat") else 100))
        cell = np.diag(random.uniform(3.0, 15.0, 3))
        positions = random.uniform(0, 15, (n_atoms, 3))
        if kind == "scattered":
            positions = random.uniform(-5e3, 5e3, (n_atoms, 3))
        elif kind == "far outside":
            positions += random.integers(-100_000, 100_000, (n_atoms, 3)) @ cell
        elif kind == "thin":
            cell[random.integers(3)] *= random.choice([0.02, 1e4])
        elif kind == "flat":
            cell[random.permutation(3)[:2]] *= random.choice([0.05, 1e4])
        elif kind == "skewed":
            cell[2] += random.integers(-(10**6), 10**6) * cell[0]
            cell[1] += random.uniform(-3, 3) * cell[0]
        looked.clear()
        i, _, _ = neighbor_list(positions, cell, np.array(pbc, bool), 5.0)
        # A cell that no neighbour reaches across has 27 images of itself at most.
        assert looked[0] <= 27 * n_atoms + 8 * len(i), (n_atoms, len(i), cell)


@pytest.mark.parametrize("pbc", [[1, 1, 0], [1, 1, 1]])
@pytest.mark.parametrize("skew", [3, 1000, 1_000_000])
def test_skewed_vectors_of_a_lattice_have_the_pairs_of_its_short_ones(skew, pbc):
    random = np.random.default_rng(skew)
    cell = np.array([[4.0, 0, 0], [1.0, 5.0, 0], [0.5, 1.5, 3.0]])
    positions = np.round(random.uniform(-20, 20, (7, 3)) * 1024) / 1024
    change = np.array([[1, 0, 0], [-skew, 1, 0], [skew + 1, 2 * pbc[2], 1]], np.int64)
    if not pbc[2]:
        change[2] = [0, 0, 1]
    i, j, shifts = neighbor_list(positions, change @ cell, pbc, 4.5)
    expected = neighbor_list(positions, cell, pbc, 4.5)
    assert len(i) > 20
    assert np.array_equal(in_order(i, j, shifts.astype(np.int64) @ change), in_order(*expected))


@pytest.mark.parametrize("value", [1e13, -1e300])
def test_coordinates_without_digits_are_refused(value):
    positions = np.array([[0.0, 0.0, 0.0], [value, 0.0, 0.0]])
    for cell, pbc in ((None, False), (np.eye(3) * 9, [1, 0, 0])):
        with pytest.raises(StructureError, match=r"'far': positions .* digits end at"):
            neighbor_list(positions, cell, pbc, 5.0, label="far")
    with pytest.raises(StructureError, match=r"'far': the cell .* digits end at"):
        neighbor_list(positions * 0, np.diag([value, 1, 1]), True, 5.0, label="far")


def test_atoms_on_one_point_are_counted_before_they_are_listed():
    with pytest.raises(StructureError, match=r"20000 atoms have 4.0e.08 pairs"):
        neighbor_list(np.zeros((20_000, 3)), None, False, 5.0)


@pytest.mark.parametrize("far", [0, 5, 2**30])
def test_the_order_is_that_of_i_j_and_shift_however_large_the_shifts(far):
    random = np.random.default_rng(0)
    i, j = random.integers(0, 9, (2, 400))
    shifts = random.integers(-2, 3, (400, 3)) + random.choice([-far, 0, far], (400, 3))
    rows = np.unique(np.column_stack([i, j, shifts]), axis=0)
    mixed = random.permutation(rows)
    i, j, shifts = mixed[:, 0], mixed[:, 1], mixed[:, 2:]
    np.testing.assert_array_equal(mixed[_list._order(i, j, shifts, 9)], rows)


def test_lists_made_in_blocks_are_the_same_list(monkeypatch):
    expected = [neighbor_list(*hard_case(seed)) for seed in range(12)]
    monkeypatch.setattr(_list, "_BLOCK", 3)
    for seed, whole in enumerate(expected):
        for one, other in zip(neighbor_list(*hard_case(seed)), whole, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("seed", range(12))
def test_nearest_distances_are_those_of_the_list(seed):
    positions, cell, pbc, cutoff = hard_case(seed)
    i, j, shifts = neighbor_list(positions, cell, pbc, cutoff)
    vectors = positions[j] - positions[i] + shifts @ cell
    expected = np.full(len(positions), np.inf)
    np.minimum.at(expected, i, np.linalg.norm(vectors, axis=1))
    np.testing.assert_allclose(
        nearest_distances(positions, cell, pbc, cutoff), expected, rtol=1e-12
    )


def test_more_pairs_than_are_asked_for_are_refused_before_they_are_listed():
    with pytest.raises(TooManyPairs, match=r"27 atoms have 7.3e\+02 pairs") as got:
        neighbor_list(np.random.default_rng(0).uniform(0, 2, (27, 3)), None, False, 9.0, most=600)
    assert got.value.n == 27 * 27
