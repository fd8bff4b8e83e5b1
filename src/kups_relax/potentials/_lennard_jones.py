"""Lennard-Jones."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from kups_relax.data import Structure
from kups_relax.potentials._base import Evaluation, Field, Potential, Terms
from kups_relax.potentials._cutoff import check_cutoff
from kups_relax.potentials._pairs import all_pairs
from kups_relax.potentials._species import freeze, per_atom, refuse_periodic


@dataclasses.dataclass(frozen=True)
class LennardJones(Potential):
    """Lennard-Jones 12-6 over all pairs: 4 epsilon ((sigma/r)^12 - (sigma/r)^6).

    Elements mix by Lorentz and Berthelot: sigma by the arithmetic, epsilon by the geometric
    mean. With a cutoff the numbers are those of `ase.calculators.lj.LennardJones`: shifted to
    0 at the cutoff, or, where `onset` is given, taken smoothly to 0 between onset and cutoff
    (ASE's `smooth=True`, with rc=cutoff and ro=onset).

    Costs O(n_atoms^2) a step. Non-periodic structures.

    Attributes:
        epsilon: Well depth, eV: a number, or one for each chemical symbol.
        sigma: Distance of zero energy, Angstrom: likewise.
        cutoff: Angstrom, or None for all pairs.
        onset: Where the smooth cutoff begins, Angstrom, or None for a shifted one.

    Raises:
        OptionError: A parameter that makes no sense.

    Example:
        >>> argon = LennardJones(epsilon=0.0104, sigma=3.40)
        >>> mixture = LennardJones(epsilon={"Ar": 0.0104, "Ne": 0.0031},
        ...                        sigma={"Ar": 3.40, "Ne": 2.75})

    References:
        Jones, Proc. R. Soc. Lond. A 1924, 106, 463, doi:10.1098/rspa.1924.0082.
    """

    name: ClassVar[str] = "lennard-jones"

    epsilon: Any = 1.0
    sigma: Any = 1.0
    cutoff: float | None = None
    onset: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "epsilon", freeze("epsilon", self.epsilon))
        object.__setattr__(self, "sigma", freeze("sigma", self.sigma))
        check_cutoff(self.cutoff, self.onset)

    def fields(self) -> Mapping[str, Field]:
        """See `Potential.fields`."""
        return {"epsilon4": Field(("pairs",)), "sigma2": Field(("pairs",))}

    def prepare(self, structure: Structure) -> Mapping[str, np.ndarray]:
        """See `Potential.prepare`."""
        refuse_periodic("LennardJones", structure)
        epsilon = per_atom("LennardJones", "epsilon", self.epsilon, structure)
        sigma = per_atom("LennardJones", "sigma", self.sigma, structure)
        return {
            "epsilon4": 4 * np.sqrt(epsilon[:, None] * epsilon),
            "sigma2": ((sigma[:, None] + sigma) / 2) ** 2,
        }

    def evaluate(self, positions: jax.Array, cell: jax.Array, terms: Terms) -> Evaluation:
        """See `Potential.evaluate`."""
        del cell
        energy, forces = all_pairs(
            positions, terms.counts["atoms"], self._pair, terms["epsilon4"], terms["sigma2"]
        )
        return Evaluation(energy, forces)

    def _pair(
        self, r2: jax.Array, epsilon4: jax.Array, sigma2: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Energy and its slope in r2, of each pair."""
        inverse = 1.0 / r2
        x2 = sigma2 * inverse
        x6 = x2 * x2 * x2
        energy = epsilon4 * (x6 * x6 - x6)
        slope = epsilon4 * inverse * (3.0 * x6 - 6.0 * (x6 * x6))
        if self.cutoff is None:
            return energy, slope
        rc2 = self.cutoff**2
        inside = r2 < rc2
        if self.onset is None:
            xc2 = sigma2 / rc2
            xc6 = xc2 * xc2 * xc2
            energy = energy - epsilon4 * (xc6 * xc6 - xc6)
        else:
            ro2 = self.onset**2
            left, width = rc2 - r2, (rc2 - ro2) ** 3
            smooth = left * left * (rc2 + 2.0 * r2 - 3.0 * ro2) / width
            fall = 6.0 * left * (ro2 - r2) / width
            beyond = r2 > ro2
            slope = jnp.where(beyond, slope * smooth + energy * fall, slope)
            energy = jnp.where(beyond, energy * smooth, energy)
        return jnp.where(inside, energy, 0.0), jnp.where(inside, slope, 0.0)
