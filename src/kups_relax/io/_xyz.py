"""(Extended) XYZ files frame by frame, so that a bad frame does not take the others with it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ase


def read_frames(text: str) -> Iterator["tuple[int, ase.Atoms | str]"]:
    """Parse each frame by itself.

    A frame whose atom count does not fit what follows is bad as a whole: which atoms belong to it
    cannot be known. Reading goes on at the next line that is a bare number.

    Args:
        text: The file.

    Yields:
        The line number where a frame begins, counted from 1, and its atoms, or what is wrong.

    Raises:
        ValueError: The text does not begin like an XYZ file.
    """
    import io

    from ase.io import read

    lines = text.rstrip().split("\n")
    start = _next(lines, 0)
    if start == len(lines) or not _is_count(lines[start]):
        got = lines[start][:40] if start < len(lines) else ""
        raise ValueError(f"expected the number of atoms on the first line, got {got!r}")
    while start < len(lines):
        if not _is_count(lines[start]):
            problem = f"expected a number of atoms, got {lines[start][:40]!r}"
        else:
            count = int(lines[start])
            stop = start + 2 + count
            while stop < len(lines) and lines[stop].lstrip().startswith("VEC"):
                stop += 1
            after = _next(lines, stop)
            if stop > len(lines):
                problem = f"it announces {count} atoms, but the file ends before"
            elif after < len(lines) and not _is_count(lines[after]):
                problem = (
                    f"it announces {count} atoms, but line {after + 1}, after them, "
                    f"is {lines[after][:40]!r} and not the next number of atoms"
                )
            else:
                try:
                    chunk = io.StringIO("\n".join(lines[start:stop]))
                    frame = read(chunk, format="extxyz", index=0)
                    yield start + 1, frame  # pyright: ignore[reportReturnType]
                    start = after
                    continue
                except Exception as error:  # ASE's parser raises whatever its steps raise
                    problem = f"{type(error).__name__}: {error}"
        yield start + 1, problem
        start += 2 if _is_count(lines[start]) else 1
        while start < len(lines) and not _is_count(lines[start]):
            start += 1


def _next(lines: list[str], start: int) -> int:
    """Index of the next line that is not blank."""
    while start < len(lines) and not lines[start].strip():
        start += 1
    return start


def _is_count(line: str) -> bool:
    return line.strip().isdecimal()
