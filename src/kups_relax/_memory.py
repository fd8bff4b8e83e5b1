"""Results in memory."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from kups_relax import io
from kups_relax._record import Record, energies, fingerprint
from kups_relax._result import NO_TRAJECTORY, Results
from kups_relax.data import Structure
from kups_relax.errors import OptionError

# Attributes of records that are columns of results.
_COLUMNS: dict[str, Any] = {
    "energy": np.float64,
    "fmax": np.float64,
    "n_steps": np.int64,
    "n_evaluations": np.int64,
    "status": object,
    "reason": object,
}


class Result(Results):
    """Relaxed structures and what there is to know of them, in memory.

    Attributes:
        records: One for each structure.
        structures: The inputs as they were understood; None where nothing could be read.

    Example:
        >>> import ase, kups_relax as kr
        >>> pairs = [ase.Atoms("Ar2", [[0, 0, 0], [0, 0, z]]) for z in (3.5, 3.6)]
        >>> result = kr.relax(pairs, kr.potentials.LennardJones(0.0104, 3.4), fmax=1e-4)
        >>> result
        Result(2 structures: 2 converged)
        >>> float(result[-1].get_distance(0, 1).round(2))
        3.82
        >>> result[result.energy > 0]
        Result(0 structures)
    """

    def __init__(
        self,
        records: Sequence[Record],
        options: Mapping[str, Any],
        atoms: Sequence[Any] | None = None,
    ) -> None:
        self.options = options
        self.records = list(records)
        self.ids = [r.entry.id for r in self.records]
        self.structures = [
            r.entry if isinstance(r.entry, Structure) else None for r in self.records
        ]
        self._atoms = [r.atoms() for r in self.records] if atoms is None else list(atoms)
        self.n_atoms = self._column("n_atoms", np.int64, [len(r.numbers) for r in self.records])
        for name, dtype in _COLUMNS.items():
            setattr(self, name, self._column(name, dtype))

    @property
    def atoms(self) -> list[Any]:
        """One `ase.Atoms` for each structure, results attached."""
        return self._atoms

    @property
    def fingerprint(self) -> np.ndarray:
        """(n,) sha256, in hexadecimal, of what is in the attributes now."""
        return np.array([self._fingerprint(i) for i in range(len(self))], object)

    def _fingerprint(self, i: int) -> str:
        atoms = self.atoms[i]
        results = {} if atoms.calc is None else atoms.calc.results
        return fingerprint(
            atoms.positions,
            atoms.cell.array,
            results.get("forces"),
            results.get("stress"),
            energies(self.energy[i], self.fmax[i], results.get("free_energy")),
            f"{self.n_steps[i]} {self.status[i]}",
        )

    def trajectory(self, item: int | str) -> list[Any]:
        """Return the geometries of one structure on the way, as Atoms; see `Results.trajectory`."""
        record = self.records[self._place(item)]
        if not record.frames:
            raise OptionError(NO_TRAJECTORY.format(record.entry.id))
        return record.trajectory()

    def write(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> int:
        """Write the structures and what they got to a file, or to a store.

        A store (.h5) gets what the run gave, trajectories included, as if it had been the run's
        output; the other formats get `atoms`, with whatever has been changed in them since. See
        `Results.write`.
        """
        if Path(path).suffix.lower() in io.STORES:
            from kups_relax import store

            store.save(path, self.records, self.options, overwrite=overwrite)
            return len(self)
        entries = [record.entry for record in self.records]
        io.check_output(path, structures=entries, overwrite=overwrite)
        atoms = [a if len(a) else None for a in self.atoms]
        return io.write(path, atoms, entries, self.table())

    def _part(self, places: np.ndarray) -> Self:
        chosen = places.tolist()
        return type(self)(
            [self.records[i] for i in chosen], self.options, [self.atoms[i] for i in chosen]
        )

    def _column(self, name: str, dtype: Any, values: list[Any] | None = None) -> np.ndarray:
        values = [getattr(r, name) for r in self.records] if values is None else values
        return np.array(values, dtype)
