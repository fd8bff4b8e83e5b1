"""The contract of optimizers, and how they are chained."""

import abc
import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kups_relax._tree import dataclass, static
from kups_relax.errors import OptionError
from kups_relax.ops import rounded
from kups_relax.optimizers._probe import mixes_rows
from kups_relax.optimizers._systems import Lanes, keys_of

State = TypeVar("State")
Tree = Any


class Transform(abc.ABC, Generic[State]):
    """One step from gradients to updates, per system. Optax-shaped.

    A transform is an immutable value, hashed by its options; all that changes is in its state.
    Its `init` and `update` can stand wherever optax's can, for one system, and take an
    `index_prefix` for many.
    """

    @abc.abstractmethod
    def init(self, parameters: Tree, index_prefix: Tree = None) -> State:
        """Make the state for parameters that have not moved yet.

        Args:
            parameters: Pytree of floating arrays.
            index_prefix: A tree prefix of `parameters` whose leaves are `Index` objects: which
                system each row belongs to. None: everything is one system.
        """

    @abc.abstractmethod
    def update(
        self, updates: Tree, state: State, params: Tree = None, **extra: Any
    ) -> tuple[Tree, State]:
        """Turn gradients (or what an earlier transform made of them) into updates."""

    def reset(self, state: State, fresh: jax.Array, parameters: Tree) -> State:
        """Start some systems anew; the states of the others keep their bits.

        The engine calls it when it hands a lane to the next structure. This default suits states
        whose arrays all have the systems on their last axis.

        Args:
            state: State of an `init` with `Lanes`.
            fresh: (n_systems,) bool.
            parameters: The parameters, with those of the fresh systems in place.
        """
        start = self.init(parameters, Lanes(n=fresh.shape[0]))
        return jax.tree.map(lambda new, old: jnp.where(fresh, new, old), start, state)


@dataclass
class PerSystemState:
    """State of a `PerSystem`.

    Attributes:
        inner: The transformation's own state; with a last axis of lanes where `lanes`.
        lanes: Whether the systems are lanes.
    """

    inner: Any
    lanes: bool = static()


@dataclasses.dataclass(frozen=True)
class PerSystem(Transform[PerSystemState]):
    """Run any optax transformation, so that no system's step depends on another's.

    In the engine every lane gets its own copy of the state by `jax.vmap`, so that counters,
    moments and norms are those of one structure; sums are written out in a fixed order, so that
    they are exact like those of our own transforms.

    With an `Index` of several systems the transformation sees the whole flat tree, as it always
    does in optax. That is right, and exact, for elementwise ones; those that mix rows (norms over
    the tree, noise) are found out by `mixes_rows`, and refused.

    Attributes:
        transformation: An `optax.GradientTransformation`.
    """

    transformation: Any

    def init(self, parameters: Tree, index_prefix: Tree = None) -> PerSystemState:
        """See `Transform.init`.

        Raises:
            OptionError: There are several systems in one flat tree, and the transformation would
                mix them, or asks for more than gradients.
        """
        lanes = isinstance(index_prefix, Lanes)
        if not lanes and len(keys_of(index_prefix)) > 1:
            self._refuse_mixing()
        init = self.transformation.init
        init = jax.vmap(init, in_axes=-1, out_axes=-1) if lanes else init
        return PerSystemState(inner=init(parameters), lanes=lanes)

    def update(
        self, updates: Tree, state: PerSystemState, params: Tree = None, **extra: Any
    ) -> tuple[Tree, PerSystemState]:
        """See `Transform.update`.

        Args:
            updates: Gradients, or what an earlier transform made of them.
            state: From `init` or the last `update`.
            params: Where the gradients were taken.
            **extra: Passed on to transformations that take more. Where systems are lanes, arrays
                have the lanes on their last axis.

        Raises:
            OptionError: The transformation asks for what it was not given.
        """
        arrays = {k: v for k, v in extra.items() if isinstance(v, jax.Array | np.ndarray)}
        others = {k: v for k, v in extra.items() if k not in arrays}
        if not state.lanes:
            arrays = {k: v.reshape(()) if v.shape == (1,) else v for k, v in arrays.items()}
        run = _run if others else _run_compiled
        with self._asking_for_more():
            updates, inner = run(
                self.transformation, state.lanes, updates, state.inner, params, arrays, **others
            )
        return updates, PerSystemState(inner=inner, lanes=state.lanes)

    def _refuse_mixing(self) -> None:
        with self._asking_for_more():
            mixes = mixes_rows(self.transformation)
        if mixes:
            raise OptionError(
                f"{self.transformation!r} mixes the systems of an Index: with norms over the "
                "whole tree, or noise by place. Use what works within systems, such as "
                "ClipByGlobalNorm or ScaleByAseLbfgs of kups_relax.optimizers, or relax with "
                "kups_relax.relax, where each structure has a state of its own."
            )

    @contextlib.contextmanager
    def _asking_for_more(self) -> Iterator[None]:
        try:
            yield
        except TypeError as error:
            if "missing" not in str(error):
                raise
            raise OptionError(
                f"{self.transformation!r} asks for more than gradients ({error}). It works on one "
                "system, where you call update with it; optax's line searches take value, grad "
                "and value_fn. For many systems use 'lbfgs', or 'lbfgs-zoom', which searches "
                "lines."
            ) from error


def _run(
    transformation: Any,
    lanes: bool,
    updates: Tree,
    inner: Any,
    params: Tree,
    arrays: dict[str, Any],
    **others: Any,
) -> tuple[Tree, Any]:
    """Run an optax transformation, each operation rounded and each sum ordered."""
    transformation = optax.with_extra_args_support(transformation)

    def one(updates: Tree, inner: Any, params: Tree, arrays: dict[str, Any]) -> tuple[Tree, Any]:
        return transformation.update(updates, inner, params, **arrays, **others)

    function = jax.vmap(one, in_axes=-1, out_axes=-1) if lanes else one
    return rounded(function, ordered=True)(updates, inner, params, arrays)


_run_compiled = jax.jit(_run, static_argnums=(0, 1))


@dataclasses.dataclass(frozen=True)
class Chain(Transform[tuple[Any, ...]]):
    """Run transforms one after the other. Made by `chain`.

    Attributes:
        transforms: In the order in which they run.
    """

    transforms: tuple[Transform[Any], ...]

    def init(self, parameters: Tree, index_prefix: Tree = None) -> tuple[Any, ...]:
        """See `Transform.init`."""
        return tuple(t.init(parameters, index_prefix) for t in self.transforms)

    def update(
        self, updates: Tree, state: tuple[Any, ...], params: Tree = None, **extra: Any
    ) -> tuple[Tree, tuple[Any, ...]]:
        """See `Transform.update`."""
        new = []
        for transform, inner in zip(self.transforms, state, strict=True):
            updates, inner = transform.update(updates, inner, params, **extra)
            new.append(inner)
        return updates, tuple(new)

    def reset(self, state: tuple[Any, ...], fresh: jax.Array, parameters: Tree) -> tuple[Any, ...]:
        """See `Transform.reset`."""
        return tuple(
            t.reset(inner, fresh, parameters)
            for t, inner in zip(self.transforms, state, strict=True)
        )


def as_transform(transform: Any) -> Transform[Any]:
    """Return one of our transforms as it is, and wrap one of optax's.

    Raises:
        OptionError: It is neither.
    """
    if isinstance(transform, Transform):
        return transform
    if callable(getattr(transform, "init", None)) and callable(getattr(transform, "update", None)):
        return PerSystem(transform)
    raise OptionError(
        f"{transform!r} is no optimizer; expected a transform of kups_relax.optimizers "
        "or an optax.GradientTransformation."
    )


def chain(*transforms: Any) -> Chain:
    """Compose transforms of ours and of optax's; each gets the updates of the one before.

    Args:
        transforms: `Transform` or `optax.GradientTransformation` objects, at least one.

    Returns:
        A transform: `init(parameters, index_prefix=None)`, `update(updates, state, params)`.

    Raises:
        OptionError: One of them is no optimizer, or there is none.

    Example:
        >>> import jax.numpy as jnp
        >>> from kups_relax import optimizers as ko
        >>> optimizer = ko.chain(ko.ScaleByAseLbfgs(), ko.MaxStepSize(0.2), ko.Scale(-1.0))
        >>> x = jnp.array([1.0, 2.0])
        >>> state = optimizer.init(x)
        >>> updates, state = optimizer.update(2 * x, state, x)
        >>> bool((updates < 0).all())
        True
    """
    if not transforms:
        raise OptionError("chain() got no transforms; give it at least one.")
    return Chain(tuple(as_transform(t) for t in transforms))


def apply_updates(params: Tree, updates: Tree) -> Tree:
    """Add updates to parameters, each leaf in its own dtype."""
    return jax.tree.map(lambda p, u: (p + u).astype(jnp.result_type(p)), params, updates)
