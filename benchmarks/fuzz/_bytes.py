"""Damage the bytes of a file as disks, transfers and crashes do; knows nothing of its layout."""

import random
from collections.abc import Callable
from pathlib import Path

_SECTORS = (512, 4096)


def damage(path: Path, draw: random.Random) -> str:
    """Damage a file in place, in one to three ways.

    Args:
        path: Of the file.
        draw: Decides how. Places are spread over the whole file, its first bytes more often.

    Returns:
        What was done.
    """
    content = bytearray(path.read_bytes())
    done = []
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        name, way = draw.choice(_WAYS)
        done.append(f"{name} {way(content, draw)}")
    path.write_bytes(content)
    return "; ".join(done)


def _place(content: bytearray, draw: random.Random, sector: int = 1) -> int:
    size = max(1, len(content))
    # Headers and the first groups.
    at = draw.randrange(min(size, 8192)) if draw.random() < 0.3 else draw.randrange(size)
    return at // sector * sector


def _flip(content: bytearray, draw: random.Random) -> str:
    places = [_place(content, draw) for _ in range(draw.choice((1, 1, 2, 8, 100)))]
    for at in places if content else ():
        content[at] ^= 1 << draw.randrange(8)
    return f"at {places[:4]}"


def _set(content: bytearray, draw: random.Random) -> str:
    n, at = draw.choice((1, 2, 4, 8)), _place(content, draw)
    content[at : at + n] = draw.choice((b"\xff", b"\0", b"\x7f", b"\x80")) * n
    return f"{n} at {at}"


def _sector(content: bytearray, draw: random.Random) -> str:
    size = draw.choice(_SECTORS)
    at = _place(content, draw, size)
    n = len(content[at : at + size])
    content[at : at + n] = draw.choice((b"\0" * n, b"\xff" * n, draw.randbytes(n)))
    return f"{size} at {at}"


def _swap(content: bytearray, draw: random.Random) -> str:
    size = draw.choice(_SECTORS)
    a, b = (_place(content, draw, size) for _ in range(2))
    if max(a, b) + size <= len(content):
        content[a : a + size], content[b : b + size] = content[b : b + size], content[a : a + size]
    return f"{size} at {a} and {b}"


def _stale(content: bytearray, draw: random.Random) -> str:
    """Put what stood elsewhere in place of a sector: a write that never came, or came twice."""
    size = draw.choice(_SECTORS)
    a, b = (_place(content, draw, size) for _ in range(2))
    content[a : a + size] = content[b : b + size][: len(content[a : a + size])]
    return f"{size} at {a} from {b}"


def _insert(content: bytearray, draw: random.Random) -> str:
    n, at = draw.choice((1, 8, 512)), _place(content, draw)
    content[at:at] = draw.randbytes(n)
    return f"{n} at {at}"


def _truncate(content: bytearray, draw: random.Random) -> str:
    at = draw.choice((0, 1, 8, 100, 2048, len(content) - 1, _place(content, draw)))
    del content[at:]
    return f"to {at}"


def _append(content: bytearray, draw: random.Random) -> str:
    n = draw.choice((1, 512, 100_000))
    content += draw.choice((draw.randbytes(n), b"\0" * n))
    return f"{n}"


_WAYS: tuple[tuple[str, Callable[[bytearray, random.Random], str]], ...] = (
    ("flip", _flip), ("flip", _flip), ("flip", _flip), ("set", _set), ("set", _set),
    ("sector", _sector), ("sector", _sector), ("swap", _swap), ("stale", _stale),
    ("insert", _insert), ("truncate", _truncate), ("append", _append),
)  # fmt: skip
