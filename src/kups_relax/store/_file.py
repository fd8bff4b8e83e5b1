"""Read a store's file: checked once when it is opened, and every read behind one guard.

A store may come from anybody. Nothing is read before its format, its links, dtypes, shapes and
filters are those that `_layout` makes: no part of it can lie in another file, and none can take
more memory than its compressed size allows.
"""

import contextlib
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import h5py
import h5py.h5l
import numpy as np

from kups_relax.errors import DamagedError, KupsRelaxError, StoreError
from kups_relax.store import _layout as layout
from kups_relax.store._layout import DATASETS, ENDS, MAIN, text_of

T = TypeVar("T")

# Deflate makes a byte of at most 1032.
_EXPANSION = 1032
# Bytes that one structure may take in a table.
_MOST = 1 << 30
# Times that a file is read which a run replaces meanwhile.
_TRIES = 5
_FILTERS = [h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_FLETCHER32]


class StoreFile:
    """The tables of one store, as they were when it was opened.

    Nothing is held open. A run that goes on only adds rows, so what was read stays right; if the
    file becomes that of another run, reading raises.

    Args:
        path: Of the file.
        lenient: Open it even if some of the columns that say where rows end cannot be read; these
            hold -1 there.

    Attributes:
        path: Of the file.
        n: Number of structures.
        ends: (n + 1,) int64 for each end column: where the rows of structure i begin, and, at i+1,
            where they end.
        run: Tells this run from others.
        complete: True if the run has ended.
        n_input: Structures in the input; -1 before the run has ended.

    Raises:
        StoreError: There is no such file, or it is no store.
        DamagedError: It cannot be read.
    """

    def __init__(self, path: Path, *, lenient: bool = False) -> None:
        self.path = path
        self._signature: Any = None
        self._lenient = lenient
        self._whole: dict[str, np.ndarray] = {}
        # Columns that cannot be read as a whole.
        self._broken: set[str] = set()
        self.run, self.n = "", -1
        self.complete, self.n_input = False, -1
        self.ends: dict[str, np.ndarray] = {}
        self._read("its structure", lambda file: None)

    def text(self, path: str) -> str:
        """Read a text of the run, `OPTIONS` or `VERSIONS`; "{}" if it is damaged, and lenient."""
        try:
            return self._read(path, lambda file: text_of(file[path][()]))
        except DamagedError:
            if self._lenient:
                return "{}"
            raise

    def column(self, name: str) -> np.ndarray:
        """Read a column of `/structures`, (n, ...), or return it again.

        Raises:
            DamagedError: Some of it cannot be read.
        """
        if name not in self._whole:
            path = f"{MAIN}/{name}"
            self._whole[name] = self._read(path, lambda file: file[path][: self.n])
        return self._whole[name]

    def at(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Read some rows of a column of `/structures`, also where others are damaged.

        Raises:
            DamagedError: These cannot be read.
        """
        if name not in self._broken:
            try:
                return self.column(name)[rows]
            except DamagedError:
                self._broken.add(name)
        path = f"{MAIN}/{name}"
        return self._read(path, lambda file: _of_rows(file[path], rows))

    def pieces(self, paths: Sequence[str], rows: np.ndarray) -> dict[str, list[np.ndarray]]:
        """Read what belongs to some structures in other tables.

        Args:
            paths: Of columns of these tables.
            rows: Of the structures.

        Returns:
            For each path one array a structure, in the order of `rows`.

        Raises:
            DamagedError: They cannot be read.
        """
        found = {}
        for path in paths:
            ends = self.ends[str(DATASETS[path].end)]
            starts, stops = ends[rows], ends[rows + 1]
            self.guarded(path, lambda p=path, a=starts, b=stops: _check_spans(p, a, b))
            found[path] = self._read(path, lambda f, p=path, a=starts, b=stops: _parts(f[p], a, b))
        return found

    def texts(self, name: str, rows: np.ndarray) -> list[str]:
        """Read the ids, reasons or extras of some structures."""
        path = f"texts/{name}"
        parts = self.pieces([path], rows)[path]
        return self.guarded(path, lambda: list(map(text_of, parts)))

    def block(self, rows: np.ndarray) -> layout.Block:
        """Read all of some structures, as it can be appended to another store."""
        values = {c.path: self.at(c.path.split("/")[1], rows) for c in layout.COLUMNS if not c.end}
        lengths = {}
        for end, paths in ENDS.items():
            lengths[end] = self.ends[end][rows + 1] - self.ends[end][rows]
            values |= {p: np.concatenate(v) for p, v in self.pieces(paths, rows).items()}
        return layout.Block(len(rows), lengths, values)

    def guarded(self, what: str, read: Callable[[], T]) -> T:
        """Turn whatever HDF5, h5py and NumPy raise for damaged data into one error.

        Args:
            what: Part of the store that is read.
            read: Reads it.

        Raises:
            DamagedError: It cannot be read.
        """
        try:
            return read()
        except KupsRelaxError:
            raise
        except Exception as error:
            text = " ".join(str(error).split())[:200].strip("'\"")
            raise DamagedError(
                f"{str(self.path)!r}: {what} is damaged, or not as stores have it "
                f"({text or type(error).__name__}). The command kups-relax check says which "
                "structures are whole, and saves them."
            ) from error

    def _read(self, what: str, read: Callable[[Any], T]) -> T:
        for attempt in range(_TRIES):
            signature = self._signature_now()
            try:
                with self._opened() as file:
                    if signature != self._signature:
                        self._check(file)
                        self._signature = signature
                    return self.guarded(what, lambda opened=file: read(opened))
            except DamagedError:
                # A run may have put its next copy into place, and begun to write to this one.
                if attempt == _TRIES - 1 or self._signature_now() == signature:
                    raise
        raise AssertionError("unreachable")

    def _signature_now(self) -> Any:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            if not stat.S_ISREG(self.path.stat().st_mode):
                raise OSError("it is no ordinary file")
            file = h5py.File(self.path, "r")
        except FileNotFoundError:
            raise StoreError(f"there is no file {str(self.path)!r}. Check the path.") from None
        except Exception as error:  # HDF5 has errors of many kinds for what it cannot open
            raise DamagedError(
                f"{str(self.path)!r} cannot be read as HDF5: {' '.join(str(error).split())[:200]}. "
                "It is another kind of file, or it was cut off; nothing in it was changed."
            ) from error
        try:
            yield file
        finally:
            # Of a damaged file not even this works.
            with contextlib.suppress(Exception):
                file.close()

    def _check(self, file: Any) -> None:
        """Compare a file with the layout before anything is read of it."""
        if _attribute(file, "format", "S") != layout.FORMAT:
            raise self._no_store()
        version = _attribute(file, "layout", "i")
        if version != layout.VERSION:
            raise self._no_store(f" of layout {layout.VERSION}")
        self.guarded("its head", lambda: self._check_head(file))
        for path in DATASETS:
            self.guarded(path, lambda p=path: _check_dataset(file, p, self.n))
        if self.n >= 0 and not self.ends:
            self.ends = {end: self._ends(file, end) for end in ENDS}

    def _no_store(self, which: str = "") -> StoreError:
        return StoreError(
            f"{str(self.path)!r} is an HDF5 file, but no store of kups_relax{which}. Read it with "
            "what wrote it."
        )

    def _check_head(self, file: Any) -> None:
        n = _attribute(file, "n_structures", "i")
        run = _attribute(file, "run", "S")
        complete, n_input = _attribute(file, "complete", "i"), _attribute(file, "n_input", "i")
        if None in (n, run, complete, n_input) or n < 0 or complete not in (0, 1):
            raise ValueError("attributes are missing or have odd values")
        if n > file.id.get_filesize():
            raise ValueError(f"{n} structures cannot be in so small a file")
        if complete and n_input != n:
            raise ValueError(f"it is complete with {n} structures of {n_input}")
        if self.n < 0:
            self.run, self.n = run.decode(), n
            self.complete, self.n_input = bool(complete), n_input
        elif self.run != run.decode() or self.n > n:
            raise StoreError(
                f"{str(self.path)!r} is that of another run since it was opened. Open it again."
            )

    def _ends(self, file: Any, end: str) -> np.ndarray:
        """Read where rows end, and compare that with how many there are."""
        path, n = f"{MAIN}/{end}", self.n

        def read() -> np.ndarray:
            try:
                ends = file[path][:n]
            except Exception:
                if not self._lenient:
                    raise
                ends = _readable(file[path], n)
            ends = np.concatenate([[0], ends])
            known = ends[ends >= 0]
            n_rows = min(file[p].shape[0] for p in ENDS[end])
            if (np.diff(known) < 0).any() or known[-1] > n_rows:
                raise ValueError("rows end before they begin, or where there are none")
            return ends

        return self.guarded(path, read)


def _attribute(file: Any, name: str, kind: str) -> Any:
    """Return a plain value; None where it is missing or of another kind."""
    try:
        found = h5py.h5a.open(file.id, name.encode())
        if found.shape != () or found.dtype.kind != kind or found.dtype.itemsize > 64:
            return None
        return file.attrs[name].item() if kind == "i" else bytes(file.attrs[name])
    except Exception:  # HDF5 has errors of many kinds for what is damaged
        return None


def _check_dataset(file: Any, path: str, n: int) -> None:
    """Raise ValueError unless a dataset is such as `create` makes, and in this file."""
    group, name = path.split("/")
    for home, link in ((file.id, group), (None, name)):
        home = h5py.h5g.open(file.id, group.encode()) if home is None else home
        if home.links.get_info(link.encode()).type != h5py.h5l.TYPE_HARD:
            raise ValueError(f"{link} is a link to somewhere else")
    made = h5py.h5d.open(file.id, path.encode())
    column, properties = DATASETS[path], made.get_create_plist()
    if properties.get_layout() != h5py.h5d.CHUNKED or properties.get_external_count():
        raise ValueError("it is kept in another way, or in another file")
    filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    if filters != _FILTERS[not layout.filters(column)["shuffle"] :]:
        raise ValueError(f"it has other filters: {filters}")
    if made.dtype != np.dtype(column.dtype):
        raise ValueError(f"its dtype is {made.dtype}, expected {column.dtype}")
    shape = made.shape
    if shape[1:] != column.shape or properties.get_chunk() != column.chunk:
        raise ValueError(f"it has the shape {shape}, expected (n, {column.shape})")
    if column.path.startswith(MAIN) and shape[0] < n:
        raise ValueError(f"it has {shape[0]} rows, expected {n}")
    row = made.dtype.itemsize * int(np.prod(column.shape))
    if shape[0] * row > _EXPANSION * made.get_storage_size() + column.chunk[0] * row:
        raise ValueError(f"it has {shape[0]} rows, of which most were never written")


def _check_spans(path: str, starts: np.ndarray, stops: np.ndarray) -> None:
    """Raise ValueError if rows cannot be found, or are more than a structure may have."""
    column = DATASETS[path]
    if len(starts) and min(starts.min(), stops.min()) < 0:
        raise ValueError(f"{MAIN}/{column.end} is damaged")
    row = np.dtype(column.dtype).itemsize * int(np.prod(column.shape))
    if len(starts) and (most := int((stops - starts).max()) * row) > _MOST:
        raise ValueError(f"a structure with {most} bytes; at most {_MOST} are read")


def _of_rows(dataset: Any, rows: np.ndarray) -> np.ndarray:
    """Read single rows, and no chunk that holds none of them."""
    step = dataset.chunks[0]
    found = np.empty((len(rows), *dataset.shape[1:]), dataset.dtype)
    for chunk in np.unique(rows // step):
        here = rows // step == chunk
        part = dataset[chunk * step : (chunk + 1) * step]
        found[here] = part[rows[here] - chunk * step]
    return found


def _readable(dataset: Any, n: int) -> np.ndarray:
    """Read what can be read of an end column; -1 elsewhere."""
    found, step = np.full(n, -1, np.int64), dataset.chunks[0]
    for first in range(0, n, step):
        with contextlib.suppress(Exception):
            found[first : first + step] = dataset[first : min(first + step, n)]
    return found


def _parts(dataset: Any, starts: np.ndarray, stops: np.ndarray) -> list[np.ndarray]:
    """Read spans of rows; spans that lie near each other at once."""
    order, near = np.argsort(starts, kind="stable"), 2 * dataset.chunks[0]
    found: list[Any] = [None] * len(starts)
    if not len(starts):
        return found
    sorted_starts = starts[order]
    sorted_stops = np.maximum.accumulate(stops[order])
    cuts = (sorted_starts[1:] - sorted_stops[:-1] > near).nonzero()[0] + 1
    for group in np.split(order, cuts):
        first, last = int(starts[group].min()), int(stops[group].max())
        block = dataset[first:last]
        for i in group.tolist():
            # A copy: what is kept of one structure must not keep the others.
            found[i] = block[starts[i] - first : stops[i] - first].copy()
    return found
