"""Tersoff's bond orders.

The attraction of a bond i-j is weakened by a function of zeta_ij, a sum over the other neighbours
k of i. Energies and slopes take two passes over the bonds. The first adds zeta up, and gives each
bond's energy and its derivative in zeta; the second gives the slope by each vector i-j, on which
zeta_ij depends, and zeta_ik of every other bond. So each slot collects what is its own, and nothing
is scattered.
"""

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from kups_relax.errors import OptionError, shown
from kups_relax.potentials._near import Near, Slots
from kups_relax.potentials._tersoff_parameters import SETS, TersoffParameters
from kups_relax.potentials._three_body import ThreeBody
from kups_relax.potentials._triplets import Triplet, of_pairs, pick

# Beyond these the exponential of a difference of lengths is cut off, as in LAMMPS and ASE.
_MAX_EXPONENT = 69.0776


@dataclasses.dataclass(frozen=True)
class Tersoff(ThreeBody):
    """Tersoff's bond orders: silicon, carbon, silicon carbide, and what else there is a file for.

    Numbers are those of `ase.calculators.tersoff.Tersoff`.

    Attributes:
        triplets: A published set: "si-t2", "si-t3", "c", "sic-1989" or "sic-1994" (these two
            serve Si and C alone, too). Or, for each (i, j, k) of chemical symbols, i at the
            centre, m, gamma, lambda3, c, d, h, n, beta, lambda2, B, R, D, lambda1, A (eV,
            Angstrom), as `TersoffParameters`, by name, in order, or as ASE's `TersoffParameters`.
            A bond takes its own from (i, j, j), and what k does to it from (i, j, k).
        skin: Angstrom by which neighbour lists reach further than the cutoffs. They hold until an
            atom has moved half of it; no result depends on it.

    Raises:
        OptionError: There is no such set, or parameters make no sense.

    Example:
        >>> from ase.build import bulk
        >>> import kups_relax as kr
        >>> atoms = bulk("C", a=3.566)
        >>> atoms.calc = kr.ase.JaxCalculator(Tersoff("c"))
        >>> print(f"{atoms.get_potential_energy() / len(atoms):.2f} eV")
        -7.37 eV

    References:
        "si-t2": Tersoff, Phys. Rev. B 37, 6991 (1988), doi:10.1103/PhysRevB.37.6991.
        "si-t3": Tersoff, Phys. Rev. B 38, 9902 (1988), doi:10.1103/PhysRevB.38.9902.
        "c": Tersoff, Phys. Rev. Lett. 61, 2879 (1988), doi:10.1103/PhysRevLett.61.2879.
        "sic-1989": Tersoff, Phys. Rev. B 39, 5566 (1989), doi:10.1103/PhysRevB.39.5566, with its
        erratum, Phys. Rev. B 41, 3248 (1990), doi:10.1103/PhysRevB.41.3248.2.
        "sic-1994": Tersoff, Phys. Rev. B 49, 16349 (1994), doi:10.1103/PhysRevB.49.16349.
    """

    name: ClassVar[str] = "tersoff"
    record: ClassVar[type[Any]] = TersoffParameters

    triplets: Any = "sic-1989"
    skin: float = 0.5

    def __post_init__(self) -> None:
        if isinstance(self.triplets, str):
            if self.triplets not in SETS:
                raise OptionError(
                    f"Tersoff: there is no set {shown(self.triplets)}; expected one of "
                    f"{', '.join(SETS)}, or parameters of triplets."
                )
            object.__setattr__(self, "triplets", SETS[self.triplets]())
        for triplet, x in self._freeze():
            _check(triplet, x)

    def cutoffs(self) -> np.ndarray:
        """See `ThreeBody.cutoffs`."""
        table = self.tables()
        reach = table["R"] + table["D"]
        own = reach.max(axis=1)
        return np.maximum(own, own.T)

    def bonds(self, near: Near) -> tuple[jax.Array, jax.Array]:
        """See `ThreeBody.bonds`."""
        bonds = _Bonds(self.tables(), near)
        energies, in_zeta, radial = near.map(bonds.energies, (1, 1, 1))
        [slopes] = near.map(lambda j: bonds.slopes(j, in_zeta, radial), (3,))
        return energies, slopes


class _Bonds:
    """The arithmetic of bonds i-j, some slots j at a time.

    Functions of two neighbours j and k are those of what k does to the bond i-j; with j and k
    exchanged, of what j does to i-k. Where they are the same, the compiler computes them once.
    """

    def __init__(self, tables: dict[str, np.ndarray], near: Near) -> None:
        self._tables, self._near = tables, near
        self._stretched = bool(tables["lambda3"].any())

    def energies(self, j: Slots) -> tuple[jax.Array, ...]:
        """Half the energy of bonds, its derivative in zeta, and in the length at that zeta."""

        def weaken(k: Slots) -> jax.Array:
            value = self._fade(k.r, j.species, k.species)[0]
            value = value * self._angle(_dot(j.u, k.u), j.species, k.species)[0]
            if self._stretched:
                value = value * self._stretch(j.r - k.r, j.species, k.species)[0]
            return value

        zeta = self._near.over_others(j, weaken, jnp.zeros_like(j.r))
        fade, fall = self._fade(j.r, j.species, j.species)
        order, order_slope = self._order(zeta, j.species)
        repulsion, attraction = (
            self._pair(name, j.species) * jnp.exp(-self._pair(rate, j.species) * j.r)
            for name, rate in (("A", "lambda1"), ("B", "lambda2"))
        )
        steep = self._pair("lambda1", j.species) * repulsion
        steep = steep - order * (self._pair("lambda2", j.species) * attraction)
        value = repulsion - order * attraction
        in_zeta = -(fade * attraction) * order_slope
        parts = (fade * value, in_zeta, fall * value - fade * steep)
        return tuple(0.5 * x[None] for x in parts)

    def slopes(self, j: Slots, in_zeta: jax.Array, radial: jax.Array) -> tuple[jax.Array]:
        """(3, n, N), derivative of the centre's energy in the vectors of slots."""
        weight = j.part(in_zeta)[0]

        def weaken(k: Slots) -> jax.Array:
            """What k does to the bond to j, and what j does to the bond to k."""
            weight_k, cos = k.part(in_zeta)[0], _dot(j.u, k.u)
            angle, bend = self._angle(cos, j.species, k.species)
            angle_k, bend_k = self._angle(cos, k.species, j.species)
            fade, _ = self._fade(k.r, j.species, k.species)
            fade_k, fall_k = self._fade(j.r, k.species, j.species)
            here, there = weight * fade, weight_k * fade_k
            length = weight_k * (fall_k * angle_k)
            if self._stretched:
                stretch, rise = self._stretch(j.r - k.r, j.species, k.species)
                stretch_k, rise_k = self._stretch(k.r - j.r, k.species, j.species)
                length = length * stretch_k + here * angle * rise - there * angle_k * rise_k
                here, there = here * stretch, there * stretch_k
            # Divided, not multiplied by the inverse: the compiler stores what a division gives,
            # and does not compute it again for each component.
            turn = (here * bend + there * bend_k) / j.r
            return jnp.stack([length - turn * cos, *(turn * k.u)])

        start = jnp.concatenate([j.part(radial), jnp.zeros_like(j.u)])
        sums = self._near.over_others(j, weaken, start)
        return (sums[0] * j.u + sums[1:],)

    def _pair(self, name: str, j: jax.Array) -> jax.Array | float:
        return pick(of_pairs(self._tables[name]), self._near.species, j)

    def _triplet(self, name: str, j: jax.Array, k: jax.Array) -> jax.Array | float:
        return pick(self._tables[name], self._near.species, j, k)

    def _fade(self, r: jax.Array, j: jax.Array, k: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The cutoff function of a distance i-k, and its slope."""
        middle, half = self._triplet("R", j, k), self._triplet("D", j, k)
        x = jnp.clip((r - middle) / half, -1.0, 1.0)
        # (1 - sin(pi x / 2)) / 2 is the square of sin(pi (1 - x) / 4).
        sin, cos = _sin_cos((0.25 * math.pi) * x)
        slope = ((cos - sin) * (cos + sin)) / (-4.0 / math.pi * half)
        value = ((cos - sin) * (cos - sin)) / 2.0
        return jnp.where(x >= 1.0, 0.0, value), jnp.where(jnp.abs(x) >= 1.0, 0.0, slope)

    def _angle(self, cos: jax.Array, j: jax.Array, k: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The function of the angle, and its slope in the cosine.

        1 + c^2/d^2 - c^2/(d^2 + x^2) is the difference of numbers that are large and nearly
        equal, so it is written as one term.
        """
        c, d, h, gamma = (self._triplet(name, j, k) for name in ("c", "d", "h", "gamma"))
        x = h - cos
        inverse = 1.0 / (d * d + x * x)
        steep = (c * c) * (x * inverse)
        value = gamma * (1.0 + steep * x / (d * d))
        return value, (-2.0 * gamma) * (steep * inverse)

    def _stretch(self, d: jax.Array, j: jax.Array, k: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The function of a difference of lengths, and its slope."""
        rate = self._triplet("lambda3", j, k)
        cubic = self._triplet("m", j, k)
        x = rate * d
        power = jnp.where(cubic == 3.0, x * x * x, x)
        slope = rate * jnp.where(cubic == 3.0, 3.0 * (x * x), 1.0)
        value = jnp.exp(jnp.clip(power, -_MAX_EXPONENT, _MAX_EXPONENT))
        value = jnp.where(power < -_MAX_EXPONENT, 0.0, value)
        return value, jnp.where(jnp.abs(power) > _MAX_EXPONENT, 0.0, slope * value)

    def _order(self, zeta: jax.Array, j: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(1 + (beta zeta)^n)^(-1/2n), and its slope; 1 and 0 without other neighbours."""
        beta, n = self._pair("beta", j), self._pair("n", j)
        alone = zeta <= 0
        # In the logarithm, where nothing is too large: ln(1 + e^x) and e^x / (1 + e^x).
        x = n * jnp.log(beta * jnp.where(alone, 1.0, zeta))
        small = jnp.exp(-jnp.abs(x))
        sum_ = 1.0 + small
        softplus = jnp.maximum(x, 0.0) + jnp.log1p(small)
        share = jnp.where(x > 0, 1.0, small) / sum_
        order = jnp.exp(softplus * (-0.5 / n))
        slope = -0.5 * order * share / jnp.where(alone, 1.0, zeta)
        return jnp.where(alone, 1.0, order), jnp.where(alone, 0.0, slope)


def _sin_cos(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sine and cosine from -pi/4 to pi/4, within 1e-16.

    The library's functions are calls, which keep a loop out of the vector units.
    """
    square = x * x
    sin, cos = ([(-1) ** n / math.factorial(2 * n + odd) for n in range(9)] for odd in (1, 0))
    return x * _polynomial(sin, square), _polynomial(cos, square)


def _polynomial(coefficients: list[float], x: jax.Array) -> jax.Array:
    value = jnp.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * x + coefficient
    return value


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _check(triplet: Triplet, x: TersoffParameters) -> None:
    """Raise for parameters that no energy follows from.

    Raises:
        OptionError: See the messages.
    """
    for holds, name, what in (
        (x.m in (1, 3), "m", "1 or 3"),
        (x.d != 0, "d", "other than 0"),
        (0 < x.D <= x.R, "D", "greater than 0, or the energy jumps, and at most R"),
        (triplet[1] != triplet[2] or x.n > 0, "n", "greater than 0"),
        (triplet[1] != triplet[2] or x.beta >= 0, "beta", "at least 0"),
    ):
        if not holds:
            raise OptionError(
                f"Tersoff: {name} of {triplet!r} is {getattr(x, name)}; it must be {what}."
            )
