"""What constraints keep in place, on the device: projections of forces and of steps.

All are linear in u, the atoms in the undeformed cell, and stand in the arrays that
`_constraints.py` makes. Each acts on (3, A, L).
"""

import jax
import jax.numpy as jnp
from jax import lax

from kups_relax.data import Field, Terms
from kups_relax.ops import fold, take_rows

FIELDS = {
    "scaled": {"scaled": Field((3, 3, "atoms"))},
    "cartesian": {"cartesian": Field((3, 3, "atoms"))},
    "com": {"mass": Field(("atoms",))},
    "symmetry": {
        "share": Field((3, 3, "equal atoms", "atoms")),
        "source": Field(("equal atoms", "atoms"), "int"),
        "strain": Field((3, 3, 3, 3)),
    },
}


def project_step(step: jax.Array, projection: jax.Array) -> jax.Array:
    """Multiply the row of each atom by its own matrix, (3, 3, A, L)."""
    parts = [step[k] * projection[k] for k in range(3)]
    return (parts[0] + parts[1]) + parts[2]


def project_forces(forces: jax.Array, projection: jax.Array) -> jax.Array:
    """Multiply the row of each atom by the transpose of its matrix, (3, 3, A, L)."""
    return project_step(forces, jnp.swapaxes(projection, 0, 1))


def fix_com_of_step(step: jax.Array, mass: jax.Array) -> jax.Array:
    """Take the motion of the centre of mass out; `mass` is (A, L)."""
    total = fold(mass)
    drift = fold(step * mass, axis=1) / jnp.where(total > 0, total, 1.0)
    return jnp.where(mass > 0, step - drift[:, None], step)


def fix_com_of_forces(forces: jax.Array, mass: jax.Array) -> jax.Array:
    """Take out the force that would move the centre of mass, as ASE's `FixCom` does.

    References:
        doi:10.1021/jp9722824, equations 3 and 7.
    """
    total = fold(mass * mass)
    share = fold(forces * mass, axis=1) / jnp.where(total > 0, total, 1.0)
    return forces - mass * share[:, None]


def symmetrize_vectors(x: jax.Array, terms: Terms) -> jax.Array:
    """Average over the group: each atom takes its shares of the vectors of its equals.

    Shares of what is padding are zero, so its rows become zero.
    """
    share, source, count = terms["share"], terms["source"], terms.counts["equal atoms"]

    def add(k: jax.Array, total: jax.Array) -> jax.Array:
        return jnp.where(
            k < count, total + project_step(take_rows(x, source[k]), share[:, :, k]), total
        )

    return lax.fori_loop(jnp.int32(0), jnp.max(count), add, jnp.zeros_like(x))


def symmetrize_matrix(x: jax.Array, terms: Terms) -> jax.Array:
    """Average a (3, 3, L) matrix over the group."""
    return fold((terms["strain"] * x).reshape(3, 3, 9, -1), axis=2)
