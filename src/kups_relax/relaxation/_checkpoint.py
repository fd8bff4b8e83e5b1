"""Tiles at work as plain arrays, so that a run that was killed goes on where they were.

Everything that a step reads is saved: positions, histories, and the lists of neighbours as they
were made. What follows has the bits of a run that was never interrupted.
"""

import contextlib
import dataclasses
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kups_relax._files import write_atomically
from kups_relax._log import log
from kups_relax.relaxation._classes import SizeClass
from kups_relax.relaxation._jobs import Frame

_FORMAT = "kups_relax checkpoint 2"


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
    head = json.dumps({"format": _FORMAT, "run": run, "tiles": tiles}).encode()

    def fill(new: Path) -> None:
        with new.open("wb") as file:
            np.savez(file, head=np.frombuffer(head, np.uint8), **arrays)  # pyright: ignore

    write_atomically(path, fill, through_link=False)


def is_checkpoint(path: Path) -> bool:
    """Tell whether a file is one that `write_checkpoint` made, and no link to one."""
    return not path.is_symlink() and _head(path) is not None


def read_checkpoint(path: Path, run: str) -> list[Saved]:
    """Read the tiles of a run; none where the file is missing, damaged, or of another run."""
    head = _head(path)
    if head is None or head["run"] != run:
        return []
    try:
        with _opened(path) as file:
            arrays = {name: file[name] for name in file.files}
        return [_tile(i, tile, arrays) for i, tile in enumerate(head["tiles"])]
    except Exception as error:  # zipfile, NumPy and whatever the values are used for
        log.warning("%s is damaged, and not used: %s", path, error)
        return []


def _head(path: Path) -> dict[str, Any] | None:
    """Read what a checkpoint says of itself; None for other files."""
    try:
        with _opened(path) as file:
            head = json.loads(file["head"].tobytes())
        return head if head["format"] == _FORMAT else None
    except Exception:  # zipfile, NumPy and JSON have errors of many kinds
        return None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open an archive whose members take no more memory than the file has bytes."""
    with path.open("rb") as raw:
        with zipfile.ZipFile(raw) as members:
            if any(m.compress_type != zipfile.ZIP_STORED for m in members.infolist()):
                raise ValueError("its members are compressed")
        raw.seek(0)
        with np.load(raw, allow_pickle=False) as file:
            yield file


_FRAME = tuple(field.name for field in dataclasses.fields(Frame))


def _tile(i: int, tile: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Saved:
    n_atoms, n_lanes, capacities = tile["size"]
    own = f"{i}/"
    n_bytes = sum(array.nbytes for array in arrays.values())
    if min(n_atoms, n_lanes) < 1 or n_atoms * n_lanes > n_bytes or len(tile["numbers"]) != n_lanes:
        raise ValueError(f"tile {i} cannot have {n_lanes} lanes of {n_atoms} atoms")
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
            free_energy=float(columns["free_energy"][k]) if "free_energy" in columns else None,
        )
        for k in range(n_frames)
    ]
