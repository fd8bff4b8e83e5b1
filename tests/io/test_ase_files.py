"""ASE's readers: bounds of time and memory, and no other file, program or computer."""

import io
import json
import sqlite3
import warnings
from pathlib import Path
from typing import Any

import ase.io
import ase.io.formats
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from kups_relax.data import Structure
from kups_relax.errors import StructureError
from kups_relax.io import Stream, Unreadable, _ase_files, _ase_reader, structures_from

ARGON = Atoms("Ar", info={"id": "argon"})
# Labels of orbitals that end too early, and a group that does: ASE reads on for ever.
ENDLESS = {
    "in.cube": "x\ny\n-1 0 0 0\n1 1 0 0\n1 0 1 0\n1 0 0 1\n1 1 0 0 0\n9 1\n",
    "in.dat": " $DATA\nx\nC1\n",
}


def refusal(path: Path) -> str:
    """Why a file is refused, beside a structure that is read."""
    entry, argon = structures_from([path, ARGON])
    assert isinstance(argon, Structure)
    assert isinstance(entry, Unreadable)
    return entry.reason


def test_frames_have_the_bits_that_ase_reads(tmp_path: Path) -> None:
    atoms = bulk("Cu") * (2, 2, 2)
    atoms.rattle(0.1, seed=1)
    path = tmp_path / "in.traj"
    ase.io.write(path, [atoms, atoms])
    for entry, read in zip(structures_from(path), ase.io.read(path, ":"), strict=True):
        assert isinstance(entry, Structure)
        assert isinstance(read, Atoms)
        assert np.array_equal(entry.positions, read.positions)
        assert np.array_equal(entry.cell, read.cell.array)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("in.cfg", "#\n" * 4000 + "A = 1 Angstrom\nNumber of particles = 999999999\n"),
        ("in.json", json.dumps({"1": {"numbers": {"__ndarray__": [[10**10], "int64", [0]]}}})),
    ],
)
def test_memory_is_bounded(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    words = r"more memory than 512 MB and 32 times what the file holds"
    with pytest.raises(StructureError, match=words):
        structures_from(tmp_path / name)


@pytest.mark.parametrize("name", ENDLESS)
def test_a_loop_without_end_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    program = tmp_path / "reader.py"
    text = Path(_ase_reader.__file__).read_text()
    assert text.count("SECONDS, BYTES_A_SECOND = 20,") == 1
    program.write_text(text.replace("BYTES_A_SECOND = 20,", "BYTES_A_SECOND = 0,"))
    monkeypatch.setattr(_ase_files, "_workers", _ase_files.Workers(str(program)))
    (tmp_path / name).write_text(ENDLESS[name])
    assert "did not finish with it within 20 s of processor time" in refusal(tmp_path / name)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 100_000, "[1"])
def test_odd_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "in.json").write_text(text)
    assert "in.json" in refusal(tmp_path / "in.json")


def test_a_trajectory_with_a_false_header_is_refused(tmp_path: Path) -> None:
    file: Any = io.BytesIO()
    ase.io.write(file, ARGON, format="traj")
    content, path = file.getvalue(), tmp_path / "in.traj"
    for number in (10**12, -1, 2**62):
        path.write_bytes(content[:32] + number.to_bytes(8, "little", signed=True) + content[40:])
        assert Stream(path).total is None
        assert "in.traj" in refusal(path)


@pytest.mark.parametrize("content", [b"SQLite format 3\0" + b"\1" * 500, b"none"])
def test_a_damaged_database_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in.db").write_bytes(content)
    assert "DatabaseError" in refusal(tmp_path / "in.db")


def test_another_database_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "in.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x INTEGER)")
    connection.close()
    before = path.read_bytes()
    assert "readonly database" in refusal(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("in.octopus-in", "XYZCoordinates = 'other.xyz'\n", "refers to other files"),
        ("in.onetep-in", "include_file : other\n", "may include other files"),
        ("in.xtd", "x", "give that one"),
        ("in.postgresql", "x", "a server"),
        ("in.mysql", "x", "a server"),
        ("in.bundletrajectory", "x", "a folder"),
    ],
)
def test_formats_that_open_other_files_are_refused(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    (tmp_path / name).write_text(text)
    assert words in refusal(tmp_path / name)


def test_a_reader_sees_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ase_files, "_ELSEWHERE", {})
    ase.io.write(tmp_path / "other.xyz", molecule("H2O"))
    text = "dimensions = 3\nBoxShape = sphere\nXYZCoordinates = 'other.xyz'\n"
    (tmp_path / "in.octopus-in").write_text(text)
    assert "FileNotFoundError" in refusal(tmp_path / "in.octopus-in")


def test_castep_is_not_run_to_read_a_cell_file(tmp_path: Path) -> None:
    """ASE asks `castep --version` in a temporary folder."""
    path = tmp_path / "in.cell"
    lattice = "5 0 0\n0 5 0\n0 0 5"
    path.write_text(
        f"%BLOCK LATTICE_CART\n{lattice}\n%ENDBLOCK LATTICE_CART\n"
        "%BLOCK POSITIONS_ABS\nCu 0 0 0\n%ENDBLOCK POSITIONS_ABS\n"
    )
    with warnings.catch_warnings():
        # That there is no CASTEP.
        warnings.simplefilter("ignore")
        [entry] = structures_from(path)
    assert isinstance(entry, Structure)


@pytest.mark.parametrize(
    "event",
    ["os.system", "subprocess.Popen", "socket.connect", "pickle.find_class", "os.remove"],
)
def test_a_reader_runs_and_changes_nothing(monkeypatch: pytest.MonkeyPatch, event: str) -> None:
    _ase_reader._watch(event, ("x",))
    monkeypatch.setattr(_ase_reader, "_reading", "/data/in.cif")
    with pytest.raises(FileNotFoundError, match="which is not done"):
        _ase_reader._watch(event, ("x",))
    _ase_reader._watch("open", ("/data/in.cif", "r", 0))
    for other in (("/data/in.cif", "w", 0), ("/data/POTCAR", "r", 0)):
        with pytest.raises(FileNotFoundError, match="another file"):
            _ase_reader._watch("open", other)


def test_a_process_that_dies_is_a_reason_and_another_one_reads_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "reader.py"
    program.write_text(
        "import os\ndef begin(): pass\ndef answers(path, *rest):\n    os._exit(3)\n    yield\n"
    )
    ase.io.write(tmp_path / "in.pdb", molecule("H2O"))
    with monkeypatch.context() as patch:
        patch.setattr(_ase_files, "_workers", _ase_files.Workers(str(program)))
        assert "ended by itself (status 3)" in refusal(tmp_path / "in.pdb")
    assert isinstance(structures_from(tmp_path / "in.pdb")[0], Structure)


def test_a_file_that_is_read_in_part_ends_its_process(tmp_path: Path) -> None:
    path = tmp_path / "in.traj"
    ase.io.write(path, [ARGON] * 5000)
    before = len(_ase_files._workers._idle)
    stream = Stream(path)
    next(stream)
    del stream
    assert len(_ase_files._workers._idle) <= before
    assert len(structures_from(path)) == 5000


def test_warnings_of_readers_are_passed_on(tmp_path: Path) -> None:
    path = tmp_path / "in.cif"
    path.write_text(
        "data_x\n_cell_length_a 5\n_cell_length_b 5\n_cell_length_c 5\n_cell_angle_alpha 90\n"
        "_cell_angle_beta 90\n_cell_angle_gamma 90\n_space_group_crystal_system cubic\n"
        "_symmetry_space_group_name_H-M 'R-3m'\nloop_\n_atom_site_label\n_atom_site_fract_x\n"
        "_atom_site_fract_y\n_atom_site_fract_z\nCu1 0 0 0\n"
    )
    with warnings.catch_warnings(record=True) as ours:
        warnings.simplefilter("always")
        structures_from(path)
    with warnings.catch_warnings(record=True) as theirs:
        warnings.simplefilter("always")
        ase.io.read(path)
    assert [str(one.message) for one in ours] == [str(one.message) for one in theirs]


def test_readers_of_the_user_are_called_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ase.io.formats.ioformats, "mine", ase.io.formats.IOFormat(
        "mine", "a format of one's own", "1F", "test_ase_files"
    ))  # fmt: skip
    monkeypatch.setitem(__import__("sys").modules, "test_ase_files", _Mine())
    (tmp_path / "in.mine").write_text("Ar")
    [entry] = structures_from(tmp_path / "in.mine")
    assert isinstance(entry, Structure)


class _Mine:
    @staticmethod
    def read_mine(file: Any) -> Atoms:
        return Atoms(file.read())
