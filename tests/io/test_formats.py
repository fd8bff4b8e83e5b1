"""What each format gives back: crystals for other programs, and whatever calculators hold."""

import threading
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms, constraints
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from io_cases import odd_silicon, tagged_water

from helpers import bits
from kups_relax.errors import LeftOutWarning, StructureError
from kups_relax.io import check_output, checked, structures_from, to_atoms, write


def written(path: Path, given: list[Atoms], **options: Any) -> Any:
    """Write atoms as they are, and read the file with ASE."""
    entries = structures_from(given)
    atoms = [to_atoms(e, e.positions, **options) for e in entries]  # pyright: ignore
    write(path, atoms, entries, {})
    return ase.io.read(path, ":")


def alloy() -> Atoms:
    atoms = bulk("CuAu", "rocksalt", a=4.1234567890123, cubic=True)
    atoms.set_cell(atoms.cell @ (np.eye(3) + 0.1 * np.tri(3, k=-1)), scale_atoms=True)
    atoms.rattle(0.05, seed=1)
    return atoms


@pytest.mark.parametrize("name", ["POSCAR", "CONTCAR", "a.vasp"])
def test_a_poscar_has_all_bits_and_keeps_the_order_of_atoms(tmp_path: Path, name: str) -> None:
    atoms = alloy()
    [back] = written(tmp_path / name, [atoms])
    assert back.get_chemical_symbols() == ["Cu", "Au"] * 4
    assert np.array_equal(bits(back.positions), bits(atoms.positions))
    assert np.array_equal(bits(back.cell.array), bits(atoms.cell.array))


def test_a_poscar_keeps_what_is_held_along_the_vectors_of_its_cell(tmp_path: Path) -> None:
    atoms = alloy()
    atoms.set_constraint(
        [constraints.FixAtoms([0]), constraints.FixScaled([1, 2], [True, False, True])]
    )
    [back] = written(tmp_path / "POSCAR", [atoms])
    held = {tuple(np.atleast_1d(c.index)): c for c in back.constraints}
    assert [i for index in held for i in index if type(held[index]).__name__ == "FixAtoms"] == [0]
    masks = {i: held[index].mask for index in held for i in index if i}
    assert {i: np.asarray(mask).tolist() for i, mask in masks.items()} == {
        1: [True, False, True],
        2: [True, False, True],
    }
    atoms.set_constraint(constraints.FixCartesian([0], [True, False, False]))
    with pytest.warns(LeftOutWarning, match="left out the constraint FixCartesian"):
        [back] = written(tmp_path / "POSCAR", [atoms])
    assert not back.constraints


def test_a_poscar_holds_one_structure(tmp_path: Path) -> None:
    entries = structures_from([alloy(), odd_silicon()])
    for attempt in (
        lambda: check_output(tmp_path / "POSCAR", structures=entries),
        lambda: checked(tmp_path / "POSCAR", iter(entries)),
        lambda: write(tmp_path / "POSCAR", [e.atoms for e in entries], entries, {}),  # pyright: ignore
    ):
        with pytest.raises(StructureError, match="a POSCAR holds one structure, and there are sev"):
            attempt()
    assert not list(tmp_path.iterdir())


def test_a_cif_has_a_block_for_each_crystal(tmp_path: Path) -> None:
    crystals = [alloy(), odd_silicon(), alloy()]
    for atoms, label in zip(crystals, ["a b", "a_b", "'quoted' ü"], strict=True):
        atoms.info["id"] = label
    back = written(tmp_path / "out.cif", crystals)
    for one, atoms in zip(back, crystals, strict=True):
        assert one.get_chemical_symbols() == atoms.get_chemical_symbols()
        assert np.allclose(one.cell.cellpar(), atoms.cell.cellpar(), rtol=1e-14, atol=0)
        moved = one.get_scaled_positions() - atoms.get_scaled_positions()
        assert np.abs(moved - np.rint(moved)).max() < 1e-12
    blocks = [x for x in (tmp_path / "out.cif").read_text().splitlines() if x.startswith("data_")]
    assert blocks == ["data_a_b", "data_a_b_2", "data_'quoted'__"]


def test_molecules_are_left_out_of_a_cif_by_name_and_refused_where_there_is_nothing_else(
    tmp_path: Path,
) -> None:
    slab = bulk("Cu", cubic=True)
    slab.pbc = [True, True, False]
    with pytest.warns(LeftOutWarning) as caught:
        assert len(written(tmp_path / "out.cif", [molecule("H2O"), slab, tagged_water()])) == 1
    told = sorted(
        str(warning.message).split("': ", 1)[1]
        for warning in caught
        if warning.category is LeftOutWarning
    )
    assert told[0].startswith("'Cu4 1': left out pbc=[True, True, False]")
    assert told[1].startswith("'H2O 0': left out the structure, and 1 more of the kind: it ")
    assert "came without a cell of three vectors, which a CIF needs" in told[1]
    entries = structures_from([molecule("H2O"), molecule("CH4")])
    with pytest.raises(StructureError, match="'H2O 0' and 1 more came without a cell"):
        check_output(tmp_path / "other.cif", structures=entries)


def test_input_is_read_ahead_only_until_something_fits() -> None:
    asked = []

    def entries() -> Any:
        for entry in structures_from([molecule("H2O"), alloy(), molecule("CH4"), alloy()]):
            asked.append(entry.id)
            yield entry

    left = checked("out.cif", entries())
    assert asked == ["H2O 0", "Au4Cu4 1"]
    assert [entry.id for entry in left] == ["H2O 0", "Au4Cu4 1", "CH4 2", "Au4Cu4 3"]
    given = entries()
    assert checked("out.extxyz", given) is given


def test_plain_xyz_is_extended(tmp_path: Path) -> None:
    water = tagged_water()
    written(tmp_path / "a.xyz", [water], energy=-1 / 3)
    written(tmp_path / "a.extxyz", [water], energy=-1 / 3)
    assert (tmp_path / "a.xyz").read_bytes() == (tmp_path / "a.extxyz").read_bytes()


@pytest.mark.parametrize("ending", ["extxyz", "traj", "db"])
def test_odd_results_of_a_calculator_cost_no_other(tmp_path: Path, ending: str) -> None:
    water = molecule("H2O")
    [entry] = structures_from([water])
    water.calc = SinglePointCalculator(water, energy=-1 / 3, forces=np.ones((3, 3)) / 7)
    water.calc.results |= {
        "dipole": np.array([0.1, 0.2, 0.3]),
        "descriptors": np.zeros((3, 2, 2)),
        "model": print,
        "magmom": {1},
        "stress": "none",
    }
    path = tmp_path / f"out.{ending}"
    with pytest.warns(LeftOutWarning) as caught:
        write(path, [water], [entry], {})
    told = " ".join(str(warning.message) for warning in caught)
    for name in ("descriptors", "model", "magmom", "stress"):
        assert f"calc.results['{name}']" in told
    back: Any = ase.io.read(path)
    assert back.calc.results["energy"] == -1 / 3
    assert np.array_equal(back.calc.results["forces"], np.ones((3, 3)) / 7)
    assert np.array_equal(back.calc.results["dipole"], [0.1, 0.2, 0.3])


def test_an_energy_of_minus_zero_is_no_reason_to_be_without(tmp_path: Path) -> None:
    helium = Atoms("He", info={"list": [1, 2]})
    [back] = written(tmp_path / "a.db", [helium], energy=-0.0)
    assert back.get_potential_energy() == 0.0


@pytest.mark.parametrize("ending", ["extxyz", "xyz", "traj", "db", "csv"])
def test_what_cannot_even_be_copied_costs_only_itself(tmp_path: Path, ending: str) -> None:
    helium = Atoms("He", info={"id": "x"})
    [entry] = structures_from([helium])
    helium.info |= {"lock": threading.Lock(), "kept": 1}
    path = tmp_path / f"out.{ending}"
    if ending == "csv":
        assert write(path, [helium], [entry], {"id": ["x"]}) == 1
        return
    with pytest.warns(LeftOutWarning, match=r"left out info\['lock'\] \(lock\)"):
        assert write(path, [helium], [entry], {}) == 1


def test_a_table_quotes_all_line_ends(tmp_path: Path) -> None:
    import csv

    labels = ["a\rb", "a\nb", "a\r\nb", 'a"b', "a,b", "half \ud800"]
    write(tmp_path / "a.csv", [None] * 6, structures_from([Atoms("He")] * 6), {"id": labels})
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        assert [row["id"] for row in csv.DictReader(file)] == [*labels[:-1], "half ?"]


def test_what_seemed_plain_and_is_not_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No list of what is plain is complete."""
    from kups_relax.io import _content

    monkeypatch.setattr(_content, "_plain_value", lambda value: True)
    helium, neon = Atoms("He", info={"odd": print}), Atoms("Ne", info={"good": 1})
    with pytest.warns(LeftOutWarning, match=r"left out info\['odd'\]"):
        back = written(tmp_path / "a.extxyz", [helium, neon])
    assert [str(atoms.symbols) for atoms in back] == ["He", "Ne"]
    assert back[1].info["good"] == 1
