"""Transformations of optax, so that no system's step depends on another's."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import optax

from kups_relax._checks import can_hash
from kups_relax._tree import dataclass, static
from kups_relax.errors import OptionError, shown
from kups_relax.ops import rounded
from kups_relax.optimizers._base import Transform
from kups_relax.optimizers._probe import asks_for_value, mixes_rows
from kups_relax.optimizers._systems import Lanes, keys_of

Tree = Any

# What is said to our own transforms alone.
_OURS = ("accepted", "chart", "cell_rows")


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

    def __post_init__(self) -> None:
        parts = (getattr(self.transformation, name, None) for name in ("init", "update"))
        if not all(map(callable, parts)) or not can_hash(self.transformation):
            raise OptionError(
                f"transformation is {shown(self.transformation)}; expected an "
                "optax.GradientTransformation, whose init and update can be called, and which can "
                "be hashed."
            )

    def __repr__(self) -> str:
        return f"PerSystem({self.transformation!r})"

    @property
    def needs_value(self) -> bool:
        """See `Transform.needs_value`."""
        return asks_for_value(self.transformation)

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
        extra = {k: v for k, v in extra.items() if k not in _OURS}
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

    def hold(self, new: PerSystemState, old: PerSystemState, held: jax.Array) -> PerSystemState:
        """See `Transform.hold`.

        Raises:
            OptionError: There are several systems, which share one state.
        """
        self._refuse_shared(new, held)
        return super().hold(new, old, held)

    def forget(self, state: PerSystemState, which: jax.Array, parameters: Tree) -> PerSystemState:
        """See `Transform.forget`.

        Raises:
            OptionError: There are several systems, which share one state.
        """
        self._refuse_shared(state, which)
        start = self.init(parameters, Lanes(n=which.shape[0]) if state.lanes else None)
        return super().hold(state, start, which)

    def _refuse_shared(self, state: PerSystemState, which: jax.Array) -> None:
        if not state.lanes and which.shape[0] != 1:
            raise OptionError(
                "an optax transformation before a line search has one state for all systems of "
                "an Index, and cannot be held for some of them. Relax with kups_relax.relax, "
                "where each structure has its own, or use a transform of kups_relax.optimizers."
            )

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
