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
from jax import lax

from kups_relax.data import Structure
from kups_relax.errors import PotentialError
from kups_relax.neighbors import neighbor_list, neighbor_matrix
from kups_relax.ops import fold, take_rows
from kups_relax.potentials._base import Evaluation, Field, Potential, Terms
from kups_relax.potentials._pairs import all_pairs

# Where lists beat all pairs, atoms.
_MANY = 200

# Neighbours of each atom at a time. Atom capacities are multiples of it, and so are widths.
_CHUNK = 8


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
    """A pair potential by neighbour lists: in any cell, periodic or not.

    Each atom adds up its neighbours one after the other, in the order of the list: by index and
    cell. What is listed beyond the cutoff adds 0, which changes no bit, so it makes no difference
    when the list was made, how wide it is, or how large the skin.
    """

    of: PairPotential

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the pair potential."""
        return self.of.name

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
            "neighbor": Field(("neighbors", "atoms"), "int", -1),
            "shift": Field(("neighbors", 3, "atoms"), "int"),
            **{name: Field(("neighbors", "atoms")) for name in self.of.parameter_names},
        }

    def prepare(self, structure: Structure) -> Mapping[str, np.ndarray]:
        """See `Potential.prepare`."""
        assert self.of.cutoff is not None
        # A little more than the skin, for positions that the run rounds.
        reach = self.of.cutoff + 1.001 * self.of.skin
        found = neighbor_list(
            structure.positions, structure.cell, structure.pbc, reach, label=structure.id
        )
        matrix = neighbor_matrix(*found, structure.n_atoms)
        listed = matrix.neighbor >= 0
        here = np.arange(structure.n_atoms)[:, None]
        mixed = zip(self.of.parameter_names, self.of.mixed(structure), strict=True)
        return {
            "neighbor": matrix.neighbor.T,
            "shift": np.moveaxis(matrix.shift, 0, 2),
            **{name: np.where(listed, m[here, matrix.neighbor], 0.0).T for name, m in mixed},
        }

    def evaluate(self, positions: jax.Array, cell: jax.Array, terms: Terms) -> Evaluation:
        """See `Potential.evaluate`."""
        names = ("neighbor", "shift", *self.of.parameter_names)
        chunks = [_chunks(terms[name]) for name in names]
        width = terms.counts["neighbors"]
        atom = jnp.arange(positions.shape[1], dtype=jnp.int32)[:, None]
        zero = jnp.zeros((), positions.dtype)

        def add(k: jax.Array, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            neighbor, shift, *parameters = (x[k] for x in chunks)
            counts = neighbor >= 0
            shift = shift.astype(positions.dtype)
            d = take_rows(positions, jnp.maximum(neighbor, 0)) - positions[:, None]
            d = d + _offsets(jnp.moveaxis(shift, 1, 0), cell)
            r2 = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
            energy, slope = self.of.pair(jnp.where(counts, r2, 1.0), *parameters)
            energy = jnp.where(counts, energy, zero)
            pull = jnp.where(counts, slope + slope, zero) * d
            # An atom's own images move with it: they strain the cell, and do not push it.
            push = jnp.where(neighbor == atom, zero, pull)
            virial = jnp.stack([pull[a] * d[b] for a, b in _VOIGT])
            return tuple(map(_in_turn, sums, (energy[None], push, virial)))

        shape = positions.shape[1:]
        start = tuple(jnp.zeros((n, *shape), positions.dtype) for n in (1, 3, 6))
        # As many as any lane needs: the rest would add 0.
        n_chunks = (jnp.max(width) + jnp.int32(_CHUNK - 1)) // jnp.int32(_CHUNK)
        energy, forces, virial = lax.fori_loop(jnp.int32(0), n_chunks, add, start)
        # Every pair stands in two rows.
        energies = energy[0] * 0.5
        return Evaluation(
            energy=fold(energies),
            forces=forces,
            stress=_stress(fold(virial, axis=1) * 0.5, cell),
            energies=energies,
        )


# The components of a symmetric 3 x 3 matrix, and where each component of the matrix is in them.
_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_MATRIX = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]], np.int32)


def _chunks(x: jax.Array) -> jax.Array:
    """(width, ...) to (width / chunk, chunk, ...)."""
    assert x.shape[0] % _CHUNK == 0, x.shape
    return x.reshape(-1, _CHUNK, *x.shape[1:])


def _in_turn(total: jax.Array, terms: jax.Array) -> jax.Array:
    """Add (n, chunk, ...) to (n, ...), one after the other."""
    for k in range(_CHUNK):
        total = total + terms[:, k]
    return total


def _offsets(shifts: jax.Array, cell: jax.Array) -> jax.Array:
    """Where images are, (3, ..., L), from whole numbers of cells (3, ..., L)."""
    return jnp.stack([fold(shifts * cell[:, k, None, None]) for k in range(3)])


def _stress(virial: jax.Array, cell: jax.Array) -> jax.Array:
    """(3, 3, L): the derivative by the strain (6, L) over the volume; 0 where there is none."""
    a, b, c = cell[0], cell[1], cell[2]
    volume = jnp.abs(
        a[0] * (b[1] * c[2] - b[2] * c[1])
        + a[1] * (b[2] * c[0] - b[0] * c[2])
        + a[2] * (b[0] * c[1] - b[1] * c[0])
    )
    solid = volume > 0
    stress = jnp.where(solid, virial / jnp.where(solid, volume, 1.0), 0.0)
    return stress[_MATRIX]
