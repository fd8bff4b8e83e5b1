"""L-BFGS as ASE does it, and better: a history per system, every inner product within it."""

import dataclasses
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax import lax

from kups_relax._checks import FLAG, POSITIVE, Choice, Whole, settle
from kups_relax._tree import dataclass
from kups_relax.data import Table
from kups_relax.ops import apart, fold, keep, product, root
from kups_relax.optimizers._base import Transform
from kups_relax.optimizers._initial_scale import Start, adapted
from kups_relax.optimizers._systems import Systems, keys_of
from kups_relax.optimizers._two_loop import (
    History,
    Pair,
    SmallMatrices,
    compact,
    put,
    store,
    textbook,
)

Tree = Any


@dataclass
class ScaleByAseLbfgsState:
    """History of `ScaleByAseLbfgs`.

    The pair of update k (counted from 1; update 0 has none) is in slot (k - 1) mod memory_size.

    Attributes:
        count: () int32, updates so far.
        params: Parameters as last seen.
        updates: Gradients as last seen.
        diff_params_memory: s, differences of parameters: (memory_size, *leaf shape) a leaf.
        diff_updates_memory: y, differences of gradients: likewise.
        weights_memory: Table (n_systems, memory_size): rho = 1/(y.s), 0 where a system has no
            pair in the slot.
        scale: (n_systems,), the initial inverse Hessian of each system, Angstrom^2/eV.
        cell_scale: (n_systems,), that of the rows of its cell, where there are any.
        ratios: (n_systems, memory_size), s.y/y.y of the pairs, 0 where there is none; None unless
            the scale is their average.
        small: What the compact recursion keeps of the pairs; None for the textbook's.
        index_prefix: As given to `init`.
        systems: The same, prepared for sums.
    """

    count: jax.Array
    params: Tree
    updates: Tree
    diff_params_memory: Tree
    diff_updates_memory: Tree
    weights_memory: Table[Any, Any]
    scale: jax.Array
    cell_scale: jax.Array
    ratios: jax.Array | None
    small: SmallMatrices | None
    index_prefix: Tree
    systems: Systems


@dataclasses.dataclass(frozen=True)
class ScaleByAseLbfgs(Transform[ScaleByAseLbfgsState]):
    """Multiply gradients by the L-BFGS inverse Hessian of each system.

    The defaults are ASE's L-BFGS to the letter: initial inverse Hessian 1/alpha, a memory of
    100 pairs, every pair kept whatever its curvature. Follow it by `MaxStepSize(0.2)` and
    `Scale(-1.0)` for ASE's step.

    With a memory of up to 32 pairs the two-loop recursion is done in its compact form, which
    reads the history twice a step; beyond, as in the textbook, four times. See `_two_loop`.

    Bits: what a system gets does not depend on which other systems share the tree, nor on how
    rows are interleaved, nor on whether `update` runs eager or inside a jitted program, in f32
    and f64, on CPU. All products are rounded and all sums ordered on their own, so the compiler
    has no choice to make. What you compute outside (gradients above all) is yours to keep
    exact: see `kups_relax.ops.rounded`.

    Attributes:
        memory_size: Number of pairs kept, at least 1.
        alpha: Initial curvature, eV/Angstrom^2.
        initial_scale: "fixed": 1/alpha always. "adaptive": s.y/y.y of a system's newest pair
            (Nocedal and Wright, eq. 7.20), 1/alpha before there is one. Where `update` is told
            of a cell, its rows and those of the atoms have a scale each, |s|/|y| of their own
            share of the pair, and that of the atoms grows by half a step at most. "averaged": the
            mean of s.y/y.y of all pairs that are kept.
        curvature_guard: Skip pairs with s.y <= 1e-8 |s||y|, which would cost the inverse Hessian
            its positive definiteness, and with it the descent. An adaptive scale then becomes
            |s|/|y|, the step for a curvature of that size whatever its sign. So does an averaged
            one, until there is a pair with positive curvature again.
        descent_guard: Forget the history of a system whose direction would not lead downhill,
            and take the scaled gradient instead. Only rounding and pairs of negative curvature
            make such directions.

    References:
        Liu and Nocedal, Math. Program. 1989, 45, 503, doi:10.1007/BF01589116.
        ASE 3.29, `ase.optimize.LBFGS`.
    """

    memory_size: int = 100
    alpha: float = 70.0
    initial_scale: Literal["fixed", "adaptive", "averaged"] = "fixed"
    curvature_guard: bool = False
    descent_guard: bool = False

    def __post_init__(self) -> None:
        settle(
            self,
            memory_size=Whole(least=1),
            alpha=POSITIVE,
            initial_scale=Choice(("fixed", "adaptive", "averaged")),
            curvature_guard=FLAG,
            descent_guard=FLAG,
        )

    def init(self, parameters: Tree, index_prefix: Tree = None) -> ScaleByAseLbfgsState:
        """Make an empty history.

        Args:
            parameters: Pytree of floating arrays.
            index_prefix: A tree prefix of `parameters` whose leaves are `Index` objects over the
                same keys: which system each row belongs to. None: one system.

        Raises:
            KeyMismatchError: The indices do not share their keys.
            ValueError: The prefix does not fit the parameters.
        """
        parameters = jax.tree.map(jnp.asarray, parameters)
        systems = Systems.of(parameters, index_prefix)
        dtype = jnp.result_type(*jax.tree.leaves(parameters))
        averaged = self.initial_scale == "averaged"
        memory = jax.tree.map(
            lambda p: jnp.zeros((self.memory_size, *p.shape), p.dtype), parameters
        )
        return ScaleByAseLbfgsState(
            count=jnp.zeros((), jnp.int32),
            params=parameters,
            updates=jax.tree.map(jnp.zeros_like, parameters),
            diff_params_memory=memory,
            diff_updates_memory=memory,
            weights_memory=Table(
                keys=keys_of(index_prefix),
                data=jnp.zeros((systems.n, self.memory_size), dtype),
            ),
            scale=jnp.full(systems.n, 1 / self.alpha, dtype),
            cell_scale=jnp.full(systems.n, 1 / self.alpha, dtype),
            ratios=jnp.zeros((systems.n, self.memory_size), dtype) if averaged else None,
            small=SmallMatrices.zeros(self.memory_size, systems.n, dtype),
            index_prefix=index_prefix,
            systems=systems,
        )

    def update(
        self,
        updates: Tree,
        state: ScaleByAseLbfgsState,
        params: Tree = None,
        **extra: Any,
    ) -> tuple[Tree, ScaleByAseLbfgsState]:
        """Multiply gradients by the inverse Hessian, after learning from them.

        Args:
            updates: Gradients at `params`.
            state: From `init` or the last `update`.
            params: Where the gradients were taken. Required.
            **extra: `accepted` and `cell_rows`, see `Transform.update`; the rest is ignored.
                Systems that do not take `params` as their next point get no pair, and remember
                the last point they took. Slots are shared, so theirs stays empty.

        Raises:
            ValueError: `params` is missing.
        """
        if params is None:
            raise ValueError(
                "ScaleByAseLbfgs.update got params=None; pass the parameters at which the "
                "gradients were taken: update(gradients, state, params)."
            )
        n_cell = extra.get("cell_rows", 0) if self.initial_scale == "adaptive" else 0
        return _update(self, updates, state, params, extra.get("accepted"), n_cell)

    def hold(
        self, new: ScaleByAseLbfgsState, old: ScaleByAseLbfgsState, held: jax.Array
    ) -> ScaleByAseLbfgsState:
        """See `Transform.hold`. `update` was told by `accepted`."""
        del old, held
        return new

    def forget(
        self, state: ScaleByAseLbfgsState, which: jax.Array, parameters: Tree
    ) -> ScaleByAseLbfgsState:
        """See `Transform.forget`."""
        del parameters
        start = jnp.asarray(1 / self.alpha, state.scale.dtype)
        state = _without_pairs(state, which)
        return dataclasses.replace(
            state,
            scale=jnp.where(which, start, state.scale),
            cell_scale=jnp.where(which, start, state.cell_scale),
        )

    def reset(
        self, state: ScaleByAseLbfgsState, fresh: jax.Array, parameters: Tree
    ) -> ScaleByAseLbfgsState:
        """Forget the history of some systems. See `Transform.reset`.

        A fresh system was last seen at its own start, so its first difference is 0, its weight
        is 0, and nothing is stored, as in a first update.
        """
        zero = jax.tree.map(jnp.zeros_like, state.updates)
        return dataclasses.replace(
            self.forget(state, fresh, parameters),
            params=state.systems.where(fresh, parameters, state.params),
            updates=state.systems.where(fresh, zero, state.updates),
            diff_params_memory=_wiped(state.systems, fresh, state.diff_params_memory),
            diff_updates_memory=_wiped(state.systems, fresh, state.diff_updates_memory),
            small=jax.tree.map(lambda m: jnp.where(fresh, 0, m), state.small),
        )


@partial(jax.jit, static_argnames=("config", "n_cell"))
def _update(
    config: ScaleByAseLbfgs,
    gradient: Tree,
    state: ScaleByAseLbfgsState,
    params: Tree,
    accepted: jax.Array | None,
    n_cell: int,
) -> tuple[Tree, ScaleByAseLbfgsState]:
    systems, size = state.systems, config.memory_size
    # A product on its way in must not be contracted with the differences taken here.
    gradient, params = jax.tree.map(keep, (gradient, params))
    started = state.count >= 0
    newest_pair = partial(_newest_pair, config, n_cell)
    pair = apart(started, newest_pair, gradient, state, params, accepted)
    newest = lax.rem(state.count + (size - 1), jnp.asarray(size, state.count.dtype))
    memory_s = store(state.diff_params_memory, newest, pair.s)
    memory_y = store(state.diff_updates_memory, newest, pair.y)
    weights = put(state.weights_memory.data, pair.weight, newest, axis=1)
    history = History(memory_s, memory_y, weights, newest, jnp.minimum(state.count, size))

    start, ratios = pair.start, state.ratios
    if ratios is not None:
        ratios = put(ratios, pair.ratio, newest, axis=1)
        by_age = ratios.at[:, history.slots].get(mode="promise_in_bounds", unique_indices=True)
        average = apart(started, _average, by_age)
        known = (pair.weight != 0) & (average > 0)
        start = dataclasses.replace(start, scale=jnp.where(known, average, start.scale))
        pair = pair._replace(start=start)
    if state.small is None:
        small = None
        direction = textbook(systems, history, gradient, start)
    else:
        direction, small = compact(systems, history, state.small, pair, gradient, accepted)
    lost = None
    if config.descent_guard:
        lost = ~(systems.dot(gradient, direction) > 0)
        other = systems.scale(start.stretch(gradient), start.scale)
        direction = systems.where(lost, other, direction)
    if accepted is not None:
        # The direction of the others means nothing.
        lost = None if lost is None else lost & accepted
        params = systems.where(accepted, params, state.params)
        gradient = systems.where(accepted, gradient, state.updates)
    new = dataclasses.replace(
        state,
        count=optax.safe_increment(state.count),
        params=params,
        updates=gradient,
        diff_params_memory=memory_s,
        diff_updates_memory=memory_y,
        weights_memory=state.weights_memory.set_data(weights),
        scale=start.scale,
        cell_scale=product(start.scale, start.cell) if n_cell else state.cell_scale,
        ratios=ratios,
        small=small,
    )
    return direction, new if lost is None else _without_pairs(new, lost)


def _without_pairs(state: ScaleByAseLbfgsState, which: jax.Array) -> ScaleByAseLbfgsState:
    """Drop the pairs of some systems.

    What is left in the slots is passed by: weights say what is there.
    """
    weights = jnp.where(which[:, None], 0, state.weights_memory.data)
    ratios = jax.tree.map(lambda r: jnp.where(which[:, None], 0, r), state.ratios)
    small = state.small
    if small is not None:
        small = dataclasses.replace(
            small,
            triangle=jnp.where(which, 0, small.triangle),
            gram=jnp.where(which, 0, small.gram),
        )
    return dataclasses.replace(
        state,
        weights_memory=state.weights_memory.set_data(weights),
        ratios=ratios,
        small=small,
    )


def _average(by_age: jax.Array) -> jax.Array:
    """The mean of (n_systems, memory_size) ratios, the newest first; 0 stands for none."""
    n = fold((by_age != 0).astype(by_age.dtype), axis=1)
    return fold(by_age, axis=1) / jnp.maximum(n, 1)


def _newest_pair(
    config: ScaleByAseLbfgs,
    n_cell: int,
    gradient: Tree,
    state: ScaleByAseLbfgsState,
    params: Tree,
    accepted: jax.Array | None,
) -> Pair:
    systems = state.systems
    one, zero = jnp.ones((), state.scale.dtype), jnp.zeros((), state.scale.dtype)
    s = jax.tree.map(jnp.subtract, params, state.params)
    y = jax.tree.map(jnp.subtract, gradient, state.updates)
    ss, ys, yy = systems.dot(s, s), systems.dot(y, s), systems.dot(y, y)
    moved = (state.count > 0) & (ys != 0)
    if accepted is not None:
        moved &= accepted
    valid = moved
    if config.curvature_guard:
        valid = ys > product(root(product(ss, yy)), jnp.full_like(ys, 1e-8))
        valid &= moved
    weight = jnp.where(valid, one / jnp.where(valid, ys, one), zero)
    scale, cell = state.scale, state.cell_scale
    if n_cell:
        scale, cell = adapted(systems, moved, s, y, scale, cell, n_cell)
    elif config.initial_scale != "fixed":
        safe = jnp.where(yy > 0, yy, one)
        scale = jnp.where(valid & (ys > 0), ys / safe, scale)
        if config.curvature_guard:
            # Without it a structure on a concave slope would creep along at 1/alpha.
            scale = jnp.where(moved & ~valid, root(ss / safe), scale)
    nothing = jax.tree.map(jnp.zeros_like, s)
    s, y = systems.where(valid, s, nothing), systems.where(valid, y, nothing)
    ratio = jnp.where(valid & (ys > 0), ys / jnp.where(yy > 0, yy, one), zero)
    start = Start(scale=scale, cell=cell / scale if n_cell else cell, n_cell=n_cell)
    return Pair(s, y, weight, jnp.where(valid, yy, zero), ratio, start)


def _wiped(systems: Systems, fresh: jax.Array, memory: Tree) -> Tree:
    return jax.vmap(lambda slot: systems.where(fresh, jax.tree.map(jnp.zeros_like, slot), slot))(
        memory
    )


def scale_by_ase_lbfgs(memory_size: int = 100, alpha: float = 70.0) -> optax.GradientTransformation:
    """Multiply gradients by ASE's L-BFGS inverse Hessian: one system, as an optax citizen.

    Args:
        memory_size: Number of pairs kept, at least 1.
        alpha: Initial curvature, eV/Angstrom^2; the initial inverse Hessian is 1/alpha.

    Returns:
        A gradient transformation whose `update` needs `params`.

    Raises:
        ValueError: `memory_size` < 1 or `alpha` <= 0.

    Example:
        >>> import optax
        >>> optimizer = optax.chain(scale_by_ase_lbfgs(memory_size=10), optax.scale(-1.0))
    """
    transform = ScaleByAseLbfgs(memory_size=memory_size, alpha=alpha)

    def init(params: Tree) -> Any:
        return transform.init(params)

    def update(updates: Tree, state: Any, params: Tree = None) -> tuple[Tree, Any]:
        return transform.update(updates, state, params)

    return optax.GradientTransformation(init, update)
