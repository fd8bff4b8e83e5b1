"""Our potentials as ASE calculators."""

import weakref
from typing import Any, ClassVar

from ase.calculators.calculator import (
    Calculator,
    CalculatorSetupError,
    Parameters,
    PropertyNotImplementedError,
    all_changes,
)
from ase.stress import full_3x3_to_voigt_6_stress

from kups_relax import potentials
from kups_relax._checks import DTYPE
from kups_relax._log import log
from kups_relax._settings import check_environment, own
from kups_relax.data import Structure
from kups_relax.errors import StructureError
from kups_relax.io._entries import entry_from_atoms, formula_of, label_in
from kups_relax.relaxation import SinglePoints


class JaxCalculator(Calculator):
    """Calculate with any of our potentials, as `relax` does.

    Energy, free energy (the same, but for calculators that tell another) and forces come from every
    potential; stress and the energies
    of atoms from those that have them: a property that is missing for a structure raises
    PropertyNotImplementedError. All that a potential has is computed in one call and kept, so
    asking again costs nothing. Moving atoms compiles nothing, nor does another structure of the
    same size class; lists of neighbours are made anew when atoms have used up the potential's
    skin, or the cell has changed.

    With a potential of this package, numbers for a geometry are those that `relax` has there, to
    the bit, in either dtype: evaluation is a program part of its own, which the compiler cannot
    merge with anything. A model that is not rounded operation by operation (`GraphModel`) gives
    the same bits where its lists have the same size class. In float64 a run of
    `kups_relax.ase.LBFGS` takes the steps of `relax`.

    A potential that needs bonds (`MMFF94`) looks for them when it first meets an `Atoms` object,
    and keeps them while that object's atoms move, as a force field should; `reset()` has it look
    again.

    Args:
        potential: A potential, or its name: `kups_relax.potentials`.
        dtype: "float64" or "float32", whatever JAX's global setting.
        **kwargs: `label`, `directory`, `atoms`, as in ASE.

    Attributes:
        potential: As given.
        dtype: As given.
        atom_capacity: Atoms that the tile has room for; None before the first calculation.

    Raises:
        OptionError: There is no such potential or dtype.

    Example:
        >>> from ase.build import bulk
        >>> import kups_relax as kr
        >>> atoms = bulk("Ar", a=5.26)
        >>> atoms.calc = kr.ase.JaxCalculator(kr.potentials.LennardJones(0.0104, 3.4, cutoff=12))
        >>> print(f"{atoms.get_potential_energy():.4f} eV")
        -0.0853 eV
    """

    implemented_properties: ClassVar[list[str]] = [  # pyright: ignore
        "energy", "free_energy", "forces", "stress", "energies"
    ]  # fmt: skip
    ignored_changes: ClassVar[set[str]] = {"initial_magmoms"}  # pyright: ignore

    def __init__(self, potential: Any, dtype: str = "float64", **kwargs: Any) -> None:
        check_environment()
        with own():
            self.potential = potentials.get(potential)
        self.dtype = dtype = DTYPE("dtype", dtype)
        self._points = SinglePoints(self.potential, dtype)
        self._seen: weakref.ref[Any] | None = None
        self._said: set[str] = set()
        super().__init__(**kwargs)
        self.parameters = Parameters(self.potential.describe(), dtype=dtype)

    @property
    def name(self) -> str:
        """The potential's."""
        return self.potential.name

    @property
    def atom_capacity(self) -> int | None:
        """Atoms that the tile has room for; None before the first calculation."""
        return self._points.atom_capacity

    def __getstate__(self) -> dict[str, Any]:
        # A copy prepares for itself.
        return {**self.__dict__, "_points": None, "_seen": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._points = SinglePoints(self.potential, self.dtype)

    def reset(self) -> None:
        """Forget results, and what was prepared for the atoms."""
        super().reset()
        self._seen = None

    def calculate(
        self,
        atoms: Any = None,
        properties: Any = ("energy",),
        system_changes: Any = all_changes,
    ) -> None:
        """Calculate everything that the potential has. Called by ASE.

        Raises:
            CalculatorSetupError: There are no atoms.
            StructureError: The structure makes no sense.
            PotentialError: The potential cannot describe the structure.
            PropertyNotImplementedError: It does not have a property for it.
        """
        super().calculate(atoms, properties, system_changes)
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise CalculatorSetupError("there are no atoms. Set atoms.calc, or pass atoms.")
        label = label_in(atoms.info) or formula_of(atoms.numbers) or "structure"
        entry = entry_from_atoms(atoms.copy(), label)
        if not isinstance(entry, Structure):
            raise StructureError(f"{entry} ({self._label()} was asked for it.)")
        entry.check_resolution(self.dtype)
        moved = self._seen is not None and self._seen() is atoms
        got = self._points.evaluate(entry, moved=moved)
        if not moved:
            self._warn(entry)
        self._seen = weakref.ref(atoms)
        free_energy = got.energy if got.free_energy is None else got.free_energy
        self.results = {"energy": got.energy, "free_energy": free_energy, "forces": got.forces}
        if got.energies is not None:
            self.results["energies"] = got.energies
        if got.stress is not None:
            self.results["stress"] = full_3x3_to_voigt_6_stress(got.stress)
        missing = [name for name in properties if name not in self.results]
        if missing:
            raise PropertyNotImplementedError(self._missing(missing[0], entry))

    def _warn(self, structure: Structure) -> None:
        text = self.potential.caution(structure)
        if text is not None and text not in self._said:
            self._said.add(text)
            log.warning("%s: %s", structure.id, text)

    def _missing(self, name: str, structure: Structure) -> str:
        message = f"structure {structure.id!r}: {self._label()} gives no {name}"
        if name not in self.implemented_properties:
            return f"{message}; it gives {', '.join(self.results)}."
        if name == "stress" and not structure.pbc.any():
            return f"{message} of a structure that is not periodic."
        return f"{message} of this structure; it gives {', '.join(self.results)}."

    def _label(self) -> str:
        return f"JaxCalculator of {self.name}"
