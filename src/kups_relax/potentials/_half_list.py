"""Pairs of neighbours listed once, for pair terms that cost more than collecting them.

A list of neighbours in columns, as in `_neighbor_sums`, computes each pair twice, and pads every
atom to the one with the most neighbours. Here each pair is one edge, computed once; atoms collect
what their edges give by a gather. They add it in an order that is a function of the pairs alone,
one after the other, and what is listed beyond the cutoff is 0, so no bit depends on the list.

Edge 0 is none: whatever is computed for it has to be 0, and empty slots point at it.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kups_relax.data import Field, Terms
from kups_relax.neighbors import distinct_images

# Numbers of an array that are computed at once: few enough to skip most of what is not there, and
# enough to pay for starting the loops.
_BLOCK = 2048

# Slots at a time. Atom capacities are multiples of it, and so are numbers of slots.
_SLOTS = 8

# How the arrays that `half_list` returns are laid out.
HALF_LIST_FIELDS = {
    "ends": Field((3, "edges"), "int"),
    "images": Field((3, "images"), "int"),
    "slots": Field(("slots", "atoms"), "int"),
    "n_own": Field((), "int"),
}


def half_list(
    i: np.ndarray, j: np.ndarray, shifts: np.ndarray, n_atoms: int
) -> dict[str, np.ndarray]:
    """List every pair once, on the host.

    Of two atoms, the first is the one with the lower index if the indices are both even or both
    odd, else the other one: so each is the first of about half its pairs. Of an atom and its image,
    the image comes second, and lies in the direction of positive shifts.

    Args:
        i: (n_pairs,) int.
        j: (n_pairs,) int.
        shifts: (n_pairs, 3) int. All pairs, from both sides, as `neighbor_list` gives them.
        n_atoms: Number of atoms.

    Returns:
        ends: (3, n_edges) int32: the first atom, the second, and in which image the second is;
            n_edges is one more than there are pairs.
        images: (3, n_images) int32, the lattice vectors to add in each image; 0 in the first.
        slots: (width, n_atoms) int32. Each atom's edges: first those where it is the first, by the
            second atom, then those where it is the second, by the first atom; then by shift.
            2 * edge if it is the first atom, 2 * edge + 1 if the second; 0 where there are no more.
        n_own: () int32, the largest number of edges of which an atom is the first.
    """
    own = np.where(i == j, _upwards(shifts), (i < j) == ((i + j) % 2 == 0))
    first, second, shift = i[own], j[own], shifts[own]
    edge = np.arange(1, len(first) + 1, dtype=np.int32)
    n_first, n_second = (np.bincount(end, minlength=n_atoms) for end in (first, second))
    width = int((n_first + n_second).max(initial=0))
    slots = np.zeros((width, n_atoms), np.int32)
    slots[_place(first, n_first), first] = 2 * edge
    order = np.argsort(second, kind="stable")
    arriving = second[order]
    slots[n_first[arriving] + _place(arriving, n_second), arriving] = 2 * edge[order] + 1
    images, image = distinct_images(shift)
    ends = np.zeros((3, len(first) + 1), np.int32)
    ends[:, 1:] = first, second, image
    return {
        "ends": ends,
        "images": images.T,
        "slots": slots,
        "n_own": np.asarray(n_first.max(initial=0), np.int32),
    }


def _upwards(shifts: np.ndarray) -> np.ndarray:
    """(n,) bool: the first of the three numbers that is not 0 is positive."""
    x, y, z = shifts.T
    return (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))


def _place(group: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(n,) which member of its group each is; groups stand together, in order."""
    return np.arange(len(group)) - (np.cumsum(counts) - counts)[group]


def for_each_row(
    function: Callable[..., Sequence[jax.Array]], counts: jax.Array, *arrays: jax.Array
) -> list[jax.Array]:
    """Compute something for every edge, or every atom, part by part.

    What is returned is stored. What is only used on the way, but more than once, the compiler
    computes anew for each use, or in a loop that it spreads over threads, which takes longer to do
    than such loops take. So return it, and go on in another call.

    Args:
        function: Takes a part of each array, (..., some rows * L), and gives some arrays of that
            form. Elementwise.
        counts: (L,) int32, how many rows there are.
        arrays: (..., rows * L).

    Returns:
        (..., rows * L) each. What is beyond the rows of all lanes is not defined.
    """
    n_lanes = counts.shape[0]
    n_rows = arrays[0].shape[-1] // n_lanes
    # Two parts at least, else the compiler sees that it need not store. Powers of two, so that
    # vector instructions leave no rest to others, which may round an exponential in another way.
    part = min(n_rows & -n_rows, n_rows // 2, max(1, _BLOCK // n_lanes))
    size = part * n_lanes

    def parts(k: jax.Array) -> list[jax.Array]:
        return [
            lax.dynamic_slice_in_dim(x, k * jnp.int32(size), size, axis=x.ndim - 1) for x in arrays
        ]

    def compute(k: jax.Array, out: list[jax.Array]) -> list[jax.Array]:
        return [
            lax.dynamic_update_slice_in_dim(x, y, k * jnp.int32(size), axis=x.ndim - 1)
            for x, y in zip(out, function(*parts(k)), strict=True)
        ]

    n_parts = (jnp.max(counts) + jnp.int32(part - 1)) // jnp.int32(part)
    shapes = jax.eval_shape(lambda k: list(function(*parts(k))), n_parts)
    start = [jnp.zeros((*s.shape[:-1], n_rows * n_lanes), s.dtype) for s in shapes]
    return lax.fori_loop(jnp.int32(0), n_parts, compute, start)


def in_one_axis(x: jax.Array) -> jax.Array:
    """(..., rows, L) to (..., rows * L).

    The compiler makes a loop for each axis, and those over a few lanes use no vector units.
    """
    return x.reshape(*x.shape[:-2], -1)


def edge_vectors(positions: jax.Array, offsets: jax.Array, ends: jax.Array) -> list[jax.Array]:
    """Point from the first to the second atom of edges.

    Args:
        positions: (3, A, L).
        offsets: (3, images, L), what `image_offsets` gave.
        ends: (3, some edges * L).

    Returns:
        x, y and z, (some edges * L,) each. The compiler would store them side by side if they
        were taken together.
    """
    first, second, image = ends
    n_lanes = positions.shape[-1]
    return [
        take(x, second, n_lanes) - take(x, first, n_lanes) + take(o, image, n_lanes)
        for x, o in zip(positions, offsets, strict=True)
    ]


def take(x: jax.Array, row: jax.Array, n_lanes: int) -> jax.Array:
    """Take rows of each lane: x of rows * L numbers, `row` (n * L,) to (n * L,)."""
    lane = jnp.arange(row.shape[0], dtype=jnp.int32) % jnp.int32(n_lanes)
    # Unsigned numbers need no look at whether they count from the end.
    index = (row * jnp.int32(n_lanes) + lane).astype(jnp.uint32)
    return x.reshape(-1).at[index].get(mode="promise_in_bounds")


def sum_over_edges(
    term: Callable[[jax.Array], Sequence[jax.Array]], terms: Terms, *, own: bool = False
) -> list[jax.Array]:
    """Add up, for each atom, what its edges give, one after the other.

    Args:
        term: (A * L,) int32, a slot of each atom -> what it gives, some arrays (A * L,).
        terms: Holds the list.
        own: Only the edges of which the atom is the first. Others may be among those that `term`
            is asked for; it gives 0 for them.

    Returns:
        The sums, (A * L,) each.
    """
    width, *shape = terms["slots"].shape
    assert width % _SLOTS == 0, width
    chunks = terms["slots"].reshape(-1, _SLOTS, math.prod(shape))

    def add(k: jax.Array, total: list[jax.Array]) -> list[jax.Array]:
        # Taken one by one, so that nothing is stored between taking and adding.
        for slot in chunks[k]:
            total = [t + x for t, x in zip(total, term(slot), strict=True)]
        return total

    needed = jnp.max(terms["n_own"] if own else terms.counts["slots"])
    n_chunks = (needed + jnp.int32(_SLOTS - 1)) // jnp.int32(_SLOTS)
    shapes = jax.eval_shape(lambda slot: list(term(slot)), chunks[0, 0])
    start = [jnp.zeros(s.shape, s.dtype) for s in shapes]
    return lax.fori_loop(jnp.int32(0), n_chunks, add, start)
