"""Quasi-Newton steps from a guess of the Hessian, along internal coordinates."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from kups_relax._checks import POSITIVE, Whole, settle
from kups_relax._tree import dataclass
from kups_relax.errors import OptionError
from kups_relax.ops import apart, fold, rounded
from kups_relax.optimizers._base import Transform
from kups_relax.optimizers._solver import Chart, Solver, dot, solve
from kups_relax.optimizers._systems import Lanes

Tree = Any

# A pair is kept whose curvature is more than this, as a cosine, and per squared way, eV/Angstrom^2.
_COSINE, _CURVATURE = 1e-8, 1e-4

# Where stiffness is known, it is made softer by no more than the first of these, and stiffer by no
# more than the second: between water molecules it is ten times what the guess has.
_SOFTER, _STIFFER = 2.0, 50.0

# Curvature of the stiffest coordinate before anything is learnt, eV/Angstrom^2: ASE's.
_FIRST = 70.0

# The correction along the coordinates is no longer than this share of the step.
_BEND = 0.5


@dataclass
class Pairs:
    """Differences of places and of gradients, newest first, as parts in rows and in x.

    Attributes:
        rows: (memory_size, R, L).
        x: (memory_size, 3, rows, L).
    """

    rows: jax.Array
    x: jax.Array

    def push(self, rows: jax.Array, x: jax.Array) -> "Pairs":
        """Add a pair, and drop the oldest."""
        return Pairs(
            rows=jnp.concatenate([rows[None], self.rows[:-1]]),
            x=jnp.concatenate([x[None], self.x[:-1]]),
        )


@dataclass
class ModelHessianState:
    """State of `ScaleByModelHessian`. All arrays end with the lanes.

    Attributes:
        started: (L,) bool, whether there was a point before.
        params: (3, rows, L), that point.
        values: (R, L), its internal coordinates.
        on_rows: (R, L), the gradient there, as far as rows carry it.
        on_x: (3, rows, L), and what is left of it, that the ridge carries.
        moves: Differences of points.
        turns: Differences of gradients.
        kept: (memory_size, L) bool, which pairs there are.
        scale: (L,) by what the guess is too soft.
    """

    started: jax.Array
    params: jax.Array
    values: jax.Array
    on_rows: jax.Array
    on_x: jax.Array
    moves: Pairs
    turns: Pairs
    kept: jax.Array
    scale: jax.Array


@dataclasses.dataclass(frozen=True)
class ScaleByModelHessian(Transform[ModelHessianState]):
    """Take L-BFGS steps whose initial Hessian is a guess from the geometry.

    The guess is B^T k B + c: stretches, bends and torsions with the stiffness that they usually
    have, refreshed at each point and inverted once a step. What was learnt on the way is
    kept in internal coordinates: a gradient g is k B (B^T k B + c)^-1 g on the rows and the rest
    on x, and turns with the molecule when it is taken back by the B of the moment. Steps are
    followed along the coordinates too: where a straight step would stretch bonds that were to keep
    their length, it is corrected to second order, by the same inverse. That is what
    optimizers in internal coordinates do, without a choice of coordinates that can fail.

    Where atoms are packed (metals, rare gases), near pairs are the rows, their stiffness is
    learnt, and pairs stay in x.

    Beyond 512 atoms, or 192 packed ones, the Hessian is not written down: each step is solved
    for by conjugate gradients.

    Worth it where an evaluation costs more than a few milliseconds: a step of a molecule of 50
    atoms costs 3.8 of one core.

    It needs to know what atoms there are: `kups_relax.relax` and `kups_relax.ase.Optimizer` tell
    it by `chart`.

    Attributes:
        memory_size: Number of pairs kept, at least 1.
        step: Multiplies the longest step: 0.3 Angstrom for an atom of a molecule, 0.13 distances
            of neighbours for a packed one.

    References:
        Lindh et al., Chem. Phys. Lett. 1995, 241, 423, doi:10.1016/0009-2614(95)00646-L.
        Packwood et al., J. Chem. Phys. 2016, 144, 164109, doi:10.1063/1.4947024.
        Liu and Nocedal, Math. Program. 1989, 45, 503, doi:10.1007/BF01589116.
    """

    memory_size: int = 8
    step: float = 1.0

    def __post_init__(self) -> None:
        settle(self, memory_size=Whole(least=1), step=POSITIVE)

    @property
    def needs_chart(self) -> bool:
        """See `Transform.needs_chart`."""
        return True

    def init(
        self, parameters: Tree, index_prefix: Tree = None, *, n_internals: int | None = None
    ) -> ModelHessianState:
        """Make an empty history.

        Args:
            parameters: (3, rows, L).
            index_prefix: `Lanes`.
            n_internals: Length of the chart's rows, R; 0 where pairs stay in x.

        Raises:
            OptionError: There are no lanes, or nobody said how many rows there are.
        """
        if not isinstance(index_prefix, Lanes) or n_internals is None:
            raise OptionError(_NO_CHART)
        x = jnp.asarray(parameters)
        n_lanes = x.shape[-1]
        rows = jnp.zeros((n_internals, n_lanes), x.dtype)
        pairs = Pairs(
            rows=jnp.zeros((self.memory_size, *rows.shape), x.dtype),
            x=jnp.zeros((self.memory_size, *x.shape), x.dtype),
        )
        return ModelHessianState(
            started=jnp.zeros(n_lanes, bool),
            params=x,
            values=rows,
            on_rows=rows,
            on_x=jnp.zeros_like(x),
            moves=pairs,
            turns=pairs,
            kept=jnp.zeros((self.memory_size, n_lanes), bool),
            scale=jnp.ones(n_lanes, x.dtype),
        )

    def update(
        self, updates: Tree, state: ModelHessianState, params: Tree = None, **extra: Any
    ) -> tuple[Tree, ModelHessianState]:
        """Turn gradients into steps downhill, after learning from them.

        Args:
            updates: Gradients at `params`, (3, rows, L).
            state: From `init` or the last `update`.
            params: Where they were taken.
            **extra: `chart`; the rest is ignored.

        Raises:
            OptionError: There is no chart.
        """
        chart = extra.get("chart")
        if chart is None or params is None:
            raise OptionError(_NO_CHART)
        return _update(self, updates, state, params, chart)

    def reset(
        self, state: ModelHessianState, fresh: jax.Array, parameters: Tree
    ) -> ModelHessianState:
        """See `Transform.reset`."""
        del parameters
        return jax.tree.map(lambda x: jnp.where(fresh, jnp.zeros_like(x), x), state)

    def forget(
        self, state: ModelHessianState, which: jax.Array, parameters: Tree
    ) -> ModelHessianState:
        """See `Transform.forget`."""
        del parameters
        return dataclasses.replace(state, kept=state.kept & ~which)


_NO_CHART = (
    "ScaleByModelHessian needs to know what atoms there are. Relax with kups_relax.relax, or "
    "optimize Atoms with kups_relax.ase.Optimizer."
)


@dataclass
class _Learnt:
    """What the state of a system and its newest point make, all in x.

    Attributes:
        moves: (memory_size, 3, rows, L), s of each pair.
        turns: (memory_size, 3, rows, L), y of each pair.
        weights: (memory_size, L), 1/(s.y); 0 where there is no pair, or one that is no good.
    """

    moves: jax.Array
    turns: jax.Array
    weights: jax.Array


def _update(
    config: ScaleByModelHessian,
    gradient: jax.Array,
    state: ModelHessianState,
    x: jax.Array,
    chart: Chart,
) -> tuple[jax.Array, ModelHessianState]:
    # True, and the compiler cannot know.
    needed = chart.longest[0] >= 0
    reading = apart(needed, rounded(_read), chart, x)
    gradient = rounded(_reduced)(chart, gradient)
    solver = Solver.at(chart, reading, needed)
    state, learnt, newton = _learn(needed, gradient, state, x, solver)
    scale = apart(needed, rounded(_scale), solver, state, learnt)
    direction = apart(needed, rounded(_two_loop), gradient, learnt, scale, solver)
    direction, lost = apart(needed, rounded(_descent), gradient, direction, newton, scale)
    step = apart(needed, rounded(_bounded), direction, chart.longest * config.step)
    if chart.bonded:
        step = apart(needed, rounded(_followed), solver, x, gradient, step)
    return step, dataclasses.replace(state, kept=state.kept & ~lost, scale=scale)


def _read(chart: Chart, x: jax.Array) -> Any:
    return chart.read(x)


def _reduced(chart: Chart, gradient: jax.Array) -> jax.Array:
    return chart.reduced(gradient)


def _learn(
    needed: jax.Array,
    gradient: jax.Array,
    state: ModelHessianState,
    x: jax.Array,
    solver: Solver,
) -> tuple[ModelHessianState, _Learnt, jax.Array]:
    """Add the newest pair, and take all to where the system is.

    Returns:
        The state; the pairs in x; the step that the guess alone would take, uphill.
    """
    chart, reading = solver.chart, solver.reading
    if chart.bonded:
        moves = state.moves.push(chart.difference(reading.values, state.values), x - state.params)
        carried = apart(needed, rounded(_carried), solver, moves)
        solved = apart(needed, rounded(solve), solver, jnp.concatenate([gradient[None], carried]))
        newton, moved = solved[0], solved[1:]
        on_rows, on_x = apart(needed, rounded(_split), solver, newton)
        values = reading.values
    else:
        moves = state.moves.push(state.values, x - state.params)
        newton, moved = apart(needed, rounded(solve), solver, gradient), moves.x
        on_rows, on_x, values = state.on_rows, gradient, state.values
    turns = state.turns.push(on_rows - state.on_rows, on_x - state.on_x)
    kept = jnp.concatenate([state.started[None], state.kept[:-1]])
    turned = apart(needed, rounded(_turned), solver, turns) if chart.bonded else turns.x
    learnt = apart(needed, rounded(_paired), solver, moved, turned, kept)
    new = ModelHessianState(
        started=jnp.ones_like(state.started),
        params=x,
        values=values,
        on_rows=on_rows,
        on_x=on_x,
        moves=moves,
        turns=turns,
        kept=kept,
        scale=state.scale,
    )
    return new, learnt, newton


def _carried(solver: Solver, moves: Pairs) -> jax.Array:
    """B^T k s of moves: what the guess makes of them."""
    chart, reading = solver.chart, solver.reading
    return chart.pull(reading, reading.weights * moves.rows) + chart.ridge(reading) * moves.x


def _split(solver: Solver, newton: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The gradient as rows carry it, and the rest."""
    chart, reading = solver.chart, solver.reading
    return reading.weights * chart.along(reading, newton), chart.ridge(reading) * newton


def _turned(solver: Solver, turns: Pairs) -> jax.Array:
    """Differences of gradients, in x."""
    return turns.x + solver.chart.pull(solver.reading, turns.rows)


def _paired(solver: Solver, moves: jax.Array, y: jax.Array, kept: jax.Array) -> _Learnt:
    sy, ss, yy = dot(moves, y), dot(moves, moves), dot(y, y)
    good = kept & (sy > jnp.sqrt(ss * yy) * _COSINE)
    if solver.chart.bonded:
        good &= sy > ss * _CURVATURE
    weights = jnp.where(good, 1.0 / jnp.where(good, sy, 1.0), 0.0)
    return _Learnt(moves=moves, turns=y, weights=weights)


def _scale(solver: Solver, state: ModelHessianState, learnt: _Learnt) -> jax.Array:
    """By what the guess is too soft, as the newest pair has it (Nocedal and Wright, eq. 7.20)."""
    s, y, weight = learnt.moves[0], learnt.turns[0], learnt.weights[0]
    yhy = dot(y, solver.solve(y))
    if solver.chart.bonded:
        scale = jnp.clip(yhy * weight, 1 / _SOFTER, _STIFFER)
        return jnp.where(weight > 0, scale, jnp.where(state.kept[0], state.scale, 1.0))
    shs = dot(s, solver.times(s))
    # Where the slope is concave, that of a curvature of this size whatever its sign.
    concave = jnp.sqrt(yhy / jnp.where(shs > 0, shs, 1.0))
    first = _FIRST / solver.stiffest
    moved = state.kept[0] & (yhy > 0) & (shs > 0)
    return jnp.where(weight > 0, yhy * weight, jnp.where(moved, concave, first))


def _two_loop(gradient: jax.Array, learnt: _Learnt, scale: jax.Array, solver: Solver) -> jax.Array:
    """Nocedal and Wright, algorithm 7.4, downhill."""
    size = learnt.weights.shape[0]

    def back(age: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        q, alphas = carry
        weight = learnt.weights[age]
        alpha = weight * dot(learnt.moves[age], q)
        q = jnp.where(weight > 0, q - learnt.turns[age] * alpha, q)
        return q, lax.dynamic_update_index_in_dim(alphas, alpha, age, 0)

    def forth(k: jax.Array, r: jax.Array) -> jax.Array:
        age = size - 1 - k
        weight = learnt.weights[age]
        beta = weight * dot(learnt.turns[age], r)
        return jnp.where(weight > 0, r + learnt.moves[age] * (alphas[age] - beta), r)

    alphas = jnp.zeros_like(learnt.weights)
    ends = jnp.int32(0), jnp.int32(size)
    q, alphas = lax.fori_loop(*ends, back, (gradient, alphas))
    r = solver.solve(q) / scale
    return -lax.fori_loop(*ends, forth, r)


def _descent(
    gradient: jax.Array, direction: jax.Array, newton: jax.Array, scale: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """A direction downhill: the guess's own where that of the pairs is none.

    Returns:
        The direction; (L,) bool, whose pairs led astray.
    """
    lost = ~(dot(gradient, direction) < 0)
    other = -newton / scale
    # Where the guess has no inverse, there is the gradient left.
    other = jnp.where(dot(gradient, other) < 0, other, gradient * (-1 / _FIRST))
    return jnp.where(lost, other, direction), lost


def _bounded(step: jax.Array, limit: jax.Array) -> jax.Array:
    longest = _longest(step)
    return step * jnp.where(longest > limit, limit / jnp.where(longest > 0, longest, 1.0), 1.0)


def _followed(solver: Solver, x: jax.Array, gradient: jax.Array, step: jax.Array) -> jax.Array:
    """Bend a step so that the rows change as they would if they were straight, to second order."""
    chart, reading = solver.chart, solver.reading
    missing = chart.along(reading, step) - chart.difference(
        chart.read(x + step).values, reading.values
    )
    bend = solver.solve(chart.pull(reading, reading.weights * missing))
    bend = _bounded(bend, _longest(step) * _BEND)
    there = step + bend
    return jnp.where(dot(gradient, there) < 0, there, step)


def _longest(step: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.max(fold(step * step), axis=0))
