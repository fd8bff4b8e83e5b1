"""Gradient descent whose step length follows the curvature that it meets."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from kups_relax._checks import POSITIVE, settle
from kups_relax._tree import dataclass
from kups_relax.ops import apart, keep, rounded
from kups_relax.optimizers._base import Transform
from kups_relax.optimizers._systems import Systems, like_parameters

Tree = Any

# Below this share of the long length, the short one is taken.
_RATIO = 0.5

# A length grows by no more in an update.
_GROWTH = 10.0


@dataclass
class GradientDescentState:
    """What `GradientDescent` remembers.

    Attributes:
        params: Parameters as last seen.
        gradient: Gradients as last seen.
        length: (n_systems,) what gradients were last multiplied by.
        short: (n_systems,) the short length of the last update.
        started: (n_systems,) bool, whether there has been an update.
        systems: Which elements belong to which system.
    """

    params: Tree = like_parameters()
    gradient: Tree = like_parameters()
    length: jax.Array
    short: jax.Array
    started: jax.Array
    systems: Systems


@dataclasses.dataclass(frozen=True)
class GradientDescent(Transform[GradientDescentState]):
    """Multiply gradients by an inverse curvature that each system learns from its last move.

    With s and y the last differences of parameters and gradients, the length is s.s/s.y, or
    where s.y/y.y is less than half of that, the smaller one of this and the last such. Where s.y is
    not positive, for want of curvature, it is |s|/|y|, which is the same for a curvature of the
    opposite sign. It grows at most tenfold in an update. Follow it by `MaxStepSize(0.2)`, which is
    the safeguard where the curvature is about to change, and `Scale(-1.0)`.

    Energies may rise for a while: such lengths work because they do not insist. One gradient is
    needed for each step, and two arrays like the parameters for memory.

    Attributes:
        alpha: First curvature, eV/Angstrom^2.

    References:
        Barzilai and Borwein, IMA J. Numer. Anal. 1988, 8, 141, doi:10.1093/imanum/8.1.141.
        Frassoldati, Zanni and Zanghirati, J. Ind. Manag. Optim. 2008, 4, 299,
        doi:10.3934/jimo.2008.4.299, for the smallest of the last short lengths.
    """

    alpha: float = 70.0

    def __post_init__(self) -> None:
        settle(self, alpha=POSITIVE)

    def init(self, parameters: Tree, index_prefix: Tree = None) -> GradientDescentState:
        """See `Transform.init`."""
        parameters = jax.tree.map(jnp.asarray, parameters)
        systems = Systems.of(parameters, index_prefix)
        start = jnp.full(systems.n, 1 / self.alpha, jnp.result_type(*jax.tree.leaves(parameters)))
        return GradientDescentState(
            params=parameters,
            gradient=jax.tree.map(jnp.zeros_like, parameters),
            length=start,
            short=start,
            started=jnp.zeros(systems.n, bool),
            systems=systems,
        )

    def update(
        self, updates: Tree, state: GradientDescentState, params: Tree = None, **extra: Any
    ) -> tuple[Tree, GradientDescentState]:
        """Multiply gradients by each system's length.

        Args:
            updates: Gradients at `params`.
            state: From `init` or the last `update`.
            params: Where the gradients were taken. Required.
            **extra: Ignored.

        Raises:
            ValueError: `params` is missing.
        """
        del extra
        if params is None:
            raise ValueError(
                "GradientDescent.update got params=None; pass the parameters at which the "
                "gradients were taken: update(gradients, state, params)."
            )
        return _update(updates, state, params)

    def forget(
        self, state: GradientDescentState, which: jax.Array, parameters: Tree
    ) -> GradientDescentState:
        """See `Transform.forget`. Lengths start anew; the last point is still known."""
        del parameters
        start = jnp.full_like(state.length, 1 / self.alpha)
        return dataclasses.replace(
            state,
            length=jnp.where(which, start, state.length),
            short=jnp.where(which, start, state.short),
        )


@dataclass
class Move:
    """Inner products of a system's last move, and what they say of the curvature.

    Attributes:
        moved: (n_systems,) bool, whether the last move says anything.
        convex: (n_systems,) bool, whether the curvature along it is positive.
        ss: (n_systems,) s.s.
        sy: (n_systems,) s.y.
        long: (n_systems,) s.s/s.y, or |s|/|y| where the curvature is not positive.
        short: (n_systems,) s.y/y.y, likewise.
    """

    moved: jax.Array
    convex: jax.Array
    ss: jax.Array
    sy: jax.Array
    long: jax.Array
    short: jax.Array

    @classmethod
    def of(cls, systems: Systems, s: Tree, y: Tree, started: jax.Array) -> "Move":
        """Learn from differences of parameters and of gradients. Inside `rounded`."""
        return apart(always(started), cls._of, systems, s, y, started)

    @classmethod
    def _of(cls, systems: Systems, s: Tree, y: Tree, started: jax.Array) -> "Move":
        ss, sy, yy = systems.dot(s, s), systems.dot(s, y), systems.dot(y, y)
        moved = started & (ss > 0) & (yy > 0)
        convex = moved & (sy > 1e-8 * (jnp.sqrt(ss) * jnp.sqrt(yy)))
        size = jnp.sqrt(ss) / jnp.sqrt(positive(yy))
        return cls(
            moved=moved,
            convex=convex,
            ss=ss,
            sy=sy,
            long=jnp.where(convex, ss / positive(jnp.where(convex, sy, 1)), size),
            short=jnp.where(convex, sy / positive(yy), size),
        )


def always(started: jax.Array) -> jax.Array:
    """A truth that the compiler does not know, for `ops.apart`."""
    return jnp.sum(started, dtype=jnp.int32) >= 0


def positive(x: jax.Array) -> jax.Array:
    """A divisor that is not 0: 1 where x is not positive."""
    return jnp.where(x > 0, x, jnp.ones((), x.dtype))


@jax.jit
def _update(
    gradient: Tree, state: GradientDescentState, params: Tree
) -> tuple[Tree, GradientDescentState]:
    gradient, params = jax.tree.map(keep, (gradient, params))
    return rounded(_descend)(gradient, state, params)


def _descend(
    gradient: Tree, state: GradientDescentState, params: Tree
) -> tuple[Tree, GradientDescentState]:
    systems = state.systems
    s = jax.tree.map(jnp.subtract, params, state.params)
    y = jax.tree.map(jnp.subtract, gradient, state.gradient)
    move = Move.of(systems, s, y, state.started)
    curved = move.short < _RATIO * move.long
    length = jnp.where(curved, jnp.minimum(move.short, state.short), move.long)
    length = jnp.minimum(length, _GROWTH * state.length)
    length = jnp.where(move.moved, length, state.length)
    new = GradientDescentState(
        params=params,
        gradient=gradient,
        length=length,
        short=jnp.where(move.moved, move.short, state.short),
        started=jnp.ones_like(state.started),
        systems=systems,
    )
    return systems.scale(gradient, length), new
