"""Files of every format, damaged, and read between two good objects."""

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms

from benchmarks.fuzz._mutations import damaged
from benchmarks.fuzz._seeds import seeds
from benchmarks.fuzz._verdict import WrongError
from kups_relax.data import Structure
from kups_relax.io import Stream


def prepare() -> None:
    """Write the whole files."""
    seeds()


def case(seed: int, index: int) -> tuple[str, Callable[[], Any]]:
    """Make one case: a description, and a call that reads a damaged file."""
    draw = random.Random(f"files {seed} {index}")
    names = sorted(seeds())
    name = names[index % len(names)]
    content = seeds()[name]
    if draw.random() < 0.05:
        # Part of one format in another, or the wrong ending.
        other = seeds()[draw.choice(names)]
        content = content[: draw.randint(0, len(content))] + other[draw.randint(0, len(other)) :]
    ways, content = damaged(content, draw)
    if draw.random() < 0.03:
        name = draw.choice(names)

    def call() -> list[str]:
        path = Path("fuzzed", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        try:
            return _read(path, content)
        finally:
            path.unlink()
            for lock in path.parent.glob("*.lock"):
                lock.unlink()

    return f"{name}: {ways}", call


def _read(path: Path, content: bytes) -> list[str]:
    first = Atoms("Ar2", [[0, 0, 0], [0, 0, 3.8]], info={"id": "first"})
    last = Atoms("Kr", info={"id": "last"})
    stream = Stream([first, path, last])
    total = stream.total
    before, *entries, after = list(stream)
    for entry, atoms in ((before, first), (after, last)):
        same = isinstance(entry, Structure) and np.array_equal(entry.positions, atoms.positions)
        if not (same and entry.id == atoms.info["id"]):
            raise WrongError(f"a good structure beside the file differs: {entry}")
    if not entries:
        raise WrongError("the file left no entry")
    # Databases and trajectories say themselves how many they have.
    if total not in (None, len(entries) + 2) and path.suffix not in (".traj", ".db"):
        raise WrongError(f"total {total}; there were {len(entries) + 2}")
    read = [entry for entry in entries if isinstance(entry, Structure)]
    for entry in read:
        bad = not np.isfinite(entry.positions).all() or not 0 < entry.numbers.min() < 119
        if bad or len(entry.positions) > 100_000:
            raise WrongError(f"{entry.id!r}: {entry.n_atoms} atoms, not all as promised")
    if path.suffix in (".xyz", ".extxyz") and len(read) == len(entries):
        _compare_xyz(path, read)
    if path.suffix == ".sdf" and len(read) == len(entries):
        _compare_sdf(content, read)
    return [entry.reason for entry in entries if not isinstance(entry, Structure)]


def _compare_xyz(path: Path, read: list[Structure]) -> None:
    """Compare frames of (extended) XYZ with what ASE's reader gives for the whole file."""
    try:
        theirs = ase.io.read(path, index=":", format="extxyz")
    except Exception:  # it gives up on what ours reads around
        return
    assert isinstance(theirs, list)
    if len(theirs) != len(read):
        # It stops at a blank line.
        theirs = theirs[: len(read)]
    for one, other in zip(read, theirs, strict=False):
        same = np.array_equal(one.numbers, other.numbers)
        if not (same and np.array_equal(one.positions, other.positions)):
            raise WrongError(f"{one.id!r}: ASE reads {other.numbers} {other.positions.tolist()}")


def _compare_sdf(content: bytes, read: list[Structure]) -> None:
    """Compare coordinates with columns 1 to 30 of the atom lines of a V2000 file."""
    lines = re.split(r"\r\n|\n|\r", content.decode("latin-1"))
    shown = []
    for i, line in enumerate(lines):
        if line[33:39].strip() == "V2000" and line[:3].strip().isdigit():
            rows = lines[i + 1 : i + 1 + int(line[:3])]
            try:
                shown.append([[float(r[k : k + 10]) for k in (0, 10, 20)] for r in rows])
            except ValueError:
                return
    if len(shown) != len(read):
        return
    for one, xyz in zip(read, shown, strict=True):
        # A file without a third dimension is a drawing, and gets coordinates.
        spatial = len(xyz) == one.n_atoms and np.any(np.array(xyz)[:, 2])
        if spatial and not np.allclose(one.positions, xyz, rtol=0, atol=1e-12):
            raise WrongError(f"{one.id!r}: the file has {xyz}, got {one.positions.tolist()}")
