"""A small model of learnt messages, and the same without a graph, as its oracle."""

from typing import Any

import ase
import jax
import jax.numpy as jnp
import numpy as np

from kups_relax.potentials import Graph

CUTOFF = 4.0
_RADIAL, _WIDTH, _LAYERS = 8, 16, 2


def parameters(seed: int = 0) -> dict[str, Any]:
    """Random weights, float32."""
    random = np.random.default_rng(seed)

    def matrix(n: int, m: int) -> np.ndarray:
        return random.normal(0, n**-0.5, (n, m)).astype(np.float32)

    return {
        "embedding": random.normal(0, 0.5, (95, _WIDTH)).astype(np.float32),
        "layers": [
            {
                "radial": matrix(_RADIAL, _WIDTH),
                "send": matrix(_WIDTH, _WIDTH),
                "mix": matrix(_WIDTH, _WIDTH),
            }
            for _ in range(_LAYERS)
        ],
        "energy": matrix(_WIDTH, 1)[:, 0],
    }


def _radial(r2: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Basis functions of a distance, and a factor that is 0 at the cutoff."""
    r = jnp.sqrt(r2)[..., None]
    centers = jnp.linspace(0.5, CUTOFF, _RADIAL, dtype=r.dtype)
    return jnp.exp(-((r - centers) ** 2)), (1 - jnp.minimum(r / CUTOFF, 1) ** 2) ** 3


def messages(params: Any, graph: Graph) -> jax.Array:
    """Energies of nodes; sums by the graph's methods."""
    vectors = graph.vectors()
    basis, fade = _radial(jnp.sum(vectors * vectors, axis=1))
    h = params["embedding"][graph.numbers]
    for layer in params["layers"]:
        weights = jnp.tanh(basis @ layer["radial"]) * fade
        received = graph.sum_at_receivers(graph.at_senders(h @ layer["send"]) * weights)
        h = h + jnp.tanh(received @ layer["mix"])
    return h @ params["energy"]


def segment_sums(params: Any, graph: Graph) -> jax.Array:
    """Energies of graphs; sums and gathers are JAX's own."""
    vectors = graph.vectors()
    basis, fade = _radial(jnp.sum(vectors * vectors, axis=1))
    h = params["embedding"][graph.numbers]
    for layer in params["layers"]:
        weights = jnp.tanh(basis @ layer["radial"]) * fade
        sent = (h @ layer["send"])[graph.senders] * weights
        received = jax.ops.segment_sum(sent, graph.receivers, len(h), indices_are_sorted=True)
        h = h + jnp.tanh(received @ layer["mix"])
    return jax.ops.segment_sum(h @ params["energy"], graph.graph_of_node, graph.n_graphs)


def without_graph(params: Any, atoms: ase.Atoms) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy, forces (n, 3) and virial (3, 3) by all pairs of atoms and images; needs x64."""
    images = [range(-4, 5) if periodic else (0,) for periodic in atoms.pbc]
    shifts = np.stack(np.meshgrid(*images, indexing="ij"), axis=-1).reshape(-1, 3)
    params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), params)

    def energy(x: jax.Array, strain: jax.Array) -> jax.Array:
        deformed = jnp.eye(3) + (strain + strain.T) / 2
        d = (shifts @ np.asarray(atoms.cell))[:, None, None] + x[None, None] - x[None, :, None]
        d = d @ deformed
        r2 = jnp.sum(d * d, axis=-1)
        linked = (r2 > 1e-9) & (r2 < CUTOFF**2)
        basis, fade = _radial(jnp.where(linked, r2, 1.0))
        h = params["embedding"][atoms.numbers]
        for layer in params["layers"]:
            weights = jnp.where(linked[..., None], jnp.tanh(basis @ layer["radial"]) * fade, 0)
            h = h + jnp.tanh(jnp.einsum("sijf,jf->if", weights, h @ layer["send"]) @ layer["mix"])
        return jnp.sum(h @ params["energy"])

    value, (slope, virial) = jax.jit(jax.value_and_grad(energy, (0, 1)))(
        jnp.asarray(atoms.positions), jnp.zeros((3, 3))
    )
    return float(value), -np.asarray(slope), np.asarray(virial)
