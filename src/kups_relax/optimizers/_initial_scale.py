"""The initial inverse Hessian of L-BFGS: one scale, or two where a cell moves."""

from typing import Any

import jax
import jax.numpy as jnp

from kups_relax._tree import dataclass, static
from kups_relax.ops import product, root
from kups_relax.optimizers._systems import Systems

Tree = Any

# By how much the scale of atoms in a cell that moves grows in a step at most.
_GROWTH = 1.5


@dataclass
class Start:
    """The initial inverse Hessian: a number for each system, and another for the rows of its cell.

    Attributes:
        scale: (n_systems,), Angstrom^2/eV.
        cell: (n_systems,), that of the rows of the cell, as a multiple of `scale`.
        n_cell: How many rows, the last ones of each leaf, are of the cell.
    """

    scale: jax.Array
    cell: jax.Array
    n_cell: int = static()

    def stretch(self, tree: Tree) -> Tree:
        """Multiply the rows of the cell by `cell`."""
        if not self.n_cell:
            return tree
        n = self.n_cell

        def leaf(x: jax.Array) -> jax.Array:
            rows = x[..., -n:, :]
            cell = product(rows, jnp.broadcast_to(self.cell, rows.shape))
            return jnp.concatenate([x[..., :-n, :], cell], axis=-2)

        return jax.tree.map(leaf, tree)


def adapted(
    systems: Systems,
    moved: jax.Array,
    s: Tree,
    y: Tree,
    scale: jax.Array,
    cell: jax.Array,
    n_cell: int,
) -> tuple[jax.Array, jax.Array]:
    """Adapt both scales to the newest pair, each to the share of its own rows.

    Forces on atoms that symmetry keeps at zero are noise. With one scale for all rows, the softness
    of the cell, where nearly all of the displacement is, would amplify it along the stiffest
    directions of the atoms. So the scale of the atoms grows by `_GROWTH` at most in a step.

    Args:
        systems: Which elements belong to which system.
        moved: (n_systems,) bool, which systems have a pair.
        s: Difference of parameters.
        y: Difference of gradients.
        scale: (n_systems,), of the atoms' rows so far, Angstrom^2/eV.
        cell: (n_systems,), of the cell's rows so far.
        n_cell: How many rows, the last ones of each leaf, are of the cell.

    Returns:
        The scale of the atoms' rows, and that of the cell's rows.
    """
    most = product(scale, jnp.full_like(scale, _GROWTH))
    atoms = _softness(systems, moved, rows_of_atoms(s, n_cell), rows_of_atoms(y, n_cell), scale)
    return jnp.minimum(atoms, most), _softness(
        systems, moved, rows_of_cell(s, n_cell), rows_of_cell(y, n_cell), cell
    )


def rows_of_atoms(tree: Tree, n_cell: int) -> Tree:
    """Return the rows of each leaf that are not of the cell."""
    return jax.tree.map(lambda x: x[..., :-n_cell, :], tree)


def rows_of_cell(tree: Tree, n_cell: int) -> Tree:
    """Return the rows of each leaf that are of the cell."""
    return jax.tree.map(lambda x: x[..., -n_cell:, :], tree)


def _softness(systems: Systems, moved: jax.Array, s: Tree, y: Tree, scale: jax.Array) -> jax.Array:
    """|s|/|y| of some rows of the newest pair; `scale` where nothing moved or changed.

    It is at least s.y/y.y, and small where y is noise.
    """
    ss, yy = systems.dot(s, s), systems.dot(y, y)
    known = moved & (ss > 0) & (yy > 0)
    return jnp.where(known, root(ss / jnp.where(yy > 0, yy, jnp.ones_like(yy))), scale)
