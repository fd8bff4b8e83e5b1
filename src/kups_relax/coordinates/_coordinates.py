"""What of a structure moves: its atoms, its cell, and what constraints keep in place.

The optimizer moves x, (3, rows, L): the atoms' u in the undeformed cell, and, where the cell
changes, three more rows for it, as in ASE's filters. `Coordinates` turns x into a geometry, what a
potential gives into forces on x, and a step of the optimizer into one that is allowed.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kups_relax._tree import dataclass
from kups_relax.coordinates import _held as held
from kups_relax.coordinates._cells import VariableCell, longest_change, relative_strain
from kups_relax.coordinates._constraints import held_by
from kups_relax.coordinates._fix_symmetry import means
from kups_relax.data import Field, Structure, Terms
from kups_relax.errors import StructureError
from kups_relax.ops import fold
from kups_relax.ops import matrices as m

# A cell whose volume has changed by more than this factor since the start has exploded, or
# collapsed.
MAX_VOLUME_RATIO = 10.0

# Steps are not shortened to less than this.
_SMALLEST_SHARE = 1e-15

_CELL_FIELDS = {
    "pressure": Field(()),
    "mask": Field((3, 3)),
    "factor": Field(()),
    "smax": Field(()),
    "max_strain": Field(()),
}


@dataclass
class Geometry:
    """Where atoms and lattice vectors are.

    Attributes:
        positions: (3, A, L), Angstrom.
        cell: (3, 3, L), cell[i, :, lane] is lattice vector i.
    """

    positions: jax.Array
    cell: jax.Array


@dataclass
class Pull:
    """What drives a structure, and what it is judged by.

    Attributes:
        forces: (3, rows, L) on x; zero where nothing may move.
        value: (L,) what they are the slope of, eV: the energy, or the enthalpy where the cell
            changes.
        fmax: (L,) the longest row that is judged, eV/Angstrom.
        residual: (L,) the largest component of the stress that is left, eV/Angstrom^3, where the
            cell is judged by it; else 0.
        smax: (L,) its threshold; infinite where there is none.
    """

    forces: jax.Array
    value: jax.Array
    fmax: jax.Array
    residual: jax.Array
    smax: jax.Array


@dataclasses.dataclass(frozen=True)
class Coordinates:
    """What moves, and how. A value: programs depend on it; what differs by structure is data.

    Attributes:
        cell: How the cell changes; None: it does not.
        held: Kinds of constraints, see `_held.FIELDS`.
    """

    cell: VariableCell | None = None
    held: tuple[str, ...] = ()

    @property
    def free(self) -> bool:
        """Whether x is the atoms' positions, and nothing holds them."""
        return self.cell is None and not self.held

    def fields(self) -> Mapping[str, Field]:
        """Say how the arrays of `coordinates_of` are laid out."""
        fields = dict(_CELL_FIELDS) if self.cell else {}
        for kind in self.held:
            fields |= held.FIELDS[kind]
        return fields

    def n_rows(self, n_atoms: int) -> int:
        """Rows of x, for an atom capacity."""
        return n_atoms + (3 if self.cell else 0)

    def start(self, geometry: Geometry) -> jax.Array:
        """The x of structures as they were read."""
        if self.cell is None:
            return geometry.positions
        return jnp.concatenate([geometry.positions, jnp.zeros_like(geometry.cell)], axis=1)

    def pull(
        self,
        x: jax.Array,
        here: Geometry,
        start: jax.Array,
        energy: jax.Array,
        forces: jax.Array,
        stress: jax.Array | None,
        terms: Terms | None,
    ) -> Pull:
        """Turn forces on atoms and stress into forces on x.

        Args:
            x: (3, rows, L).
            here: The geometry that it stands for.
            start: (3, 3, L), the cell at the start.
            energy: (L,), eV.
            forces: (3, A, L), eV/Angstrom.
            stress: (3, 3, L), eV/Angstrom^3; needed where the cell changes.
            terms: The arrays of `coordinates_of`; None where all is free.
        """
        nothing = jnp.zeros_like(forces[0, 0])
        smax = jnp.full_like(nothing, jnp.inf)
        if terms is None:
            return Pull(
                forces=forces, value=energy, fmax=_longest(forces), residual=nothing, smax=smax
            )
        if "cartesian" in self.held:
            forces = held.project_forces(forces, terms["cartesian"])
        if self.cell is None:
            forces = self._held_forces(forces, terms)
            return Pull(
                forces=forces, value=energy, fmax=_longest(forces), residual=nothing, smax=smax
            )
        assert stress is not None
        strain = m.transpose(relative_strain(here.cell, start, m.inverse(start)))
        forces = self._held_forces(forces + _times(forces, strain), terms)
        on_cell, residual = self._on_cell(x, strain, here, stress, terms)
        longest = _longest(on_cell)
        own = terms["smax"] >= 0
        fmax = jnp.maximum(_longest(forces), jnp.where(own, nothing, longest))
        return Pull(
            forces=jnp.concatenate([forces, on_cell], axis=1),
            value=energy + terms["pressure"] * jnp.abs(m.determinant(here.cell)),
            # NaN in what is not judged is NaN all the same.
            fmax=jnp.where(jnp.isfinite(longest), fmax, jnp.nan),
            residual=jnp.where(own, residual, nothing),
            smax=jnp.where(own, terms["smax"], smax),
        )

    def move(
        self, x: jax.Array, step: jax.Array, here: Geometry, start: jax.Array, terms: Terms | None
    ) -> tuple[jax.Array, Geometry, jax.Array]:
        """Take what is allowed of a step.

        Args:
            x: (3, rows, L).
            step: The optimizer's.
            here: The geometry that x stands for.
            start: (3, 3, L), the cell at the start.
            terms: As for `pull`.

        Returns:
            The next x, its geometry, and (L,) bool: whether its cell is still a sane one.
        """
        sane = jnp.ones(x.shape[-1:], bool)
        if terms is None:
            x = x + step
            return x, Geometry(positions=x, cell=here.cell), sane
        if self.cell is None:
            x = x + self._held_step(step, terms)
            return x, Geometry(positions=x, cell=here.cell), sane
        step = jnp.concatenate(
            [self._held_step(step[:, :-3], terms), self._held_cell(step[:, -3:], terms)], axis=1
        )
        factor, strain = self._bounded(x[:, -3:], step[:, -3:], here.cell, start, terms)
        there = x + step * factor
        if "cartesian" in self.held:
            moved = self._held_in_frame(there[:, :-3] - x[:, :-3], strain, terms["cartesian"])
            there = jnp.concatenate([x[:, :-3] + moved, there[:, -3:]], axis=1)
        atoms = there[:, :-3]
        cell = _deformed(start, strain)
        ratio = jnp.abs(m.determinant(cell) / m.determinant(start))
        sane = (ratio < MAX_VOLUME_RATIO) & (ratio > 1 / MAX_VOLUME_RATIO)
        positions = atoms + _times(atoms, m.transpose(strain))
        return there, Geometry(positions=positions, cell=cell), sane

    def _on_cell(
        self, x: jax.Array, strain: jax.Array, here: Geometry, stress: jax.Array, terms: Terms
    ) -> tuple[jax.Array, jax.Array]:
        """The rows of the cell in the forces, (3, 3, L), and the stress that is left, (L,)."""
        assert self.cell is not None
        one, mask = m.identity(strain), terms["mask"]
        total = (stress + m.transpose(stress)) * 0.5 + one * terms["pressure"]
        volume = jnp.abs(m.determinant(here.cell))
        slope = m.multiply(total * -volume, m.transpose(m.inverse(one + strain)))
        rows = m.transpose(x[:, -3:]) / terms["factor"]
        slope = self.cell.pulled_back(rows, slope * mask)
        if self.cell.coupled:
            slope = self.cell.allowed(slope, mask)
        slope = slope / terms["factor"]
        left = self.cell.allowed(total, mask)
        if "symmetry" in self.held:
            slope = held.symmetrize_matrix(slope, terms)
            left = held.symmetrize_matrix(left, terms)
        return m.transpose(slope), jnp.max(jnp.abs(left), axis=(0, 1))

    def _bounded(
        self, x: jax.Array, step: jax.Array, cell: jax.Array, start: jax.Array, terms: Terms
    ) -> tuple[jax.Array, jax.Array]:
        """How much of a step of the cell's rows can be taken, (L,), and the strain it leads to."""
        variable, limit = self.cell, terms["max_strain"]
        assert variable is not None

        def shorten(carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            factor, *_ = carry
            rows = m.transpose(x + step * factor) / terms["factor"]
            strain = variable.deformation(rows) * terms["mask"]
            ratio = longest_change(cell, _deformed(start, strain))
            # A cell that is not where x says is too far whatever the step.
            too_far = (ratio > limit) & (factor > _SMALLEST_SHARE)
            # A little more than to the limit, so that few need it twice.
            less = jnp.clip(limit / ratio * 0.95, 0.1, 0.95)
            return jnp.where(too_far, factor * less, factor), strain, jnp.any(too_far)

        carry = (jnp.ones_like(limit), jnp.zeros_like(cell), jnp.array(True))
        factor, strain, _ = lax.while_loop(lambda carry: carry[2], shorten, carry)
        return factor, strain

    def _held_forces(self, forces: jax.Array, terms: Terms) -> jax.Array:
        if "scaled" in self.held:
            forces = held.project_forces(forces, terms["scaled"])
        if "com" in self.held:
            forces = held.fix_com_of_forces(forces, terms["mass"])
        if "symmetry" in self.held:
            forces = held.symmetrize_vectors(forces, terms)
        return forces

    def _held_step(self, step: jax.Array, terms: Terms) -> jax.Array:
        if "scaled" in self.held:
            step = held.project_step(step, terms["scaled"])
        if "com" in self.held:
            step = held.fix_com_of_step(step, terms["mass"])
        if "symmetry" in self.held:
            step = held.symmetrize_vectors(step, terms)
        return step

    def _held_cell(self, step: jax.Array, terms: Terms) -> jax.Array:
        assert self.cell is not None
        if "symmetry" in self.held:
            step = held.symmetrize_matrix(step, terms)
        if self.cell.coupled:
            # Optimizers whose steps are no sums of gradients leave what gradients have in common.
            step = m.transpose(self.cell.allowed(m.transpose(step), terms["mask"]))
        return step

    @staticmethod
    def _held_in_frame(step: jax.Array, strain: jax.Array, projection: jax.Array) -> jax.Array:
        """Project a step of u where its image in the frame of the moment is held."""
        one = m.identity(strain)
        moved = held.project_step(step + _times(step, m.transpose(strain)), projection)
        back = _times(moved, m.transpose(m.inverse(one + strain)))
        free = jnp.all(projection == one[:, :, None], axis=(0, 1))
        return jnp.where(free, step, back)


# Atoms move, cells do not, nothing is held.
FREE = Coordinates()


def coordinates_of(
    structure: Structure, cell: VariableCell | None
) -> tuple[Coordinates, Mapping[str, np.ndarray]]:
    """Say what of a structure moves.

    Args:
        structure: Any. One that is periodic along no axis keeps its cell.
        cell: How cells may change; None: they do not.

    Returns:
        The coordinates, and the arrays that are this structure's.

    Raises:
        StructureError: Its constraints cannot be honoured, or its cell cannot change so.
    """
    if cell is not None and not structure.pbc.any():
        cell = None
    constraints = held_by(structure, moving_cell=cell is not None)
    arrays = dict(constraints.arrays)
    if cell is not None:
        _check(structure, cell)
        arrays |= cell.arrays(structure.n_atoms)
    if "symmetry" in constraints.kinds:
        rotation = arrays.pop("rotation")
        if cell is not None:
            _check_mask(structure, cell, rotation.transpose(2, 0, 1))
        arrays |= means(rotation, arrays["source"])
    return Coordinates(cell and cell.form, constraints.kinds), arrays


def _check(structure: Structure, cell: VariableCell) -> None:
    if abs(np.linalg.det(structure.cell)) == 0:
        raise StructureError(
            f"{structure.id!r}: pbc is {structure.pbc.tolist()} and the cell has no volume, so it "
            "has no stress to relax. Give it a vector along each axis, such as "
            "atoms.center(vacuum=10, axis=2), or relax with cell=None."
        )
    if cell.pressure and not structure.pbc.all():
        raise StructureError(
            f"{structure.id!r}: pbc is {structure.pbc.tolist()}, and a pressure would act on the "
            "vacuum of the other axes. Relax it with pressure=0."
        )


def _check_mask(structure: Structure, cell: VariableCell, rotation: np.ndarray) -> None:
    """Refuse a mask that lets the cell change in some direction, and not in an equal one."""

    def symmetric(strain: np.ndarray) -> np.ndarray:
        return np.mean(rotation @ strain @ rotation.transpose(0, 2, 1), axis=0)

    # One strain of all components tells.
    masked = cell.arrays(1)["mask"] * symmetric(np.diag([1.0, 2.0, 4.0]) + 0.5)
    if np.abs(symmetric(masked) - masked).max() > 1e-10:
        raise StructureError(
            f"{structure.id!r}: the mask {cell.mask} and FixSymmetry cannot be kept together: the "
            "symmetry makes strains equal of which only some may change. Choose a mask that has "
            "the symmetry, or remove the constraint."
        )


def _longest(forces: jax.Array) -> jax.Array:
    """(L,) the longest row."""
    return jnp.sqrt(jnp.max(fold(forces * forces), axis=0))


def _times(rows: jax.Array, matrix: jax.Array) -> jax.Array:
    """Multiply (3, A, L) rows by a (3, 3, L) matrix: row_j = sum_k row_k matrix_kj."""
    return held.project_step(rows, matrix[:, :, None])


def _deformed(start: jax.Array, strain: jax.Array) -> jax.Array:
    """The cell that a deformation makes of the cell at the start."""
    return start + m.multiply(start, m.transpose(strain))
