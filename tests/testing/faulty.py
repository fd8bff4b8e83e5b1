"""A periodic pair potential that is right, and the same with one fault."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from kups_relax.neighbors import neighbor_list
from kups_relax.ops import fold
from kups_relax.ops._gather import take_rows
from kups_relax.potentials import Evaluation, Field, Potential, Terms

CUTOFF, SKIN = 3.2, 0.6


@dataclasses.dataclass(frozen=True)
class Pairs(Potential):
    """Pairs of energy (1 - r^2/c^2)^3 (r^2 - 4) within c, with stress and energies of atoms.

    Attributes:
        fault: What is wrong with it.
    """

    name: ClassVar[str] = "pairs"

    fault: str = ""

    @property
    def slack(self) -> float | None:
        return None if self.fault == "no skin" else SKIN / 2

    def fields(self) -> Mapping[str, Field]:
        return {
            "neighbor": Field(("atoms", "neighbors"), kind="int", fill=-1),
            "shift": Field(("atoms", "neighbors", 3)),
        }

    def capacities(self, n_atoms: int) -> Mapping[str, int]:
        return {"neighbors": 96}

    def prepare(self, structure: Any) -> Mapping[str, np.ndarray]:
        reach = CUTOFF + (0 if self.fault in ("short list", "no skin") else SKIN)
        i, j, shifts = neighbor_list(structure.positions, structure.cell, structure.pbc, reach)
        if self.fault == "few images":
            keep = (abs(shifts) < 3).all(axis=1)
            i, j, shifts = i[keep], j[keep], shifts[keep]
        if self.fault == "nearest image":
            d = structure.positions[j] - structure.positions[i] + shifts @ structure.cell
            order = np.lexsort(((d * d).sum(axis=1), j, i))
            keep = np.sort(
                order[np.unique(np.stack([i, j])[:, order], axis=1, return_index=True)[1]]
            )
            i, j, shifts = i[keep], j[keep], shifts[keep]
        # Not `neighbor_matrix`: it refuses lists that lack one side of a pair.
        counts = np.bincount(i, minlength=structure.n_atoms)
        column = np.arange(len(i)) - (np.cumsum(counts) - counts)[i]
        neighbor = np.full((structure.n_atoms, counts.max(initial=0)), -1, np.int32)
        shift = np.zeros((*neighbor.shape, 3))
        neighbor[i, column], shift[i, column] = j, shifts
        return {"neighbor": neighbor, "shift": shift}

    def evaluate(self, positions: jax.Array, cell: jax.Array, terms: Terms) -> Evaluation:
        fault, given = self.fault, positions
        capacity, lanes = positions.shape[1:]
        atom = terms.mask("atoms", capacity)
        neighbor, shift = terms["neighbor"], terms["shift"]
        real = neighbor >= 0
        if fault == "direction":
            stretch = jnp.array([1.01, 1, 1], positions.dtype)
            positions, cell = positions * stretch[:, None, None], cell * stretch[:, None]
        d = take_rows(positions, jnp.maximum(neighbor, 0)) - positions[:, :, None]
        d = d + fold(_images(shift, cell))
        s = fold(d * d)
        near = real & (s < CUTOFF**2)
        s = jnp.where(near, s, 1.0)
        x = 1 - s / CUTOFF**2
        if fault == "jump":
            energy, slope = jnp.exp(-s / 4), -jnp.exp(-s / 4) / 4
        else:
            energy = x * x * x * (s - 4)
            slope = x * x * x - 3 / CUTOFF**2 * x * x * (s - 4)
        if fault == "order":
            weight = 1 + 0.1 * (jnp.arange(capacity) % 2).astype(s.dtype)
            other = weight[jnp.maximum(neighbor, 0)]
            energy = energy * weight[:, None, None] * other
            slope = slope * weight[:, None, None] * other
        energy = jnp.where(near, energy, 0.0)
        slope = jnp.where(near, slope, 0.0)
        forces = fold(2 * slope * d, axis=2)
        shares = fold(energy, axis=1) / 2
        virial = fold(fold(slope * d[:, None] * d[None], axis=3), axis=2)
        total = fold(shares)
        if fault == "direction":
            forces = forces * stretch[:, None, None]
        if fault == "sign":
            forces = -forces
        if fault == "force of float32":
            forces = forces.astype(jnp.float32).astype(forces.dtype)
        if fault == "energy of float32":
            total = total.astype(jnp.float32).astype(total.dtype)
            shares = None
        if fault == "field":
            total = total + 1e-3 * fold(jnp.where(atom, given[0], 0.0))
            forces = forces.at[0].add(-1e-3 * atom)
            shares = None
        if fault == "lanes":
            total = total * (1 + 2 * jnp.finfo(total.dtype).eps * jnp.arange(lanes))
        if fault == "padding":
            total = total + 1e-3 * (capacity - terms.counts["atoms"])
        if fault == "shares":
            shares = 2 * shares
        if fault == "not a number":
            total = total + 0 * jnp.sqrt(-jnp.ones_like(total))
        volume = jnp.abs(fold(cell[0] * jnp.cross(cell[1], cell[2], axis=0)))
        stress = virial / jnp.where(volume > 0, volume, 1.0)
        if fault == "stress factor":
            stress = stress / 2
        if fault == "shear":
            stress = stress.at[0, 1].multiply(1.5).at[1, 0].multiply(1.5)
        return Evaluation(total, forces, stress, shares)


def _images(shift: jax.Array, cell: jax.Array) -> jax.Array:
    """(3 vectors, 3, atoms, neighbors, lanes): the shift of each neighbour, vector by vector."""
    return jnp.moveaxis(shift, 2, 0)[:, None] * cell[:, :, None, None]
