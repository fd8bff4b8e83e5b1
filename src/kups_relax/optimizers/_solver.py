"""Steps from forces: systems of linear equations whose matrix is a chart's Hessian."""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from kups_relax._tree import dataclass
from kups_relax.ops import apart, fold, inverse, rounded, times

# Conjugate gradients end where what is left of the right side is this share of it, in the norm of
# the inverse diagonal; or after so many iterations.
_LEFT, _MOST = 3e-3, 200


class Reading(Protocol):
    """What a chart made of a place: a pytree with `values` and `weights`, (R, L)."""

    values: jax.Array
    weights: jax.Array


class Chart(Protocol):
    """Coordinates in which what is minimised is simple, and how stiff it is in each.

    Rows are functions of x, (3, rows, L), that need not be independent. All arrays end with L.
    """

    @property
    def bonded(self) -> bool:
        """Whether stiffness is known, and what is learnt is kept along the rows."""
        ...

    @property
    def dense(self) -> bool:
        """Whether `hessian` is there."""
        ...

    @property
    def longest(self) -> jax.Array:
        """(L,) the longest way of a row of x in a step."""
        ...

    def read(self, x: jax.Array) -> Any:
        """Take values, weights and slopes."""
        ...

    def difference(self, a: jax.Array, b: jax.Array) -> jax.Array:
        """Subtract values."""
        ...

    def along(self, reading: Any, step: jax.Array) -> jax.Array:
        """Turn a step of x into a change of rows, to first order."""
        ...

    def pull(self, reading: Any, on_rows: jax.Array) -> jax.Array:
        """Turn forces on rows into forces on x: the transpose of `along`."""
        ...

    def reduced(self, gradient: jax.Array) -> jax.Array:
        """Take out of a gradient what no allowed step goes along."""
        ...

    def times(self, reading: Any, step: jax.Array) -> jax.Array:
        """Multiply steps by the Hessian of all rows, and the ridge."""
        ...

    def diagonal(self, reading: Any) -> jax.Array:
        """Make the diagonal of it, (3, rows, L), about."""
        ...

    def hessian(self, reading: Any) -> jax.Array:
        """Make the (L, n, n) matrix of it."""
        ...

    def ridge(self, reading: Any) -> jax.Array:
        """Say what was added to its diagonal, (3, rows, L)."""
        ...


@dataclass
class Solver:
    """The Hessian of a chart at a place, and its inverse.

    Attributes:
        chart: What it is of.
        reading: Of the place.
        matrix: (L, n, n); None where it is not written down.
        inverted: Its inverse; likewise.
        diagonal: (3, rows, L); None where there is a matrix.
    """

    chart: Any
    reading: Any
    matrix: jax.Array | None
    inverted: jax.Array | None
    diagonal: jax.Array | None

    @classmethod
    def at(cls, chart: Chart, reading: Any, needed: jax.Array) -> "Solver":
        """Make what solving needs. `needed`: see `apart`."""
        if chart.dense:
            matrix = apart(needed, rounded(_hessian), chart, reading)
            return cls(
                chart=chart,
                reading=reading,
                matrix=matrix,
                inverted=inverse(matrix, needed),
                diagonal=None,
            )
        diagonal = apart(needed, rounded(_diagonal), chart, reading)
        return cls(chart=chart, reading=reading, matrix=None, inverted=None, diagonal=diagonal)

    @property
    def stiffest(self) -> jax.Array:
        """(L,) the largest of the diagonal."""
        if self.matrix is not None:
            return jnp.max(jnp.diagonal(self.matrix, axis1=1, axis2=2), axis=1)
        assert self.diagonal is not None
        return jnp.max(self.diagonal, axis=(0, 1))

    def times(self, x: jax.Array) -> jax.Array:
        """Multiply (..., 3, rows, L) by the Hessian."""
        if self.matrix is None:
            return self.chart.times(self.reading, x)
        return _times(self.matrix, x)

    def solve(self, right: jax.Array) -> jax.Array:
        """Multiply (..., 3, rows, L) by the inverse of the Hessian."""
        if self.inverted is None:
            return self._iterated(right)
        return _times(self.inverted, right)

    def _iterated(self, right: jax.Array) -> jax.Array:
        """Conjugate gradients, preconditioned by the diagonal; each right side ends on its own."""
        assert self.diagonal is not None
        flexible = self.diagonal > 0
        diagonal = jnp.where(flexible, self.diagonal, 1.0)

        def eased(x: jax.Array) -> jax.Array:
            return jnp.where(flexible, x / diagonal, 0.0)

        def go_on(carry: Any) -> jax.Array:
            k, active, *_ = carry
            return (k < _MOST) & jnp.any(active)

        def body(carry: Any) -> Any:
            k, active, x, left, way, size = carry
            pushed = self.times(way)
            curved = dot(way, pushed)
            active = active & (curved > 0)
            length = jnp.where(active, size / jnp.where(active, curved, 1.0), 0.0)
            x = x + spread(length) * way
            left = left - spread(length) * pushed
            new = eased(left)
            smaller = dot(left, new)
            turn = jnp.where(active, smaller / jnp.where(active, size, 1.0), 0.0)
            way = jnp.where(spread(active), new + spread(turn) * way, way)
            size = jnp.where(active, smaller, size)
            return k + 1, active & (smaller > enough), x, left, way, size

        first = eased(right)
        size = dot(right, first)
        enough = size * (_LEFT * _LEFT)
        start = jnp.int32(0), size > 0, jnp.zeros_like(right), right, first, size
        return lax.while_loop(go_on, body, start)[2]


def solve(solver: Solver, right: jax.Array) -> jax.Array:
    """Multiply (..., 3, rows, L) by the inverse of a solver's Hessian."""
    return solver.solve(right)


def spread(of_systems: jax.Array) -> jax.Array:
    """Turn (..., L) into (..., 1, 1, L)."""
    return of_systems[..., None, None, :]


def dot(a: jax.Array, b: jax.Array) -> jax.Array:
    """Inner products of (..., 3, rows, L), one for each system, (..., L)."""
    product = a * b
    return fold(product.reshape(*product.shape[:-3], -1, product.shape[-1]), axis=-2)


def _times(matrix: jax.Array, x: jax.Array) -> jax.Array:
    flat = x.reshape(*x.shape[:-3], -1, x.shape[-1])
    return times(matrix, flat).reshape(x.shape)


def _hessian(chart: Chart, reading: Any) -> jax.Array:
    return chart.hessian(reading)


def _diagonal(chart: Chart, reading: Any) -> jax.Array:
    return chart.diagonal(reading)
