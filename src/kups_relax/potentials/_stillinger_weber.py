"""Stillinger-Weber: pairs, and angles at each atom between pairs of its neighbours."""

import dataclasses
import itertools
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kups_relax.errors import OptionError
from kups_relax.potentials._near import Near, Slots
from kups_relax.potentials._three_body import ThreeBody
from kups_relax.potentials._triplets import Triplet, of_pairs, pick


class StillingerWeberParameters(NamedTuple):
    """What a triplet has, as in LAMMPS's files.

    `sigma` and `a`, `gamma`, `A`, `B`, `p` and `q` count where the neighbours are of one element:
    they are those of a pair. `tol` is not used: the cutoff is a sigma.
    """

    epsilon: float
    sigma: float
    a: float
    lambda_: float
    gamma: float
    costheta0: float
    A: float
    B: float
    p: float
    q: float
    tol: float = 0.0


_SILICON = StillingerWeberParameters(
    2.1683, 2.0951, 1.80, 21.0, 1.20, -1 / 3, 7.049556277, 0.6022245584, 4.0, 0.0
)


@dataclasses.dataclass(frozen=True)
class StillingerWeber(ThreeBody):
    """Stillinger-Weber: pairs, and angles that want to be tetrahedral.

    Silicon as published, unless parameters are given; for several elements the form of LAMMPS's
    pair_style sw.

    Attributes:
        triplets: For each (i, j, k) of chemical symbols, i at the centre: epsilon (eV),
            sigma (Angstrom), a, lambda_, gamma, costheta0, A, B, p, q, tol, as
            `StillingerWeberParameters`, by name or in order. Pairs take theirs from (i, j, j).
        skin: Angstrom by which neighbour lists reach further than the cutoff. They hold until an
            atom has moved half of it; no result depends on it.

    Raises:
        OptionError: Parameters that make no sense.

    Example:
        >>> from ase.build import bulk
        >>> import kups_relax as kr
        >>> atoms = bulk("Si", a=5.431)
        >>> atoms.calc = kr.ase.JaxCalculator(StillingerWeber())
        >>> print(f"{atoms.get_potential_energy() / len(atoms):.4f} eV")
        -4.3366 eV

    References:
        Stillinger, Weber, Phys. Rev. B 31, 5262 (1985), doi:10.1103/PhysRevB.31.5262.
    """

    name: ClassVar[str] = "stillinger-weber"
    record: ClassVar[type[Any]] = StillingerWeberParameters

    triplets: Any = ((("Si", "Si", "Si"), _SILICON),)
    skin: float = 0.5

    def __post_init__(self) -> None:
        _check(dict(self._freeze()), self.elements)

    def cutoffs(self) -> np.ndarray:
        """See `ThreeBody.cutoffs`."""
        own = of_pairs(self.tables()["a"] * self.tables()["sigma"])
        return np.maximum(own, own.T)

    def bonds(self, near: Near) -> tuple[jax.Array, jax.Array]:
        """See `ThreeBody.bonds`."""
        table = self.tables()
        strength, cosine = table["lambda_"] * table["epsilon"], table["costheta0"]
        fades, falls = near.map(lambda j: self._fade(near.species, j), (1, 1))

        def bond(j: Slots) -> tuple[jax.Array, jax.Array]:
            energy, slope = self._pair(near.species, j)
            h, fall = j.part(fades)[0], j.part(falls)[0]

            def angles(k: Slots) -> jax.Array:
                """What h_j multiplies in the energy, and in half its derivative by u_j."""
                weight = pick(strength, near.species, j.species, k.species)
                cos = j.u[0] * k.u[0] + j.u[1] * k.u[1] + j.u[2] * k.u[2]
                off = cos - pick(cosine, near.species, j.species, k.species)
                bent = weight * k.part(fades)[0] * off
                return jnp.stack([bent * off, *(bent * k.u)])

            bending, *turn = near.over_others(j, angles, jnp.zeros((4, *j.r.shape), j.r.dtype))
            along = j.u[0] * turn[0] + j.u[1] * turn[1] + j.u[2] * turn[2]
            # Half the energy of a pair belongs to each end, and half that of an angle to each leg.
            energy = 0.5 * (energy + h * bending)
            slope = 0.5 * slope + fall * bending - 2.0 * (h * along) / j.r
            return energy[None], slope * j.u + 2.0 * (h / j.r) * jnp.stack(turn)

        energies, slopes = near.map(bond, (1, 3))
        return energies, slopes

    def _fade(self, center: jax.Array, j: Slots) -> tuple[jax.Array, jax.Array]:
        """exp(gamma sigma / (r - a sigma)), and its slope in r; 0 from there on."""
        table = {name: of_pairs(values) for name, values in self.tables().items()}
        reach = pick(table["a"] * table["sigma"], center, j.species)
        length = pick(table["gamma"] * table["sigma"], center, j.species)
        inside = ~(j.r >= reach)
        inverse = 1.0 / (j.r - reach)
        h = jnp.where(inside, jnp.exp(length * inverse), 0.0)
        fall = jnp.where(inside, -length * inverse * inverse * h, 0.0)
        return h[None], fall[None]

    def _pair(self, center: jax.Array, j: Slots) -> tuple[jax.Array, jax.Array]:
        """Energy of pairs, and its slope in r."""
        table = {name: of_pairs(values) for name, values in self.tables().items()}
        names = ("sigma", "B", "p", "q")
        sigma, wall, p, q = (pick(table[name], center, j.species) for name in names)
        depth = pick(table["A"] * table["epsilon"], center, j.species)
        reach = pick(table["a"] * table["sigma"], center, j.species)
        inside = ~(j.r >= reach)
        inverse = 1.0 / (j.r - reach)
        near, far = wall * _power(sigma / j.r, p), _power(sigma / j.r, q)
        fade = depth * jnp.exp(sigma * inverse)
        energy = fade * (near - far)
        slope = fade * (q * far - p * near) / j.r - energy * (sigma * inverse * inverse)
        return jnp.where(inside, energy, 0.0), jnp.where(inside, slope, 0.0)


def _power(x: jax.Array, exponent: jax.Array | float) -> jax.Array:
    if isinstance(exponent, float) and exponent.is_integer():
        return lax.integer_pow(x, int(exponent))
    return jnp.power(x, exponent)


def _check(parameters: dict[Triplet, StillingerWeberParameters], elements: tuple[str, ...]) -> None:
    """Raise for parameters that do not say one energy.

    Raises:
        OptionError: Two entries contradict each other, or a number is negative.
    """
    for triplet, x in parameters.items():
        for name, value in x._asdict().items():
            if value < 0 and name != "costheta0":
                raise OptionError(
                    f"StillingerWeber: {name} of {triplet!r} is {value}; it must be at least 0."
                )
    for i, j in itertools.product(elements, repeat=2):
        pair, mirror = parameters[i, j, j], parameters[j, i, i]
        ours, theirs = _pair_energy(pair), _pair_energy(mirror)
        if not np.allclose(ours, theirs, rtol=1e-9, atol=0):
            raise OptionError(
                f"StillingerWeber: {(i, j, j)} and {(j, i, i)} say different energies of one pair: "
                f"epsilon A, B, p, q, sigma and a are {ours} and {theirs}. Make them equal."
            )
    for i, j, k in parameters:
        ours, theirs = parameters[i, j, k], parameters[i, k, j]
        ours, theirs = ((x.epsilon * x.lambda_, x.costheta0) for x in (ours, theirs))
        if not np.allclose(ours, theirs, rtol=1e-9, atol=0):
            raise OptionError(
                f"StillingerWeber: {(i, j, k)} and {(i, k, j)} say different energies of one "
                f"angle: epsilon lambda and costheta0 are {ours} and {theirs}. Make them equal."
            )


def _pair_energy(x: StillingerWeberParameters) -> tuple[float, ...]:
    if not (x.epsilon and x.A and x.sigma and x.a):
        return (0.0,) * 6
    return x.epsilon * x.A, x.B, x.p, x.q, x.sigma, x.a
