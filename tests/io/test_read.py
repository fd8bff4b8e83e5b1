"""Reading: every kind of input, its order, its names, and what happens to bad items."""

import gzip
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixAtoms
from io_cases import odd_silicon, tagged_water

from kups_relax.data._structure import Structure
from kups_relax.errors import KupsRelaxError, OptionError, StructureError
from kups_relax.io import Unreadable, structures_from

Chem = pytest.importorskip("rdkit.Chem")
AllChem = pytest.importorskip("rdkit.Chem.AllChem")

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def water() -> Atoms:
    return tagged_water()


@pytest.fixture
def silicon() -> Atoms:
    return odd_silicon()


def embedded(smiles: str, name: str = "", n_conformers: int = 1) -> "Chem.Mol":
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    options = AllChem.ETKDGv3()
    options.randomSeed = 5
    AllChem.EmbedMultipleConfs(mol, n_conformers, options)
    if name:
        mol.SetProp("_Name", name)
    return mol


def sdf(*mols: "Chem.Mol") -> str:
    return "".join(Chem.MolToMolBlock(mol) + "$$$$\n" for mol in mols)


def ids(entries: list) -> list[str]:
    return [entry.id for entry in entries]


# Objects


def test_atoms_become_a_structure_with_plain_arrays(water):
    [entry] = structures_from(water)
    assert isinstance(entry, Structure)
    assert entry.id == "wet"
    assert entry.numbers.dtype == np.int32
    assert entry.positions.dtype == np.float64
    assert entry.positions.flags.c_contiguous
    assert np.array_equal(entry.positions, water.positions)
    assert entry.charge == 0
    assert entry.topology is None


def test_cell_and_pbc_are_kept(silicon):
    silicon.pbc = [True, True, False]
    [entry] = structures_from(silicon)
    assert entry.id == "mp-149"
    assert np.array_equal(entry.cell, silicon.cell.array)
    assert entry.pbc.tolist() == [True, True, False]


def test_the_callers_atoms_are_neither_kept_nor_changed(water):
    before = water.copy()
    [entry] = structures_from([water])
    entry.atoms.positions += 1.0
    entry.positions[:] = 0.0
    entry.atoms.info["charge"] = 5
    assert np.array_equal(water.positions, before.positions)
    assert water.info == before.info


def test_atoms_of_a_structure_keep_everything(water):
    [entry] = structures_from(water)
    kept = entry.atoms
    for name, array in water.arrays.items():
        assert np.array_equal(kept.arrays[name], array), name
    assert kept.info == water.info
    assert isinstance(kept.constraints[0], FixAtoms)
    assert kept.calc is None


@pytest.mark.parametrize("wrap", [list, tuple, iter], ids=["list", "tuple", "generator"])
def test_iterables_keep_their_order(wrap):
    atoms = [molecule(name) for name in ("H2O", "CH4", "NH3")]
    entries = structures_from(wrap(atoms))
    assert [entry.n_atoms for entry in entries] == [3, 5, 4]
    assert ids(entries) == ["H2O 0", "CH4 1", "H3N 2"]


def test_mixed_and_nested_input_keeps_its_order(tmp_path, water, silicon):
    path = tmp_path / "two.extxyz"
    ase.io.write(path, [molecule("CH4"), molecule("NH3")])
    mol = embedded("CCO", "ethanol", 2)
    entries = structures_from([silicon, path, [mol, water], str(path)])
    assert ids(entries) == [
        "mp-149",
        "two:0",
        "two:1",
        "ethanol/0",
        "ethanol/1",
        "wet",
        "two:0#2",
        "two:1#2",
    ]


def test_structures_pass_through(water):
    entries = structures_from(water)
    assert structures_from(entries)[0] is entries[0]


def test_unnamed_items_are_counted_as_the_caller_counts_them():
    entries = structures_from([embedded("C", n_conformers=3), molecule("CH4")])
    assert ids(entries) == ["CH4 0/0", "CH4 0/1", "CH4 0/2", "CH4 1"]


def test_repeated_ids_are_told_apart():
    atoms = [Atoms("He", info={"id": name}) for name in ("a", "a", "a#2", "a")]
    assert ids(structures_from(atoms)) == ["a", "a#2", "a#2#2", "a#3"]


@pytest.mark.parametrize(("charge", "expected"), [(1, 1), (-2.0, -2), ("1", 1), (np.int64(3), 3)])
def test_charge_comes_from_info(charge, expected):
    [entry] = structures_from(Atoms("He", info={"charge": charge}))
    assert entry.charge == expected
    assert type(entry.charge) is int


def test_charge_is_unknown_where_nothing_says():
    assert structures_from(Atoms("He"))[0].charge is None


# RDKit


def test_each_conformer_is_a_structure_and_all_share_one_topology():
    mol = embedded("CCO", "ethanol", 3)
    entries = structures_from(mol)
    assert ids(entries) == ["ethanol/0", "ethanol/1", "ethanol/2"]
    assert entries[0].topology is entries[2].topology
    assert entries[0].topology is not mol
    for entry, conformer in zip(entries, mol.GetConformers(), strict=True):
        assert np.array_equal(entry.positions, conformer.GetPositions())


def test_mol_gives_charges_properties_and_isotopes():
    mol = embedded("[2H]C([2H])([2H])[NH3+]", "d3")
    mol.SetProp("batch", "007")
    mol.SetProp("yield", "1.5")
    [entry] = structures_from(mol)
    assert entry.charge == 1
    assert entry.atoms.get_initial_charges().sum() == 1
    assert entry.atoms.info["batch"] == "007"
    assert entry.atoms.info["yield"] == 1.5
    assert entry.atoms.info["charge"] == 1
    assert entry.atoms.get_masses()[0] == pytest.approx(2.014, abs=1e-3)
    assert entry.numbers[0] == 1


def test_mol_without_coordinates_is_embedded_with_hydrogens():
    [entry] = structures_from(Chem.MolFromSmiles("CCO"))
    assert entry.n_atoms == 9
    assert entry.topology.GetNumAtoms() == 9
    assert np.ptp(entry.positions[:, 2]) > 0.5


def test_drawing_is_embedded_and_a_flat_geometry_is_not():
    drawing = Chem.MolFromSmiles("c1ccccc1")
    AllChem.Compute2DCoords(drawing)
    assert structures_from(drawing)[0].n_atoms == 12

    flat = Chem.MolToMolBlock(embedded("O")).replace("3D", "  ")
    mol = Chem.MolFromMolBlock(flat, removeHs=False)
    conformer = mol.GetConformer()
    conformer.Set3D(False)
    assert np.array_equal(structures_from(mol)[0].positions, conformer.GetPositions())


def test_missing_hydrogens_are_left_to_the_potential():
    mol = Chem.RemoveHs(embedded("CCO"))
    [entry] = structures_from(mol)
    assert entry.n_atoms == 3
    assert entry.topology.GetNumAtoms() == 3
    assert entry.topology.GetAtomWithIdx(0).GetNumImplicitHs() == 3


def test_unsanitized_mol_is_finished_in_a_copy():
    mol = Chem.MolFromSmiles("c1ccccc1O", sanitize=False)
    [entry] = structures_from(mol)
    assert entry.n_atoms == 13
    assert entry.topology.GetRingInfo().NumRings() == 1


def test_fragments_do_not_touch(tmp_path):
    path = tmp_path / "salts.smi"
    path.write_text("[Na+].[Cl-] salt\nCCO.c1ccccc1.O wet\n")
    salt, wet = structures_from(path)
    assert np.linalg.norm(np.subtract(*salt.positions)) == pytest.approx(3.0)
    fragments = [list(rows) for rows in Chem.GetMolFrags(wet.topology)]
    for i, rows in enumerate(fragments):
        for others in fragments[:i]:
            gaps = wet.positions[rows][:, None] - wet.positions[others][None]
            assert np.linalg.norm(gaps, axis=-1).min() >= 3.0


# Files


def test_smiles_file(tmp_path):
    path = tmp_path / "set.smi"
    path.write_text(
        "SMILES\tname\n# a comment\nCCO\tethanol\nC#N\n\nC[N+](C)(C)C\tMe4N cation\textra\n"
    )
    entries = structures_from(path)
    assert ids(entries) == ["ethanol", "set:1", "Me4N cation"]
    assert [entry.charge for entry in entries] == [0, 0, 1]
    assert [entry.n_atoms for entry in entries] == [9, 3, 17]
    assert entries[0].atoms.info["smiles"] == "CCO"


def test_conformers_of_smiles_differ_repeat_and_depend_on_nothing_else(tmp_path):
    path = tmp_path / "set.smi"
    path.write_text("CCCCO butanol\nCCCO propanol\n")
    entries = structures_from(path, n_conformers=3)
    assert ids(entries)[:4] == ["butanol/0", "butanol/1", "butanol/2", "propanol/0"]
    for i in range(3):
        for k in range(i):
            assert not np.array_equal(entries[i].positions, entries[k].positions)
    [alone] = structures_from(Chem.MolFromSmiles("CCCO"))
    assert np.array_equal(entries[3].positions, alone.positions)
    others = structures_from(path, n_conformers=3, seed=1)
    assert not any(
        np.array_equal(a.positions, b.positions) for a in entries[:3] for b in others[:3]
    )


def test_sdf_file_keeps_titles_properties_and_coordinates(tmp_path):
    path = tmp_path / "set.sdf"
    first, second = embedded("CCO", "ethanol"), embedded("CC(=O)[O-]")
    with Chem.SDWriter(str(path)) as writer:
        first.SetProp("IC50", "3.5")
        writer.write(first)
        writer.write(second)
    entries = structures_from(path)
    assert ids(entries) == ["ethanol", "set:1"]
    assert entries[0].atoms.info["IC50"] == 3.5
    assert entries[1].charge == -1
    assert entries[1].n_atoms == 7
    assert np.allclose(entries[0].positions, first.GetConformer().GetPositions(), atol=6e-5)


def test_mol_file_with_windows_newlines_and_gzip(tmp_path):
    block = Chem.MolToMolBlock(embedded("CCO"))
    (tmp_path / "a.mol").write_bytes(block.replace("\n", "\r\n").encode())
    (tmp_path / "b.sdf.gz").write_bytes(gzip.compress((block + "$$$$\n").encode()))
    entries = structures_from([tmp_path / "a.mol", tmp_path / "b.sdf.gz"])
    assert ids(entries) == ["a", "b"]
    assert np.array_equal(entries[0].positions, entries[1].positions)


def test_sdf_title_falls_back_to_a_property(tmp_path):
    mol = embedded("C")
    mol.SetProp("ID", "CHEMBL17564")
    with Chem.SDWriter(str(tmp_path / "x.sdf")) as writer:
        writer.write(mol)
    assert ids(structures_from(tmp_path / "x.sdf")) == ["CHEMBL17564"]


@pytest.mark.parametrize("name", ["s.extxyz", "s.cif", "POSCAR", "s.traj", "s.db", "s.json"])
def test_formats_of_ase(tmp_path, name):
    atoms = bulk("NaCl", "rocksalt", 5.64)
    path = tmp_path / name
    ase.io.write(path, atoms)
    [entry] = structures_from(path)
    assert entry.id == (f"{tmp_path.name}/POSCAR" if name == "POSCAR" else "s")
    assert sorted(entry.numbers) == [11, 17]
    assert entry.pbc.all()
    assert abs(np.linalg.det(entry.cell)) == pytest.approx(5.64**3 / 4, rel=1e-6)


def test_frames_are_named_by_file_and_place(tmp_path):
    path = tmp_path / "run.traj"
    named = molecule("NH3")
    named.info["id"] = 12
    ase.io.write(path, [molecule("CH4"), named, molecule("H2O")])
    assert ids(structures_from(path)) == ["run:0", "12", "run:2"]


def test_results_of_an_earlier_run_are_not_taken_over(tmp_path):
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = molecule("H2O")
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.zeros((3, 3)))
    ase.io.write(tmp_path / "a.extxyz", atoms)
    [entry] = structures_from(tmp_path / "a.extxyz")
    assert entry.atoms.calc is None


# One bad item


def test_bad_atoms_do_not_stop_the_others():
    close = Atoms("H2", [[0, 0, 0], [0, 0, 0]], info={"id": "close"})
    nan = Atoms("H2", [[0, 0, 0], [0, 0, np.nan]], info={"id": "nan"})
    flat = Atoms("H", cell=[1, 1, 0], pbc=True, info={"id": "flat"})
    partial = Atoms("H", info={"id": "partial", "charge": 0.5})
    good = molecule("H2O")
    entries = structures_from([close, nan, flat, partial, Atoms(), None, good])
    assert [type(entry) for entry in entries] == [Unreadable] * 6 + [Structure]
    assert ids(entries)[:4] == ["close", "nan", "flat", "partial"]
    for entry, words in zip(
        entries,
        ["H2: atoms 0 and 1 ", "not finite", "independent", "whole number", "no atoms", "None"],
        strict=False,
    ):
        assert words in entry.reason
        assert not entry.reason.startswith(repr(entry.id))
    assert str(entries[0]).startswith("'close': H2: atoms 0 and 1 are 0 Angstrom")


def test_bad_smiles_do_not_stop_the_others(tmp_path):
    path = tmp_path / "set.smi"
    path.write_text("CCO good\nC1CC open\nC(C)(C)(C)(C)C five\nC* star\nN last\n")
    entries = structures_from(path)
    assert ids(entries) == ["good", "open", "five", "star", "last"]
    assert [isinstance(entry, Structure) for entry in entries] == [True, False, False, False, True]
    assert "line 2" in entries[1].reason
    assert "'C1CC'" in entries[1].reason
    assert "valence" in entries[2].reason
    assert "placeholder" in entries[3].reason


def test_molecule_that_cannot_be_embedded_says_so(tmp_path):
    path = tmp_path / "set.smi"
    # Two rings of three cannot share a bond on opposite faces.
    path.write_text("C1[C@H]2C[C@@H]12 strained\nC fine\n")
    strained, fine = structures_from(path)
    assert isinstance(fine, Structure)
    assert isinstance(strained, Unreadable)
    assert "ETKDG" in strained.reason
    assert "SDF" in strained.reason


def test_bad_sdf_records_do_not_stop_the_others(tmp_path):
    path = tmp_path / "set.sdf"
    pentavalent = Chem.MolFromSmiles("C(C)(C)(C)(C)C", sanitize=False)
    pentavalent.SetProp("_Name", "five")
    broken = "broken\n\n\n  1  0  0  0 nonsense V2000\nM  END\n$$$$\n"
    path.write_text(sdf(embedded("C", "first"), pentavalent) + broken + sdf(embedded("CO", "last")))
    entries = structures_from(path)
    assert ids(entries) == ["first", "five", "broken", "last"]
    assert [isinstance(entry, Structure) for entry in entries] == [True, False, False, True]
    assert "record 1" in entries[1].reason
    assert "valence" in entries[1].reason
    assert "cannot parse" in entries[2].reason


def xyz(*frames: str) -> str:
    return "\n".join(frames) + "\n"


H2 = "2\n\nH 0 0 0\nH 0 0 0.74"


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("2\n\nH 0 0 zero\nH 0 0 0.74", "could not convert"),
        ("1\n\nH 0 0 0\nH 0 0 0.74", "announces 1 atoms"),
        ("3\n\nH 0 0 0\nH 0 0 0.74", ""),
        ("2\n\nH 0 0 0\nQq 0 0 0.74", "Qq"),
    ],
    ids=["no number", "count too small", "count too large", "no element"],
)
def test_bad_xyz_frame_does_not_stop_the_others(tmp_path, bad, words):
    path = tmp_path / "set.xyz"
    path.write_text(xyz(H2, bad, H2, H2))
    entries = structures_from(path)
    assert ids(entries) == ["set:0", "set:1", "set:2", "set:3"]
    assert [isinstance(entry, Structure) for entry in entries] == [True, False, True, True]
    assert words in entries[1].reason
    assert "line 5" in entries[1].reason


def test_truncated_xyz_file_keeps_its_whole_frames(tmp_path):
    path = tmp_path / "set.extxyz"
    path.write_text(xyz(H2, "2\n\nH 0 0 0"))
    good, bad = structures_from(path)
    assert isinstance(good, Structure)
    assert "file ends" in bad.reason


def test_disordered_crystal_is_not_taken_for_an_ordered_one(tmp_path):
    path = tmp_path / "alloy.cif"
    ase.io.write(path, bulk("Si"))
    lines = path.read_text().splitlines()
    row = next(i for i, line in enumerate(lines) if line.split()[:2] == ["Si", "Si1"])
    lines[row] = lines[row].replace("1.0000", "0.5000")
    path.write_text("\n".join(lines) + "\n")
    [entry] = structures_from(path)
    assert isinstance(entry, Unreadable)
    assert "disordered (Si 0.5)" in entry.reason


# Input that cannot be used


@pytest.mark.parametrize("inputs", [[], (), iter([]), [[], []]])
def test_empty_input_raises(inputs):
    with pytest.raises(StructureError, match="empty"):
        structures_from(inputs)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (5, "input: cannot make a structure from int 5"),
        (None, "NoneType"),
        ([Atoms("He"), 5], r"input\[1\]: cannot make a structure from int 5"),
        ([[Atoms("He")], [Atoms("He"), b"x"]], r"input\[1\]\[1\]"),
        ({"a": Atoms("He")}, r"list\(mapping.values\(\)\)"),
        ({"x.xyz"}, "set has no order"),
        (np.zeros((3, 3)), "ndarray"),
    ],
)
def test_unknown_objects_raise_and_say_where(inputs, words):
    with pytest.raises(StructureError, match=words) as info:
        structures_from(inputs)
    assert "Expected ase.Atoms, RDKit Mols, paths" in str(info.value)


def test_missing_file_raises_where_nothing_else_is_given(tmp_path):
    with pytest.raises(StructureError, match=r"input\[0\] \('CCO'\): there is no such file.*\.smi"):
        structures_from(["CCO"])
    with pytest.raises(StructureError, match="as a pattern it matches none"):
        structures_from(tmp_path / "*.cif")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", b"Buy milk.\n"),
        ("table.csv", b"a,b\n1,2\n"),
        ("notes.xyz", b"Buy milk.\n"),
        ("notes.cif", b"Buy milk.\n"),
        ("POSCAR", b"Buy milk.\n"),
        ("notes.sdf", b"Buy milk.\n"),
        ("notes.smi", b"Buy milk.\n"),
        ("headeronly.smi", b"SMILES name\n# none\n"),
        ("picture.sdf", b"\x89PNG\0\0"),
        ("picture.png", b"\x89PNG\0\0"),
        ("broken.traj", b"- of UlmASE-Trajectory" + b"\0" * 40),
        ("broken.sdf.gz", b"no gzip"),
        ("empty.xyz", b""),
    ],
)
def test_file_that_is_no_structure_file_raises_and_names_it(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(StructureError) as info:
        structures_from([path])
    assert name in str(info.value)


@pytest.mark.parametrize("options", [{"seed": -1}, {"seed": 0.5}, {"n_conformers": 0}])
def test_options_out_of_range_raise(options):
    with pytest.raises(OptionError, match=f"{next(iter(options))} is"):
        structures_from(Atoms("He"), **options)


def test_errors_belong_to_the_tree():
    with pytest.raises(KupsRelaxError):
        structures_from([])


# The house


def test_importing_io_imports_neither_ase_nor_rdkit():
    code = (
        "import sys, kups_relax.io; "
        "print([m for m in ('ase', 'rdkit', 'h5py') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_atoms_are_read_without_rdkit(tmp_path):
    path = tmp_path / "a.smi"
    path.write_text("C methane\n")
    code = (
        "import sys; sys.modules['rdkit'] = None; sys.modules['rdkit.Chem'] = None\n"
        "from ase import Atoms; from kups_relax.io import structures_from\n"
        "print(structures_from(Atoms('He'))[0].id)\n"
        f"try: structures_from({str(path)!r})\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = done.stdout.strip().splitlines()
    assert first == "He"
    assert second.startswith("StructureError")
    assert "pip install" in second


def test_example_molecules_can_be_embedded_and_have_mmff94_parameters():
    entries = structures_from(EXAMPLES / "molecules.smi")
    bad = [str(entry) for entry in entries if isinstance(entry, Unreadable)]
    assert not bad
    assert len(entries) >= 80
    assert not any("#" in entry.id for entry in entries)
    assert {5, 76, 98} <= {entry.n_atoms for entry in entries}
    for entry in entries:
        assert 5 <= entry.n_atoms <= 100, entry.id
        assert AllChem.MMFFHasAllMoleculeParams(entry.topology), entry.id
