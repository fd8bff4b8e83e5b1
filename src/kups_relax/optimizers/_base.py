"""The contract of optimizers."""

import abc
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp

from kups_relax.errors import OptionError
from kups_relax.optimizers._systems import Lanes, Systems

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
        """Turn gradients (or what an earlier transform made of them) into updates.

        Args:
            updates: Gradients, or what an earlier transform made of them.
            state: From `init` or the last `update`.
            params: Where the gradients were taken.
            **extra: Further arguments, for those who know them. `value`: (n_systems,) what is
                minimised, at `params`; the engine passes it always, others where `needs_value`.
                `chart`: the internal coordinates, where `needs_chart`. `accepted`: (n_systems,)
                bool, before a line search alone: which systems take `params` as their next point.
                Nothing is to be learnt by the others. `cell_rows`: int, how many rows of each
                leaf, the last ones, are of a cell that moves; in lanes alone.
        """

    @property
    def needs_value(self) -> bool:
        """Whether `update` asks for `value`."""
        return False

    @property
    def needs_chart(self) -> bool:
        """Whether `update` asks for `chart`, and `init` for `n_internals`."""
        return False

    def accepted(self, state: State) -> jax.Array | None:
        """Which systems took the `params` of the last `update` as their next point.

        Returns:
            (n_systems,) bool; None: all do, always. The others are trying points of a line, and
            their last update leads from one trial to the next.
        """
        del state
        return None

    def hold(self, new: State, old: State, held: jax.Array) -> State:
        """Take back what an `update` changed in the state of some systems.

        A line search calls it for those before it in a chain. This default suits states that have
        `systems`, see `Systems.choose`, and those whose arrays all have the systems on their last
        axis, or belong to one system.

        Args:
            new: After the update.
            old: Before it.
            held: (n_systems,) bool, which systems keep the old.
        """
        systems = getattr(new, "systems", None)
        if isinstance(systems, Systems):
            return systems.choose(held, old, new)
        return jax.tree.map(lambda n, o: jnp.where(of_systems(held), o, n), new, old)

    def forget(self, state: State, which: jax.Array, parameters: Tree) -> State:
        """Drop what some systems have learnt; `update` has just been called at `parameters`.

        A line search calls it when a direction led uphill. Unlike after `reset`, the next `update`
        is at another point, and may learn from the difference to this one. This default suits what
        `reset` does.

        Args:
            state: After the update.
            which: (n_systems,) bool.
            parameters: Where the last gradients were taken.
        """
        return self.reset(state, which, parameters)

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


class Search(Transform[State]):
    """The last of a chain: tries points along the direction that the others made.

    One call of the chain's `update` is one evaluation. The search first says which systems take
    the point where they are (`judge`), then where each goes next (`propose`): to the first trial
    along its new direction, or from one trial to the next.
    """

    @property
    def needs_value(self) -> bool:
        """See `Transform.needs_value`."""
        return True

    @abc.abstractmethod
    def judge(
        self, gradient: Tree, state: State, params: Tree, value: jax.Array
    ) -> tuple[jax.Array, State]:
        """Say which systems take `params` as their next point, (n_systems,) bool.

        Args:
            gradient: At `params`, as the chain got it.
            state: From `init` or the last `propose`.
            params: Where the systems are.
            value: (n_systems,) what is minimised. Where it is NaN the point is no good.

        Returns:
            Who does, and the state for `propose`.
        """

    @abc.abstractmethod
    def propose(
        self, direction: Tree, gradient: Tree, state: State, params: Tree, value: jax.Array
    ) -> tuple[Tree, jax.Array, State]:
        """Make the updates to the next trials.

        Args:
            direction: What the others made, downhill. Means nothing where a line is under way.
            gradient: As for `judge`.
            state: From `judge`.
            params: As for `judge`.
            value: As for `judge`.

        Returns:
            Updates; (n_systems,) bool, whose direction led uphill and was replaced; the state.
        """

    def update(
        self, updates: Tree, state: State, params: Tree = None, **extra: Any
    ) -> tuple[Tree, State]:
        """Refuse: a search needs the direction of others.

        Raises:
            OptionError: Always.
        """
        raise OptionError(
            f"{type(self).__name__} stands alone; a line search needs a direction. Write "
            f"chain(ScaleByAseLbfgs(), Scale(-1.0), {type(self).__name__}())."
        )


def of_systems(condition: jax.Array) -> jax.Array:
    """A condition for arrays whose last axis is the systems; a scalar where there is one system."""
    return condition[0] if condition.shape[0] == 1 else condition


def apply_updates(params: Tree, updates: Tree) -> Tree:
    """Add updates to parameters, each leaf in its own dtype."""
    return jax.tree.map(lambda p, u: (p + u).astype(jnp.result_type(p)), params, updates)
