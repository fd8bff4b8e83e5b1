"""Nonlinear conjugate gradients, whose steps along a line are found by secants of the slope."""

import dataclasses
from functools import partial
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from kups_relax._checks import POSITIVE, Choice, settle
from kups_relax._tree import dataclass
from kups_relax.ops import apart, keep, rounded
from kups_relax.optimizers._base import Transform
from kups_relax.optimizers._descent import Move, always, positive
from kups_relax.optimizers._systems import Systems, like_parameters

Tree = Any

Formula = Literal["hybrid", "polak-ribiere", "hager-zhang"]

# A line is left where its slope has fallen to this share, or after so many further steps.
_SLOPE, _STEPS = 0.7, 3

# A secant step is at most so many times the one before it.
_FARTHEST = 3.0

# A direction at a smaller cosine to the gradient leads downhill too slowly to be trusted.
_COSINE = 1e-3


@dataclass
class ConjugateGradientState:
    """What `ConjugateGradient` remembers.

    Attributes:
        params: Parameters as last seen.
        gradient: Gradients as last seen.
        origin: Gradients where the line began.
        direction: The line's direction, uphill.
        slope: (n_systems,) that of the line where it began.
        steps: (n_systems,) int32, steps along the line after the first.
        started: (n_systems,) bool, whether there has been an update.
        systems: Which elements belong to which system.
    """

    params: Tree = like_parameters()
    gradient: Tree = like_parameters()
    origin: Tree = like_parameters()
    direction: Tree = like_parameters()
    slope: jax.Array
    steps: jax.Array
    started: jax.Array
    systems: Systems


@dataclasses.dataclass(frozen=True)
class ConjugateGradient(Transform[ConjugateGradientState]):
    """Turn gradients into conjugate directions, of a length that needs no energies.

    The first step along a new direction has the length that the curvature of the last move says.
    Where it leaves more than 0.7 of the slope, up or down, the next step goes along the same line
    to where a secant of the slope is zero, at most three times as far as the last one; after three
    such steps the direction is new in any case. Each update needs one gradient. A direction that
    does not lead downhill is replaced by the gradient. Follow it by `MaxStepSize(0.2)` and
    `Scale(-1.0)`.

    Attributes:
        beta: How much of the last direction is kept. "hybrid": the smaller one of Hestenes and
            Stiefel's and of Dai and Yuan's, at least 0; "polak-ribiere": at least 0;
            "hager-zhang".
        alpha: First curvature, eV/Angstrom^2.
        steps: "secant", as above; "none": every update makes a new direction, for a line search
            to follow, of the length where it may begin.

    References:
        Dai and Yuan, Ann. Oper. Res. 2001, 103, 33, doi:10.1023/A:1012930416777.
        Hager and Zhang, SIAM J. Optim. 2005, 16, 170, doi:10.1137/030601880.
        Nocedal and Wright, Numerical Optimization, 2nd ed., chapter 5.
    """

    beta: Formula = "hybrid"
    alpha: float = 70.0
    steps: Literal["secant", "none"] = "secant"

    def __post_init__(self) -> None:
        choices = {"beta": Choice(get_args(Formula)), "steps": Choice(("secant", "none"))}
        settle(self, alpha=POSITIVE, **choices)

    def init(self, parameters: Tree, index_prefix: Tree = None) -> ConjugateGradientState:
        """See `Transform.init`."""
        parameters = jax.tree.map(jnp.asarray, parameters)
        systems = Systems.of(parameters, index_prefix)
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        return ConjugateGradientState(
            params=parameters,
            gradient=zeros,
            origin=zeros,
            direction=zeros,
            slope=jnp.zeros(systems.n, jnp.result_type(*jax.tree.leaves(parameters))),
            steps=jnp.zeros(systems.n, jnp.int32),
            started=jnp.zeros(systems.n, bool),
            systems=systems,
        )

    def update(
        self, updates: Tree, state: ConjugateGradientState, params: Tree = None, **extra: Any
    ) -> tuple[Tree, ConjugateGradientState]:
        """Turn gradients into steps uphill.

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
                "ConjugateGradient.update got params=None; pass the parameters at which the "
                "gradients were taken: update(gradients, state, params)."
            )
        return _update(self, updates, state, params)

    def forget(
        self, state: ConjugateGradientState, which: jax.Array, parameters: Tree
    ) -> ConjugateGradientState:
        """See `Transform.forget`. The next direction is the gradient, of a length that is known."""
        del parameters
        nothing = jax.tree.map(jnp.zeros_like, state.direction)
        direction = state.systems.where(which, nothing, state.direction)
        return dataclasses.replace(state, direction=direction)


@partial(jax.jit, static_argnums=0)
def _update(
    config: ConjugateGradient, gradient: Tree, state: ConjugateGradientState, params: Tree
) -> tuple[Tree, ConjugateGradientState]:
    gradient, params = jax.tree.map(keep, (gradient, params))
    return rounded(partial(_go, config))(gradient, state, params)


def _go(
    config: ConjugateGradient, gradient: Tree, state: ConjugateGradientState, params: Tree
) -> tuple[Tree, ConjugateGradientState]:
    systems, old = state.systems, state.direction
    s = jax.tree.map(jnp.subtract, params, state.params)
    y = jax.tree.map(jnp.subtract, gradient, state.gradient)
    move = Move.of(systems, s, y, state.started)

    needed, conjugate = always(state.started), partial(_conjugate, config)
    direction, slope, size2 = apart(needed, conjugate, gradient, state, move.moved)
    length = jnp.where(move.moved, move.long * (slope / positive(size2)), 1 / config.alpha)
    step = systems.scale(direction, length)

    stay = jnp.zeros_like(state.started)
    if config.steps == "secant":
        left = jnp.abs(systems.dot(gradient, old))
        stay = move.convex & (left > _SLOPE * state.slope) & (state.steps < _STEPS)
        # To where the slope along the last step would be 0, were the curvature constant.
        share = systems.dot(gradient, s) / positive(jnp.where(stay, move.sy, 1))
        step = systems.where(stay, systems.scale(s, jnp.clip(share, -_FARTHEST, 1)), step)
    new = ConjugateGradientState(
        params=params,
        gradient=gradient,
        origin=systems.where(stay, state.origin, gradient),
        direction=systems.where(stay, old, direction),
        slope=jnp.where(stay, state.slope, slope),
        steps=jnp.where(stay, state.steps + 1, 0),
        started=jnp.ones_like(state.started),
        systems=systems,
    )
    return step, new


def _conjugate(
    config: ConjugateGradient, gradient: Tree, state: ConjugateGradientState, moved: jax.Array
) -> tuple[Tree, jax.Array, jax.Array]:
    """Make a direction, uphill, conjugate to the last one; its slope, and its norm squared."""
    systems, old = state.systems, state.direction
    y = jax.tree.map(jnp.subtract, gradient, state.origin)
    gg, gy = systems.dot(gradient, gradient), systems.dot(gradient, y)
    # The textbooks' direction is minus this one.
    curvature = -systems.dot(y, old)
    if config.beta == "polak-ribiere":
        beta = jnp.maximum(gy, 0) / positive(systems.dot(state.origin, state.origin))
    else:
        moved &= curvature > 0
        if config.beta == "hybrid":
            beta = jnp.clip(gy, 0, gg) / positive(curvature)
        else:
            beta = _hager_zhang(systems, gradient, state, y, gy, positive(curvature))
    beta = jnp.where(moved, beta, 0)
    direction = jax.tree.map(jnp.add, gradient, systems.scale(old, beta))
    slope, size2 = systems.dot(gradient, direction), systems.dot(direction, direction)
    lost = ~(slope > _COSINE * (jnp.sqrt(gg) * jnp.sqrt(size2)))
    direction = systems.where(lost, gradient, direction)
    return direction, jnp.where(lost, gg, slope), jnp.where(lost, gg, size2)


def _hager_zhang(
    systems: Systems,
    gradient: Tree,
    state: ConjugateGradientState,
    y: Tree,
    gy: jax.Array,
    curvature: jax.Array,
) -> jax.Array:
    """Hager and Zhang's formula, truncated as theirs, with eta = 0.01."""
    old = state.direction
    along = 2 * (systems.dot(y, y) * systems.dot(gradient, old)) / curvature
    size = jnp.sqrt(systems.dot(old, old))
    before = jnp.sqrt(systems.dot(state.origin, state.origin))
    least = -1 / positive(size * jnp.minimum(before, 0.01))
    return jnp.maximum((gy + along) / curvature, least)
