"""Potentials of three bodies: an atom, and two of its near neighbours."""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import jax
import numpy as np

from kups_relax._checks import NOT_NEGATIVE, settle
from kups_relax.data import Field, Structure, Terms
from kups_relax.ops import fold
from kups_relax.potentials._base import Evaluation, Potential
from kups_relax.potentials._near import Near, near, near_arrays, near_fields
from kups_relax.potentials._neighbor_sums import LIST_COARSE, stress
from kups_relax.potentials._triplets import (
    Frozen,
    elements_of,
    freeze_triplets,
    read_lammps,
    restricted,
    species_of,
    tables,
)

P = TypeVar("P", bound="ThreeBody")


@dataclasses.dataclass(frozen=True)
class ThreeBody(Potential):
    """Sum energies of atoms, which depend on the vectors to their near neighbours.

    Each triplet of elements has parameters, the atom's own first. A structure runs through a form
    with those of its own elements, so a crystal of one element looks none up. To add one: a frozen
    dataclass with `triplets` and `skin`, `record`, `cutoffs` and `bonds`; `_near` says how data
    flows.

    Attributes:
        record: Names the numbers of a triplet, in the order of LAMMPS's files.
        triplets: Parameters of all triplets, frozen.
        skin: Angstrom by which lists reach further than the cutoffs.
    """

    record: ClassVar[type[Any]]
    triplets: Any
    skin: float

    @classmethod
    def from_lammps(cls: type[P], path: Any, **options: Any) -> P:
        """Read parameters from a file in LAMMPS's format.

        Raises:
            OptionError: The file cannot be read, or what it says makes no sense.
        """
        return cls(read_lammps(cls.__name__, cls.record, path), **options)

    @abc.abstractmethod
    def cutoffs(self) -> np.ndarray:
        """(n, n), how far each two elements see each other, symmetric, Angstrom."""

    @abc.abstractmethod
    def bonds(self, near: Near) -> tuple[jax.Array, jax.Array]:
        """Compute what the bonds of each atom give, as `Near.collect` takes it.

        Returns:
            (1, W, N), each slot's share of its atom's energy, eV, and (3, W, N), the derivative
            of the atom's energy by the vector to the neighbour, eV/Angstrom.
        """

    def tables(self) -> dict[str, np.ndarray]:
        """The parameters by name, (n, n, n) each: the centre's element, and two neighbours'."""
        return tables(self.triplets, self.record)

    @property
    def elements(self) -> tuple[str, ...]:
        """Those that there are parameters for."""
        return elements_of(self.triplets)

    @property
    def coarse(self) -> Mapping[str, int]:
        """See `EnergyModel.coarse`."""
        return LIST_COARSE

    @property
    def slack(self) -> float:
        """See `EnergyModel.slack`."""
        return self.skin / 2

    @property
    def reach(self) -> float:
        """See `EnergyModel.reach`."""
        return float(self.cutoffs().max()) + self.skin

    def specialize(self, structure: Structure) -> Potential:
        """Leave out the elements that a structure does not have.

        Raises:
            PotentialError: It has an element that there are no parameters for.
        """
        own = restricted(self.triplets, structure, type(self).__name__)
        return self if own == self.triplets else dataclasses.replace(self, triplets=own)

    def prepare(self, structure: Structure) -> Mapping[str, np.ndarray]:
        """See `Potential.prepare`."""
        restricted(self.triplets, structure, type(self).__name__)
        species = species_of(self.triplets, structure)
        return near_arrays(structure, species, float(self.cutoffs().max()), self.skin)

    def fields(self) -> Mapping[str, Field]:
        """See `Potential.fields`."""
        return near_fields()

    def evaluate(self, positions: jax.Array, cell: jax.Array, terms: Terms) -> Evaluation:
        """See `Potential.evaluate`."""
        around = near(positions, cell, terms, self.cutoffs())
        energies, forces, virial = around.collect(*self.bonds(around))
        tile = positions.shape[1:]
        energies = energies.reshape(tile)
        strained = fold(virial.reshape(6, *tile), axis=1)
        return Evaluation(
            fold(energies), forces.reshape(3, *tile), stress(strained, cell), energies
        )

    def _freeze(self) -> Frozen:
        """Check the options, and make them hashable.

        Raises:
            OptionError: They make no sense.
        """
        settle(self, skin=NOT_NEGATIVE)
        frozen = freeze_triplets(type(self).__name__, self.record, self.triplets)
        object.__setattr__(self, "triplets", frozen)
        return frozen
