"""Train a small model of your own, plain JAX, and relax a batch of structures with it.

The model follows SchNet; data are copper and gold by ASE's effective medium theory. Copy this
file, and put your model in the place of `model`.
"""

import sys

import ase
import jax
import jax.numpy as jnp
import numpy as np
import optax
from ase.build import bulk
from ase.calculators.emt import EMT

import kups_relax as kr

CUTOFF = 5.0
WIDTH, RADIAL, LAYERS = 32, 16, 2
ELEMENTS = ("Cu", "Au")


def model(params: dict, graph: kr.potentials.Graph) -> jax.Array:
    """Energy of each node, eV: messages from neighbours, weighted by learnt functions of r."""
    vectors = graph.vectors()
    r = jnp.sqrt(jnp.sum(vectors * vectors, axis=1, keepdims=True))
    x = r / graph.cutoff
    fade = jnp.where(x < 1, (1 - x) ** 3 * (1 + 3 * x + 6 * x * x), 0)
    radial = fade * jnp.sin(jnp.pi * x * jnp.arange(1, RADIAL + 1)) / r
    h = params["embedding"][graph.numbers]
    for layer in params["layers"]:
        weights = jax.nn.silu(radial @ layer["radial"]) @ layer["filter"] * fade
        received = graph.sum_at_receivers(graph.at_senders(h @ layer["send"]) * weights)
        h = h + jax.nn.silu(received @ layer["mix"]) @ layer["update"]
    return jax.nn.silu(h @ params["readout"]) @ params["energy"]


def new_params(random: np.random.Generator) -> dict:
    """Random weights."""

    def matrix(n: int, m: int) -> np.ndarray:
        return random.normal(0, n**-0.5, (n, m)).astype(np.float32)

    def layer() -> dict:
        square = {name: matrix(WIDTH, WIDTH) for name in ("filter", "send", "mix", "update")}
        return {"radial": matrix(RADIAL, WIDTH), **square}

    return {
        "embedding": 10 * matrix(100, WIDTH),
        "layers": [layer() for _ in range(LAYERS)],
        "readout": matrix(WIDTH, WIDTH),
        "energy": matrix(WIDTH, 1)[:, 0],
    }


def structure(random: np.random.Generator) -> ase.Atoms:
    """A crystal, or a cluster cut from one: strained, mixed and shaken."""
    a = random.uniform(3.55, 4.15)
    atoms = bulk("Cu", "fcc", a=a, cubic=True).repeat((2, 1, 1))
    if random.random() < 0.5:
        atoms = atoms.repeat((1, 2, 2))
        nearest = np.argsort(np.linalg.norm(atoms.positions - a, axis=1))
        atoms = atoms[nearest[: random.integers(4, 14)]]
        atoms.set_cell(None)
        atoms.pbc = False
    else:
        atoms.set_cell(atoms.cell @ (np.eye(3) + random.normal(0, 0.02, (3, 3))), scale_atoms=True)
    atoms.symbols[:] = random.choice(ELEMENTS, len(atoms))
    atoms.positions += random.normal(0, random.uniform(0.02, 0.15), atoms.positions.shape)
    atoms.calc = EMT()
    return atoms


def labelled(structures: list[ase.Atoms], size: int) -> list[tuple]:
    """Batches of one shape: graph, energies (n_graphs,), forces (n_nodes, 3)."""
    batches = []
    for k, graph in enumerate(kr.potentials.Graph.batches(structures, CUTOFF, size)):
        members = structures[k * size : (k + 1) * size]
        energies, forces = np.zeros(graph.n_graphs), np.zeros((len(graph.numbers), 3))
        energies[: len(members)] = [atoms.get_potential_energy() for atoms in members]
        forces[graph.node_mask] = np.concatenate([atoms.get_forces() for atoms in members])
        batches.append((graph, energies.astype(np.float32), forces.astype(np.float32)))
    return batches


def errors(params: dict, batch: tuple) -> tuple[jax.Array, jax.Array]:
    """Errors of energies per atom (n_graphs,), eV, and of forces (n_nodes, 3), eV/Angstrom."""
    graph, energies, forces = batch

    def total(positions: jax.Array) -> tuple[jax.Array, jax.Array]:
        got = graph.sum_over_graphs(model(params, graph.replace(positions=positions)))
        return got.sum(), got

    slope, got = jax.grad(total, has_aux=True)(graph.positions)
    n_atoms = graph.sum_over_graphs(graph.node_mask.astype(got.dtype))
    return (got - energies) / jnp.maximum(1, n_atoms), -slope - forces


def train(params: dict, batches: list[tuple], n_epochs: int, random: np.random.Generator) -> dict:
    """Fit energies and forces by Adam."""
    schedule = optax.cosine_decay_schedule(5e-3, n_epochs * len(batches))
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))

    def loss(params: dict, batch: tuple) -> jax.Array:
        of_energies, of_forces = errors(params, batch)
        return 10 * jnp.mean(of_energies**2) + jnp.mean(of_forces**2)

    @jax.jit
    def step(params: dict, state: tuple, batch: tuple) -> tuple:
        updates, state = optimizer.update(jax.grad(loss)(params, batch), state)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for _ in range(n_epochs):
        for k in random.permutation(len(batches)):
            params, state = step(params, state, batches[k])
    return params


def make(n_structures: int = 320, n_epochs: int = 60) -> kr.potentials.GraphModel:
    """Train; `kups-relax relax crystals.xyz --potential own_model.py:make` calls this, too."""
    random = np.random.default_rng(0)
    batches = labelled([structure(random) for _ in range(n_structures)], 16)
    params = train(new_params(random), batches, n_epochs, random)
    return kr.potentials.GraphModel(model, params, CUTOFF, elements=ELEMENTS)


def main(n_structures: int = 320, n_epochs: int = 60) -> None:
    """Train, say how good the model is, and relax with it."""
    potential = make(n_structures, n_epochs)
    random = np.random.default_rng(1)
    held_out = labelled([structure(random) for _ in range(64)], 64)[0]
    of_energies, of_forces = jax.jit(errors)(potential.params, held_out)
    atom = np.asarray(held_out[0].node_mask)
    print(f"errors against EMT of {len(of_energies)} structures that it has not seen, rms:")
    print(f"  energy {1000 * np.sqrt(np.mean(of_energies**2)):6.1f} meV/atom")
    print(f"  forces {1000 * np.sqrt(np.mean(of_forces[atom] ** 2)):6.1f} meV/Angstrom", end="")
    print(f", where forces are {1000 * np.sqrt(np.mean(held_out[2][atom] ** 2)):.0f}")

    result = kr.relax([structure(random) for _ in range(32)], potential, fmax=0.01)
    print(result)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
