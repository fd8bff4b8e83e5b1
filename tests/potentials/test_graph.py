"""Graphs: which edges there are, padding, and sums with their derivatives."""

import ase
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk, fcc111, molecule
from ase.neighborlist import neighbor_list

from helpers import assert_same_bits
from kups_relax.potentials import Graph
from kups_relax.potentials._graph import edge_arrays, sums_by_list, sums_in_order

CUTOFF = 4.0


def cases() -> dict[str, ase.Atoms]:
    """Every kind of periodicity, atoms that see their own images, and atoms that see nothing."""
    sheared = bulk("Cu", a=3.6, cubic=True)
    sheared.set_cell(sheared.cell @ np.array([[1, 0.3, 0], [0, 0.9, 0.1], [0, 0, 1]]), True)
    sheared.rattle(0.1, seed=1)
    slab = fcc111("Al", (2, 2, 2), vacuum=4.0)
    slab.rattle(0.1, seed=2)
    apart = ase.Atoms("N2O2", [[0, 0, 0], [1.1, 0, 0], [20, 0, 0], [20, 1.2, 0.1]])
    return {
        "molecule": molecule("CH3OH"),
        "one atom": ase.Atoms("H", [[1.0, 2.0, 3.0]]),
        "two molecules": apart,
        "primitive": bulk("Cu", a=3.6),
        "sheared": sheared,
        "slab": slab,
    }


def blocks(graph: Graph) -> list[dict[str, np.ndarray]]:
    """The edges of each graph, by the numbers of its own nodes; and its vectors."""
    n_nodes = len(graph.numbers) // graph.n_graphs
    arrays = {
        "senders": graph.senders,
        "receivers": graph.receivers,
        "shifts": graph.shifts,
        "mask": graph.edge_mask,
        "vectors": jax.jit(Graph.vectors)(graph),
    }
    arrays = {k: np.asarray(v).reshape(graph.n_graphs, -1, *v.shape[1:]) for k, v in arrays.items()}
    out = []
    for k in range(graph.n_graphs):
        block = {name: array[k][arrays["mask"][k]] for name, array in arrays.items()}
        out.append({**block, **{e: block[e] - k * n_nodes for e in ("senders", "receivers")}})
    return out


def test_edges_are_those_of_ase(x64):
    graph = Graph.of(list(cases().values()), CUTOFF, "float64")
    for atoms, edges in zip(cases().values(), blocks(graph), strict=True):
        i, j, shift, vector = neighbor_list("ijSD", atoms, CUTOFF)
        order = np.lexsort((*shift.T[::-1], j, i))
        assert np.array_equal(edges["receivers"], i[order])
        assert np.array_equal(edges["senders"], j[order])
        assert np.array_equal(edges["shifts"], shift[order])
        np.testing.assert_allclose(edges["vectors"], vector[order], rtol=0, atol=1e-13)


def test_edges_in_the_skin_leave_no_trace(x64, monkeypatch):
    atoms = list(cases().values())
    short = Graph.of(atoms, CUTOFF, "float64")

    def with_skin(structure, cutoff):
        return edge_arrays(structure, cutoff + 1.0)

    monkeypatch.setattr("kups_relax.potentials._graph.edge_arrays", with_skin)
    long = Graph.of(atoms, CUTOFF, "float64")
    assert len(long.senders) > len(short.senders)
    for got, expected in zip(blocks(long), blocks(short), strict=True):
        assert_same_bits(got, expected)
    listed = [np.asarray(graph.arriving >= 0).sum(axis=1) for graph in (short, long)]
    assert np.array_equal(*listed)


def test_padding_leads_nowhere_and_is_safe(x64):
    graphs = Graph.batches(list(cases().values()), CUTOFF, 4, "float64")
    assert len(graphs) == 2
    shapes = [[leaf.shape for leaf in jax.tree.leaves(graph)] for graph in graphs]
    assert shapes[0] == shapes[1]
    for graph in graphs:
        n_nodes = len(graph.numbers) // graph.n_graphs
        rest = ~np.asarray(graph.edge_mask)
        last = np.repeat((np.arange(graph.n_graphs) + 1) * n_nodes - 1, len(rest) // graph.n_graphs)
        assert np.array_equal(graph.senders[rest], last[rest])
        assert np.array_equal(graph.receivers[rest], last[rest])
        assert not graph.node_mask[np.unique(last)].any()
        assert (np.diff(graph.receivers) >= 0).all()
        lengths = jnp.linalg.norm(graph.vectors(), axis=1)
        np.testing.assert_allclose(lengths[rest], CUTOFF / 2, rtol=1e-14)

        def total(x, graph=graph):
            return jnp.linalg.norm(graph.replace(positions=x).vectors(), axis=1).sum()

        slope = jax.grad(total)(graph.positions)
        assert np.isfinite(slope).all()
    assert (graphs[1].graph_of_node[-2 * n_nodes :] == 4).all()


def test_graphs_side_by_side_are_the_graphs_alone(x64):
    atoms = list(cases().values())
    together = Graph.of(atoms, CUTOFF, "float64")
    weights = jnp.asarray(np.random.default_rng(0).normal(size=120))

    def energies(graph: Graph) -> jax.Array:
        r = jnp.linalg.norm(graph.vectors(), axis=1)
        pull = jnp.where(graph.edge_mask, weights[graph.at_senders(graph.numbers)] * r, 0)
        return graph.sum_over_graphs(graph.sum_at_receivers(pull))

    got = jax.jit(energies)(together)
    # Batches of one have one shape.
    alone = [jax.jit(energies)(one)[0] for one in Graph.batches(atoms, CUTOFF, 1, "float64")]
    np.testing.assert_allclose(got, alone, rtol=1e-13, atol=1e-13)
    by_node = jax.ops.segment_sum(
        jnp.ones(len(together.numbers)), together.graph_of_node, len(atoms)
    )
    assert np.array_equal(by_node, [len(one) for one in atoms])


def test_an_edge_and_its_reverse_are_opposite_to_the_bit(x64):
    graph = Graph.of([cases()["sheared"]], CUTOFF, "float64")
    vectors = np.asarray(graph.vectors())
    arriving, leaving = np.asarray(graph.arriving), np.asarray(graph.leaving)
    listed = arriving >= 0
    assert listed.sum() == graph.edge_mask.sum()
    assert np.array_equal(vectors[arriving[listed]], -vectors[leaving[listed]])
    assert np.array_equal(graph.senders[leaving[listed]], graph.receivers[arriving[listed]])


@pytest.mark.parametrize("sums", [sums_in_order, sums_by_list])
def test_both_ways_of_adding_give_the_sum(sums, x64):
    graph = Graph.of([cases()["slab"]], CUTOFF, "float64")
    x = np.random.default_rng(0).normal(size=(len(graph.senders), 5))
    expected = np.zeros((len(graph.numbers), 5))
    np.add.at(expected, graph.receivers, x)
    got = jax.jit(sums, static_argnums=0)(len(expected), x, graph.receivers, graph.arriving)
    # Padding receives nothing by list.
    np.testing.assert_allclose(got[:-1], expected[:-1], rtol=0, atol=1e-13)
    if sums is sums_in_order:
        assert_same_bits(got[:-1], expected[:-1])


def test_reading_and_adding_are_transposes_of_each_other(x64):
    graph = Graph.of([cases()["slab"], cases()["molecule"]], CUTOFF, "float64")
    random = np.random.default_rng(0)
    real, atom = graph.edge_mask[:, None], graph.node_mask[:, None]
    on_nodes = jnp.where(atom, random.normal(size=(len(graph.numbers), 4)), 0)
    on_edges = jnp.where(real, random.normal(size=(len(graph.senders), 4)), 0)
    for take, index in ((graph.at_senders, "senders"), (graph.at_receivers, "receivers")):
        taken, pull = jax.vjp(take, on_nodes)
        assert_same_bits(taken, on_nodes[getattr(graph, index)])
        expected = np.zeros(on_nodes.shape)
        np.add.at(expected, getattr(graph, index), on_edges)
        np.testing.assert_allclose(pull(on_edges)[0], expected, rtol=0, atol=1e-13)
    _, pull = jax.vjp(graph.sum_at_receivers, on_edges)
    assert_same_bits(pull(on_nodes)[0], on_nodes[graph.receivers])


def test_forces_can_be_differentiated_again(x64):
    graph = Graph.of([cases()["sheared"]], CUTOFF, "float64")

    def energy(k: jax.Array, x: jax.Array) -> jax.Array:
        vectors = graph.replace(positions=x).vectors()
        pull = jnp.exp(-k * jnp.sum(vectors * vectors, axis=1))
        received = graph.sum_at_receivers(graph.at_senders(x[:, 0] * k) * pull)
        return graph.sum_over_graphs(received**2)[0]

    def squared_force(k: jax.Array) -> jax.Array:
        return jnp.sum(jax.grad(energy, 1)(k, graph.positions) ** 2)

    step = 1e-5
    slope = (squared_force(0.3 + step) - squared_force(0.3 - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(squared_force)(0.3), slope, rtol=1e-7)
