"""Arrays that are made of one structure on the host, and laid out in tiles for the device."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp


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
    """The prepared arrays of the structures in a tile.

    Attributes:
        arrays: One array for each `Field`, its axes padded to capacity, then the lanes:
            (*axes, n_lanes).
        counts: For each named axis, (n_lanes,) int32: how many of its rows are real.
        parameters: What `Potential.parameters` gave, shared by all lanes.
    """

    arrays: Mapping[str, jax.Array]
    counts: Mapping[str, jax.Array]
    parameters: Any = None

    def __getitem__(self, name: str) -> jax.Array:
        return self.arrays[name]

    def mask(self, axis: str, capacity: int) -> jax.Array:
        """(capacity, n_lanes) bool: which rows of an axis are real."""
        return jnp.arange(capacity, dtype=jnp.int32)[:, None] < self.counts[axis]


jax.tree_util.register_dataclass(
    Terms, data_fields=["arrays", "counts", "parameters"], meta_fields=[]
)
