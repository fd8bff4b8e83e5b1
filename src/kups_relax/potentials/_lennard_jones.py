"""Lennard-Jones."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from kups_relax.data import Structure
from kups_relax.potentials._cutoff import check_cutoff
from kups_relax.potentials._pair_potential import PairPotential
from kups_relax.potentials._species import freeze, parameters_of


@dataclasses.dataclass(frozen=True)
class LennardJones(PairPotential):
    """Lennard-Jones 12-6 over all pairs: 4 epsilon ((sigma/r)^12 - (sigma/r)^6).

    Elements mix by Lorentz and Berthelot: sigma by the arithmetic, epsilon by the geometric
    mean. With a cutoff the numbers are those of `ase.calculators.lj.LennardJones`: shifted to
    0 at the cutoff, or, where `onset` is given, taken smoothly to 0 between onset and cutoff
    (ASE's `smooth=True`, with rc=cutoff and ro=onset).

    Molecules and clusters: all pairs, O(n_atoms^2) a step. With a cutoff also periodic
    structures, with stress, and large ones, by neighbour lists.

    Attributes:
        epsilon: Well depth, eV: a number, or one for each chemical symbol.
        sigma: Distance of zero energy, Angstrom: likewise.
        cutoff: Angstrom, or None for all pairs.
        onset: Where the smooth cutoff begins, Angstrom, or None for a shifted one.
        skin: Angstrom by which neighbour lists reach further than the cutoff. They hold until an
            atom has moved half of it; no result depends on it.

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
    parameter_names: ClassVar[tuple[str, ...]] = ("epsilon4", "sigma2")

    epsilon: Any = 1.0
    sigma: Any = 1.0
    cutoff: float | None = None
    onset: float | None = None
    skin: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "epsilon", freeze("epsilon", self.epsilon))
        object.__setattr__(self, "sigma", freeze("sigma", self.sigma))
        check_cutoff(self)

    def of_atoms(self, structure: Structure) -> np.ndarray:
        """Return epsilon and sigma of each atom, (2, n_atoms), eV and Angstrom."""
        return parameters_of("LennardJones", self, ("epsilon", "sigma"), structure)

    def mixed(self, a: np.ndarray, b: np.ndarray) -> Sequence[np.ndarray]:
        """Return 4 epsilon and sigma squared of each pair, by the Lorentz-Berthelot rules."""
        return 4 * np.sqrt(a[0] * b[0]), ((a[1] + b[1]) / 2) ** 2

    def pair(
        self, r2: jax.Array, epsilon4: jax.Array, sigma2: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Return the energy of each pair and its slope in r2."""
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
