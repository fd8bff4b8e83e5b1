"""Potentials that are sums over pairs of atoms, in two forms: all pairs, or neighbours.

A molecule or a small cluster takes all its pairs, each once (`_pairs`). A periodic structure, or
a large one with a cutoff, takes each atom's neighbours from a list. Which form a structure gets
is its own affair: `specialize` looks at it and nothing else.
"""

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from kups_relax.data import Field, Structure, Terms
from kups_relax.errors import PotentialError
from kups_relax.ops import fold
from kups_relax.potentials._base import Evaluation, Potential
from kups_relax.potentials._neighbor_sums import (
    LIST_FIELDS,
    list_arrays,
    list_neighbors,
    stress,
    sum_over_neighbors,
    virial,
)
from kups_relax.potentials._pairs import all_pairs

# Where lists beat all pairs, atoms.
_MANY = 200


class PairPotential(Potential):
    """Sum an energy over pairs; all pairs of a structure, unless `specialize` says otherwise.

    To add one: a frozen dataclass with `cutoff` and `skin`, `parameter_names`, `mixed` and `pair`.

    Attributes:
        pair: (r2, *parameters) -> energy of each pair and its slope in r2, elementwise; 0 beyond
            the cutoff.
        parameter_names: Of what `mixed` returns, in the order in which `pair` takes it.
        cutoff: Angstrom, or None for all pairs.
        skin: Angstrom by which lists reach further than the cutoff.
    """

    parameter_names: ClassVar[tuple[str, ...]]
    pair: Callable[..., tuple[jax.Array, jax.Array]]
    cutoff: float | None
    skin: float

    @abc.abstractmethod
    def mixed(self, structure: Structure) -> Sequence[np.ndarray]:
        """Return the parameters of all pairs, (n_atoms, n_atoms) each, symmetric.

        Raises:
            PotentialError: An element of the structure has none.
        """

    def specialize(self, structure: Structure) -> Potential:
        """Return the form that a structure needs.

        Raises:
            PotentialError: It is periodic, and there is no cutoff.
        """
        if self.cutoff is None and structure.pbc.any():
            kind = type(self).__name__
            raise PotentialError(
                f"{structure.id!r}: pbc is {structure.pbc.tolist()}, and {kind} without a cutoff "
                f"sums all pairs of a non-periodic structure. Give it one, {kind}(..., cutoff=...),"
                " or set pbc=False if this is a molecule or a cluster."
            )
        if self.cutoff is not None and (structure.pbc.any() or structure.n_atoms >= _MANY):
            return NeighborPairs(self)
        return self

    def fields(self) -> Mapping[str, Field]:
        """See `Potential.fields`."""
        return {name: Field(("pairs",)) for name in self.parameter_names}

    def prepare(self, structure: Structure) -> Mapping[str, np.ndarray]:
        """See `Potential.prepare`."""
        return dict(zip(self.parameter_names, self.mixed(structure), strict=True))

    def evaluate(self, positions: jax.Array, cell: jax.Array, terms: Terms) -> Evaluation:
        """See `Potential.evaluate`."""
        del cell
        parameters = [terms[name] for name in self.parameter_names]
        got = all_pairs(positions, terms.counts["atoms"], self.pair, *parameters)
        energy, forces, energies = got
        return Evaluation(energy, forces, energies=energies)


@dataclasses.dataclass(frozen=True)
class NeighborPairs(Potential):
    """A pair potential by neighbour lists: in any cell, periodic or not."""

    of: PairPotential

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the pair potential."""
        return self.of.name

    @property
    def coarse(self) -> Mapping[str, int]:
        """See `EnergyModel.coarse`."""
        return {"neighbors": 4}

    @property
    def slack(self) -> float:
        """See `EnergyModel.slack`."""
        return self.of.skin / 2

    @property
    def reach(self) -> float:
        """See `EnergyModel.reach`."""
        assert self.of.cutoff is not None
        return self.of.cutoff + self.of.skin

    def describe(self) -> dict[str, Any]:
        """See `EnergyModel.describe`."""
        return self.of.describe()

    def fields(self) -> Mapping[str, Field]:
        """See `Potential.fields`."""
        return {
            **LIST_FIELDS,
            **{name: Field(("neighbors", "atoms")) for name in self.of.parameter_names},
        }

    def prepare(self, structure: Structure) -> Mapping[str, np.ndarray]:
        """See `Potential.prepare`."""
        assert self.of.cutoff is not None
        matrix = list_neighbors(structure, self.of.cutoff, self.of.skin)
        listed = matrix.neighbor >= 0
        here = np.arange(structure.n_atoms)[:, None]
        mixed = zip(self.of.parameter_names, self.of.mixed(structure), strict=True)
        return {
            **list_arrays(matrix),
            **{name: np.where(listed, m[here, matrix.neighbor], 0.0).T for name, m in mixed},
        }

    def evaluate(self, positions: jax.Array, cell: jax.Array, terms: Terms) -> Evaluation:
        """See `Potential.evaluate`."""
        atom = jnp.arange(positions.shape[1], dtype=jnp.int32)[:, None]
        zero = jnp.zeros((), positions.dtype)

        def term(
            neighbor: jax.Array, d: jax.Array, *parameters: jax.Array
        ) -> tuple[jax.Array, jax.Array, jax.Array]:
            counts = neighbor >= 0
            r2 = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
            energy, slope = self.of.pair(jnp.where(counts, r2, 1.0), *parameters)
            energy = jnp.where(counts, energy, zero)
            pull = jnp.where(counts, slope + slope, zero) * d
            # An atom's own images move with it: they strain the cell, and do not push it.
            push = jnp.where(neighbor == atom, zero, pull)
            return energy[None], push, virial(pull, d)

        energy, forces, strained = sum_over_neighbors(
            term, (1, 3, 6), positions, cell, terms, *self.of.parameter_names
        )
        # Every pair stands in two rows.
        energies = energy[0] * 0.5
        return Evaluation(
            energy=fold(energies),
            forces=forces,
            stress=stress(fold(strained, axis=1) * 0.5, cell),
            energies=energies,
        )
