"""(Extended) XYZ files frame by frame, so that a bad frame does not take the others with it."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from kups_relax.io._lines import Lines

if TYPE_CHECKING:
    import ase


def read_frames(source: Iterable[str]) -> Iterator["tuple[int, ase.Atoms | str]"]:
    """Parse each frame by itself.

    A frame whose atom count does not fit what follows is bad as a whole: which atoms belong to it
    cannot be known. Reading goes on at the next line that is a bare number.

    Args:
        source: The lines of the file.

    Yields:
        The line number where a frame begins, counted from 1, and its atoms, or what is wrong.

    Raises:
        ValueError: The text does not begin like an XYZ file.
    """
    import io

    from ase.io import read

    lines = Lines(source)
    start = _next(lines, 0)
    line = lines.get(start)
    if not _is_count(line):
        got = (line or "")[:40]
        raise ValueError(f"expected the number of atoms on the first line, got {got!r}")
    while (line := lines.get(start)) is not None:
        if not _is_count(line):
            problem = f"expected a number of atoms, got {line[:40]!r}"
        else:
            count = int(line)
            stop = start + 2 + count
            complete = lines.get(stop - 1) is not None
            while (vector := lines.get(stop)) is not None and vector.lstrip().startswith("VEC"):
                stop += 1
            after = _next(lines, stop)
            following = lines.get(after)
            if not complete:
                problem = f"it announces {count} atoms, but the file ends before"
            elif following is not None and not _is_count(following):
                problem = (
                    f"it announces {count} atoms, but line {after + 1}, after them, "
                    f"is {following[:40]!r} and not the next number of atoms"
                )
            else:
                try:
                    chunk = io.StringIO(lines.text(start, stop))
                    frame = read(chunk, format="extxyz", index=0)
                    yield start + 1, frame  # pyright: ignore[reportReturnType]
                    start = after
                    lines.forget(start)
                    continue
                except Exception as error:  # ASE's parser raises whatever its steps raise
                    problem = f"{type(error).__name__}: {error}"
        yield start + 1, problem
        start += 2 if _is_count(line) else 1
        while (line := lines.get(start)) is not None and not _is_count(line):
            start += 1
        lines.forget(start)


def _next(lines: Lines, start: int) -> int:
    """Number of the next line that is not blank."""
    while (line := lines.get(start)) is not None and not line.strip():
        start += 1
    return start


def _is_count(line: str | None) -> bool:
    return line is not None and line.strip().isdecimal()
