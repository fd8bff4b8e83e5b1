"""Neighbours within the cutoff, brought together on the device, and forces without a scatter.

A list reaches further than the cutoff, so most of what it holds may be too far away to matter:
in silicon 16 are listed where 4 are near. Here those that are near move to the front of each
atom's row, in the order of the list, so that what follows loops over few slots. Which slots are
near is kept as bits of integers: the place of a slot among the near ones is a count of bits, so
that an atom finds what its neighbour does to it without a search.

Atoms of all lanes stand in one axis here, N = A L of them: what is done to each is the same, and
one long axis fills vector units where there are few lanes.

No bit of any result depends on the list: an atom's near neighbours and their order are those of
the positions, and whatever loops over more slots than an atom has adds 0 for it.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kups_relax.data import Structure
from kups_relax.neighbors import neighbor_list, neighbor_matrix
from kups_relax.ops import fold
from kups_relax.potentials._base import Field, Terms
from kups_relax.potentials._neighbor_sums import virial
from kups_relax.potentials._triplets import pick

# Slots of each atom at a time. Widths are multiples of it.
CHUNK = 4


@dataclasses.dataclass(frozen=True)
class Slots:
    """Some slots of every atom.

    Attributes:
        vector: (3, n, N), from the atom to its neighbour, Angstrom.
        real: (n, N) bool: there is a neighbour.
        species: (n, N) int32, of the neighbour.
    """

    vector: jax.Array
    real: jax.Array
    species: jax.Array

    def polar(self) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Distance (n, N), its inverse, and the unit vector; 1 where there is no neighbour."""
        d = self.vector
        r2 = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
        r = jnp.sqrt(jnp.where(self.real, r2, 1.0))
        inverse = 1.0 / r
        return r, inverse, d * inverse


@dataclasses.dataclass(frozen=True)
class Near:
    """The near neighbours of every atom, in slots; W slots have room.

    Attributes:
        vectors: (3, W, N), Angstrom.
        neighbor: (W, N) int32, each slot's neighbour, a number below N.
        back: (W, N) int32, the slot in which that neighbour has the atom.
        species: (N,) int32, of the atoms.
        counts: (N,) int32, near neighbours of each atom.
        n: () int32, slots that any atom needs.
    """

    vectors: jax.Array
    neighbor: jax.Array
    back: jax.Array
    species: jax.Array
    counts: jax.Array
    n: jax.Array

    @property
    def n_chunks(self) -> jax.Array:
        """() int32."""
        return (self.n + jnp.int32(CHUNK - 1)) // jnp.int32(CHUNK)

    def take(self, first: jax.Array, n: int = CHUNK) -> Slots:
        """Slots first .. first + n of every atom."""
        return Slots(
            part(self.vectors, first, n),
            self.real(first, n),
            _take(self.species, part(self.neighbor, first, n)),
        )

    def real(self, first: jax.Array, n: int = CHUNK) -> jax.Array:
        """(n, N) bool: there are neighbours in slots first .. first + n."""
        return first + jnp.arange(n, dtype=jnp.int32)[:, None] < self.counts

    def forces(self, slopes: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Turn slopes in the vectors into forces: an atom is pushed by both ends of its pairs.

        Args:
            slopes: (3, W, N), derivative of the energy in each vector, eV/Angstrom; 0 where there
                is no neighbour.

        Returns:
            Forces (3, N), and the derivative by the strain (6, N), eV.
        """
        n_atoms = len(self.counts)
        flat = slopes.reshape(3, -1)
        atom = jnp.arange(n_atoms, dtype=jnp.int32)

        def add(c: jax.Array, sums: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            first = c * jnp.int32(CHUNK)
            real = self.real(first)
            neighbor, back = part(self.neighbor, first), part(self.back, first)
            there = _take(flat, back * n_atoms + neighbor)
            here, d = part(slopes, first), part(self.vectors, first)
            # An atom's own images move with it: they strain the cell, and do not push it.
            push = jnp.where(real & (neighbor != atom), here - there, 0.0)
            strained = jnp.where(real, (virial(here, d) + virial(d, here)) * 0.5, 0.0)
            return in_turn(sums[0], push), in_turn(sums[1], strained)

        start = tuple(jnp.zeros((n, n_atoms), slopes.dtype) for n in (3, 6))
        return lax.fori_loop(jnp.int32(0), self.n_chunks, add, start)


def part(x: jax.Array, first: jax.Array, n: int = CHUNK) -> jax.Array:
    """Slots first .. first + n of (..., W, N)."""
    return lax.dynamic_slice_in_dim(x, first, n, axis=x.ndim - 2)


def put(x: jax.Array, first: jax.Array, value: jax.Array) -> jax.Array:
    """Write slots of (..., W, N), from the first on."""
    return lax.dynamic_update_slice_in_dim(x, value, first, axis=x.ndim - 2)


def in_turn(total: jax.Array, terms: jax.Array) -> jax.Array:
    """Add (..., n, N) to (..., N), one after the other."""
    for k in range(terms.shape[-2]):
        total = total + terms[..., k, :]
    return total


def _take(x: jax.Array, index: jax.Array) -> jax.Array:
    """(..., *index.shape): take from the last axis, which is fast for one row at a time."""
    if x.ndim > 1:
        return jnp.stack([_take(row, index) for row in x])
    return x.at[index].get(mode="promise_in_bounds")


def near_fields() -> Mapping[str, Field]:
    """How the arrays of `near_arrays` are laid out."""
    return {
        "species": Field(("atoms",), "int"),
        "neighbor": Field(("neighbors", "atoms"), "int", -1),
        "shift": Field(("neighbors", 3, "atoms"), "int"),
        "reverse": Field(("neighbors", "atoms"), "int", -1),
    }


def near_arrays(
    structure: Structure, species: np.ndarray, cutoffs: np.ndarray, skin: float
) -> Mapping[str, np.ndarray]:
    """List the neighbours of a structure, on the host.

    Args:
        structure: Any.
        species: (n_atoms,) int, rows of `cutoffs`.
        cutoffs: (n, n), symmetric, Angstrom; 0 for pairs that have none.
        skin: Angstrom.

    Raises:
        StructureError: The cell makes no sense.
    """
    # A little more than the skin, for positions that the run rounds.
    skin = 1.001 * skin + 1e-5
    i, j, shifts = neighbor_list(
        structure.positions,
        structure.cell,
        structure.pbc,
        float(cutoffs.max()) + skin,
        label=structure.id,
    )
    if (cutoffs != cutoffs[0, 0]).any():
        vectors = structure.positions[j] - structure.positions[i] + shifts @ structure.cell
        # Generous enough that a pair is listed from both sides.
        reach = cutoffs[species[i], species[j]] * (1 + 1e-9) + skin
        kept = np.linalg.norm(vectors, axis=1) < reach
        i, j, shifts = i[kept], j[kept], shifts[kept]
    matrix = neighbor_matrix(i, j, shifts, structure.n_atoms)
    return {
        "species": species,
        "neighbor": matrix.neighbor.T,
        "shift": np.moveaxis(matrix.shift, 0, 2),
        "reverse": matrix.reverse.T,
    }


def near(positions: jax.Array, cell: jax.Array, terms: Terms, cutoffs: np.ndarray) -> Near:
    """Find who is near, among those that are listed.

    Args:
        positions: (3, A, L), Angstrom.
        cell: (3, 3, L), Angstrom.
        terms: With the arrays of `near_fields`.
        cutoffs: (n, n), symmetric, Angstrom.
    """
    width, atoms, lanes = terms["neighbor"].shape
    n = atoms * lanes
    lane = jnp.arange(n, dtype=jnp.int32) % jnp.int32(lanes)
    neighbor = terms["neighbor"].reshape(width, n)
    listed = jnp.maximum(neighbor, 0) * jnp.int32(lanes) + lane
    species = terms["species"].reshape(n)
    positions = positions.reshape(3, n)
    shift = terms["shift"].reshape(width, 3, n).astype(positions.dtype)
    cell = jnp.broadcast_to(cell[:, :, None], (3, 3, atoms, lanes)).reshape(3, 3, n)
    d = _take(positions, listed) - positions[:, None]
    d = d + jnp.stack([fold(jnp.moveaxis(shift, 1, 0) * cell[:, k, None]) for k in range(3)])
    r2 = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    squared = pick(cutoffs * cutoffs, species, _take(species, listed))
    # What is not a number is near: it must be seen in the energy.
    words = _words((neighbor >= 0) & ~(r2 >= squared))
    counts = jnp.stack([lax.population_count(word).astype(jnp.int32) for word in words])
    counts = jnp.sum(counts, axis=0, dtype=jnp.int32)
    reverse = jnp.maximum(terms["reverse"].reshape(width, n), 0).reshape(-1)
    most = jnp.max(counts)
    atom = jnp.arange(n, dtype=jnp.int32)

    def move(k: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        left, vectors, others, back = carry
        slot, left = _pop(left)
        at = slot * n + atom
        other = _take(listed.reshape(-1), at)
        rank = _rank(_take(words, other), _take(reverse, at))
        vectors = put(vectors, k, _take(d.reshape(3, -1), at)[:, None])
        return left, vectors, put(others, k, other[None]), put(back, k, rank[None])

    rows = jnp.zeros((width, n), jnp.int32)
    start = (words, jnp.zeros_like(d), rows, rows)
    _, vectors, others, back = lax.fori_loop(jnp.int32(0), most, move, start)
    return Near(vectors, others, back, species, counts, most)


_BITS = 32


def _words(flags: jax.Array) -> jax.Array:
    """(W, N) bool to (W / 32, N) uint32."""
    words = []
    for first in range(0, len(flags), _BITS):
        word = jnp.zeros(flags.shape[1], jnp.uint32)
        for bit, flag in enumerate(flags[first : first + _BITS]):
            word = word | jnp.where(flag, jnp.uint32(1 << bit), jnp.uint32(0))
        words.append(word)
    return jnp.stack(words)


def _pop(words: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Number of the lowest bit, 0 if there is none, and the words without it."""
    slot, left, found = jnp.zeros(words.shape[1:], jnp.int32), [], None
    for k, word in enumerate(words):
        lowest = word & (~word + jnp.uint32(1))
        here = word != 0 if found is None else (word != 0) & ~found
        number = lax.population_count(lowest - jnp.uint32(1)).astype(jnp.int32)
        slot = jnp.where(here, number + jnp.int32(k * _BITS), slot)
        left.append(jnp.where(here, word ^ lowest, word))
        found = word != 0 if found is None else found | (word != 0)
    return slot, jnp.stack(left)


def _rank(words: jax.Array, slot: jax.Array) -> jax.Array:
    """How many bits there are below a slot."""
    rank = jnp.zeros_like(slot)
    for k, word in enumerate(words):
        below = jnp.clip(slot - jnp.int32(k * _BITS), 0, _BITS)
        # A shift by all bits is not defined.
        mask = (jnp.uint32(1) << jnp.minimum(below, _BITS - 1).astype(jnp.uint32)) - jnp.uint32(1)
        mask = jnp.where(below == _BITS, jnp.uint32(0xFFFFFFFF), mask)
        rank = rank + lax.population_count(word & mask).astype(jnp.int32)
    return rank
