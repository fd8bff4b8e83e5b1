"""What a tile needs of the device's memory, and how many lanes fit."""

import dataclasses
import functools
import math
import os

import jax
import numpy as np

from kups_relax._settings import own
from kups_relax.errors import CapacityError
from kups_relax.relaxation._classes import SizeClass
from kups_relax.relaxation._step import Program
from kups_relax.relaxation._tiles import Tile

# What a program needs on the way, as a multiple of what goes into it: from 0.2 to 3.0 by XLA's own
# analysis of programs with LennardJones, EMT, Tersoff and MMFF94, 8 to 4096 atoms, on CPU.
TEMPORARY = 3.0
# Share of the memory that the tiles of a run may take; the rest is other people's, and the host's.
SHARE = 0.5


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
    needed = tile_bytes(program, size, dtype)
    while needed > limit and size.n_lanes > 1:
        size = dataclasses.replace(size, n_lanes=size.n_lanes // 2)
        needed = tile_bytes(program, size, dtype)
    if needed > limit:
        raise CapacityError(
            f"a structure of up to {size.n_atoms} atoms needs {needed / 2**30:.2g} GiB with this "
            f"potential and optimizer; {limit / 2**30:.2g} GiB are there for each of {n_tiles} "
            "tiles in flight. Give the optimizer a shorter memory, use dtype='float32', or "
            "n_workers=1."
        )
    return size


def tile_bytes(program: Program, size: SizeClass, dtype: np.dtype) -> int:
    """How much memory a tile at work takes, from the shapes of its arrays.

    Args:
        program: What runs in it.
        size: Its class.
        dtype: Of the run.
    """
    # One lane tells: all arrays but a few have the lanes on an axis.
    one = dataclasses.replace(size, n_lanes=1)
    tile = Tile(program.potential, one, dtype, program.coordinates, program.guide)
    with own(dtype):
        shape, capacities = tile.positions.shape, dict(one.capacities)
        state = jax.eval_shape(lambda: program.empty(shape, dtype, capacities))
    leaves = jax.tree.leaves(state)
    n_bytes = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)
    n_bytes += sum(array.nbytes for array in tile.arrays().values())
    return int(n_bytes * size.n_lanes * (1 + TEMPORARY))


def memory() -> int:
    """Bytes of the device that structures run on: of an accelerator, or of the machine."""
    stats = jax.local_devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # not all systems tell
        return 8 << 30
