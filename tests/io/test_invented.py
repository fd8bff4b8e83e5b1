"""What readers of ASE make up: refused, with the way to say it, or said."""

import logging
import tracemalloc
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from kups_relax.data import Structure
from kups_relax.io import Entry, Unreadable, structures_from

DUMP = (
    "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp ff\n0 10\n0 10\n0 10\n"
    "ITEM: ATOMS id {0} x y z\n1 {1} 0 0 0\n2 {1} 2.5 0 0\n"
)
DATA = (
    "{0}\n\n2 atoms\n1 atom types\n\n0 10 xlo xhi\n0 10 ylo yhi\n0 10 zlo zhi\n\n"
    "{1}Atoms # atomic\n\n1 1 0 0 0\n2 1 2.5 0 0\n"
)
POSCAR = "{}\n1.0\n4 0 0\n0 4 0\n0 0 4\n{}1\nDirect\n0 0 0\n"
PDB = (
    "ATOM      1 {:4s} ALA A   1       0.000   0.000   0.000  {:4.2f}  0.00          {:>2s}\n"
    "ATOM      2  N   ALA A   1       1.500   0.000   0.000  1.00  0.00           N\n"
)
GRO = (
    "x\n    2\n    1ALA {:>6s}    1   0.000   0.000   0.000\n"
    "    1SOL    HW1    2   0.300   0.000   0.000\n   2.0 2.0 2.0\n"
)
CONFIG = "title\n 0 3\n 10. 0. 0.\n 0. 10. 0.\n 0. 0. 10.\n{:8s} 1\n 0. 0. 0.\n{:8s} 2\n 3. 0. 0.\n"
RES = "TITL x\nCELL 1.0 4 4 4 90 90 90\n{}SFAC Cu\nCu 1 0.0 0.0 0.0 {}\nEND\n"
# Without the right end, ASE's reader takes forever.
NWCHEM = "geometry units angstrom\n" + "He 0 0 0.000000000000000000\n" * 40 + "{}\n{}\n"
XDATCAR = "x\n1.0\n0 2 2\n2 0 2\n2 2 0\nNa Cl\n1 {}\nDirect configuration= 1\n0 0 0\n0.5 0.5 0.5\n"
MASS = "Masses\n\n1 {} # bead\n\n"


def read(folder: Path, name: str, text: str) -> Entry:
    (folder / name).write_text(text)
    return structures_from([molecule("H2O"), folder / name])[1]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.lammpstrj", DUMP.format("type", 1), "only the columns id type x y z; types are"),
        ("dump.1", DUMP.format("mass", 63.546), "only the columns id mass x y z"),
        ("a.dump", "ITEM: UNITS\nlj\n" + DUMP.format("element", "Cu"), "its units are 'lj'"),
        ("a.data", DATA.format("x", ""), "it has no elements, only types"),
        ("in.lmp", DATA.format("x", "Atom Type Labels\n\n1 ow\n\n"), "no elements, only types"),
        ("in.lmp", DATA.format("x, units = lj", MASS.format(1.0)), "its units are 'lj'"),
        ("in.lmp", DATA.format("x", MASS.format(14.027)), "atom 0, 14.027, is no element's"),
        ("in.lmp", DATA.format("x", MASS.format(72.0)), "atom 0, 72, is no element's"),
        ("POSCAR", POSCAR.format("Title of No use", ""), "first line is no list of symbols"),
        ("POSCAR", POSCAR.format("Cu Zr", ""), "Insert one, such as 'Na Cl', as line 6"),
        ("a.pdb", PDB.format(" CA ", 1, ""), "its name, 'CA', may be C or Ca"),
        ("a.pdb", PDB.format(" CA ", 0.5, "C"), "atom 0 has the occupancy 0.5; expected one"),
        ("a.gro", GRO.format("NA"), "atom 0, 'NA', taken for N, may be N or Na"),
        ("a.gro", GRO.format("MW"), "atom 0, 'MW', taken for W, may be no element"),
        ("a.config", CONFIG.format("NA", "CL"), "atom 0, 'NA', taken for N, may be N or Na"),
        ("a.res", RES.format("LATT -1\n", 0.5), "Cu has the occupancy 0.5"),
        ("a.res", RES.format("LATT -1\n", "1.2.3"), "Cu has the occupancy 1.2.3"),
        ("a.res", RES.format("LATT -1\nSYMM -x, -y, -z\n", 1.0), "it has symmetry (SYMM -x"),
        ("a.xyz", "1\n\n1 0 0 0\n", "'1' is no symbol of an element; atomic numbers belong"),
        ("a.xyz", "1\n\nX 0 0 0\n", "atomic number 0 of atom 0 is no element but the placeholder"),
        ("a.xyz", "1\nProperties=pos:R:3\n0 0 0\n", "atomic number 0 of atom 0 is no element"),
        ("a.xyz", "1\n\nQq 0 0 0\n", "'Qq' is no symbol of an element"),
        ("a.nwi", NWCHEM.format("end ", ""), "begins in line 1 does not end with a line 'end'"),
        ("a.nwi", NWCHEM.format("task", ""), "line 43 is ''. Repair it"),
        ("a.nwi", NWCHEM.format("He\x0c0 0 9", "end\n"), "line 42 is 'He\\x0c0 0 9'"),
        ("XDATCAR", XDATCAR.format(10**9), "announces 1000000001 atoms, and has 3 lines"),
        ("a.nc", "CDF\n\nLAMMPS", "numbers of types, or nothing at all"),
        ("a.dcd", "\x54\0\0\0CORD", "numbers of types, or nothing at all"),
    ],
)
def test_what_a_file_does_not_say_is_refused_with_the_way_to_say_it(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    entry = read(tmp_path, name, text)
    assert isinstance(entry, Unreadable)
    assert words in entry.reason


@pytest.mark.parametrize(
    ("name", "text", "symbols", "said"),
    [
        ("a.lammpstrj", DUMP.format("type element", "1 Cu"), "CuCu", ""),
        ("a.lammpstrj", "ITEM: UNITS\nmetal\n" + DUMP.format("element", "Cu"), "CuCu", ""),
        ("in.lmp", DATA.format("x, units = real", MASS.format(63.5)), "CuCu", "masses"),
        ("in.lmp", DATA.format("x", MASS.format(2.014)), "HH", "masses"),
        ("in.data", DATA.format("x", "Atom Type Labels\n\n1 Cu\n\n"), "CuCu", "periodic"),
        ("POSCAR", POSCAR.format("Cu", ""), "Cu", ""),
        ("POSCAR", POSCAR.format("No 1", "Cu\n"), "Cu", ""),
        ("a.pdb", PDB.format(" CA ", 1, "C"), "CN", ""),
        ("a.pdb", PDB.format(" O1 ", 0, ""), "ON", ""),
        ("a.gro", GRO.format("OW"), "OH", "names of atoms"),
        ("a.gro", GRO.format("Na"), "NaH", "names of atoms"),
        ("a.config", CONFIG.format("Na", "Cl"), "NaCl", "names of atoms"),
        ("a.res", RES.format("LATT -1\n", 1.0), "Cu", ""),
        ("a.xyz", "1\nProperties=Z:I:1:pos:R:3\n6 0 0 0\n", "C", ""),
        ("XDATCAR", XDATCAR.format(1), "NaCl", ""),
    ],
)
def test_what_a_file_says_is_read_and_what_is_inferred_is_logged(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    text: str,
    symbols: str,
    said: str,
) -> None:
    with caplog.at_level(logging.WARNING, "kups_relax"):
        entry = read(tmp_path, name, text)
    assert isinstance(entry, Structure)
    assert "".join(entry.atoms.symbols) == symbols
    assert bool(caplog.text) == bool(said)
    assert said in caplog.text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.lammpstrj", DUMP.format("element", "Cu").replace("\n2\n", f"\n{10**15}\n", 1)),
        ("in.lmp", DATA.format("x", MASS.format(63.5)).replace("2 atoms", f"{10**15} atoms")),
        ("a.xyz", "1\nProperties=species:S:1000000000:pos:R:3\nH 0 0 0\n"),
        ("a.xyz", "1\nProperties=species:S:1:pos:R:1000000000\nH 0 0 0\n"),
        ("a.xyz", f"{10**9}\n\nH 0 0 0\n"),
        ("POSCAR", POSCAR.format("x", "Cu\n").replace("\n1\n", f"\n{10**17}\n")),
        ("in.cube", f"x\ny\n{10**15} 0 0 0\n1 1 0 0\n1 0 1 0\n1 0 0 1\n1 1 0 0 0\n0\n"),
    ],
)
def test_what_announces_more_than_it_holds_takes_no_memory(
    tmp_path: Path, name: str, text: str
) -> None:
    tracemalloc.start()
    try:
        assert isinstance(read(tmp_path, name, text), Unreadable)
        assert tracemalloc.get_traced_memory()[1] < 2**27
    finally:
        tracemalloc.stop()


def test_gromos_files_are_refused(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "a.g96", molecule("H2O"), format="gromos")
    entry = structures_from([tmp_path / "a.g96", molecule("H2O")])[0]
    assert "a .g96 file has names of atoms and no elements" in str(entry)


def test_the_placeholder_cell_of_a_pdb_file_is_none(tmp_path: Path) -> None:
    cell = "CRYST1    1.000    1.000    1.000  90.00  90.00  90.00 P 1\n"
    entry = read(tmp_path, "a.pdb", cell + PDB.format(" CA ", 1, "C"))
    assert isinstance(entry, Structure)
    assert not entry.pbc.any()
    assert not entry.cell.any()


def test_the_end_of_a_pdb_file_is_no_model(tmp_path: Path) -> None:
    models = "".join(f"MODEL {i}\n{PDB.format(' CA ', 1, 'C')}ENDMDL\n" for i in (1, 2))
    (tmp_path / "a.pdb").write_text(models + "END\n")
    assert [entry.id for entry in structures_from(tmp_path / "a.pdb")] == ["a:0", "a:1"]


def test_elements_that_gromacs_names_leave_open_are_refused_whoever_read_them(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.gro").write_text(GRO.format("NA"))
    atoms = ase.io.read(tmp_path / "a.gro")
    assert isinstance(atoms, Atoms)
    assert isinstance(structures_from(atoms)[0], Unreadable)
    atoms.symbols[0] = "Na"
    del atoms.arrays["atomtypes"]
    assert isinstance(structures_from(atoms)[0], Structure)


@pytest.mark.parametrize(
    ("occupancy", "good"),
    [
        ({"0": {"Cu": 1.0}}, True),
        ({"0": {"Cu": 0.995}}, True),
        ({"0": {"Cu": "?"}}, True),
        ({"0": {"Cu": "."}}, True),
        ({"0": {"Cu": 0.5}}, False),
        ({"0": {"Cu": 0.5, "Au": 0.5}}, False),
        ({"0": {"Cu": "?", "Au": "?"}}, False),
        ({"0": {"Cu": "half"}}, False),
        ({"0": {"Cu": None}}, False),
        ({"0": {"Cu": float("nan")}}, False),
        ({"0": {}}, True),
        ({"0": 0.5}, True),
        ([0.5], True),
        ("full", True),
    ],
)
def test_occupancies_in_info_are_judged_whatever_they_are(occupancy: object, good: bool) -> None:
    atoms = bulk("Cu")
    atoms.info["occupancy"] = occupancy
    [entry] = structures_from(atoms)
    assert isinstance(entry, Structure) == good
    if isinstance(entry, Unreadable):
        assert "site 0 is disordered" in entry.reason


@pytest.mark.parametrize("properties", ["", "Properties=species:S:1:pos:R:3 ", "pbc="])
def test_isotopes_of_hydrogen_in_xyz_files_are_hydrogen_with_a_mass(
    tmp_path: Path, properties: str
) -> None:
    if properties == "pbc=":
        text = "3\nProperties=pos:R:3:species:S:1\n0 0 0 O\n0 0 1 D\n0 1 0 T\n"
    else:
        text = f"3\n{properties}\nO 0 0 0\nD 0 0 1\nT 0 1 0\n"
    entry = read(tmp_path, "a.xyz", text)
    assert isinstance(entry, Structure)
    assert entry.numbers.tolist() == [8, 1, 1]
    assert np.allclose(entry.atoms.get_masses(), [15.999, 2.0141, 3.0160], atol=1e-3)


def test_masses_in_a_file_are_not_those_of_isotopes(tmp_path: Path) -> None:
    text = "2\nProperties=species:S:1:pos:R:3:masses:R:1\nD 0 0 0 7.0\nD 0 0 1 8.0\n"
    entry = read(tmp_path, "a.xyz", text)
    assert isinstance(entry, Structure)
    assert entry.atoms.get_masses().tolist() == [7.0, 8.0]


def test_deuterium_in_cif_files_is_hydrogen_with_a_mass(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "a.cif", bulk("Cu", cubic=True))
    text = (tmp_path / "a.cif").read_text().replace("  Cu  Cu", "  D  D")
    entry = read(tmp_path, "a.cif", text)
    assert isinstance(entry, Structure)
    assert entry.numbers.tolist() == [1] * 4
    assert np.allclose(entry.atoms.get_masses(), 2.0136, atol=1e-3)


@pytest.mark.parametrize("symbol", ["T", "X", "Wat"])
def test_other_symbols_in_cif_files_are_refused(tmp_path: Path, symbol: str) -> None:
    ase.io.write(tmp_path / "a.cif", bulk("Cu", cubic=True))
    text = (tmp_path / "a.cif").read_text().replace("  Cu  Cu", f"  {symbol}  {symbol}")
    entry = read(tmp_path, "a.cif", text)
    assert isinstance(entry, Unreadable)
    assert "a.cif" in entry.reason or "atomic number 0 of atom 0" in entry.reason
