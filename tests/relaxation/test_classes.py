"""Size classes: a function of the structure alone."""

import dataclasses
import itertools

import numpy as np
import pytest
from ase import Atoms

import kups_relax as kr
from helpers import argon, argon_cluster
from kups_relax.errors import CapacityError
from kups_relax.potentials import EMT, Field, Harmonic, LennardJones
from kups_relax.relaxation import axis_lengths, size_class
from kups_relax.relaxation._classes import atom_capacities, n_lanes

SIZES = [1, 2, 7, 8, 9, 16, 17, 24, 25, 33, 48, 49, 64, 65, 97, 100, 129, 200, 1000]


@dataclasses.dataclass(frozen=True)
class Bonded(LennardJones):
    """A potential with an axis of its own that is short at every capacity."""

    def capacities(self, n_atoms):
        return {"bonds": n_atoms // 2}


def test_capacities_grow_in_steps_of_at_most_a_half_beyond_the_smallest():
    capacities = atom_capacities(10_000)
    assert capacities[:9] == (8, 16, 24, 32, 48, 64, 96, 128, 192)
    for small, large in itertools.pairwise(capacities[1:]):
        assert small < large <= 1.5 * small


def test_a_structure_gets_the_smallest_capacity_that_holds_it():
    capacities = atom_capacities(10_000)
    for n in SIZES:
        got = size_class(argon(), n, {}).n_atoms
        assert got == min(c for c in capacities if c >= n)


def test_classes_grow_with_the_structure():
    classes = [size_class(argon(), n, {}) for n in SIZES]
    for one, other in itertools.pairwise(classes):
        assert one.n_atoms <= other.n_atoms
        assert one.n_lanes >= other.n_lanes


def test_lanes_fill_vector_units():
    for capacity in atom_capacities(10_000):
        lanes = n_lanes(capacity)
        # Alone, or as many as a vector unit takes and more.
        assert lanes == 1 or (lanes >= 16 and lanes * capacity >= 512)
        assert lanes & (lanes - 1) == 0


def test_the_class_does_not_depend_on_where_the_atoms_are():
    one, other = argon_cluster(13, 1), argon_cluster(13, 2)
    classes = set()
    for potential in (argon(), Harmonic()):
        for atoms in (one, other):
            [entry] = kr.io.structures_from(atoms)
            lengths = axis_lengths(potential, potential.prepare(entry))
            classes.add((potential.name, size_class(potential, 13, lengths)))
    assert len(classes) == 2


def test_lengths_of_named_axes_are_measured():
    [entry] = kr.io.structures_from(Atoms("H5", np.arange(15).reshape(5, 3)))
    lengths = axis_lengths(Harmonic(), Harmonic().prepare(entry))
    assert lengths == {"bonds": 4, "atoms": 5, "bonds_per_atom": 2}
    assert axis_lengths(argon(), argon().prepare(entry)) == {}


def test_an_axis_of_the_potential_can_need_a_larger_class():
    assert size_class(Bonded(), 8, {"bonds": 4}).n_atoms == 8
    assert size_class(Bonded(), 8, {"bonds": 5}).n_atoms == 16
    assert size_class(Bonded(), 8, {"bonds": 5}).capacities == (("bonds", 8),)


def test_an_axis_that_the_potential_does_not_name_gets_room_of_its_own():
    assert size_class(argon(), 3, {"atoms": 3, "other": 9}).capacities == (("other", 16),)
    assert size_class(argon(), 3, {"atoms": 3, "other": 16}).capacities == (("other", 24),)
    assert size_class(argon(), 3, {"atoms": 3, "other": 0}).capacities == (("other", 8),)


def test_lists_of_large_structures_are_padded_no_further_than_atoms():
    form = EMT()
    capacities = {n: dict(size_class(form, n, {"edges": 42 * n}).capacities) for n in (4000, 9000)}
    assert capacities == {4000: {"edges": 262144}, 9000: {"edges": 524288}}
    for n in (5000, 20_000, 70_000, 100_001):
        [(_, length)] = size_class(form, n, {"edges": 42 * n}).capacities
        assert 1.1 * 42 * n <= length <= 1.5 * 1.1 * 42 * n


def test_what_no_class_holds_is_refused():
    class Bounded(Bonded):
        def capacities(self, n_atoms):
            return {"bonds": 4}

    with pytest.raises(CapacityError, match=r"3 atoms with \{'bonds': 5\}"):
        size_class(Bounded(), 3, {"bonds": 5})


def test_equal_classes_are_one_key():
    assert size_class(argon(), 9, {}) == size_class(argon(), 16, {})
    assert len({size_class(argon(), n, {}) for n in (9, 13, 16, 17)}) == 2
    assert isinstance(argon().fields()["sigma2"], Field)
