"""Stillinger-Weber.

The three-body energy of an atom is a sum over pairs j, k of its neighbours of
L h_j h_k (cos - c)^2, where h depends on one distance alone. The square is a polynomial in the
cosine u_j.u_k, so the sum over k is that of three moments of the neighbours: of h, h u and h u u.
All triplets cost two passes over the neighbours, and no loop over pairs of them.
"""

import dataclasses
import itertools
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kups_relax.errors import OptionError
from kups_relax.potentials._near import CHUNK, Near, Slots, in_turn, put
from kups_relax.potentials._site_potential import SitePotential
from kups_relax.potentials._triplets import Triplet, pick


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
class StillingerWeber(SitePotential):
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
        if isinstance(self.triplets, tuple):
            object.__setattr__(self, "triplets", dict(self.triplets))
        _check(dict(self._freeze()), self.elements)

    def cutoffs(self) -> np.ndarray:
        """See `SitePotential.cutoffs`."""
        own = _of_pairs(self.tables()["a"] * self.tables()["sigma"])
        return np.maximum(own, own.T)

    def sites(self, near: Near) -> tuple[jax.Array, jax.Array]:
        """See `SitePotential.sites`."""
        table = self.tables()
        pairs = {name: _of_pairs(values) for name, values in table.items()}
        strength, cosine = table["lambda_"] * table["epsilon"], table["costheta0"]
        kinds = range(len(self.elements))
        center = near.species

        def fade(slots: Slots, r: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
            """Which slots are inside, 1 / (r - cutoff), h, and its slope in r."""
            cutoff = pick(pairs["a"] * pairs["sigma"], center, slots.species)
            length = pick(pairs["gamma"] * pairs["sigma"], center, slots.species)
            inside = slots.real & ~(r >= cutoff)
            inverse = 1.0 / (r - cutoff)
            h = jnp.exp(length * inverse)
            slope = -length * inverse * inverse * h
            return inside, inverse, jnp.where(inside, h, 0.0), jnp.where(inside, slope, 0.0)

        def moments(c: jax.Array, sums: jax.Array) -> jax.Array:
            slots = near.take(c * jnp.int32(CHUNK))
            r, _, u = slots.polar()
            h = fade(slots, r)[2]
            hu = h * u
            terms = jnp.stack([h, *hu, *(hu[a] * u[b] for a, b in _SYMMETRIC)])
            if len(kinds) > 1:
                terms = jnp.stack([jnp.where(slots.species == k, terms, 0.0) for k in kinds])
            else:
                terms = terms[None]
            return in_turn(sums, terms)

        shape = near.counts.shape
        start = jnp.zeros((len(kinds), 10, *shape), near.vectors.dtype)
        sums = lax.fori_loop(jnp.int32(0), near.n_chunks, moments, start)

        # What a neighbour of each kind is surrounded by: sums over the kinds of the others.
        around = []
        for j in kinds:
            total = jnp.zeros((10, *shape), start.dtype)
            for k in kinds:
                weight = pick(strength[:, j, k], near.species)
                c0 = pick(cosine[:, j, k], near.species)
                weights = (weight * (c0 * c0), *[weight * c0] * 3, *[weight] * 6)
                total = total + jnp.stack([w * x for w, x in zip(weights, sums[k], strict=True)])
            around.append(total)

        def slopes(c: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            energies, out = carry
            slots = near.take(c * jnp.int32(CHUNK))
            r, per_r, u = slots.polar()
            inside, inverse, h, fall = fade(slots, r)
            mine = around[0][:, None]
            for k in kinds[1:]:
                mine = jnp.where(slots.species == k, around[k][:, None], mine)
            turned = [
                mine[4 + a] * u[0] + mine[4 + b] * u[1] + mine[4 + c] * u[2] for a, b, c in _ROWS
            ]
            turned = [x - y for x, y in zip(turned, mine[1:4], strict=True)]
            # u.(Q u - P), and without one more P: what all neighbours make of this one, less
            # what it makes of itself.
            along = turned[0] * u[0] + turned[1] * u[1] + turned[2] * u[2]
            lean = mine[1] * u[0] + mine[2] * u[1] + mine[3] * u[2]
            itself = strength * (1.0 - cosine) ** 2
            itself = pick(np.einsum("ijj->ij", itself), center, slots.species)
            strain = along - lean + mine[0] - itself * h
            energy, slope = self._pair(pairs, center, slots.species, r, per_r, inverse)
            # Divisions, because the compiler stores what they give, and computes products anew
            # wherever they are read.
            energy = jnp.where(inside, energy + h * strain, 0.0) / 2.0
            slope = jnp.where(inside, 0.5 * slope, 0.0) + fall * strain
            pull = (h + h) / r
            slope = (slope * r - (h + h) * along) / r
            slope = jnp.stack([slope * u[a] + pull * turned[a] for a in range(3)])
            slope = jnp.where(inside, slope, 0.0)
            return in_turn(energies, energy), put(out, c * jnp.int32(CHUNK), slope)

        start = (jnp.zeros(shape, start.dtype), jnp.zeros_like(near.vectors))
        return lax.fori_loop(jnp.int32(0), near.n_chunks, slopes, start)

    def _pair(
        self,
        pairs: dict[str, np.ndarray],
        center: jax.Array,
        species: jax.Array,
        r: jax.Array,
        per_r: jax.Array,
        inverse: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        """Energy of pairs inside the cutoff, and its slope in r."""
        sigma = pick(pairs["sigma"], center, species)
        depth = pick(pairs["A"] * pairs["epsilon"], center, species)
        wall = pick(pairs["B"], center, species)
        p, q = (pick(pairs[name], center, species) for name in "pq")
        near, far = (_power(sigma * per_r, x) for x in (p, q))
        near = wall * near
        fade = depth * jnp.exp(sigma * inverse)
        energy = fade * (near - far)
        slope = fade * (q * far - p * near) * per_r - energy * (sigma * inverse * inverse)
        return energy, slope


# The components of u u, and where each row of the symmetric matrix is among them.
_SYMMETRIC = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_ROWS = ((0, 5, 4), (5, 1, 3), (4, 3, 2))


def _of_pairs(table: np.ndarray) -> np.ndarray:
    """(n, n) of (n, n, n): that of (i, j, j)."""
    return np.einsum("ijj->ij", table)


def _power(x: jax.Array, exponent: jax.Array | float) -> jax.Array:
    if isinstance(exponent, float) and exponent.is_integer():
        return lax.integer_pow(x, int(exponent))
    return jnp.power(x, exponent)


def _check(parameters: dict[Triplet, StillingerWeberParameters], elements: tuple[str, ...]) -> None:
    """Raise for parameters that do not say one energy.

    Raises:
        OptionError: Two entries contradict each other, or a length is not positive.
    """
    for i, j in itertools.product(elements, repeat=2):
        pair, mirror = parameters[i, j, j], parameters[j, i, i]
        if pair.sigma < 0 or pair.a < 0 or pair.epsilon < 0:
            raise OptionError(
                f"StillingerWeber: {(i, j, j)} has epsilon {pair.epsilon}, sigma {pair.sigma} and "
                f"a {pair.a}; they must be at least 0."
            )
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
