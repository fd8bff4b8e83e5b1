"""How a transform adds within systems, and hands a number per system back to their elements.

A transform is written once against `Systems`. Where the elements of a system stand is the
business of the two layouts here:

* rows: a leaf's leading axis is rows, an `Index` names each row's system, and systems may be
  ragged and interleaved. Without an index the whole tree is one system.
* lanes: a leaf's last axis is the systems, as in the engine's tiles: (components, rows, lanes).

Every product is rounded before it is added and every sum has its order written out, so a
system's numbers do not depend on the layout's other systems, nor on the program around it.
"""

import dataclasses
import math
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from kups_relax._tree import dataclass, static
from kups_relax.data import Index
from kups_relax.errors import KeyMismatchError
from kups_relax.ops import Segments, fold, product, root

Tree = Any
State = TypeVar("State")


def like_parameters() -> Any:
    """Declare a field of a state that is a tree like the parameters, or None."""
    return dataclasses.field(metadata={"like_parameters": True})


@dataclass(eq=True)
class Lanes:
    """Say that the last axis of every leaf is the systems. Stands where an `Index` would.

    Attributes:
        n: Number of lanes.
    """

    n: int = static()

    @property
    def keys(self) -> Any:
        """The lanes, as the keys of a Table."""
        return Index.arange(self.n).keys


@dataclass
class _Rows:
    segments: Segments
    indices: jax.Array

    def sum(self, x: jax.Array) -> jax.Array:
        return self.segments.sum(fold(_flat(x), axis=1))

    def sums(self, x: jax.Array) -> jax.Array:
        rows = x.reshape(*x.shape[:2], math.prod(x.shape[2:])) if x.ndim > 1 else x[:, None, None]
        return self.segments.sum(fold(rows, axis=2).T).T

    def longest2(self, x: jax.Array) -> jax.Array:
        rows = _flat(x)
        return self.segments.max(fold(product(rows, rows), axis=1), 0.0)

    def spread(self, values: jax.Array, like: jax.Array) -> jax.Array:
        if like.ndim == 0:
            return values[0]
        # A padding row's sentinel is out of range, and takes 0.
        taken = values.at[self.indices].get(mode="fill", fill_value=0)
        return taken.reshape(-1, *(1,) * (like.ndim - 1))


def _flat(x: jax.Array) -> jax.Array:
    """(rows, elements of a row); there may be no rows."""
    return x.reshape(x.shape[0], math.prod(x.shape[1:])) if x.ndim else x.reshape(1, 1)


@dataclass
class _LaneRows:
    def sum(self, x: jax.Array) -> jax.Array:
        return fold(x.reshape(-1, x.shape[-1]))

    def sums(self, x: jax.Array) -> jax.Array:
        return fold(x.reshape(x.shape[0], -1, x.shape[-1]), axis=1)

    def longest2(self, x: jax.Array) -> jax.Array:
        components = x.reshape(-1, *x.shape[-2:]) if x.ndim > 1 else x[None, None]
        return jnp.max(fold(product(components, components)), axis=0)

    def spread(self, values: jax.Array, like: jax.Array) -> jax.Array:
        return values


@dataclass
class Systems:
    """Sums over each system of a tree, and per-system factors for its elements.

    Attributes:
        leaves: One layout for each leaf of the parameters, in leaf order.
        n: Number of systems.
    """

    leaves: tuple[Any, ...]
    n: int = static()

    @classmethod
    def of(cls, parameters: Tree, index_prefix: Tree = None) -> "Systems":
        """Match an index prefix to the parameters.

        Args:
            parameters: Pytree of arrays.
            index_prefix: None (one system), `Lanes`, or a tree prefix of the parameters whose
                leaves are `Index` objects over the same keys.

        Raises:
            KeyMismatchError: The indices do not share their keys.
            ValueError: The prefix does not fit the parameters, or an index has another number
                of rows than its leaf.
        """
        if index_prefix is None:
            layouts = [_one_system(leaf) for leaf in jax.tree.leaves(parameters)]
            return cls(leaves=tuple(layouts), n=1)
        prefixes, treedef = jax.tree.flatten(index_prefix, is_leaf=_is_index)
        for prefix in prefixes:
            if not _is_index(prefix):
                raise ValueError(
                    f"index_prefix has a leaf of type {type(prefix).__name__}; expected Index."
                )
        first = prefixes[0]
        layouts = []
        made: dict[int, _Rows] = {}
        for prefix, subtree in zip(prefixes, treedef.flatten_up_to(parameters), strict=True):
            if type(prefix) is not type(first) or prefix.keys != first.keys:
                raise KeyMismatchError(
                    "the indices of index_prefix refer to different keys: "
                    f"{_show(first)} and {_show(prefix)}. All must name the same systems."
                )
            for leaf in jax.tree.leaves(subtree):
                if isinstance(prefix, Lanes):
                    layouts.append(_LaneRows())
                    continue
                n_rows = jnp.shape(leaf)[0] if jnp.ndim(leaf) else 0
                if n_rows != len(prefix):
                    raise ValueError(
                        f"a leaf of shape {jnp.shape(leaf)} is indexed by an Index of "
                        f"{len(prefix)} rows; the index needs one row for each of the leaf's."
                    )
                if id(prefix) not in made:
                    segments = Segments.of(prefix.indices, len(prefix.keys))
                    made[id(prefix)] = _Rows(segments=segments, indices=prefix.indices)
                layouts.append(made[id(prefix)])
        n = first.n if isinstance(first, Lanes) else len(first.keys)
        return cls(leaves=tuple(layouts), n=n)

    def dot(self, a: Tree, b: Tree) -> jax.Array:
        """(n_systems,) inner products, leaf after leaf in leaf order."""
        total = None
        for layout, x, y in zip(self.leaves, jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
            part = layout.sum(product(x, y))
            total = part if total is None else total + part
        return jnp.zeros(self.n) if total is None else total

    def dots(self, memory: Tree, b: Tree) -> jax.Array:
        """(memory size, n_systems) inner products of each slot of a memory with one tree."""
        total = None
        for layout, x, y in zip(
            self.leaves, jax.tree.leaves(memory), jax.tree.leaves(b), strict=True
        ):
            part = layout.sums(product(x, y[None]))
            total = part if total is None else total + part
        return jnp.zeros((0, self.n)) if total is None else total

    def longest_row(self, tree: Tree) -> jax.Array:
        """(n_systems,) the largest Euclidean norm of a row, over all leaves."""
        longest = None
        for layout, x in zip(self.leaves, jax.tree.leaves(tree), strict=True):
            part = layout.longest2(x)
            longest = part if longest is None else jnp.maximum(longest, part)
        return jnp.zeros(self.n) if longest is None else root(longest)

    def spread(self, values: jax.Array, tree: Tree) -> Tree:
        """Give each element its system's value: leaves that broadcast against those of `tree`."""
        leaves, treedef = jax.tree.flatten(tree)
        out = [
            layout.spread(values, x).astype(values.dtype)
            for layout, x in zip(self.leaves, leaves, strict=True)
        ]
        return jax.tree.unflatten(treedef, out)

    def scale(self, tree: Tree, factors: jax.Array) -> Tree:
        """Multiply each element by its system's factor."""
        return jax.tree.map(
            lambda x, f: product(x, f.astype(x.dtype)), tree, self.spread(factors, tree)
        )

    def where(self, condition: jax.Array, a: Tree, b: Tree) -> Tree:
        """Choose whole systems: those of `a` where the condition holds, else those of `b`."""
        return jax.tree.map(jnp.where, self.spread(condition, a), a, b)

    def choose(self, condition: jax.Array, a: State, b: State) -> State:
        """Choose whole systems of two states, those of `a` where the condition holds.

        Args:
            condition: (n_systems,) bool.
            a: A dataclass with `systems`. Fields made by `like_parameters` are such trees, all
                other arrays have the systems on their last axis.
            b: Another one.
        """
        chosen: dict[str, Any] = {}
        for field in dataclasses.fields(a):  # pyright: ignore[reportArgumentType]
            x, y = getattr(a, field.name), getattr(b, field.name)
            if x is None or isinstance(x, Systems) or field.metadata.get("static"):
                continue
            if field.metadata.get("like_parameters"):
                chosen[field.name] = self.where(condition, x, y)
            else:
                chosen[field.name] = jax.tree.map(partial(jnp.where, condition), x, y)
        return dataclasses.replace(a, **chosen)  # pyright: ignore[reportArgumentType]


def keys_of(index_prefix: Tree) -> Any:
    """Return the keys that the systems of an index prefix go by."""
    if index_prefix is None:
        return Index.arange(1).keys
    return jax.tree.leaves(index_prefix, is_leaf=_is_index)[0].keys


def _is_index(node: Any) -> bool:
    return isinstance(node, Index | Lanes)


def _one_system(leaf: Any) -> _Rows:
    n_rows = jnp.shape(leaf)[0] if jnp.ndim(leaf) else 1
    zeros = jnp.zeros(n_rows, jnp.int32)
    segments = Segments(
        order=jnp.arange(n_rows, dtype=jnp.int32),
        starts=jnp.zeros(1, jnp.int32),
        counts=jnp.full(1, n_rows, jnp.int32),
    )
    return _Rows(segments=segments, indices=zeros)


def _show(prefix: Any) -> str:
    return f"{type(prefix).__name__} of {len(prefix.keys)} keys"
