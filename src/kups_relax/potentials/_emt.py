"""Effective medium theory for metals."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from kups_relax._checks import FLAG, NOT_NEGATIVE, settle
from kups_relax.data import Field, Structure, Terms
from kups_relax.ops import fold
from kups_relax.potentials._base import Evaluation, Potential
from kups_relax.potentials._half_list import (
    HALF_LIST_FIELDS,
    edge_vectors,
    for_each_row,
    half_list,
    in_one_axis,
    sum_over_edges,
    take,
)
from kups_relax.potentials._neighbor_sums import find_pairs, image_offsets, stress, virial
from kups_relax.potentials._species import refuse_elements, symbols_of

# E0 (eV), s0 (bohr), V0 (eV), eta2, kappa, lambda (1/bohr), n0 (1/bohr^3). Metals: table 1 of the
# reference; the others are those that ASE plays with.
_ELEMENTS = {
    "Al": (-3.28, 3.00, 1.493, 1.240, 2.000, 1.169, 0.00700),
    "Cu": (-3.51, 2.67, 2.476, 1.652, 2.740, 1.906, 0.00910),
    "Ag": (-2.96, 3.01, 2.132, 1.652, 2.790, 1.892, 0.00547),
    "Au": (-3.80, 3.00, 2.321, 1.674, 2.873, 2.182, 0.00703),
    "Ni": (-4.44, 2.60, 3.673, 1.669, 2.757, 1.948, 0.01030),
    "Pd": (-3.90, 2.87, 2.773, 1.818, 3.107, 2.155, 0.00688),
    "Pt": (-5.85, 2.90, 4.067, 1.812, 3.145, 2.192, 0.00802),
    "H": (-3.21, 1.31, 0.132, 2.652, 2.790, 3.892, 0.00547),
    "C": (-3.50, 1.81, 0.332, 1.652, 2.790, 1.892, 0.01322),
    "N": (-5.10, 1.88, 0.132, 1.652, 2.790, 1.892, 0.01222),
    "O": (-4.60, 1.95, 0.332, 1.652, 2.790, 1.892, 0.00850),
}

_TOYS = frozenset("HCNO")

# Nearest neighbours of an fcc metal are BETA * s0 apart. (16 pi / 3)^(1/3) / sqrt(2), rounded as
# the parameters were fitted with.
_BETA = 1.809

# Angstrom, CODATA 2014, as in ASE.
_BOHR = 0.5291772105638411
_LARGEST = max(p[1] for p in _ELEMENTS.values()) * _BOHR

# Which of an edge's five exponentials are what; the last one makes the weight.
_DENSITIES, _PAIRS = slice(0, 2), slice(2, 4)

# Any density: only ratios of densities matter. About that of a metal, 1/Angstrom^3.
_DENSITY = 0.007 / _BOHR**3


@dataclasses.dataclass(frozen=True)
class EMT(Potential):
    """Effective medium theory: fcc metals Al, Cu, Ni, Pd, Ag, Pt, Au and their alloys.

    Each atom is embedded in the density of its neighbours, and pairs correct for what differs from
    a perfect fcc crystal. Numbers are those of `ase.calculators.emt.EMT`: energy (0 for fcc
    crystals at equilibrium), forces, stress, energies of atoms. H, C, N and O have parameters too,
    which are toys, in ASE's words: good for an adsorbate of a demonstration. A run with a structure
    of nothing else logs a warning. Fast, and good for trends; not for numbers to be published.

    Molecules, clusters, surfaces and crystals, all by neighbour lists. As in ASE, pairs stop to
    count at a distance where their weight is small and not zero: 7e-6, and 3e-3 with `asap_cutoff`.

    Attributes:
        asap_cutoff: Choose the cutoff by the largest element in the structure, as ASAP does, and
            not by the largest of all. The energy then depends on which elements there are.
        skin: Angstrom by which neighbour lists reach further than the cutoff. They hold until an
            atom has moved half of it; no result depends on it.
        toy_elements: Take structures of H, C, N and O alone without a warning. In no result.

    Raises:
        OptionError: The skin is negative, or not a finite number.

    Example:
        >>> import ase, kups_relax as kr
        >>> dimer = ase.Atoms("Cu2", [[0, 0, 0], [0, 0, 2.4]])
        >>> result = kr.relax([dimer], kr.potentials.EMT(), progress=False)
        >>> bool(result.converged[0])
        True

    References:
        Jacobsen, Stoltze, Norskov, Surf. Sci. 1996, 366, 394, doi:10.1016/0039-6028(96)00816-3.
    """

    name: ClassVar[str] = "emt"

    asap_cutoff: bool = False
    skin: float = 0.8
    toy_elements: bool = dataclasses.field(default=False, compare=False)

    def __post_init__(self) -> None:
        settle(self, skin=NOT_NEGATIVE, asap_cutoff=FLAG, toy_elements=FLAG)

    @property
    def coarse(self) -> Mapping[str, int]:
        """See `EnergyModel.coarse`: edges are computed, and stored where there are none too."""
        return {"edges": 2, "images": 4, "slots": 4}

    def n_lanes(self, n_atoms: int) -> int | None:
        """See `EnergyModel.n_lanes`: 16 do on a CPU, and fewer of them stay empty.

        The edges of all lanes stand in one axis, and fill the vector units.
        """
        return 16 if n_atoms <= 64 and jax.default_backend() == "cpu" else None

    @property
    def slack(self) -> float:
        """See `EnergyModel.slack`."""
        return self.skin / 2

    @property
    def reach(self) -> float:
        """See `EnergyModel.reach`: that of the largest element, whatever the structure has."""
        return _weight(_LARGEST, self.asap_cutoff)[2] + self.skin

    def describe(self) -> dict[str, Any]:
        """Return the options that results depend on."""
        options = super().describe()
        del options["toy_elements"]
        return options

    def caution(self, structure: Structure) -> str | None:
        """Return a warning for structures of H, C, N and O alone; None for all others."""
        if self.toy_elements or not _TOYS.issuperset(symbols_of(structure)):
            return None
        return (
            "EMT is for metals; its parameters of H, C, N and O are toys, so geometries and "
            "energies of structures of these alone mean nothing. Use another potential, such as "
            "MMFF94, or say EMT(toy_elements=True) if that is meant."
        )

    def fields(self) -> Mapping[str, Field]:
        """See `Potential.fields`."""
        return {
            **HALF_LIST_FIELDS,
            # exp(rate * (origin - r)) of each edge: the density that the second atom makes at the
            # first, and the first at the second; the pair energy of each that comes with it; and
            # what the weight of the edge is made of.
            "rates": Field((5, "edges"), fill=1.0),
            "origins": Field((5, "edges")),
            "reach": Field(("edges",)),
            # Of each atom: factor of the density, E0 and its exponent, 6 V0 and its exponent.
            "embedding": Field((5, "atoms")),
        }

    def prepare(self, structure: Structure) -> Mapping[str, np.ndarray]:
        """See `Potential.prepare`."""
        e0, s0, v0, eta, kappa, lambda_, n0 = _parameters(structure).T
        largest = s0.max() if self.asap_cutoff else _LARGEST
        middle, steepness, cutoff = _weight(largest, self.asap_cutoff)
        gamma1, gamma2 = _gammas(s0, eta, kappa, middle, steepness)
        listed = half_list(*find_pairs(structure, cutoff, self.skin), structure.n_atoms)
        first, second, _ = listed["ends"]
        # Factors of the exponentials are put into their origins.
        density = _BETA * s0 + np.log(n0 / _DENSITY) / eta
        per_atom = 0.5 * v0 / (gamma2 * n0)
        rate = kappa / _BETA

        def pair_origin(here: np.ndarray, other: np.ndarray) -> np.ndarray:
            return _BETA * s0[other] + np.log(per_atom[here] * n0[other]) / rate[other]

        real = np.arange(len(first)) > 0
        same = np.ones(len(first))
        rates = [eta[second], eta[first], rate[second], rate[first], -steepness * same]
        origins = [density[second], density[first], pair_origin(first, second)]
        origins += [pair_origin(second, first), middle * same]
        return {
            **listed,
            # Edge 0 is none, and reaches nowhere.
            "rates": np.where(real, rates, 1.0),
            "origins": np.stack(origins),
            "reach": np.where(real, cutoff, 0.0),
            "embedding": np.stack(
                [
                    _DENSITY / (12 * gamma1 * n0),
                    e0,
                    lambda_ / (_BETA * eta),
                    6 * v0,
                    kappa / (_BETA * eta),
                ]
            ),
        }

    def evaluate(self, positions: jax.Array, cell: jax.Array, terms: Terms) -> Evaluation:
        """See `Potential.evaluate`."""
        edges, atoms = terms.counts["edges"], terms.counts["atoms"]
        n_edges, n_lanes = terms["ends"].shape[1:]
        ends, rates, origins, reach, embedding = map(
            in_one_axis, (terms[n] for n in ("ends", "rates", "origins", "reach", "embedding"))
        )
        offsets = image_offsets(cell, terms)

        def vectors(ends: jax.Array) -> list[jax.Array]:
            return edge_vectors(positions, offsets, ends)

        def distance(x: jax.Array, y: jax.Array, z: jax.Array, reach: jax.Array) -> list[jax.Array]:
            r = jnp.sqrt(x * x + y * y + z * z)
            # What is out of reach is so far away that all of it is 0.
            return [jnp.where(r < reach, r, jnp.full((), jnp.inf, r.dtype))]

        def decay(r: jax.Array, rates: jax.Array, origins: jax.Array) -> list[jax.Array]:
            weight = 1.0 / (1.0 + jnp.exp(rates[4] * (origins[4] - r)))
            return [weight, *(jnp.exp(rates[s] * (origins[s] - r)) for s in (_DENSITIES, _PAIRS))]

        def pair_terms(
            weight: jax.Array, densities: jax.Array, pairs: jax.Array, rates: jax.Array
        ) -> list[jax.Array]:
            fall = rates[4] * (1.0 - weight)
            densities, pairs = weight * densities, weight * pairs
            slopes = pairs * (fall - rates[_PAIRS])
            density_slopes = densities * (fall - rates[_DENSITIES])
            return [densities, -(pairs[0] + pairs[1]), density_slopes, -(slopes[0] + slopes[1])]

        d = for_each_row(vectors, edges, ends)
        [r] = for_each_row(distance, edges, *d, reach)
        decays = for_each_row(decay, edges, r, rates, origins)
        arriving, energy, *slopes = for_each_row(pair_terms, edges, *decays, rates)

        def arrive(slot: jax.Array) -> list[jax.Array]:
            edge, side = slot >> 1, slot & 1
            density = take(arriving, edge + side * jnp.int32(n_edges), n_lanes)
            return [density, take(energy, edge, n_lanes)]

        density, pairs = sum_over_edges(arrive, terms)
        energies, per_density = for_each_row(_embed, atoms, density, pairs, embedding)

        def pulls(
            arriving: jax.Array, slope: jax.Array, r: jax.Array, ends: jax.Array
        ) -> list[jax.Array]:
            first, second = (take(per_density, end, n_lanes) for end in ends[:2])
            return [(slope + (first * arriving[0] + second * arriving[1])) / r]

        def pushes(pull: jax.Array, ends: jax.Array, *d: jax.Array) -> list[jax.Array]:
            # An atom's own images move with it: they strain the cell, and do not push it.
            pull = jnp.where(ends[0] == ends[1], jnp.zeros((), pull.dtype), pull)
            return [pull * x for x in d]

        [pull] = for_each_row(pulls, edges, *slopes, r, ends)
        push = for_each_row(pushes, edges, pull, ends, *d)

        def force(slot: jax.Array) -> list[jax.Array]:
            taken = [take(x, slot >> 1, n_lanes) for x in push]
            return [jnp.where(slot & 1 == 1, -x, x) for x in taken]

        def strain(slot: jax.Array) -> list[jax.Array]:
            edge = jnp.where(slot & 1 == 1, 0, slot >> 1)
            along = jnp.stack([take(x, edge, n_lanes) for x in d])
            return list(virial(take(pull, edge, n_lanes) * along, along))

        strained = jnp.stack(sum_over_edges(strain, terms, own=True))
        forces = jnp.stack(sum_over_edges(force, terms))
        # There is no energy where there is no atom, and no force: nothing arrives there.
        energies = jnp.where(
            terms.mask("atoms", positions.shape[1]), energies.reshape(-1, n_lanes), 0.0
        )
        return Evaluation(
            energy=fold(energies),
            forces=forces.reshape(positions.shape),
            stress=stress(fold(strained.reshape(6, -1, n_lanes), axis=1), cell),
            energies=energies,
        )


def _embed(density: jax.Array, pairs: jax.Array, embedding: jax.Array) -> list[jax.Array]:
    """The energy of atoms, 0 in their metal, and what it gains with the density of others."""
    factor, e0, e0_exponent, v0, v0_exponent = embedding
    some = density > 0
    density = jnp.where(some, density, 1.0)
    log = jnp.log(jnp.where(some, factor * density, 1.0))
    x = -e0_exponent * log
    cohesion = e0 * jnp.exp(-x)
    correction = v0 * jnp.exp(v0_exponent * log)
    energy = (cohesion * (1.0 + x) - e0) + correction
    slope = (e0_exponent * cohesion * x + v0_exponent * correction) / density
    zero = jnp.zeros((), density.dtype)
    return [jnp.where(some, energy, -e0) + pairs * 0.5, jnp.where(some, slope, zero)]


def _parameters(structure: Structure) -> np.ndarray:
    """(n_atoms, 7) in eV and Angstrom.

    Raises:
        PotentialError: An element has none.
    """
    advice = "Take another potential for this structure."
    refuse_elements("EMT has no parameters", structure, _ELEMENTS, advice)
    length = np.array([1, _BOHR, 1, 1 / _BOHR, 1 / _BOHR, 1 / _BOHR, 1 / _BOHR**3])
    symbols = symbols_of(structure)
    return np.array([_ELEMENTS[symbol] for symbol in symbols]).reshape(-1, 7) * length


def _weight(s0: float, asap_cutoff: bool) -> tuple[float, float, float]:
    """Midpoint, steepness and end of the weight of pairs, for the largest Wigner-Seitz radius.

    It is 1/2 halfway between the third and the fourth neighbours of fcc, and 1e-4 at the fourth.
    """
    nearest = _BETA * s0
    middle = nearest * 0.5 * (math.sqrt(3.0) + 2.0)
    steepness = math.log(1e4 - 1) / (2 * nearest - middle)
    return middle, steepness, middle * 1.045 if asap_cutoff else middle + 0.5


def _gammas(
    s0: np.ndarray, eta: np.ndarray, kappa: np.ndarray, middle: float, steepness: float
) -> tuple[np.ndarray, np.ndarray]:
    """Sums over the first three shells of a perfect crystal of each atom's element."""
    nearest = _BETA * s0[:, None]
    r = nearest * np.sqrt([1.0, 2.0, 3.0])
    weight = np.array([12, 6, 24]) / 12 / (1 + np.exp(steepness * (r - middle)))
    gamma1 = (weight * np.exp(-eta[:, None] * (r - nearest))).sum(axis=1)
    gamma2 = (weight * np.exp(-kappa[:, None] / _BETA * (r - nearest))).sum(axis=1)
    return gamma1, gamma2
