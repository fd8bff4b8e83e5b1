"""Writing: what comes back from each format, and what a failure leaves behind."""

import csv
import dataclasses
import os
import stat

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixBondLengths, FixCartesian
from ase.spacegroup import crystal
from io_cases import odd_silicon, tagged_water

from kups_relax.data._structure import Structure
from kups_relax.errors import LeftOutWarning, OptionError, StoreError, StructureError
from kups_relax.io import (
    Unreadable,
    check_output,
    store_of,
    structures_from,
    to_atoms,
    write,
)

Chem = pytest.importorskip("rdkit.Chem")

# SDF holds coordinates with 4 decimals.
SDF_ROUNDING = 0.5001e-4


@pytest.fixture
def water() -> Atoms:
    return tagged_water()


@pytest.fixture
def silicon() -> Atoms:
    return odd_silicon()


def results_for(structures: list) -> tuple[list[Atoms], dict]:
    """Made-up results with digits that no rounding survives."""
    rng = np.random.default_rng(1)
    atoms = [
        to_atoms(
            s,
            s.positions + rng.normal(scale=0.01, size=s.positions.shape),
            energy=-np.pi * (i + 1),
            forces=rng.normal(size=s.positions.shape),
            stress=rng.normal(size=6) if s.pbc.all() else None,
        )
        for i, s in enumerate(structures)
    ]
    n = len(structures)
    table = {
        "id": [s.id for s in structures],
        "status": ["converged", "max_steps", "converged"][:n],
        "converged": np.array([True, False, True][:n]),
        "n_steps": np.array([3, 1000, 0][:n]),
        "fmax": rng.uniform(size=n),
        "energy": np.array([a.get_potential_energy() for a in atoms]),
    }
    return atoms, table


@pytest.fixture
def mols(tmp_path) -> list[Structure]:
    path = tmp_path / "input.smi"
    path.write_text("CC(=O)[O-]\tacetate\nC/C=C\\C\tcis-2-butene\n")
    return structures_from(path)


# to_atoms


def test_to_atoms_keeps_what_was_read_and_attaches_results(water):
    [structure] = structures_from(water)
    forces = np.arange(9.0).reshape(3, 3)
    atoms = to_atoms(
        structure, structure.positions + 1, energy=-2.5, forces=forces, info={"status": "converged"}
    )
    assert np.array_equal(atoms.positions, structure.positions + 1)
    assert atoms.get_potential_energy() == -2.5
    assert atoms.get_potential_energy(force_consistent=True) == -2.5
    assert np.array_equal(atoms.get_forces(apply_constraint=False), forces)
    assert atoms.get_tags().tolist() == [7, 8, 9]
    assert atoms.info == {**water.info, "status": "converged"}
    assert np.array_equal(atoms.get_initial_charges(), water.get_initial_charges())
    assert np.array_equal(atoms.get_masses(), water.get_masses())
    assert np.array_equal(atoms.get_momenta(), water.get_momenta())
    assert np.array_equal(atoms.constraints[0].index, [1])
    assert np.array_equal(structure.atoms.positions, water.positions)
    assert structure.atoms.calc is None


class Stubborn:
    """A constraint that lets nothing move, as FixSymmetry does with a wrong cell."""

    def adjust_positions(self, atoms, new):
        new[:] = atoms.positions

    def adjust_cell(self, atoms, cell):
        cell[:] = atoms.cell


def test_to_atoms_moves_fixed_atoms_and_cells_as_told(silicon):
    silicon.set_constraint(Stubborn())
    [structure] = structures_from(silicon)
    positions, cell = structure.positions + 0.3, structure.cell @ np.diag([1.0, 1.1, 1.3])
    stress = np.arange(9.0).reshape(3, 3)
    atoms = to_atoms(structure, positions, cell, stress=stress + stress.T)
    assert np.array_equal(atoms.positions, positions)
    assert np.array_equal(atoms.cell.array, cell)
    assert atoms.get_stress().tolist() == [0.0, 8.0, 16.0, 12.0, 8.0, 4.0]


def test_to_atoms_builds_atoms_where_there_are_none():
    structure = Structure(
        id="x",
        numbers=np.array([11, 17], np.int32),
        positions=np.zeros((2, 3)),
        cell=np.eye(3) * 5,
        pbc=np.ones(3, bool),
        charge=2,
    )
    atoms = to_atoms(structure, np.ones((2, 3), np.float32))
    assert str(atoms.symbols) == "NaCl"
    assert atoms.positions.dtype == np.float64
    assert atoms.pbc.all()
    assert atoms.calc is None
    assert atoms.info == {"charge": 2, "id": "x"}


# Round trips


@pytest.mark.parametrize("ending", [".extxyz", ".traj"])
def test_every_bit_comes_back(tmp_path, water, silicon, ending):
    structures = structures_from([water, silicon, molecule("CH4")])
    atoms, table = results_for(structures)
    path = tmp_path / f"out{ending}"
    write(path, atoms, structures, table)

    back = ase.io.read(path, index=":")
    assert len(back) == 3
    for i, (new, old) in enumerate(zip(back, atoms, strict=True)):
        assert np.array_equal(new.positions, old.positions)
        assert np.array_equal(new.cell.array, old.cell.array)
        assert np.array_equal(new.pbc, old.pbc)
        assert set(new.calc.results) == set(old.calc.results)
        for name, value in old.calc.results.items():
            assert np.array_equal(new.calc.results[name], value), name
        assert set(new.arrays) == set(old.arrays)
        for name, array in old.arrays.items():
            assert np.array_equal(new.arrays[name], array), name
        assert new.info["id"] == structures[i].id
        assert new.info["status"] == table["status"][i]
        assert new.info["converged"] == table["converged"][i]
        assert new.info["n_steps"] == table["n_steps"][i]
        assert new.info["fmax"] == table["fmax"][i]
    assert back[0].info["source"] == "a 'tap'"
    assert list(back[0].info["levels"]) == [1, 2]
    assert np.array_equal(back[0].constraints[0].index, [1])

    again = structures_from(path)
    assert [s.id for s in again] == ["wet", "mp-149", "CH4 2"]
    assert again[0].charge == 0
    assert np.array_equal(again[0].positions, atoms[0].positions)


def test_writing_leaves_the_given_atoms_alone(tmp_path, water):
    structures = structures_from(water)
    atoms, table = results_for(structures)
    info = dict(atoms[0].info)
    write(tmp_path / "out.extxyz", atoms, structures, table)
    assert atoms[0].info == info


def test_molecules_come_back_from_sdf(tmp_path, mols):
    atoms, table = results_for(mols)
    path = tmp_path / "out.sdf"
    write(path, atoms, mols, table)

    records = list(Chem.SDMolSupplier(str(path), removeHs=False))
    assert [mol.GetProp("_Name") for mol in records] == ["acetate", "cis-2-butene"]
    assert float(records[0].GetProp("energy_eV")) == atoms[0].get_potential_energy()
    assert float(records[0].GetProp("fmax")) == table["fmax"][0]
    assert records[1].GetProp("status") == "max_steps"
    assert records[1].GetProp("n_steps") == "1000"
    assert records[1].GetProp("smiles") == "C/C=C\\C"
    assert [Chem.MolToSmiles(Chem.RemoveHs(mol)) for mol in records] == ["CC(=O)[O-]", "C/C=C\\C"]

    again = structures_from(path)
    assert [s.id for s in again] == [s.id for s in mols]
    assert [s.charge for s in again] == [-1, 0]
    for new, old in zip(again, atoms, strict=True):
        assert np.abs(new.positions - old.positions).max() <= SDF_ROUNDING


def test_molecules_keep_charge_and_smiles_through_extxyz(tmp_path, mols):
    atoms, table = results_for(mols)
    write(tmp_path / "out.extxyz", atoms, mols, table)
    first, second = structures_from(tmp_path / "out.extxyz")
    assert first.charge == -1
    assert np.array_equal(first.atoms.get_initial_charges(), atoms[0].get_initial_charges())
    assert second.atoms.info["smiles"] == "C/C=C\\C"


def test_conformers_share_bonds_but_not_titles(tmp_path):
    conformers = structures_from(Chem.MolFromSmiles("CCO"), n_conformers=2)
    atoms, table = results_for(conformers)
    write(tmp_path / "out.sdf", atoms, conformers, table)
    assert [s.id for s in structures_from(tmp_path / "out.sdf")] == [s.id for s in conformers]
    assert conformers[0].topology.GetNumConformers() == 0


TRICKY = {
    "digits": "007",
    "exponent": "1e5",
    "letter": "T",
    "word": "false",
    "empty": "",
    "blank": " ",
    "quotes": "a \"b\" 'c'",
    "backslash": "F/C=C\\F",
    "lines": "one\ntwo",
    "brackets": "[1, 2] {3}",
    "equals": "a=b",
    "json": "_JSON 5",
    "umlaut": "Käse",
    "odd key = 1": "x",
    "none": None,
    "yes": True,
    "number": 0.1 + 0.2,
    "nested": {"a": [1, "b"]},
}


@pytest.mark.parametrize("key", TRICKY)
def test_info_survives_extxyz(tmp_path, key):
    structures = structures_from(Atoms("He", info={key: TRICKY[key], "id": "007"}))
    atoms, table = results_for(structures)
    write(tmp_path / "out.extxyz", atoms, structures, table)
    back = ase.io.read(tmp_path / "out.extxyz")
    assert back.info[key] == TRICKY[key]
    assert back.info["id"] == "007"


def test_arrays_in_info_survive_extxyz(tmp_path):
    info = {"one": np.array([2.5]), "table": np.eye(2) / 3, "flags": np.array([True, False])}
    info["virial"] = np.arange(9.0).reshape(3, 3)
    structures = structures_from(Atoms("He", info=info))
    atoms, table = results_for(structures)
    write(tmp_path / "out.extxyz", atoms, structures, table)
    back = ase.io.read(tmp_path / "out.extxyz")
    for key, value in info.items():
        assert np.array_equal(back.info[key], value), key


def test_spacegroup_of_a_crystal_is_written_as_its_symbol(tmp_path):
    salt = crystal("Na", [(0, 0, 0)], spacegroup=225, cellpar=[5.6] * 3 + [90] * 3)
    structures = structures_from(salt)
    atoms, table = results_for(structures)
    for name in ("out.extxyz", "out.traj"):
        write(tmp_path / name, atoms, structures, table)
        assert ase.io.read(tmp_path / name).info["spacegroup"] == "F m -3 m"


def test_single_fixed_axes_survive_extxyz(tmp_path):
    atoms = molecule("H2O")
    atoms.set_constraint([FixCartesian(1, mask=[False, False, True]), FixAtoms([0])])
    structures = structures_from(atoms)
    atoms, table = results_for(structures)
    write(tmp_path / "out.extxyz", atoms, structures, table)
    fixed = np.zeros((3, 3), bool)
    for constraint in ase.io.read(tmp_path / "out.extxyz").constraints:
        fixed[constraint.index] |= constraint.mask
    assert fixed.tolist() == [[True] * 3, [False, False, True], [False] * 3]


def test_what_extxyz_cannot_hold_is_named(tmp_path):
    atoms = molecule("H2O")
    atoms.info["id"] = "wet"
    atoms.set_constraint(FixBondLengths([[0, 1]]))
    structures = structures_from(atoms)
    atoms, table = results_for(structures)
    with pytest.warns(LeftOutWarning, match=r"'wet': left out the constraint FixBondLengths: "):
        write(tmp_path / "out.extxyz", atoms, structures, table)
    write(tmp_path / "out.traj", atoms, structures, table)
    assert isinstance(ase.io.read(tmp_path / "out.traj").constraints[0], FixBondLengths)


def test_results_that_are_not_finite_can_be_written(tmp_path):
    structures = structures_from(Atoms("He"))
    atoms = [to_atoms(structures[0], [[0, 0, 0]], energy=np.nan, forces=[[np.inf, np.nan, 0]])]
    write(tmp_path / "out.extxyz", atoms, structures, {"status": ["non_finite"]})
    back = ase.io.read(tmp_path / "out.extxyz")
    assert np.isnan(back.get_potential_energy())
    assert np.array_equal(back.get_forces(), [[np.inf, np.nan, 0]], equal_nan=True)


def test_unreadable_items_have_a_row_and_no_geometry(tmp_path):
    structures = structures_from([Atoms("He"), None, Atoms("Ne")])
    assert isinstance(structures[1], Unreadable)
    atoms = [to_atoms(s, s.positions) if isinstance(s, Structure) else None for s in structures]
    table = {"id": [s.id for s in structures], "status": ["converged", "failed", "converged"]}
    for name in ("out.extxyz", "out.traj"):
        write(tmp_path / name, atoms, structures, table)
        assert [str(a.symbols) for a in ase.io.read(tmp_path / name, ":")] == ["He", "Ne"]
    write(tmp_path / "out.csv", atoms, structures, table)
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 4


def test_csv_holds_the_table_with_all_digits(tmp_path):
    structures = structures_from([Atoms("He", info={"id": 'a,"b"'}), Atoms("Ne")])
    atoms, table = results_for(structures)
    table["reason"] = [None, "out of steps"]
    write(tmp_path / "out.csv", atoms, structures, table)
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(table)
    assert [row["id"] for row in rows] == ['a,"b"', "Ne 1"]
    assert [float(row["energy"]) for row in rows] == table["energy"].tolist()
    assert [float(row["fmax"]) for row in rows] == table["fmax"].tolist()
    assert [row["n_steps"] for row in rows] == ["3", "1000"]
    assert [row["converged"] for row in rows] == ["True", "False"]
    assert [row["reason"] for row in rows] == ["", "out of steps"]


# Failures


def test_failure_in_the_middle_leaves_the_old_file(tmp_path, water):
    path = tmp_path / "out.extxyz"
    path.write_text("old")
    structures = structures_from([molecule("CH4"), water])
    atoms, table = results_for(structures)

    class Cut(list):
        def __iter__(self):
            yield self[0]
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write(path, Cut(atoms), structures, table)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.extxyz"]


@pytest.mark.parametrize("ending", [".extxyz", ".traj", ".csv", ".sdf"])
def test_death_before_the_rename_leaves_the_old_file(tmp_path, mols, monkeypatch, ending):
    path = tmp_path / f"out{ending}"
    path.write_text("old")
    atoms, table = results_for(mols)
    before = set(os.listdir(tmp_path))

    def fail(*_):
        raise OSError("disk gone")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(StoreError, match=r"out.*cannot be written: disk gone"):
            write(path, atoms, mols, table)
    assert path.read_text() == "old"
    assert set(os.listdir(tmp_path)) == before
    write(path, atoms, mols, table)
    assert path.stat().st_size > 10
    assert set(os.listdir(tmp_path)) == before


def test_replaced_file_keeps_its_mode_and_a_link_stays_a_link(tmp_path):
    structures = structures_from(Atoms("He"))
    atoms, table = results_for(structures)
    real, link = tmp_path / "real.csv", tmp_path / "link.csv"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    write(link, atoms, structures, table)
    assert link.is_symlink()
    assert real.read_text().startswith("id,")
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


@pytest.mark.parametrize("name", ["out.h5", "out", "out.pdb"])
def test_unknown_ending_raises_and_lists_the_known_ones(tmp_path, name):
    with pytest.raises(
        OptionError, match=r"\.csv, \.db, \.extxyz, \.sdf, \.traj, \.vasp, \.xyz"
    ) as info:
        check_output(tmp_path / name)
    assert name in str(info.value)
    with pytest.raises(OptionError):
        write(tmp_path / name, [], [], {})


def test_structures_without_bonds_cannot_go_to_sdf(tmp_path, silicon, mols):
    structures = structures_from([silicon, bulk("Cu")])
    atoms = [to_atoms(s, s.positions) for s in structures]
    words = r"out\.sdf.*'mp-149' and 1 more came without bonds.*\.extxyz"
    with pytest.raises(StructureError, match=words):
        check_output(tmp_path / "out.sdf", structures=structures)
    with pytest.raises(StructureError, match=words):
        write(tmp_path / "out.sdf", atoms, structures, {})
    assert not (tmp_path / "out.sdf").exists()


def test_structures_without_bonds_are_named_and_molecules_go_to_sdf(tmp_path, silicon, mols):
    structures = structures_from([silicon, mols, bulk("Cu")])
    atoms = [to_atoms(s, s.positions) for s in structures]
    check_output(tmp_path / "out.sdf", structures=structures)
    with pytest.warns(LeftOutWarning, match=r"'mp-149': left out .* and 1 more .* without bonds"):
        assert write(tmp_path / "out.sdf", atoms, structures, {}) == 2
    assert [s.id for s in structures_from(tmp_path / "out.sdf")] == [s.id for s in mols]


def test_lengths_must_agree(tmp_path):
    structures = structures_from(Atoms("He"))
    with pytest.raises(OptionError, match=r"1 for atoms, .* 2 for column 'id'"):
        write(tmp_path / "out.csv", [None], structures, {"id": ["a", "b"]})


def test_check_output_passes_what_can_be_written(tmp_path, mols, monkeypatch):
    assert check_output(tmp_path / "out.SDF", structures=mols) == tmp_path / "out.SDF"
    monkeypatch.chdir(tmp_path)
    check_output("out.csv")
    assert not list(tmp_path.glob("out*"))


def test_check_output_refuses_what_is_there(tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("old")
    with pytest.raises(StoreError, match="overwrite=True"):
        check_output(path)
    assert check_output(path, overwrite=True) == path
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(StoreError, match="is a directory"):
        check_output(tmp_path / "folder.csv", overwrite=True)


def test_check_output_refuses_directories_that_are_missing_or_locked(tmp_path, monkeypatch):
    with pytest.raises(StoreError, match="no directory"):
        check_output(tmp_path / "missing" / "out.csv")
    # Permissions do not bind root, which tests may run as.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(StoreError, match="not writable"):
        check_output(tmp_path / "out.csv")


def test_ids_made_unique_are_the_ones_written(tmp_path):
    structures = structures_from([Atoms("He", info={"id": "a"}), Atoms("Ne", info={"id": "a"})])
    atoms, table = results_for(structures)
    write(tmp_path / "out.extxyz", atoms, structures, table)
    assert [a.info["id"] for a in ase.io.read(tmp_path / "out.extxyz", ":")] == ["a", "a#2"]


def test_results_of_a_calculator_replace_entries_of_info(tmp_path):
    [structure] = structures_from(Atoms("He", info={"energy": 5.0}))
    atoms = to_atoms(structure, structure.positions, energy=-1.0)
    with pytest.warns(LeftOutWarning, match=r"left out info\['energy'\] \(float\)"):
        write(tmp_path / "out.extxyz", [atoms], [structure], {})
    assert ase.io.read(tmp_path / "out.extxyz").get_potential_energy() == -1.0


def test_numbers_of_decimals_are_those_of_the_results_given(tmp_path):
    [structure] = structures_from(Atoms("He"))
    other = dataclasses.replace(structure, atoms=None)
    atoms = Atoms("He", [[1 / 3, 2 / 3, 1e-17]])
    atoms.calc = SinglePointCalculator(atoms, energy=1 / 3)
    write(tmp_path / "out.extxyz", [atoms], [other], {})
    back = ase.io.read(tmp_path / "out.extxyz")
    assert np.array_equal(back.positions, atoms.positions)
    assert back.get_potential_energy() == 1 / 3


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_a_folder_by_its_name_alone_has_no_store_beside_it(path: str) -> None:
    with pytest.raises(StoreError, match="is a directory; expected the name of a file"):
        store_of(path)
