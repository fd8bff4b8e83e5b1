"""What becomes of results: kept in memory and written at the end, or in a store as they come."""

import abc
import dataclasses
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kups_relax import io
from kups_relax._memory import Result
from kups_relax._record import Record
from kups_relax._result import Results
from kups_relax.errors import OptionError, StoreError
from kups_relax.relaxation import Saved, read_checkpoint, write_checkpoint

log = logging.getLogger("kups_relax")


def keeper(
    output: str | os.PathLike[str] | None,
    options: Mapping[str, Any],
    *,
    overwrite: bool,
    resume: bool,
) -> "Keeper":
    """Choose what keeps results, and find out before a long run whether it can.

    Raises:
        OptionError: The options do not go together, or the ending is unknown.
        StoreError: The output cannot be written, or does not fit what is to be resumed.
    """
    store = output is not None and Path(output).suffix.lower() in io.STORES
    if resume and not store:
        raise OptionError(
            f"resume needs a store as output, a path that ends in {', '.join(io.STORES)}; got "
            f"{output!r}."
        )
    if resume and overwrite:
        raise OptionError("resume and overwrite exclude each other. Choose one.")
    if not store:
        return _Memory(output, options, overwrite=overwrite)
    assert output is not None
    return _Stored(Path(output), options, overwrite=overwrite, resume=resume)


class Keeper(abc.ABC):
    """Takes records as they come, from one thread."""

    def ahead(self, entries: io.Stream) -> Iterable[io.Entry]:
        """Look at the input before anything runs, where that is needed.

        Raises:
            StructureError: The output cannot hold a structure.
        """
        return entries

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


class _Memory(Keeper):
    """Keeps all in memory; writes it to a file at the end, where one is wanted."""

    def __init__(
        self,
        output: str | os.PathLike[str] | None,
        options: Mapping[str, Any],
        *,
        overwrite: bool,
    ) -> None:
        self._options = options
        if output is not None:
            io.check_output(output, overwrite=overwrite)
        self._output = output
        self._records: dict[int, Record] = {}

    def ahead(self, entries: io.Stream) -> Iterable[io.Entry]:
        """See `Keeper`."""
        if self._output is None or Path(self._output).suffix.lower() != ".sdf":
            return entries
        known = list(entries)
        io.check_output(self._output, structures=known, overwrite=True)
        return known

    def has(self, number: int, entry: io.Entry) -> bool:
        """See `Keeper`."""
        return False

    def add(self, record: Record) -> None:
        """See `Keeper`."""
        self._records[record.number] = record

    def idle(self) -> None:
        """See `Keeper`."""

    def interrupted(self) -> None:
        """See `Keeper`."""

    def result(self, n_input: int) -> Result:
        """See `Keeper`."""
        records = [self._records[number] for number in range(n_input)]
        result = Result(records, self._options)
        if self._output is not None:
            written = [a if len(a) else None for a in result.atoms]
            entries = [record.entry for record in result.records]
            io.write(self._output, written, entries, result.table())
        return result


class _Stored(Keeper):
    """Keeps all in an HDF5 file."""

    def __init__(
        self, path: Path, options: Mapping[str, Any], *, overwrite: bool, resume: bool
    ) -> None:
        from kups_relax import store

        self._store, self._path = store, path
        self._done: dict[int, bytes] = {}
        attributes = store.attributes(options)
        options = json.loads(attributes["options"])
        resume = resume and path.exists()
        io.check_place(path, overwrite=overwrite or resume)
        self._writer = store.Writer(path)
        try:
            # Once more: another run may have ended just before this one could lock it.
            io.check_place(path, overwrite=overwrite or resume)
            # A new store takes the place of an old one when there is something to put into it.
            self._new = None if resume else attributes
            if resume:
                attributes["run"] = self._go_on(options, attributes)
            elif not path.exists():
                self._begin()
        except BaseException:
            self._writer.close()
            raise
        self._checkpoint = path.with_name(f"{path.name}.checkpoint")
        self._run = str(attributes["run"])

    def _begin(self) -> None:
        if self._new is not None:
            self._writer.create(self._new)
            self._new = None

    def _go_on(self, options: Mapping[str, Any], attributes: Mapping[str, Any]) -> str:
        there = self._store.Store(self._path)
        _compare(self._path, there.options, options)
        self._done = there.done
        versions = self._store.versions()
        if there.versions != versions:
            versions = {**there.versions, "resumed with": versions}
        attributes = {**attributes, "run": there.run, "versions": json.dumps(versions)}
        self._writer.go_on(len(there), attributes)
        return there.run

    def checkpoint(self, saved: Sequence[Saved]) -> None:
        """See `Keeper`."""
        try:
            write_checkpoint(self._checkpoint, self._run, saved)
        except OSError as error:
            # It costs time, and no result, to be without.
            log.warning("%s cannot be written: %s", self._checkpoint, error)

    def saved(self) -> Sequence[Saved]:
        """See `Keeper`."""
        tiles = []
        for tile in read_checkpoint(self._checkpoint, self._run):
            left = tuple(-1 if n in self._done else n for n in tile.numbers)
            if max(left) >= 0:
                tiles.append(dataclasses.replace(tile, numbers=left))
        return tiles

    def has(self, number: int, entry: io.Entry) -> bool:
        """See `Keeper`."""
        known = self._done.pop(number, None)
        if known is None:
            return False
        if self._store.input_hash(entry, self._store.extras_of(entry)) != known:
            raise StoreError(
                f"{str(self._path)!r} cannot be resumed with this input: structure {number}, "
                f"{entry.id!r}, is not the one that was relaxed. Give it the input that it was "
                "begun with, or choose another name for the output."
            )
        return True

    def add(self, record: Record) -> None:
        """See `Keeper`."""
        self._begin()
        extras = self._store.extras_of(record.entry)
        digest = self._store.input_hash(record.entry, extras)
        self._writer.add(self._store.Row(record, extras, digest))

    def idle(self) -> None:
        """See `Keeper`."""
        self._writer.write_if_due()

    def interrupted(self) -> None:
        """See `Keeper`."""
        self._writer.write()

    def result(self, n_input: int) -> Results:
        """See `Keeper`."""
        if self._done:
            self._writer.write()
            raise StoreError(
                f"{str(self._path)!r} cannot be resumed with this input: it holds structure "
                f"{max(self._done)}, and the input has only {n_input}."
            )
        self._begin()
        self._writer.write(complete=True, n_input=n_input)
        self._checkpoint.unlink(missing_ok=True)
        return self._store.Store(self._path)

    def close(self) -> None:
        """See `Keeper`."""
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
