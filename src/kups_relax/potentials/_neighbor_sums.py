"""Sums over the neighbours of each atom, on the device, whose bits do not depend on the list.

The neighbours of an atom stand in a column of slots, in the order of `neighbor_list`: by index,
then by cell. Each atom adds up its slots one after the other. What is listed beyond a cutoff has to
add 0, which changes no bit; so it makes no difference when the list was made, how many slots there
are, or how large the skin is. Atoms are taken in blocks, so that what is needed on the way stays in
a core's cache, and does not grow with the structure.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kups_relax.data import Field, Structure, Terms
from kups_relax.neighbors import NeighborMatrix, neighbor_list, neighbor_matrix
from kups_relax.ops import fold, take_rows
from kups_relax.ops.matrices import determinant

# Slots at a time. Atom capacities are multiples of it, and so are numbers of slots.
_CHUNK = 8

# Atoms at a time; capacities above it are multiples of it.
_BLOCK = 2048

# How the arrays that `list_arrays` returns are laid out: 8 bytes a slot.
LIST_FIELDS = {
    "neighbor": Field(("neighbors", "atoms"), "int", -1),
    "image": Field(("neighbors", "atoms"), "int"),
    "images": Field((3, "images"), "int"),
}

# Padding of these axes costs little: see `EnergyModel.coarse`.
LIST_COARSE: Mapping[str, int] = {"neighbors": 4, "images": 4}

# The components of a symmetric 3 x 3 matrix, and where each component of the matrix is in them.
_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_MATRIX = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]], np.int32)


def find_pairs(
    structure: Structure, cutoff: float, skin: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find all pairs within the cutoff and the skin, on the host; as `neighbor_list` gives them.

    Args:
        structure: Any.
        cutoff: Angstrom.
        skin: Angstrom; a list serves until an atom has moved half of it.

    Raises:
        StructureError: Its cell cannot be used, or has collapsed.
    """
    # A little more than the skin, for positions that the run rounds.
    reach = cutoff + 1.001 * skin
    return neighbor_list(
        structure.positions, structure.cell, structure.pbc, reach, label=structure.id
    )


def list_neighbors(structure: Structure, cutoff: float, skin: float) -> NeighborMatrix:
    """List each atom's neighbours in rows: what `find_pairs` finds."""
    return neighbor_matrix(
        *find_pairs(structure, cutoff, skin), structure.n_atoms, label=structure.id
    )


def list_arrays(matrix: NeighborMatrix) -> dict[str, np.ndarray]:
    """Lay a list out for the device, as `LIST_FIELDS` say."""
    return {"neighbor": matrix.neighbor.T, "image": matrix.image.T, "images": matrix.images.T}


@dataclasses.dataclass(frozen=True)
class Slots:
    """Some slots of some atoms, n of N.

    Attributes:
        atom: (N, 1) int32, the atoms.
        neighbor: (n, N, L) int32, the neighbour in each slot; negative where there is none.
        d: (3, n, N, L), from the atom to its neighbour, Angstrom.
    """

    atom: jax.Array
    neighbor: jax.Array
    d: jax.Array


def sum_over_neighbors(
    term: Callable[..., tuple[jax.Array, ...]],
    n_components: Sequence[int],
    positions: jax.Array,
    cell: jax.Array,
    terms: Terms,
    *names: str,
) -> tuple[jax.Array, ...]:
    """Add up, for each atom, what its neighbours give, one after the other.

    Args:
        term: (slots, *arrays) -> what the slots give, one array (n, chunk, N, L) for each
            number n of `n_components`; 0 beyond the cutoff, and where there is no neighbour. It
            is called for a chunk of slots of N atoms, with the rows of these atoms of each
            further array.
        n_components: How many numbers each sum has.
        positions: (3, A, L), Angstrom.
        cell: (3, 3, L), Angstrom.
        terms: Holds the list.
        names: Further arrays of the terms, (A, L).

    Returns:
        The sums, (n, A, L) each.
    """
    offsets = image_offsets(cell, terms)
    n_atoms, n_lanes = positions.shape[1:]
    size = _BLOCK if n_atoms % _BLOCK == 0 else n_atoms
    # As many as any lane needs: the rest would add 0.
    width = jnp.max(terms.counts["neighbors"])
    n_chunks = (width + jnp.int32(_CHUNK - 1)) // jnp.int32(_CHUNK)

    def block(first: jax.Array) -> tuple[jax.Array, ...]:
        """Sum for the atoms from the first on."""
        atom = first + jnp.arange(size, dtype=jnp.int32)[:, None]
        here = _rows(positions, first, size)
        arrays = [_rows(terms[name], first, size) for name in names]

        def add(k: jax.Array, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            start = k * jnp.int32(_CHUNK), first, jnp.int32(0)
            neighbor, image = (
                lax.dynamic_slice(terms[name], start, (_CHUNK, size, n_lanes))
                for name in ("neighbor", "image")
            )
            d = at_neighbor(positions, neighbor) - here[:, None]
            d = d + take_rows(offsets, image)
            return tuple(map(_in_turn, sums, term(Slots(atom, neighbor, d), *arrays)))

        start = tuple(jnp.zeros((n, size, n_lanes), positions.dtype) for n in n_components)
        return lax.fori_loop(jnp.int32(0), n_chunks, add, start)

    if size == n_atoms:
        return block(jnp.int32(0))

    def put(k: jax.Array, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        first = k * jnp.int32(size)
        return tuple(
            lax.dynamic_update_slice_in_dim(whole, part, first, axis=1)
            for whole, part in zip(sums, block(first), strict=True)
        )

    start = tuple(jnp.zeros((n, n_atoms, n_lanes), positions.dtype) for n in n_components)
    return lax.fori_loop(jnp.int32(0), jnp.int32(n_atoms // size), put, start)


def image_offsets(cell: jax.Array, terms: Terms) -> jax.Array:
    """(3, images, L) Angstrom: where each image of the cell is."""
    images = terms["images"].astype(cell.dtype)
    return jnp.stack([fold(images * cell[:, k, None]) for k in range(3)])


def at_neighbor(x: jax.Array, neighbor: jax.Array) -> jax.Array:
    """Take what belongs to the atoms in slots: (..., A, L) and (slots, A, L) to (..., slots, A, L).

    Empty slots take that of atom 0.
    """
    return take_rows(x, jnp.maximum(neighbor, 0))


def virial(pull: jax.Array, d: jax.Array) -> jax.Array:
    """(6, ...): what pulls (3, ...) along vectors (3, ...) give to the derivative by the strain."""
    return jnp.stack([pull[a] * d[b] for a, b in _VOIGT])


def stress(derivative: jax.Array, cell: jax.Array) -> jax.Array:
    """(3, 3, L): the derivative by the strain (6, L) over the volume; 0 where there is none."""
    volume = jnp.abs(determinant(cell))
    solid = volume > 0
    value = jnp.where(solid, derivative / jnp.where(solid, volume, 1.0), 0.0)
    return value[_MATRIX]


def _rows(x: jax.Array, first: jax.Array, size: int) -> jax.Array:
    """Take atoms of (..., A, L), from the first on."""
    return lax.dynamic_slice_in_dim(x, first, size, axis=x.ndim - 2)


def _in_turn(total: jax.Array, terms: jax.Array) -> jax.Array:
    """Add (n, chunk, ...) to (n, ...), one after the other."""
    for k in range(_CHUNK):
        total = total + terms[:, k]
    return total
