"""A potential that stops being finite on the way."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from kups_relax.ops import fold
from kups_relax.potentials import Evaluation, Field, Potential


@dataclasses.dataclass(frozen=True)
class Cliff(Potential):
    """A well for each atom; NaN for a structure with an atom nearer to the origin than `edge`.

    Boron atoms feel the cliff, others do not.
    """

    name: ClassVar[str] = "cliff"

    edge: float = 0.5

    def fields(self):
        return {"boron": Field(("atoms",))}

    def prepare(self, structure):
        return {"boron": (structure.numbers == 5).astype(float)}

    def evaluate(self, positions, cell, terms):
        del cell
        real = terms.mask("atoms", positions.shape[1])
        r2 = jnp.where(real, fold(positions * positions), 0.0)
        over = (terms["boron"] > 0) & real & (r2 < self.edge**2)
        energy = fold(r2) / 2
        fell = jnp.max(over, axis=0)
        return Evaluation(jnp.where(fell, jnp.nan, energy), jnp.where(fell, jnp.nan, -positions))
