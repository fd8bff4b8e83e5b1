"""What constraints keep in place, on the device: projections of forces and of steps.

All are linear in u, the atoms in the undeformed cell, and stand in the arrays that
`_constraints.py` makes. Each acts on (3, A, L).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from kups_relax.coordinates import _matrices as m
from kups_relax.data import Field, Terms
from kups_relax.ops import fold, take_rows

FIELDS = {
    "scaled": {"scaled": Field((3, 3, "atoms"))},
    "cartesian": {"cartesian": Field((3, 3, "atoms"))},
    "com": {"mass": Field(("atoms",))},
    "symmetry": {
        "rotation": Field((3, 3, "symmetry operations")),
        "source": Field(("symmetry operations", "atoms"), "int"),
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
    """Average over the group: each operation turns the vectors and brings them to their image."""
    rotation, source = terms["rotation"], terms["source"]

    def image(k: jax.Array) -> jax.Array:
        return project_step(take_rows(x, source[k]), m.transpose(rotation[:, :, k])[:, :, None])

    return _mean(x, terms, image)


def symmetrize_matrix(x: jax.Array, terms: Terms) -> jax.Array:
    """Average a (3, 3, L) matrix over the group."""

    def image(k: jax.Array) -> jax.Array:
        turn = terms["rotation"][:, :, k]
        return m.multiply(m.multiply(turn, x), m.transpose(turn))

    return _mean(x, terms, image)


def _mean(x: jax.Array, terms: Terms, image: Callable[[jax.Array], jax.Array]) -> jax.Array:
    count = terms.counts["symmetry operations"]

    def add(k: jax.Array, total: jax.Array) -> jax.Array:
        return jnp.where(k < count, total + image(k), total)

    total = lax.fori_loop(jnp.int32(0), jnp.max(count), add, jnp.zeros_like(x))
    return total / jnp.maximum(count, 1).astype(x.dtype)
