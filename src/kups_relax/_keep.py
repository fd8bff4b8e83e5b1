"""Results of a run in progress, kept in memory or written to a store as structures finish."""

import abc
import contextlib
import dataclasses
import json
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kups_relax import io
from kups_relax._bits import continued, differences
from kups_relax._files import why_not_written
from kups_relax._log import log
from kups_relax._memory import Result
from kups_relax._record import Record
from kups_relax._result import Results
from kups_relax.errors import (
    BitsWarning,
    DamagedError,
    LeftOutWarning,
    StoreError,
)
from kups_relax.relaxation import Saved, is_checkpoint, read_checkpoint, write_checkpoint


class Keeper(abc.ABC):
    """Takes records as they come, from one thread."""

    def ahead(self, entries: io.Stream) -> Iterable[io.Entry]:
        """Look at the input before anything runs, where that is needed.

        Raises:
            StructureError: The output cannot hold a structure.
        """
        return entries

    @property
    def n_kept(self) -> int:
        """Structures that an earlier run has finished and the input has not come to yet."""
        return 0

    def checkpoint(self, saved: Sequence[Saved]) -> None:
        """Write tiles at work."""
        del saved

    def saved(self) -> Sequence[Saved]:
        """Tiles with which to go on."""
        return ()

    @abc.abstractmethod
    def has(self, number: int, entry: io.Entry) -> bool:
        """Whether a structure of the input is done already. Called from the reading thread.

        Raises:
            StoreError: It was another structure then.
        """

    @abc.abstractmethod
    def add(self, record: Record) -> None:
        """Keep what a structure got."""

    @abc.abstractmethod
    def idle(self) -> None:
        """Use a moment in which nothing is finished."""

    @abc.abstractmethod
    def interrupted(self) -> None:
        """Save what is there, when the run ends before its time."""

    @abc.abstractmethod
    def result(self, n_input: int) -> Results:
        """Return all, when the run has ended."""

    def close(self) -> None:
        """Give up what is held."""
        return None


class Memory(Keeper):
    """Keeps all in memory."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._records: dict[int, Record] = {}

    def has(self, number: int, entry: io.Entry) -> bool:
        """Return False: memory keeps nothing of earlier runs."""
        return False

    def add(self, record: Record) -> None:
        """Keep a record in memory."""
        self._records[record.number] = record

    def idle(self) -> None:
        """Do nothing: there is nothing to write."""

    def interrupted(self) -> None:
        """Do nothing: what is in memory is lost with the process."""

    def result(self, n_input: int) -> Result:
        """Return all records in the order of the input."""
        return Result([self._records[number] for number in range(n_input)], self._options)


class Stored(Keeper):
    """Keeps all in an HDF5 file."""

    # True: the file is created before the first structure finishes.
    _at_once = True

    def __init__(
        self,
        path: Path,
        options: Mapping[str, Any],
        *,
        overwrite: bool,
        resume: bool,
        checkpoint: bool,
    ) -> None:
        from kups_relax import store

        self._store, self._path = store, path
        self._checkpoint = path.with_name(f"{path.name}.checkpoint")
        self._left_out = io.LeftOut(path, "a store")
        self._done: dict[int, bytes] = {}
        # Problems with the checkpoint that were told.
        self._told: set[str] = set()
        attributes = store.attributes(options)
        options = json.loads(attributes["options"])
        resume = resume and path.exists()
        self._check_place(overwrite=overwrite or resume)
        if checkpoint:
            self._check_checkpoint()
        self._writer = store.Writer(path)
        try:
            # Once more: another run may have ended just before this one could lock it.
            self._check_place(overwrite=overwrite or resume)
            # A new store takes the place of an old one when there is something to put into it.
            self._new = None if resume else attributes
            if resume:
                attributes["run"] = self._go_on(options, attributes)
            elif not path.exists() and self._at_once:
                self._begin()
        except BaseException:
            self._writer.close()
            raise
        self._run = str(attributes["run"])

    def _check_checkpoint(self) -> None:
        """Find out whether a checkpoint can be written beside the store.

        Raises:
            StoreError: Its name is that of another file.
        """
        if os.path.lexists(self._checkpoint) and not is_checkpoint(self._checkpoint):
            raise StoreError(
                f"{str(self._checkpoint)!r} is a link, or a file that no run wrote, and would be "
                "overwritten. Remove it if it is not needed, choose another output, or leave "
                "checkpoint=None."
            )

    def _check_place(self, *, overwrite: bool) -> None:
        io.check_place(self._path, overwrite=overwrite)

    def _begin(self) -> None:
        if self._new is not None:
            self._writer.create(self._new)
            self._new = None

    def _go_on(self, options: Mapping[str, Any], attributes: Mapping[str, Any]) -> str:
        there = self._store.Store(self._path)
        _compare(self._path, there.options, options)
        try:
            self._store.verify(there)
        except DamagedError as error:
            n = len(self._store.check(there).damaged)
            raise StoreError(
                f"{str(self._path)!r} is damaged: {n} of its {len(there)} structures are not "
                f"whole. {error}"
            ) from error
        self._done = there.done
        versions = self._store.versions()
        begun = len(there) or self._checkpoint.exists()
        if begun and (others := differences(there.versions, versions)):
            warnings.warn(
                f"{str(self._path)!r} goes on in another environment, in which the same structure "
                f"may get other bits: {'; '.join(others)}. Resume it where it was begun if bits "
                "matter, or begin again with overwrite=True.",
                BitsWarning,
                stacklevel=2,
            )
        versions = continued(there.versions, versions) if begun else versions
        attributes = {**attributes, "run": there.run, "versions": json.dumps(versions)}
        self._writer.go_on(len(there), attributes)
        return there.run

    @property
    def n_kept(self) -> int:
        """Number of structures in the store that the input has not reached yet."""
        return len(self._done)

    def checkpoint(self, saved: Sequence[Saved]) -> None:
        """Write tiles at work to a file beside the store; a failure costs time, and no result."""
        try:
            self._check_checkpoint()
            write_checkpoint(self._checkpoint, self._run, saved)
        except (OSError, StoreError) as error:
            problem = why_not_written(error)
            # Once for each problem: names of temporary files differ each time.
            if (kind := problem.split("'")[0]) not in self._told:
                self._told.add(kind)
                log.warning("%s cannot be written: %s", self._checkpoint, problem)

    def saved(self) -> Sequence[Saved]:
        """Return the saved tiles that hold structures which are not finished."""
        tiles = []
        for tile in read_checkpoint(self._checkpoint, self._run):
            left = tuple(-1 if n in self._done else n for n in tile.numbers)
            if max(left) >= 0:
                tiles.append(dataclasses.replace(tile, numbers=left))
        return tiles

    def has(self, number: int, entry: io.Entry) -> bool:
        """Return whether the store holds the structure; compares it with the input."""
        known = self._done.pop(number, None)
        if known is None:
            return False
        # A conformer that timed out may be made in time by another machine, and the other way
        # round. The store keeps what it has in either case.
        late = io.too_slow(entry.id)
        same = any(
            self._store.input_hash(one, self._store.extras_of(one)) == known
            for one in (entry, late)
        )
        if not same and entry != late:
            raise StoreError(
                f"{str(self._path)!r} cannot be resumed with this input: structure {number}, "
                f"{entry.id!r}, is not the one that was relaxed. Give it the input that it was "
                "begun with, or choose another name for the output."
            )
        return True

    def add(self, record: Record) -> None:
        """Add a record to the rows that wait to be written."""
        self._begin()
        extras = self._store.extras_of(record.entry, self._left_out)
        digest = self._store.input_hash(record.entry, extras)
        self._writer.add(self._store.Row(record, extras, digest))

    def idle(self) -> None:
        """Write the rows that have waited long enough."""
        self._writer.write_if_due()

    def interrupted(self) -> None:
        """Write the rows that wait, and warn of what was left out."""
        self._writer.write()
        with contextlib.suppress(LeftOutWarning):
            self._left_out.warn()

    def result(self, n_input: int) -> Results:
        """Complete the store and return it."""
        self._complete(n_input)
        self._left_out.warn()
        return self._store.Store(self._path)

    def _complete(self, n_input: int) -> None:
        if self._done:
            self._writer.write()
            raise StoreError(
                f"{str(self._path)!r} cannot be resumed with this input: it holds structure "
                f"{max(self._done)}, and the input has only {n_input}."
            )
        self._begin()
        self._writer.write(complete=True, n_input=n_input)
        if is_checkpoint(self._checkpoint):
            self._checkpoint.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the lock and the files of the store."""
        self._writer.close()


def _compare(path: Path, there: Any, here: Any, of: str = "") -> None:
    for name in {**there, **here}:
        one, other = there.get(name), here.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            _compare(path, one, other, f"{of}{name}, ")
        elif one != other:
            raise StoreError(
                f"{str(path)!r} was begun with another {of}{name}: {_short(one)} there, "
                f"{_short(other)} here. Resume it with the same, or choose another name for the "
                "output."
            )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
