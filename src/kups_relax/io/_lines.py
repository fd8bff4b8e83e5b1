"""Text files line by line, however large they are."""

import gzip
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from kups_relax.errors import StructureError

# Bytes that are looked at before a file is taken for text.
_HEAD = 1 << 16


def text_lines(path: Path, named: str) -> Iterator[str]:
    """Read lines as UTF-8, or as Latin-1 where they are not, without their ends.

    Args:
        path: Of plain text, or of what gzip made of it.
        named: What messages call the file.

    Raises:
        StructureError: It cannot be read, or begins with binary data.
    """
    binary = f"{named} holds binary data and no text. Check the file, or its ending."
    try:
        zipped = path.suffix.lower() == ".gz"
        with path.open("rb") as raw, gzip.open(raw) if zipped else raw as file:
            head = file.read(_HEAD)
            if b"\0" in head:
                raise StructureError(binary)
            left: list[bytes] = []
            for block in itertools.chain([head], iter(lambda: file.read(_HEAD), b"")):
                left.append(block)
                if b"\n" not in block:
                    continue
                # A return may end one block, and its newline begin the next.
                *lines, rest = b"".join(left).replace(b"\r\n", b"\n").split(b"\n")
                left = [rest]
                for line in lines:
                    yield from _decoded(line).split("\r")
            if rest := b"".join(left):
                yield from _decoded(rest).removesuffix("\r").split("\r")
    except (OSError, EOFError) as error:
        raise StructureError(f"{named} cannot be read: {error}. Check the file.") from error


def _decoded(line: bytes) -> str:
    try:
        return line.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


class Lines:
    """Lines by number, of which only those in use are in memory.

    Blank lines at the end do not count.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._source = iter(lines)
        self._held: deque[str] = deque()
        self._first = 0

    def get(self, i: int) -> str | None:
        """Line i, counted from 0; None beyond the end."""
        while len(self._held) <= i - self._first or not self._held[-1].strip():
            line = next(self._source, None)
            if line is None:
                while self._held and not self._held[-1].strip():
                    self._held.pop()
                break
            self._held.append(line)
        at = i - self._first
        return self._held[at] if at < len(self._held) else None

    def text(self, start: int, stop: int) -> str:
        """Lines start .. stop as one text."""
        return "\n".join(itertools.islice(self._held, start - self._first, stop - self._first))

    def forget(self, before: int) -> None:
        """Give up lines that are not needed any more."""
        while self._first < before and self._held:
            self._held.popleft()
            self._first += 1
