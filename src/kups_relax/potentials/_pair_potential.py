"""Potentials that are sums over pairs of atoms, in two forms: all pairs, or neighbours.

A molecule or a small cluster takes all its pairs, each once (`_pairs`), with a matrix of
parameters. A periodic structure, or a large one with a cutoff, takes each atom's neighbours from a
list, and parameters by kinds of atoms, so its memory grows with its atoms. Which form a structure
gets is its own affair: `specialize` looks at it and nothing else.
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
from kups_relax.ops import fold, take_rows
from kups_relax.potentials._base import Evaluation, Potential
from kups_relax.potentials._neighbor_sums import (
    LIST_COARSE,
    LIST_FIELDS,
    Slots,
    at_neighbor,
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

    To add one: a frozen dataclass with `cutoff` and `skin`, `parameter_names`, `of_atoms`, `mixed`
    and `pair`.

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

    @property
    def too_large(self) -> str:
        """Advice for a structure that memory does not hold: a cutoff, where there is none."""
        if self.cutoff is not None:
            return super().too_large
        kind = type(self).__name__
        return f"Give it a cutoff, {kind}(..., cutoff=...): large structures then take lists."

    @abc.abstractmethod
    def of_atoms(self, structure: Structure) -> np.ndarray:
        """Return the parameters of each atom, (n_parameters, n_atoms): a function of its element.

        Raises:
            PotentialError: An element of the structure has none.
        """

    @abc.abstractmethod
    def mixed(self, a: np.ndarray, b: np.ndarray) -> Sequence[np.ndarray]:
        """Mix the parameters of two atoms; symmetric, elementwise.

        Args:
            a: (n_parameters, ...), of the first atoms of pairs.
            b: (n_parameters, ...), of the second ones.

        Returns:
            One array for each of `parameter_names`, of the shape that the rest broadcasts to.
        """

    def specialize(self, structure: Structure) -> Potential:
        """Return the form that a structure needs.

        Raises:
            PotentialError: It is periodic, and there is no cutoff; or an element of one that is
                large or periodic has no parameters.
        """
        if self.cutoff is None and structure.pbc.any():
            kind = type(self).__name__
            raise PotentialError(
                f"{structure.id!r}: pbc is {structure.pbc.tolist()}, and {kind} without a cutoff "
                f"sums all pairs of a non-periodic structure. Give it one, {kind}(..., cutoff=...),"
                " or set pbc=False if this is a molecule or a cluster."
            )
        if self.cutoff is not None and (structure.pbc.any() or structure.n_atoms >= _MANY):
            return NeighborPairs(self, mixed=_kinds(self.of_atoms(structure))[0].shape[1] > 1)
        return self

    def fields(self) -> Mapping[str, Field]:
        """Lay out one matrix of all pairs for each parameter."""
        return {name: Field(("pairs",)) for name in self.parameter_names}

    def prepare(self, structure: Structure) -> Mapping[str, np.ndarray]:
        """Mix the parameters of all pairs of atoms, (n_atoms, n_atoms) each."""
        own = self.of_atoms(structure)
        mixed = self.mixed(own[:, :, None], own[:, None])
        return dict(zip(self.parameter_names, mixed, strict=True))

    def evaluate(self, positions: jax.Array, cell: jax.Array, terms: Terms) -> Evaluation:
        """Sum over all pairs of atoms, each once."""
        del cell
        parameters = [terms[name] for name in self.parameter_names]
        got = all_pairs(positions, terms.counts["atoms"], self.pair, *parameters)
        energy, forces, energies = got
        return Evaluation(energy, forces, energies=energies)


@dataclasses.dataclass(frozen=True)
class NeighborPairs(Potential):
    """A pair potential by neighbour lists: in any cell, periodic or not.

    Attributes:
        of: The pair potential.
        mixed: True if atoms of the structure differ in their parameters.
    """

    of: PairPotential
    mixed: bool = False

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the pair potential."""
        return self.of.name

    @property
    def coarse(self) -> Mapping[str, int]:
        """Padding growth of the neighbour list's axes."""
        return LIST_COARSE

    @property
    def slack(self) -> float:
        """Displacement up to which the list stays valid: half the skin, Angstrom."""
        return self.of.skin / 2

    @property
    def reach(self) -> float:
        """Distance up to which pairs are listed: cutoff and skin, Angstrom."""
        assert self.of.cutoff is not None
        return self.of.cutoff + self.of.skin

    def describe(self) -> dict[str, Any]:
        """Describe the pair potential, which decides the energy in either form."""
        return self.of.describe()

    def fields(self) -> Mapping[str, Field]:
        """Lay out the neighbour list, and a table of parameters by pairs of kinds of atoms."""
        if not self.mixed:
            return {**LIST_FIELDS, **{name: Field(()) for name in self.of.parameter_names}}
        return {
            **LIST_FIELDS,
            "kind": Field(("atoms",), "int"),
            **{name: Field(("kinds", "kinds")) for name in self.of.parameter_names},
        }

    def prepare(self, structure: Structure) -> Mapping[str, np.ndarray]:
        """List the neighbours, and mix the parameters of each two kinds of atoms."""
        assert self.of.cutoff is not None
        kinds, kind = _kinds(self.of.of_atoms(structure))
        tables = self.of.mixed(kinds[:, :, None], kinds[:, None])
        if not self.mixed:
            tables = [table[0, 0] for table in tables]
        return {
            **list_arrays(list_neighbors(structure, self.of.cutoff, self.of.skin)),
            **({"kind": kind} if self.mixed else {}),
            **dict(zip(self.of.parameter_names, tables, strict=True)),
        }

    def evaluate(self, positions: jax.Array, cell: jax.Array, terms: Terms) -> Evaluation:
        """Sum over the listed pairs, each of which stands in the rows of both its atoms."""
        zero = jnp.zeros((), positions.dtype)
        tables = [terms[name] for name in self.of.parameter_names]

        def term(slots: Slots, *kind: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            parameters, d = tables, slots.d
            if self.mixed:
                other = at_neighbor(terms["kind"], slots.neighbor)
                place = kind[0] * jnp.int32(tables[0].shape[0]) + other
                parameters = [take_rows(t.reshape(-1, t.shape[-1]), place) for t in tables]
            counts = slots.neighbor >= 0
            r2 = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
            energy, slope = self.of.pair(jnp.where(counts, r2, 1.0), *parameters)
            energy = jnp.where(counts, energy, zero)
            pull = jnp.where(counts, slope + slope, zero) * d
            # An atom's own images move with it: they strain the cell, and do not push it.
            push = jnp.where(slots.neighbor == slots.atom, zero, pull)
            return energy[None], push, virial(pull, d)

        names = ("kind",) if self.mixed else ()
        energy, forces, strained = sum_over_neighbors(
            term, (1, 3, 6), positions, cell, terms, *names
        )
        # Every pair stands in two rows.
        energies = energy[0] * 0.5
        return Evaluation(
            energy=fold(energies),
            forces=forces,
            stress=stress(fold(strained, axis=1) * 0.5, cell),
            energies=energies,
        )


def _kinds(of_atoms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tell atoms apart by their parameters.

    Args:
        of_atoms: (n_parameters, n_atoms).

    Returns:
        (n_parameters, n_kinds) the parameters of each kind, and (n_atoms,) int32, its number.
    """
    number = np.zeros(of_atoms.shape[1], np.int64)
    first = np.zeros(1, np.int64)
    for row in of_atoms:
        # One row after the other: whole columns sort slowly.
        _, own = np.unique(row, return_inverse=True)
        key = number * (own.max(initial=0) + 1) + own
        _, first, number = np.unique(key, return_index=True, return_inverse=True)
    return of_atoms[:, first], number.astype(np.int32)
