"""One structure on the host: what it promises, and what it refuses."""

import tracemalloc

import numpy as np
import pytest

from kups_relax.data import Structure
from kups_relax.errors import StructureError


def structure(**options: object) -> Structure:
    given = {"numbers": np.array([1, 8], np.int32), "positions": np.array([[0.0, 0, 0], [1, 0, 0]])}
    return Structure(**{"id": "a", **given, **options})  # pyright: ignore[reportArgumentType]


def test_arrays_as_promised_are_left_alone() -> None:
    given = structure()
    assert given.plain() is given


def test_lists_and_other_types_become_the_arrays_that_are_promised() -> None:
    plain = structure(numbers=[1, 8], positions=[[0, 0, 0], [1, 0, 0]], pbc=[0, 0, 0]).plain()
    assert plain.numbers.dtype == np.int32
    assert plain.positions.dtype == np.float64
    assert plain.pbc.dtype == bool
    turned = structure(positions=np.asfortranarray(plain.positions))
    assert turned.plain().positions.flags.c_contiguous


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"numbers": [1.0, 8.0]}, "expected one whole number for each atom"),
        ({"numbers": 5}, "expected one whole number for each atom"),
        ({"numbers": ["H", "O"]}, "expected one whole number for each atom"),
        ({"numbers": [True, True]}, "expected one whole number for each atom"),
        ({"numbers": [1, 119]}, "atomic number 119 of atom 1 is no element"),
        ({"numbers": np.array([1, 2**32 + 6])}, "atomic number 4294967302 of atom 1 is no element"),
        ({"numbers": np.array([1, 2**64 - 1], np.uint64)}, "atomic number 18446744073709551615 of"),
        ({"numbers": [1, 0]}, "is no element but the placeholder 'X'"),
        ({"numbers": []}, "has no atoms"),
        ({"positions": [[0.0, 0.0]] * 2}, r"positions has shape \(2, 2\)"),
        ({"positions": [[0.0, 0.0, 0.0]]}, r"positions has shape \(1, 3\)"),
        ({"positions": [["a"] * 3] * 2}, "positions has shape .* dtype <U1"),
        ({"positions": [[0.0, 0.0, 0.0], [0.0]]}, "positions has rows of different lengths"),
        ({"numbers": [[2], [2, 2]]}, "numbers has rows of different lengths"),
        ({"positions": np.zeros((2, 3), complex)}, "complex128"),
        ({"positions": [[0, 0, 0], [np.nan, 0, 0]]}, r"atom 1 is \[nan, 0.0, 0.0\]"),
        ({"positions": [[0, 0, 0], [1e300, 0, 0]]}, r"atom 1 is \[1e\+300, .* dtype float64"),
        ({"cell": np.zeros(3)}, r"cell has shape \(3,\)"),
        ({"cell": np.full((3, 3), np.inf)}, "cell holds values that are not finite"),
        ({"cell": np.diag([1e300] * 3)}, "the cell is .* dtype float64"),
        ({"cell": np.diag([1e300] * 3), "pbc": [True] * 3}, "the cell is .* dtype float64"),
        ({"pbc": [True]}, r"pbc has shape \(1,\)"),
        ({"cell": np.diag([0.1] * 3), "pbc": [True] * 3}, "planes of the cell are 0.1 Angstrom"),
        ({"cell": np.diag([1e-300] * 3), "pbc": [True] * 3}, "vector 0 is zero"),
    ],
)
def test_what_no_potential_can_use_is_refused_in_words(options: dict, words: str) -> None:
    with pytest.raises(StructureError, match=f"'a'.*{words}"):
        structure(**options).check()


@pytest.mark.parametrize(("dtype", "limit"), [("float32", 2.0**14), ("float64", 2.0**43)])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_coordinates_are_judged_by_how_coarse_numbers_are_there(
    dtype: str, limit: float, sign: float
) -> None:
    below, at = np.nextafter(limit, 0), limit
    assert np.spacing(np.dtype(dtype).type(limit / 2)) < 1e-3 < np.spacing(np.dtype(dtype).type(at))
    for name in ("positions", "cell"):
        array = getattr(structure(), name).copy()
        array[1, 2] = sign * below
        structure(**{name: array}).check_resolution(dtype)
        array[1, 2] = sign * at
        with pytest.raises(StructureError, match=f"of dtype {dtype} are more than 0.001 Angstrom"):
            structure(**{name: array}).check_resolution(dtype)


@pytest.mark.parametrize("pbc", [[False] * 3, [True] * 3, [True, False, False]])
def test_many_atoms_on_one_point_take_no_room(pbc: list[bool]) -> None:
    n = 20_000
    crowd = structure(
        numbers=np.ones(n, np.int32), positions=np.zeros((n, 3)), cell=np.eye(3) * 9.0, pbc=pbc
    )
    tracemalloc.start()
    try:
        with pytest.raises(StructureError, match="atoms 0 and 1 are 0 Angstrom apart"):
            crowd.check()
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # All pairs would be 3 GB.
    assert most < 1000 * n


def test_pairs_that_are_too_close_are_found_as_by_a_double_loop() -> None:
    random = np.random.default_rng(0)
    n_found = 0
    for _ in range(60):
        n = int(random.integers(60, 90))
        positions = random.uniform(0, 2.2, (n, 3))
        distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
        close = (distances + np.eye(n) < 0.1).any()
        try:
            structure(numbers=np.ones(n, np.int32), positions=positions).check()
            found = False
        except StructureError:
            found = True
        assert found == close
        n_found += found
    assert 10 < n_found < 50
