"""Files that ASE reads, in bounded time and memory: docs/inputs.md."""

import pickle
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kups_relax._log import log
from kups_relax.errors import StructureError
from kups_relax.io import _ase_reader
from kups_relax.io._entries import Entry, Unreadable, alone, entry_from_atoms, label_in
from kups_relax.io._inputs import FORMATS
from kups_relax.io._invented import format_of, note_on, objection_to_file, objection_to_frame
from kups_relax.io._lines import text_lines
from kups_relax.io._opening import content_size, head_of
from kups_relax.io._processes import Worker, Workers
from kups_relax.io._xyz import NotXYZError, read_frames

# Characters of an error of ASE's that are shown.
_SHOWN = 200

_workers = Workers(_ase_reader.__file__)

# Formats without lines, and those whose lines may be of any length.
_BINARY = frozenset({"abinit-gsr", "cp2k-dcd", "db", "gpw", "lammps-dump-binary",
                     "netcdftrajectory", "traj"})  # fmt: skip
_ONE_LINE = frozenset({"cjson", "json", "nomad-json"})
# Formats whose readers open other files, folders or servers.
_ELSEWHERE: Mapping[str, str] = {
    "bundletrajectory": "a bundle is a folder; expected a file",
    "mysql": "it stands for a server, which is not asked",
    "octopus-in": "the format refers to other files, which are not opened",
    "onetep-in": "the format may include other files, which are not opened",
    "postgresql": "it stands for a server, which is not asked",
    "xtd": "its reader opens the .arc file beside it; give that one",
}
_PASS = "Read it with ase.io.read, if you trust it, and pass the Atoms."


def entries_by_ase(path: Path, name: str, stem: str) -> Iterator[Entry]:
    """Read the structures of a file with ASE.

    Args:
        path: Of the file.
        name: What messages call it.
        stem: The default id.

    Raises:
        StructureError: It holds no structures, or none that may be read.
    """
    kind = _kind_of(path, name)
    n_frames = 0
    for i, ((line, atoms), only) in enumerate(alone(_frames(path, name, kind))):
        n_frames += 1
        label = stem if only else f"{stem}:{i}"
        if isinstance(atoms, str):
            where = f", from line {line}" if line else ""
            reason = f"frame {i} of {path}{where}: {atoms}. Repair the file."
            yield Unreadable(id=label, reason=reason)
        else:
            if not i and (note := note_on(kind, atoms)) is not None:
                log.warning("%s: %s", path, note)
            atoms.calc = None
            reason = objection_to_frame(atoms, kind)
            yield entry_from_atoms(atoms, label_in(atoms.info) or label, reason=reason)
    if not n_frames:
        raise StructureError(
            f"{name} holds no structures that could be found, read as {kind!r}. Check that this "
            "is its format, or read it with ase.io.read(path, format=...), and pass the Atoms."
        )


def count_frames(path: Path, kind: str, seconds: float) -> int:
    """Return how many frames a trajectory or database has by its own account.

    Raises:
        StructureError: It cannot be read.
        TimeoutError: Counting takes longer than it may.
    """
    [n] = _answers(path, str(path), (kind, _size(path, str(path), kind), True), seconds)
    return n


def _kind_of(path: Path, name: str) -> str:
    head_of(path, name)
    try:
        kind = format_of(path)
    except Exception as error:  # ASE has several kinds of errors for what it cannot tell
        raise _unknown(type(error).__name__, str(error), name) from error
    if reason := _ELSEWHERE.get(kind):
        raise StructureError(f"{name}: {reason}. {_PASS}")
    return kind


def _size(path: Path, name: str, kind: str) -> int:
    lines = _is_ase(kind) and kind not in _BINARY
    return content_size(path, name, text=lines, lines=kind not in _ONE_LINE)


def _is_ase(kind: str) -> bool:
    """Tell ASE's own formats from those that users and other packages add."""
    from ase.io.formats import ioformats

    known = ioformats.get(kind)
    return known is not None and known.module_name.startswith("ase.io.")


def _frames(path: Path, name: str, kind: str) -> Iterator[tuple[int, Any]]:
    """Line number (or 0) and atoms of each frame, or what is wrong with it."""
    if kind in ("extxyz", "xyz"):
        yield from _guarded(lambda: read_frames(text_lines(path, name)), name)
        return
    size = _size(path, name, kind)
    try:
        reason = objection_to_file(path, kind, size)
    except Exception as error:  # of a file that is not what its name says
        raise _unknown(type(error).__name__, str(error), name) from error
    if reason is not None:
        raise StructureError(f"{name}: {reason}")
    request = (kind, size, False)
    found = _answers(path, name, request) if _is_ase(kind) else _here(path, kind)
    yield from _guarded(lambda: ((0, atoms) for atoms in found), name)


def _guarded(read: Callable[[], Iterator[tuple[int, Any]]], name: str) -> Iterator[tuple[int, Any]]:
    n_frames = 0
    try:
        for frame in read():
            yield frame
            n_frames += 1
    except Exception as error:  # ASE's many parsers raise whatever their steps raise
        known = isinstance(error, StructureError)
        if n_frames:
            # What follows cannot be found any more.
            text = str(error) if known else f"{type(error).__name__}: {str(error)[:_SHOWN]}"
            yield 0, f"{text.rstrip('.')}; nothing after it can be read"
        elif known:
            raise
        else:
            kind = "" if isinstance(error, NotXYZError) else type(error).__name__
            raise _unknown(kind, str(error), name) from error


def _here(path: Path, kind: str) -> Iterator[Any]:
    """Read by a reader of the user's own, who knows what it does."""
    from ase.io import iread

    yield from iread(str(path.absolute()), index=":", format=kind, do_not_split_by_at_sign=True)


def _answers(
    path: Path, name: str, request: tuple[str, int, bool], seconds: float | None = None
) -> Iterator[Any]:
    """Atoms of each frame, or how many there are, from a process with bounded time and memory.

    Raises:
        StructureError: ASE cannot read the file, or not within the bounds.
        TimeoutError: An answer took longer than it may.
    """
    size = request[1]
    while True:
        worker, waited = _workers.take()
        answered = ended = False
        try:
            worker.ask((str(path.absolute()), *request))
            while not ended:
                what, value = worker.answer(seconds)
                answered, ended = True, what in ("end", "error", "count")
                if ended:
                    _workers.give_back(worker)
                if what == "atoms":
                    yield pickle.loads(value)
                elif what == "count":
                    yield value
                elif what == "warning":
                    warnings.warn(value, stacklevel=2)
                elif what == "error":
                    kind, text = value
                    raise _failed(kind, text, name, size)
            return
        except TimeoutError:
            raise
        except (EOFError, OSError) as error:
            # One that waits too long ends; it may do so in the moment in which it is taken.
            if answered or not waited:
                raise _died(worker, name, size) from error
        finally:
            if not ended:
                _workers.end(worker)


def _failed(kind: str, text: str, name: str, size: int) -> StructureError:
    if kind == "MemoryError":
        return StructureError(
            f"{name}: to read it, ASE takes more memory than {_ase_reader.MEMORY >> 20} MB and "
            f"{_ase_reader.MEMORY_EACH} times what the file holds ({size} bytes). Repair it. "
            f"{_PASS}"
        )
    return _unknown(kind, text, name)


def _died(worker: Worker, name: str, size: int) -> StructureError:
    status = _workers.end(worker)
    if status == -signal.SIGXCPU:
        seconds = int(_ase_reader.SECONDS + size / _ase_reader.BYTES_A_SECOND)
        return StructureError(
            f"{name}: ASE did not finish with it within {seconds} s of processor time, which is "
            f"{_ase_reader.SECONDS} s and 1 s for each {_ase_reader.BYTES_A_SECOND} bytes that the "
            f"file holds. Repair it. {_PASS}"
        )
    return StructureError(
        f"{name}: the process in which ASE read it ended by itself (status {status}). Repair it. "
        f"{_PASS}"
    )


def _unknown(kind: str, text: str, name: str) -> StructureError:
    """Name what ended the reading of a file: the exception's kind, "" for one of ours, and text."""
    problem = f"{kind}: {text[:_SHOWN]}" if kind else text
    if kind == "UnicodeDecodeError":
        problem = "it is not text in UTF-8; convert it"
    return StructureError(f"{name}: ASE cannot read it as a structure file ({problem}). {FORMATS}")
