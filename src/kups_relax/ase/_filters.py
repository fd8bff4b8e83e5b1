"""Keep in steps what ASE's cell filters and FixSymmetry hold in forces."""

from typing import Any

import numpy as np
from ase.constraints import FixSymmetry
from ase.filters import UnitCellFilter


def cell_rows(what: Any) -> int:
    """Number of rows, the last ones of the coordinates, that are of a cell."""
    return 3 if isinstance(what, UnitCellFilter) else 0


def allowed_step(what: Any, step: np.ndarray) -> np.ndarray:
    """Project a step onto what a filter lets change.

    ASE's filters hold the volume, or the shape, of the forces alone: what an optimizer makes of
    them need not keep it. A FixSymmetry holds the cell to first order of a step.

    Args:
        what: What is optimized: Atoms, a filter, or anything else.
        step: (n,) of its coordinates.

    Returns:
        The step; itself where nothing couples components of the strain.
    """
    if not cell_rows(what):
        return step
    symmetries = [c for c in what.atoms.constraints if isinstance(c, FixSymmetry)]
    coupled = what.hydrostatic_strain or what.constant_volume
    if not (coupled or symmetries):
        return step
    rows = step.reshape(-1, 3).copy()
    for constraint in symmetries:
        cell = np.asarray(what.orig_cell)
        turns = np.linalg.solve(cell, constraint.rotations.transpose(0, 2, 1) @ cell)
        rows[-3:] = np.mean(turns.transpose(0, 2, 1) @ rows[-3:] @ turns, axis=0)
    if coupled:
        mask = np.asarray(what.mask, np.float64)
        strain = rows[-3:] * mask
        stretch = np.diag(np.diag(mask)) * (np.trace(strain) / max(np.trace(mask), 1.0))
        rows[-3:] = stretch if what.hydrostatic_strain else strain - stretch
    return rows.reshape(-1)
