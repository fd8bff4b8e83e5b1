"""Tiles on the host: the arrays that hold the structures of a batch, lane by lane."""

from collections.abc import Mapping

import jax
import numpy as np

from kups_relax.potentials import EnergyModel, Field, Potential, Terms
from kups_relax.potentials._pairs import n_rings, pack_pairs
from kups_relax.relaxation._classes import SizeClass
from kups_relax.relaxation._step import Start


class Tile:
    """Lay structures out in the lanes of one size class.

    Attributes:
        positions: (3, atom capacity, n_lanes) of the starts; padding atoms are at the origin.
        cell: (3, 3, n_lanes), cell[i, :, lane] is lattice vector i.
        reference: (3, atom capacity, n_lanes): for which positions the arrays were prepared.
        fresh: (n_lanes,) bool: lanes that were filled since `fresh` was last cleared.
        occupied: (n_lanes,) bool.
    """

    def __init__(self, potential: EnergyModel, size: SizeClass, dtype: np.dtype) -> None:
        self.size = size
        self.dtype = dtype
        self.positions = np.zeros((3, size.n_atoms, size.n_lanes), dtype)
        self.cell = np.zeros((3, 3, size.n_lanes), dtype)
        self.reference = np.zeros_like(self.positions)
        self.fresh = np.zeros(size.n_lanes, bool)
        self.occupied = np.zeros(size.n_lanes, bool)
        self._fields = dict(potential.fields())
        self._lengths = {"atoms": size.n_atoms, **dict(size.capacities)}
        self._parameters = potential.parameters() if isinstance(potential, Potential) else None
        self._counts = {axis: np.zeros(size.n_lanes, np.int32) for axis in self._lengths}
        self._arrays = {
            name: np.full((*self._shape(field), size.n_lanes), field.fill, self._dtype(field))
            for name, field in self._fields.items()
        }

    def put(
        self,
        lane: int,
        positions: np.ndarray,
        prepared: Mapping[str, np.ndarray],
        cell: np.ndarray | None = None,
    ) -> None:
        """Fill a lane.

        Args:
            lane: Which one.
            positions: (n_atoms, 3), Angstrom.
            prepared: What the potential made of the structure.
            cell: (3, 3), rows are lattice vectors, Angstrom; None: there is none.
        """
        n = len(positions)
        self.positions[:, :, lane] = 0
        self.positions[:, :n, lane] = positions.T
        self.cell[..., lane] = 0 if cell is None else cell
        self._counts["atoms"][lane] = n
        self.prepare(lane, positions, prepared)
        self.fresh[lane] = self.occupied[lane] = True

    def prepare(self, lane: int, positions: np.ndarray, prepared: Mapping[str, np.ndarray]) -> None:
        """Put a lane's arrays in place, made for these (n_atoms, 3) positions."""
        self.reference[:, :, lane] = 0
        self.reference[:, : len(positions), lane] = positions.T
        for name, field in self._fields.items():
            array, value = self._arrays[name], np.asarray(prepared[name])
            if field.axes == ("pairs",):
                array[..., lane] = pack_pairs(value, self.size.n_atoms, field.fill)
                continue
            array[..., lane] = field.fill
            array[(*(slice(length) for length in value.shape), lane)] = value
            for axis, length in zip(field.axes, value.shape, strict=True):
                if isinstance(axis, str):
                    self._counts[axis][lane] = length

    def free(self, lane: int) -> None:
        """Give a lane up. Its rows stay as they are, valid numbers that nobody reads."""
        self.occupied[lane] = False

    def start(self) -> Start:
        """Copy what the device program needs to know of the lanes."""
        names = ("positions", "cell", "reference", "fresh", "occupied")
        return Start(**{name: getattr(self, name).copy() for name in names})

    def terms(self) -> Terms:
        """Put on the device what the potential needs; later changes here do not reach it."""
        arrays = {name: array.copy() for name, array in self._arrays.items()}
        counts = {axis: count.copy() for axis, count in self._counts.items()}
        return Terms(
            arrays=jax.device_put(arrays),
            counts=jax.device_put(counts),
            parameters=self._parameters,
        )

    def _shape(self, field: Field) -> tuple[int, ...]:
        if field.axes == ("pairs",):
            return (n_rings(self.size.n_atoms), self.size.n_atoms)
        return tuple(self._lengths[a] if isinstance(a, str) else a for a in field.axes)

    def _dtype(self, field: Field) -> np.dtype:
        return self.dtype if field.kind == "float" else np.dtype(np.int32)
