"""How a cell may change, and what it is judged by: the options of users, and their mathematics.

The deformation F takes the cell at the start, and all that is in it, to the cell of the moment:
cell = cell0 @ F.T, atoms x = u @ F.T. What the optimizer moves are the atoms' u, and three rows for
the cell, of which F is a function.
"""

import abc
import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from kups_relax._checks import FLAG, POSITIVE, Number, settle
from kups_relax._options import build, did_you_mean
from kups_relax.errors import OptionError, shown
from kups_relax.ops import matrices as m

# 1 eV/Angstrom^3 in GPa (CODATA 2018, by which 1 e is 1.602176634e-19 C exactly).
_GPA = 160.2176634

_COMPONENTS = ("xx", "yy", "zz", "yz", "xz", "xy")


def gpa(pressure: float) -> float:
    """Convert a pressure from GPa to eV/Angstrom^3.

    Raises:
        OptionError: It is no finite number.

    Example:
        >>> round(gpa(160.2176634), 12)
        1.0
    """
    return Number()("pressure", pressure) / _GPA


@dataclasses.dataclass(frozen=True)
class VariableCell(abc.ABC):
    """Relax the cell together with the atoms.

    What is minimised is the enthalpy, energy + pressure * volume. The three rows of the cell are
    judged with the atoms, as ASE's filters do: all of them have to fall below `fmax`.

    Attributes:
        pressure: eV/Angstrom^3, see `gpa`, or text such as "5GPa"; positive pressure compresses.
            Asks for structures that are periodic along all axes.
        mask: Which components of the strain may change: six (xx, yy, zz, yz, xz, xy) or 3 x 3,
            True or False; or the names of those that may, "xx+yy+xy". None: all.
        hydrostatic_strain: Whether the cell may change its volume only, not its shape.
        constant_volume: Whether the cell may change its shape only. `UnitCell` keeps the volume to
            first order of the strain, as ASE does; `FrechetCell` keeps it. With a mask, the
            components that may change share the volume; ASE's filters move others too.
        cell_factor: What the rows of the cell are multiplied by, so that they are on the scale of
            the atoms'. None: the number of atoms.
        smax: Threshold for the stress, eV/Angstrom^3: the largest component, by its absolute
            value, of what is left of it after pressure and mask. The cell is then judged by this
            alone, and the atoms by `fmax`. None: the rows of the cell are judged by `fmax` too.
        max_strain: The longest change of a lattice vector in one step, as a fraction of its
            length. A step that would change one by more is shortened as a whole.
    """

    pressure: Any = 0.0
    mask: Any = None
    hydrostatic_strain: bool = False
    constant_volume: bool = False
    cell_factor: float | None = None
    smax: float | None = None
    max_strain: float = 0.1

    name: ClassVar[str]

    def __post_init__(self) -> None:
        kind = type(self).__name__
        settle(
            self,
            f"{kind}: ",
            hydrostatic_strain=FLAG,
            constant_volume=FLAG,
            cell_factor=Number(above=0, none=True),
            smax=Number(above=0, none=True),
            max_strain=POSITIVE,
        )
        object.__setattr__(self, "pressure", _pressure(kind, self.pressure))
        object.__setattr__(self, "mask", _mask(kind, self.mask))
        if self.hydrostatic_strain and self.constant_volume:
            raise OptionError(
                f"{kind}: hydrostatic_strain and constant_volume leave nothing to change. Set one."
            )
        if self.coupled and self.mask is not None:
            _check_coupled(kind, _matrix(self.mask), self.hydrostatic_strain)

    @property
    def form(self) -> "VariableCell":
        """What programs depend on; the rest is data."""
        return type(self)(
            hydrostatic_strain=self.hydrostatic_strain, constant_volume=self.constant_volume
        )

    def arrays(self, n_atoms: int) -> Mapping[str, np.ndarray]:
        """Say all that is data, for a structure of so many atoms."""
        mask = (True,) * 6 if self.mask is None else self.mask
        return {
            "pressure": np.array(self.pressure),
            "mask": _matrix(mask),
            "factor": np.array(self.cell_factor or n_atoms, np.float64),
            "smax": np.array(np.nan if self.smax is None else self.smax),
            "max_strain": np.array(self.max_strain),
        }

    @abc.abstractmethod
    def deformation(self, rows: jax.Array) -> jax.Array:
        """F - 1 of the cell's coordinates, (3, 3, L) both, before the mask."""

    @abc.abstractmethod
    def pulled_back(self, rows: jax.Array, slope: jax.Array) -> jax.Array:
        """The derivative by the cell's coordinates, from that by F, (3, 3, L) each."""

    @property
    def coupled(self) -> bool:
        """True if an option couples components of the strain: hydrostatic or constant volume."""
        return self.hydrostatic_strain or self.constant_volume

    def allowed(self, strain: jax.Array, mask: jax.Array) -> jax.Array:
        """Project a strain, or a derivative by it, onto what may change: orthogonally.

        Args:
            strain: (3, 3, ..., L).
            mask: (3, 3, L), 1 where a component may change, else 0.
        """
        mask = mask.reshape(3, 3, *(1,) * (strain.ndim - mask.ndim), -1)
        strain = strain * mask
        if not self.coupled:
            return strain
        one = jnp.eye(3, dtype=strain.dtype).reshape(3, 3, *(1,) * (strain.ndim - 2))
        stretch = one * mask * (m.trace(strain) / jnp.maximum(m.trace(mask), 1.0))
        return stretch if self.hydrostatic_strain else strain - stretch


@dataclasses.dataclass(frozen=True)
class FrechetCell(VariableCell):
    """Relax the cell along the logarithm of its deformation: ASE's `FrechetCellFilter`.

    Steps are those of ASE's filter, whose `exp_cell_factor` is our `cell_factor`. The gradient is
    the total one, through the derivative of the matrix exponential. A mask whose components do
    not stand for a group of deformations (say, xy alone) is where ASE's gradient is not total,
    and where steps differ from ASE's in second order of the strain.

    See `VariableCell` for the options.

    References:
        ASE 3.29, `ase.filters.FrechetCellFilter`.

    Example:
        >>> FrechetCell(pressure=gpa(5), mask=[1, 1, 0, 0, 0, 1]).mask
        (True, True, False, False, False, True)
    """

    name: ClassVar[str] = "frechet"

    def deformation(self, rows: jax.Array) -> jax.Array:
        """See `VariableCell.deformation`."""
        return m.expm1(rows)

    def pulled_back(self, rows: jax.Array, slope: jax.Array) -> jax.Array:
        """See `VariableCell.pulled_back`."""
        return m.expm1_and_derivative(m.transpose(rows), slope)[1]


@dataclasses.dataclass(frozen=True)
class UnitCell(VariableCell):
    """Relax the cell along its deformation: ASE's `UnitCellFilter`.

    See `VariableCell` for the options.

    References:
        Tadmor, Smith, Bernstein and Kaxiras, Phys. Rev. B 1999, 59, 235,
        doi:10.1103/PhysRevB.59.235.
    """

    name: ClassVar[str] = "unit"

    def deformation(self, rows: jax.Array) -> jax.Array:
        """See `VariableCell.deformation`."""
        return rows

    def pulled_back(self, rows: jax.Array, slope: jax.Array) -> jax.Array:
        """See `VariableCell.pulled_back`."""
        del rows
        return slope


def _pressure(kind: str, given: Any) -> float:
    try:
        if not isinstance(given, str):
            return Number()("pressure", given)
        in_gpa = given.lower().endswith("gpa")
        value = float(given[:-3]) if in_gpa else float(given)
        return Number()("pressure", gpa(value) if in_gpa else value)
    except ValueError:
        raise OptionError(
            f"{kind}: pressure is {shown(given)}; expected a finite number in eV/Angstrom^3, or "
            "text such as '5GPa'."
        ) from None


def _mask(kind: str, given: Any) -> Any:
    """Make a mask a value that can be hashed."""
    if given is None:
        return None
    mask = np.zeros(0)
    if isinstance(given, str):
        named = given.lower().split("+")
        if set(named) <= set(_COMPONENTS):
            mask = np.isin(_COMPONENTS, named)
    else:
        with contextlib.suppress(Exception):  # whatever an object of the user's own raises
            mask = np.asarray(given)
    numbers = mask.dtype.kind in "biuf" and mask.shape in ((6,), (3, 3))
    if not numbers or not np.isin(mask, (0, 1)).all():
        raise OptionError(
            f"{kind}: mask is {shown(given)}; expected six values (xx, yy, zz, yz, xz, xy) or "
            "3 x 3, each True or False, or names of components such as 'xx+yy+xy'."
        )
    values = mask.astype(bool).tolist()
    return tuple(map(tuple, values)) if mask.ndim == 2 else tuple(values)


def _matrix(mask: Any) -> np.ndarray:
    """(3, 3) float64 of a mask that `_mask` made."""
    matrix = np.asarray(mask, np.float64)
    return matrix if matrix.ndim == 2 else matrix[[[0, 5, 4], [5, 1, 3], [4, 3, 2]]]


def _check_coupled(kind: str, mask: np.ndarray, hydrostatic: bool) -> None:
    """Refuse masks that leave no strain, or none that keeps the volume."""
    n_stretches = int(np.trace(mask))
    if hydrostatic and not n_stretches:
        raise OptionError(
            f"{kind}: hydrostatic_strain and a mask without xx, yy and zz leave nothing to change. "
            "Let one of these change."
        )
    if hydrostatic:
        return
    if mask.sum() == n_stretches <= 1:
        raise OptionError(
            f"{kind}: constant_volume and this mask leave nothing to change. Let more components "
            "change."
        )
    # Products of such deformations have to be such deformations: else log F is not masked like F.
    if ((mask @ mask > 0) > mask).any():
        raise OptionError(
            f"{kind}: no finite strain of this mask keeps the volume: a shear stretches the "
            "directions that it mixes. Let these change too, such as 'xx+yy+xy', or leave the "
            "volume free."
        )


NAMED: dict[str, type[VariableCell]] = {cell.name: cell for cell in (FrechetCell, UnitCell)}


def get(cell: Any) -> VariableCell | None:
    """Return what a name stands for; None stays None, and cells stay what they are.

    Args:
        cell: None, a `VariableCell`, or "name" or "name:key=value,key=value", e.g.
            "frechet:pressure=5GPa,mask=xx+yy+xy".

    Raises:
        OptionError: It is nothing of these.
    """
    if cell is None or isinstance(cell, VariableCell):
        return cell
    if isinstance(cell, str):
        name, _, options = cell.partition(":")
        if name in NAMED:
            return build(NAMED[name], name, options)
    raise OptionError(
        f"cell is {shown(cell)}; expected one of {', '.join(map(repr, NAMED))}, with options if "
        "you like ('frechet:pressure=5GPa'); in Python also a FrechetCell, a UnitCell, or None: "
        f"cells do not change.{did_you_mean(cell, NAMED) if isinstance(cell, str) else ''}"
    )


def relative_strain(cell: jax.Array, reference: jax.Array, inverse: jax.Array) -> jax.Array:
    """(3, 3, L) E of cell = reference @ (1 + E)."""
    return m.multiply(inverse, cell - reference)


def shrinkage(strain: jax.Array) -> jax.Array:
    """(L,) at most by which fraction a strain E (3, 3, L) makes any vector v shorter, v (1 + E).

    |v (1 + E)|^2 is v (1 + S) v + |v E|^2 with S = E + E^T, whose smallest eigenvalue is bounded by
    Gershgorin's circles. Rotations and stretches make none shorter.
    """
    both = strain + m.transpose(strain)
    rows = [both[i, i] - (jnp.abs(both[i, i - 1]) + jnp.abs(both[i, i - 2])) for i in range(3)]
    lowest = jnp.minimum(jnp.minimum(rows[0], rows[1]), rows[2])
    return 1.0 - jnp.sqrt(jnp.clip(1.0 + lowest, 0.0, 1.0))


def longest_change(before: jax.Array, after: jax.Array) -> jax.Array:
    """(L,) the largest change of a lattice vector, as a fraction of its length."""
    return jnp.max(m.row_norms(after - before) / m.row_norms(before), axis=0)
