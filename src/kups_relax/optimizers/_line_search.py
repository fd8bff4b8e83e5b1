"""Line searches, per system: each tries points along its own line, one evaluation a turn.

A search is the last of a chain. The transforms before it make a direction, and learn from the
points that are taken alone. Every system is in a phase of its own, so none waits for another's
trials, and what it gets is a function of itself.

A line is parametrised by its first trial: step 0 is the point that was taken last, step 1 where the
first trial led. What constraints, bounds and rounding made of that step is so in the line already.
"""

import abc
import dataclasses
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from kups_relax._checks import NOT_NEGATIVE, Choice, Number, Whole, settle
from kups_relax._tree import dataclass
from kups_relax.ops import apart, keep, root, rounded
from kups_relax.optimizers._base import Search
from kups_relax.optimizers._systems import Systems

Tree = Any

# A step within this factor of the longest one is the longest one.
_NEARLY = 1 - 1e-4


class Point(NamedTuple):
    """A point of each line: (n_systems,) step, value and slope by the step."""

    step: jax.Array
    value: jax.Array
    slope: jax.Array


@dataclass
class Line:
    """What a search knows of the line of each system. All arrays are (n_systems,).

    Attributes:
        step: That of the trial that is evaluated next; 0 where no line is under way.
        n_trials: int32, trials on this line, the one under way among them.
        origin: Where the line starts.
        low: End of the bracket whose value is lower; the best point so far.
        high: Its other end.
        bracketed: bool, whether there is a bracket.
        returning: bool, whether the trial is the best point so far, and will be taken.
        scale: Length of the first trial's step, in units of the direction that was proposed.
        limit: The longest step.
    """

    step: jax.Array
    n_trials: jax.Array
    origin: Point
    low: Point
    high: Point
    bracketed: jax.Array
    returning: jax.Array
    scale: jax.Array
    limit: jax.Array


class Verdict(NamedTuple):
    """What becomes of each system's trial, (n_systems,) each.

    Attributes:
        taken: bool, it is the next point.
        failed: bool, it is taken for want of a better one: the direction was no good.
        line: The line, with the step of the next trial where the trial is not taken.
    """

    taken: jax.Array
    failed: jax.Array
    line: Line


@dataclass
class LineSearchState:
    """State of a `LineSearch`.

    Attributes:
        line: What is known of each line.
        taken: (n_systems,) bool, who took the point of the last update.
        failed: (n_systems,) bool, who took it for want of a better one.
        start: Where lines start, like the parameters.
        gradient: The gradient there, likewise.
        path: From there to the first trial, likewise.
        systems: Which elements belong to which system.
    """

    line: Line
    taken: jax.Array
    failed: jax.Array
    start: Tree
    gradient: Tree
    path: Tree
    systems: Systems


@dataclasses.dataclass(frozen=True)
class LineSearch(Search[LineSearchState]):
    """What line searches share: lines, bounds, and when energies mean nothing.

    A first trial is where the direction leads: `MaxStepSize` before the search bounds it. Where a
    direction does not lead downhill, and where no trial was any good, what the transforms before
    have learnt is dropped, and the steepest descent taken, as long as the direction was.

    Attributes:
        decrease: A step's value must be lower than the origin's by this share of what the slope
            there promises (Armijo's c1).
        max_trials: Evaluations on one line. Then the best of them is taken, whatever it is.
        max_step_size: Longest row of a step, from the start of its line; None: it is not bounded.
        max_learning_rate: Longest step in units of the direction; None: it is not bounded.
        initial: The first trial, in units of the direction. "one": 1. "keep": the step that was
            taken last, times `growth`.
        growth: By which a step is lengthened at most.
        resolution: Differences between values below this share of the value mean nothing; where
            they are smaller, slopes alone decide (Hager and Zhang's approximate conditions). So a
            search goes on where energies no longer tell its points apart.
    """

    decrease: float = 1e-4
    max_trials: int = 20
    max_step_size: float | None = None
    max_learning_rate: float | None = None
    initial: Literal["one", "keep"] = "one"
    growth: float = 4.0
    resolution: float = 1e-6

    def __post_init__(self) -> None:
        settle(
            self,
            f"{type(self).__name__}: ",
            # Above, the minimum of a parabola would be no good.
            decrease=Number(above=0, below=0.5),
            max_trials=Whole(least=1),
            max_step_size=Number(above=0, none=True),
            max_learning_rate=Number(above=0, none=True),
            initial=Choice(("one", "keep")),
            growth=Number(above=1),
            resolution=NOT_NEGATIVE,
        )

    def init(self, parameters: Tree, index_prefix: Tree = None) -> LineSearchState:
        """See `Transform.init`."""
        parameters = jax.tree.map(jnp.asarray, parameters)
        systems = Systems.of(parameters, index_prefix)
        dtype = jnp.result_type(*jax.tree.leaves(parameters))
        zero, no = jnp.zeros(systems.n, dtype), jnp.zeros(systems.n, bool)
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        point = Point(zero, zero, zero)
        line = Line(
            step=zero,
            n_trials=jnp.zeros(systems.n, jnp.int32),
            origin=point,
            low=point,
            high=point,
            bracketed=no,
            returning=no,
            scale=zero,
            limit=zero,
        )
        return LineSearchState(
            line=line,
            taken=no,
            failed=no,
            start=parameters,
            gradient=zeros,
            path=zeros,
            systems=systems,
        )

    def accepted(self, state: LineSearchState) -> jax.Array:
        """See `Transform.accepted`."""
        return state.taken

    def judge(
        self, gradient: Tree, state: LineSearchState, params: Tree, value: jax.Array
    ) -> tuple[jax.Array, LineSearchState]:
        """See `Search.judge`."""
        state = _judge(self, gradient, state, params, value)
        return state.taken, state

    def propose(
        self, direction: Tree, gradient: Tree, state: LineSearchState, params: Tree, value: Any
    ) -> tuple[Tree, jax.Array, LineSearchState]:
        """See `Search.propose`."""
        return _propose(self, direction, gradient, state, params, value)

    @abc.abstractmethod
    def decide(self, line: Line, trial: Point) -> Verdict:
        """Say what becomes of each trial; elementwise, with plain arithmetic.

        Args:
            line: Of each system; trials are the only, or a further one of it.
            trial: Where systems are. Value or slope are NaN where the point is no good.
        """

    def flat(self, line: Line, trial: Point) -> jax.Array:
        """Whether a trial's value is the origin's, as far as can be told."""
        return jnp.abs(trial.value - line.origin.value) <= self.resolution * jnp.abs(
            line.origin.value
        )

    def low_enough(self, line: Line, trial: Point) -> jax.Array:
        """Armijo's condition."""
        promised = self.decrease * trial.step * line.origin.slope
        return trial.value <= line.origin.value + promised


def follow(line: Line, **changes: Any) -> Line:
    """Change what is known of a line, and count the trial to come."""
    return dataclasses.replace(line, n_trials=line.n_trials + 1, **changes)


def choose(condition: jax.Array, a: Any, b: Any) -> Any:
    """Take points, or whatever holds (n_systems,) arrays, from `a` where the condition holds."""
    return jax.tree.map(partial(jnp.where, condition), a, b)


def between(a: Point, b: Point, *, slopes_only: jax.Array) -> jax.Array:
    """Where the minimum is between two points: of their cubic, or of the secant of their slopes.

    Not finite where there is none. Nocedal and Wright, eq. 3.59.
    """
    width = b.step - a.step
    tilt = a.slope + b.slope - 3.0 * ((b.value - a.value) / width)
    inner = jnp.sqrt(tilt * tilt - a.slope * b.slope) * jnp.sign(width)
    cubic = b.step - width * ((b.slope + inner - tilt) / (b.slope - a.slope + 2.0 * inner))
    secant = a.step - a.slope * (width / (b.slope - a.slope))
    return jnp.where(slopes_only, secant, cubic)


@partial(jax.jit, static_argnums=0)
def _judge(
    search: LineSearch, gradient: Tree, state: LineSearchState, params: Tree, value: jax.Array
) -> LineSearchState:
    systems, line = state.systems, state.line
    gradient, params = jax.tree.map(keep, (gradient, params))
    started = line.n_trials[0] >= 0
    begins = line.n_trials == 1

    def measure(
        path: Tree, start: Tree, first: Tree, gradient: Tree, params: Tree
    ) -> tuple[Tree, tuple[jax.Array, ...]]:
        moved = jax.tree.map(jnp.subtract, params, start)
        path = systems.where(begins, moved, path)
        dots = [systems.dot(path, path), systems.dot(moved, path)]
        dots += [systems.dot(first, path), systems.dot(gradient, path)]
        return path, (*dots, systems.longest_row(path))

    path, numbers = apart(
        started, measure, state.path, state.start, state.gradient, gradient, params
    )
    value = value.astype(line.step.dtype)
    judge = rounded(partial(_judged, search))
    verdict = apart(started, judge, line, begins, value, *numbers)
    return dataclasses.replace(
        state, line=verdict.line, taken=verdict.taken, failed=verdict.failed, path=path
    )


def _judged(
    search: LineSearch,
    line: Line,
    begins: jax.Array,
    value: jax.Array,
    length2: jax.Array,
    along: jax.Array,
    slope_there: jax.Array,
    slope_here: jax.Array,
    longest: jax.Array,
) -> Verdict:
    """Judge where systems are, from a few numbers of each."""
    one = jnp.ones_like(value)
    moved = length2 > 0
    step = jnp.where(moved, along / jnp.where(moved, length2, one), 0.0)
    step = jnp.where(begins, jnp.where(moved, one, 0.0), step)
    origin = line.origin._replace(slope=jnp.where(begins, slope_there, line.origin.slope))
    limit = jnp.full_like(value, jnp.inf)
    if search.max_step_size is not None:
        limit = search.max_step_size / jnp.where(longest > 0, longest, one)
    if search.max_learning_rate is not None:
        rate = search.max_learning_rate / jnp.where(line.scale > 0, line.scale, one)
        limit = jnp.minimum(limit, rate)
    line = dataclasses.replace(
        line,
        origin=origin,
        low=choose(begins, origin, line.low),
        high=choose(begins, origin, line.high),
        limit=jnp.where(begins, limit, line.limit),
    )
    verdict = search.decide(line, Point(step, value, slope_here))
    # Also taken: a first point, and one that is where its line began, though it was to move.
    idle = (line.n_trials == 0) | (begins & ~moved)
    taken = idle | line.returning | verdict.taken
    failed = ~idle & verdict.failed & taken
    # What was proposed at the origin is what a step of 1 stands for.
    scale = jnp.where(taken & ~idle & (step > 0), line.scale * step, line.scale)
    origin = Point(jnp.zeros_like(value), value, slope_here)
    taken_line = dataclasses.replace(
        line,
        step=one,
        n_trials=jnp.ones_like(line.n_trials),
        origin=origin,
        low=origin,
        high=origin,
        bracketed=jnp.zeros_like(taken),
        returning=jnp.zeros_like(taken),
        scale=scale,
    )
    return Verdict(taken, failed, choose(taken, taken_line, verdict.line))


@partial(jax.jit, static_argnums=0)
def _propose(
    search: LineSearch,
    direction: Tree,
    gradient: Tree,
    state: LineSearchState,
    params: Tree,
    value: jax.Array,
) -> tuple[Tree, jax.Array, LineSearchState]:
    del value
    systems, line, taken = state.systems, state.line, state.taken
    direction, gradient, params = jax.tree.map(keep, (direction, gradient, params))
    started = line.n_trials[0] >= 0

    def measure(direction: Tree, gradient: Tree) -> tuple[jax.Array, ...]:
        slope = systems.dot(direction, gradient)
        squares = systems.dot(direction, direction), systems.dot(gradient, gradient)
        return slope, root(squares[0]), root(squares[1])

    slope, length, steepness = apart(started, measure, direction, gradient)
    uphill = taken & (state.failed | ~(slope < 0))
    one = jnp.ones_like(slope)
    as_long = -(length / jnp.where(steepness > 0, steepness, one))
    direction = systems.where(uphill, systems.scale(gradient, as_long), direction)
    longest = apart(started, systems.longest_row, direction)
    first = rounded(partial(_first_step, search))(line.scale, longest)
    start = systems.where(taken, params, state.start)
    # From one trial to the next: both are seen from where the line begins.
    there = jax.tree.map(jnp.add, state.start, systems.scale(state.path, line.step))
    updates = systems.where(
        taken,
        systems.scale(direction, first),
        jax.tree.map(jnp.subtract, there, params),
    )
    line = dataclasses.replace(line, scale=jnp.where(taken, first, line.scale))
    state = dataclasses.replace(
        state,
        line=line,
        start=start,
        gradient=systems.where(taken, gradient, state.gradient),
    )
    return updates, uphill, state


def _first_step(search: LineSearch, last: jax.Array, longest: jax.Array) -> jax.Array:
    """The first trial, in units of the direction; 0 as the last step: there was none."""
    step = jnp.ones_like(last)
    if search.initial == "keep":
        step = jnp.where(last > 0, last * search.growth, step)
    if search.max_learning_rate is not None:
        step = jnp.minimum(step, search.max_learning_rate)
    if search.max_step_size is not None:
        too_long = step * longest > search.max_step_size
        bound = search.max_step_size / jnp.where(longest > 0, longest, 1.0)
        step = jnp.where(too_long, bound, step)
    return step


def at_limit(line: Line, trial: Point) -> jax.Array:
    """Whether no longer step is allowed."""
    return trial.step >= line.limit * _NEARLY
