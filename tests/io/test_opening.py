"""Bytes of files: what compression hides, what grows, what has no line ends."""

import bz2
import gzip
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from kups_relax.errors import StructureError
from kups_relax.io import Stream, Unreadable, _opening, structures_from
from kups_relax.io._lines import text_lines
from kups_relax.io._opening import LONGEST_LINE, content_size, opened

ARGON = "1\n\nAr 0 0 0\n"
PACKED = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("ending", PACKED)
@pytest.mark.parametrize("name", ["in.xyz", "in.pdb", "in.smi", "in.sdf"])
def test_what_holds_far_more_than_its_size_is_refused(
    tmp_path: Path, name: str, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = 1 << 20
    monkeypatch.setattr(_opening, "LEAST_BOUND", bound)
    path = tmp_path / f"{name}{ending}"
    path.write_bytes(PACKED[ending](b"\n" * (bound + 1)))
    assert path.stat().st_size < bound // 100
    with pytest.raises(StructureError, match=r"100 times what it has itself .* Unpack it"):
        structures_from(path)


@pytest.mark.parametrize("ending", PACKED)
def test_small_files_may_hold_much(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"in.xyz{ending}"
    path.write_bytes(PACKED[ending](ARGON.encode() * 2_000))
    assert path.stat().st_size * 100 < len(ARGON) * 2_000
    stream = Stream(path)
    assert stream.total == 2_000
    assert next(stream).id == "in:0"


@pytest.mark.parametrize("ending", PACKED)
def test_molecules_are_read_however_they_are_compressed(tmp_path: Path, ending: str) -> None:
    pytest.importorskip("rdkit", reason="SMILES need RDKit")
    path = tmp_path / f"in.smi{ending}"
    path.write_bytes(PACKED[ending](b"C first\n"))
    assert [entry.id for entry in structures_from(path)] == ["first"]


@pytest.mark.parametrize("ending", PACKED)
def test_damaged_compression_is_an_error_that_names_the_file(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"in.xyz{ending}"
    path.write_bytes(PACKED[ending](ARGON.encode() * 2_000)[:-10])
    with pytest.raises(StructureError, match=r"in\.xyz"):
        list(text_lines(path, path.name))


def test_of_a_file_that_grows_the_part_is_read_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "in.xyz"
    path.write_text(ARGON)
    with opened(path, "it") as file, path.open("a") as more:
        more.write(ARGON)
        more.flush()
        assert file.read(1000) == ARGON.encode()
        assert file.read(1000) == b""


@pytest.mark.parametrize("name", ["in.xyz", "in.sdf", "in.smi", "in.cif", "POSCAR", "vasprun.xml"])
def test_text_without_line_ends_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"1" * (LONGEST_LINE + 1))
    with pytest.raises(StructureError, match=rf"a line of more than {LONGEST_LINE} characters"):
        structures_from(path)


@pytest.mark.parametrize(("end", "size"), [("\n", 1), ("\r", 1), ("\r\n", 2)])
def test_line_ends_of_all_kinds_end_a_line(tmp_path: Path, end: str, size: int) -> None:
    path = tmp_path / "in.txt"
    line = "x" * (LONGEST_LINE // 2 + 1)
    path.write_text(f"{line}{end}{line}{end}", newline="")
    assert content_size(path, "it", text=True, lines=True) == 2 * (len(line) + size)
    assert [len(one) for one in text_lines(path, "it")] == [len(line)] * 2


def test_a_sparse_file_is_refused_at_its_first_hole(tmp_path: Path) -> None:
    path = tmp_path / "in.pdb"
    with path.open("wb") as file:
        file.write(b"REMARK\n")
        file.truncate(1 << 40)
    with pytest.raises(StructureError, match="binary data"):
        structures_from(path)


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("in.xyz", ARGON)


def _tar(path: Path) -> None:
    (path.parent / "member.xyz").write_text(ARGON)
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as file:
        file.add(path.parent / "member.xyz")


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("in.zip", _zip, "a zip archive; unpack it"),
        ("in.xyz", _zip, "a zip archive; unpack it"),
        ("in.tar", _tar, "a tar archive; unpack it"),
        ("in.tar.gz", _tar, "a tar archive; unpack it"),
        ("in.xyz", lambda p: p.write_bytes(gzip.compress(b"1")), "let its name end in .gz"),
        ("in.cif", lambda p: p.write_bytes(bz2.compress(b"1")), "let its name end in .bz2"),
        ("in.smi", lambda p: p.write_bytes(lzma.compress(b"1")), "let its name end in .xz"),
    ],
)
def test_archives_are_named(
    tmp_path: Path, name: str, make: Callable[[Path], object], words: str
) -> None:
    make(tmp_path / name)
    [entry, _] = structures_from([tmp_path / name, _argon()])
    assert isinstance(entry, Unreadable)
    assert words in entry.reason


def _argon() -> object:
    from ase import Atoms

    return Atoms("Ar")
