"""Which key each row belongs to, with labels on the host and numbers on the device."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from kups_relax._tree import dataclass, static
from kups_relax.data._keys import Key, Keys, Missing, as_labels, check_missing
from kups_relax.errors import KeyMismatchError, OptionError
from kups_relax.ops import Segments, quotient

if TYPE_CHECKING:
    from kups_relax.data._table import Table


@dataclass
class Index(Generic[Key]):
    """Name the key that each row belongs to.

    A pytree with one array. The keys are part of its definition: inside `jit`, other labels are
    another program; `anonymous()` makes their number all that counts. The plain constructor
    `Index(keys=..., indices=...)` checks nothing and is meant for compiled code. What `vmap`
    returns has the mapped axis in front of `indices`.

    Attributes:
        keys: The labels, unique and sorted, on the host.
        indices: (n_rows, ...) int32, positions in `keys`. A row whose number is `len(keys)`, the
            sentinel, belongs to nothing: it is padding.

    Example:
        >>> index = Index.new(["water", "argon", "water"])
        >>> index.indices.tolist(), list(index.keys)
        ([1, 0, 1], ['argon', 'water'])
        >>> index.sum_over(jnp.array([1, 2, 3]))["water"].tolist()
        4
    """

    keys: Keys[Key] = static()
    indices: jax.Array

    @classmethod
    def new(cls, labels: Any, keys: Any = None) -> "Index":
        """Make an index of one label per row, on the host.

        Args:
            labels: Integers, strings or tuples of these, as a sequence or array of any shape;
                masked entries of a masked array become sentinel rows.
            keys: Keys to use (labels, or a `Keys`, `Index` or `Table`); by default the labels
                that occur.

        Raises:
            KeyMismatchError: A label is of a type that cannot be a key, or is not among `keys`.
        """
        if keys is not None:
            keys = Keys.new(keys)
            return cls(keys=keys, indices=jnp.asarray(keys.find(labels)))
        array, masked, shape = as_labels(labels)
        if masked is None:
            unique, rows = np.unique(array, return_inverse=True)
            rows = rows.reshape(-1)
        else:
            unique, known = np.unique(array[~masked], return_inverse=True)
            rows = np.full(len(array), len(unique))
            rows[~masked] = known.reshape(-1)
        rows = rows.reshape(shape).astype(np.int32)
        return cls(keys=Keys.of_sorted(unique), indices=jnp.asarray(rows))

    @classmethod
    def arange(cls, n: int) -> "Index[int]":
        """Make an index of n rows that belong to the keys 0 .. n-1, one each."""
        return Index(keys=Keys.arange(n), indices=jnp.arange(n, dtype=jnp.int32))

    @classmethod
    def zeros(cls, n_rows: int) -> "Index[int]":
        """Make an index whose rows all belong to the one key 0."""
        return Index(keys=Keys.arange(1), indices=jnp.zeros(n_rows, jnp.int32))

    @classmethod
    def integer(cls, indices: Any, n: int | None = None, keys: Any = None) -> "Index":
        """Make an index of positions in keys, on the host or inside a compiled function.

        Args:
            indices: (n_rows, ...) integers from 0 to n; n is the sentinel. Of traced values,
                those outside belong to nothing.
            n: Number of keys, which are then 0 .. n-1; by default the largest position plus 1.
            keys: In place of `n`, the keys that the positions refer to, in that order.

        Raises:
            KeyMismatchError: A position is outside the keys; keys occur twice.
            OptionError: `indices` are no integers; both `n` and `keys` are given, or neither for
                traced indices.
        """
        if n is not None and keys is not None:
            raise OptionError(f"n={n} and keys were both given; give one of them.")
        traced = isinstance(indices, Tracer)
        rows: Any = indices if traced else np.asarray(indices)
        if rows.size == 0 and not hasattr(indices, "dtype"):
            rows = rows.astype(np.int32)
        if not jnp.issubdtype(rows.dtype, jnp.integer):
            raise OptionError(
                f"indices have dtype {rows.dtype}; expected integers. For labels use Index.new."
            )
        if n is None and keys is None:
            if traced:
                raise OptionError("traced indices do not tell the number of keys; pass n or keys.")
            n = int(rows.max()) + 1 if rows.size else 0
        held, order = Keys.sort(Keys.arange(n) if n is not None else keys)
        n = len(held)
        if not traced:
            wrong = (rows < 0) | (rows > n)
            if wrong.any():
                first = np.unravel_index(int(np.argmax(wrong)), rows.shape)
                raise KeyMismatchError(
                    f"row {', '.join(map(str, first))} has the index {rows[first]}; expected 0 "
                    f"to {n - 1} for {held!r}, or {n} for a row that belongs to nothing."
                )
        index = cls(keys=held, indices=_int32(rows, n) if traced else jnp.asarray(rows, jnp.int32))
        if order is None:
            return index
        rank = np.append(np.argsort(order), n).astype(np.int32)
        return cls(keys=held, indices=jnp.asarray(rank)[index.positions])

    @staticmethod
    def concatenate(indices: Sequence["Index"]) -> "Index":
        """Put the rows of several after one another; the keys are those of all of them.

        Raises:
            KeyMismatchError: Their labels are of different types, or there is nothing to join.
        """
        if not indices:
            raise KeyMismatchError("there are no indices to concatenate; give at least one.")
        keys = Keys.union([index.keys for index in indices])
        rows = [index.reindex(keys).indices for index in indices]
        return Index(keys=keys, indices=jnp.concatenate(rows))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the rows."""
        return self.indices.shape

    @property
    def is_valid(self) -> jax.Array:
        """(n_rows, ...) bool: which rows belong to a key."""
        return (self.indices >= 0) & (self.indices < len(self.keys))

    @property
    def positions(self) -> jax.Array:
        """(n_rows, ...) int32: `indices`, with every row that belongs to nothing at n_keys."""
        return jnp.where(self.is_valid, self.indices, jnp.int32(len(self.keys)))

    @property
    def labels(self) -> np.ndarray:
        """The label of each row; see `decode`."""
        return self.decode()

    def decode(self, fill: Any = None) -> np.ndarray:
        """Return the label of each row, on the host.

        Args:
            fill: What stands in for rows that belong to nothing; of the type of the labels.

        Returns:
            (n_rows, ...) labels. Where some row belongs to nothing and no `fill` is given, a
            masked array in which these rows are masked. Tuples come as rows of a structured
            array, whose `tolist()` gives tuples.

        Raises:
            KeyMismatchError: `fill` is of another type than the labels.
        """
        rows = np.asarray(self.indices)
        valid = (rows >= 0) & (rows < len(self.keys))
        labels = self.keys.labels
        if valid.all():
            return labels[rows]
        if fill is None:
            last = np.zeros(1, labels.dtype)
        else:
            last = as_labels([fill])[0]
            if len(labels):
                self.keys.check_type(last)
        decoded = np.concatenate([labels, last] if len(labels) else [last])
        decoded = decoded[np.where(valid, rows, len(labels))]
        return np.ma.array(decoded, mask=~valid) if fill is None else decoded

    def anonymous(self) -> "Index[int]":
        """Replace the labels by their positions 0 .. n_keys-1, so that one trace serves all.

        Keep `index.keys`, and put them on what comes out with `with_keys`.
        """
        return Index(keys=Keys.arange(len(self.keys)), indices=self.indices)

    def with_keys(self, keys: Any) -> "Index":
        """Put other labels in the place of those held, first for first.

        Args:
            keys: As many as there are now, sorted.

        Raises:
            KeyMismatchError: Another number of keys, or labels that are not sorted.
        """
        return Index(keys=self.keys.replacement(keys), indices=self.indices)

    def reindex(self, keys: Any, missing: Missing = "raise") -> "Index":
        """Refer to other keys: every row keeps its label.

        The keys are looked up on the host, also inside a compiled function, so a key counts as
        missing whether or not a row uses it.

        Args:
            keys: Labels, or a `Keys`, `Index` or `Table` whose keys to use.
            missing: "raise", or "sentinel": rows of missing keys belong to nothing.

        Raises:
            KeyMismatchError: One of this index's keys is not among `keys`.
        """
        check_missing(missing)
        keys = Keys.new(keys)
        if keys == self.keys:
            return self
        moved = np.append(keys.find(self.keys.labels, missing), np.int32(len(keys)))
        rows = jnp.asarray(moved).at[self.positions].get(mode="promise_in_bounds")
        return Index(keys=keys, indices=rows)

    def where(self, mask: Any) -> "Index[Key]":
        """Make rows outside a mask belong to nothing.

        Args:
            mask: Boolean, broadcastable to the rows.

        Raises:
            OptionError: The mask is not boolean, or of another shape.
        """
        mask = jnp.asarray(mask)
        try:
            fits = jnp.broadcast_shapes(mask.shape, self.shape) == self.shape
        except ValueError:
            fits = False
        if mask.dtype != bool or not fits:
            raise OptionError(
                f"the mask has shape {mask.shape} and dtype {mask.dtype}; expected bool, "
                f"broadcastable to the rows {self.shape}."
            )
        return Index(keys=self.keys, indices=jnp.where(mask, self.positions, len(self.keys)))

    def segments(self, where: Any = None) -> Segments:
        """Sort the rows by key once, for several sums; rows of higher rank are flattened.

        Args:
            where: Boolean, broadcastable to the rows: which of them take part.
        """
        index = self if where is None else self.where(where)
        return Segments.of(index.indices.reshape(-1), len(self.keys))

    @property
    def counts(self) -> "Table[Key, jax.Array]":
        """(n_keys,) int32: number of rows of each key."""
        from kups_relax.data._table import Table

        return Table(keys=self.keys, data=self.segments().counts)

    def sum_over(self, x: Any, where: Any = None) -> "Table[Key, Any]":
        """Add the rows of each key, in an order that only that key's rows decide.

        The bits of a sum do not depend on other rows, on where the rows stand among them, or on
        compilation; see `Segments`. There is no reverse-mode derivative.

        Args:
            x: Pytree of arrays (*rows, ...).
            where: Boolean, broadcastable to the rows: which of them take part.

        Returns:
            Table whose arrays are (n_keys, ...); zero for a key without rows.

        Raises:
            KeyMismatchError: An array does not have the rows of this index.

        Example:
            >>> index = Index.integer([0, 1, 0, 2], n=2)
            >>> index.sum_over(jnp.array([1, 2, 3, 4])).data.tolist()
            [4, 2]
        """
        return self._over(x, self.segments(where).sum)

    def mean_over(self, x: Any, where: Any = None, empty: float = np.nan) -> "Table[Key, Any]":
        """Average the rows of each key: the sum of `sum_over` by the number of rows.

        Args:
            x: Pytree of arrays (*rows, ...); integers are averaged as floats.
            where: Boolean, broadcastable to the rows: which of them take part.
            empty: Value for a key without rows.

        Raises:
            KeyMismatchError: An array does not have the rows of this index.
        """
        segments = self.segments(where)

        def mean(x: jax.Array) -> jax.Array:
            x = x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.result_type(float))
            n = segments.counts.reshape(-1, *(1,) * (x.ndim - 1)).astype(x.dtype)
            mean = quotient(segments.sum(x), jnp.maximum(n, 1))
            return jnp.where(n > 0, mean, jnp.asarray(empty, x.dtype))

        return self._over(x, mean)

    def max_over(self, x: Any, where: Any = None, initial: Any = None) -> "Table[Key, Any]":
        """Take the largest row of each key; NaN where a row is NaN.

        Args:
            x: Pytree of arrays (*rows, ...).
            where: Boolean, broadcastable to the rows: which of them take part.
            initial: Scalar that takes part too, and stands for a key without rows; by default
                the lowest value of the dtype (-inf for floats).

        Raises:
            KeyMismatchError: An array does not have the rows of this index.
        """
        segments = self.segments(where)
        return self._over(x, lambda x: segments.max(x, _extreme(x.dtype, -1, initial)))

    def min_over(self, x: Any, where: Any = None, initial: Any = None) -> "Table[Key, Any]":
        """Take the smallest row of each key; NaN where a row is NaN.

        Args:
            x: Pytree of arrays (*rows, ...).
            where: Boolean, broadcastable to the rows: which of them take part.
            initial: Scalar that takes part too, and stands for a key without rows; by default
                the highest value of the dtype (inf for floats).

        Raises:
            KeyMismatchError: An array does not have the rows of this index.
        """
        segments = self.segments(where)
        return self._over(x, lambda x: segments.min(x, _extreme(x.dtype, 1, initial)))

    def _over(self, x: Any, reduce: Callable[[jax.Array], jax.Array]) -> "Table[Key, Any]":
        from kups_relax.data._table import Table

        n_rows = math.prod(self.shape)

        def one(path: Any, leaf: Any) -> jax.Array:
            leaf = jnp.asarray(leaf)
            if leaf.shape[: len(self.shape)] != self.shape:
                raise KeyMismatchError(
                    f"x{jax.tree_util.keystr(path)} has shape {leaf.shape}; expected its first "
                    f"axes to be {self.shape}, the rows of the index."
                )
            # Not -1: where a row has no elements, any number of rows would do.
            return reduce(leaf.reshape(n_rows, *leaf.shape[len(self.shape) :]))

        return Table(keys=self.keys, data=jax.tree_util.tree_map_with_path(one, x))

    def __getitem__(self, rows: Any) -> "Index[Key]":
        """Take rows, as of an array; the keys stay."""
        if isinstance(rows, int | np.integer) and not -len(self) <= rows < len(self):
            raise IndexError(f"row {rows} of an index with {len(self)} rows.")
        return Index(keys=self.keys, indices=self.indices[rows])

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.indices.shape[0]

    def __repr__(self) -> str:
        """Return shape and keys, in short."""
        return f"Index({getattr(self.indices, 'shape', self.indices)} into {self.keys!r})"


def _int32(rows: jax.Array, n: int) -> jax.Array:
    """Narrow or widen row numbers; what is outside of 0 .. n-1 must not wrap into it."""
    if rows.dtype.itemsize < 4:
        return rows.astype(jnp.int32)
    return jnp.where((rows >= 0) & (rows < n), rows, n).astype(jnp.int32)


def _extreme(dtype: Any, sign: int, initial: Any) -> Any:
    if initial is not None:
        return initial
    if jnp.issubdtype(dtype, jnp.inexact):
        return sign * np.inf
    if jnp.issubdtype(dtype, jnp.bool_):
        return sign > 0
    return jnp.iinfo(dtype).max if sign > 0 else jnp.iinfo(dtype).min
