"""The two-loop recursion of L-BFGS, per system, in two forms.

The textbook's form takes 2 * memory_size inner products, each of a vector that has just changed:
a chain of small sums. The compact form takes the products of all pairs with the gradient at once
and does the recursion in the space of the pairs, with memory_size x memory_size matrices. Up to
32 pairs those are small, and a step costs a third; at ASE's 100 they are larger than the history.

In both, a system that has no pair in a slot passes it by with all its bits, the sign of zero
included: how many pairs other systems have leaves no trace. The order of every sum is by age,
the newest pair first, so it does not matter either which slot a pair is in.

References:
    Nocedal and Wright, Numerical Optimization, 2nd ed., algorithm 7.4.
    Byrd, Nocedal and Schnabel, Math. Program. 1994, 63, 129, doi:10.1007/BF01582063.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from kups_relax._tree import dataclass
from kups_relax.ops import apart, fold, product
from kups_relax.optimizers._initial_scale import Start, rows_of_cell
from kups_relax.optimizers._systems import Systems

Tree = Any

# Largest memory for which the compact form is used.
_COMPACT = 32


class Pair(NamedTuple):
    """The newest pair, zero where a system has none; its products; s.y/y.y; the start for it."""

    s: Tree
    y: Tree
    weight: jax.Array
    yy: jax.Array
    ratio: jax.Array
    start: Start


class History(NamedTuple):
    """The stored pairs: those of `filled` slots, back from `newest`.

    `s` and `y` are (size, *leaf shape) a leaf, `weights` (n_systems, size) is 1/(y.s), 0 where
    there is no pair.
    """

    s: Tree
    y: Tree
    weights: jax.Array
    newest: jax.Array
    filled: jax.Array

    @property
    def slots(self) -> jax.Array:
        """(size,) the slot of each age."""
        size = self.weights.shape[1]
        return (self.newest + size - jnp.arange(size, dtype=self.newest.dtype)) % size


@dataclass
class SmallMatrices:
    """The pairs of each system in their own space. Rows and columns by age, newest first.

    Attributes:
        triangle: (memory_size, memory_size, n_systems), inverse of R_ij = s_i.y_j, i no newer
            than j.
        gram: (memory_size, memory_size, n_systems), y_i.y_j.
        onto: (2, memory_size, n_systems), s_i.g and y_i.g with the last gradient.
    """

    triangle: jax.Array
    gram: jax.Array
    onto: jax.Array

    @classmethod
    def zeros(cls, size: int, n_systems: int, dtype: Any) -> "SmallMatrices | None":
        """Make those of an empty history; None if the memory is too large for them to pay."""
        if size > _COMPACT:
            return None
        square = jnp.zeros((size, size, n_systems), dtype)
        return cls(triangle=square, gram=square, onto=jnp.zeros((2, size, n_systems), dtype))


def textbook(systems: Systems, history: History, gradient: Tree, start: Start) -> Tree:
    """Multiply a gradient by the inverse Hessian, as algorithm 7.4 has it."""
    slots = history.slots

    def back(age: jax.Array, carry: tuple[Tree, jax.Array]) -> tuple[Tree, jax.Array]:
        q, alphas = carry
        slot = take(slots, age)
        rho = take(history.weights, slot, axis=1)
        alpha = product(rho, systems.dot(_load(history.s, slot), q))
        moved = jax.tree.map(jnp.subtract, q, systems.scale(_load(history.y, slot), alpha))
        return systems.where(rho != 0, moved, q), put(alphas, alpha, age)

    def forth(k: jax.Array, r: Tree) -> Tree:
        age = history.filled - 1 - k
        slot = take(slots, age)
        rho = take(history.weights, slot, axis=1)
        beta = product(rho, systems.dot(_load(history.y, slot), r))
        moved = systems.scale(_load(history.s, slot), take(alphas, age) - beta)
        moved = jax.tree.map(jnp.add, r, moved)
        return systems.where(rho != 0, moved, r)

    alphas = jnp.zeros_like(history.weights.T)
    q, alphas = lax.fori_loop(0, history.filled, back, (gradient, alphas))
    return lax.fori_loop(0, history.filled, forth, systems.scale(start.stretch(q), start.scale))


def compact(
    systems: Systems,
    history: History,
    small: SmallMatrices,
    pair: Pair,
    gradient: Tree,
    accepted: jax.Array | None = None,
) -> tuple[Tree, SmallMatrices]:
    """Multiply a gradient by the inverse Hessian, in the space of the pairs.

    Args:
        systems: Which elements belong to which system.
        history: The pairs, the newest one among them.
        small: Without the newest pair.
        pair: The newest pair.
        gradient: What to multiply.
        accepted: (n_systems,) bool, whose gradient is the last one in the next call; the others
            keep the one before, and their direction means nothing. None: all.

    Returns:
        The direction, and the small matrices with the newest pair.
    """
    slots, started, start = history.slots, history.filled >= 0, pair.start
    onto = jnp.stack([systems.dots(history.s, gradient), systems.dots(history.y, gradient)])
    onto = onto.at[:, slots].get(mode="promise_in_bounds", unique_indices=True)
    rho = history.weights.T.at[slots].get(mode="promise_in_bounds", unique_indices=True)
    last = small.onto
    small = apart(started, _extend, small, onto, pair.weight, pair.yy)
    stretched = small
    if start.n_cell:
        cells = jax.tree.leaves(rows_of_cell(history.y, start.n_cell))
        on_cell = jax.tree.leaves(rows_of_cell(gradient, start.n_cell))
        stretched = apart(started, _stretched, small, cells, on_cell, slots, rho, start.cell)
    on_s, on_y = _factors(started, stretched, rho, start.scale)

    def add(age: jax.Array, direction: Tree) -> Tree:
        slot = take(slots, age)
        s = systems.scale(_load(history.s, slot), take(on_s, age))
        y = systems.scale(start.stretch(_load(history.y, slot)), take(on_y, age))
        moved = jax.tree.map(lambda r, s, y: r + (s + y), direction, s, y)
        return systems.where(take(rho, age) != 0, moved, direction)

    if accepted is not None:
        aged = jnp.concatenate([jnp.zeros_like(last[:, :1]), last[:, :-1]], axis=1)
        small = SmallMatrices(
            triangle=small.triangle,
            gram=small.gram,
            onto=jnp.where(accepted, small.onto, aged),
        )
    first = systems.scale(start.stretch(gradient), start.scale)
    return lax.fori_loop(0, history.filled, add, first), small


def _stretched(
    small: SmallMatrices,
    cells: list[jax.Array],
    on_cell: list[jax.Array],
    slots: jax.Array,
    rho: jax.Array,
    cell: jax.Array,
) -> SmallMatrices:
    """Multiply the share of the cell's rows in products of gradients by their factor.

    Args:
        small: Of all rows.
        cells: The rows of the cell in each y, (size, 3, n_cell, n_systems), by slot.
        on_cell: Those of the gradient.
        slots: (size,) the slot of each age.
        rho: (size, n_systems) by age, 0 where there is no pair.
        cell: (n_systems,), their factor.
    """
    more = cell - 1.0
    gram, onto = small.gram, small.onto[1]
    for rows, gradient in zip(cells, on_cell, strict=True):
        aged = rows.at[slots].get(mode="promise_in_bounds", unique_indices=True)
        aged = jnp.where((rho != 0)[:, None, :], aged.reshape(len(slots), -1, cell.shape[0]), 0)
        along = product(aged, gradient.reshape(1, -1, cell.shape[0]))
        onto = onto + product(more[None], fold(along, axis=1))
        squares = fold(product(aged[:, None], aged[None]), axis=2)
        gram = gram + product(more[None, None], squares)
    return SmallMatrices(triangle=small.triangle, gram=gram, onto=jnp.stack([small.onto[0], onto]))


def _extend(
    small: SmallMatrices, onto: jax.Array, weight: jax.Array, yy: jax.Array
) -> SmallMatrices:
    """Add the newest pair to the small matrices, and drop the oldest.

    Products with the newest y are differences of products with the last two gradients, no
    less accurate than y, which is their difference. The inverse of R gains one column with a
    pair and loses one row with the oldest: no column is computed twice.

    Args:
        small: Without the newest pair.
        onto: (2, size, n_systems): s.g and y.g of each pair with the gradient, by age.
        weight: (n_systems,), 1/(s.y) of the newest pair, 0 where there is none.
        yy: (n_systems,), its y.y.
    """
    products = jnp.where(weight != 0, onto[:, 1:] - small.onto[:, :-1], 0)
    older = small.triangle[:-1, :-1]
    column = -product(fold(product(older, products[0][None]), axis=1), weight[None])
    column = jnp.concatenate([weight[None], column])
    right = jnp.concatenate([jnp.zeros_like(column[None, 1:]), older])
    below = jnp.concatenate([products[1][None], small.gram[:-1, :-1]])
    row = jnp.concatenate([yy[None], products[1]])
    return SmallMatrices(
        triangle=jnp.concatenate([column[:, None], right], axis=1),
        gram=jnp.concatenate([row[:, None], below], axis=1),
        onto=onto,
    )


def _factors(
    started: jax.Array, small: SmallMatrices, rho: jax.Array, scale: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Solve for the direction in the space of the pairs (Byrd et al., eq. 3.13).

    Returns:
        What each s and each y contributes, (size, n_systems), by age.
    """
    one = jnp.ones((), rho.dtype)
    diagonal = jnp.where(rho != 0, one / jnp.where(rho != 0, rho, one), 0)

    def first(triangle: jax.Array, sg: jax.Array) -> jax.Array:
        return fold(product(triangle, sg[None]), axis=1)

    def inner(gram: jax.Array, u: jax.Array, yg: jax.Array) -> jax.Array:
        on_y = fold(product(gram, u[None]), axis=1) - yg
        return product(diagonal, u) + product(scale[None], on_y)

    def last(triangle: jax.Array, z: jax.Array) -> jax.Array:
        return fold(product(triangle, z[:, None]), axis=0)

    u = apart(started, first, small.triangle, small.onto[0])
    z = apart(started, inner, small.gram, u, small.onto[1])
    v = apart(started, last, small.triangle, z)
    return v, -product(scale[None], u)


def take(x: jax.Array, slot: jax.Array, axis: int = 0) -> jax.Array:
    """Take one slot of an array; no bounds are checked, no negative numbers counted back."""
    return lax.dynamic_index_in_dim(x, slot, axis, keepdims=False, allow_negative_indices=False)


def put(x: jax.Array, value: jax.Array, slot: jax.Array, axis: int = 0) -> jax.Array:
    """Replace one slot of an array."""
    return lax.dynamic_update_index_in_dim(
        x, value.astype(x.dtype), slot, axis, allow_negative_indices=False
    )


def store(memory: Tree, slot: jax.Array, values: Tree) -> Tree:
    """Replace one slot of every leaf."""
    return jax.tree.map(lambda m, v: put(m, v, slot), memory, values)


def _load(memory: Tree, slot: jax.Array) -> Tree:
    return jax.tree.map(lambda m: take(m, slot), memory)
