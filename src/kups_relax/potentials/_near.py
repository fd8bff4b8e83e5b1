"""Neighbours within the cutoff, brought together on the device, and forces without a scatter.

A list reaches further than the cutoff, so most of what it holds may be too far away to matter:
in silicon 16 are listed where 4 are near. Here those that are near move to the front of each
atom's row, in the order of the list, so that what follows loops over few slots.

How data flows: `near_arrays` lists on the host; `near` finds the near ones; `Near.map` asks a
potential for what each bond gives, and `Near.over_others` adds up what the other neighbours of the
same atom do to a bond; `Near.collect` makes forces of slopes, by a gather.

Atoms of all lanes stand in one axis here, N = A L of them: what is done to each is the same, and
one long axis fills vector units where there are few lanes.

No bit of any result depends on the list: an atom's near neighbours and their order are those of
the positions, and whatever loops over more slots than an atom has adds 0 for it.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kups_relax.data import Field, Structure, Terms
from kups_relax.neighbors import neighbor_matrix, reverse_slots
from kups_relax.potentials._neighbor_sums import (
    LIST_FIELDS,
    find_pairs,
    image_offsets,
    list_arrays,
    virial,
)
from kups_relax.potentials._triplets import pick

# Slots of each atom at a time. Widths are multiples of it.
_CHUNK = 4


@dataclasses.dataclass(frozen=True)
class Slots:
    """Some slots of every atom.

    Attributes:
        number: (n, 1) int32, which slots.
        real: (n, N) bool: there is a neighbour.
        r: (n, N), its distance, Angstrom; 1 where there is none.
        u: (3, n, N), unit vector towards it; 0 where there is none.
        species: (n, N) int32, of the neighbour.
    """

    number: jax.Array
    real: jax.Array
    r: jax.Array
    u: jax.Array
    species: jax.Array

    def part(self, x: jax.Array) -> jax.Array:
        """These slots of (..., W, N)."""
        return _part(x, self.number[0, 0], len(self.number))


@dataclasses.dataclass(frozen=True)
class Near:
    """The near neighbours of every atom, in slots; W slots have room.

    Attributes:
        r: (W, N), distances, Angstrom.
        u: (3, W, N), unit vectors to the neighbours.
        neighbor: (W, N) int32, each slot's neighbour, a number below N.
        back: (W, N) int32, the slot in which that neighbour has the atom.
        species: (N,) int32, of the atoms.
        counts: (N,) int32, near neighbours of each atom.
        n: () int32, slots that any atom needs.
    """

    r: jax.Array
    u: jax.Array
    neighbor: jax.Array
    back: jax.Array
    species: jax.Array
    counts: jax.Array
    n: jax.Array

    def take(self, first: jax.Array, n: int) -> Slots:
        """Slots first .. first + n of every atom."""
        number = first + jnp.arange(n, dtype=jnp.int32)[:, None]
        r, u, neighbor = (_part(x, first, n) for x in (self.r, self.u, self.neighbor))
        return Slots(number, number < self.counts, r, u, _take(self.species, neighbor))

    def map(
        self, function: Callable[[Slots], tuple[jax.Array, ...]], n_components: Sequence[int]
    ) -> tuple[jax.Array, ...]:
        """Compute something for every slot, some slots at a time.

        Args:
            function: Slots -> one array (m, n, N) for each number m of `n_components`,
                elementwise.
            n_components: How many numbers of each kind a slot gets.

        Returns:
            (m, W, N) for each kind; 0 where there is no neighbour.
        """

        def compute(first: jax.Array, out: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            slots = self.take(first, _CHUNK)
            got = [jnp.where(slots.real, x, 0.0) for x in function(slots)]
            return tuple(map(partial(_put, first=first), out, got))

        start = tuple(jnp.zeros((m, *self.r.shape), self.r.dtype) for m in n_components)
        return self._in_chunks(compute, start)

    def over_others(
        self, slots: Slots, function: Callable[[Slots], jax.Array], start: jax.Array
    ) -> jax.Array:
        """Add what the other neighbours of the same atom do to slots, one after the other.

        Args:
            slots: The bonds to which something is done.
            function: One slot k of every atom -> (..., n, N), what it does to each.
            start: (..., n, N), to which it is added.
        """

        def add(k: jax.Array, total: jax.Array) -> jax.Array:
            other = self.take(k, 1)
            apart = slots.real & other.real & (slots.number != k)
            return total + jnp.where(apart, function(other), 0.0)

        return lax.fori_loop(jnp.int32(0), self.n, add, start)

    def collect(
        self, energies: jax.Array, slopes: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Turn what bonds give into what atoms have: both ends of a pair push.

        Args:
            energies: (1, W, N), each slot's share of its atom's energy, eV; 0 where there is no
                neighbour.
            slopes: (3, W, N), the derivative of the atom's energy by the vector to the neighbour,
                eV/Angstrom; 0 where there is no neighbour.

        Returns:
            Energies (1, N), forces (3, N), and the derivative by the strain (6, N), eV.
        """
        n_atoms = len(self.counts)
        flat = slopes.reshape(3, -1)
        atom = jnp.arange(n_atoms, dtype=jnp.int32)

        def add(first: jax.Array, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            slots = self.take(first, _CHUNK)
            neighbor, back = slots.part(self.neighbor), slots.part(self.back)
            here, there = slots.part(slopes), _take(flat, back * jnp.int32(n_atoms) + neighbor)
            # An atom's own images move with it: they strain the cell, and do not push it.
            push = jnp.where(slots.real & (neighbor != atom), here - there, 0.0)
            d = slots.r * slots.u
            strained = (virial(here, d) + virial(d, here)) * 0.5
            return tuple(map(_in_turn, sums, (slots.part(energies), push, strained)))

        start = tuple(jnp.zeros((m, n_atoms), slopes.dtype) for m in (1, 3, 6))
        return self._in_chunks(add, start)

    def _in_chunks(self, body: Callable[..., Any], start: Any) -> Any:
        """Loop over the first slot of each chunk that any atom needs."""
        n_chunks = (self.n + jnp.int32(_CHUNK - 1)) // jnp.int32(_CHUNK)
        return lax.fori_loop(
            jnp.int32(0), n_chunks, lambda c, carry: body(c * jnp.int32(_CHUNK), carry), start
        )


def _part(x: jax.Array, first: jax.Array, n: int) -> jax.Array:
    """Slots first .. first + n of (..., W, N)."""
    return lax.dynamic_slice_in_dim(x, first, n, axis=x.ndim - 2)


def _put(x: jax.Array, value: jax.Array, first: jax.Array) -> jax.Array:
    """Write slots of (..., W, N), from the first on."""
    return lax.dynamic_update_slice_in_dim(x, value, first, axis=x.ndim - 2)


def _in_turn(total: jax.Array, terms: jax.Array) -> jax.Array:
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
        **LIST_FIELDS,
        "species": Field(("atoms",), "int"),
        "reverse": Field(("neighbors", "atoms"), "int", -1),
    }


def near_arrays(
    structure: Structure, species: np.ndarray, cutoff: float, skin: float
) -> Mapping[str, np.ndarray]:
    """List the neighbours of a structure, on the host.

    Args:
        structure: Any.
        species: (n_atoms,) int, from 0.
        cutoff: The longest, Angstrom.
        skin: Angstrom.

    Raises:
        StructureError: The cell makes no sense.
        CapacityError: An atom has so many neighbours that rows of that length are too many.
    """
    i, j, shifts = find_pairs(structure, cutoff, skin)
    matrix = neighbor_matrix(i, j, shifts, structure.n_atoms, label=structure.id)
    reverse = reverse_slots(i, j, shifts, *matrix.neighbor.shape)
    return {**list_arrays(matrix), "species": species, "reverse": reverse.T}


def near(positions: jax.Array, cell: jax.Array, terms: Terms, cutoffs: np.ndarray) -> Near:
    """Find who is near, among those that are listed.

    Args:
        positions: (3, A, L), Angstrom.
        cell: (3, 3, L), Angstrom.
        terms: With the arrays of `near_fields`.
        cutoffs: (n, n), how far each two species see each other, symmetric, Angstrom.
    """
    width, atoms, lanes = terms["neighbor"].shape
    n = atoms * lanes
    lane = jnp.arange(n, dtype=jnp.int32) % jnp.int32(lanes)
    neighbor = terms["neighbor"].reshape(width, n)
    listed = jnp.maximum(neighbor, 0) * jnp.int32(lanes) + lane
    species = terms["species"].reshape(n)
    positions = positions.reshape(3, n)
    image = terms["image"].reshape(width, n) * jnp.int32(lanes) + lane
    d = _take(positions, listed) - positions[:, None]
    d = d + _take(image_offsets(cell, terms).reshape(3, -1), image)
    squared = pick(cutoffs * cutoffs, species, _take(species, listed))
    # What is not a number is near: it must be seen in the energy.
    inside = (neighbor >= 0) & ~(_squared(d) >= squared)
    following, before, counts = _links(inside)
    most = jnp.max(counts)
    atom = jnp.arange(n, dtype=jnp.int32)
    reverse = jnp.maximum(terms["reverse"].reshape(width, n), 0)

    def move(k: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        slot, *rows = carry
        at = jnp.minimum(slot, jnp.int32(width - 1)) * jnp.int32(n) + atom
        slot = _take(following.reshape(-1), at)
        real = k < counts
        at = jnp.minimum(slot, jnp.int32(width - 1)) * jnp.int32(n) + atom
        other = _take(listed.reshape(-1), at)
        mirror = _take(reverse.reshape(-1), at) * jnp.int32(n) + other
        back = jnp.where(real, _take(before.reshape(-1), mirror), 0)
        vector = jnp.where(real, _take(d.reshape(3, -1), at), 0.0)
        r = jnp.sqrt(jnp.where(real, _squared(vector), 1.0))
        found = (r, vector / r, other, back)
        return slot + jnp.int32(1), *(
            _put(x, y[..., None, :], k) for x, y in zip(rows, found, strict=True)
        )

    rows = jnp.zeros((width, n), jnp.int32)
    start = (jnp.zeros(n, jnp.int32), jnp.ones_like(d[0]), jnp.zeros_like(d), rows, rows)
    _, r, u, others, back = lax.fori_loop(jnp.int32(0), most, move, start)
    return Near(r, u, others, back, species, counts, most)


def _links(inside: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """For each slot, of (W, N) bool, the first inside from it on (or W), and how many before it.

    And (N,) how many there are.
    """

    def link(carry: tuple[jax.Array, ...], slot: Any) -> tuple[Any, Any]:
        following, left = carry
        number, here = slot
        row = jnp.where(here, number, following), left + here.astype(jnp.int32)
        return row, row

    width, n = inside.shape
    start = jnp.full(n, width, jnp.int32), jnp.zeros(n, jnp.int32)
    slots = jnp.arange(width, dtype=jnp.int32), inside
    (_, counts), (following, left) = lax.scan(link, start, slots, reverse=True)
    return following, counts - left, counts


def _squared(d: jax.Array) -> jax.Array:
    return d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
