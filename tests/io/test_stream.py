"""Reading one after the other: as much as is asked for, and the same as all at once."""

import gzip
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.db import connect
from io_cases import odd_silicon, tagged_water

from kups_relax.data import Structure
from kups_relax.errors import StructureError
from kups_relax.io import Entry, Stream, Unreadable, structures_from
from support.crossing import first, in_turns

N = 2000


def frames(n: int, n_atoms: int = 20) -> list[Atoms]:
    random = np.random.default_rng(0)
    grid = 4.0 * np.argwhere(np.ones((4, 4, 4)))[:n_atoms]
    return [Atoms(f"Ar{n_atoms}", grid + random.normal(0, 0.1, grid.shape)) for _ in range(n)]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "large.extxyz"
    text = []
    for atoms in frames(20):
        lines = [f"Ar {x!r} {y!r} {z!r}" for x, y, z in atoms.positions.tolist()]
        text.append("\n".join(["20", "Properties=species:S:1:pos:R:3", *lines, ""]))
    path.write_text("".join(text) * (N // 20))
    return path


def assert_same_entries(got: list[Entry], expected: list[Entry]) -> None:
    assert [type(e) for e in got] == [type(e) for e in expected]
    for one, other in zip(got, expected, strict=True):
        assert one.id == other.id
        if isinstance(one, Structure) and isinstance(other, Structure):
            for name in ("numbers", "positions", "cell", "pbc"):
                assert np.array_equal(getattr(one, name), getattr(other, name))
        else:
            assert str(one) == str(other)


def test_no_more_of_a_file_is_read_than_is_asked_for(large: Path) -> None:
    stream = Stream(large)
    with large.open("rb") as file:
        before = file.read()
    for _ in range(10):
        next(stream)
    # A block of 64 kB, and what comes before a frame's end is known: the rest may be cut off.
    with large.open("rb+") as file:
        file.truncate(3 * (1 << 16))
    try:
        n_read = sum(1 for _ in stream)
    finally:
        large.write_bytes(before)
    assert n_read < N / 2


@pytest.mark.usefixtures("usual_garbage_collection")
def test_what_was_read_is_not_kept(large: Path) -> None:
    tracemalloc.start()
    try:
        sizes = []
        for i, _ in enumerate(Stream(large)):
            if i % 250 == 249:
                sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    # Digests of ids grow by some 100 bytes a structure; the structures take 5 kB each.
    assert (sizes[-1] - sizes[0]) / (N - 250) < 500


def test_generators_are_read_as_far_as_is_asked_for() -> None:
    read = []

    def endless() -> Iterator[Atoms]:
        while True:
            read.append(None)
            yield molecule("H2O")

    stream = Stream(endless())
    assert not read
    labels = [next(stream).id for _ in range(3)]
    assert labels == ["H2O 0", "H2O 1", "H2O 2"]
    assert len(read) == 3


def test_paths_that_are_missing_are_found_before_anything_is_read_if_asked_for(
    tmp_path: Path,
) -> None:
    stream = Stream([molecule("H2O"), [tmp_path / "missing.xyz"]])
    with pytest.raises(StructureError, match=r"input\[1\]\[0\] .*there is no such file"):
        stream.check_paths()


# One after the other, and all at once


def inputs(folder: Path) -> dict[str, Any]:
    structures = [tagged_water(), odd_silicon(), molecule("CH4"), bulk("Cu", cubic=True)]
    for atoms in structures:
        atoms.set_constraint()
    ase.io.write(folder / "all.extxyz", structures)
    ase.io.write(folder / "one.xyz", structures[0])
    ase.io.write(folder / "all.traj", structures)
    ase.io.write(folder / "one.cif", structures[1])
    with gzip.open(folder / "all.extxyz.gz", "wb") as file:
        file.write((folder / "all.extxyz").read_bytes())
    with connect(folder / "all.db") as database:
        for atoms in structures:
            database.write(atoms)
    ase.io.write(folder / "POSCAR", structures[3])
    (folder / "all.smi").write_text("CCO ethanol\nnothing bad\nO\n")
    return {
        "atoms": structures[0],
        "list": structures,
        "nested": [structures[0], [structures[1], [structures[2]]], (structures[3],)],
        "None": [structures[0], None],
        **{
            name: folder / name
            for name in (
                "all.extxyz", "one.xyz", "all.traj", "one.cif", "all.extxyz.gz", "all.db",
                "POSCAR", "all.smi",
            )
        },
        "mixed": [folder / "all.traj", structures[0], folder / "one.xyz", None],
    }  # fmt: skip


KINDS = (
    "atoms", "list", "nested", "None", "all.extxyz", "one.xyz", "all.traj", "one.cif",
    "all.extxyz.gz", "all.db", "POSCAR", "all.smi", "mixed",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_one_after_the_other_is_all_at_once(tmp_path: Path, kind: str) -> None:
    if kind.endswith(".smi"):
        pytest.importorskip("rdkit", reason="reading SMILES needs RDKit")
    given = inputs(tmp_path)[kind]
    expected = structures_from(given)
    stream = Stream(given)
    got = []
    while (entry := next(stream, None)) is not None:
        got.append(entry)
    assert stream.total == len(expected)
    assert_same_entries(got, expected)


@pytest.mark.parametrize("ending", ["traj", "db"])
def test_trajectories_and_databases_are_read_lazily(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    path = tmp_path / f"all.{ending}"
    ase.io.write(path, frames(30, 3))
    made = []
    original = Atoms.__init__

    def counted(self: Atoms, *args: Any, **options: Any) -> None:
        made.append(None)
        original(self, *args, **options)

    monkeypatch.setattr(Atoms, "__init__", counted)
    stream = Stream(path)
    next(stream)
    assert len(made) < 15
    assert sum(1 for _ in stream) == 29


# Files that are not as they should be


def text_of(n: int) -> list[str]:
    return [f"1\nframe={i}\nAr {i}.5 0.0 0.0\n" for i in range(n)]


def test_a_bad_frame_in_the_middle_takes_no_other_with_it(tmp_path: Path) -> None:
    parts = text_of(200)
    parts[77] = "3\nframe=77\nAr 0 0 0\n"
    parts[120] = "1\nframe=120\nAr zero 0 0\n"
    (tmp_path / "in.xyz").write_text("".join(parts))
    entries = list(Stream(tmp_path / "in.xyz"))
    bad = [i for i, e in enumerate(entries) if isinstance(e, Unreadable)]
    assert bad == [77, 120]
    assert len(entries) == 200
    for i, entry in enumerate(entries):
        if isinstance(entry, Structure):
            assert entry.positions[0, 0] == i + 0.5
    assert "frame 77 of" in str(entries[77])
    assert "from line 232" in str(entries[77])


@pytest.mark.parametrize("share", first([0.3, 0.9]))
def test_a_gz_that_is_cut_off_gives_what_can_be_read(tmp_path: Path, share: float) -> None:
    random = np.random.default_rng(0)
    text = "".join(f"1\n\nAr {x!r} 0.0 0.0\n" for x in random.random(20000).tolist())
    content = gzip.compress(text.encode())
    (tmp_path / "in.xyz.gz").write_bytes(content[: int(share * len(content))])
    *read, last = Stream(tmp_path / "in.xyz.gz")
    assert len(read) > 20000 * share * 0.7
    assert all(isinstance(entry, Structure) for entry in read)
    assert isinstance(last, Unreadable)
    assert "nothing after it can be read" in str(last)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_traj_that_is_cut_off_is_refused_or_read_as_far_as_it_goes(
    tmp_path: Path, share: float
) -> None:
    """Its list of frames is at the end, most often: then none can be found."""
    path = tmp_path / "in.traj"
    ase.io.write(path, frames(20, 3))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    entries, reason = [], ""
    try:
        entries = list(Stream(path))
        reason = str(entries[-1])
    except StructureError as error:
        reason = str(error)
    assert "ASE cannot read it as a structure file" in reason or "nothing after it" in reason
    assert all(isinstance(entry, Structure) for entry in entries[:-1])


@pytest.mark.parametrize(
    ("end", "blank", "mark"),
    in_turns(["\r\n", "\r", "\n"], ["", "\n\n", "  \n\t\n"], ["", "\ufeff"]),
)
def test_line_ends_blank_lines_and_byte_order_marks(
    tmp_path: Path, end: str, mark: str, blank: str
) -> None:
    # More than a block of 64 kB.
    text = mark + "".join(text_of(3000)) + blank
    (tmp_path / "in.xyz").write_bytes(text.replace("\n", end).encode())
    entries = list(Stream(tmp_path / "in.xyz"))
    assert len(entries) == 3000
    assert all(isinstance(entry, Structure) for entry in entries)
    assert entries[2999].positions[0, 0] == 2999.5  # pyright: ignore


def test_a_line_end_on_the_border_of_two_blocks(tmp_path: Path) -> None:
    """Blocks have 64 kB; each offset of a return and its newline is tried."""
    body = "\r\n".join("".join(text_of(4)).split("\n"))
    for pad in range(len(body)):
        comment = "x" * (65536 - pad - 5)
        text = f"1\r\n{comment}\r\nAr 0 0 0\r\n{body}"
        (tmp_path / "in.xyz").write_bytes(text.encode())
        entries = list(Stream(tmp_path / "in.xyz"))
        assert [type(e) for e in entries] == [Structure] * 5, pad


def test_one_long_line_takes_time_in_proportion_to_its_length(tmp_path: Path) -> None:
    path = tmp_path / "in.xyz"
    path.write_bytes(b"1" * 20_000_000)
    start = time.process_time()
    assert [type(entry) for entry in Stream([path, molecule("H2O")])] == [Unreadable, Structure]
    assert time.process_time() - start < 5.0
