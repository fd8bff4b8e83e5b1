"""ASE's readers: the program of a process of its own, see `_child.py`.

They trust what files say: how many atoms to make room for, where a loop ends, which other files to
open. Here the system bounds their time and memory, and to them there are no other files.
"""

import contextlib
import os
import pickle
import resource
import sqlite3
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any, TypeAlias
from urllib.parse import quote

# Pickled atoms; a warning; what ended the file, by its kind and text; or how many frames there are.
Answer: TypeAlias = tuple[str, Any]

# Memory that reading may take: bytes, and bytes for each of the file's content.
MEMORY, MEMORY_EACH = 1 << 29, 32
# Processor time that reading may take: seconds, and bytes in each further one.
SECONDS, BYTES_A_SECOND = 20, 100_000

_MODULES = (".py", ".pyc", ".so")
# What readers have no business with, as `sys.audit` names it.
_FORBIDDEN = (
    "os.", "shutil.", "subprocess.", "socket.", "pickle.find_class", "tempfile.", "urllib.",
    "ctypes.", "webbrowser.",
)  # fmt: skip
_HARMLESS = frozenset({"os.listdir", "os.scandir", "os.putenv", "os.unsetenv", "os.listxattr"})

# The file that is read, and temporary folders: ASE makes one to run CASTEP in, which is not run.
_reading = ""
_temporary: set[str] = set()


def begin() -> None:
    """Import what reading needs, and shut the door."""
    import ase.io.extxyz
    import ase.io.trajectory  # noqa: F401

    sys.dont_write_bytecode = True
    # Found out now: it takes a file.
    tempfile.gettempdir()
    # ASE prints now and then.
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.addaudithook(_watch)


def answers(path: str, kind: str, size: int, count: bool) -> Iterator[Answer]:
    """Read one file.

    Args:
        path: Absolute.
        kind: The format, as ASE names it.
        size: Bytes of its content, from which the bounds follow.
        count: Only tell how many frames the file has by its own account.
    """
    global _reading
    _reading = path
    _bound(size)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if count:
                yield "count", _count(path, kind)
                return
            for atoms in _frames(path, kind):
                atoms.calc = None
                yield from _told(caught)
                yield "atoms", pickle.dumps(atoms, pickle.HIGHEST_PROTOCOL)
            yield from _told(caught)
        yield "end", None
    except Exception as error:  # whatever the steps of ASE's parsers raise
        yield "error", (type(error).__name__, str(error)[:1000])
    finally:
        _bound(None)
        _reading = ""


def _bound(size: int | None) -> None:
    """Bound memory and processor time from now on; None lifts the bounds."""
    memory = seconds = resource.RLIM_INFINITY
    if size is not None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds = int(used.ru_utime + used.ru_stime + SECONDS + size / BYTES_A_SECOND) + 1
        with contextlib.suppress(OSError), open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[0])
            memory = pages * resource.getpagesize() + MEMORY + MEMORY_EACH * size
    for which, bound in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, seconds)):
        _, most = resource.getrlimit(which)
        if most != resource.RLIM_INFINITY:
            bound = most if bound == resource.RLIM_INFINITY else min(bound, most)
        # Systems other than Linux bound no memory.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(which, (bound, most))


def _frames(path: str, kind: str) -> Iterator[Any]:
    from ase.io import iread

    if kind == "db" and not path.endswith(".aselmdb"):
        with _database(path) as database:
            for row in database.select():
                yield row.toatoms()
        return
    for atoms in iread(path, index=":", format=kind, do_not_split_by_at_sign=True):
        # ASE ends a model at ENDMDL and again at END.
        if len(atoms) or kind != "proteindatabank":
            yield atoms


def _count(path: str, kind: str) -> int:
    if kind == "db":
        with _database(path) as database:
            return database.count()
    from ase.io.trajectory import TrajectoryReader

    with TrajectoryReader(path) as frames:
        return len(frames)


def _database(path: str) -> Any:
    from ase.db.sqlite import SQLite3Database

    class ReadOnly(SQLite3Database):
        # ASE would make its tables in a database that has none.
        def _connect(self) -> sqlite3.Connection:
            return sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=20)

    return ReadOnly(path, serial=True, use_lock_file=False)


def _told(caught: list[warnings.WarningMessage]) -> Iterator[Answer]:
    for one in caught:
        quiet = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
        if not issubclass(one.category, quiet):
            yield "warning", str(one.message)
    caught.clear()


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Hide all other files, programs and computers from the reader at work.

    Raises:
        FileNotFoundError: It wants to open, change or run something else.
    """
    if not _reading:
        return
    if event == "tempfile.mkdtemp":
        _temporary.add(arguments[0])
    elif arguments and isinstance(arguments[0], str) and arguments[0] in _temporary:
        return
    elif event == "open":
        if not _may_open(*arguments[:3]):
            raise FileNotFoundError(f"it refers to another file, {arguments[0]}, which is not read")
    elif event.startswith(_FORBIDDEN) and event not in _HARMLESS:
        raise FileNotFoundError(f"reading it wants {event}{arguments!r:.100}, which is not done")


def _may_open(path: Any, mode: str | None, flags: int) -> bool:
    if isinstance(path, int):
        return True
    if (mode and set(mode) & set("wax+")) or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return False
    name = os.path.abspath(os.fsdecode(path))
    installed = (sys.prefix, sys.base_prefix, os.path.dirname(os.__file__), "/proc/self/")
    return name == _reading or name.endswith(_MODULES) or name.startswith(installed)
