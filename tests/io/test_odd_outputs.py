"""No output is lost to odd info, arrays, ids, constraints: 500 in benchmarks/odd_outputs.py."""

import pathlib
import sys
from typing import Any

import pytest

pytest.importorskip("rdkit", reason="makes topologies for SDF")
sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
from benchmarks import odd_cases, odd_outputs

from kups_relax.errors import LeftOutWarning

N = 40


@pytest.fixture(scope="module")
def structures() -> Any:
    return odd_cases.structures(N, seed=1)


@pytest.fixture(scope="module")
def whole(structures: Any) -> Any:
    return odd_outputs.relaxed(structures)


@pytest.fixture(scope="module")
def store(structures: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.warns(LeftOutWarning):
        return odd_outputs.relaxed(structures, tmp_path_factory.mktemp("odd") / "store.h5")


def assert_right(figures: dict[str, Any]) -> None:
    assert figures["runs lost"] == 0, figures
    assert figures["differences"] == 0, figures


@pytest.mark.parametrize("ending", odd_outputs.ENDINGS)
def test_odd_structures_are_written_and_the_rest_reads_back(
    ending: str, structures: Any, whole: Any, tmp_path: pathlib.Path
) -> None:
    figures = odd_outputs.checked(structures, whole, tmp_path / f"out{ending}")
    assert_right(figures)
    # Some of each was odd indeed.
    assert ending == ".csv" or figures["left out by name"] > 10


@pytest.mark.parametrize("ending", odd_outputs.ENDINGS[1:])
def test_odd_structures_are_exported(ending: str, store: Any, tmp_path: pathlib.Path) -> None:
    assert_right(odd_outputs.exported(store, tmp_path / f"out{ending}"))


def test_odd_structures_are_exported_one_by_one(store: Any, tmp_path: pathlib.Path) -> None:
    figures = odd_outputs.poscars(store[:20], tmp_path / "POSCAR")
    assert_right(figures)
    assert figures["written"] > 5
    assert figures["refused"] > 5
