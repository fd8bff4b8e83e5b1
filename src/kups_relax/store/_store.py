"""Read a store, lazily: columns when they are asked for, structures some at a time."""

import copy
import functools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from kups_relax import io
from kups_relax._record import Record, frame_atoms
from kups_relax._result import NO_TRAJECTORY, Results
from kups_relax.errors import DamagedError, OptionError, shown
from kups_relax.relaxation import Frame, Status
from kups_relax.store._extras import topology_in
from kups_relax.store._file import StoreFile
from kups_relax.store._layout import OPTIONS, VERSIONS
from kups_relax.store._structure import MAIN, Structure

# Structures that are read at once: few for who wants few, and up to so many, or so many bytes.
_FEWEST, _MOST = 256, 1 << 14
_BYTES = 1 << 26
# Bytes of an atom (element, position, force), and of a structure without them, as Python objects.
_ATOM, _OBJECTS = 52, 2000
_ATOMS = ("atoms/numbers", "atoms/positions", "atoms/forces")
# Seconds since 1970 that are still a date: the year 9999.
_LATEST = 253_370_764_800.0
_STATUSES = frozenset(s.label for s in Status if s not in (Status.EMPTY, Status.RUNNING))
_FRAMES = ("step", "energy", "fmax", "free_energy", "cell")


def open_store(path: str | os.PathLike[str]) -> "Store":
    """Open the results that `relax` wrote to an HDF5 file; also while it still writes.

    The file may come from anybody: it is checked before anything is read of it, and nothing in it
    is run.

    Args:
        path: Of the file.

    Returns:
        What was finished when it was opened.

    Raises:
        StoreError: There is no such file, it is none of ours, or it is damaged.

    Example:
        >>> import tempfile, pathlib, ase, kups_relax as kr
        >>> pair = ase.Atoms("Ar2", [[0, 0, 0], [0, 0, 3.6]])
        >>> argon = kr.potentials.LennardJones(0.0104, 3.4)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "pair.h5")
        ...     _ = kr.relax(pair, argon, output=path)
        ...     kr.open(path).status.tolist()
        ['converged']
    """
    return Store(path)


class Store(Results):
    """The results in a file, in the caller's order. See `Results` for the columns.

    Nothing is held open, and nothing that was read is kept but columns. Each structure is compared
    with its fingerprint when it is read.

    Args:
        path: Of the file, or the file itself.
        rows: Of the file, which make this part; None: all, in the order of the input.

    Attributes:
        path: Of the file.
        options: With which the structures were relaxed.
        versions: Of what they were relaxed with.
        run: Tells this run from others.
        complete: True if the run has ended, and nothing of its input is missing.
        n_input: Structures in the input; None where the run has not come to its end.
        input_index: (n,) int64, place of each structure in the input.

    Raises:
        StoreError: There is no such file, it is none of ours, or it is damaged.
    """

    path: Path
    options: Mapping[str, Any]
    versions: dict[str, Any]
    run: str
    complete: bool
    n_input: int | None
    input_index: np.ndarray

    def __init__(
        self, path: str | os.PathLike[str] | StoreFile, rows: np.ndarray | None = None
    ) -> None:
        self._file = file = path if isinstance(path, StoreFile) else StoreFile(Path(path))
        self.path, self.run, self.complete = file.path, file.run, file.complete
        self.n_input = file.n_input if file.complete else None
        self.options = self._json(OPTIONS)
        self.versions = self._json(VERSIONS)
        if rows is None:
            rows = np.argsort(file.column("input_index"), kind="stable")
        self._rows = rows
        self.input_index = file.at("input_index", rows)
        if len(np.unique(self.input_index)) < len(rows):
            raise DamagedError(f"{str(self.path)!r}: structures/input_index names one twice.")

    def _json(self, path: str) -> Any:
        text = self._file.text(path)

        def read() -> Any:
            found = json.loads(text)
            if not isinstance(found, dict):
                raise ValueError(f"it is a {type(found).__name__}")
            return found

        return self._file.guarded(path, read)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def atoms(self) -> Sequence[Any]:
        """The structures, each read when it is asked for."""
        return _Atoms(self)

    @property
    def done(self) -> dict[int, bytes]:
        """Digests of the inputs of the structures that are there, by their places in the input."""
        hashes = map(bytes, self._column("input_hash"))
        return dict(zip(self.input_index.tolist(), hashes, strict=True))

    @property
    def with_trajectory(self) -> list[str]:
        """Ids of the structures whose trajectories were kept."""
        return [self.ids[place] for place in self._n_frames.nonzero()[0]]

    def write(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> int:
        """Write to a file of another format, some structures at a time. See `export`."""
        from kups_relax.store._export import export

        return export(self, path, overwrite=overwrite)

    def _part(self, places: np.ndarray) -> Self:
        part = copy.copy(self)
        for name, value in vars(type(self)).items():
            if isinstance(value, functools.cached_property):
                vars(part).pop(name, None)
        vars(part).pop("_by_id", None)
        part._rows, part.input_index = self._rows[places], self.input_index[places]
        return part

    def trajectory(self, item: int | str) -> list[Any]:
        """Read the trajectory of a structure: Atoms with `info["step"]`, the result last."""
        place = self._with_frames(item)
        atoms = self[place]
        return [frame_atoms(atoms, atoms.cell, frame) for frame in self._frames(place)]

    def convergence(self, item: int | str) -> dict[str, np.ndarray]:
        """Read how a structure came down: its trajectory without the geometries.

        Args:
            item: Its position, or its id.

        Returns:
            `step`, int64, moves made before; `energy`, eV; `fmax`, eV/Angstrom; (n_frames,) each.

        Raises:
            OptionError: No trajectory was kept.
        """
        row = self._rows[[self._with_frames(item)]]
        names = _FRAMES[:3]
        found = self._file.pieces([f"frames/{name}" for name in names], row)
        return {name: found[f"frames/{name}"][0] for name in names}

    def records(self, entries: Mapping[int, io.Entry]) -> Iterator[tuple[int, Record]]:
        """Make the records of structures again, of which what was read is at hand.

        Args:
            entries: By their places in the input.

        Yields:
            Place in the input, and record.
        """
        numbers = self.input_index.tolist()
        places = [i for i, number in enumerate(numbers) if number in entries]
        for place, one in zip(places, self._read(self._rows[places]), strict=True):
            results = one.results
            yield (
                numbers[place],
                Record(
                    number=numbers[place],
                    entry=entries[numbers[place]],
                    numbers=one.numbers,
                    positions=one.positions,
                    cell=one.cell,
                    pbc=one.pbc,
                    energy=float(self.energy[place]),
                    forces=results.get("forces"),
                    stress=results.get("stress"),
                    fmax=float(self.fmax[place]),
                    n_steps=int(self.n_steps[place]),
                    n_evaluations=int(self.n_evaluations[place]),
                    status=str(self.status[place]),
                    reason=str(self.reason[place]),
                    free_energy=results.get("free_energy"),
                    frames=tuple(self._frames(place)) if self._n_frames[place] else (),
                    finished=float(self.finished[place]),
                ),
            )

    def topologies(self) -> Iterator[Any]:
        """Give what `topology` gives, for all, some read at a time."""
        for rows in self._batches(self._rows):
            for row, text in zip(rows, self._file.texts("extras", rows), strict=True):
                yield self._file.guarded(f"texts/extras, row {row},", lambda t=text: topology_in(t))

    def topology(self, place: int) -> Any:
        """The RDKit Mol that a structure came from, without conformers; None if from none."""
        return next(self._part(np.array([place])).topologies())

    @functools.cached_property
    def ids(self) -> list[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Labels of the structures."""
        return self._file.texts("id", self._rows)

    @functools.cached_property
    def n_atoms(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleVariableOverride]
        """(n,) int64, number of atoms."""
        return self._lengths("atoms_end")

    @functools.cached_property
    def energy(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleVariableOverride]
        """(n,) float64, eV; NaN where there is no energy."""
        return self._column("energy")

    @functools.cached_property
    def fmax(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleVariableOverride]
        """(n,) float64, eV/Angstrom, the longest judged force; NaN where there is no energy."""
        return self._column("fmax")

    @functools.cached_property
    def n_steps(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleVariableOverride]
        """(n,) int64, moves made."""
        return self._column("n_steps")

    @functools.cached_property
    def n_evaluations(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleVariableOverride]
        """(n,) int64, evaluations of the potential."""
        return self._column("n_evaluations")

    @functools.cached_property
    def status(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleVariableOverride]
        """(n,) str: "converged", "max_steps", "non_finite", "exploded" or "failed"."""
        found = self._words("status")
        if unknown := set(found) - _STATUSES:
            raise DamagedError(
                f"{str(self.path)!r}: structures/status has {shown(min(unknown))}; expected one of "
                f"{', '.join(sorted(_STATUSES))}."
            )
        return found

    @property
    def optimizer(self) -> str:
        """Name of the optimizer that ran, or how it was built."""
        return self._file.guarded(OPTIONS, lambda: super(Store, self).optimizer)

    @functools.cached_property
    def reason(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleVariableOverride]
        """(n,) str, why a structure did not converge; "" if it did."""
        return np.array(self._file.texts("reason", self._rows), object)

    @functools.cached_property
    def fingerprint(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleMethodOverride]
        """(n,) str, sha256 over the bits of the results."""
        return self._words("fingerprint")

    @functools.cached_property
    def finished(self) -> np.ndarray:
        """(n,) float64: when each structure was finished, seconds since 1970."""
        found = self._column("finished")
        if not ((found >= 0) & (found < _LATEST)).all():
            raise DamagedError(
                f"{str(self.path)!r}: structures/finished has times that no clock shows; expected "
                "seconds since 1970."
            )
        return found

    @functools.cached_property
    def _n_frames(self) -> np.ndarray:
        return self._lengths("frames_end")

    def _column(self, name: str) -> np.ndarray:
        return self._file.at(name, self._rows)

    def _words(self, name: str) -> np.ndarray:
        values = self._column(name)
        return self._file.guarded(name, lambda: values.astype(str).astype(object))

    def _lengths(self, end: str) -> np.ndarray:
        ends = self._file.ends[end]
        return ends[self._rows + 1] - ends[self._rows]

    def _with_frames(self, item: int | str) -> int:
        place = self._place(item)
        if not self._n_frames[place]:
            raise OptionError(NO_TRAJECTORY.format(self.ids[place]))
        return place

    def _frames(self, place: int) -> Iterator[Frame]:
        row, n_atoms = self._rows[[place]], int(self.n_atoms[place])
        paths = [f"frames/{name}" for name in _FRAMES]
        paths += ["frame_atoms/positions", "frame_atoms/forces"]
        found = {p.split("/")[1]: v[0] for p, v in self._file.pieces(paths, row).items()}
        n_frames = len(found["step"])

        def shaped(name: str) -> np.ndarray:
            return self._file.guarded(
                f"frame_atoms/{name}", lambda: found[name].reshape(n_frames, n_atoms, 3)
            )

        positions, forces = shaped("positions"), shaped("forces")
        for k in range(n_frames):
            free_energy = float(found["free_energy"][k])
            yield Frame(
                step=int(found["step"][k]),
                positions=positions[k],
                cell=found["cell"][k],
                energy=float(found["energy"][k]),
                forces=forces[k],
                fmax=float(found["fmax"][k]),
                free_energy=None if np.isnan(free_energy) else free_energy,
            )

    def _batches(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Part rows so that each part takes little memory, however large structures are."""
        ends = self._file.ends
        n_bytes = np.diff(ends["extras_end"])[rows] + _ATOM * np.diff(ends["atoms_end"])[rows]
        n_bytes += _OBJECTS
        upto, first, most = np.cumsum(n_bytes), 0, _FEWEST
        while first < len(rows):
            before = int(upto[first - 1]) if first else 0
            last = int(np.searchsorted(upto, before + _BYTES, "right"))
            last = min(max(last, first + 1), first + most)
            yield rows[first:last]
            first, most = last, min(2 * most, _MOST)

    def _read(self, rows: np.ndarray) -> Iterator[Structure]:
        """Read structures, some at a time, and compare each with its fingerprint."""
        file = self._file
        for part in self._batches(rows):
            main = {name: file.at(name, part) for name in MAIN}
            atoms = file.pieces(_ATOMS, part)
            ids, extras = file.texts("id", part), file.texts("extras", part)
            for k in range(len(part)):
                one = Structure(
                    id=ids[k],
                    extras=extras[k],
                    main={name: values[k] for name, values in main.items()},
                    numbers=atoms["atoms/numbers"][k],
                    positions=atoms["atoms/positions"][k],
                    forces=atoms["atoms/forces"][k],
                )
                if not one.is_whole():
                    raise DamagedError(
                        f"{str(self.path)!r}: {one.id!r} is damaged: it is not what its "
                        "fingerprint was made of. The command kups-relax check says which "
                        "structures are whole, and saves them."
                    )
                yield one

    def _atoms_of(self, rows: np.ndarray) -> Iterator[Any]:
        for one in self._read(rows):
            yield self._file.guarded(f"texts/extras of {one.id!r}", one.atoms)


class _Atoms(Sequence[Any]):
    """The structures of a store as a sequence."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __len__(self) -> int:
        return len(self._store)

    def __getitem__(self, item: Any) -> Any:
        places = self._store._places(item)
        if isinstance(places, np.ndarray):
            return _Atoms(self._store[places])
        return next(self._store._atoms_of(self._store._rows[[places]]))

    def __iter__(self) -> Iterator[Any]:
        return self._store._atoms_of(self._store._rows)

    def __repr__(self) -> str:
        return f"<{len(self)} Atoms of {self._store.path}>"
