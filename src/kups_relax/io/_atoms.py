"""From a structure and its results to ASE."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kups_relax.data._structure import Structure
from kups_relax.io._entries import label as label

if TYPE_CHECKING:
    import ase


def to_atoms(
    structure: Structure,
    positions: Any,
    cell: Any = None,
    energy: float | None = None,
    forces: Any = None,
    stress: Any = None,
    free_energy: float | None = None,
    info: Mapping[str, Any] | None = None,
) -> "ase.Atoms":
    """Put a new geometry and its results into a copy of the atoms that were read.

    Tags, info, charges, masses, momenta, other arrays and constraints are those of
    `structure.atoms`, which is left as it is. Constraints do not act on the new coordinates.

    Args:
        structure: What was read.
        positions: (n_atoms, 3), Angstrom.
        cell: (3, 3), rows are lattice vectors, Angstrom; None keeps the structure's.
        energy: eV.
        forces: (n_atoms, 3), eV/Angstrom.
        stress: (6,) in Voigt order xx, yy, zz, yz, xz, xy, or (3, 3); eV/Angstrom^3, ASE's sign.
        free_energy: eV, what the forces are the slope of; None: the energy.
        info: Entries that are added to `atoms.info`.

    Returns:
        Atoms with float64 coordinates, `info["id"]`, and a `SinglePointCalculator` that holds
        what was given.

    Example:
        >>> import numpy as np
        >>> from kups_relax.data._structure import Structure
        >>> he = Structure(id="he", numbers=np.array([2], np.int32), positions=np.zeros((1, 3)))
        >>> to_atoms(he, [[0.0, 0.0, 1.0]], energy=-0.5).get_potential_energy()
        -0.5
    """
    from ase import Atoms

    if structure.atoms is None:
        atoms = Atoms(numbers=structure.numbers, cell=structure.cell, pbc=structure.pbc)
        if structure.charge is not None:
            atoms.info["charge"] = structure.charge
    else:
        atoms = structure.atoms.copy()
    if cell is not None:
        atoms.set_cell(np.asarray(cell, np.float64), scale_atoms=False, apply_constraint=False)
    atoms.set_positions(np.asarray(positions, np.float64), apply_constraint=False)
    label(atoms, structure.id)
    atoms.info.update(info or {})
    attach(atoms, energy, forces, stress, free_energy)
    return atoms


def attach(
    atoms: "ase.Atoms",
    energy: float | None,
    forces: Any = None,
    stress: Any = None,
    free_energy: float | None = None,
) -> None:
    """Give atoms a `SinglePointCalculator` with what is known; see `to_atoms` for units."""
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.stress import full_3x3_to_voigt_6_stress

    results: dict[str, Any] = {}
    if energy is not None:
        results["energy"] = float(energy)
        results["free_energy"] = float(energy if free_energy is None else free_energy)
    if forces is not None:
        results["forces"] = np.array(forces, np.float64)
    if stress is not None:
        stress = np.array(stress, np.float64)
        results["stress"] = full_3x3_to_voigt_6_stress(stress) if stress.ndim == 2 else stress
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
