"""What a relaxation gives back."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kups_relax import optimizers
from kups_relax._record import Record, energies, fingerprint
from kups_relax.data import Structure
from kups_relax.errors import OptionError

NO_TRAJECTORY = "there is no trajectory of {!r}; ask for it with relax(..., trajectory=10)."


class Results(abc.ABC):
    """What is known of many structures, in the caller's order: a `Result`, or a `Store`.

    Energy, forces and fmax are those of the returned geometry, evaluated there.

    Attributes:
        ids: Labels of the structures.
        options: With which the structures were relaxed.
        n_atoms: (n,) int64.
        energy: (n,) float64, eV; NaN where there is none.
        fmax: (n,) float64, eV/Angstrom, the longest force that was judged, as ASE's filters
            and constraints give it: on an atom after constraints, in the undeformed cell; and on
            the cell, where that is judged by fmax too. NaN where there is none.
        n_steps: (n,) int64, moves made.
        n_evaluations: (n,) int64, evaluations of the potential.
        status: (n,) str: "converged", "max_steps", "non_finite", "exploded" or "failed".
        reason: (n,) str: why a structure did not converge, and what to do; "" if it did.
        fingerprint: (n,) str: sha256 over the bits of everything that the structure got:
            positions, cell, energy, forces, stress, fmax, number of steps and status. Equal
            fingerprints are equal bits.
        atoms: Sequence of `ase.Atoms` with energy, free energy, forces and, in a cell, stress
            attached; what the input carried (tags, info, charges, constraints) is kept. A
            structure that failed before its first evaluation comes back as it was, without a
            calculator; where nothing could be read, empty.
    """

    ids: Sequence[str]
    options: Mapping[str, Any]
    n_atoms: np.ndarray
    energy: np.ndarray
    fmax: np.ndarray
    n_steps: np.ndarray
    n_evaluations: np.ndarray
    status: np.ndarray
    reason: np.ndarray

    @property
    @abc.abstractmethod
    def fingerprint(self) -> np.ndarray:
        """Of all that each structure got."""

    @property
    @abc.abstractmethod
    def atoms(self) -> Sequence[Any]:
        """The structures."""

    @abc.abstractmethod
    def trajectory(self, item: int | str) -> list[Any]:
        """Return the geometries on the way of a structure, as Atoms.

        `info["step"]` says how many moves came before; the last one is the result.

        Args:
            item: Its position, or its id.

        Raises:
            OptionError: None was kept.
        """

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def optimizer(self) -> str:
        """Which optimizer ran: its name, or how it was built."""
        return optimizers.named(self.options["optimizer"])

    @property
    def converged(self) -> np.ndarray:
        """(n,) bool: fmax fell below the threshold."""
        return self.status == "converged"

    @property
    def counts(self) -> dict[str, int]:
        """How many structures there are of each status."""
        names, counts = np.unique(np.asarray(self.status, str), return_counts=True)
        return dict(zip(names.tolist(), counts.tolist(), strict=True))

    def table(self) -> dict[str, list[Any]]:
        """Return one row a structure as plain columns: `pandas.DataFrame(result.table())`."""
        columns = (
            "n_atoms", "n_steps", "n_evaluations", "energy", "fmax", "status", "reason",
            "fingerprint",
        )  # fmt: skip
        return {
            "id": list(self.ids),
            **{name: getattr(self, name).tolist() for name in columns},
        }

    def __repr__(self) -> str:
        summary = ", ".join(f"{count} {name}" for name, count in self.counts.items())
        return f"{type(self).__name__}({len(self)} structures: {summary})"


class Result(Results):
    """Relaxed structures and what there is to know of them, in memory.

    Attributes:
        records: One for each structure.
        structures: The inputs as they were understood; None where nothing could be read.
    """

    def __init__(self, records: Sequence[Record], options: Mapping[str, Any]) -> None:
        self.options = options
        self.records = list(records)
        self.ids = [r.entry.id for r in self.records]
        self.structures = [
            r.entry if isinstance(r.entry, Structure) else None for r in self.records
        ]
        self._atoms = [r.atoms() for r in self.records]
        self.n_atoms = self._column("n_atoms", np.int64, [len(r.numbers) for r in self.records])
        for name, dtype in COLUMNS.items():
            setattr(self, name, self._column(name, dtype))

    @property
    def atoms(self) -> list[Any]:
        """See `Results`."""
        return self._atoms

    @property
    def fingerprint(self) -> np.ndarray:
        """See `Results`: of what is in the attributes now."""
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
        """See `Results.trajectory`."""
        record = self.records[self.ids.index(item) if isinstance(item, str) else item]
        if not record.frames:
            raise OptionError(NO_TRAJECTORY.format(record.entry.id))
        return record.trajectory()

    def _column(self, name: str, dtype: Any, values: list[Any] | None = None) -> np.ndarray:
        values = [getattr(r, name) for r in self.records] if values is None else values
        return np.array(values, dtype)


# Attributes of records that are columns of results.
COLUMNS: dict[str, Any] = {
    "energy": np.float64,
    "fmax": np.float64,
    "n_steps": np.int64,
    "n_evaluations": np.int64,
    "status": object,
    "reason": object,
}
