"""How transforms are chained, and how a line search at the end has the others learn."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from kups_relax.errors import OptionError, shown
from kups_relax.optimizers._base import Search, Transform
from kups_relax.optimizers._per_system import PerSystem

Tree = Any


@dataclasses.dataclass(frozen=True)
class Chain(Transform[tuple[Any, ...]]):
    """Run transforms one after the other. Made by `chain`.

    A line search is the last one. Where it rejects a point, the states of those before stay what
    they were at the last point that was taken.

    Attributes:
        transforms: In the order in which they run.
        made_by: Name and options of the function that made it; it says nothing of its own.

    Raises:
        OptionError: A line search stands alone, or something follows it.
    """

    transforms: tuple[Transform[Any], ...]
    made_by: tuple[str, tuple[tuple[str, Any], ...]] | None = dataclasses.field(
        default=None, compare=False, kw_only=True
    )

    def __repr__(self) -> str:
        return f"chain({', '.join(map(repr, self.transforms))})"

    def __post_init__(self) -> None:
        members = self.transforms
        if not (isinstance(members, tuple) and members) or not all(
            isinstance(member, Transform) for member in members
        ):
            raise OptionError(
                f"transforms are {shown(members)}; expected a tuple of transforms, at least one. "
                "chain(...) makes one of optax's, too."
            )
        *others, last = members
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

    @property
    def needs_chart(self) -> bool:
        """See `Transform.needs_chart`."""
        return any(t.needs_chart for t in self.transforms)

    def init(self, parameters: Tree, index_prefix: Tree = None, **extra: Any) -> tuple[Any, ...]:
        """See `Transform.init`."""
        return tuple(
            t.init(parameters, index_prefix, **(extra if t.needs_chart else {}))
            for t in self.transforms
        )

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
        f"{shown(transform)} is no optimizer; expected a transform of kups_relax.optimizers "
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
