"""Files broken in seeded ways, between two good ones: no run ends, no good file changes."""

import functools
import gzip
import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from kups_relax.data import Structure
from kups_relax.errors import StructureError
from kups_relax.io import Stream, Unreadable, structures_from

DUMP = (
    "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n0 10\n0 10\n0 10\n"
    "ITEM: ATOMS id element x y z\n1 Cu 0 0 0\n2 Cu 2.5 0 0\n"
)
DATA = (
    "x\n\n2 atoms\n1 atom types\n\n0 10 xlo xhi\n0 10 ylo yhi\n0 10 zlo zhi\n\n"
    "Masses\n\n1 63.546\n\nAtoms # atomic\n\n1 1 0 0 0\n2 1 2.5 0 0\n"
)
# Names whose text is made here, and those that ASE writes.
TEXTS = {"in.lammpstrj": DUMP, "in.lmp": DATA, "in.smi": "CCO ethanol\nC methane\n[NH4+] ion\n"}
WRITTEN: dict[str, Callable[[], list[Atoms]]] = {
    "in.xyz": lambda: [molecule("H2O"), molecule("CH4")],
    "in.extxyz": lambda: [bulk("NaCl", "rocksalt", 5.6), bulk("Cu")],
    "in.cif": lambda: [bulk("NaCl", "rocksalt", 5.6, cubic=True)],
    "POSCAR": lambda: [bulk("NaCl", "rocksalt", 5.6)],
    "in.pdb": lambda: [molecule("CH3CH2OH")],
    "in.gro": lambda: [molecule("H2O")],
    "in.gen": lambda: [bulk("Cu")],
    "in.traj": lambda: [molecule("H2O"), molecule("CH4")],
    "in.json": lambda: [molecule("H2O")],
    "in.xsf": lambda: [bulk("Cu")],
    "in.cube": lambda: [molecule("H2O")],
    "geometry.in": lambda: [bulk("Cu")],
    "in.res": lambda: [bulk("Cu")],
    "in.xsd": lambda: [bulk("Cu")],
}
SDF = "in.sdf"
NAMES = (*TEXTS, *WRITTEN, SDF, "in.xyz.gz")
ODD = ("0", "-1", "1e300", "-1e300", "nan", "inf", "99999999999999999999", "1e-320", "?", ".", "X",
       "D", "é", "", "\0", "1" * 5000)  # fmt: skip
WAYS = ("truncate", "flip", "delete", "repeat", "swap", "odd", "insert", "splice")


@functools.cache
def good(name: str, folder: Path) -> bytes:
    """A small file of a format."""
    path = folder / name
    if name in TEXTS:
        return TEXTS[name].encode()
    if name == "in.xyz.gz":
        return gzip.compress(good("in.xyz", folder), mtime=0)
    if name == SDF:
        chem = pytest.importorskip("rdkit.Chem", reason="SDF needs RDKit")
        all_chem = pytest.importorskip("rdkit.Chem.AllChem", reason="SDF needs RDKit")
        mol = chem.AddHs(chem.MolFromSmiles("CO"))
        all_chem.EmbedMolecule(mol, randomSeed=1)
        return (chem.MolToMolBlock(mol) + "> <yield>\n0.5\n\n$$$$\n").encode() * 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ase.io.write(path, WRITTEN[name]())
    return path.read_bytes()


def broken(content: bytes, random: np.random.Generator) -> bytes:
    """The content, broken in one to three ways."""
    for way in random.choice(WAYS, int(random.integers(1, 4))):
        size = max(1, len(content))
        at = int(random.integers(size))
        lines = content.split(b"\n")
        row = int(random.integers(len(lines)))
        if way == "truncate":
            content = content[:at]
        elif way == "flip":
            changed = bytearray(content)
            for i in random.integers(size, size=int(random.integers(1, 4))).tolist():
                if i < len(changed):
                    changed[i] ^= 1 << int(random.integers(8))
            content = bytes(changed)
        elif way == "splice":
            content = content[:at] + bytes(random.integers(0, 256, 20, np.uint8)) + content[at:]
        elif way == "insert":
            content = content[:at] + ODD[int(random.integers(len(ODD)))].encode() + content[at:]
        else:
            if way == "delete":
                del lines[row]
            elif way == "repeat":
                lines[row:row] = [lines[row]] * int(random.integers(1, 4))
            elif way == "swap":
                other = int(random.integers(len(lines)))
                lines[row], lines[other] = lines[other], lines[row]
            elif words := lines[row].split():
                words[int(random.integers(len(words)))] = random.choice(ODD).encode()
                lines[row] = b" ".join(words)
            content = b"\n".join(lines)
    return content


def check(name: str, seed: int, folder: Path) -> bool:
    """Read a broken file between two good ones; the value is whether it was refused."""
    random = np.random.default_rng([seed, NAMES.index(name)])
    path = folder / name
    path.write_bytes(broken(good(name, folder), random))
    water, argon = molecule("H2O"), Atoms("Ar", info={"id": "last"})
    stream = Stream([water, path, argon])
    total = stream.total
    first, *middle, last = list(stream)
    assert isinstance(first, Structure)
    assert np.array_equal(first.positions, water.positions)
    assert first.id == "H2O 0"
    assert isinstance(last, Structure)
    assert last.id == "last"
    assert middle
    # A trajectory says itself how many frames it has.
    assert total in (None, len(middle) + 2) or name == "in.traj"
    assert stream.total == len(middle) + 2
    for entry in middle:
        if isinstance(entry, Unreadable):
            assert entry.id
            assert entry.reason
            entry.reason.encode()
        else:
            assert ((entry.numbers > 0) & (entry.numbers < 119)).all()
            assert np.isfinite(entry.positions).all()
    return any(isinstance(entry, Unreadable) for entry in middle)


def refused(name: str, seeds: range, folder: Path) -> int:
    with warnings.catch_warnings():
        # ASE's readers and NumPy warn of much of it.
        warnings.simplefilter("ignore")
        return sum(check(name, seed, folder) for seed in seeds)


@pytest.fixture(autouse=True)
def silent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "kups_relax")


@pytest.mark.parametrize("name", NAMES)
def test_whole_files_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(good(name, tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        entries = structures_from(tmp_path / name)
    assert all(isinstance(entry, Structure) for entry in entries), entries


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_file_is_read_or_refused_and_others_stay(tmp_path: Path, name: str) -> None:
    assert refused(name, range(12), tmp_path) > 0


@pytest.mark.extended
@pytest.mark.parametrize("name", NAMES)
def test_many_broken_files_are_read_or_refused_and_others_stay(tmp_path: Path, name: str) -> None:
    assert refused(name, range(1000, 1300), tmp_path) > 0


def test_a_broken_file_alone_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "in.cif"
    path.write_bytes(good("in.cif", tmp_path)[:100])
    with pytest.raises(StructureError, match=r"in\.cif"):
        structures_from(path)
