"""Memory that structures need on the device, estimated before it is allocated."""

import dataclasses
import functools
import math
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from kups_relax._settings import own
from kups_relax.data import Structure
from kups_relax.errors import CapacityError
from kups_relax.potentials import EnergyModel
from kups_relax.relaxation._classes import SizeClass, atom_capacities, check_range
from kups_relax.relaxation._step import Program
from kups_relax.relaxation._tiles import tile_shapes

# What a program needs on the way, as a multiple of what goes into it: from 0.2 to 3.0 by XLA's own
# analysis of programs with LennardJones, EMT, Tersoff and MMFF94, 8 to 4096 atoms, on CPU.
TEMPORARY = 3.0
# Share of the memory that the tiles of a run may take; the rest is other people's, and the host's.
SHARE = 0.5
# Entries that an array may have: the device numbers the rows of a list by int32.
MAX_ENTRIES = 2**31 - 1


def prepare(
    model: EnergyModel, structure: Structure, dtype: Any, n_tiles: int = 1
) -> Mapping[str, np.ndarray]:
    """Make the arrays of a structure, after asking whether memory holds them.

    Args:
        model: The form that the structure needs, of `EnergyModel.specialize`.
        structure: Any.
        dtype: Of the run.
        n_tiles: Tiles in flight.

    Raises:
        CapacityError: Matrices of all pairs of atoms are larger than the memory.
        PotentialError: The model cannot describe the structure, or not in this dtype.
    """
    _check_all_pairs(model, structure, np.dtype(dtype), n_tiles)
    prepared = model.prepare(structure)
    check_range(model, structure, prepared, dtype)
    return prepared


def _check_all_pairs(
    model: EnergyModel, structure: Structure, dtype: np.dtype, n_tiles: int
) -> None:
    """Raise where matrices of all pairs of atoms would be larger than the memory."""
    n_matrices = sum(field.axes == ("pairs",) for field in model.fields().values())
    if not n_matrices:
        return
    n = structure.n_atoms
    capacity = next((c for c in atom_capacities() if c >= n), n)
    # The device stores each pair once, the host a matrix in float64.
    on_device = capacity**2 // 2 * dtype.itemsize * n_matrices * (1 + TEMPORARY)
    on_host = n**2 * 8 * n_matrices
    limit = memory() * SHARE
    if on_device <= limit / n_tiles and on_host <= limit:
        return
    raise CapacityError(
        f"{structure.id!r}: {model.name} takes all pairs of its {n} atoms, which need "
        f"{_gib(on_device + on_host)}; {_gib(limit / n_tiles)} are there for {_tiles(n_tiles)}. "
        f"{model.too_large}"
    )


@functools.lru_cache(maxsize=4096)
def fitted(program: Program, size: SizeClass, dtype: np.dtype, n_tiles: int) -> SizeClass:
    """Give a class fewer lanes where the memory does not hold so many tiles of it.

    A function of the class and the device: what a structure gets does not depend on the others.

    Args:
        program: What runs in it.
        size: The class.
        dtype: Of the run.
        n_tiles: Tiles in flight.

    Raises:
        CapacityError: Not even one lane fits.
    """
    limit = memory() * SHARE / n_tiles
    one = _lane_bytes(program, size, dtype)
    lanes = size.n_lanes
    while lanes > 1 and one.total * lanes > limit:
        lanes //= 2
    if one.longest > MAX_ENTRIES:
        raise CapacityError(
            f"a structure of up to {size.n_atoms} atoms has an array of {one.longest} entries with "
            f"this potential and optimizer; at most {MAX_ENTRIES} are held. "
            f"{program.potential.too_large}"
        )
    if one.total > limit:
        raise CapacityError(
            f"a structure of up to {size.n_atoms} atoms needs {_gib(one.total)} with this "
            f"potential and optimizer, of which {_gib(one.optimizer)} are the optimizer's history; "
            f"{_gib(limit)} are there for {_tiles(n_tiles)}. Give the optimizer a shorter memory, "
            "use dtype='float32', or n_workers=1."
        )
    return dataclasses.replace(size, n_lanes=lanes)


def tile_bytes(program: Program, size: SizeClass, dtype: np.dtype) -> int:
    """Estimate the memory of a tile at work from the shapes of its arrays; allocates nothing.

    Args:
        program: What runs in it.
        size: Its class.
        dtype: Of the run.
    """
    return _lane_bytes(program, size, dtype).total * size.n_lanes


@dataclasses.dataclass(frozen=True)
class _Needs:
    """Memory of one lane: all bytes, those of the optimizer's state, entries of any array."""

    total: int
    optimizer: int
    longest: int


def _lane_bytes(program: Program, size: SizeClass, dtype: np.dtype) -> _Needs:
    # One lane tells: all arrays but a few have the lanes on an axis.
    one = dataclasses.replace(size, n_lanes=1)
    held = tile_shapes(program.potential, one, dtype, program.coordinates, program.guide)
    with own(dtype):
        state = jax.eval_shape(
            lambda: program.empty((3, one.n_atoms, 1), dtype, dict(one.capacities))
        )
    leaves = [(x.shape, x.dtype) for x in jax.tree.leaves(state)]
    factor = 1 + TEMPORARY
    return _Needs(
        total=int(sum(map(_bytes, [*held, *leaves])) * factor),
        optimizer=int(
            sum(_bytes((x.shape, x.dtype)) for x in jax.tree.leaves(state.optimizer)) * factor
        ),
        longest=max(math.prod(shape) for shape, _ in [*held, *leaves]),
    )


def _bytes(array: tuple[tuple[int, ...], Any]) -> int:
    shape, dtype = array
    return math.prod(shape) * np.dtype(dtype).itemsize


def _gib(n_bytes: float) -> str:
    return f"{n_bytes / 2**30:.3g} GiB"


def _tiles(n: int) -> str:
    return "it" if n == 1 else f"each of {n} tiles in flight"


def memory() -> int:
    """Bytes of the device that structures run on: of an accelerator, or of the machine."""
    stats = jax.local_devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # not all systems tell
        return 8 << 30
