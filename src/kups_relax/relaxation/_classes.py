"""Size classes: which fixed shape a structure runs in. A function of the structure alone."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from kups_relax import internals
from kups_relax.coordinates import Coordinates
from kups_relax.data import Structure
from kups_relax.errors import CapacityError, PotentialError
from kups_relax.potentials import EnergyModel

# Structures whose lists take megabytes, atoms.
_LARGE = 4096


@dataclasses.dataclass(frozen=True)
class SizeClass:
    """The shape of a tile. Structures of one class share one compiled program.

    Attributes:
        n_atoms: Atom capacity.
        n_lanes: Structures side by side.
        capacities: Lengths of the potential's own axes, (name, length) pairs.
    """

    n_atoms: int
    n_lanes: int
    capacities: tuple[tuple[str, int], ...] = ()

    def joined(self, capacities: Mapping[str, int]) -> "SizeClass":
        """Add the lengths of further axes."""
        axes = dict(self.capacities) | dict(capacities)
        return dataclasses.replace(self, capacities=tuple(sorted(axes.items())))


@functools.cache
def atom_capacities(limit: int = 1 << 24) -> tuple[int, ...]:
    """Return the atom capacities there are: 8, 16, 24, 32, 48, 64, 96, 128, 192, ..."""
    steps = [8, 16, 24]
    while steps[-1] < limit:
        steps.append(32 << ((len(steps) - 3) // 2) if len(steps) % 2 else steps[-1] * 3 // 2)
    return tuple(steps)


def n_lanes(n_atoms: int) -> int:
    """Lanes of a class: enough to fill vector units and to pay for a step's fixed cost.

    A power of two: a tile's work grows with its atoms, so larger structures need fewer
    companions, and a history that stays in the cache wants fewer. On a CPU, one that fills the
    vector units by itself runs alone: two to eight lanes are the innermost axis of loops that
    compilers then do not vectorise, and cost up to three times as much.
    """
    lanes = 64
    while lanes > 1 and lanes * n_atoms > 1024:
        lanes //= 2
    return 1 if lanes < 16 and jax.default_backend() == "cpu" else lanes


def axis_capacity(potential: EnergyModel | None, n_atoms: int, axis: str, length: int) -> int:
    """Room for a named axis that its model gives no capacity: a tenth more, on a ladder.

    The ladder of atom capacities, or the coarser one that the model asks for: fewer programs are
    compiled then, and tiles are fuller. From 96 atoms on, where lists are large, none is coarser
    than powers of two; where memory matters more than another program, none is coarser than atoms.

    Args:
        potential: Says how coarse; None for axes that are not its own.
        n_atoms: Atom capacity.
        axis: Which one.
        length: That of the structure.
    """
    needed = length + length // 10
    factor = None if potential is None else potential.coarse.get(axis)
    if factor is None or n_atoms > _LARGE:
        return next(c for c in atom_capacities() if c >= needed)
    capacity = 32
    while capacity < needed:
        capacity *= factor if n_atoms <= 64 else 2
    return capacity


def axis_lengths(
    layout: EnergyModel | Coordinates | internals.Guide, prepared: Mapping[str, np.ndarray]
) -> dict[str, int]:
    """Measure the named axes of a structure's prepared arrays."""
    lengths: dict[str, int] = {}
    for name, field in layout.fields().items():
        if field.axes == ("pairs",):
            continue
        for axis, length in zip(field.axes, prepared[name].shape, strict=True):
            if isinstance(axis, str):
                known = lengths.setdefault(axis, length)
                assert known == length, (name, axis, known, length)
    return lengths


def check_range(
    potential: EnergyModel, structure: Structure, prepared: Mapping[str, np.ndarray], dtype: Any
) -> None:
    """Raise for parameters that are finite, and infinite in the dtype of the run.

    Raises:
        PotentialError: See the message.
    """
    if np.dtype(dtype) == np.float64:
        return
    largest = float(np.finfo(dtype).max)
    for name, field in potential.fields().items():
        if field.kind != "float":
            continue
        size = np.abs(prepared[name])
        most = float(np.max(size, where=np.isfinite(size), initial=0.0))
        if most > largest:
            raise PotentialError(
                f"{structure.id!r}: {potential.name} has {name} of up to {most:.3g}, and "
                f"{np.dtype(dtype).name} holds numbers up to {largest:.3g}. Use dtype='float64', "
                "or look at the units of the parameters."
            )


def size_class(potential: EnergyModel, n_atoms: int, lengths: Mapping[str, int]) -> SizeClass:
    """Choose the smallest class in which a structure fits.

    Args:
        potential: Says how long its own axes are at each atom capacity.
        n_atoms: Atoms of the structure.
        lengths: Lengths of the structure's named axes.

    Raises:
        CapacityError: No class is large enough.
    """
    for capacity in atom_capacities():
        if capacity < n_atoms:
            continue
        own = {"atoms": capacity, **potential.capacities(capacity)}
        if all(length <= own.get(axis, length) for axis, length in lengths.items()):
            free = {a: axis_capacity(potential, capacity, a, n) for a, n in lengths.items()}
            axes = {axis: length for axis, length in (free | own).items() if axis != "atoms"}
            lanes = potential.n_lanes(capacity) or n_lanes(capacity)
            return SizeClass(capacity, lanes, tuple(sorted(axes.items())))
    raise CapacityError(f"no size class holds a structure of {n_atoms} atoms with {dict(lengths)}.")
