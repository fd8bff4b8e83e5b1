"""Which atoms are bonded, of structures that are known."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene, molecule
from internal_cases import argon_crystal, structure_of, water_dimer

from kups_relax.internals._bonds import (
    bonds_of,
    contacts,
    endless,
    fragments,
    has_directed_bonds,
    pairs_within,
)

OCTAHEDRON = 1.56 * np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)])


@pytest.mark.parametrize(
    ("name", "n_bonds"),
    [
        ("CH3CH2OH", 8),
        ("C6H6", 12),
        ("BF3", 3),
        ("C3H4_D2d", 6),
        ("C3H4_C3v", 6),
        ("bicyclobutane", 11),
        ("CO2", 2),
        ("H2", 1),
        ("LiF", 1),
        ("SF6", 6),
        ("He", 0),
    ],
)
def test_molecules_have_the_bonds_that_are_drawn(name, n_bonds):
    known = {"SF6": Atoms("SF6", OCTAHEDRON), "He": Atoms("He")}
    bonds = bonds_of(structure_of(known.get(name) or molecule(name)))
    assert bonds.once.sum() == n_bonds
    assert len(bonds.i) == 2 * n_bonds


def test_each_bond_is_listed_from_both_ends():
    for atoms in (molecule("C6H6"), bulk("Si"), bulk("Cu"), graphene(vacuum=5.0)):
        bonds = bonds_of(structure_of(atoms))
        ahead = {(i, j, *s) for i, j, s in zip(bonds.i, bonds.j, bonds.shifts, strict=True)}
        back = {(j, i, *-s) for i, j, s in zip(bonds.i, bonds.j, bonds.shifts, strict=True)}
        assert ahead == back
        assert bonds.once.sum() * 2 == len(bonds.i)
        assert np.allclose(bonds.lengths, np.linalg.norm(bonds.vectors, axis=1))


def test_a_stretched_bond_joins_what_it_would_leave_apart():
    # Radii of 0.66 and 0.31: bonded below 1.26, joined below 1.65.
    for distance, n_bonds in [(0.96, 2), (1.4, 2), (1.8, 1)]:
        water = Atoms("OH2", [[0, 0, 0], [0, 0, -0.96], [0, distance, 0.2]])
        bonds = bonds_of(structure_of(water))
        assert bonds.once.sum() == n_bonds


def test_a_ring_with_a_stretched_bond_is_left_open():
    atoms = molecule("C6H6")
    atoms.positions[0] *= 1.25
    atoms.positions[6] *= 1.25
    structure = structure_of(atoms)
    ratio = atoms.get_distance(0, 1) / 1.52
    assert 1.0 < ratio < 1.3
    assert bonds_of(structure).once.sum() == 12
    atoms.positions[0] *= 1.3
    atoms.positions[6] *= 1.2
    opened = bonds_of(structure_of(atoms))
    assert fragments(12, opened).max() == 0


@pytest.mark.parametrize(
    ("atoms", "directed"),
    [
        (molecule("C6H6"), True),
        (bulk("Si", cubic=True), True),
        (bulk("Cu", cubic=True), False),
        (bulk("Fe", cubic=True), False),
        (argon_crystal(), False),
        (Atoms("He"), False),
        (water_dimer(), True),
        (graphene(vacuum=5.0), True),
        (bulk("NaCl", "rocksalt", a=5.64, cubic=True), False),
    ],
    ids=str,
)
def test_metals_salts_and_rare_gases_are_packed_and_others_are_not(atoms, directed):
    structure = structure_of(atoms)
    assert has_directed_bonds(structure, bonds_of(structure)) is directed


def test_networks_are_endless_and_molecules_in_a_cell_are_not():
    for atoms, expected in [(bulk("Si"), True), (graphene(vacuum=5.0), True)]:
        structure = structure_of(atoms)
        assert (endless(structure.n_atoms, bonds_of(structure)) == expected).all()
    inside = molecule("CH3CH2OH", cell=[9, 9, 9], pbc=True)
    # Cut by the faces of the cell, it is still no more than itself.
    inside.wrap()
    structure = structure_of(inside)
    assert not endless(structure.n_atoms, bonds_of(structure)).any()
    chain = Atoms("C2", [[0, 0, 0], [1.3, 0, 0]], cell=[2.6, 9, 9], pbc=True)
    chain += Atoms("H2", [[0, 5, 5], [0.74, 5, 5]])
    structure = structure_of(chain)
    assert endless(4, bonds_of(structure)).tolist() == [True, True, False, False]


def test_stretched_bonds_join_many_fragments_as_if_one_after_the_other():
    random = np.random.default_rng(0)
    for seed in range(20):
        atoms = Atoms("C30", random.uniform(0, 9 + seed / 4, (30, 3)), cell=[14] * 3, pbc=seed % 2)
        structure = structure_of(atoms)
        radius = 0.76
        near = pairs_within(structure, 1.7 * 2 * radius)
        ratio = near.lengths / (2 * radius)
        chosen = ratio < 1.3
        while has_directed_bonds(structure, near.take(chosen)):
            parts = fragments(30, near.take(chosen))
            apart = parts[near.i] != parts[near.j]
            if not apart.any():
                break
            chosen |= apart & (ratio == ratio[apart].min())
        bonds = bonds_of(structure)
        for name in ("i", "j", "shifts"):
            assert np.array_equal(getattr(bonds, name), getattr(near.take(chosen), name))


def test_contacts_are_the_shortest_ways_between_fragments():
    structure = structure_of(water_dimer())
    bonds = bonds_of(structure)
    assert fragments(6, bonds).tolist() == [0, 0, 0, 1, 1, 1]
    near = contacts(structure, bonds)
    between = pairs_within(structure, 5.0)
    between = between.take(between.once & ((between.i < 3) != (between.j < 3)))
    shortest = between.lengths.min()
    expected = sorted(r for r in between.lengths if r < shortest + 0.7)[:6]
    assert sorted(near.lengths) == expected
    alone = structure_of(molecule("C6H6"))
    assert contacts(alone, bonds_of(alone)).i.size == 0


def test_fragments_too_far_apart_have_no_contacts():
    atoms = water_dimer()
    atoms.positions[3:] += [0, 0, 4.0]
    structure = structure_of(atoms)
    assert contacts(structure, bonds_of(structure)).i.size == 0
