"""Tiles: what a lane holds, and nothing of what it held before."""

import jax
import numpy as np

import kups_relax as kr
from helpers import argon, argon_clusters, assert_same_bits
from kups_relax.potentials import Harmonic
from kups_relax.potentials._pairs import pack_pairs
from kups_relax.relaxation import SizeClass
from kups_relax.relaxation._tiles import Tile

SIZE = SizeClass(8, 8, (("bonds", 8), ("bonds_per_atom", 2)))


def prepared(n_atoms, potential, seed=0):
    [entry] = kr.io.structures_from(argon_clusters([n_atoms], seed=seed))
    return entry.positions, potential.prepare(entry)


def contents(tile):
    with jax.enable_x64(True):
        terms = tile.terms()
    return {
        "positions": tile.positions,
        "fresh": tile.fresh,
        "occupied": tile.occupied,
        "arrays": dict(terms.arrays),
        "counts": dict(terms.counts),
    }


def test_a_structure_stands_at_the_start_of_its_lane():
    tile = Tile(Harmonic(), SIZE, np.dtype("float64"))
    positions, terms = prepared(5, Harmonic())
    tile.put(3, positions, terms)
    got = contents(tile)
    assert np.array_equal(got["positions"][:, :5, 3], positions.T)
    assert not got["positions"][:, 5:, 3].any()
    assert not np.delete(got["positions"], 3, axis=-1).any()
    assert got["occupied"].tolist() == got["fresh"].tolist() == [i == 3 for i in range(8)]
    assert got["counts"]["atoms"].tolist() == [0, 0, 0, 5, 0, 0, 0, 0]
    assert got["counts"]["bonds"].tolist() == [0, 0, 0, 4, 0, 0, 0, 0]
    assert np.array_equal(got["arrays"]["bonds"][:4, :, 3], terms["bonds"])
    assert np.array_equal(got["arrays"]["bonds_of"][:5, :, 3], terms["bonds_of"])
    assert (np.asarray(got["arrays"]["bonds_of"])[5:, :, 3] == -1).all()


def test_pairs_are_stored_once():
    tile = Tile(argon(), SizeClass(8, 8), np.dtype("float64"))
    positions, terms = prepared(5, argon())
    tile.put(2, positions, terms)
    arrays = contents(tile)["arrays"]
    for name, matrix in terms.items():
        assert arrays[name].shape == (4, 8, 8)
        assert np.array_equal(arrays[name][..., 2], pack_pairs(matrix, 8))


def test_a_refilled_lane_holds_nothing_of_its_last_structure():
    for potential in (Harmonic(), argon()):
        used, new = (Tile(potential, SIZE, np.dtype("float64")) for _ in range(2))
        used.put(4, *prepared(8, potential, seed=1))
        used.free(4)
        assert not used.occupied.any()
        for tile in (used, new):
            tile.put(4, *prepared(3, potential, seed=2))
        assert_same_bits(contents(used), contents(new))


def test_terms_on_the_device_do_not_see_later_changes():
    tile = Tile(Harmonic(), SIZE, np.dtype("float64"))
    tile.put(0, *prepared(3, Harmonic()))
    terms = tile.terms()
    before = jax.tree.map(np.array, terms)
    tile.put(0, *prepared(8, Harmonic(), seed=1))
    tile.put(1, *prepared(8, Harmonic(), seed=2))
    assert_same_bits(terms, before)


def test_numbers_have_the_dtype_of_the_run():
    tile = Tile(argon(), SizeClass(8, 8), np.dtype("float32"))
    tile.put(0, *prepared(4, argon()))
    assert tile.positions.dtype == np.float32
    got = tile.terms()
    assert {array.dtype for array in got.arrays.values()} == {np.dtype("float32")}
    assert {count.dtype for count in got.counts.values()} == {np.dtype("int32")}
