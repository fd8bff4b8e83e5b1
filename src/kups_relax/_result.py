"""What a relaxation gives back."""

import dataclasses
import hashlib
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """Relaxed structures and what there is to know of them, in the caller's order.

    Energy, forces and fmax are those of the returned geometry, evaluated there.

    Attributes:
        atoms: List of `ase.Atoms` with energy, free energy, forces and, in a cell, stress
            attached; what the input carried (tags, info, charges, constraints) is kept. A
            structure that failed before its first evaluation comes back as it was, without a
            calculator; where nothing could be read, empty.
        ids: Labels of the structures.
        n_atoms: (n,) int64.
        energy: (n,) float64, eV; NaN where there is none.
        fmax: (n,) float64, eV/Angstrom, the longest force that was judged, as ASE's filters
            and constraints give it: on an atom after constraints, in the undeformed cell; and on
            the cell, where that is judged by fmax too. NaN where there is none.
        n_steps: (n,) int64, moves made.
        n_evaluations: (n,) int64, evaluations of the potential.
        status: (n,) str: "converged", "max_steps", "non_finite", "exploded" or "failed".
        reason: (n,) str: why a structure did not converge, and what to do; "" if it did.
        structures: The inputs as they were understood; None where nothing could be read.
    """

    atoms: list[Any]
    ids: list[str]
    n_atoms: np.ndarray
    energy: np.ndarray
    fmax: np.ndarray
    n_steps: np.ndarray
    n_evaluations: np.ndarray
    status: np.ndarray
    reason: np.ndarray
    structures: list[Any]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def converged(self) -> np.ndarray:
        """(n,) bool: fmax fell below the threshold."""
        return self.status == "converged"

    @property
    def fingerprint(self) -> np.ndarray:
        """(n,) str: sha256 over the bits of everything that the structure got.

        Positions, cell, energy, forces, stress, fmax, number of steps and status: equal
        fingerprints are equal bits.
        """
        return np.array([self._fingerprint(i) for i in range(len(self))], dtype=object)

    def table(self) -> dict[str, list[Any]]:
        """Return one row a structure as plain columns: `pandas.DataFrame(result.table())`."""
        columns = ("n_atoms", "n_steps", "n_evaluations", "energy", "fmax", "status", "reason")
        return {
            "id": list(self.ids),
            **{name: getattr(self, name).tolist() for name in columns},
            "fingerprint": self.fingerprint.tolist(),
        }

    def __repr__(self) -> str:
        names, counts = np.unique(self.status.astype(str), return_counts=True)
        summary = ", ".join(f"{c} {n}" for n, c in zip(names, counts, strict=True))
        return f"Result({len(self)} structures: {summary})"

    def _fingerprint(self, i: int) -> str:
        digest = hashlib.sha256()
        atoms = self.atoms[i]
        digest.update(np.ascontiguousarray(atoms.positions, "<f8").tobytes())
        digest.update(np.ascontiguousarray(atoms.cell.array, "<f8").tobytes())
        if atoms.calc is not None:
            for name in ("forces", "stress"):
                if name in atoms.calc.results:
                    digest.update(np.ascontiguousarray(atoms.calc.results[name], "<f8").tobytes())
        numbers = np.array([self.energy[i], self.fmax[i]], "<f8")
        digest.update(numbers.tobytes())
        digest.update(f"{self.n_steps[i]} {self.status[i]}".encode())
        return digest.hexdigest()
