"""Outputs that were once lost to one value: what is right."""

import datetime
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.db import connect

import kups_relax as kr
from helpers import argon, argon_cluster
from kups_relax.errors import LeftOutWarning


def copper() -> list[Atoms]:
    cells = [bulk("Cu", a=3.7 + 0.01 * i, cubic=True) for i in range(3)]
    for i, atoms in enumerate(cells):
        atoms.info["id"] = f"cell {i}"
    return cells


def relaxed(cells: list[Atoms], path: Path, told: str) -> Any:
    with pytest.warns(LeftOutWarning, match=told) as caught:
        result = kr.relax(cells, kr.potentials.EMT(), output=path, max_steps=1, progress=False)
    # ASE under NumPy 2.5 has warnings of its own.
    assert len([one for one in caught if one.category is LeftOutWarning]) == 1
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    return result


def test_case_02_a_tuple_as_a_key_costs_only_its_value(tmp_path: Path) -> None:
    cells, path = copper(), tmp_path / "out.traj"
    cells[1].info |= {(1, 2): "text", "kept": 1}
    result = relaxed(cells, path, r"out\.traj': 'cell 1': left out info\[\(1, 2\)\] \(str\)")
    back = ase.io.read(path, ":")
    assert [atoms.info["id"] for atoms in back] == ["cell 0", "cell 1", "cell 2"]
    assert back[1].info["kept"] == 1
    for atoms, expected in zip(back, result.atoms, strict=True):
        assert np.array_equal(atoms.positions, expected.positions)


@pytest.mark.parametrize(
    ("key", "value"),
    [("when", datetime.datetime(2020, 1, 1)), ("function", print)],
    ids=["date", "function"],
)
def test_case_03_a_date_costs_only_its_value(tmp_path: Path, key: str, value: Any) -> None:
    cells, path = copper(), tmp_path / "out.db"
    cells[1].info |= {key: value, "kept": [1, 2]}
    result = relaxed(cells, path, rf"out\.db': 'cell 1': left out info\['{key}'\]")
    with connect(path) as database:
        rows = list(database.select())
    assert [row.structure_id for row in rows] == ["cell 0", "cell 1", "cell 2"]
    assert [row.energy for row in rows] == result.energy.tolist()
    assert list(rows[1].data["kept"]) == [1, 2]
    assert key not in rows[1].data


def test_case_04_what_the_user_says_of_convergence_is_data(tmp_path: Path) -> None:
    cells, path = copper(), tmp_path / "out.db"
    cells[1].info["converged"] = None
    result = kr.relax(cells, kr.potentials.EMT(), output=path, max_steps=1, progress=False)
    with connect(path) as database:
        rows = list(database.select())
    assert [row.status for row in rows] == result.status.tolist()
    assert rows[1].data["converged"] is None


@pytest.mark.parametrize("ending", ["h5", "extxyz", "traj", "db", "csv"])
def test_case_10_an_array_as_id_gives_way_to_one_that_is_text(tmp_path: Path, ending: str) -> None:
    clusters = [argon_cluster(3), argon_cluster(3, seed=1)]
    clusters[0].info["id"] = np.array([0, 1, 2])
    path = tmp_path / f"out.{ending}"
    result = kr.relax(clusters, argon(), output=path, max_steps=1, progress=False)
    assert isinstance(result.ids[0], str)
    if ending == "h5":
        assert [atoms.info["id"] for atoms in kr.open(path)] == result.ids
    elif ending in ("extxyz", "traj"):
        assert [atoms.info["id"] for atoms in ase.io.read(path, ":")] == result.ids


def test_numbers_of_thousands_of_digits_are_stored(tmp_path: Path) -> None:
    cluster, path = argon_cluster(3), tmp_path / "out.h5"
    cluster.info["k"] = 10**5000
    kr.relax(cluster, argon(), output=path, max_steps=1, progress=False)
    assert kr.open(path)[0].info["k"] == 10**5000


@pytest.mark.parametrize("ending", ["extxyz", "traj", "db"])
def test_there_is_no_reason_where_nothing_went_wrong(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out.{ending}"
    result = kr.relax(argon_cluster(3), argon(), output=path, progress=False)
    assert result.converged.all()
    if ending == "db":
        with connect(path) as database:
            [row] = database.select()
        assert "reason" not in {*row.key_value_pairs, *row.data}
    else:
        assert "reason" not in ase.io.read(path).info  # pyright: ignore
    if ending == "extxyz":
        assert "_JSON" not in path.read_text()
