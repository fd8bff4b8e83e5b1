"""Rows of arrays under unique keys, and joins by label."""

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from kups_relax._tree import dataclass, static
from kups_relax.data._index import Index
from kups_relax.data._keys import Key, Keys, Missing
from kups_relax.errors import KeyMismatchError, OptionError
from kups_relax.ops import quotient

Data = TypeVar("Data")


@dataclass
class Table(Generic[Key, Data]):
    """Hold one row of a pytree of arrays for each key.

    A pytree whose keys are part of its definition, as those of `Index` are: inside `jit`, other
    labels are another program, and `anonymous()` makes their number all that counts. The plain
    constructor `Table(keys=index.keys, data=...)` checks nothing and costs nothing: it is meant
    for compiled code. What `vmap` returns has the mapped axis in front of the keys' axis.

    Attributes:
        keys: The labels of the rows, unique and sorted, on the host.
        data: Pytree of arrays (n_keys, ...).

    Example:
        >>> table = Table.new(["water", "argon"], {"mass": jnp.array([18, 40])})
        >>> table["argon"]["mass"].tolist()
        40
        >>> table[Index.new(["water", "argon", "water"])]["mass"].tolist()
        [18, 40, 18]
        >>> (table * 2)["water"]["mass"].tolist()
        36
    """

    keys: Keys[Key] = static()
    data: Data

    # NumPy must leave `array * table` to `Table.__rmul__`.
    __array_ufunc__ = None

    @classmethod
    def new(cls, keys: Any, data: Any) -> "Table":
        """Make a table of labels and their rows.

        Args:
            keys: Unique labels, in any order: integers, strings or tuples of these. Or a `Keys`,
                `Index` or `Table` whose keys to use.
            data: Pytree of arrays (n_keys, ...), in the order of `keys`; sorted here by label.

        Raises:
            KeyMismatchError: A key occurs twice, or an array has another number of rows.
        """
        held, order = Keys.sort(keys)
        data = _check_rows(held, data)
        if order is not None and (order != np.arange(len(order))).any():
            data = jax.tree.map(lambda leaf: leaf[order], data)
        return cls(keys=held, data=data)

    @classmethod
    def arange(cls, data: Any) -> "Table[int, Any]":
        """Make a table whose keys are the row numbers 0 .. n-1.

        Raises:
            KeyMismatchError: No array tells the number of rows, or they tell different ones.
        """
        leaves = jax.tree.leaves(data)
        if not leaves or not np.shape(leaves[0]):
            raise KeyMismatchError("data has no array with a leading axis; expected at least one.")
        keys = Keys.arange(np.shape(leaves[0])[0])
        return Table(keys=keys, data=_check_rows(keys, data))

    @staticmethod
    def concatenate(tables: Sequence["Table"]) -> "Table":
        """Put the rows of several tables into one; no key may occur in two of them.

        Raises:
            KeyMismatchError: A key occurs twice, the pytrees differ, or there is nothing to join.
        """
        if not tables:
            raise KeyMismatchError("there are no tables to concatenate; give at least one.")
        filled = [table.keys for table in tables if len(table)]
        for keys in filled[1:]:
            filled[0].check_type(keys.labels)
        first = jax.tree.structure(tables[0].data)
        for number, table in enumerate(tables):
            if jax.tree.structure(table.data) != first:
                raise KeyMismatchError(
                    f"data of table {number} is {jax.tree.structure(table.data)}; expected "
                    f"{first}, as in table 0."
                )
        data = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *[t.data for t in tables])
        labels = [keys.labels for keys in filled]
        return Table.new(np.concatenate(labels) if labels else tables[0].keys, data)

    def take(self, index: Index, fill: Any = 0) -> Data:
        """Gather the row of every index row's key: a join.

        The index may have fewer keys than the table, in whatever numbering. The derivative of
        this gather is a scatter, whose order is not fixed on a GPU.

        Args:
            index: Rows of any shape.
            fill: Scalar for index rows that belong to nothing.

        Returns:
            The pytree, its arrays (*rows, ...).

        Raises:
            KeyMismatchError: A key of the index is not in the table.
            OptionError: `fill` does not fit the dtype of an array.
        """
        index = index.reindex(self.keys)
        valid, rows = index.is_valid, jnp.minimum(index.positions, max(len(self) - 1, 0))

        def one(leaf: Any) -> jax.Array:
            leaf = jnp.asarray(leaf)
            exact = not jnp.issubdtype(leaf.dtype, jnp.inexact)
            if exact and isinstance(fill, float | np.floating):
                raise OptionError(f"fill {fill!r} does not fit an array of {leaf.dtype}.")
            blank = jnp.asarray(fill, leaf.dtype)
            if len(self) == 0:
                return jnp.full(index.shape + leaf.shape[1:], blank)
            taken = leaf.at[rows].get(mode="promise_in_bounds")
            return jnp.where(_expand(valid, taken.ndim), taken, blank)

        return jax.tree.map(one, self.data)

    def __getitem__(self, item: Any) -> Data:
        """Return the rows of an `Index` (see `take`), or the one row of a label.

        Raises:
            KeyMismatchError: A key is not in the table, or `item` is neither index nor label.
        """
        if isinstance(item, Index):
            return self.take(item)
        if not isinstance(item, str | int | np.integer | tuple):
            raise KeyMismatchError(
                f"got a {type(item).__name__}; expected an Index or one label. For several labels "
                "use table[table.index(labels)] or table.subset(labels)."
            )
        row = int(self.keys.find([item])[0])
        return jax.tree.map(lambda leaf: leaf[row], self.data)

    def index(self, labels: Any, missing: Missing = "raise") -> Index[Key]:
        """Make an index of labels into this table's keys, on the host.

        Args:
            labels: Any number of labels, in any order.
            missing: "raise", or "sentinel": rows of unknown labels belong to nothing.

        Raises:
            KeyMismatchError: A label is not a key of this table.
        """
        return Index(keys=self.keys, indices=jnp.asarray(self.keys.find(labels, missing)))

    def map_data(self, fn: Callable[[Data], Any]) -> "Table[Key, Any]":
        """Replace the data by a function of it that keeps the leading axis.

        Raises:
            KeyMismatchError: The result has another number of rows.
        """
        return self.set_data(fn(self.data))

    def set_data(self, data: Any) -> "Table[Key, Any]":
        """Replace the data.

        Raises:
            KeyMismatchError: An array has another number of rows than there are keys.
        """
        return Table(keys=self.keys, data=_check_rows(self.keys, data))

    def update(self, index: Index, values: Any) -> "Table[Key, Data]":
        """Replace the rows of an index's keys; the last row that names a key wins.

        Args:
            index: Which key each new row belongs to; rows that belong to nothing are ignored.
            values: Pytree like the data, with arrays that broadcast to (*rows, ...); or a scalar.

        Raises:
            KeyMismatchError: A key of the index is not in the table; `values` has another
                structure or shape, or a dtype that the table cannot hold.
        """
        index = index.reindex(self.keys)
        segments = index.segments()
        n_rows = segments.order.shape[0]
        named = segments.counts > 0
        ends = jnp.maximum(segments.starts + segments.counts - 1, 0)
        last = segments.order[ends] if n_rows else None

        def one(path: Any, leaf: Any, value: Any) -> jax.Array:
            leaf, value = jnp.asarray(leaf), jnp.asarray(value)
            name, shape = jax.tree_util.keystr(path), index.shape + leaf.shape[1:]
            if not _broadcasts(value.shape, shape):
                raise KeyMismatchError(
                    f"values{name} has shape {value.shape}; expected one that broadcasts to "
                    f"{shape}: the rows of the index, then those of the data."
                )
            if not jnp.can_cast(value.dtype, leaf.dtype, "same_kind"):
                raise KeyMismatchError(
                    f"values{name} has dtype {value.dtype}; expected one that fits {leaf.dtype}."
                )
            if not n_rows:
                return leaf
            value = jnp.broadcast_to(value, shape).reshape(n_rows, *leaf.shape[1:])
            return jnp.where(_expand(named, leaf.ndim), value[last].astype(leaf.dtype), leaf)

        if jax.tree_util.all_leaves([values]) and not np.shape(values):
            values = jax.tree.map(lambda _: values, self.data)
        _check_structure("values", values, self.data)
        return Table(keys=self.keys, data=jax.tree_util.tree_map_with_path(one, self.data, values))

    def subset(self, keys: Any) -> "Table":
        """Return the rows of some keys.

        Args:
            keys: Unique labels in any order, or a `Keys`, `Index` or `Table`.

        Raises:
            KeyMismatchError: A key is not in the table, or given twice.
        """
        keys = Keys.new(keys)
        if keys == self.keys:
            return self
        rows = self.keys.find(keys.labels)
        return Table(keys=keys, data=jax.tree.map(lambda leaf: leaf[rows], self.data))

    def anonymous(self) -> "Table[int, Data]":
        """Replace the labels by their positions 0 .. n_keys-1, so that one trace serves all.

        Keep `table.keys`, and put them on what comes out with `with_keys`.
        """
        return Table(keys=Keys.arange(len(self)), data=self.data)

    def with_keys(self, keys: Any) -> "Table":
        """Put other labels in the place of those held, first for first.

        Args:
            keys: As many as there are now, sorted.

        Raises:
            KeyMismatchError: Another number of keys, or labels that are not sorted.
        """
        return Table(keys=self.keys.replacement(keys), data=self.data)

    def _combine(self, other: Any, op: Callable[[Any, Any], Any]) -> "Table[Key, Any]":
        keyed = isinstance(other, Table)
        if keyed:
            self.keys.check_same(other.keys)
        mine, theirs = self.data, other.data if keyed else other
        if jax.tree_util.all_leaves([theirs]):
            operand = theirs
            theirs = jax.tree.map(lambda _: operand, mine)
        elif keyed and jax.tree_util.all_leaves([mine]):
            mine = jax.tree.map(lambda _: self.data, theirs)
        _check_structure("the other operand", theirs, mine)

        def one(a: Any, b: Any) -> Any:
            if keyed:
                ndim = max(np.ndim(a), np.ndim(b))
                a, b = _expand(a, ndim), _expand(b, ndim)
            return op(a, b)

        return self.set_data(jax.tree.map(one, mine, theirs))

    def __add__(self, other: Any) -> "Table[Key, Any]":
        """Add a table with the same keys, a scalar, or a pytree of arrays like the data."""
        return self._combine(other, operator.add)

    def __radd__(self, other: Any) -> "Table[Key, Any]":
        """Add to a scalar or a pytree."""
        return self._combine(other, lambda a, b: b + a)

    def __sub__(self, other: Any) -> "Table[Key, Any]":
        """Subtract a table with the same keys, a scalar, or a pytree of arrays like the data."""
        return self._combine(other, operator.sub)

    def __rsub__(self, other: Any) -> "Table[Key, Any]":
        """Subtract from a scalar or a pytree."""
        return self._combine(other, lambda a, b: b - a)

    def __mul__(self, other: Any) -> "Table[Key, Any]":
        """Multiply by a table with the same keys, a scalar, or a pytree of arrays like the data."""
        return self._combine(other, operator.mul)

    def __rmul__(self, other: Any) -> "Table[Key, Any]":
        """Multiply a scalar or a pytree."""
        return self._combine(other, lambda a, b: b * a)

    def __truediv__(self, other: Any) -> "Table[Key, Any]":
        """Divide by a table with the same keys, a scalar, or a pytree; rounded correctly."""
        return self._combine(other, quotient)

    def __rtruediv__(self, other: Any) -> "Table[Key, Any]":
        """Divide a scalar or a pytree."""
        return self._combine(other, lambda a, b: quotient(b, a))

    def __neg__(self) -> "Table[Key, Data]":
        """Change the sign of every array."""
        return Table(keys=self.keys, data=jax.tree.map(operator.neg, self.data))

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self.keys)

    def __contains__(self, key: object) -> bool:
        """Tell whether a label is a key."""
        return key in self.keys

    def __iter__(self) -> Iterator[tuple[Key, Data]]:
        """Go through the pairs of key and row."""
        for row, key in enumerate(self.keys):
            yield key, jax.tree.map(lambda leaf: leaf[row], self.data)  # noqa: B023

    def __repr__(self) -> str:
        """Return keys and shapes, in short."""
        leaves = jax.tree_util.tree_leaves_with_path(self.data)
        shown = [f"data{jax.tree_util.keystr(p)} {_shape_of(leaf)}" for p, leaf in leaves[:4]]
        more = [f"{len(leaves) - 4} more arrays"] if len(leaves) > 4 else []
        return f"Table({', '.join([repr(self.keys), *shown, *more])})"


def _shape_of(leaf: Any) -> str:
    if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
        return type(leaf).__name__
    return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"


def _expand(x: Any, ndim: int) -> Any:
    """Add axes of length 1 behind those of x."""
    return x.reshape(x.shape + (1,) * (ndim - x.ndim))


def _broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    try:
        return jnp.broadcast_shapes(shape, target) == target
    except ValueError:
        return False


def _check_rows(keys: Keys, data: Any) -> Any:
    """Return data with every leaf an array, one row for each key."""

    def one(path: Any, leaf: Any) -> Any:
        leaf = leaf if hasattr(leaf, "shape") and hasattr(leaf, "dtype") else jnp.asarray(leaf)
        if leaf.shape[:1] != (len(keys),):
            raise KeyMismatchError(
                f"data{jax.tree_util.keystr(path)} has shape {leaf.shape}; expected {len(keys)} "
                f"rows, one for each of {keys!r}."
            )
        return leaf

    return jax.tree_util.tree_map_with_path(one, data)


def _check_structure(what: str, tree: Any, like: Any) -> None:
    got, expected = jax.tree.structure(tree), jax.tree.structure(like)
    if got != expected:
        raise KeyMismatchError(f"{what} is {got}; expected {expected}, as the table's data.")
