"""One structure as the tables of a store have it: its results, its fingerprint, its Atoms."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from kups_relax import io
from kups_relax._record import energies, fingerprint
from kups_relax.store._extras import add_extras

# Columns of `/structures` that Atoms and their fingerprints are made of.
MAIN = (
    "energy",
    "free_energy",
    "fmax",
    "stress",
    "cell",
    "pbc",
    "n_steps",
    "status",
    "fingerprint",
)


class Structure:
    """Rows of one structure in the tables that Atoms are made of."""

    def __init__(
        self,
        *,
        id: str,
        extras: str,
        main: Mapping[str, Any],
        numbers: np.ndarray,
        positions: np.ndarray,
        forces: np.ndarray,
    ) -> None:
        self.id, self.numbers, self.positions = id, numbers, positions
        self.cell, self.pbc = main["cell"], main["pbc"].astype(bool)
        self._extras, self._main, self._forces = extras, main, forces

    @functools.cached_property
    def results(self) -> dict[str, Any]:
        """Energy, forces, and, where there are such, stress and free energy."""
        energy, stress = float(self._main["energy"]), self._main["stress"]
        if not np.isfinite(energy):
            return {}
        free_energy = float(self._main["free_energy"])
        return {
            "energy": energy,
            "forces": self._forces,
            **({} if np.isnan(stress).all() else {"stress": stress}),
            **({} if np.isnan(free_energy) else {"free_energy": free_energy}),
        }

    def is_whole(self) -> bool:
        """Compare the results with their fingerprint."""
        main, results = self._main, self.results
        made = fingerprint(
            self.positions,
            self.cell,
            results.get("forces"),
            results.get("stress"),
            energies(main["energy"], main["fmax"], results.get("free_energy")),
            f"{main['n_steps']} {main['status'].decode(errors='replace')}",
        )
        return made.encode() == main["fingerprint"]

    def atoms(self) -> Any:
        """Put the structure together, as `Record.atoms` does."""
        from ase import Atoms

        atoms = Atoms(
            numbers=self.numbers.astype(int),
            positions=self.positions,
            cell=self.cell,
            pbc=self.pbc,
        )
        add_extras(atoms, self._extras)
        io.label(atoms, self.id)
        atoms.info["status"] = self._main["status"].decode()
        if self.results:
            r = self.results
            io.attach(atoms, r["energy"], r["forces"], r.get("stress"), r.get("free_energy"))
        return atoms
