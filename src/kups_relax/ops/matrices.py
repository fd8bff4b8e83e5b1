"""3 x 3 matrices of many lanes, (3, 3, L), in sums whose order is written out."""

import jax
import jax.numpy as jnp
from jax import lax

# exp(a) is taken of a / 2**_HALVINGS by a series of _TERMS terms, and doubled as often: exact to
# rounding for norms up to 4, which is a stretch by 50.
_HALVINGS, _TERMS = 6, 10


def multiply(a: jax.Array, b: jax.Array) -> jax.Array:
    """Multiply two matrices; the first may have any number of rows."""
    parts = [a[:, k, None] * b[None, k] for k in range(3)]
    return (parts[0] + parts[1]) + parts[2]


def transpose(a: jax.Array) -> jax.Array:
    """Swap rows and columns."""
    return jnp.swapaxes(a, 0, 1)


def identity(like: jax.Array) -> jax.Array:
    """(3, 3, 1) identity in the dtype of an array."""
    return jnp.eye(3, dtype=like.dtype)[:, :, None]


def trace(a: jax.Array) -> jax.Array:
    """(L,) sum of the diagonal."""
    return (a[0, 0] + a[1, 1]) + a[2, 2]


def determinant(a: jax.Array) -> jax.Array:
    """(L,) signed volume."""
    return _dot(a[0], _cross(a[1], a[2]))


def inverse(a: jax.Array) -> jax.Array:
    """Invert; not finite where the determinant is 0."""
    columns = jnp.stack([_cross(a[1], a[2]), _cross(a[2], a[0]), _cross(a[0], a[1])], axis=1)
    return columns / determinant(a)


def norm(a: jax.Array) -> jax.Array:
    """(L,) Frobenius norm."""
    rows = [_dot(row, row) for row in a]
    return jnp.sqrt((rows[0] + rows[1]) + rows[2])


def row_norms(a: jax.Array) -> jax.Array:
    """(3, L) lengths of the rows."""
    return jnp.stack([jnp.sqrt(_dot(row, row)) for row in a])


def expm1(a: jax.Array) -> jax.Array:
    """exp(a) - 1, accurate for small a too."""
    return expm1_and_derivative(a, jnp.zeros_like(a))[0]


def expm1_and_derivative(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """exp(a) - 1, and the derivative of exp at a in the direction of b.

    Series and doubling of exp(a) - 1, and of both sides' derivatives (Al-Mohy and Higham, SIAM J.
    Matrix Anal. Appl. 2009, 30, 1639, section 2).
    """
    a, b = a * 2.0**-_HALVINGS, b * 2.0**-_HALVINGS

    def term(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        value, slope = carry
        k = (_TERMS - i).astype(a.dtype)
        slope = ((b + multiply(b, value)) + multiply(a, slope)) / k
        return (a + multiply(a, value)) / k, slope

    def double(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        del i
        value, slope = carry
        slope = (slope + slope) + (multiply(value, slope) + multiply(slope, value))
        return (value + value) + multiply(value, value), slope

    zeros = (jnp.zeros_like(a), jnp.zeros_like(a))
    carry = lax.fori_loop(jnp.int32(0), jnp.int32(_TERMS), term, zeros)
    return lax.fori_loop(jnp.int32(0), jnp.int32(_HALVINGS), double, carry)


def _cross(u: jax.Array, v: jax.Array) -> jax.Array:
    return jnp.stack([u[i - 2] * v[i - 1] - u[i - 1] * v[i - 2] for i in range(3)])


def _dot(u: jax.Array, v: jax.Array) -> jax.Array:
    return (u[0] * v[0] + u[1] * v[1]) + u[2] * v[2]
