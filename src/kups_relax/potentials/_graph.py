"""Graphs of atoms, as models of machine learning take them."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kups_relax._tree import dataclass, static
from kups_relax.neighbors import neighbor_list
from kups_relax.ops import fold, inverse_list

# The direction of padding edges, in sevenths: along no axis, plane or diagonal.
_ASIDE = (2.0, 3.0, 6.0)

# What `edge_arrays` makes: axes, and the value of padding.
EDGE_ARRAYS: dict[str, tuple[tuple[str | int, ...], int]] = {
    "numbers": (("atoms",), 0),
    "senders": (("edges",), 0),
    "receivers": (("edges",), 0),
    "shifts": (("edges", 3), 0),
    "reverse": (("edges",), 0),
    "arriving": (("atoms", "neighbors"), -1),
}


@dataclass
class Graph:
    """Show a model one or several structures as nodes and edges.

    An edge brings what a model reads at its sender to its receiver. There are all edges shorter
    than the cutoff and none that are longer, each in both directions, sorted by receiver, then
    sender, then shift. Every graph has the same number of nodes, one block after the other, and
    as many edges as every other.

    The rest is padding. The last node of each graph is always padding, and its padding edges
    lead from that node to itself: what they carry reaches no atom, even in a model that ignores
    the masks. Their vectors have half the cutoff's length, so that no derivative is NaN.

    `at_senders`, `at_receivers`, `sum_at_receivers` and `sum_over_graphs` are what a layer that
    passes messages needs. They and their derivatives, of any order, add in a fixed order: on a
    CPU edge after edge, which is what `jax.ops.segment_sum` does there; on a GPU, where that
    would be an unordered scatter, through lists of each node's edges.

    Attributes:
        positions: (n_nodes, 3), Angstrom.
        numbers: (n_nodes,) int32, atomic numbers; 0 for padding.
        senders: (n_edges,) int32.
        receivers: (n_edges,) int32.
        shifts: (n_edges, 3) int32, in cells: where the sender's image is.
        cell: (n_graphs, 3, 3), rows are lattice vectors, Angstrom; zeros where there is none.
        charge: (n_graphs,) int32, total charge in e; 0 where it is not known.
        graph_of_node: (n_nodes,) int32; n_graphs for padding, which `jax.ops.segment_sum` drops.
        node_mask: (n_nodes,) bool, which nodes are atoms.
        edge_mask: (n_edges,) bool, which edges are real.
        arriving: (n_nodes, width) int32, the edges that each node receives, padded with -1.
        leaving: (n_nodes, width) int32, the edges that it sends, padded with -1.
        cutoff: Angstrom.
        dtype: Of `vectors`. Positions and cell may be more precise, so that their differences
            are.
    """

    positions: jax.Array
    numbers: jax.Array
    senders: jax.Array
    receivers: jax.Array
    shifts: jax.Array
    cell: jax.Array
    charge: jax.Array
    graph_of_node: jax.Array
    node_mask: jax.Array
    edge_mask: jax.Array
    arriving: jax.Array
    leaving: jax.Array
    cutoff: float = static()
    dtype: str = static()

    @classmethod
    def of(cls, structures: Sequence[Any], cutoff: float, dtype: str = "float32") -> "Graph":
        """Make one graph of several structures, on the host.

        Args:
            structures: `kups_relax.Structure` or `ase.Atoms`.
            cutoff: Angstrom.
            dtype: Of positions, cell and vectors.
        """
        return cls.batches(structures, cutoff, len(structures), dtype)[0]

    @classmethod
    def batches(
        cls, structures: Sequence[Any], cutoff: float, size: int, dtype: str = "float32"
    ) -> list["Graph"]:
        """Make graphs of one shape, to train a model with a step that compiles once.

        Args:
            structures: `kups_relax.Structure` or `ase.Atoms`.
            cutoff: Angstrom.
            size: Structures in a graph. The last graph is filled up with graphs without atoms.
            dtype: Of positions, cell and vectors.
        """
        parts = [edge_arrays(structure, cutoff) for structure in structures]
        lengths = {
            "atoms": max(len(part["numbers"]) for part in parts),
            "edges": max(1, *(len(part["senders"]) for part in parts)),
            "neighbors": max(part["arriving"].shape[1] for part in parts),
        }
        n = -(-len(parts) // size) * size
        positions = np.zeros((n, lengths["atoms"], 3))
        cell = np.zeros((n, 3, 3))
        arrays: dict[str, np.ndarray] = {}
        for name, (axes, fill) in EDGE_ARRAYS.items():
            shape = [axis if isinstance(axis, int) else lengths[axis] for axis in axes]
            arrays[name] = np.full((n, *shape), fill, np.int32)
        for name in ("charge", "n_atoms", "n_edges"):
            arrays[name] = np.zeros(n, np.int32)
        for k, (structure, part) in enumerate(zip(structures, parts, strict=True)):
            positions[k, : len(part["numbers"])] = structure.positions
            cell[k] = np.asarray(structure.cell)
            for name, array in part.items():
                arrays[name][(k, *map(slice, array.shape))] = array
            arrays["n_atoms"][k], arrays["n_edges"][k] = len(part["numbers"]), len(part["senders"])
        return [
            _assemble(
                jnp.asarray(positions[k : k + size], dtype),
                jnp.asarray(cell[k : k + size], dtype),
                {name: jnp.asarray(array[k : k + size]) for name, array in arrays.items()},
                cutoff=cutoff,
                dtype=dtype,
            )
            for k in range(0, n, size)
        ]

    @property
    def n_graphs(self) -> int:
        """Number of graphs."""
        return self.cell.shape[0]

    def replace(self, **changes: Any) -> "Graph":
        """Return a copy with other values of some attributes, such as positions."""
        return dataclasses.replace(self, **changes)

    def at(self, positions: jax.Array, cell: jax.Array) -> "Graph":
        """Move the atoms to (n_graphs, A, 3), in cells (n_graphs, 3, 3); the edges stay."""
        return self.replace(positions=_with_padding(positions), cell=cell)

    def vectors(self) -> jax.Array:
        """(n_edges, 3) from receiver to sender, in `dtype`; the only way a model needs positions.

        Their derivative with respect to the positions adds over each atom's edges in a fixed
        order, as the graph's other sums do.
        """
        # The model may trace without 64 bits, for its own sake.
        with jax.enable_x64(self.positions.dtype == jnp.float64):
            shifts = self.shifts.reshape(self.n_graphs, -1, 3).astype(self.cell.dtype)
            along = self.at_senders(self.positions) - self.at_receivers(self.positions)
            along = along + _offsets(shifts, self.cell).reshape(-1, 3)
            aside = jnp.asarray(_ASIDE, along.dtype) * (self.cutoff / 14)
            return jnp.where(self.edge_mask[:, None], along, aside).astype(self.dtype)

    def at_senders(self, x: jax.Array) -> jax.Array:
        """Read a node's values at the sender of each edge: (n_nodes, ...) to (n_edges, ...)."""
        return _take(x, self.senders, self.leaving)

    def at_receivers(self, x: jax.Array) -> jax.Array:
        """Read a node's values at the receiver of each edge: (n_nodes, ...) to (n_edges, ...)."""
        return _take(x, self.receivers, self.arriving)

    def sum_at_receivers(self, x: jax.Array) -> jax.Array:
        """Add up what each node receives: (n_edges, ...) to (n_nodes, ...)."""
        return _collect(x, self.receivers, self.arriving)

    def sum_over_graphs(self, x: jax.Array) -> jax.Array:
        """Add up the atoms of each graph: (n_nodes, ...) to (n_graphs, ...)."""
        mask = self.node_mask.reshape(-1, *[1] * (x.ndim - 1))
        x = jnp.where(mask, x, jnp.zeros((), x.dtype))
        return fold(x.reshape(self.n_graphs, -1, *x.shape[1:]), axis=1)


def edge_arrays(structure: Any, cutoff: float) -> dict[str, np.ndarray]:
    """Find, on the host, the edges of one structure that are shorter than the cutoff.

    Args:
        structure: `kups_relax.Structure` or `ase.Atoms`.
        cutoff: Angstrom.

    Returns:
        int32 arrays: "numbers" (n_atoms,), "senders" and "receivers" (n_edges,), "shifts"
        (n_edges, 3), "reverse" (n_edges,) where each edge's other direction is, and "arriving"
        (n_atoms, width) the edges of each receiver, padded with -1.
    """
    numbers = np.asarray(structure.numbers, np.int32)
    receivers, senders, shifts = neighbor_list(
        structure.positions,
        np.asarray(structure.cell),
        structure.pbc,
        cutoff,
        label=getattr(structure, "id", None),
    )
    # In this order, the reverses of all edges stand in the order of the list itself.
    reverse = np.lexsort((*-shifts.T[::-1], receivers, senders))
    return {
        "numbers": numbers,
        "senders": senders,
        "receivers": receivers,
        "shifts": shifts,
        "reverse": reverse.astype(np.int32),
        "arriving": inverse_list(receivers, len(numbers)),
    }


def assemble(
    positions: jax.Array,
    cell: jax.Array,
    arrays: Mapping[str, jax.Array],
    *,
    cutoff: float,
    dtype: str,
) -> Graph:
    """Make a graph of the edges that are within the cutoff, on the device.

    The lists may hold longer edges. Those are taken out and the others move up, so that the
    graph is the same whatever else was listed.

    Args:
        positions: (n_graphs, A, 3), zeros for padding.
        cell: (n_graphs, 3, 3).
        arrays: Those of `edge_arrays` with leading axis n_graphs, padded to A, E > 0 and W; and
            "charge", "n_atoms" and "n_edges" (n_graphs,).
        cutoff: Angstrom.
        dtype: Of the graph's vectors.
    """
    n_graphs, n_atoms, _ = positions.shape
    n_nodes, n_edges, width = n_atoms + 1, arrays["senders"].shape[1], arrays["arriving"].shape[2]
    graph = jnp.arange(n_graphs, dtype=jnp.int32)[:, None]
    atom = jnp.arange(n_nodes, dtype=jnp.int32) < arrays["n_atoms"][:, None]

    def rows(x: jax.Array, index: jax.Array) -> jax.Array:
        """Rows of each graph's block: x (n_graphs, n, ...), index (n_graphs, m)."""
        flat = x.reshape(-1, *x.shape[2:])
        index = index.reshape(n_graphs, -1) + graph * x.shape[1]
        return flat.at[index].get(mode="promise_in_bounds")

    # Which edges count; an edge and its reverse do so together.
    x, box = lax.stop_gradient((positions, cell))
    along = rows(x, arrays["senders"]) - rows(x, arrays["receivers"])
    along = along + _offsets(arrays["shifts"].astype(x.dtype), box)
    slot = jnp.arange(n_edges, dtype=jnp.int32)
    within = slot < arrays["n_edges"][:, None]
    within &= fold(along * along, axis=2) < cutoff**2
    within &= rows(within, arrays["reverse"])

    # Where each goes, and which comes where.
    rank = jnp.cumsum(within, axis=1, dtype=jnp.int32) - 1
    target = jnp.where(within, rank + graph * n_edges, n_graphs * n_edges)
    order = jnp.zeros(n_graphs * n_edges, jnp.int32)
    order = order.at[target].set(jnp.broadcast_to(slot, target.shape), mode="drop")
    order = order.reshape(n_graphs, n_edges)
    real = slot < jnp.sum(within, axis=1, dtype=jnp.int32)[:, None]

    def ends(index: jax.Array) -> jax.Array:
        return (jnp.where(real, rows(index, order), n_atoms) + graph * n_nodes).reshape(-1)

    # A receiver's edges stand together.
    listed = arrays["arriving"].reshape(n_graphs, -1)
    counted = (listed >= 0) & rows(within, jnp.maximum(listed, 0))
    counts = jnp.sum(counted.reshape(n_graphs, n_atoms, width), axis=2, dtype=jnp.int32)
    counts = jnp.pad(counts, ((0, 0), (0, 1)))
    starts = jnp.cumsum(counts, axis=1) - counts
    place = jnp.arange(width, dtype=jnp.int32)
    arriving = jnp.where(place < counts[:, :, None], starts[:, :, None] + place, -1)
    reverse = rows(rank, rows(arrays["reverse"], order))
    leaving = rows(reverse, jnp.maximum(arriving, 0)).reshape(arriving.shape)
    block = graph[:, :, None] * n_edges
    listing = arriving >= 0
    return Graph(
        positions=_with_padding(positions),
        numbers=jnp.where(atom, jnp.pad(arrays["numbers"], ((0, 0), (0, 1))), 0).reshape(-1),
        senders=ends(arrays["senders"]),
        receivers=ends(arrays["receivers"]),
        shifts=jnp.where(real[:, :, None], rows(arrays["shifts"], order), 0).reshape(-1, 3),
        cell=cell,
        charge=arrays["charge"],
        graph_of_node=jnp.where(atom, graph, n_graphs).reshape(-1),
        node_mask=atom.reshape(-1),
        edge_mask=real.reshape(-1),
        arriving=jnp.where(listing, arriving + block, -1).reshape(-1, width),
        leaving=jnp.where(listing, leaving + block, -1).reshape(-1, width),
        cutoff=cutoff,
        dtype=dtype,
    )


_assemble = jax.jit(assemble, static_argnames=("cutoff", "dtype"))


def _with_padding(positions: jax.Array) -> jax.Array:
    """(n_graphs, A, 3) to (n_graphs * (A + 1), 3)."""
    return jnp.pad(positions, ((0, 0), (0, 1), (0, 0))).reshape(-1, 3)


def _take(x: jax.Array, index: jax.Array, inverse: jax.Array) -> jax.Array:
    """Take rows by index: (n_rows, ...) to (n_slots, ...). The transpose of `_collect`."""
    linear_call = jax.custom_derivatives.linear_call
    return linear_call(_rows, partial(_sums, len(x)), (index, inverse), x)


def _collect(x: jax.Array, index: jax.Array, inverse: jax.Array) -> jax.Array:
    """Add up the slots that belong to each row: (n_slots, ...) to (n_rows, ...)."""
    linear_call = jax.custom_derivatives.linear_call
    return linear_call(partial(_sums, len(inverse)), _rows, (index, inverse), x)


def _rows(residuals: tuple[jax.Array, jax.Array], x: jax.Array) -> jax.Array:
    return x.at[residuals[0]].get(mode="promise_in_bounds")


def _sums(n_rows: int, residuals: tuple[jax.Array, jax.Array], x: jax.Array) -> jax.Array:
    # A CPU scatters in the order of the slots, and three times as fast as it gathers by lists.
    by = {"cpu": partial(sums_in_order, n_rows), "default": partial(sums_by_list, n_rows)}
    return lax.platform_dependent(x, *residuals, **by)


def sums_in_order(n_rows: int, x: jax.Array, index: jax.Array, inverse: jax.Array) -> jax.Array:
    """Add up the slots of each row, one after the other: by a scatter."""
    del inverse
    zeros = jnp.zeros((n_rows, *x.shape[1:]), x.dtype)
    return zeros.at[index].add(x, mode="promise_in_bounds")


def sums_by_list(n_rows: int, x: jax.Array, index: jax.Array, inverse: jax.Array) -> jax.Array:
    """Add up the slots of each row, by its list of them: what is in no list is left out."""
    del n_rows, index
    taken = x.at[jnp.maximum(inverse, 0)].get(mode="promise_in_bounds")
    listed = (inverse >= 0).reshape(*inverse.shape, *[1] * (x.ndim - 1))
    return fold(jnp.where(listed, taken, jnp.zeros((), x.dtype)), axis=1)


def _offsets(shifts: jax.Array, cell: jax.Array) -> jax.Array:
    """Where images are: (n_graphs, n_edges, 3), (n_graphs, 3, 3) to (n_graphs, n_edges, 3)."""

    def forward(shifts: jax.Array, cell: jax.Array) -> jax.Array:
        return fold(shifts[..., None] * cell[:, None], axis=2)

    def transpose(shifts: jax.Array, out: jax.Array) -> jax.Array:
        return fold(shifts[..., None] * out[:, :, None], axis=1)

    return jax.custom_derivatives.linear_call(forward, transpose, shifts, cell)
