"""Ways in which files and texts are damaged, by accident or on purpose."""

import gzip
import random
import re
from collections.abc import Callable

_NUMBER = re.compile(rb"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?")
ODD = (
    b"0", b"-1", b"1", b"7", b"1e300", b"-1e300", b"1e308", b"nan", b"inf", b"-inf", b"NaN",
    b"99999999999999999999", b"999999999", b"2147483648", b"-2147483649", b"1e-320", b"1d5", b"1,5",
    b"?", b".", b"X", b"D", b"T", b"*", b"**********", b"0x10", b"1_000", b"+-1", b"1e",
    b"\xc3\xa9",
    b"\xff\xfe", b"", b"\0", b"None", b"True", b"1" * 400, b"9" * 5000, b"\xd9\xa3", b"1/2",
    b"\xe2\x88\x921.0",
)  # fmt: skip
_JUNK = (
    b"\0" * 16, b"\xef\xbb\xbf", b"\xff\xfe", b"\r", b"\r\n", b"\x1a", b"\n" * 20, b" " * 500,
    b"\x0c",
    b"{" * 300, b"[" * 3000, b"<" * 20, b'"', b"'", b"\\", b"#", b"=", b":", b"%s", b"../../x",
    b"Properties=species:S:1:pos:R:3", b"Lattice=\"1 0 0 0 1 0 0 0 0\"", b"$$$$\n", b"M  END\n",
    b"\xe2\x80\xa8", b"_JSON {", b"ITEM: ATOMS id\n", b"loop_\n", b"data_\n", b"\x85", b"\xa0",
)  # fmt: skip


def damaged(content: bytes, draw: random.Random, most: int = 4) -> tuple[str, bytes]:
    """Damage the content of a file in one to `most` ways.

    Returns:
        The names of the ways, and the content.
    """
    done = []
    for _ in range(draw.randint(1, most)):
        name, way = draw.choice(_WAYS)
        content = way(content, draw)
        done.append(name)
    return " ".join(done), content[: 1 << 20]


def _flip(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8, 64)) if changed else 0):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _cut(content: bytes, draw: random.Random) -> bytes:
    at = draw.randint(0, len(content))
    return content[:at] if draw.random() < 0.7 else content[at:]


def _remove(content: bytes, draw: random.Random) -> bytes:
    at = draw.randint(0, len(content))
    return content[:at] + content[at + draw.choice((1, 4, 100, 4096)) :]


def _double(content: bytes, draw: random.Random) -> bytes:
    if draw.random() < 0.3:
        return content + content
    at = draw.randint(0, len(content))
    part = content[at : at + draw.choice((1, 10, 200))]
    return content[:at] + part * draw.choice((2, 3, 100)) + content[at + len(part) :]


def _splice(content: bytes, draw: random.Random) -> bytes:
    at = draw.randint(0, len(content))
    new = draw.choice((*_JUNK, draw.randbytes(draw.choice((1, 20, 600)))))
    return content[:at] + new + content[at:]


def _encode(content: bytes, draw: random.Random) -> bytes:
    text = content.decode("latin-1")
    codec = draw.choice(("utf-16", "utf-16-le", "utf-8", "utf-8-sig", "utf-32", "cp037"))
    if codec == "utf-8":
        text = text.replace("e", "\xe9").replace(" ", draw.choice((" ", "\xa0")))
    if codec == "cp037":
        text = text.encode("ascii", "replace").decode()
    return text.encode(codec)


def _ends(content: bytes, draw: random.Random) -> bytes:
    return content.replace(b"\n", draw.choice((b"\r\n", b"\r", b"\n\r", b"\n\n", b" ", b"\0\n")))


def _case(content: bytes, draw: random.Random) -> bytes:
    return draw.choice((bytes.upper, bytes.lower, bytes.swapcase))(content)


def _zip(content: bytes, draw: random.Random) -> bytes:
    return gzip.compress(content, mtime=0)


def _blank(content: bytes, draw: random.Random) -> bytes:
    at = draw.randint(0, len(content))
    n = draw.choice((1, 8, 512))
    return content[:at] + draw.choice((b"\0", b" ", b"\n", b"\xff")) * n + content[at + n :]


def _numbers(content: bytes, draw: random.Random) -> bytes:
    found = list(_NUMBER.finditer(content))
    for one in sorted(
        draw.sample(found, min(len(found), draw.choice((1, 1, 1, 2, 5)))), key=lambda m: -m.start()
    ):
        content = content[: one.start()] + draw.choice(ODD) + content[one.end() :]
    return content


def _counts(content: bytes, draw: random.Random) -> bytes:
    """Change one of the first whole numbers: often the number of what follows."""
    found = [m for m in _NUMBER.finditer(content[:2000]) if m.group().isdigit()][:6]
    if not found:
        return content
    one = draw.choice(found)
    n = int(one.group()[:18])
    new = draw.choice((0, n - 1, n + 1, -n, 2 * n, 10**6, 10**9, 10**18, 10**30))
    return content[: one.start()] + str(new).encode() + content[one.end() :]


def _of_lines(change: Callable[[list[bytes], int, random.Random], None]) -> Callable[..., bytes]:
    def changed(content: bytes, draw: random.Random) -> bytes:
        lines = content.split(b"\n")
        change(lines, draw.randrange(len(lines)), draw)
        return b"\n".join(lines)

    return changed


def _drop_line(lines: list[bytes], at: int, draw: random.Random) -> None:
    del lines[at : at + draw.choice((1, 1, 3))]


def _repeat_line(lines: list[bytes], at: int, draw: random.Random) -> None:
    lines[at:at] = [lines[at]] * draw.choice((1, 1, 2, 500))


def _swap_lines(lines: list[bytes], at: int, draw: random.Random) -> None:
    other = draw.randrange(len(lines))
    lines[at], lines[other] = lines[other], lines[at]


def _word(lines: list[bytes], at: int, draw: random.Random) -> None:
    if words := lines[at].split():
        words[draw.randrange(len(words))] = draw.choice(ODD)
        lines[at] = b" ".join(words)


def _drop_word(lines: list[bytes], at: int, draw: random.Random) -> None:
    if words := lines[at].split():
        del words[draw.randrange(len(words))]
        lines[at] = b" ".join(words)


_WAYS: tuple[tuple[str, Callable[[bytes, random.Random], bytes]], ...] = (
    ("flip", _flip), ("cut", _cut), ("remove", _remove), ("double", _double), ("splice", _splice),
    ("encode", _encode), ("ends", _ends), ("case", _case), ("zip", _zip), ("blank", _blank),
    ("numbers", _numbers), ("numbers", _numbers), ("numbers", _numbers), ("counts", _counts),
    ("counts", _counts), ("drop line", _of_lines(_drop_line)), ("flip", _flip),
    ("repeat line", _of_lines(_repeat_line)), ("swap lines", _of_lines(_swap_lines)),
    ("word", _of_lines(_word)), ("word", _of_lines(_word)), ("drop word", _of_lines(_drop_word)),
)  # fmt: skip
