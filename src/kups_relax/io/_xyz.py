"""(Extended) XYZ files frame by frame, so that a bad frame does not take the others with it."""

import dataclasses
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ase

# Digits that a number of atoms may have.
_DIGITS = 9
# Masses of the isotopes of hydrogen that have symbols, amu.
_ISOTOPES = {"D": 2.01410177812, "T": 3.01604928199}


class NotXYZError(ValueError):
    """A text does not begin like an XYZ file."""


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """One frame as text.

    Attributes:
        line: Number of its first line, counted from 1.
        text: All its lines; "" where it cannot be told which these are.
        problem: What is wrong with it as a whole, or "".
    """

    line: int
    text: str = ""
    problem: str = ""


def cut_frames(source: Iterable[str]) -> Iterator[Frame]:
    """Find the frames of a file, looking at each line once.

    A frame whose atom count does not fit what follows is bad as a whole: which atoms belong to it
    cannot be known. Reading goes on at the next line that is a bare number. In memory are the lines
    of one frame.

    Args:
        source: The lines of the file.

    Raises:
        NotXYZError: The text does not begin like an XYZ file.
    """
    lines = _Lines(source)
    lines.skip_blank()
    line = lines.peek()
    if not _is_count(line):
        got = (line or "")[:40]
        raise NotXYZError(f"expected the number of atoms on the first line, got {got!r}")
    while (line := lines.peek()) is not None:
        start = lines.number
        if not _is_count(line):
            yield Frame(start, problem=f"expected a number of atoms, got {line[:40]!r}")
            lines.next()
        else:
            text, problem = _frame(lines, int(line))
            yield Frame(start, text, problem)
            if not problem:
                lines.skip_blank()
                continue
        while (line := lines.peek()) is not None and not _is_count(line):
            lines.next()


class _Lines:
    """Lines one after the other, the next of which can be looked at; not the blank ones at the end.

    Attributes:
        number: Of the next line, counted from 1.
    """

    def __init__(self, source: Iterable[str]) -> None:
        self._source = iter(source)
        self._next: str | None = None
        # How many blank lines there are between `_next` and what was read last.
        self._n_blank = 0
        self._after: str | None = None
        self.number = 0
        self.next()

    def peek(self) -> str | None:
        """Return the next line; None at the end."""
        return self._next

    def next(self) -> str | None:
        """Return the next line and go on to the one after it."""
        line = self._next
        self.number += 1
        if self._n_blank:
            self._next, self._n_blank = "", self._n_blank - 1
        elif self._after is not None:
            self._next, self._after = self._after, None
        else:
            self._next = next(self._source, None)
            if self._next is not None and not self._next.strip():
                self._look_on()
        return line

    def _look_on(self) -> None:
        """Look beyond blank lines, which count if another line follows."""
        for line in self._source:
            if line.strip():
                self._after = line
                return
            self._n_blank += 1
        self._next, self._n_blank = None, 0

    def skip_blank(self) -> None:
        """Go on to the next line that is not blank."""
        while self._next is not None and not self._next.strip():
            self.next()


def read_frames(source: Iterable[str]) -> Iterator["tuple[int, ase.Atoms | str]"]:
    """Parse each frame by itself.

    Args:
        source: The lines of the file.

    Yields:
        The line number where a frame begins, counted from 1, and its atoms, or what is wrong.

    Raises:
        NotXYZError: The text does not begin like an XYZ file.
    """
    for frame in cut_frames(source):
        yield frame.line, frame.problem or _parsed(frame.text)


def _parsed(text: str) -> "ase.Atoms | str":
    from ase.io import read

    try:
        masses: dict[int, float] = {}
        head = text.split("\n", 3)
        n_columns = sum(width for _, width in _properties(head[1]))
        # ASE lays out as many columns as are announced, before it looks at one.
        if head[2:] and n_columns > len(head[2]):
            return f"its Properties announce {n_columns} columns, and its lines have fewer"
        if re.search(r"(^|\s)[DT]\s", text, re.MULTILINE):
            lines, masses = _without_isotopes(text.split("\n"))
            text = "\n".join(lines)
        atoms = read(io.StringIO(text), format="extxyz", index=0)
        assert not isinstance(atoms, list)
        if masses:
            all_masses = atoms.get_masses()
            all_masses[list(masses)] = list(masses.values())
            atoms.set_masses(all_masses)  # pyright: ignore[reportArgumentType]
        return atoms
    except KeyError as error:
        return _no_symbol(str(error.args[0]) if error.args else "")
    except Exception as error:  # ASE's parser raises whatever its steps raise
        return f"{type(error).__name__}: {error}"


def _without_isotopes(lines: Sequence[str]) -> tuple[list[str], dict[int, float]]:
    """Replace D and T in one frame of an (extended) XYZ file by H.

    Args:
        lines: The number of atoms, the comment, and a line for each atom.

    Returns:
        The lines, and the masses of the atoms that were D or T, amu; none where the frame has a
        column of masses.
    """
    fields = _properties(lines[1])
    column, at = -1, 0
    for name, width in fields:
        if name in ("species", "symbols"):
            column = at
        at += width
    masses: dict[int, float] = {}
    new = list(lines)
    for i, line in enumerate(lines[2:]) if column >= 0 else ():
        words = line.split()
        if len(words) > column and words[column] in _ISOTOPES:
            masses[i] = _ISOTOPES[words[column]]
            words[column] = "H"
            new[i + 2] = " ".join(words)
    return new, {} if "masses" in dict(fields) else masses


def _properties(comment: str) -> list[tuple[str, int]]:
    """The names of the properties in a frame, and how many columns each has."""
    found = re.search(r'\bProperties="?([^\s"]+)', comment)
    fields = (found.group(1) if found else "species:S:1:pos:R:3").split(":")
    return [
        (name, int(width[: _DIGITS + 1]) if width.isdecimal() else 1)
        for name, width in zip(fields[::3], fields[2::3], strict=False)
    ]


def _no_symbol(symbol: str) -> str:
    problem = f"{symbol[:40]!r} is no symbol of an element"
    if symbol.isdecimal():
        problem += (
            "; atomic numbers belong into a column Z (Properties=Z:I:1:pos:R:3), and types of "
            "LAMMPS are no elements (dump_modify ID element Cu Zr writes symbols)"
        )
    return problem


def _frame(lines: _Lines, count: int) -> tuple[str, str]:
    """The text of the next frame, and what is wrong with it as a whole, or "".

    Where something is, the lines up to the first that does not fit have been read.
    """
    short = f"it announces {count} atoms, but the file ends before"
    head = lines.next()
    comment = lines.next()
    if head is None or comment is None:
        return "", short
    texts = [head, comment]
    for _ in range(count):
        if (line := lines.peek()) is None:
            return "", short
        if not line.strip() or _is_count(line):
            where = f"line {lines.number}, among them, is {line[:40]!r}"
            return "", f"it announces {count} atoms, but {where}"
        texts.append(line)
        lines.next()
    while (vector := lines.peek()) is not None and vector.lstrip().startswith("VEC"):
        texts.append(vector)
        lines.next()
    lines.skip_blank()
    following = lines.peek()
    if following is not None and not _is_count(following):
        return "", (
            f"it announces {count} atoms, but line {lines.number}, after them, is "
            f"{following[:40]!r} and not the next number of atoms"
        )
    return "\n".join(texts), ""


def _is_count(line: str | None) -> bool:
    if line is None:
        return False
    text = line.strip()
    return text.isascii() and text.isdecimal() and len(text) <= _DIGITS
