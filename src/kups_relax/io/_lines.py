"""Text files line by line, however large they are."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from kups_relax.errors import StructureError
from kups_relax.io._opening import (
    BLOCK,
    LONGEST_LINE,
    Bytes,
    binary,
    objection_to_head,
    opened,
    too_long,
)


def text_lines(path: Path, named: str) -> Iterator[str]:
    """Read lines as UTF-8, or as Latin-1 where they are not, without their ends.

    Args:
        path: Of plain text, or of what gzip, bzip2 or xz made of it.
        named: What messages call the file.

    Raises:
        StructureError: It cannot be read, begins with binary data, has a line of more than 2^24
            characters, or is a compressed file that holds more than it may.
    """
    with opened(path, named) as file:
        for line in _byte_lines(file, named):
            yield _decoded(line)


def _byte_lines(file: Bytes, named: str) -> Iterator[bytes]:
    """Cut what a file holds at newlines, at returns, and at both together."""
    head = file.read(BLOCK)
    if (reason := objection_to_head(head)) is not None:
        raise StructureError(f"{named} is {reason}.")
    if b"\0" in head:
        raise StructureError(binary(named))
    # The line in work, and how long it is: joined once, it costs no more than its length.
    pieces: list[bytes] = []
    length = 0
    after_return = False
    for block in itertools.chain([head], iter(lambda: file.read(BLOCK), b"")):
        if b"\r" in block or after_return:
            # A return may end one block, and its newline begin the next.
            ends = block.endswith(b"\r")
            block = block.removeprefix(b"\n") if after_return else block
            block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            after_return = ends
        first, *lines = block.split(b"\n")
        pieces.append(first)
        length += len(first)
        if length > LONGEST_LINE:
            raise StructureError(too_long(named))
        if lines:
            yield b"".join(pieces)
            *lines, last = lines
            yield from lines
            pieces, length = [last], len(last)
    if rest := b"".join(pieces):
        yield rest


def _decoded(line: bytes) -> str:
    try:
        return line.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")
