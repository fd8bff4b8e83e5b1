"""Write a store so that it is whole at any moment, whatever happens to the process.

There are two copies of the file, one of them always closed and complete under the name that the
user gave. What is new is appended to the other one, which then takes its place by a rename. A kill
loses at most what was finished since the last time, some seconds ago; a full disk nothing that was
there; and who reads meanwhile always finds a file that nobody writes to.
"""

import contextlib
import errno
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py

from kups_relax._files import create_beside, remove_left, sync, why_not_written
from kups_relax._log import log
from kups_relax._threads import saving
from kups_relax.errors import StoreError
from kups_relax.store import _layout as layout
from kups_relax.store._lock import Lock

# Seconds between two times that finished structures are written; more where writing takes longer
# than a fiftieth of that.
_INTERVAL = 2.0
_SHARE = 50
# Structures that wait for it at most.
_MOST = 4096
# Endings of the hidden copies: what is written next, and what was there last.
_NEXT, _LAST = "next", "last"
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
        self._lock = Lock(real)
        self._spare: Path | None = None
        self._waiting: list[layout.Row] = []
        # The block that was written last, which the other copy lacks, and its first row.
        self._written: tuple[int, layout.Block] | None = None
        self._n_done = 0
        # The file that this run left in the place of the store.
        self._ours: tuple[int, ...] | None = None
        self._due = time.monotonic() + _INTERVAL
        for kind in (_NEXT, _LAST):
            remove_left(real, kind)

    def create(self, attributes: Mapping[str, Any]) -> None:
        """Begin a new store; what is in its place is lost.

        Args:
            attributes: Of the run.

        Raises:
            StoreError: It cannot be written.
        """
        self._attributes = dict(attributes)
        with self._errors():
            self._begin()
            assert self._spare is not None
            os.replace(self._spare, self._real)
            self._spare, self._ours = None, _identity(self._real)

    def go_on(self, n_done: int, attributes: Mapping[str, Any]) -> None:
        """Add to the store that is there.

        Args:
            n_done: Structures in it.
            attributes: Of the run; those that are there already may change.
        """
        self._attributes = dict(attributes)
        self._n_done = n_done
        self._ours = _identity(self._real)

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
        if self._waiting or attributes:
            self.append(layout.Block.of(self._waiting) if self._waiting else None, attributes)

    def append(self, block: layout.Block | None, attributes: Mapping[str, Any]) -> None:
        """Write a block, and attributes of the run, now.

        Raises:
            StoreError: It cannot be written; what was there before stays.
        """
        start = time.monotonic()
        with self._errors(), saving():
            self._write(block, attributes)
        took = time.monotonic() - start
        self._due = time.monotonic() + max(_INTERVAL, _SHARE * took)
        log.debug("%s: %d structures, written in %.3f s", self.path, self._n_done, took)

    def close(self) -> None:
        """Give up the lock and the other copy. What waits is lost: `write` it before."""
        self._remove_spare()
        self._lock.release()

    def _write(self, block: layout.Block | None, attributes: Mapping[str, Any]) -> None:
        """Bring the other copy up to date, and put it into the place of the first."""
        new = [self._written[1]] if self._written else []
        room = layout.ROOM + sum(b.n_bytes for b in [*new, block] if b)
        n_rows = self._n_done + (block.n_rows if block else 0)
        with self._copy(room) as file:
            there = int(file.attrs["n_structures"])
            if self._written and self._written[0] >= there:
                layout.append(file, self._written[1])
            if block:
                layout.append(file, block)
            n_done = int(file.attrs["n_structures"])
            if n_done < n_rows:
                # It had to begin anew: it is not complete.
                attributes = {}
            layout.set_attributes(file, {**self._attributes, **attributes})
        assert self._spare is not None
        sync(self._spare)
        self._swap(n_done)
        # The copy that comes next has all but what was new now.
        self._written = (n_done - block.n_rows, block) if block else None
        self._waiting, self._n_done = [], n_done
        if n_done < n_rows:
            raise StoreError(
                f"{str(self.path)!r} was removed while the run went on, with {n_rows - n_done} "
                f"structures that had been finished before. It holds the {n_done} others; go on "
                "with resume=True."
            )

    def _copy(self, room: int) -> Any:
        """Open the other copy, on a disk that has room for what is to be added."""
        if self._spare is not None:
            try:
                return _opened(self._spare, room)
            except OSError:
                # Somebody still reads it, from when it was the first.
                self._remove_spare()
        if _identity(self._real) == self._ours:
            self._spare = create_beside(self._real, _NEXT)
            shutil.copyfile(self._real, self._spare, follow_symlinks=False)
        else:
            self._begin()
        assert self._spare is not None
        return _opened(self._spare, room)

    def _begin(self) -> None:
        """Make the other copy a store without structures."""
        self._spare = create_beside(self._real, _NEXT)
        _reserve(self._spare, layout.ROOM)
        # Space that is given up when a last chunk grows is used again, the next time too.
        new: dict[str, Any] = {"fs_strategy": "fsm", "fs_persist": True, "libver": layout.LIBVER}
        with h5py.File(self._spare, "w", **new) as file:
            layout.create(file, self._attributes)
        sync(self._spare)

    def _swap(self, n_done: int) -> None:
        """Put the new file into place; the old one becomes the copy."""
        assert self._spare is not None
        spare, found = self._spare, _identity(self._real)
        if found is None:
            log.warning("%s was removed while the run went on; it is there again", self.path)
        elif found != self._ours:
            self._move_aside(n_done)
        old: Path | None = spare.with_name(f".{self._real.name}.{secrets.token_hex(4)}.{_LAST}")
        try:
            os.link(self._real, old, follow_symlinks=False)
        except (OSError, NotImplementedError):
            # No hard links on this file system: the copy is made anew each time.
            old = None
        try:
            os.replace(spare, self._real)
        except OSError:
            if old is not None:
                old.unlink(missing_ok=True)
            raise
        self._spare, self._ours = old, _identity(self._real)

    def _move_aside(self, n_done: int) -> None:
        """Save the structures of this run beside what somebody put into its place."""
        assert self._spare is not None
        real = self._real
        kept = real.with_name(f"{real.stem}-{secrets.token_hex(4)}{real.suffix}")
        os.replace(self._spare, kept)
        self._spare = None
        self._waiting = []
        raise StoreError(
            f"{str(self.path)!r} was replaced by another file while the run went on. That file was "
            f"left alone; the {n_done} structures that this run finished are in {str(kept)!r}. "
            "Give it the name of the output, and go on with resume=True."
        )

    def _remove_spare(self) -> None:
        if self._spare is not None:
            with contextlib.suppress(OSError):
                self._spare.unlink()
            self._spare = None

    @contextlib.contextmanager
    def _errors(self) -> Any:
        try:
            yield
        except StoreError:
            raise
        except (OSError, RuntimeError, KeyError) as error:
            self._remove_spare()
            raise StoreError(
                f"{str(self.path)!r} cannot be written: {why_not_written(error)}. It holds the "
                f"{self._n_done} structures that were written before; go on with resume=True."
            ) from error


def _identity(path: Path) -> tuple[int, ...] | None:
    """Tell a file from others that may come into its place."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_size


def _opened(path: Path, room: int) -> Any:
    _reserve(path, room)
    return h5py.File(path, "r+", libver=layout.LIBVER)


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
