"""Read a store, lazily: columns when they are asked for, structures one by one."""

import functools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np

from kups_relax import io
from kups_relax._record import Record, frame_atoms
from kups_relax._result import NO_TRAJECTORY, Results
from kups_relax.errors import OptionError, StoreError
from kups_relax.relaxation import Frame
from kups_relax.store import _layout as layout
from kups_relax.store._extras import add_extras, geometry_in, topology_in


def open_store(path: str | os.PathLike[str]) -> "Store":
    """Open the results that `relax` wrote to an HDF5 file; also while it still writes.

    Args:
        path: Of the file.

    Returns:
        What was finished when it was opened.

    Raises:
        StoreError: There is no such file, or it is none of ours.

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

    Nothing is held open, and nothing that was read is kept but columns.

    Attributes:
        path: Of the file.
        options: With which the structures were relaxed.
        versions: Of what they were relaxed with.
        run: Tells this run from others.
        complete: Whether the run has ended, and nothing of its input is missing.
        n_input: Structures in the input; None where the run has not come to its end.
        input_index: (n,) int64, place of each structure in the input.
    """

    path: Path
    options: Mapping[str, Any]
    versions: dict[str, Any]
    run: str
    complete: bool
    n_input: int | None

    def __init__(self, path: str | os.PathLike[str], rows: np.ndarray | None = None) -> None:
        self.path = Path(path)
        with self._file() as file:
            own = file[layout.OWN].attrs
            self._n_done = int(own["n_done"])
            self.options = json.loads(own["options"])
            self.versions = json.loads(own["versions"])
            self.complete = bool(own["complete"])
            self.run = str(own["run"])
            self.n_input = int(own["n_input"]) if self.complete else None
            index = self._read(file, f"{layout.OBSERVABLES}/input_index/value")
        self._rows = np.argsort(index, kind="stable") if rows is None else rows
        self.input_index = index[self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def atoms(self) -> Sequence[Any]:
        """The structures, each read when it is asked for."""
        return _Atoms(self)

    @property
    def done(self) -> dict[int, bytes]:
        """Which structures of the input are there, and the digests of what they were."""
        hashes = self._column(f"{layout.OWN}/input_hash")
        return dict(zip(self.input_index.tolist(), (bytes(h) for h in hashes), strict=True))

    @property
    def with_trajectory(self) -> list[str]:
        """Ids of the structures whose trajectories were kept."""
        with self._file() as file:
            names = set(file["/particles"])
        return [
            label
            for label, number in zip(self.ids, self.input_index, strict=True)
            if layout.trajectory_name(number) in names
        ]

    def write(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> int:
        """Write to a file of another format, some structures at a time. See `export`."""
        from kups_relax.store._export import export

        return export(self, path, overwrite=overwrite)

    def _part(self, places: np.ndarray) -> Self:
        return type(self)(self.path, self._rows[places])

    def trajectory(self, item: int | str) -> list[Any]:
        """See `Results.trajectory`."""
        place = self._place(item)
        atoms = self[place]
        with self._file() as file:
            frames = self._frames(file, place)
        return [frame_atoms(atoms, atoms.cell, frame) for frame in frames]

    def records(self, entries: Mapping[int, io.Entry]) -> Iterator[tuple[int, Record]]:
        """Make the records of structures again, of which what was read is at hand.

        Args:
            entries: By their places in the input.

        Yields:
            Place in the input, and record.
        """
        places = [i for i, n in enumerate(self.input_index.tolist()) if n in entries]
        with self._file() as file:
            kept = set(file["/particles"])
        for place, atoms in zip(places, self._atoms_of(self._rows[places]), strict=True):
            number = int(self.input_index[place])
            results = {} if atoms.calc is None else atoms.calc.results
            frames: tuple[Frame, ...] = ()
            if layout.trajectory_name(number) in kept:
                with self._file() as file:
                    frames = self._frames(file, place)
            yield (
                number,
                Record(
                    number=number,
                    entry=entries[number],
                    numbers=atoms.numbers.astype(np.int32),
                    positions=atoms.positions,
                    cell=atoms.cell.array,
                    pbc=atoms.pbc,
                    energy=float(self.energy[place]),
                    forces=results.get("forces"),
                    stress=results.get("stress"),
                    fmax=float(self.fmax[place]),
                    n_steps=int(self.n_steps[place]),
                    n_evaluations=int(self.n_evaluations[place]),
                    status=str(self.status[place]),
                    reason=str(self.reason[place]),
                    free_energy=results.get("free_energy"),
                    frames=frames,
                    finished=float(self.finished[place]),
                ),
            )

    def convergence(self, item: int | str) -> dict[str, np.ndarray]:
        """Read how a structure came down: its trajectory without the geometries.

        Args:
            item: Its position, or its id.

        Returns:
            `step`, int64, moves made before; `energy`, eV; `fmax`, eV/Angstrom; (n_frames,) each.

        Raises:
            OptionError: No trajectory was kept.
        """
        with self._file() as file:
            _, observables = self._trajectory(file, self._place(item))
            return {
                "step": observables["fmax/step"][()],
                "energy": observables["potential_energy/value"][()],
                "fmax": observables["fmax/value"][()],
            }

    def topologies(self) -> Iterator[Any]:
        """Give what `topology` gives, for all, some read at a time."""
        path = f"{layout.OWN}/extras"
        return (topology_in(_text(row[path])) for row in self._read_rows(self._rows, [path]))

    def topology(self, place: int) -> Any:
        """The RDKit Mol that a structure came from, without conformers; None if from none."""
        return next(Store(self.path, self._rows[[place]]).topologies())

    @functools.cached_property
    def ids(self) -> list[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """See `Results`."""
        return self._texts(f"{layout.OBSERVABLES}/structure_id/value").tolist()

    @functools.cached_property
    def n_atoms(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleVariableOverride]
        """See `Results`."""
        return self._column(f"{layout.OWN}/n_atoms")

    @functools.cached_property
    def energy(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleVariableOverride]
        """See `Results`."""
        return self._column(f"{layout.OBSERVABLES}/potential_energy/value")

    @functools.cached_property
    def fmax(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleVariableOverride]
        """See `Results`."""
        return self._column(f"{layout.OBSERVABLES}/fmax/value")

    @functools.cached_property
    def n_steps(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleVariableOverride]
        """See `Results`."""
        return self._column(f"{layout.OBSERVABLES}/n_steps/value")

    @functools.cached_property
    def n_evaluations(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleVariableOverride]
        """See `Results`."""
        return self._column(f"{layout.OWN}/n_evaluations")

    @functools.cached_property
    def status(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleVariableOverride]
        """See `Results`."""
        return self._texts(f"{layout.OBSERVABLES}/status/value")

    @functools.cached_property
    def reason(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleVariableOverride]
        """See `Results`."""
        return self._texts(f"{layout.OWN}/reason")

    @functools.cached_property
    def fingerprint(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleMethodOverride]
        """See `Results`."""
        return self._column(f"{layout.OWN}/fingerprint").astype(str).astype(object)

    @functools.cached_property
    def finished(self) -> np.ndarray:
        """(n,) float64: when each structure was finished, seconds since 1970."""
        return self._column(f"{layout.OWN}/finished")

    def _trajectory(self, file: Any, place: int) -> tuple[Any, Any]:
        """The groups of a structure's trajectory, particles and observables."""
        name = layout.trajectory_name(int(self.input_index[place]))
        if name not in file["/particles"]:
            raise OptionError(NO_TRAJECTORY.format(self.ids[place]))
        return file[f"/particles/{name}"], file[f"/observables/{name}"]

    def _frames(self, file: Any, place: int) -> tuple[Frame, ...]:
        particles, observables = self._trajectory(file, place)
        steps, positions = particles["position/step"][()], particles["position/value"][()]
        forces, cells = particles["force/value"][()], particles["box/edges/value"][()]
        energies = observables["potential_energy/value"][()].tolist()
        fmax = observables["fmax/value"][()].tolist()
        free = [None] * len(energies)
        if "free_energy" in observables:
            free = observables["free_energy/value"][()].tolist()
        return tuple(map(Frame, steps.tolist(), positions, cells, energies, forces, fmax, free))

    def _column(self, path: str) -> np.ndarray:
        with self._file() as file:
            return self._read(file, path)[self._rows]

    def _texts(self, path: str) -> np.ndarray:
        return np.array([_text(value) for value in self._column(path)], object)

    def _read(self, file: Any, path: str) -> np.ndarray:
        return file[path][: self._n_done]

    def _file(self) -> Any:
        try:
            file: Any = h5py.File(self.path, "r")
        except FileNotFoundError:
            raise StoreError(f"there is no file {str(self.path)!r}. Check the path.") from None
        except OSError as error:
            raise StoreError(
                f"{str(self.path)!r} cannot be read as HDF5: {error}. It is another kind of file, "
                "or it was cut off; nothing in it was changed."
            ) from error
        own = file[layout.OWN].attrs if layout.OWN in file else {}
        if own.get("layout") != layout.VERSION:
            file.close()
            raise StoreError(
                f"{str(self.path)!r} is an HDF5 file, but no store of kups_relax of layout "
                f"{layout.VERSION}. Read it with what wrote it."
            )
        return file

    def _atoms_of(self, rows: np.ndarray) -> Iterator[Any]:
        return map(_atoms, self._read_rows(rows, [c.path for c in _NEEDED]))

    def _read_rows(self, rows: np.ndarray, paths: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Read columns of structures, some at a time."""
        for first in range(0, len(rows), 256):
            part = rows[first : first + 256]
            order = np.unique(part)
            with self._file() as file:
                block = {path: file[path][order] for path in paths}
            for at in np.searchsorted(order, part):
                yield {path: values[at] for path, values in block.items()}


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


_NEEDED = [
    c
    for c in layout.COLUMNS
    if c.path.split("/")[-2 if c.in_h5md else -1]
    in ("position", "force", "species", "edges", "pbc", "potential_energy", "stress", "status",
        "structure_id", "n_atoms", "extras", "free_energy")
]  # fmt: skip


def _atoms(row: dict[str, Any]) -> Any:
    """Put one structure together, as `Record.atoms` does."""
    from ase import Atoms

    n, extras = int(row[f"{layout.OWN}/n_atoms"]), _text(row[f"{layout.OWN}/extras"])
    geometry = geometry_in(extras) or {
        "numbers": row[f"{layout.PARTICLES}/species/value"][:n].astype(int),
        "positions": row[f"{layout.PARTICLES}/position/value"][:n],
        "cell": row[f"{layout.PARTICLES}/box/edges/value"],
    }
    atoms = Atoms(**geometry, pbc=row[f"{layout.PARTICLES}/box/pbc/value"])
    add_extras(atoms, extras)
    io.label(atoms, _text(row[f"{layout.OBSERVABLES}/structure_id/value"]))
    atoms.info["status"] = _text(row[f"{layout.OBSERVABLES}/status/value"])
    energy = float(row[f"{layout.OBSERVABLES}/potential_energy/value"])
    if np.isfinite(energy):
        stress = row[f"{layout.OBSERVABLES}/stress/value"]
        forces = row[f"{layout.PARTICLES}/force/value"][:n]
        free_energy = float(row[f"{layout.OWN}/free_energy"])
        io.attach(
            atoms,
            energy,
            forces,
            None if np.isnan(stress).all() else stress,
            None if np.isnan(free_energy) else free_energy,
        )
    return atoms


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
