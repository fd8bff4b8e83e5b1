"""Write a store so that it is whole at any moment, whatever happens to the process.

There are two copies of the file, one of them always closed and complete under the name that the
user gave. What is new is appended to the other one, which then takes its place by a rename. A kill
loses at most what was finished since the last time, some seconds ago; a full disk nothing that was
there; and who reads meanwhile always finds a file that nobody writes to.
"""

import contextlib
import errno
import logging
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py

from kups_relax.errors import StoreError
from kups_relax.store import _layout as layout

log = logging.getLogger("kups_relax")

# Seconds between two times that finished structures are written; more where writing takes longer
# than a fiftieth of that.
_INTERVAL = 2.0
_SHARE = 50
# Structures that wait for it at most.
_MOST = 4096
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Writer:
    """Add finished structures to a store, once there is one: `create` or `go_on`.

    Args:
        path: Of the store, or of a link to it.

    Raises:
        StoreError: Another run writes to it, or its directory is not writable.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # The store itself takes part in renames, and a link to it stays.
        self._real = real = path.resolve()
        self._attributes: dict[str, Any] = {}
        self._spare = real.with_name(f".{real.name}.next")
        self._old = real.with_name(f".{real.name}.last")
        self._lock = _Lock(real)
        self._waiting: list[layout.Row] = []
        # What was written last, which the other copy lacks, and to which row.
        self._written: tuple[int, layout.Block] | None = None
        self._n_done = 0
        self._due = time.monotonic() + _INTERVAL
        self._forget_copies()

    def create(self, attributes: Mapping[str, Any]) -> None:
        """Begin a new store; what is in its place is lost.

        Args:
            attributes: Of the run.

        Raises:
            StoreError: It cannot be written.
        """
        self._attributes = dict(attributes)
        with self._errors():
            _reserve(self._spare, layout.ROOM)
            # Space that is given up when a last chunk grows is used again, the next time too.
            with h5py.File(self._spare, "w", fs_strategy="fsm", fs_persist=True) as file:
                layout.create(file, self._attributes, width=32)
            _sync(self._spare)
            os.replace(self._spare, self._real)

    def go_on(self, n_done: int, attributes: Mapping[str, Any]) -> None:
        """Add to the store that is there.

        Args:
            n_done: Structures in it.
            attributes: Of the run; those that are there already may change.
        """
        self._attributes = dict(attributes)
        self._n_done = n_done

    def add(self, row: layout.Row) -> None:
        """Have a structure written within seconds."""
        self._waiting.append(row)
        self.write_if_due()

    def write_if_due(self) -> None:
        """Write what waits, if that is worth it now."""
        if self._waiting and (time.monotonic() > self._due or len(self._waiting) >= _MOST):
            self.write()

    def write(self, **attributes: Any) -> None:
        """Write what waits now, and attributes of the run.

        Raises:
            StoreError: It cannot be written; what was there before stays.
        """
        if not self._waiting and not attributes:
            return
        start = time.monotonic()
        with self._errors():
            self._open_copy(attributes)
        took = time.monotonic() - start
        self._due = time.monotonic() + max(_INTERVAL, _SHARE * took)
        log.debug("%s: %d structures, written in %.3f s", self.path, self._n_done, took)

    def close(self) -> None:
        """Give up the lock and the other copy. What waits is lost: `write` it before."""
        self._forget_copies()
        self._lock.release()

    def _open_copy(self, attributes: Mapping[str, Any]) -> None:
        """Bring the other copy up to date, and put it into the place of the first."""
        block = layout.Block.of(self._waiting) if self._waiting else None
        new = [self._written[1]] if self._written else []
        room = layout.ROOM + sum(b.n_bytes for b in [*new, block] if b)
        with self._copy(room) as file:
            own = file[layout.OWN]
            there = int(own.attrs["n_done"])
            if self._written and self._written[0] >= there:
                layout.append(file, self._written[1])
            if block:
                layout.append(file, block)
            for name, value in {**self._attributes, **attributes}.items():
                own.attrs[name] = value
            n_done = int(own.attrs["n_done"])
        _sync(self._spare)
        self._swap()
        # The copy that comes next has all but what was new now.
        self._written = (self._n_done, block) if block else None
        self._waiting, self._n_done = [], n_done

    def _copy(self, room: int) -> Any:
        """Open the other copy, on a disk that has room for what is to be added."""
        if self._spare.exists():
            try:
                return _opened(self._spare, room)
            except OSError:
                # Somebody still reads it, from when it was the first.
                self._spare.unlink()
        shutil.copyfile(self._real, self._spare)
        return _opened(self._spare, room)

    def _swap(self) -> None:
        """Put the new file into place; the old one becomes the copy."""
        try:
            with contextlib.suppress(FileNotFoundError):
                self._old.unlink()
            os.link(self._real, self._old)
            kept = True
        except OSError:
            # No hard links on this file system: the copy is made anew each time.
            kept = False
        os.replace(self._spare, self._real)
        if kept:
            # The store has its new rows: what fails now must not write them again.
            with contextlib.suppress(OSError):
                os.replace(self._old, self._spare)

    def _forget_copies(self) -> None:
        for path in (self._spare, self._old):
            with contextlib.suppress(OSError):
                path.unlink()

    @contextlib.contextmanager
    def _errors(self) -> Any:
        try:
            yield
        except (OSError, RuntimeError, KeyError) as error:
            with contextlib.suppress(OSError):
                self._spare.unlink()
            full = getattr(error, "errno", None) in _FULL
            full = full or "No space left" in str(error)
            what = "no space is left on the device" if full else str(error)
            raise StoreError(
                f"{str(self.path)!r} cannot be written: {what}. It holds the {self._n_done} "
                "structures that were written before; make room and go on with resume=True."
            ) from error


class _Lock:
    """Keep a second run away from a store, as long as the process lives."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(f".{path.name}.lock")
        self._file: int | None = None
        try:
            import fcntl
        except ImportError:  # there are no such locks on Windows
            return
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreError(f"{str(path)!r} cannot be written: {error}.") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last owner may just have removed it.
            if not self._path.exists() or os.fstat(file).st_ino != self._path.stat().st_ino:
                raise BlockingIOError
        except BlockingIOError:
            owner = os.read(file, 200).decode(errors="replace")
            os.close(file)
            raise StoreError(
                f"{str(path)!r} is being written by another run ({owner or 'unknown'}). Wait for "
                "it, stop it, or choose another name."
            ) from None
        except OSError as error:  # some network file systems know no locks
            log.warning("%s cannot be locked: %s", path, error)
            os.close(file)
            self._path.unlink()
            return
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on {os.uname().nodename}".encode())
        self._file = file

    def release(self) -> None:
        """Let others write."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(self._file)
            self._file = None


def _opened(path: Path, room: int) -> Any:
    _reserve(path, room)
    return h5py.File(path, "r+")


def _reserve(path: Path, room: int) -> None:
    """Have the disk give room to a file before HDF5 asks: it may crash when it gets none.

    HDF5 cuts off what it did not use when it closes the file.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("ab") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size + room)
        except OSError as error:
            # Some file systems cannot.
            if error.errno in _FULL:
                raise


def _sync(path: Path) -> None:
    """Have the disk hold a file before its name says so."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
