"""Tiles on the host: the arrays that hold the structures of a batch, lane by lane."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from kups_relax.coordinates import FREE, Coordinates, Geometry
from kups_relax.data import Field, Terms
from kups_relax.internals import Guide
from kups_relax.potentials import EnergyModel, Potential
from kups_relax.potentials._pairs import n_rings, pack_pairs
from kups_relax.relaxation._classes import SizeClass
from kups_relax.relaxation._step import Start

# Arrays of a tile itself.
_OWN = (
    "positions", "cell", "reference", "reference_cell", "inverse", "every", "fresh", "occupied",
)  # fmt: skip


class Tile:
    """Lay structures out in the lanes of one size class.

    Attributes:
        positions: (3, atom capacity, n_lanes) of the starts; padding atoms are at the origin.
        cell: (3, 3, n_lanes) of the starts, cell[i, :, lane] is lattice vector i.
        reference: (3, atom capacity, n_lanes): for which positions the arrays were prepared.
        reference_cell: (3, 3, n_lanes): and for which cell.
        inverse: (3, 3, n_lanes) of `reference_cell`, where cells change; else zeros.
        every: (n_lanes,) int32: steps between two frames of a trajectory; 0: there is none.
        fresh: (n_lanes,) bool: lanes that were filled since `fresh` was last cleared.
        occupied: (n_lanes,) bool.
    """

    def __init__(
        self,
        potential: EnergyModel,
        size: SizeClass,
        dtype: np.dtype,
        coordinates: Coordinates = FREE,
        guide: Guide | None = None,
    ) -> None:
        self.size = size
        self.dtype = dtype
        self.positions = np.zeros((3, size.n_atoms, size.n_lanes), dtype)
        self.cell = np.zeros((3, 3, size.n_lanes), dtype)
        self.reference = np.zeros_like(self.positions)
        self.reference_cell = np.zeros_like(self.cell)
        self.inverse = np.zeros_like(self.cell)
        self.every = np.zeros(size.n_lanes, np.int32)
        self.fresh = np.zeros(size.n_lanes, bool)
        self.occupied = np.zeros(size.n_lanes, bool)
        self._coordinates = coordinates
        parameters = potential.parameters() if isinstance(potential, Potential) else None
        self._terms = Block(potential.fields(), size, dtype, parameters)
        self._moves = Block(coordinates.fields(), size, dtype)
        self._guide = None if guide is None else Block(guide.fields(), size, dtype)

    def put(
        self,
        lane: int,
        positions: np.ndarray,
        prepared: Mapping[str, np.ndarray],
        cell: np.ndarray | None = None,
        moves: Mapping[str, np.ndarray] | None = None,
        every: int = 0,
        guide: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Fill a lane.

        Args:
            lane: Which one.
            positions: (n_atoms, 3), Angstrom.
            prepared: What the potential made of the structure.
            cell: (3, 3), rows are lattice vectors, Angstrom; None: there is none.
            moves: The arrays of its coordinates; None where all is free.
            every: Steps between two frames of its trajectory; 0: there is none.
            guide: The arrays of its guide, where there is one.
        """
        n = len(positions)
        self.positions[:, :, lane] = 0
        self.positions[:, :n, lane] = positions.T
        self.cell[..., lane] = 0 if cell is None else cell
        self._moves.put(lane, n, moves or {})
        if self._guide is not None:
            assert guide is not None
            self._guide.put(lane, n, guide)
        self.prepare(lane, positions, prepared, cell)
        self.every[lane] = every
        self.fresh[lane] = self.occupied[lane] = True

    def prepare(
        self,
        lane: int,
        positions: np.ndarray,
        prepared: Mapping[str, np.ndarray],
        cell: np.ndarray | None,
    ) -> None:
        """Put a lane's arrays in place, made for these (n_atoms, 3) positions and this cell."""
        self.reference[:, :, lane] = 0
        self.reference[:, : len(positions), lane] = positions.T
        self.reference_cell[..., lane] = 0 if cell is None else cell
        if self._coordinates.cell is not None:
            self.inverse[..., lane] = np.linalg.inv(self.reference_cell[..., lane])
        self._terms.put(lane, len(positions), prepared)

    def arrays(self) -> dict[str, np.ndarray]:
        """All that it holds, by name; not copied."""
        own = {name: getattr(self, name) for name in _OWN}
        blocks = {"terms": self._terms, "moves": self._moves}
        if self._guide is not None:
            blocks["guide"] = self._guide
        return own | {
            f"{block}.{name}": array
            for block, held in blocks.items()
            for name, array in held.arrays().items()
        }

    def set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take over what another tile of the same class held.

        Raises:
            ValueError: It was of another class.
        """
        own = self.arrays()
        for name, array in own.items():
            if name not in arrays or arrays[name].shape != array.shape:
                raise ValueError(f"the arrays are of another tile: {name}")
        for name, array in own.items():
            array[...] = arrays[name]

    def free(self, lane: int) -> None:
        """Give a lane up. Its rows stay as they are, valid numbers that nobody reads."""
        self.occupied[lane] = False

    def start(self, moves: Terms | None = None, guide: Terms | None = None) -> Start:
        """Copy what the device program needs to know of the lanes.

        Args:
            moves: What `moves` returned, when lanes were filled last.
            guide: What `guide` returned then.
        """
        return Start(
            geometry=_geometry(self.positions, self.cell),
            reference=_geometry(self.reference, self.reference_cell),
            inverse=None if self._coordinates.cell is None else _copy(self.inverse),
            terms=moves,
            guide=guide,
            every=_copy(self.every),
            fresh=_copy(self.fresh),
            occupied=_copy(self.occupied),
        )

    def terms(self) -> Terms:
        """Put on the device what the potential needs; later changes here do not reach it."""
        return self._terms.on_device()

    def moves(self) -> Terms | None:
        """Put on the device what the coordinates need; None where all is free."""
        return None if self._coordinates.free else self._moves.on_device()

    def guide(self) -> Terms | None:
        """Put on the device what the guess of the Hessian needs; None where there is none."""
        return None if self._guide is None else self._guide.on_device()


class Block:
    """The arrays of some fields, in all lanes."""

    def __init__(
        self, fields: Mapping[str, Field], size: SizeClass, dtype: np.dtype, parameters: Any = None
    ) -> None:
        self._fields = dict(fields)
        self._parameters = parameters
        self._n_atoms = size.n_atoms
        self._counts = {
            axis: np.zeros(size.n_lanes, np.int32) for axis in _named_axes(self._fields)
        }
        self._arrays = {
            name: _filled(*_shape(field, size, dtype), field.fill)
            for name, field in self._fields.items()
        }

    def put(self, lane: int, n_atoms: int, prepared: Mapping[str, np.ndarray]) -> None:
        """Fill a lane."""
        self._counts["atoms"][lane] = n_atoms
        for name, field in self._fields.items():
            array, value = self._arrays[name], np.asarray(prepared[name])
            if field.axes == ("pairs",):
                array[..., lane] = pack_pairs(value, self._n_atoms, field.fill)
                continue
            array[..., lane] = field.fill
            array[(*(slice(length) for length in value.shape), lane)] = value
            for axis, length in zip(field.axes, value.shape, strict=True):
                if isinstance(axis, str):
                    self._counts[axis][lane] = length

    def arrays(self) -> dict[str, np.ndarray]:
        """What it holds, by name; not copied."""
        counts = {f"count of {axis}": count for axis, count in self._counts.items()}
        return {**self._arrays, **counts}

    def on_device(self) -> Terms:
        """Copy them."""
        return Terms(
            arrays={name: _on_device(array) for name, array in self._arrays.items()},
            counts={axis: _on_device(count) for axis, count in self._counts.items()},
            parameters=self._parameters,
        )


def abstract_terms(potential: Potential, size: SizeClass, dtype: np.dtype) -> Terms:
    """Make the terms of a tile as shapes and dtypes, for `jax.eval_shape`; takes no memory."""
    fields = potential.fields()
    arrays: Any = {
        name: jax.ShapeDtypeStruct(*_shape(field, size, dtype)) for name, field in fields.items()
    }
    counts: Any = {
        axis: jax.ShapeDtypeStruct((size.n_lanes,), np.int32) for axis in _named_axes(fields)
    }
    return Terms(arrays=arrays, counts=counts, parameters=potential.parameters())


def tile_shapes(
    potential: EnergyModel,
    size: SizeClass,
    dtype: np.dtype,
    coordinates: Coordinates = FREE,
    guide: Guide | None = None,
) -> list[tuple[tuple[int, ...], np.dtype]]:
    """Say what arrays a tile holds, shapes and dtypes, but for those of a few numbers a lane."""
    layouts = [potential, coordinates, *([] if guide is None else [guide])]
    fields = [field for layout in layouts for field in layout.fields().values()]
    positions = [((3, size.n_atoms, size.n_lanes), dtype)] * 2
    return positions + [_shape(field, size, dtype) for field in fields]


def _named_axes(fields: Mapping[str, Field]) -> list[str]:
    """List the axes whose length differs from structure to structure."""
    axes = {axis for field in fields.values() for axis in field.axes if isinstance(axis, str)}
    return sorted({"atoms", *axes} - {"pairs"})


def _shape(field: Field, size: SizeClass, dtype: np.dtype) -> tuple[tuple[int, ...], np.dtype]:
    """Say what array a field has in the lanes of a class."""
    lengths = {"atoms": size.n_atoms, **dict(size.capacities)}
    if field.axes == ("pairs",):
        shape: tuple[int, ...] = (n_rings(size.n_atoms), size.n_atoms)
    else:
        shape = tuple(lengths[a] if isinstance(a, str) else a for a in field.axes)
    kind = dtype if field.kind == "float" else np.dtype(np.int32)
    return (*shape, size.n_lanes), kind


def _filled(shape: tuple[int, ...], dtype: np.dtype, fill: float) -> np.ndarray:
    # Zeros take no memory before something is written.
    return np.full(shape, fill, dtype) if fill else np.zeros(shape, dtype)


def _on_device(array: np.ndarray) -> jax.Array:
    """Copy an array: the host goes on to write into it."""
    # On CPU the device takes NumPy's memory as its own, even where it is told not to.
    return jax.device_put(array.copy())


def _geometry(positions: np.ndarray, cell: np.ndarray) -> Geometry:
    return Geometry(positions=_copy(positions), cell=_copy(cell))


def _copy(array: np.ndarray) -> Any:
    return array.copy()
