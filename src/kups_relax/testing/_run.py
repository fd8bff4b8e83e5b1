"""What all checks share: the potential, the structures, and how far rounding may take numbers."""

import copy
import dataclasses
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kups_relax.data import Structure
from kups_relax.potentials import EnergyModel
from kups_relax.relaxation import Evaluated, evaluate
from kups_relax.testing._report import Finding
from kups_relax.testing._variants import Variant, changed, moved

# The stiffest bonds there are, eV/Angstrom^2: what a rounded coordinate does to a force.
_STIFFEST = 100.0


@dataclasses.dataclass(frozen=True)
class Case:
    """A structure, and what the potential says of it alone."""

    structure: Structure
    here: Evaluated

    @property
    def id(self) -> str:
        """Its label."""
        return self.structure.id

    @property
    def longest(self) -> float:
        """The largest component of a force, eV/Angstrom."""
        return float(np.abs(self.here.forces).max())


@dataclasses.dataclass(frozen=True)
class Run:
    """One call of `check_potential`.

    Attributes:
        potential: What is checked.
        dtype: "float64" or "float32".
        precision: Relative precision that the numbers are expected to have.
        seed: Of all random choices.
        cases: The structures.
        prepared: What was prepared for the references of variants.
    """

    potential: EnergyModel
    dtype: str
    precision: float
    seed: int
    cases: Sequence[Case]
    prepared: dict[Any, Any] = dataclasses.field(default_factory=dict)

    def random(self, name: str) -> np.random.Generator:
        """Return a generator for one check, whatever other checks draw."""
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])

    def evaluate(
        self, structures: Sequence[Structure], dtype: str | None = None
    ) -> list[Evaluated]:
        """Evaluate structures together, by the run's dtype or another."""
        holding = _holding(self.potential, self.prepared)
        return evaluate(holding, structures, dtype=dtype or self.dtype)

    def move(self, case: Case, positions: np.ndarray) -> Structure:
        """Return a case as it is after a short way in a relaxation.

        With the arrays that it started with, if the potential says that these hold always.
        """
        if self.potential.specialize(case.structure).slack is None:
            return moved(case.structure, positions)
        return changed(case.structure, positions)

    def energies(self, structures: Sequence[Structure]) -> np.ndarray:
        """(n,) eV, always in float64: differences of float32 energies say little."""
        return np.array([e.energy for e in self.evaluate(structures, "float64")])

    def energy_tolerance(self, case: Case, reach: float) -> float:
        """How far two evaluations of one energy may be apart, eV.

        Sums in another order differ by their rounding, and coordinates up to `reach` from the
        origin are rounded themselves.
        """
        n = len(case.here.forces)
        coordinates = n * (1 + case.longest) * (20 + reach)
        return self.precision * (200 * abs(case.here.energy) + coordinates)

    def force_tolerance(self, case: Case, reach: float) -> float:
        """How far two evaluations of one force may be apart, eV/Angstrom."""
        return self.precision * (200 * (1 + case.longest) + 4 * _STIFFEST * reach)

    def compare(
        self, case: Case, other: Structure, got: Evaluated, expected: Evaluated
    ) -> Iterator[Finding]:
        """Compare everything that was evaluated for `other` with what follows from the case.

        Args:
            case: The structure as it is.
            other: The same, told differently.
            got: Of `other`.
            expected: What it should be, from that of the case.
        """
        reach = max(np.abs(s.positions).max() for s in (case.structure, other))
        energy, force = self.energy_tolerance(case, reach), self.force_tolerance(case, reach)
        yield Finding(abs(got.energy - expected.energy), energy, "eV", f"{case.id}, energy")
        yield _worst_atom(case, got.forces - expected.forces, force, "eV/Å", "force on")
        if got.energies is not None and expected.energies is not None:
            apart = (got.energies - expected.energies)[:, None]
            yield _worst_atom(case, apart, energy, "eV", "energy of")
        if got.stress is not None and expected.stress is not None:
            # A stress is a sum of forces times lengths, over the volume.
            lengths = case.structure.n_atoms * (1 + reach)
            volume = max(1.0, abs(float(np.linalg.det(case.structure.cell))))
            worst = float(np.abs(got.stress - expected.stress).max())
            yield Finding(worst, force * lengths / volume, "eV/Å^3", f"{case.id}, stress")


def _holding(potential: EnergyModel, prepared: dict[Any, Any]) -> EnergyModel:
    """Return the potential, with a `prepare` that gives variants the arrays of their reference.

    It stays equal to the potential, so that programs compiled for one serve the other.
    """

    def specialize(structure: Structure) -> EnergyModel:
        return _holding(potential.specialize(_reference(structure)), prepared)

    def prepare(structure: Structure) -> Mapping[str, np.ndarray]:
        if not isinstance(structure, Variant):
            return potential.prepare(structure)
        key = (potential, structure.reference)
        if key not in prepared:
            prepared[key] = potential.prepare(structure.reference)
        return prepared[key]

    other = copy.copy(potential)
    object.__setattr__(other, "specialize", specialize)
    object.__setattr__(other, "prepare", prepare)
    return other


def _reference(structure: Structure) -> Structure:
    return structure.reference if isinstance(structure, Variant) else structure


def _worst_atom(case: Case, apart: np.ndarray, tolerance: float, unit: str, what: str) -> Finding:
    by_atom = np.abs(apart).max(axis=1)
    atom = int(np.argmax(by_atom))
    return Finding(float(by_atom[atom]), tolerance, unit, f"{case.id}, {what} atom {atom}")
