"""The contract of optimizers, and how they are chained."""

import abc
import dataclasses
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp

from kups_relax._tree import dataclass, static
from kups_relax.errors import OptionError
from kups_relax.ops import rounded
from kups_relax.optimizers._systems import Lanes

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
                `accepted`: (n_systems,) bool, before a line search alone: which systems take
                `params` as their next point. Nothing is to be learnt by the others.
        """

    @property
    def needs_value(self) -> bool:
        """Whether `update` asks for `value`."""
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

        A line search calls it for those before it in a chain. This default suits states whose
        arrays all have the systems on their last axis, or belong to one system.

        Args:
            new: After the update.
            old: Before it.
            held: (n_systems,) bool, which systems keep the old.
        """
        return jax.tree.map(lambda n, o: jnp.where(of_systems(held), o, n), new, old)

    def forget(self, state: State, which: jax.Array, parameters: Tree) -> State:
        """Drop what some systems have learnt; `update` has just been called at `parameters`.

        A line search calls it when a direction led uphill. Unlike after `reset`, the next `update`
        is at another point, and may learn from the difference to this one.

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
    """Run any optax transformation, with a state for each system where systems are lanes.

    In the engine every lane gets its own copy of the state by `jax.vmap`, so that counters,
    moments and norms are those of one structure. With an `Index` the transformation sees the
    whole flat tree, as it always does in optax: right for elementwise ones.

    Attributes:
        transformation: An `optax.GradientTransformation`.
    """

    transformation: Any

    def init(self, parameters: Tree, index_prefix: Tree = None) -> PerSystemState:
        """See `Transform.init`."""
        lanes = isinstance(index_prefix, Lanes)
        init = self.transformation.init
        init = jax.vmap(init, in_axes=-1, out_axes=-1) if lanes else init
        return PerSystemState(inner=init(parameters), lanes=lanes)

    def update(
        self, updates: Tree, state: PerSystemState, params: Tree = None, **extra: Any
    ) -> tuple[Tree, PerSystemState]:
        """See `Transform.update`."""
        del extra
        update = self.transformation.update
        update = jax.vmap(update, in_axes=-1, out_axes=-1) if state.lanes else update
        updates, inner = rounded(update)(updates, state.inner, params)
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


@dataclasses.dataclass(frozen=True)
class Chain(Transform[tuple[Any, ...]]):
    """Run transforms one after the other. Made by `chain`.

    A line search is the last one. Where it rejects a point, the states of those before stay what
    they were at the last point that was taken.

    Attributes:
        transforms: In the order in which they run.

    Raises:
        OptionError: A line search stands alone, or something follows it.
    """

    transforms: tuple[Transform[Any], ...]

    def __post_init__(self) -> None:
        *others, last = self.transforms
        for transform in others:
            if isinstance(transform, Search):
                raise OptionError(
                    f"{type(transform).__name__} is followed by {type(last).__name__}; a line "
                    "search must be the last of a chain, and there can be only one."
                )
        if isinstance(last, Search) and not others:
            raise OptionError(
                f"{type(last).__name__} stands alone; a line search needs a direction. Put "
                "transforms before it that end in steps downhill, such as Scale(-1.0)."
            )

    @property
    def search(self) -> Search[Any] | None:
        """Its line search."""
        last = self.transforms[-1]
        return last if isinstance(last, Search) else None

    @property
    def needs_value(self) -> bool:
        """See `Transform.needs_value`."""
        return any(t.needs_value for t in self.transforms)

    def init(self, parameters: Tree, index_prefix: Tree = None) -> tuple[Any, ...]:
        """See `Transform.init`."""
        return tuple(t.init(parameters, index_prefix) for t in self.transforms)

    def update(
        self, updates: Tree, state: tuple[Any, ...], params: Tree = None, **extra: Any
    ) -> tuple[Tree, tuple[Any, ...]]:
        """See `Transform.update`.

        Raises:
            OptionError: There is a line search, and `params` or `value` is missing.
        """
        if self.search is not None:
            return self._search(self.search, updates, state, params, extra)
        new = []
        for transform, inner in zip(self.transforms, state, strict=True):
            updates, inner = transform.update(updates, inner, params, **extra)
            new.append(inner)
        return updates, tuple(new)

    def _search(
        self,
        search: Search[Any],
        gradient: Tree,
        state: tuple[Any, ...],
        params: Tree,
        extra: dict[str, Any],
    ) -> tuple[Tree, tuple[Any, ...]]:
        value = extra.get("value")
        if value is None or params is None:
            missing = "params" if params is None else "value"
            raise OptionError(
                f"{type(search).__name__} got no {missing}; call update(gradients, state, params, "
                "value=value) with what is minimised at params, a number for each system."
            )
        value = jnp.asarray(value).reshape(-1)
        *before, last = state
        taken, last = search.judge(gradient, last, params, value)
        direction, after = gradient, []
        for transform, old in zip(self.transforms, before, strict=False):
            direction, new = transform.update(
                direction, old, params, **{**extra, "accepted": taken}
            )
            after.append(transform.hold(new, old, ~taken))
        updates, uphill, last = search.propose(direction, gradient, last, params, value)
        after = [
            t.forget(inner, uphill, params)
            for t, inner in zip(self.transforms, after, strict=False)
        ]
        return updates, (*after, last)

    def accepted(self, state: tuple[Any, ...]) -> jax.Array | None:
        """See `Transform.accepted`."""
        return self.transforms[-1].accepted(state[-1])

    def hold(self, new: tuple[Any, ...], old: tuple[Any, ...], held: jax.Array) -> tuple[Any, ...]:
        """See `Transform.hold`."""
        states = zip(self.transforms, new, old, strict=True)
        return tuple(t.hold(after, before, held) for t, after, before in states)

    def forget(self, state: tuple[Any, ...], which: jax.Array, parameters: Tree) -> tuple[Any, ...]:
        """See `Transform.forget`."""
        states = zip(self.transforms, state, strict=True)
        return tuple(t.forget(inner, which, parameters) for t, inner in states)

    def reset(self, state: tuple[Any, ...], fresh: jax.Array, parameters: Tree) -> tuple[Any, ...]:
        """See `Transform.reset`."""
        return tuple(
            t.reset(inner, fresh, parameters)
            for t, inner in zip(self.transforms, state, strict=True)
        )


def of_systems(condition: jax.Array) -> jax.Array:
    """A condition for arrays whose last axis is the systems; a scalar where there is one system."""
    return condition[0] if condition.shape[0] == 1 else condition


def as_transform(transform: Any) -> Transform[Any]:
    """Return one of our transforms as it is, and wrap one of optax's.

    Raises:
        OptionError: It is neither.
    """
    if isinstance(transform, Transform):
        return transform
    if callable(getattr(transform, "init", None)) and callable(getattr(transform, "update", None)):
        return PerSystem(transform)
    raise OptionError(
        f"{transform!r} is no optimizer; expected a transform of kups_relax.optimizers "
        "or an optax.GradientTransformation."
    )


def chain(*transforms: Any) -> Chain:
    """Compose transforms of ours and of optax's; each gets the updates of the one before.

    Args:
        transforms: `Transform` or `optax.GradientTransformation` objects, at least one.

    Returns:
        A transform: `init(parameters, index_prefix=None)`, `update(updates, state, params)`.

    Raises:
        OptionError: One of them is no optimizer, or there is none.

    Example:
        >>> import jax.numpy as jnp
        >>> from kups_relax import optimizers as ko
        >>> optimizer = ko.chain(ko.ScaleByAseLbfgs(), ko.MaxStepSize(0.2), ko.Scale(-1.0))
        >>> x = jnp.array([1.0, 2.0])
        >>> state = optimizer.init(x)
        >>> updates, state = optimizer.update(2 * x, state, x)
        >>> bool((updates < 0).all())
        True
    """
    if not transforms:
        raise OptionError("chain() got no transforms; give it at least one.")
    members: list[Transform[Any]] = []
    for transform in map(as_transform, transforms):
        # A line search has to see all that makes its direction.
        if isinstance(transform, Chain) and transform.search is not None:
            members.extend(transform.transforms)
        else:
            members.append(transform)
    return Chain(tuple(members))


def apply_updates(params: Tree, updates: Tree) -> Tree:
    """Add updates to parameters, each leaf in its own dtype."""
    return jax.tree.map(lambda p, u: (p + u).astype(jnp.result_type(p)), params, updates)
