"""Where things are in a store: H5MD 1.1 as znh5md lays it out, and a group of our own.

See `docs/store.md`.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import h5py
import numpy as np

from kups_relax._record import Record
from kups_relax.relaxation import Frame
from kups_relax.store._extras import with_geometry

VERSION = 2
PARTICLES = "/particles/relaxed"
OBSERVABLES = "/observables/relaxed"
OWN = "/kups_relax"

# Rows of a chunk.
_ROWS = 64
# Bytes for what a store needs beside its rows: groups, indices, free space.
ROOM = 1 << 18
_TEXT = h5py.string_dtype("utf-8")
_PACKED = {"compression": "gzip", "compression_opts": 1}


@dataclasses.dataclass(frozen=True)
class Column:
    """A dataset with a row for each structure.

    Attributes:
        path: Where it is.
        value: What it says of a record, and of its extras and the digest of its input.
        dtype: Of the dataset.
        shape: Of a row; None stands for the atoms, padded to the largest structure.
        unit: As H5MD writes it.
        ase_unit: A unit that readers of H5MD refuse, under a name that they do not look at.
        origin: Where ASE keeps it: "atoms", "calc" or "info"; None: nowhere.
    """

    path: str
    value: Callable[["Row"], Any]
    dtype: Any
    shape: tuple[int | None, ...] = ()
    unit: str | None = None
    ase_unit: str | None = None
    origin: str | None = None

    @property
    def in_h5md(self) -> bool:
        """Whether it is an element of H5MD, with steps and times."""
        return not self.path.startswith(OWN)


@dataclasses.dataclass(frozen=True)
class Row:
    """What is written of a structure."""

    record: Record
    extras: str
    input_hash: bytes

    @functools.cached_property
    def shown(self) -> Record | None:
        """What other programs get to see: they cannot read values that are not finite."""
        known = np.isfinite(self.record.positions).all() and np.isfinite(self.record.cell).all()
        return self.record if known else None


def _observable(name: str, value: Callable[[Row], Any], dtype: Any, **options: Any) -> Column:
    return Column(f"{OBSERVABLES}/{name}/value", value, dtype, **options)


def _own(name: str, value: Callable[[Row], Any], dtype: Any) -> Column:
    return Column(f"{OWN}/{name}", value, dtype)


def _stress(row: Row) -> Any:
    return np.nan if row.record.stress is None else row.record.stress


def _forces(row: Row) -> Any:
    return np.nan if row.record.forces is None else row.record.forces


def _free_energy(row: Row) -> Any:
    return np.nan if row.record.free_energy is None else row.record.free_energy


def _positions(row: Row) -> Any:
    return np.nan if row.shown is None else row.shown.positions


def _numbers(row: Row) -> Any:
    return np.nan if row.shown is None else row.shown.numbers


def _cell(row: Row) -> Any:
    return 0.0 if row.shown is None else row.shown.cell


def _extras(row: Row) -> str:
    if row.shown is not None:
        return _text(row.extras)
    r = row.record
    return with_geometry(row.extras, numbers=r.numbers, positions=r.positions, cell=r.cell)


COLUMNS: tuple[Column, ...] = (
    Column(
        f"{PARTICLES}/position/value",
        _positions,
        "f8",
        (None, 3),
        unit="Angstrom",
        origin="atoms",
    ),
    Column(
        f"{PARTICLES}/force/value",
        _forces,
        "f8",
        (None, 3),
        # MDAnalysis refuses a unit that it does not know.
        ase_unit="eV/Angstrom",
        origin="calc",
    ),
    Column(
        f"{PARTICLES}/species/value",
        _numbers,
        "f8",
        (None,),
        origin="atoms",
    ),
    Column(
        f"{PARTICLES}/box/edges/value",
        _cell,
        "f8",
        (3, 3),
        unit="Angstrom",
        origin="atoms",
    ),
    Column(f"{PARTICLES}/box/pbc/value", lambda row: row.record.pbc, "?", (3,), origin="atoms"),
    _observable("potential_energy", lambda row: row.record.energy, "f8", unit="eV", origin="calc"),
    _observable("stress", _stress, "f8", shape=(6,), unit="eV/Angstrom^3", origin="calc"),
    _observable("converged", lambda row: row.record.status == "converged", "?", origin="info"),
    _observable("fmax", lambda row: row.record.fmax, "f8", unit="eV/Angstrom", origin="info"),
    _observable("n_steps", lambda row: row.record.n_steps, "i8", origin="info"),
    _observable("status", lambda row: row.record.status, _TEXT, origin="info"),
    _observable("structure_id", lambda row: _text(row.record.entry.id), _TEXT, origin="info"),
    _observable("input_index", lambda row: row.record.number, "i8", origin="info"),
    _own("n_atoms", lambda row: len(row.record.numbers), "i8"),
    _own("n_evaluations", lambda row: row.record.n_evaluations, "i8"),
    # NaN: the energy, which is what ASE takes where nobody tells another.
    _own("free_energy", _free_energy, "f8"),
    _own("reason", lambda row: _text(row.record.reason), _TEXT),
    _own("fingerprint", lambda row: row.record.fingerprint.encode(), "S64"),
    _own("extras", _extras, _TEXT),
    _own("input_hash", lambda row: np.frombuffer(row.input_hash, "V32")[0], "V32"),
    _own("finished", lambda row: row.record.finished, "f8"),
)


def _text(text: str) -> str:
    # HDF5 ends text at a NUL, and UTF-8 has no lone surrogates.
    return text.replace("\0", "").encode(errors="replace").decode()


def create(file: Any, attributes: Mapping[str, Any], width: int) -> None:
    """Lay out a store without structures.

    Args:
        file: Empty.
        attributes: Of the run.
        width: Atoms of a chunk.
    """
    _describe(file)
    own = file.create_group(OWN)
    own.attrs["layout"] = VERSION
    own.attrs["n_done"] = 0
    for name, value in attributes.items():
        own.attrs[name] = value
    _box(file.create_group(f"{PARTICLES}/box"), np.ones(3, bool))
    for column in COLUMNS:
        _new(file, column, width)
    _clock(file, [c.path for c in COLUMNS if c.in_h5md])


@dataclasses.dataclass(frozen=True)
class Block:
    """Rows as they are written, twice: once to each copy of the store.

    Attributes:
        n_rows: Structures in it.
        boundary: Of the first one.
        values: Of each column.
        with_frames: Those whose trajectories are kept.
    """

    n_rows: int
    boundary: np.ndarray
    values: Mapping[str, np.ndarray]
    with_frames: Sequence[Record]

    @property
    def n_bytes(self) -> int:
        """Room that it takes at most in a store, in which chunks are full."""
        total = 0
        for values in self.values.values():
            if values.dtype == object:
                total += sum(len(text.encode()) + 64 for text in values.tolist())
            else:
                # Its chunks may begin before it and end after it.
                n_rows, *widths = values.shape
                full = [32 * -(-n // 32) if n > 6 else n for n in widths]
                total += (n_rows + 8 * _ROWS) * int(np.prod(full)) * values.itemsize
        frames = sum(len(r.frames) * (64 * len(r.numbers) + 256) for r in self.with_frames)
        return total + frames + 32768 * len(self.with_frames)

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Block":
        """Lay rows out, column by column."""
        widest = max(len(row.record.numbers) for row in rows)
        return cls(
            n_rows=len(rows),
            boundary=_boundary(rows[0].record.pbc),
            values={column.path: _values(column, rows, widest) for column in COLUMNS},
            with_frames=[row.record for row in rows if row.record.frames],
        )


def append(file: Any, block: Block) -> None:
    """Add structures to a store, and say that they are there."""
    own = file[OWN]
    first = int(own.attrs["n_done"])
    last = first + block.n_rows
    if first == 0:
        file[f"{PARTICLES}/box"].attrs["boundary"] = block.boundary
    for path, values in block.values.items():
        dataset = file[path]
        shape = np.maximum(dataset.shape, (last, *values.shape[1:]))
        dataset.resize(shape)
        # Beyond what is written are the values that stand for no atom.
        dataset[(slice(first, last), *map(slice, values.shape[1:]))] = values
    for name, values in (("step", np.arange(first, last)), ("time", np.arange(first, last) * 1.0)):
        clock = file[f"{OBSERVABLES}/potential_energy/{name}"]
        clock.resize((last,))
        clock[first:] = values
    for record in block.with_frames:
        _trajectory(file, record)
    own.attrs["n_done"] = last


def _values(column: Column, rows: Sequence[Row], widest: int) -> np.ndarray:
    values = [column.value(row) for row in rows]
    if not column.shape:
        return np.array(values, object if column.dtype is _TEXT else column.dtype)
    shape = [widest if n is None else n for n in column.shape]
    fill = np.nan if column.dtype == "f8" else 0
    block = np.full((len(rows), *shape), fill, column.dtype)
    for place, value in zip(block, values, strict=True):
        if column.shape[:1] == (None,) and not np.isscalar(value):
            place[: len(value)] = value
        else:
            place[:] = value
    return block


def _new(file: Any, column: Column, width: int) -> None:
    widths = [width if n is None else n for n in column.shape]
    # Text is kept beside the dataset, which has nothing to compress then.
    packed = {} if column.dtype in (_TEXT, "V32", "S64") else _PACKED
    dataset = file.create_dataset(
        column.path,
        shape=(0, *(0 if n is None else n for n in column.shape)),
        maxshape=(None, *column.shape),
        chunks=(_ROWS if column.shape else 8 * _ROWS, *(max(1, n) for n in widths)),
        dtype=column.dtype,
        fillvalue=np.nan if column.dtype == "f8" else None,
        shuffle=column.dtype == "f8",
        **packed,
    )
    if column.unit:
        dataset.attrs["unit"] = column.unit
    if column.ase_unit:
        dataset.attrs["ase_unit"] = column.ase_unit
    if column.origin:
        dataset.parent.attrs["ASE_ENTRY_ORIGIN"] = column.origin


def _clock(file: Any, paths: Sequence[str]) -> None:
    """Give all elements the same steps and times: rows are no trajectory."""
    home = file[OBSERVABLES]["potential_energy"]
    home.create_dataset("step", shape=(0,), maxshape=(None,), chunks=(8 * _ROWS,), dtype="i8")
    home.create_dataset("time", shape=(0,), maxshape=(None,), chunks=(8 * _ROWS,), dtype="f8")
    home["time"].attrs["unit"] = "fs"
    for path in paths:
        element = file[path].parent
        if element != home:
            element["step"], element["time"] = home["step"], home["time"]


def _describe(file: Any) -> None:
    h5md = file.create_group("h5md")
    h5md.attrs["version"] = np.array([1, 1])
    h5md.create_group("author").attrs["name"] = "N/A"
    creator = h5md.create_group("creator")
    creator.attrs["name"], creator.attrs["version"] = "kups_relax", version("kups-relax")


def _box(box: Any, pbc: np.ndarray) -> None:
    box.attrs["dimension"] = 3
    box.attrs["boundary"] = _boundary(pbc)


def _boundary(pbc: np.ndarray) -> np.ndarray:
    return np.array(["periodic" if p else "none" for p in pbc], _TEXT)


def trajectory_name(number: int) -> str:
    """Name of the groups that hold the trajectory of a structure."""
    return f"trajectory_{number}"


def _trajectory(file: Any, record: Record) -> None:
    """Write a trajectory into groups of its own, fixed in size."""
    frames, name = record.frames, trajectory_name(record.number)
    n_frames, n_atoms = len(frames), len(record.numbers)
    particles = file.create_group(f"/particles/{name}")
    observables = file.create_group(f"/observables/{name}")
    steps = np.array([f.step for f in frames])

    def element(group: Any, values: Any, origin: str, **attributes: Any) -> None:
        group.create_dataset("value", data=values)
        group["value"].attrs.update(attributes)
        group.create_dataset("step", data=steps)
        group.create_dataset("time", data=steps * 1.0)
        group["time"].attrs["unit"] = "fs"
        group.attrs["ASE_ENTRY_ORIGIN"] = origin

    def stacked(get: Callable[[Frame], Any]) -> np.ndarray:
        return np.array([get(frame) for frame in frames])

    def cell(frame: Frame) -> np.ndarray:
        return record.cell if frame.cell is None else frame.cell

    box = particles.create_group("box")
    _box(box, record.pbc)
    element(box.create_group("edges"), stacked(cell), "atoms", unit="Angstrom")
    element(box.create_group("pbc"), np.tile(record.pbc, (n_frames, 1)), "atoms")
    positions = stacked(lambda frame: frame.positions)
    element(particles.create_group("position"), positions, "atoms", unit="Angstrom")
    forces = stacked(lambda frame: frame.forces)
    element(particles.create_group("force"), forces, "calc", ase_unit="eV/Angstrom")
    species = np.broadcast_to(record.numbers.astype("f8"), (n_frames, n_atoms))
    element(particles.create_group("species"), species, "atoms")
    energies = stacked(lambda frame: frame.energy)
    element(observables.create_group("potential_energy"), energies, "calc", unit="eV")
    if any(frame.free_energy is not None for frame in frames):
        free = stacked(lambda f: f.energy if f.free_energy is None else f.free_energy)
        element(observables.create_group("free_energy"), free, "calc", unit="eV")
    fmax = stacked(lambda frame: frame.fmax)
    element(observables.create_group("fmax"), fmax, "info", unit="eV/Angstrom")
