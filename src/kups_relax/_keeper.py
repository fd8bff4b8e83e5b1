"""Choice of the object that keeps results; the one for files that are written at the end."""

import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kups_relax import io
from kups_relax._keep import Keeper, Memory, Stored
from kups_relax._memory import Result
from kups_relax._record import Record
from kups_relax.errors import KupsRelaxError, LeftOutWarning, OptionError, StoreError


def keeper(
    output: str | os.PathLike[str] | None,
    options: Mapping[str, Any],
    *,
    overwrite: bool,
    resume: bool,
    checkpoint: bool = False,
) -> Keeper:
    """Choose what keeps results, and find out before a long run whether it can.

    Args:
        output: Where results go, if anywhere.
        options: Of the run.
        overwrite: True if `output` may exist.
        resume: True to go on with what an earlier run left.
        checkpoint: True if tiles at work are going to be saved too.

    Raises:
        OptionError: The options do not go together, or the ending is unknown.
        StoreError: The output cannot be written, or does not fit what is to be resumed.
    """
    if resume and overwrite:
        raise OptionError("resume=True and overwrite=True exclude each other. Choose one.")
    if output is None:
        if resume:
            raise OptionError("resume=True needs an output: the file whose run is to go on.")
        return Memory(options)
    path = Path(output)
    kind = Stored if io.store_of(path) == path else _File
    return kind(path, options, overwrite=overwrite, resume=resume, checkpoint=checkpoint)


class _File(Stored):
    """Keeps all in memory and in a store beside the output, which is written from them at the end.

    The store stays until the output is whole, so no kill, full disk, or odd value costs a result.
    """

    _at_once = False

    def __init__(
        self,
        path: Path,
        options: Mapping[str, Any],
        **choices: bool,
    ) -> None:
        self._output, self._options = path, options
        # Inputs of the structures that an earlier run finished.
        self._known: dict[int, io.Entry] = {}
        self._records: dict[int, Record] = {}
        super().__init__(io.store_of(path), options, **choices)

    def _check_place(self, *, overwrite: bool) -> None:
        self._check_beside()
        if self._path.is_file() and not overwrite:
            raise StoreError(
                f"{str(self._path)!r} holds what a run for {str(self._output)!r} finished before "
                "it was stopped, and would be lost. Go on with resume=True, or begin anew with "
                "overwrite=True."
            )
        # A run that is resumed may replace an output that it was begun to replace.
        io.check_output(self._output, overwrite=overwrite)
        super()._check_place(overwrite=overwrite)

    def _check_beside(self) -> None:
        """Refuse a file of somebody else that has the name of the store beside the output."""
        if not os.path.lexists(self._path):
            return
        problem = "it is a link"
        if not self._path.is_symlink():
            try:
                self._store.Store(self._path)
                return
            except StoreError as error:
                problem = str(error)
        raise StoreError(
            f"{str(self._output)!r} cannot be written: until it is whole, what is finished goes to "
            f"{str(self._path)!r}, and what has that name cannot be used: {problem} Remove it if "
            "it is not needed, or choose another name for the output."
        )

    def ahead(self, entries: io.Stream) -> Iterable[io.Entry]:
        """Read ahead until one structure fits the output's format."""
        return io.checked(self._output, entries)

    def has(self, number: int, entry: io.Entry) -> bool:
        """Return whether the store holds the structure, and keep what was read of it."""
        done = super().has(number, entry)
        if done:
            self._known[number] = entry
        return done

    def add(self, record: Record) -> None:
        """Keep a record in memory and in the store."""
        self._records[record.number] = record
        super().add(record)

    def result(self, n_input: int) -> Result:
        """Complete the store, write the output from the records, and remove the store."""
        self._complete(n_input)
        try:
            if self._known:
                self._records.update(self._store.Store(self._path).records(self._known))
            result = Result([self._records[number] for number in range(n_input)], self._options)
            entries = [record.entry for record in result.records]
            io.write(self._output, result.atoms, entries, result.table())
        except LeftOutWarning:
            # The user has warnings raised, and the output is whole.
            self._path.unlink(missing_ok=True)
            raise
        except Exception as error:  # a full disk, or what no format has met yet
            command = shlex.join(["kups-relax", "export", str(self._path), "-o", str(self._output)])
            what = str(error)
            if not isinstance(error, KupsRelaxError):
                what = f"{str(self._output)!r} cannot be written: {type(error).__name__}: {error}."
            raise StoreError(
                f"{what} All {n_input} results are in {str(self._path)!r}; write them with: "
                f"{command}"
            ) from error
        self._path.unlink(missing_ok=True)
        return result
