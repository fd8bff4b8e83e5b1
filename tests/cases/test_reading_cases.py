"""Small inputs of users that were misread, or that ended a run."""

import functools
import time
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms

import kups_relax as kr
from kups_relax.data import Structure
from kups_relax.errors import StructureError
from kups_relax.io import Stream, Unreadable, structures_from

LJ = kr.potentials.LennardJones(epsilon=0.0104, sigma=3.4, cutoff=6.0)
MORSE = kr.potentials.Morse(epsilon=0.3, r0=2.5, rho0=4.0, cutoff=5.0)
EMT = kr.potentials.EMT()


def copper(scale: float = 1.02) -> Atoms:
    return bulk("Cu", a=3.6 * scale, cubic=True)


@functools.cache
def alone(scale: float) -> str:
    """Fingerprint of a cell that is relaxed alone."""
    return kr.relax(copper(scale), EMT).fingerprint[0]


def reason_of(atoms: Any, potential: Any = EMT, **options: Any) -> str:
    result = kr.relax([atoms], potential, **options)
    assert result.status.tolist() == ["failed"]
    return str(result.reason[0])


@pytest.fixture
def cifs(tmp_path: Path) -> list[str]:
    names = ["good.cif", "bad.cif", "good2.cif"]
    for name, scale in zip(names, (1.01, 1.02, 1.03), strict=True):
        ase.io.write(tmp_path / name, copper(scale))
    return [str(tmp_path / name) for name in names]


@pytest.mark.parametrize(
    "content",
    [b"", None, b"Buy milk.\n", b"data_empty\n"],
    ids=["empty", "missing", "text", "none"],
)
def test_case_01_one_unreadable_file_is_one_failed_entry(
    cifs: list[str], content: bytes | None
) -> None:
    if content is None:
        Path(cifs[1]).unlink()
    else:
        Path(cifs[1]).write_bytes(content)
    result = kr.relax(cifs, EMT)
    assert result.ids == ["good", "bad", "good2"]
    assert result.status.tolist() == ["converged", "failed", "converged"]
    assert "bad.cif" in result.reason[1]
    with pytest.raises(StructureError, match=r"bad\.cif"):
        kr.relax(cifs, EMT, strict=True)


def test_case_01_strict_runs_find_missing_files_before_anything_is_relaxed(cifs: list[str]) -> None:
    Path(cifs[1]).unlink()
    cifs[0] = str(Path(cifs[0]).with_name("bad too.cif"))
    Path(cifs[0]).write_text("Buy milk.\n")
    with pytest.raises(StructureError, match=r"input\[1\] .*no such file"):
        kr.relax(cifs, EMT, strict=True)


@pytest.mark.parametrize("potential", [LJ, MORSE, EMT], ids=lambda p: p.name)
@pytest.mark.parametrize("number", [119, 200, -3, 0, 2**31 - 1, 2**40])
def test_cases_05_and_06_atomic_numbers_of_no_element_are_refused(
    potential: Any, number: int
) -> None:
    atoms = copper()
    atoms.numbers[0] = number
    assert f"atomic number {number} of atom 0 is no element" in reason_of(atoms, potential)


def test_case_07_checking_takes_time_in_proportion_to_the_atoms() -> None:
    random = np.random.default_rng(7)

    def seconds(n: int, spread: float, pbc: object) -> float:
        atoms = Atoms(f"H{n}", random.uniform(0, spread, (n, 3)), cell=[12.5] * 3, pbc=pbc)
        start = time.process_time()
        structures_from(atoms)
        return time.process_time() - start

    seconds(10, 1.0, False)
    # All on one point, all over the place, and spread along a chain of cells.
    for spread, pbc in ((0.0, False), (1e-9, True), (1e4, [1, 0, 0]), (1e6, False), (1e12, False)):
        assert seconds(50_000, spread, pbc) < 5.0, (spread, pbc)


@pytest.mark.parametrize("value", [1e300, -1e300, 1e13, np.inf, np.nan])
@pytest.mark.parametrize("pbc", [True, False])
def test_case_08_huge_coordinates_are_refused_in_words(value: float, pbc: bool) -> None:
    atoms = copper()
    atoms.pbc = pbc
    atoms.positions[2, 1] = value
    reason = reason_of(atoms)
    assert "the position of atom 2 is" in reason
    assert "too coarse" in reason or "not finite" in reason


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ([0.5], "FixAtoms has indices that are no whole numbers; got [0.5]"),
        (["a"], "FixAtoms has indices that are no whole numbers; got ['a']"),
        ([[0, 1]], "FixAtoms has indices that are no whole numbers; got [[0, 1]] of shape (1, 2)"),
        ([True, False, False, True, True], "FixAtoms has a mask of 5 atoms; expected 4"),
        ([-5], "FixAtoms holds atom -5, which does not exist"),
        ([10**30], "FixAtoms has indices that are no whole numbers"),
    ],
)
def test_case_09_the_constraint_is_named_and_the_structure_fails(index: list, words: str) -> None:
    bad, good = copper(1.02), copper(1.01)
    bad.info["id"] = "bad one"
    constraint = FixAtoms([0])
    constraint.index = np.array(index)
    bad.set_constraint(constraint)
    result = kr.relax([bad, good], EMT)
    assert result.status.tolist() == ["failed", "converged"]
    assert words in result.reason[0]
    assert result.fingerprint[1] == alone(1.01)


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (np.array([0, 1, 2]), "[0 1 2]"),
        (np.void(b"ab"), r"b'\x61\x62'"),
        (10**5000, "Cu4 0"),
        (b"abc", "abc"),
        (float("nan"), "Cu4 0"),
        ({"a": 1}, "Cu4 0"),
    ],
    ids=["array", "void", "huge", "bytes", "nan", "dict"],
)
@pytest.mark.parametrize("key", ["id", "name"])
def test_case_10_an_id_is_made_of_the_text_of_a_value_or_is_the_default(
    tmp_path: Path, key: str, value: object, label: str
) -> None:
    atoms = copper(1.01)
    atoms.info[key] = value
    if key == "name" and not isinstance(value, np.ndarray | bytes):
        # Stores keep other values as they are, or do not: that is not about ids.
        assert [entry.id for entry in structures_from([atoms])] == [label]
        return
    result = kr.relax([atoms], EMT, output=tmp_path / "out.h5")
    assert list(result.ids) == [label]
    assert list(result.status) == ["converged"]


def test_case_16_lines_of_smiles_are_counted_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A second is not enough on a loaded machine.
    monkeypatch.setattr("kups_relax.io._count._SECONDS", 300.0)
    pytest.importorskip("rdkit", reason="reading SMILES needs RDKit")
    path = tmp_path / "in.smi"
    path.write_text("SMILES name\n# comment\n\n" + "CCO\nC\nnothing\n" * 1000)
    stream = Stream(path)
    start = time.process_time()
    assert stream.total == 3000
    assert time.process_time() - start < 2.0
    for _ in range(5):
        next(stream)
    assert stream.total == 3000
    # How many conformers RDKit finds is not known before.
    assert Stream(path, n_conformers=3).total is None


@pytest.mark.parametrize("value", ["?", "."])
def test_case_23_an_unknown_occupancy_is_the_default_of_cif(cifs: list[str], value: str) -> None:
    path = Path(cifs[1])
    path.write_text(path.read_text().replace("1.0000", value, 1))
    entries = structures_from(cifs)
    assert all(isinstance(entry, Structure) for entry in entries)
    assert kr.relax(cifs, EMT).status.tolist() == ["converged"] * 3


def test_case_24_a_disordered_crystal_is_refused_whoever_read_it(tmp_path: Path) -> None:
    path = tmp_path / "alloy.cif"
    path.write_text(
        "data_x\n_cell_length_a 3.9\n_cell_length_b 3.9\n_cell_length_c 3.9\n"
        "_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 90\n"
        "_symmetry_space_group_name_H-M 'F m -3 m'\n_symmetry_int_tables_number 225\n"
        "loop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n"
        "_atom_site_fract_y\n_atom_site_fract_z\n_atom_site_occupancy\n"
        "Cu1 Cu 0 0 0 0.5\nAu1 Au 0 0 0 0.5\n"
    )
    atoms = ase.io.read(path)
    assert isinstance(atoms, Atoms)
    ase.io.write(tmp_path / "again.traj", atoms)
    for given in (path, atoms, tmp_path / "again.traj"):
        [entry] = structures_from([given])
        assert isinstance(entry, Unreadable)
        assert "site 0 is disordered (Cu 0.5, Au 0.5)" in entry.reason
        assert entry.reason in reason_of(given)


def test_case_25_a_dump_without_elements_is_refused_whoever_read_it(tmp_path: Path) -> None:
    path = tmp_path / "a.lammpstrj"
    path.write_text(
        "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n3\nITEM: BOX BOUNDS pp pp pp\n0 10\n0 10\n0 10\n"
        "ITEM: ATOMS id type x y z\n1 1 0 0 0\n2 1 2.5 0 0\n3 1 0 2.5 0\n"
    )
    result = kr.relax([path, copper(1.01)], EMT)
    assert result.status.tolist() == ["failed", "converged"]
    assert "has no elements, only the columns id type x y z" in result.reason[0]
    assert "dump_modify" in result.reason[0]
    atoms = ase.io.read(path, format="lammps-dump-text")
    assert "types in atoms.arrays['type']" in reason_of(atoms)
    named = ase.io.read(path, format="lammps-dump-text", specorder=["Cu"])
    assert isinstance(structures_from(named)[0], Structure)


@pytest.mark.parametrize("x", [1e39, 1e6, 16384.0])
def test_case_29_positions_are_judged_in_the_dtype_of_the_run(x: float) -> None:
    atoms = Atoms("Cu2", [[0, 0, 0], [x, 0, 0]])
    reason = reason_of(atoms, dtype="float32")
    assert f"the position of atom 1 is [{x!r}, 0.0, 0.0]" in reason
    assert "too coarse for a geometry" in reason
    assert ("relax in float64" in reason) == (x < 1e12)
    [entry] = structures_from(Atoms("Cu2", [[0, 0, 0], [16383.0, 0, 0]]))
    assert isinstance(entry, Structure)
    entry.check_resolution("float32")


@pytest.mark.parametrize("name", ["x.xyz", "x.sdf", "x.smi", "x.cif", "POSCAR", "x.json"])
def test_case_33_one_line_of_20_mb_is_read_or_refused_at_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"1" * 20_000_000)
    # Processes and imports are there before.
    structures_from([tmp_path / "missing.json", copper()])
    start = time.process_time()
    entry, crystal = structures_from([path, copper()])
    assert time.process_time() - start < 2.0
    assert isinstance(entry, Unreadable)
    assert name in entry.reason
    assert isinstance(crystal, Structure)
