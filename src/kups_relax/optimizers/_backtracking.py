"""Backtracking: shorten a step until it goes down enough."""

import dataclasses

import jax.numpy as jnp

from kups_relax._checks import Number, settle
from kups_relax.optimizers._line_search import Line, LineSearch, Point, Verdict, between, follow

# How much of a step is kept at least and at most, where a cubic says how much.
_LEAST, _MOST = 0.1, 0.5


@dataclasses.dataclass(frozen=True)
class BacktrackingLineSearch(LineSearch):
    """Take a step once its value is low enough (Armijo's condition), and shorten it before.

    For directions that come with a length, such as L-BFGS's: nearly every first trial is taken,
    and no structure climbs, but by the shortest of `max_trials` steps. It does not see to it that
    slopes become less, so L-BFGS needs its curvature guard. With a gradient for a direction use
    `initial="keep"`.

    Trials without a finite value are shortened as well.

    Attributes:
        shrink: Share of a step that is kept when it is shortened. None: where the cubic through
            both ends has its minimum, between 0.1 and 0.5.

    See `LineSearch` for the others.

    References:
        Nocedal and Wright, Numerical Optimization, 2nd ed., algorithm 3.1 and section 3.5.
        Hager and Zhang, SIAM J. Optim. 2005, 16, 170, doi:10.1137/030601880, for `resolution`.

    Example:
        >>> from kups_relax import optimizers as ko
        >>> search = ko.BacktrackingLineSearch(shrink=0.5)
        >>> optimizer = ko.chain(ko.ScaleByAseLbfgs(16), ko.Scale(-1.0), search)
        >>> optimizer.needs_value
        True
    """

    shrink: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        settle(self, "BacktrackingLineSearch: ", shrink=Number(above=0, below=1, none=True))

    def decide(self, line: Line, trial: Point) -> Verdict:
        """See `LineSearch.decide`."""
        flat = self.flat(line, trial)
        # Of a parabola, this slope is Armijo's condition.
        gentle = trial.slope <= (2.0 * self.decrease - 1.0) * line.origin.slope
        good = self.low_enough(line, trial) | (flat & gentle)
        known = jnp.isfinite(trial.value) & jnp.isfinite(trial.slope)
        good &= known
        out = line.n_trials >= self.max_trials
        if self.shrink is not None:
            step = trial.step * self.shrink
        else:
            step = between(line.origin, trial, slopes_only=flat)
            step = jnp.where(jnp.isfinite(step), step, trial.step * _MOST)
            step = jnp.clip(step, trial.step * _LEAST, trial.step * _MOST)
        # The last chance: the shortest step, or, where that is no good at all, the way back.
        back = out & ~known
        going = follow(line, step=jnp.where(back, line.origin.step, step), returning=back)
        failed = line.returning | (out & known & ~good)
        return Verdict(good | (out & known), failed, going)
