"""New files beside others: created under random names, through no link, with the mode of the old.

Somebody who may write to a folder can put a link wherever a name is known beforehand. A run's own
files therefore have random names, and are created only where nothing of that name exists.
"""

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

# Bytes that names of a run's own files add to that of its output: `.NAME.0123abcd.next`,
# `NAME.h5.checkpoint`, and a temporary file of the latter.
ADDED = 40
# For systems that cannot tell how long a name may be.
_LONGEST_NAME = 255


def create_beside(path: Path, kind: str) -> Path:
    """Create an empty hidden file in the folder of another one.

    It has the mode of the file at `path`, whose place it is to take; where there is none, the mode
    that the umask leaves.

    Args:
        path: The file that it belongs to, which need not exist.
        kind: Last part of its name.

    Returns:
        Its path: `.NAME.RANDOM.KIND`.

    Raises:
        OSError: It cannot be created.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode) & 0o777
    except FileNotFoundError:
        mode = None
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}.{kind}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    handle = os.open(new, flags, 0o666 if mode is None else 0o600)
    try:
        if mode is not None and hasattr(os, "fchmod"):
            os.fchmod(handle, mode)
    finally:
        os.close(handle)
    return new


def remove_left(path: Path, kind: str) -> None:
    """Remove the files that `create_beside` made for processes that were killed.

    Args:
        path: As for `create_beside`. No other process may be writing to it.
        kind: As for `create_beside`.
    """
    ours = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.{re.escape(kind)}\Z")
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            if ours.match(entry.name) and entry.is_file(follow_symlinks=False):
                Path(entry.path).unlink(missing_ok=True)


def write_atomically(
    path: Path, fill: Callable[[Path], None], *, through_link: bool = True
) -> None:
    """Let `fill` write a temporary file, then put it in the place of `path`.

    Args:
        path: Of the file.
        fill: Called with the path of the temporary file, which exists and is empty.
        through_link: True for a file that the user named: a symbolic link stays, and what it points
            to is replaced. False for a run's own files: the link is replaced.

    Raises:
        OSError: It cannot be written; what was there before stays.
    """
    path = Path(os.path.realpath(path)) if through_link else path
    temporary = create_beside(path, "tmp")
    try:
        fill(temporary)
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":
        sync(path.parent)


def sync(path: Path) -> None:
    """Wait until the disk holds what was written to a file, or to a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def objection_to_name(path: Path) -> str | None:
    """Say why a name is too long for a file and those that a run makes beside it; None: it is not.

    Args:
        path: In a folder that exists.
    """
    try:
        longest = os.pathconf(path.absolute().parent, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):
        longest = _LONGEST_NAME
    n_bytes = len(os.fsencode(path.name))
    if n_bytes + ADDED > longest:
        return (
            f"its name has {n_bytes} bytes; at most {longest - ADDED} leave room for the files "
            "that a run makes beside it. Choose a shorter name."
        )
    return None


def why_not_written(error: BaseException) -> str:
    """Name the reason for which a file could not be written, with the way out.

    Args:
        error: An OSError, or what HDF5 made of one.
    """
    number = getattr(error, "errno", None)
    text = " ".join(str(error).split())
    if number is None and (found := re.search(r"errno = (\d+)", text)):
        number = int(found[1])
    return {
        errno.ENOSPC: "no space is left on the device; make room",
        errno.EDQUOT: "the disk quota is used up; make room",
        errno.EFBIG: "it would be larger than files may be here (ulimit -f, or the file system); "
        "raise the limit or choose another place",
        errno.EROFS: "the file system is read-only now",
        errno.EACCES: f"permission was denied ({text})",
    }.get(number or 0, text)
