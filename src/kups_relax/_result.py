"""Results of many structures: what a `Result`, in memory, and a `Store`, a file, have in common."""

import abc
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self, overload

import numpy as np

from kups_relax import optimizers
from kups_relax._items import places_of
from kups_relax._telling import SHOWN, headline, html_of, problems_of
from kups_relax.errors import OptionError
from kups_relax.relaxation import Status

NO_TRAJECTORY = "there is no trajectory of {!r}; ask for it with relax(..., trajectory=10)."


class Results(abc.ABC):
    """Results of many structures, in the caller's order: a `Result`, or a `Store`.

    `results[3]`, `results[-1]` and `results["id"]` are `ase.Atoms` with results attached; iteration
    gives all of them. `results[2:5]`, `results[results.energy < -3]` (a boolean for each
    structure), `results[[4, 0]]`, `results[["id", "other"]]` and `results.select("failed")` are
    results again, of a part. Of equal ids the first is meant.

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

    @abc.abstractmethod
    def write(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> int:
        """Write the structures and what they got to a file.

        Args:
            path: Its ending chooses the format: those of `kups_relax.io.write`.
            overwrite: Whether the file may exist.

        Returns:
            Number of structures written. Those of which nothing could be read have no geometry:
            only a table (.csv) and a store have a row for them.

        Raises:
            OptionError: The ending is unknown.
            StructureError: The format cannot hold one of the structures.
            StoreError: The file cannot be written.
        """

    @abc.abstractmethod
    def _part(self, places: np.ndarray) -> Self:
        """Return the results of some structures, by position."""

    @overload
    def __getitem__(self, item: int | str) -> Any: ...
    @overload
    def __getitem__(self, item: slice | Sequence[int] | Sequence[str] | np.ndarray) -> Self: ...
    def __getitem__(self, item: Any) -> Any:
        """Return the Atoms of a structure, or the results of a part.

        Raises:
            UnknownStructureError: There is no such structure.
            OptionError: The item is neither position nor id, nor several of these, nor a mask.
        """
        places = self._places(item)
        return self._part(places) if isinstance(places, np.ndarray) else self.atoms[places]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.atoms)

    def __contains__(self, item: object) -> bool:
        """Tell whether a structure has this id; or whether one of the Atoms is equal."""
        return item in self._by_id if isinstance(item, str) else any(a == item for a in self)

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, *status: str) -> Self:
        """Return the part with one of these statuses.

        Args:
            *status: "converged", "max_steps", "non_finite", "exploded", "failed".

        Raises:
            OptionError: There is no such status.
        """
        known = [s.label for s in Status if s not in (Status.EMPTY, Status.RUNNING)]
        for one in status:
            if one not in known:
                raise OptionError(f"there is no status {one!r}; expected {', '.join(known)}.")
        return self._part(np.isin(self.status.astype(str), status).nonzero()[0])

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
        lines = [headline(type(self).__name__, self.counts), *self._problems()]
        return "\n  ".join(lines)

    def _repr_html_(self) -> str:
        """Return what notebooks show."""
        title = headline(type(self).__name__, self.counts)
        # Not `table`, which hashes all results in memory.
        columns = {name: self.ids if name == "id" else getattr(self, name) for name in SHOWN}
        return html_of(title, self._problems(), columns)

    def _problems(self) -> list[str]:
        if self.converged.all():
            return []
        return problems_of(self.ids, self.status.tolist(), self.reason.tolist())

    def _places(self, item: Any) -> int | np.ndarray:
        return places_of(item, self.ids, self._by_id)

    def _place(self, item: int | str) -> int:
        """Return the position of one structure."""
        place = self._places(item)
        if isinstance(place, np.ndarray):
            raise OptionError(f"got {item!r}; expected the position or the id of one structure.")
        return place

    @functools.cached_property
    def _by_id(self) -> dict[str, int]:
        # Of equal ids the first.
        return {name: place for place, name in reversed(list(enumerate(self.ids)))}
