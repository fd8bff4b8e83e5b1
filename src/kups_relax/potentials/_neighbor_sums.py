"""Sums over the neighbours of each atom, on the device, whose bits do not depend on the list.

The neighbours of an atom stand in a column of slots, in the order of `neighbor_list`: by index,
then by cell. Each atom adds up its slots one after the other. What is listed beyond a cutoff has to
add 0, which changes no bit; so it makes no difference when the list was made, how many slots there
are, or how large the skin is.
"""

from collections.abc import Callable, Sequence

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

# How the arrays that `list_arrays` returns are laid out.
LIST_FIELDS = {
    "neighbor": Field(("neighbors", "atoms"), "int", -1),
    "shift": Field(("neighbors", 3, "atoms"), "int"),
}

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
    return neighbor_matrix(*find_pairs(structure, cutoff, skin), structure.n_atoms)


def list_arrays(matrix: NeighborMatrix) -> dict[str, np.ndarray]:
    """Lay a list out for the device, as `LIST_FIELDS` say."""
    return {"neighbor": matrix.neighbor.T, "shift": np.moveaxis(matrix.shift, 0, 2)}


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
        term: (neighbor, d, *arrays) -> what the slots give, one array (n, chunk, A, L) for each
            number of `n_components`; 0 beyond the cutoff, and where `neighbor` is negative. It is
            called for a chunk of slots: `neighbor` (chunk, A, L), `d` (3, chunk, A, L) from the
            atom to its neighbour, and the chunk of each further array.
        n_components: How many numbers each sum has.
        positions: (3, A, L), Angstrom.
        cell: (3, 3, L), Angstrom.
        terms: Holds the list.
        names: Further arrays of the terms, (slots, ..., A, L).

    Returns:
        The sums, (n, A, L) each.
    """
    chunks = [_chunks(terms[name]) for name in ("neighbor", "shift", *names)]

    def add(k: jax.Array, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        neighbor, shift, *arrays = (x[k] for x in chunks)
        shift = shift.astype(positions.dtype)
        d = at_neighbor(positions, neighbor) - positions[:, None]
        d = d + _offsets(jnp.moveaxis(shift, 1, 0), cell)
        return tuple(map(_in_turn, sums, term(neighbor, d, *arrays)))

    shape = positions.shape[1:]
    start = tuple(jnp.zeros((n, *shape), positions.dtype) for n in n_components)
    # As many as any lane needs: the rest would add 0.
    width = jnp.max(terms.counts["neighbors"])
    n_chunks = (width + jnp.int32(_CHUNK - 1)) // jnp.int32(_CHUNK)
    return lax.fori_loop(jnp.int32(0), n_chunks, add, start)


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


def _chunks(x: jax.Array) -> jax.Array:
    """(width, ...) to (width / chunk, chunk, ...)."""
    assert x.shape[0] % _CHUNK == 0, x.shape
    return x.reshape(-1, _CHUNK, *x.shape[1:])


def _in_turn(total: jax.Array, terms: jax.Array) -> jax.Array:
    """Add (n, chunk, ...) to (n, ...), one after the other."""
    for k in range(_CHUNK):
        total = total + terms[:, k]
    return total


def _offsets(shifts: jax.Array, cell: jax.Array) -> jax.Array:
    """Where images are, (3, ..., L), from whole numbers of cells (3, ..., L)."""
    return jnp.stack([fold(shifts * cell[:, k, None, None]) for k in range(3)])
