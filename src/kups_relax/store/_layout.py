"""The tables and columns of a store, and the blocks of rows that are appended to them.

`docs/store.md` draws them. A structure has one row in `/structures`; what it has several of (atoms,
frames of a trajectory, bytes of text) lies in tables of their own, structure after structure, and a
column of `/structures` says where the rows of each one end.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kups_relax._record import Record

FORMAT = b"kups_relax store"
VERSION = 3
MAIN = "structures"
# Text in which a run says how it was made.
OPTIONS, VERSIONS = "run/options", "run/versions"
# HDF5's own structures carry checksums from this version of the file format on.
LIBVER = ("v110", "v110")

# Bytes of a chunk: small where a row is a number, since the last chunk is written anew each time.
_SMALL, _LARGE = 1 << 14, 1 << 16
# Bytes that an append may need beside its rows: last chunks that are moved, indices, free space.
ROOM = 1 << 22


@dataclasses.dataclass(frozen=True)
class Row:
    """A structure as it is written.

    Attributes:
        record: Its results.
        extras: What its atoms carry besides, as `extras_of` writes it.
        input_hash: Digest of the input, 32 bytes.
    """

    record: Record
    extras: str
    input_hash: bytes


@dataclasses.dataclass(frozen=True)
class Column:
    """A dataset.

    Attributes:
        path: Its table and its name.
        value: Of one row of `/structures`, or all that belongs to it in another table.
        dtype: NumPy's name of it.
        shape: Of one row.
        unit: Of its values, as an attribute.
        end: Column of `/structures` that says where the rows of each structure end; None for
            `/structures` itself.
    """

    path: str
    value: Callable[[Row], Any]
    dtype: str
    shape: tuple[int, ...] = ()
    unit: str | None = None
    end: str | None = None

    @property
    def chunk(self) -> tuple[int, ...]:
        """Shape of a chunk."""
        n_bytes = np.dtype(self.dtype).itemsize * int(np.prod(self.shape))
        size = _SMALL if self.path.startswith(MAIN) else _LARGE
        return (max(1, size // n_bytes), *self.shape)

    def array(self, values: Sequence[Any]) -> np.ndarray:
        """Join what `value` gave for several structures."""
        if self.end is None:
            return np.array(values, self.dtype).reshape(len(values), *self.shape)
        parts = [np.asarray(v, self.dtype).reshape(-1, *self.shape) for v in values]
        return np.concatenate(parts)


def _nan(value: Any) -> Any:
    return np.nan if value is None else value


def _bytes(text: str) -> np.ndarray:
    # File names that are not UTF-8 become text with lone surrogates.
    return np.frombuffer(text.encode(errors="surrogatepass"), np.uint8)


def text_of(data: np.ndarray) -> str:
    """Decode the text of one structure.

    Raises:
        UnicodeDecodeError: It is damaged.
    """
    return data.tobytes().decode(errors="surrogatepass")


def _stress(row: Row) -> Any:
    return np.full(6, np.nan) if row.record.stress is None else row.record.stress


def _forces(row: Row) -> Any:
    forces = row.record.forces
    return np.full((len(row.record.numbers), 3), np.nan) if forces is None else forces


def _of_frames(get: Callable[[Record, Any], Any]) -> Callable[[Row], Any]:
    return lambda row: [get(row.record, frame) for frame in row.record.frames]


def _of_frame_atoms(name: str) -> Callable[[Row], Any]:
    def value(row: Row) -> Any:
        frames = row.record.frames
        return np.concatenate([getattr(f, name) for f in frames]) if frames else np.zeros((0, 3))

    return value


def _frame_cell(record: Record, frame: Any) -> Any:
    return record.cell if frame.cell is None else frame.cell


def _main(name: str, value: Callable[[Row], Any], dtype: str, **options: Any) -> Column:
    return Column(f"{MAIN}/{name}", value, dtype, **options)


_atoms = functools.partial(Column, end="atoms_end")
_frames = functools.partial(Column, end="frames_end")
_frame_atoms = functools.partial(Column, end="frame_atoms_end")

COLUMNS: tuple[Column, ...] = (
    _main("input_index", lambda row: row.record.number, "<i8"),
    _main("status", lambda row: row.record.status.encode(), "S16"),
    _main("energy", lambda row: row.record.energy, "<f8", unit="eV"),
    # NaN: the energy, which is what ASE takes where nobody tells another.
    _main("free_energy", lambda row: _nan(row.record.free_energy), "<f8", unit="eV"),
    _main("fmax", lambda row: row.record.fmax, "<f8", unit="eV/Angstrom"),
    _main("stress", _stress, "<f8", shape=(6,), unit="eV/Angstrom^3"),
    _main("cell", lambda row: row.record.cell, "<f8", shape=(3, 3), unit="Angstrom"),
    _main("pbc", lambda row: row.record.pbc, "|u1", shape=(3,)),
    _main("n_steps", lambda row: row.record.n_steps, "<i8"),
    _main("n_evaluations", lambda row: row.record.n_evaluations, "<i8"),
    _main("finished", lambda row: row.record.finished, "<f8", unit="s"),
    _main("fingerprint", lambda row: row.record.fingerprint.encode(), "S64"),
    _main("input_hash", lambda row: np.frombuffer(row.input_hash, np.uint8), "|u1", shape=(32,)),
    _atoms("atoms/numbers", lambda row: row.record.numbers, "<i4"),
    _atoms("atoms/positions", lambda row: row.record.positions, "<f8", (3,), "Angstrom"),
    _atoms("atoms/forces", _forces, "<f8", (3,), "eV/Angstrom"),
    _frames("frames/step", _of_frames(lambda _, f: f.step), "<i8"),
    _frames("frames/energy", _of_frames(lambda _, f: f.energy), "<f8", (), "eV"),
    _frames("frames/free_energy", _of_frames(lambda _, f: _nan(f.free_energy)), "<f8", (), "eV"),
    _frames("frames/fmax", _of_frames(lambda _, f: f.fmax), "<f8", (), "eV/Angstrom"),
    _frames("frames/cell", _of_frames(_frame_cell), "<f8", (3, 3), "Angstrom"),
    _frame_atoms("frame_atoms/positions", _of_frame_atoms("positions"), "<f8", (3,), "Angstrom"),
    _frame_atoms("frame_atoms/forces", _of_frame_atoms("forces"), "<f8", (3,), "eV/Angstrom"),
    Column("texts/id", lambda row: _bytes(row.record.entry.id), "|u1", end="id_end"),
    Column("texts/reason", lambda row: _bytes(row.record.reason), "|u1", end="reason_end"),
    Column("texts/extras", lambda row: _bytes(row.extras), "|u1", end="extras_end"),
)
# Columns by the one that says where their rows end.
ENDS: Mapping[str, list[str]] = {
    end: [c.path for c in COLUMNS if c.end == end] for c in COLUMNS if (end := c.end) is not None
}
# Every dataset of a store by its path.
DATASETS: Mapping[str, Column] = {
    c.path: c
    for c in (
        *COLUMNS,
        *(_main(end, lambda row: None, "<i8") for end in ENDS),
        *(Column(path, lambda row: None, "|u1") for path in (OPTIONS, VERSIONS)),
    )
}


@dataclasses.dataclass(frozen=True)
class Block:
    """Rows as they are appended, to one copy of the store and then to the other.

    Attributes:
        n_rows: Number of structures.
        lengths: For each end column, (n_rows,) int64, the number of rows of each structure.
        values: For each column, what is appended.
    """

    n_rows: int
    lengths: Mapping[str, np.ndarray]
    values: Mapping[str, np.ndarray]

    @property
    def n_bytes(self) -> int:
        """Bytes of all values, without compression."""
        return sum(values.nbytes for values in self.values.values()) + 64 * self.n_rows

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Block":
        """Lay structures out, column by column."""
        given = {c.path: [c.value(row) for row in rows] for c in COLUMNS}
        return cls(
            n_rows=len(rows),
            lengths={
                end: np.array([len(v) for v in given[paths[0]]], np.int64)
                for end, paths in ENDS.items()
            },
            values={c.path: c.array(given[c.path]) for c in COLUMNS},
        )


def create(file: Any, attributes: Mapping[str, Any]) -> None:
    """Lay out a store without structures.

    Args:
        file: Open and empty.
        attributes: Of the run: `set_attributes`.
    """
    file.attrs["format"] = np.bytes_(FORMAT)
    file.attrs["layout"] = np.int64(VERSION)
    file.attrs["n_structures"] = np.int64(0)
    for column in DATASETS.values():
        dataset = file.create_dataset(
            column.path,
            shape=(0, *column.shape),
            maxshape=(None, *column.shape),
            chunks=column.chunk,
            dtype=column.dtype,
            **filters(column),
        )
        if column.unit:
            dataset.attrs["unit"] = column.unit
    set_attributes(file, attributes)


def filters(column: Column) -> dict[str, Any]:
    """Return the options with which a dataset is compressed and gets checksums."""
    shuffle = np.dtype(column.dtype).kind in "if"
    return {"shuffle": shuffle, "compression": "gzip", "compression_opts": 1, "fletcher32": True}


def set_attributes(file: Any, attributes: Mapping[str, Any]) -> None:
    """Write what a run says of itself.

    Args:
        file: Open for writing.
        attributes: Some of `run` (16 characters), `complete`, `n_input`, and the texts `options`
            and `versions`.
    """
    for name, value in attributes.items():
        if name in ("options", "versions"):
            data, dataset = _bytes(value), file[f"run/{name}"]
            if not (dataset.shape == data.shape and np.array_equal(dataset[()], data)):
                dataset.resize(data.shape)
                dataset[()] = data
        else:
            value = np.bytes_(value) if isinstance(value, str) else np.int64(value)
            if name in file.attrs:
                file.attrs.modify(name, value)
            else:
                file.attrs[name] = value


def append(file: Any, block: Block) -> None:
    """Add structures to a store, and say that they are there.

    Args:
        file: Open for writing.
        block: The structures.
    """
    first = int(file.attrs["n_structures"])
    for end, paths in block.lengths.items():
        _append(file[f"{MAIN}/{end}"], first, len(file[ENDS[end][0]]) + np.cumsum(paths))
    for path, values in block.values.items():
        _append(file[path], len(file[path]) if DATASETS[path].end else first, values)
    file.attrs.modify("n_structures", np.int64(first + block.n_rows))


def _append(dataset: Any, first: int, values: np.ndarray) -> None:
    if len(values):
        dataset.resize(first + len(values), axis=0)
        dataset[first:] = values
