"""Files as bytes, whatever compressed them, of which no more is read than the bounds allow.

Reading takes time and memory in proportion to a file's size, so everything that could be larger
than what is read is refused: content that compression made small, lines without an end.
"""

import bz2
import contextlib
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from kups_relax.errors import StructureError

# How a file is opened whose name has one of these endings.
COMPRESSED: dict[str, Callable[[Any], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
# What a compressed file may hold: so many times its own bytes, or this many, if that is more.
# Coordinates take a third to a tenth; a hundred equal frames a hundredth.
MOST_EXPANDED = 100
LEAST_BOUND = 1 << 24
# Characters of a line. Frames of extended XYZ have long ones where arrays are in their info.
LONGEST_LINE = 1 << 24
# Bytes that are read at once, and looked at before a file is taken for text.
BLOCK = 1 << 16

# What compression makes of data that is damaged.
_DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError)
# What no reader reads, by the bytes with which it begins.
_PACKED = {
    b"PK\x03\x04": "a zip archive; unpack it",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; unpack it",
    b"\x1f\x9d": "compressed by compress; unpack it",
    b"\x1f\x8b": "compressed by gzip; let its name end in .gz",
    b"BZh": "compressed by bzip2; let its name end in .bz2",
    b"\xfd7zXZ\0": "compressed by xz; let its name end in .xz",
}
# Where a header of tar says so.
_TAR = slice(257, 262)


class Bytes(Protocol):
    """A file that is open for reading."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many of the next bytes; none at the end."""
        ...


class _Bounded:
    """Bytes of a file, up to a number that is known from the beginning."""

    def __init__(self, file: Bytes, bound: int, objection: str | None) -> None:
        self._file, self._left, self._objection = file, bound, objection

    def read(self, size: int, /) -> bytes:
        """Return at most so many of the next bytes.

        Raises:
            StructureError: A compressed file holds more than it may.
        """
        # One more than is left tells a file that ends there from one that goes on.
        block = self._file.read(min(size, self._left + 1))
        if len(block) > self._left:
            if self._objection is not None:
                raise StructureError(self._objection)
            block = block[: self._left]
        self._left -= len(block)
        return block


@contextlib.contextmanager
def opened(path: Path, name: str) -> Iterator[Bytes]:
    """Open a file, compressed or not, for reading.

    Of a file that grows in the meantime, what was there when it was opened is read. A compressed
    one may hold 100 times its size, or 16 MiB if that is more.

    Args:
        path: Its ending tells how it is compressed.
        name: What messages call the file.

    Raises:
        StructureError: It cannot be read, or holds more than it may.
    """
    unpacked = COMPRESSED.get(path.suffix.lower())
    try:
        with path.open("rb") as raw:
            size = path.stat().st_size
            if unpacked is None:
                yield _Bounded(raw, size, None)
                return
            bound = max(LEAST_BOUND, MOST_EXPANDED * size)
            objection = (
                f"{name} holds more than {bound} bytes, {MOST_EXPANDED} times what it has itself "
                f"({size}). Unpack it, and pass the file that comes out."
            )
            with unpacked(raw) as file:
                yield _Bounded(file, bound, objection)
    except _DAMAGED as error:
        raise StructureError(f"{name} cannot be read: {error}. Check the file.") from error


def head_of(path: Path, name: str, size: int = BLOCK) -> bytes:
    """Return the first bytes of a file's content.

    Raises:
        StructureError: It cannot be read, or is packed in a way that is not undone here.
    """
    with opened(path, name) as file:
        head = file.read(size)
    if (reason := objection_to_head(head)) is not None:
        raise StructureError(f"{name} is {reason}.")
    return head


def objection_to_head(head: bytes) -> str | None:
    """Return how a file is packed that nothing here unpacks, or None."""
    if head[_TAR] == b"ustar":
        return "a tar archive; unpack it"
    return next((reason for magic, reason in _PACKED.items() if head.startswith(magic)), None)


def content_size(path: Path, name: str, *, text: bool, lines: bool) -> int:
    """Return the number of bytes that a file holds, unpacked, and check them.

    Args:
        path: Of the file.
        name: What messages call it.
        text: It must be text.
        lines: Lines of text must have at most 2^24 characters.

    Raises:
        StructureError: It cannot be read, holds more than it may, holds binary data, or has a
            line that is too long.
    """
    if not text and path.suffix.lower() not in COMPRESSED:
        return path.stat().st_size
    size = length = 0
    with opened(path, name) as file:
        while block := file.read(1 << 20):
            size += len(block)
            if not text:
                continue
            if b"\0" in block:
                raise StructureError(binary(name))
            if not lines:
                continue
            # Old files end their lines with returns alone.
            first = _line_end(block)
            if length + (len(block) if first < 0 else first) > LONGEST_LINE:
                raise StructureError(too_long(name))
            last = max(block.rfind(b"\n"), block.rfind(b"\r"))
            length = length + len(block) if last < 0 else len(block) - last - 1
    return size


def _line_end(block: bytes) -> int:
    """Return where the first line of a block ends, or -1."""
    newline, end = block.find(b"\n"), -1
    end = block.find(b"\r", 0, newline) if newline >= 0 else block.find(b"\r")
    return newline if end < 0 else end


def binary(name: str) -> str:
    """Return what is wrong with a file that should be text."""
    return f"{name} holds binary data and no text. Check the file, or its ending."


def too_long(name: str) -> str:
    """Return what is wrong with a file whose lines do not end."""
    return (
        f"{name} has a line of more than {LONGEST_LINE} characters; expected text with line ends. "
        "Check the file, or its ending."
    )
