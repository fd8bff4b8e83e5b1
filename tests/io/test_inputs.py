"""What users may give: lists, folders, patterns, and how many structures are in them."""

import gzip
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ase.io
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.db import connect

from kups_relax.data import Structure
from kups_relax.errors import StructureError
from kups_relax.io import Entry, Stream, Unreadable, structures_from


def ids(entries: list[Entry]) -> list[str]:
    return [entry.id for entry in entries]


def bad(entries: list[Entry]) -> list[str]:
    return [entry.id for entry in entries if isinstance(entry, Unreadable)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Structure files, and what else is in folders."""
    ase.io.write(tmp_path / "b.cif", bulk("Cu"))
    ase.io.write(tmp_path / "a.xyz", molecule("H2O"))
    (tmp_path / "c.cif").touch()
    (tmp_path / ".hidden.xyz").write_text("no")
    (tmp_path / "sub").mkdir()
    ase.io.write(tmp_path / "sub" / "POSCAR", bulk("Si"))
    for name in ("notes.txt", "README.md", "run.log", "settings.json", "picture.png", "run.py"):
        (tmp_path / name).write_text("1 or 2\n")
    return tmp_path


def test_a_folder_stands_for_its_structure_files_by_name(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        entries = structures_from(folder)
    assert ids(entries) == ["a", "b", "c"]
    assert bad(entries) == ["c"]
    assert "left out 6 files of other kinds: README.md, notes.txt" in caplog.text


def test_folders_and_files_in_a_list_keep_their_order(folder: Path) -> None:
    entries = structures_from([molecule("CH4"), folder / "sub", str(folder), molecule("CH4")])
    assert ids(entries) == ["CH4 0", "sub/POSCAR", "a", "b", "c", "CH4 3"]


def test_a_folder_without_structure_files_is_one_failed_entry(folder: Path) -> None:
    (folder / "none").mkdir()
    entries = structures_from([folder / "none", folder / "a.xyz"])
    assert bad(entries) == ["none"]
    assert "holds no structure files" in str(entries[0])
    with pytest.raises(StructureError, match="holds no structure files"):
        structures_from(folder / "none")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_member_that_may_not_be_read_is_one_failed_entry(folder: Path) -> None:
    (folder / "b.cif").chmod(0)
    assert bad(structures_from(folder)) == ["b", "c"]


def test_a_member_that_is_a_broken_link_is_one_failed_entry(folder: Path) -> None:
    (folder / "l.cif").symlink_to(folder / "missing")
    entries = structures_from(folder)
    assert bad(entries) == ["c", "l"]
    assert "no such file" in str(entries[3])


@pytest.mark.parametrize("as_path", [True, False])
def test_patterns_are_expanded_and_sorted(folder: Path, as_path: bool) -> None:
    def given(pattern: str) -> Any:
        return folder / pattern if as_path else str(folder / pattern)

    assert ids(structures_from([given("[ab].*")])) == ["a", "b"]
    assert ids(structures_from(given("**/POSCAR"))) == ["sub/POSCAR"]
    entries = structures_from([given("*.gen"), given("a.*")])
    assert bad(entries) == ["*"]
    assert "as a pattern it matches none" in str(entries[0])


def test_a_file_whose_name_looks_like_a_pattern_is_itself(folder: Path) -> None:
    ase.io.write(folder / "a[1].xyz", molecule("NH3"))
    assert ids(structures_from(folder / "a[1].xyz")) == ["a[1]"]


def test_files_that_match_twice_in_one_pattern_are_read_once(folder: Path) -> None:
    entries = structures_from(folder / "**")
    assert [ids(entries).count(label) for label in ("a", "b", "c", "sub/POSCAR")] == [1] * 4
    assert not any(label.startswith(("a#", "b#", "c#", "sub/POSCAR#")) for label in ids(entries))


@pytest.mark.parametrize("smiles", ["CCO", "c1ccccc1", "[Na+].[Cl-]", "C/C=C/C"])
def test_smiles_given_as_a_path_are_told_from_a_missing_file(smiles: str) -> None:
    pytest.importorskip("rdkit", reason="RDKit tells")
    [_, entry] = structures_from([molecule("H2O"), smiles])
    assert "It looks like SMILES: write them into a file whose name ends in .smi" in str(entry)
    assert f"Chem.MolFromSmiles({smiles!r})" in str(entry)
    for path in ("missing.smi", "sets/CCO.smi", "POSCAR"):
        [_, entry] = structures_from([molecule("H2O"), path])
        assert "there is no such file. Check the path" in str(entry)


@pytest.mark.parametrize(
    "path",
    ["missing.cif", "CCO", "C/C=C/C", "[Na+].[Cl-]", "a\0b", "x" * 5000, "", "/dev/null"],
    ids=["missing", "smiles", "slashes", "brackets", "nul", "long", "empty", "device"],
)
def test_paths_that_are_no_files_are_failed_entries_among_others(path: str) -> None:
    entries = structures_from([molecule("H2O"), path])
    assert isinstance(entries[0], Structure)
    assert isinstance(entries[1], Unreadable)
    assert "input[1]" in entries[1].reason
    assert len(entries[1].id) <= 255


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "in.xyz")
    entries = structures_from([tmp_path / "in.xyz", molecule("H2O")])
    assert "pipe" in str(entries[0])


def test_input_of_which_nothing_can_be_read_raises_with_the_first_reason(tmp_path: Path) -> None:
    with pytest.raises(StructureError, match=r"the first of 2: input\[0\] \('a.cif'\)"):
        structures_from(["a.cif", "b.cif"])


def test_names_of_files_that_ase_takes_for_databases_are_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ase.io.write("in.xyz", molecule("H2O"))
    Path("in.xyz").rename("postgres.xyz")
    assert ids(structures_from("postgres.xyz")) == ["postgres"]


def test_objects_that_are_no_structures_are_failed_entries_where_they_come_late() -> None:
    def given() -> Iterator[Any]:
        yield molecule("H2O")
        yield 5
        yield molecule("CH4")

    entries = structures_from(given())
    assert ids(entries) == ["H2O 0", "structure 1", "CH4 2"]
    assert "cannot make a structure from int 5" in str(entries[1])
    # In a list they are found at once.
    with pytest.raises(StructureError, match=r"input\[1\]: cannot make a structure from int 5"):
        Stream([molecule("H2O"), 5])


@pytest.mark.parametrize("name", ["in.sdf", "in.smi", "in.xyz", "in.cif", "in.pdb", "POSCAR"])
def test_a_file_of_blank_lines_does_not_vanish(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("\n  \n\n")
    stream = Stream([tmp_path / name, molecule("H2O")])
    assert stream.total in (2, None)
    entries = list(stream)
    assert len(entries) == 2
    assert isinstance(entries[0], Unreadable)


def test_what_an_object_raises_is_its_own_reason() -> None:
    class Odd(Atoms):
        def copy(self) -> Atoms:
            raise RuntimeError("not to be copied")

    entries = structures_from([Odd("He"), molecule("H2O")])
    assert bad(entries) == ["structure 0"]
    assert "RuntimeError: not to be copied" in str(entries[0])


def test_what_a_library_raises_in_a_file_ends_that_file_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import kups_relax.io._read as read

    def entries_from_smiles(*_: Any) -> Iterator[Entry]:
        yield structures_from(molecule("H2O"))[0]
        raise RuntimeError("Invariant Violation")

    monkeypatch.setattr(read, "entries_from_smiles", entries_from_smiles)
    (tmp_path / "in.smi").write_text("O\nC\n")
    entries = structures_from([tmp_path / "in.smi", molecule("CH4")])
    assert ids(entries) == ["H2O", "in:1", "CH4 1"]
    assert "Invariant Violation" in str(entries[1])
    assert "nothing after it can be read" in str(entries[1])


# Totals


@pytest.fixture(autouse=True)
def all_the_time_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    # Counting gives up after a second, which a loaded machine takes for anything.
    monkeypatch.setattr("kups_relax.io._count._SECONDS", 300.0)


def written(folder: Path) -> dict[str, Any]:
    waters = [molecule("H2O") for _ in range(7)]
    ase.io.write(folder / "in.traj", waters)
    ase.io.write(folder / "in.extxyz", waters)
    ase.io.write(folder / "in.cif", bulk("Cu"))
    ase.io.write(folder / "POSCAR", bulk("Cu"))
    with gzip.open(folder / "in.xyz.gz", "wb") as file:
        file.write((folder / "in.extxyz").read_bytes())
    with connect(folder / "in.db") as database:
        for atoms in waters[:5]:
            database.write(atoms)
    (folder / "bad.xyz").write_text("1\n\nH 0 0 0\n2\n\nH 0 0 0\n1\n\nHe 0 0 x\n\n1\n\nH 0 0 0\n")
    return {name: folder / name for name in os.listdir(folder)}


@pytest.mark.parametrize(
    "name", ["in.traj", "in.extxyz", "in.cif", "POSCAR", "in.xyz.gz", "in.db", "bad.xyz"]
)
def test_the_total_is_known_before_anything_is_read(tmp_path: Path, name: str) -> None:
    path = written(tmp_path)[name]
    stream = Stream([path, molecule("H2O"), [path]])
    total = stream.total
    entries = list(stream)
    assert total == len(entries) == stream.total


def test_a_list_that_is_no_list_of_smiles_counts_as_one(tmp_path: Path) -> None:
    pytest.importorskip("rdkit", reason="reading SMILES needs RDKit")
    (tmp_path / "in.smi").write_text("buy milk\nand bread\n")
    stream = Stream([tmp_path / "in.smi", molecule("H2O")])
    assert stream.total == 2
    assert len(list(stream)) == 2


def test_the_total_is_not_known_before_it_can_be() -> None:
    stream = Stream(molecule("H2O") for _ in range(3))
    assert [stream.total, next(stream).id, stream.total] == [None, "H2O 0", None]
    assert len(list(stream)) == 2
    assert stream.total == 3
    assert Stream([molecule("H2O"), (molecule("H2O") for _ in range(2))]).total is None


def test_the_total_becomes_known_when_what_cannot_be_counted_is_read(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "two.cif", [bulk("Cu"), bulk("Cu")])
    stream = Stream([tmp_path / "two.cif", *[molecule("H2O")] * 3])
    seen = [stream.total]
    for _ in stream:
        seen.append(stream.total)
    assert seen[:3] == [None] * 3
    assert seen[3:] == [5] * 3


def test_a_total_that_proves_wrong_is_corrected(tmp_path: Path) -> None:
    path = tmp_path / "in.xyz"
    path.write_text("1\n\nH 0 0 0\n" * 5)
    stream = Stream([path, molecule("H2O")])
    assert stream.total == 6
    path.write_text("1\n\nH 0 0 0\n" * 2)
    entries = list(stream)
    assert stream.total == len(entries) == 3


def test_counting_gives_up_after_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "in.xyz"
    path.write_text("1\n\nH 0 0 0\n" * 5000)
    monkeypatch.setattr("kups_relax.io._count._SECONDS", 0.0)
    assert Stream(path).total is None


# Labels


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (" wet ", "wet"),
        (12, "12"),
        (np.int64(-3), "-3"),
        (1.5, "1.5"),
        (True, "True"),
        (b"abc\xff", "abc\xff"),
        ("a\ud800b", "a?b"),
        ("a\0b", "ab"),
        (np.array("x"), "x"),
        (np.datetime64("2020-01-01"), "2020-01-01"),
        (np.zeros(1000), "H2O"),
        (10**5000, "H2O"),
        (float("nan"), "H2O"),
        ("", "H2O"),
        (" \n", "H2O"),
        (None, "H2O"),
        ([1, 2], "H2O"),
        (object(), "H2O"),
        (np.array([object()]), "H2O"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_ids_are_made_of_what_has_a_lasting_text(value: Any, label: str) -> None:
    atoms = molecule("H2O")
    atoms.info["id"] = value
    [entry] = structures_from(atoms)
    assert entry.id == label
    assert entry.atoms.info["id"] == label or entry.atoms.info["id"] == int(label)
    label.encode()


def test_odd_keys_of_info_change_no_id() -> None:
    atoms = molecule("H2O")
    atoms.info.update({(1, 2): "a", 5: "id", 10**5000: "b", "ID": "wet"})
    assert ids(structures_from(atoms)) == ["wet"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1e300, "1e+300"),
        (float("nan"), "nan"),
        ("x", "'x'"),
        (10**5000, "<int whose repr raised ValueError>"),
        (2**31, "2147483648"),
        (np.array([1, 2]), "array([1, 2])"),
        (1j, "1j"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_odd_charges_are_refused_in_words(value: Any, shown: str) -> None:
    atoms = molecule("H2O")
    atoms.info["charge"] = value
    [entry] = structures_from(atoms)
    assert isinstance(entry, Unreadable)
    assert f"info['charge'] is {shown}; expected the total charge" in entry.reason


def test_the_formula_stands_once_in_what_is_said_of_a_structure() -> None:
    close = Atoms("H2", [[0, 0, 0]] * 2)
    assert str(structures_from([close])[0]).startswith("'H2 0': atoms 0 and 1 are 0 Angstrom apart")
    close.info["id"] = "a"
    assert str(structures_from([close])[0]).startswith("'a': H2: atoms 0 and 1 are 0 Angstrom")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["a.xyz", ["\ud800.xyz"]], r"input\[1\]\[0\]: no file can have the name"),
        (jnp.zeros((3, 3)), "cannot make a structure from ArrayImpl"),
        (jnp.zeros(()), "cannot make a structure from ArrayImpl"),
    ],
)
def test_names_that_no_file_has_and_arrays_of_jax_are_refused_in_words(given, said):
    with pytest.raises(StructureError, match=said):
        structures_from(given)


def test_a_missing_file_whose_name_is_not_utf_8_is_missing():
    with pytest.raises(StructureError, match="there is no such file"):
        structures_from("\udce9.xyz")
