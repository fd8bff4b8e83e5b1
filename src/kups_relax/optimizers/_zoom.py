"""The line search for the strong Wolfe conditions, as a machine that takes a trial at a time."""

import dataclasses

import jax
import jax.numpy as jnp

from kups_relax._checks import Number, settle
from kups_relax.optimizers._line_search import (
    Line,
    LineSearch,
    Point,
    Verdict,
    at_limit,
    between,
    choose,
    follow,
)

# A trial keeps this share of the bracket's width away from its ends.
_MARGIN = 0.1

# A longer step is longer at least by this.
_LEAST_GROWTH = 1.5


@dataclasses.dataclass(frozen=True)
class ZoomLineSearch(LineSearch):
    """Take a step once its value is low enough and its slope gentle enough (strong Wolfe).

    For quasi-Newton directions: what is learnt from such steps has positive curvature. Nearly
    every first trial is taken; others are lengthened until a minimum lies behind, and then the
    bracket is narrowed, by cubics. A step as long as `max_step_size` is taken though the slope
    still leads down.

    Attributes:
        curvature: Share of the first slope that may be left (Wolfe's c2).

    See `LineSearch` for the others.

    References:
        Nocedal and Wright, Numerical Optimization, 2nd ed., algorithms 3.5 and 3.6.
        Hager and Zhang, SIAM J. Optim. 2005, 16, 170, doi:10.1137/030601880, for `resolution`.

    Example:
        >>> from kups_relax import optimizers as ko
        >>> optimizer = ko.chain(ko.ScaleByAseLbfgs(16), ko.Scale(-1.0), ko.ZoomLineSearch())
        >>> optimizer.needs_value
        True
    """

    curvature: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        # Below, there may be no step that fulfils both conditions.
        settle(self, "ZoomLineSearch: ", curvature=Number(above=self.decrease, below=1))

    def decide(self, line: Line, trial: Point) -> Verdict:
        """See `LineSearch.decide`."""
        flat = self.flat(line, trial)
        known = jnp.isfinite(trial.value) & jnp.isfinite(trial.slope)
        low = known & (self.low_enough(line, trial) | flat)
        good = low & (jnp.abs(trial.slope) <= self.curvature * jnp.abs(line.origin.slope))
        # No farther is allowed, and it only goes down.
        good |= low & ~line.bracketed & at_limit(line, trial) & (trial.slope < 0)
        out = line.n_trials >= self.max_trials
        # Without a bracket, `low` is the last trial but one, and the minimum lies ahead.
        higher = ~low | ((trial.value >= line.low.value) & ~flat & (line.n_trials > 1))
        ahead = jnp.where(line.bracketed, line.high.step - line.low.step, 1.0)
        turned = trial.slope * ahead >= 0
        bracketed = line.bracketed | higher | turned

        new_low = choose(higher, line.low, trial)
        behind = choose(turned, line.low, line.high)
        new_high = choose(higher, trial, behind)
        inside = self._inside(new_low, new_high, flat)
        beyond = self._beyond(line, trial)
        step = jnp.where(bracketed, inside, beyond)

        # The last chance: the best point there was, which may be the start.
        stay = out & low & ~higher
        back = out & ~stay
        going = follow(
            line,
            step=jnp.where(back, line.low.step, step),
            low=choose(out, line.low, new_low),
            high=new_high,
            bracketed=bracketed,
            returning=back,
        )
        failed = stay & ~good | line.returning & (line.low.step <= 0)
        return Verdict(good | stay, failed, going)

    @staticmethod
    def _inside(low: Point, high: Point, flat: jax.Array) -> jax.Array:
        """The next trial in a bracket."""
        width = high.step - low.step
        share = (between(low, high, slopes_only=flat) - low.step) / width
        share = jnp.clip(jnp.where(jnp.isfinite(share), share, 0.5), _MARGIN, 1.0 - _MARGIN)
        return low.step + width * share

    def _beyond(self, line: Line, trial: Point) -> jax.Array:
        """The next trial where all so far went down too steeply."""
        width = trial.step - line.low.step
        flatter = trial.slope - line.low.slope
        secant = trial.step - trial.slope * (width / jnp.where(flatter > 0, flatter, 1.0))
        farthest = trial.step * self.growth
        step = jnp.where(flatter > 0, secant, farthest)
        least = jnp.minimum(trial.step * _LEAST_GROWTH, farthest)
        return jnp.minimum(jnp.clip(step, least, farthest), line.limit)
