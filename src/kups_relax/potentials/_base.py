"""The contract between a potential and the engine."""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from kups_relax.data._structure import Structure


@dataclasses.dataclass(frozen=True)
class Field:
    """Say how one prepared array is laid out in a tile.

    Attributes:
        axes: The axes of the prepared array, in order. A name is an axis whose length differs
            from structure to structure and which is padded to a capacity: "atoms", or an axis
            that the potential's `capacities` names. A number is an axis of that length.
            The one pair of axes ("pairs",) stands for a symmetric (n_atoms, n_atoms) matrix,
            which the tile stores as half of its off-diagonal entries (see `_pairs`).
        kind: "float" follows the run's dtype; "int" is int32.
        fill: Value of padding rows.
    """

    axes: tuple[str | int, ...]
    kind: Literal["float", "int"] = "float"
    fill: float = 0.0


@dataclasses.dataclass(frozen=True)
class Terms:
    """What a potential needs of the structures in a tile, apart from positions.

    Attributes:
        arrays: One array for each `Field`, its axes padded to capacity, then the lanes:
            (*axes, n_lanes).
        counts: For each named axis, (n_lanes,) int32: how many of its rows are real.
    """

    arrays: Mapping[str, jax.Array]
    counts: Mapping[str, jax.Array]

    def __getitem__(self, name: str) -> jax.Array:
        return self.arrays[name]

    def mask(self, axis: str, capacity: int) -> jax.Array:
        """(capacity, n_lanes) bool: which rows of an axis are real."""
        return jnp.arange(capacity, dtype=jnp.int32)[:, None] < self.counts[axis]


jax.tree_util.register_dataclass(Terms, data_fields=["arrays", "counts"], meta_fields=[])


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Energy and forces of every lane of a tile.

    Attributes:
        energy: (n_lanes,), eV.
        forces: (3, atom capacity, n_lanes), eV/Angstrom; zero for padding atoms.
    """

    energy: jax.Array
    forces: jax.Array


jax.tree_util.register_dataclass(Evaluation, data_fields=["energy", "forces"], meta_fields=[])


class Potential(abc.ABC):
    """An energy model that runs on tiles.

    A potential is an immutable value: it is hashed and compared by its options, because the
    compiled program depends on it and on nothing else of it. Everything that differs from one
    structure to the next is data, made on the host by `prepare`.

    To add one: subclass as a frozen dataclass, fill in the four methods, register the name in
    `potentials/_named.py`, test it against an oracle, and run `kups_relax.verify` on it.
    """

    name: ClassVar[str]

    @abc.abstractmethod
    def prepare(self, structure: Structure) -> Mapping[str, np.ndarray]:
        """Make the arrays of one structure, on the host.

        Returns:
            One array for each entry of `fields`, with the axes that it names, unpadded.

        Raises:
            PotentialError: The potential cannot describe the structure; the message names the
                structure, the reason, and what would serve instead.
        """

    @abc.abstractmethod
    def fields(self) -> Mapping[str, Field]:
        """Say how the arrays that `prepare` returns are laid out."""

    def capacities(self, n_atoms: int) -> Mapping[str, int]:
        """Lengths of the potential's own axes in a tile whose atom capacity is `n_atoms`.

        The engine gives a structure the smallest atom capacity at which everything fits, so
        these need to be generous for common structures and not for all.
        """
        return {}

    @abc.abstractmethod
    def evaluate(self, positions: jax.Array, terms: Terms) -> Evaluation:
        """Compute energy and forces of a tile: pure, jittable, nothing looks across lanes.

        Args:
            positions: (3, atom capacity, n_lanes), Angstrom. Padding atoms are at the origin.
            terms: The prepared arrays.
        """

    def describe(self) -> dict[str, Any]:
        """Return the options as plain values, for records and reports."""
        options = dataclasses.asdict(self) if dataclasses.is_dataclass(self) else {}
        return {"name": self.name, **options}
