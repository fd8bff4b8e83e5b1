"""Tell which structures of a store are whole, and save these."""

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from kups_relax import io
from kups_relax.errors import DamagedError, StoreError
from kups_relax.store import _layout as layout
from kups_relax.store._file import StoreFile
from kups_relax.store._layout import ENDS
from kups_relax.store._store import Store
from kups_relax.store._writer import Writer

# Structures that are copied at once.
_MOST = 4096
# Columns that are in no fingerprint, and that Atoms are not made of.
_OTHERS = ("n_evaluations", "finished", "input_hash")
# Likewise of other tables.
_ALONE = ("reason_end", "frames_end", "frame_atoms_end")


@dataclasses.dataclass(frozen=True, eq=False)
class Check:
    """Which structures of a store can be read, and are what was written.

    Attributes:
        path: Of the store.
        n_structures: How many it has.
        damaged: By row of the file, the problem of each structure that is not whole.
        whole: (n,) int64, rows of the others.
    """

    path: Path
    n_structures: int
    damaged: dict[int, str]
    whole: np.ndarray
    _file: StoreFile = dataclasses.field(repr=False)

    @property
    def ok(self) -> bool:
        """True if all structures are whole."""
        return not self.damaged

    def store(self) -> Store:
        """Return the structures that are whole."""
        return Store(self._file, self.whole[np.argsort(self._file.at("input_index", self.whole))])

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> int:
        """Write the structures that are whole to a file.

        A store (.h5) gets their rows unchanged. The run that wrote them can go on with it: rename
        it to the old name, and relax with `resume=True`; what is missing is relaxed again.

        Args:
            path: Its ending chooses the format, as in `io.write`.
            overwrite: True if the file may exist.

        Returns:
            How many structures were written.

        Raises:
            StoreError: The file cannot be written, or exists.
        """
        path = Path(path)
        if path.suffix.lower() not in io.STORES:
            return self.store().write(path, overwrite=overwrite)
        io.check_place(path, overwrite=overwrite)
        if path.exists() and path.samefile(self.path):
            raise StoreError(f"{str(path)!r} is the store that is checked. Choose another name.")
        writer, file = Writer(path), self._file
        try:
            complete = self.ok and file.complete
            texts = {"options": file.text(layout.OPTIONS), "versions": file.text(layout.VERSIONS)}
            ended = {"complete": complete, "n_input": file.n_input if complete else -1}
            writer.create({"run": file.run, **texts, "complete": False, "n_input": -1})
            for first in range(0, len(self.whole), _MOST):
                writer.append(file.block(self.whole[first : first + _MOST]), {})
            writer.append(None, ended)
        finally:
            writer.close()
        return len(self.whole)


def verify(store: Store, *, atoms: bool = False) -> None:
    """Read every column of a store, or of a part, and compare structures with their fingerprints.

    Args:
        store: What is verified.
        atoms: True to make the Atoms and the molecules too.

    Raises:
        DamagedError: Something cannot be read, or is not what was written.
    """
    file, rows = store._file, store._rows
    for name in _OTHERS:
        file.at(name, rows)
    for end in _ALONE:
        file.pieces(ENDS[end], rows)
    structures: Iterable[Any] = store.atoms if atoms else store._read(rows)
    for _ in structures:
        pass
    if atoms:
        for _ in store.topologies():
            pass
    for place in store._n_frames.nonzero()[0].tolist():
        for _ in store._frames(place):
            pass


def check(path: str | os.PathLike[str] | Store) -> Check:
    """Read all of a store, and compare every structure with its checksums and its fingerprint.

    Args:
        path: Of the file, or the store itself.

    Returns:
        Which structures are whole.

    Raises:
        StoreError: It is no store, or so damaged that no structure of it can be found.

    Example:
        >>> import tempfile, pathlib, ase, kups_relax as kr
        >>> pair = ase.Atoms("Ar2", [[0, 0, 0], [0, 0, 3.6]])
        >>> argon = kr.potentials.LennardJones(0.0104, 3.4)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = kr.relax(pair, argon, output=pathlib.Path(folder, "pair.h5"))
        ...     kr.store.check(run).ok
        True
    """
    path = path.path if isinstance(path, Store) else Path(path)
    file = StoreFile(path, lenient=True)
    damaged: dict[int, str] = {}

    def search(rows: np.ndarray) -> None:
        """Halve rows until what is damaged stands alone."""
        try:
            verify(Store(file, rows), atoms=True)
        except DamagedError as error:
            if len(rows) == 1:
                damaged[int(rows[0])] = str(error)
                return
            for half in np.array_split(rows, 2):
                search(half)

    for rows in np.array_split(np.arange(file.n), -(-file.n // _MOST) or 1):
        if len(rows):
            search(rows)
    whole = np.setdiff1d(np.arange(file.n), sorted(damaged))
    return Check(path, file.n, damaged, whole, file)
