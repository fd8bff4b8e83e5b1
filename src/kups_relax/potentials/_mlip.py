"""Force fields of the package mlip."""

import os
from typing import Any, Literal

import jax
import jax.numpy as jnp

from kups_relax.data._symbols import SYMBOLS
from kups_relax.errors import OptionError, PotentialError, shown
from kups_relax.potentials._graph import Graph
from kups_relax.potentials._graph_model import GraphModel


def Mlip(
    force_field: Any,
    *,
    skin: float = 0.5,
    batching: Literal["one-by-one", "together"] = "one-by-one",
) -> GraphModel:
    """Relax with a force field of InstaDeep's mlip: MACE, NequIP, ViSNet, eSEN.

    It computes in float32 as mlip does, in a run of either dtype. Total charges are those of
    the structures, 0 where they do not say.

    Args:
        force_field: A `mlip.models.ForceField`, e.g. from `mlip.models.model_io`.
        skin: See `GraphModel`.
        batching: See `GraphModel`.

    Returns:
        The force field as a potential.

    Raises:
        PotentialError: mlip is missing, or the force field has long-range interactions, for
            which there is no list of edges.
        OptionError: Something else than a force field.
    """
    try:
        import mlip.graph as mg  # pyright: ignore
        from mlip.models import ForceField  # pyright: ignore
        from mlip.models import inference_context as contexts  # pyright: ignore
    except ImportError as error:
        raise PotentialError(
            f"Mlip needs the package mlip ({error}). Install it: pip install 'kups-relax[mlip]'."
        ) from error

    if not isinstance(force_field, ForceField):
        hint = " Load it first." if isinstance(force_field, str | os.PathLike) else ""
        raise OptionError(f"{shown(force_field)} is no mlip ForceField.{hint}")
    if force_field.long_range_cutoff_distance is not None:
        raise PotentialError(
            "the force field has long-range interactions up to "
            f"{force_field.long_range_cutoff_distance} Angstrom, which are not supported here. "
            "Use one without, or mlip's own calculator with AseCalculator."
        )
    predictor, context = force_field.predictor, force_field.inference_context
    context = None if context is None else context.resolve(force_field.dataset_info)
    known = sorted(force_field.allowed_atomic_numbers)

    def energies(params: Any, graph: Graph) -> jax.Array:
        n = graph.n_graphs
        real = jnp.sum(graph.node_mask.reshape(n, -1), axis=1, dtype=jnp.int32)
        linked = jnp.sum(graph.edge_mask.reshape(n, -1), axis=1, dtype=jnp.int32)

        def with_rest(counts: jax.Array, total: int) -> jax.Array:
            """Its padding makes a graph of its own behind each graph."""
            return jnp.stack([counts, total // n - counts], axis=1).reshape(-1)

        globals_ = mg.GraphGlobals(
            cell=jnp.repeat(graph.cell.astype(graph.dtype), 2, axis=0),
            weight=jnp.ones(2 * n, graph.dtype),
            charge=jnp.repeat(graph.charge, 2),
        )
        theirs = mg.Graph(
            nodes=mg.GraphNodes(
                positions=graph.positions.astype(graph.dtype),
                # The energy of an atom that it does not know is NaN.
                atomic_numbers=jnp.where(graph.node_mask, graph.numbers, known[0]),
            ),
            edges=mg.GraphEdges(
                displ_fun=jax.tree_util.Partial(_given, graph.vectors()),
            ),
            globals=globals_,
            n_node=with_rest(real, len(graph.numbers)),
            n_edge=with_rest(linked, len(graph.senders)),
            # They call the centre the sender.
            senders=graph.receivers,
            receivers=graph.senders,
            ordering=mg.EdgeOrdering.SENDER,
        )
        if context is not None:
            theirs = contexts.apply_inference_context_to_graph(theirs, context)
        strains = jnp.zeros_like(globals_.cell)
        _, theirs = predictor.apply(
            params, theirs.nodes.positions, strains, theirs, method="compute_energy"
        )
        return theirs.nodes.features["energy"]

    return GraphModel(
        energies,
        force_field.params,
        float(force_field.cutoff_distance),
        skin=skin,
        dtype="float32",
        elements=tuple(SYMBOLS[n] for n in known),
        batching=batching,
        name=type(predictor.mlip_network).__name__.lower(),
    )


def _given(vectors: jax.Array, *ends: jax.Array) -> jax.Array:
    """Use vectors that are computed already."""
    del ends
    return vectors
