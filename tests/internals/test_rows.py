"""Rows of structures that are known, and the lists by which they are added up."""

import collections
import dataclasses
import itertools

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from internal_cases import argon_crystal, counted, guide_for, rows_of, structure_of, water_dimer

from kups_relax.errors import CapacityError
from kups_relax.internals import Guide, _rows
from kups_relax.internals._bonds import bonds_of
from kups_relax.internals._rows import (
    BEND,
    LINEAR,
    N_ATOMS,
    PYRAMID,
    STRETCH,
    TORSION,
    packed_rows,
)
from kups_relax.relaxation import axis_lengths

# Stretches, bends, rows that hold a straight angle, torsions, pyramids.
KINDS = (STRETCH, BEND, LINEAR, TORSION, PYRAMID)
KNOWN = {
    "H2O": (2, 1, 0, 0, 0),
    "CH3CH2OH": (8, 13, 0, 12, 0),
    # Six C-C bonds with four torsions each.
    "C6H6": (12, 18, 0, 24, 6),
    "BF3": (3, 3, 0, 0, 1),
    "NH3": (3, 3, 0, 0, 1),
    # Four torsions of allene's ends about the line of its straight angle.
    "C3H4_D2d": (6, 7, 3, 4, 2),
    # Bends of CH3: 6, and two straight ones; nothing turns about the line, as H is on it.
    "C3H4_C3v": (6, 8, 6, 0, 0),
    "C2H2": (3, 2, 6, 0, 0),
    "CO2": (2, 1, 3, 0, 0),
    "H2": (1, 0, 0, 0, 0),
}


@pytest.mark.parametrize("name", KNOWN)
def test_molecules_have_the_rows_that_are_known(name):
    count = counted(rows_of(molecule(name)))
    assert tuple(count.get(kind, 0) for kind in KINDS) == KNOWN[name]


def test_fragments_are_held_by_contacts():
    rows = rows_of(water_dimer())
    count = counted(rows)
    soft = rows.strength == 0.2
    assert count[STRETCH] == 4 + soft.sum()
    assert 1 <= soft.sum() <= 6
    assert {tuple(i < 3) for i in rows.index[soft, :2]} == {(True, False)}
    assert (rows.decay[soft] == 0).all()


def test_a_network_has_no_torsions():
    count = counted(rows_of(bulk("Si", cubic=True)))
    assert count == {STRETCH: 16, BEND: 8 * 6}


def test_torsions_about_a_bond_share_one_stiffness():
    rows = rows_of(molecule("C2H6"))
    torsions = rows.kind == TORSION
    total = rows.strength[torsions].sum()
    assert torsions.sum() == 9
    rows = rows_of(molecule("H2O2"))
    assert rows.strength[rows.kind == TORSION].sum() == pytest.approx(total)


@pytest.mark.parametrize("make", [lambda: bulk("Cu", cubic=True), argon_crystal], ids=["Cu", "Ar"])
def test_packed_crystals_have_all_near_pairs(make):
    atoms = make()
    rows, spacing = packed_rows(structure_of(atoms))
    nearest = atoms.cell.lengths()[0] / np.sqrt(2)
    assert spacing == pytest.approx(nearest)
    assert (rows.kind == STRETCH).all()
    # Shells of fcc below two distances of neighbours, 12 + 6 + 24, and that at it by rounding, 12.
    assert len(rows.kind) in (4 * 42 // 2, 4 * 54 // 2)
    guide, arrays = guide_for(atoms)
    assert not guide.bonded
    assert guide.periodic
    assert arrays["longest"] == pytest.approx(0.13 * nearest)


def test_small_packed_clusters_have_all_pairs():
    x = 3.8 * np.array(list(itertools.product(range(4), range(2), range(1))), float)
    rows, spacing = packed_rows(structure_of(Atoms("Ar8", x)))
    assert spacing == pytest.approx(3.8)
    assert len(rows.kind) == 28
    assert len(packed_rows(structure_of(Atoms("Ar")))[0].kind) == 0


def _far_apart() -> dict[str, Atoms]:
    """Structures in which what is near is not told by the size of the cell, nor by the atoms."""
    far = np.random.default_rng(0).uniform(0, 1e6, (500, 3))
    droplet = bulk("Ar", a=5.3, cubic=True) * (4, 4, 4)
    droplet.pbc = False
    return {
        "one atom, periodic along one axis": Atoms("Si", cell=[2e4] * 3, pbc=[0, 0, 1]),
        "one atom, periodic along all": Atoms("Si", cell=[2e4] * 3, pbc=True),
        "a layer": Atoms("Si", cell=[3.0, 3.0, 2e4], pbc=[1, 1, 0]),
        "a thin cell": Atoms("Ar2", [[0, 0, 0], [0, 1.5, 1e4]], cell=[0.3, 3, 2e4], pbc=True),
        "a skewed cell": Atoms("Si", cell=[[3, 0, 0], [40, 3, 0], [0, 3, 30]], pbc=True),
        "a skewed layer": Atoms(
            "Ar2", [[0] * 3, [0, 0, 4]], cell=[[3, 0, 0], [40, 3, 0], [0] * 3], pbc=[1, 1, 0]
        ),
        "a gas": Atoms("Ar500", far),
        "a gas in a cell": Atoms("Ar500", far, cell=[1e6] * 3, pbc=True),
        "a droplet and a gas": droplet + Atoms("Ar250", 1e3 + far[:250] / 100),
    }


@pytest.mark.parametrize("name", _far_apart())
def test_rows_grow_with_the_atoms_however_far_apart_they_are(name):
    atoms = _far_apart()[name]
    guide, arrays = guide_for(atoms)
    assert not guide.bonded
    assert len(arrays["strength"]) <= 64 * len(atoms)
    assert arrays["uses"].shape[1] <= 128


def test_atoms_that_stand_too_unevenly_are_refused_with_what_they_would_take(monkeypatch):
    monkeypatch.setattr(_rows, "_MOST_PAIRS", 10)
    cluster = bulk("Ar", a=5.3, cubic=True) * (3, 3, 3)
    cluster.pbc = False
    gas = Atoms("Ar300", np.random.default_rng(0).uniform(1e3, 1e4, (300, 3)))
    atoms = cluster + gas
    atoms.info["id"] = "smoke"
    with pytest.raises(CapacityError, match=r"'smoke': .* GiB, and at most 10 an atom .*'lbfgs'"):
        packed_rows(structure_of(atoms))


def crystals():
    cases = {name: molecule(name) for name in ("CH3CH2OH", "C6H6", "C3H4_D2d", "bicyclobutane")}
    cases |= {"Si2": bulk("Si"), "Si8": bulk("Si", cubic=True), "Cu": bulk("Cu")}
    return cases | {"Cu4": bulk("Cu", cubic=True), "dimer": water_dimer(), "atom": Atoms("He")}


@pytest.mark.parametrize("name", crystals())
def test_lists_are_those_of_a_count(name):
    atoms = crystals()[name]
    guide, arrays = guide_for(atoms)
    structure = structure_of(atoms)
    rows = rows_of(atoms) if guide.bonded else packed_rows(structure)[0]
    n, n_atoms = guide.n_slots, len(atoms)
    uses = collections.defaultdict(list)
    couples = collections.Counter()
    products = list(itertools.combinations(range(n), 2))
    for row, kind in enumerate(rows.kind):
        for slot in range(N_ATOMS[kind]):
            uses[rows.index[row, slot]].append(row * n + slot)
        for a, b in itertools.combinations(range(N_ATOMS[kind]), 2):
            i, j = rows.index[row, a], rows.index[row, b]
            if i != j:
                couples[max(i, j), min(i, j), row, frozenset([a, b])] += 1
    for atom, listed in enumerate(arrays["uses"]):
        assert [k for k in listed if k >= 0] == uses[atom]

    got = collections.Counter()
    couple = arrays["couple"]
    for i, j in itertools.product(range(n_atoms), repeat=2):
        if couple[i, j] < 0:
            continue
        assert i > j
        for share in arrays["couples"][couple[i, j]]:
            if share < 0:
                continue
            row, product = divmod(share, 2 * len(products))
            a, b = products[product % len(products)]
            # Past the first half stand the transposed products.
            first, second = (a, b) if product < len(products) else (b, a)
            assert (rows.index[row, first], rows.index[row, second]) == (i, j)
            got[i, j, row, frozenset([a, b])] += 1
    assert got == couples
    used = [k for k in couple.reshape(-1) if k >= 0]
    assert sorted(used) == list(range(len(used)))


def test_arrays_fit_the_fields_and_the_room_there_is():
    for atoms in crystals().values():
        guide, arrays = guide_for(atoms)
        assert set(arrays) == set(guide.fields())
        for name, field in guide.fields().items():
            assert arrays[name].ndim == len(field.axes), name
        room = guide.capacities(16, axis_lengths(guide, arrays))
        assert all(room[a] >= n for a, n in axis_lengths(guide, arrays).items() if a != "atoms")


def test_all_axes_grow_together_so_that_there_are_few_programs():
    guide = Guide(bonded=True, dense=True, periodic=False)
    usual = {"internals": 48, "couples": 20, "uses": 64, "shares": 32}
    assert guide.capacities(8, usual) == usual | {"couples": 28}
    assert guide.capacities(8, usual | {"uses": 65}) == {
        "internals": 96,
        "couples": 28,
        "uses": 128,
        "shares": 64,
    }
    few = dataclasses.replace(guide, dense=False)
    assert few.capacities(8, {"internals": 49, "uses": 1}) == {"internals": 96, "uses": 128}


def test_bonds_between_images_of_one_atom_stretch_the_cell_alone():
    structure = structure_of(bulk("Cu"))
    assert not (bonds_of(structure).i != bonds_of(structure).j).any()
    _, arrays = guide_for(bulk("Cu"))
    assert (arrays["couple"] == -1).all()
