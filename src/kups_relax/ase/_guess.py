"""What a guess of the Hessian needs to know of an ASE object."""

import dataclasses
import math
from typing import Any

import ase
import jax
import numpy as np
from ase.filters import FrechetCellFilter, UnitCellFilter

from kups_relax._settings import own
from kups_relax.coordinates import Coordinates, coordinates_of
from kups_relax.coordinates import _cells as cells
from kups_relax.data import Structure
from kups_relax.errors import OptionError, StructureError
from kups_relax.internals import Chart, Guide, guide_of
from kups_relax.relaxation import axis_lengths
from kups_relax.relaxation._classes import SizeClass, atom_capacities
from kups_relax.relaxation._tiles import Block


@dataclasses.dataclass(frozen=True)
class Guess:
    """The chart of one system, and how its coordinates are laid out in it.

    Attributes:
        chart: With one lane, in float64.
        n_internals: Length of the history's rows.
        origin: (n_rows, 3), coordinates of the object where those of the chart are zero.
        perceived: Positions and cell from which it was made; what a restart needs.
    """

    chart: Chart
    n_internals: int
    origin: np.ndarray
    perceived: dict[str, np.ndarray]

    @classmethod
    def of(cls, what: Any, capacity: int | None, perceived: Any = None) -> "Guess":
        """Perceive Atoms, or those in a filter of a cell.

        Args:
            what: What is optimized.
            capacity: Padded number of atoms; None, or too small: the smallest that holds them.
            perceived: Of an earlier run that is taken up; None: as the atoms are now.

        Raises:
            OptionError: It is nothing of these.
        """
        kind = type(what)
        atoms: Any = getattr(what, "atoms", None) if kind in _FILTERS else what
        if not isinstance(atoms, ase.Atoms):
            raise OptionError(
                f"{kind.__name__}: a guess of the Hessian needs Atoms, a FrechetCellFilter or a "
                "UnitCellFilter. Use another optimizer, such as 'lbfgs'."
            )
        moving = kind in _FILTERS
        if perceived is None:
            cell = what.orig_cell if moving else atoms.cell
            positions = what.get_positions()[: len(atoms)]
            perceived = {"positions": np.array(positions), "cell": np.array(cell)}
        structure = Structure(
            id=atoms.get_chemical_formula(),
            numbers=np.asarray(atoms.numbers, np.int32),
            positions=np.asarray(perceived["positions"], np.float64),
            cell=np.asarray(perceived["cell"], np.float64),
            pbc=np.asarray(atoms.pbc, bool),
            atoms=atoms,
        )
        cell = None
        if moving:
            cell = _FILTERS[kind](
                hydrostatic_strain=bool(what.hydrostatic_strain),
                constant_volume=bool(what.constant_volume),
            )
        try:
            coordinates, moves = coordinates_of(structure, cell)
        except StructureError:
            # ASE honours constraints that we do not know; the guess does without.
            coordinates, moves = Coordinates(cell and cell.form), {}
        guide, arrays = guide_of(structure, coordinates, moves)
        if capacity is None or capacity < len(atoms):
            capacity = next(c for c in atom_capacities() if c >= len(atoms))
        terms, size = _laid_out(guide, arrays, len(atoms), capacity)
        factor = mask = None
        origin = np.zeros((len(atoms) + 3 * moving, 3))
        if moving:
            scale, origin[-3:] = _scale(what)
            with own("float64"):
                factor = jax.device_put(np.array([float(scale)]))
                mask = jax.device_put(np.asarray(what.mask, np.float64)[..., None])
        return cls(
            chart=Chart(guide=guide, terms=terms, factor=factor, mask=mask),
            n_internals=guide.n_internals(dict(size.capacities)),
            origin=origin,
            perceived=perceived,
        )


def _scale(what: Any) -> tuple[float, np.ndarray]:
    """What a filter multiplies the rows of its cell by, and what these are without strain.

    A FrechetCellFilter has the logarithm of a deformation that is multiplied by another factor.
    """
    one = np.eye(3)
    if isinstance(what, FrechetCellFilter):
        factor = float(what.exp_cell_factor)
        return factor, factor * math.log(what.cell_factor) * one
    return float(what.cell_factor), float(what.cell_factor) * one


_FILTERS = {FrechetCellFilter: cells.FrechetCell, UnitCellFilter: cells.UnitCell}


def _laid_out(guide: Guide, arrays: Any, n_atoms: int, capacity: int) -> tuple[Any, SizeClass]:
    size = SizeClass(capacity, 1).joined(guide.capacities(capacity, axis_lengths(guide, arrays)))
    block = Block(guide.fields(), size, np.dtype(np.float64))
    block.put(0, n_atoms, arrays)
    with own("float64"):
        return block.on_device(), size
