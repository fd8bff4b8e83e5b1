"""Learning rates: constant, or by a schedule that counts each system's own steps."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jax import lax

from kups_relax._checks import Number, can_hash, settle
from kups_relax._tree import dataclass, static
from kups_relax.ops import rounded
from kups_relax.optimizers._base import Transform
from kups_relax.optimizers._systems import Lanes, Systems

Tree = Any

# From the number of steps taken, () int32, to the rate; optax's schedules are such.
Schedule: TypeAlias = Callable[[jax.Array], Any]


@dataclass
class ScaleByLearningRateState:
    """State of `ScaleByLearningRate`.

    Attributes:
        count: (n_systems,) int32, steps that each system has taken.
        systems: Which elements belong to which system.
        lanes: Whether the systems are lanes.
    """

    count: jax.Array
    systems: Systems
    lanes: bool = static()


# A schedule is let through before.
RATE = Number(above=0, otherwise=", or a schedule such as optax.exponential_decay(0.5, 10, 0.9)")


@dataclasses.dataclass(frozen=True)
class ScaleByLearningRate(Transform[ScaleByLearningRateState]):
    """Multiply updates by minus a learning rate, which may follow a schedule: optax's, per system.

    A schedule is asked for each system with the number of steps that this system has taken;
    trials of a line search are none. It runs on the device, one more compiled program for each
    schedule object: make one, and use it again.

    Attributes:
        learning_rate: Greater than 0, or a schedule of optax.

    Example:
        >>> import optax
        >>> from kups_relax import optimizers as ko
        >>> rate = optax.exponential_decay(0.5, transition_steps=10, decay_rate=0.9)
        >>> optimizer = ko.chain(ko.ScaleByLearningRate(rate), ko.MaxStepSize(0.1))
    """

    learning_rate: float | Schedule

    def __post_init__(self) -> None:
        if not (callable(self.learning_rate) and can_hash(self.learning_rate)):
            settle(self, learning_rate=RATE)

    def init(self, parameters: Tree, index_prefix: Tree = None) -> ScaleByLearningRateState:
        """See `Transform.init`."""
        systems = Systems.of(parameters, index_prefix)
        return ScaleByLearningRateState(
            count=jnp.zeros(systems.n, jnp.int32),
            systems=systems,
            lanes=isinstance(index_prefix, Lanes),
        )

    def update(
        self, updates: Tree, state: ScaleByLearningRateState, params: Tree = None, **extra: Any
    ) -> tuple[Tree, ScaleByLearningRateState]:
        """See `Transform.update`."""
        del params, extra
        return _scaled(self, updates, state)

    def reset(
        self, state: ScaleByLearningRateState, fresh: jax.Array, parameters: Tree
    ) -> ScaleByLearningRateState:
        """See `Transform.reset`."""
        del parameters
        return dataclasses.replace(state, count=jnp.where(fresh, 0, state.count))

    def forget(
        self, state: ScaleByLearningRateState, which: jax.Array, parameters: Tree
    ) -> ScaleByLearningRateState:
        """See `Transform.forget`. Steps that were taken stay taken."""
        del which, parameters
        return state


@partial(jax.jit, static_argnums=0)
def _scaled(
    config: ScaleByLearningRate, updates: Tree, state: ScaleByLearningRateState
) -> tuple[Tree, ScaleByLearningRateState]:
    dtype = jnp.result_type(*jax.tree.leaves(updates))
    rate = config.learning_rate
    if not callable(rate):
        rates = jnp.full(state.systems.n, rate, dtype)
    elif state.lanes:
        rates = rounded(jax.vmap(rate))(state.count)
    else:
        # How many systems there are decides how exp and its like are computed: one by one.
        rates = rounded(partial(lax.map, rate))(state.count)
    updates = state.systems.scale(updates, -jnp.asarray(rates).astype(dtype))
    return updates, dataclasses.replace(state, count=optax.safe_increment(state.count))
