"""Morse."""

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
class Morse(PairPotential):
    """Morse over all pairs: epsilon (e^(-2 rho0 (r/r0 - 1)) - 2 e^(-rho0 (r/r0 - 1))).

    Elements mix by the geometric mean of epsilon and the arithmetic means of r0 and rho0. With
    a cutoff the numbers are those of `ase.calculators.morse.MorsePotential` with
    rcut1 = onset/r0 and rcut2 = cutoff/r0; an onset is then required.

    Molecules and clusters: all pairs, O(n_atoms^2) a step. With a cutoff also periodic
    structures, with stress, and large ones, by neighbour lists.

    Attributes:
        epsilon: Well depth, eV: a number, or one for each chemical symbol.
        r0: Distance of the minimum, Angstrom: likewise.
        rho0: Steepness, no unit: likewise.
        cutoff: Angstrom, or None for all pairs.
        onset: Where the cutoff function begins, Angstrom; 0.7 cutoff, if only that is given.
        skin: Angstrom by which neighbour lists reach further than the cutoff. They hold until an
            atom has moved half of it; no result depends on it.

    Raises:
        OptionError: A parameter that makes no sense.

    Example:
        >>> nickel = Morse(epsilon=0.4205, r0=2.78, rho0=3.95)

    References:
        Morse, Phys. Rev. 1929, 34, 57, doi:10.1103/PhysRev.34.57.
    """

    name: ClassVar[str] = "morse"
    parameter_names: ClassVar[tuple[str, ...]] = ("epsilon", "rho0", "per_r0")

    epsilon: Any = 1.0
    r0: Any = 1.0
    rho0: Any = 6.0
    cutoff: float | None = None
    onset: float | None = None
    skin: float = 1.0

    def __post_init__(self) -> None:
        for name in ("epsilon", "r0", "rho0"):
            object.__setattr__(self, name, freeze(name, getattr(self, name)))
        check_cutoff(self)
        if self.cutoff is not None and self.onset is None:
            object.__setattr__(self, "onset", 0.7 * self.cutoff)

    def of_atoms(self, structure: Structure) -> np.ndarray:
        """Return epsilon (eV), r0 (Angstrom) and rho0 of each atom, (3, n_atoms)."""
        return parameters_of("Morse", self, ("epsilon", "r0", "rho0"), structure)

    def mixed(self, a: np.ndarray, b: np.ndarray) -> Sequence[np.ndarray]:
        """Return epsilon (geometric mean), rho0 (mean) and 1/r0 (of the mean) of each pair."""
        return np.sqrt(a[0] * b[0]), (a[2] + b[2]) / 2, 2 / (a[1] + b[1])

    def pair(
        self, r2: jax.Array, epsilon: jax.Array, rho0: jax.Array, per_r0: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Return the energy of each pair and its slope in r2."""
        r = jnp.sqrt(r2)
        x = jnp.exp(-rho0 * (r * per_r0 - 1.0))
        energy = epsilon * (x * x - (x + x))
        # d/dr2 = d/dr / (2 r)
        slope = epsilon * rho0 * per_r0 * (x - x * x) / r
        if self.cutoff is None or self.onset is None:
            return energy, slope
        width = self.cutoff - self.onset
        s = 1.0 - (r - self.onset) / width
        smooth = s * s * s * (10.0 - s * (15.0 - 6.0 * s))
        fall = s * s * (30.0 - s * (60.0 - 30.0 * s)) * (-0.5 / width) / r
        slope = jnp.where(s < 1.0, slope * smooth + energy * fall, slope)
        energy = jnp.where(s < 1.0, energy * smooth, energy)
        return jnp.where(s > 0.0, energy, 0.0), jnp.where(s > 0.0, slope, 0.0)
