"""Transforms that bound or scale a step, per system."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from kups_relax._checks import POSITIVE, Number, settle
from kups_relax._tree import dataclass
from kups_relax.ops import product, root
from kups_relax.optimizers._base import Transform
from kups_relax.optimizers._systems import Systems

Tree = Any


@dataclass
class SystemsState:
    """State of a transform that remembers nothing but which elements belong to which system."""

    systems: Systems


class _Stateless(Transform[SystemsState]):
    def init(self, parameters: Tree, index_prefix: Tree = None) -> SystemsState:
        """See `Transform.init`."""
        return SystemsState(systems=Systems.of(parameters, index_prefix))

    def reset(self, state: SystemsState, fresh: jax.Array, parameters: Tree) -> SystemsState:
        """See `Transform.reset`."""
        del fresh, parameters
        return state


@dataclasses.dataclass(frozen=True)
class MaxStepSize(_Stateless):
    """Bound the longest row of a system's step; the whole step is scaled, its direction kept.

    ASE's rule: a system whose longest row reaches `max_step_size` is multiplied by
    max_step_size / longest.

    Attributes:
        max_step_size: Angstrom, for positions.
    """

    max_step_size: float = 0.2

    def __post_init__(self) -> None:
        settle(self, max_step_size=POSITIVE)

    def update(
        self, updates: Tree, state: SystemsState, params: Tree = None, **extra: Any
    ) -> tuple[Tree, SystemsState]:
        """See `Transform.update`."""
        del params, extra
        return _bound_rows(self.max_step_size, state.systems, updates), state


@dataclasses.dataclass(frozen=True)
class ClipByGlobalNorm(_Stateless):
    """Bound the Euclidean norm of a system's updates, each system on its own.

    Attributes:
        max_norm: In the updates' unit (eV/Angstrom for gradients).
    """

    max_norm: float

    def __post_init__(self) -> None:
        settle(self, max_norm=POSITIVE)

    def update(
        self, updates: Tree, state: SystemsState, params: Tree = None, **extra: Any
    ) -> tuple[Tree, SystemsState]:
        """See `Transform.update`."""
        del params, extra
        return _bound_norm(self.max_norm, state.systems, updates), state


@dataclasses.dataclass(frozen=True)
class ClipByValue(_Stateless):
    """Bound each component of the updates, elementwise: `optax.clip`.

    Directions of atoms are not kept; `ClipByGlobalNorm` and `MaxStepSize` keep them.

    Attributes:
        max_delta: In the updates' unit (eV/Angstrom for gradients).
    """

    max_delta: float

    def __post_init__(self) -> None:
        settle(self, max_delta=POSITIVE)

    def update(
        self, updates: Tree, state: SystemsState, params: Tree = None, **extra: Any
    ) -> tuple[Tree, SystemsState]:
        """See `Transform.update`."""
        del params, extra
        limit = self.max_delta
        return jax.tree.map(lambda u: jnp.clip(u, -limit, limit), updates), state


@dataclasses.dataclass(frozen=True)
class Scale(_Stateless):
    """Multiply updates by a number; -1 turns an ascent direction into a step downhill.

    Attributes:
        factor: The number.
    """

    factor: float

    def __post_init__(self) -> None:
        settle(self, factor=Number())

    def update(
        self, updates: Tree, state: SystemsState, params: Tree = None, **extra: Any
    ) -> tuple[Tree, SystemsState]:
        """See `Transform.update`."""
        del params, extra
        factor = self.factor
        return jax.tree.map(lambda u: product(u, jnp.asarray(factor, u.dtype)), updates), state


@partial(jax.jit, static_argnums=0)
def _bound_rows(limit: float, systems: Systems, updates: Tree) -> Tree:
    return _shrink(limit, systems.longest_row(updates), systems, updates)


@partial(jax.jit, static_argnums=0)
def _bound_norm(limit: float, systems: Systems, updates: Tree) -> Tree:
    return _shrink(limit, root(systems.dot(updates, updates)), systems, updates)


def _shrink(limit: float, size: jax.Array, systems: Systems, updates: Tree) -> Tree:
    too_long = size >= limit
    one = jnp.ones((), size.dtype)
    factor = jnp.where(too_long, limit / jnp.where(too_long, size, one), one)
    return systems.scale(updates, factor)
