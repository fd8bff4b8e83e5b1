"""Harmonic wells and bonds: known minima for tests, and the template of a bonded potential."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from kups_relax._checks import NOT_NEGATIVE, settle
from kups_relax.data import Field, Structure, Terms
from kups_relax.ops import fold, gather, inverse_list
from kups_relax.potentials._base import Evaluation, Potential
from kups_relax.potentials._species import refuse_periodic


@dataclasses.dataclass(frozen=True)
class Harmonic(Potential):
    """A well at the origin for every atom, and a spring between each atom and the next.

    E = well/2 sum_i |x_i|^2 + bond/2 sum_i (|x_(i+1) - x_i| - length)^2. With bond=0 the
    minimum is every atom at the origin, E = 0.

    Attributes:
        well: eV/Angstrom^2.
        bond: eV/Angstrom^2.
        length: Angstrom.

    Raises:
        OptionError: A negative parameter.
    """

    name: ClassVar[str] = "harmonic"

    well: float = 1.0
    bond: float = 0.0
    length: float = 1.0

    def __post_init__(self) -> None:
        settle(self, well=NOT_NEGATIVE, bond=NOT_NEGATIVE, length=NOT_NEGATIVE)

    def fields(self) -> Mapping[str, Field]:
        """See `Potential.fields`."""
        return {
            "bonds": Field(("bonds", 2), kind="int"),
            "bonds_of": Field(("atoms", "bonds_per_atom"), kind="int", fill=-1),
        }

    def capacities(self, n_atoms: int) -> Mapping[str, int]:
        """See `Potential.capacities`."""
        return {"bonds": n_atoms, "bonds_per_atom": 2}

    def prepare(self, structure: Structure) -> Mapping[str, np.ndarray]:
        """See `Potential.prepare`."""
        refuse_periodic("Harmonic", structure)
        first = np.arange(structure.n_atoms - 1)
        bonds = np.stack([first, first + 1], axis=1).astype(np.int32)
        return {"bonds": bonds, "bonds_of": inverse_list(bonds, structure.n_atoms)}

    def evaluate(self, positions: jax.Array, cell: jax.Array, terms: Terms) -> Evaluation:
        """See `Potential.evaluate`."""
        del cell
        energy, gradient_of = jax.vjp(lambda x: self._energy(x, terms), positions)
        (gradient,) = gradient_of(jnp.ones_like(energy))
        return Evaluation(energy, -gradient)

    def _energy(self, positions: jax.Array, terms: Terms) -> jax.Array:
        bonds = terms["bonds"]
        real = terms.mask("bonds", bonds.shape[0])
        ends = gather(positions, bonds, terms["bonds_of"])
        d = ends[:, :, 1] - ends[:, :, 0]
        r2 = jnp.where(real, fold(d * d), 1.0)
        stretch = jnp.where(real & (r2 > 0), jnp.sqrt(jnp.where(r2 > 0, r2, 1.0)) - self.length, 0)
        wells = fold(fold(positions * positions))
        return wells * (self.well / 2) + fold(stretch * stretch) * (self.bond / 2)
