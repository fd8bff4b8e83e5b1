"""Tables: what spreadsheets would run is text, numbers are numbers, all of it reads back."""

import csv
from pathlib import Path

import pytest

from kups_relax.io import LeftOut
from kups_relax.io._csv import write_csv

TEXTS = [
    "=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "'", "\uff1d1", "=cmd|' /C calc'!A0",
    "a;=1", "a\t=1", " padded ", "", "plain", "a'b", 'a"b', "two\nlines", "-x",
]  # fmt: skip
NUMBERS = ["-1.5", "+2", "1e5", "-.5E-3", "007"]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_text_is_text_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_csv(path, {"id": TEXTS, "=key": TEXTS}, LeftOut(path, "a table"))
    rows = read(path)
    assert list(rows[0]) == ["id", "'=key"]
    for row in rows:
        assert row["id"][:1] not in set("=+-@\t\r\uff1d")
    assert [row["id"].removeprefix("'") for row in rows] == TEXTS


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    values = [-1.5, -2, float("-inf"), True, None]
    write_csv(path, {"id": NUMBERS, "x": values}, LeftOut(path, "a table"))
    assert path.read_text().splitlines() == [
        "id,x", "-1.5,-1.5", "+2,-2", "1e5,-inf", "-.5E-3,True", "007,"
    ]  # fmt: skip


@pytest.mark.parametrize("other", [";", "\t", "|"])
def test_who_splits_at_other_separators_finds_no_formula(other: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_csv(path, {"id": [f"a{other}=1+1"]}, LeftOut(path, "a table"))
    with path.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file, delimiter=other)) == [["id"], [f"a{other}=1+1"]]


def test_an_empty_cell_alone_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_csv(path, {"id": ["", "b"]}, LeftOut(path, "a table"))
    assert read(path) == [{"id": ""}, {"id": "b"}]
