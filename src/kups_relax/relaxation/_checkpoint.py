"""Tiles at work as plain arrays, so that a run that was killed goes on where they were.

Everything that a step reads is saved: positions, histories, and the lists of neighbours as they
were made. What follows has the bits of a run that was never interrupted.
"""

import dataclasses
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kups_relax.relaxation._classes import SizeClass
from kups_relax.relaxation._jobs import Frame


@dataclasses.dataclass(frozen=True)
class Saved:
    """A tile at work.

    Attributes:
        size: Its size class.
        numbers: Of the structures in its lanes, their places in the input; -1: none.
        arrays: By name: those of the tile, and the leaves of its state.
        frames: By lane: the trajectory so far.
    """

    size: SizeClass
    numbers: tuple[int, ...]
    arrays: Mapping[str, np.ndarray]
    frames: Mapping[int, Sequence[Frame]]


def write_checkpoint(path: Path, run: str, saved: Sequence[Saved]) -> None:
    """Write tiles to a file that takes the place of the last one.

    Args:
        path: Of the file.
        run: Which run it belongs to.
        saved: Its tiles.
    """
    arrays: dict[str, np.ndarray] = {}
    tiles = []
    for i, one in enumerate(saved):
        arrays.update({f"{i}/{name}": array for name, array in one.arrays.items()})
        for lane, frames in one.frames.items():
            for name in _FRAME:
                values = [getattr(frame, name) for frame in frames]
                if values and values[0] is not None:
                    arrays[f"{i}/frames/{lane}/{name}"] = np.array(values)
        tiles.append(
            {
                "size": [one.size.n_atoms, one.size.n_lanes, one.size.capacities],
                "numbers": one.numbers,
                "trajectories": list(one.frames),
            }
        )
    head = json.dumps({"run": run, "tiles": tiles}).encode()
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        np.savez(file, head=np.frombuffer(head, np.uint8), **arrays)  # pyright: ignore
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read_checkpoint(path: Path, run: str) -> list[Saved]:
    """Read the tiles of a run; none where the file is missing, damaged, or of another run."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            head = json.loads(file["head"].tobytes())
            if head["run"] != run:
                return []
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return []
    return [_tile(i, tile, arrays) for i, tile in enumerate(head["tiles"])]


_FRAME = tuple(field.name for field in dataclasses.fields(Frame))


def _tile(i: int, tile: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Saved:
    n_atoms, n_lanes, capacities = tile["size"]
    own = f"{i}/"
    return Saved(
        size=SizeClass(n_atoms, n_lanes, tuple((axis, n) for axis, n in capacities)),
        numbers=tuple(tile["numbers"]),
        arrays={
            name.removeprefix(own): array
            for name, array in arrays.items()
            if name.startswith(own) and not name.startswith(f"{own}frames/")
        },
        frames={lane: _frames(f"{own}frames/{lane}/", arrays) for lane in tile["trajectories"]},
    )


def _frames(where: str, arrays: Mapping[str, np.ndarray]) -> list[Frame]:
    columns = {name: arrays[where + name] for name in _FRAME if where + name in arrays}
    n_frames = len(columns["step"]) if columns else 0
    return [
        Frame(
            step=int(columns["step"][k]),
            positions=columns["positions"][k],
            cell=columns["cell"][k] if "cell" in columns else None,
            energy=float(columns["energy"][k]),
            forces=columns["forces"][k],
            fmax=float(columns["fmax"][k]),
        )
        for k in range(n_frames)
    ]
