"""FIRE, FIRE2 and ABC-FIRE: damped dynamics, with time step and counters for each system."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from kups_relax._checks import FLAG, NOT_NEGATIVE, POSITIVE, Whole, settle
from kups_relax._tree import dataclass
from kups_relax.errors import OptionError
from kups_relax.ops import keep, rounded
from kups_relax.optimizers._base import Transform
from kups_relax.optimizers._systems import Systems, like_parameters

Tree = Any


@dataclass
class FireState:
    """Velocities and counters of `Fire`.

    Attributes:
        velocity: Like the parameters.
        dt: (n_systems,) time step.
        mixing: (n_systems,) share of the velocity that is turned towards the force.
        downhill: (n_systems,) int32, steps since the velocity last pointed uphill.
        started: (n_systems,) bool, whether there has been an update.
        last: Parameters before the last step, where `downhill_check` asks for them.
        energy: (n_systems,) there, likewise.
        systems: Which elements belong to which system.
    """

    velocity: Tree = like_parameters()
    dt: jax.Array
    mixing: jax.Array
    downhill: jax.Array
    started: jax.Array
    last: Tree | None = like_parameters()
    energy: jax.Array | None
    systems: Systems


@dataclasses.dataclass(frozen=True)
class Fire(Transform[FireState]):
    """Step as ASE's FIRE does, to the letter; each system has its own clock.

    The updates are steps downhill: nothing needs to follow.

    Attributes:
        dt: First time step.
        maxstep: Longest step, Angstrom: the norm over all atoms, as in ASE.
        dtmax: Longest time step.
        nmin: Steps downhill before the time step grows.
        finc: Growth of the time step.
        fdec: What is left of it after a step uphill.
        astart: First share of the velocity that is turned towards the force.
        fa: Decay of that share.
        downhill_check: Go back from a step that raised the energy. `update` then needs
            `value=`, (n_systems,) energies.

    References:
        Bitzek et al., Phys. Rev. Lett. 2006, 97, 170201, doi:10.1103/PhysRevLett.97.170201.
        ASE 3.29, `ase.optimize.FIRE`.
    """

    dt: float = 0.1
    maxstep: float = 0.2
    dtmax: float = 1.0
    nmin: int = 5
    finc: float = 1.1
    fdec: float = 0.5
    astart: float = 0.1
    fa: float = 0.99
    downhill_check: bool = False

    def __post_init__(self) -> None:
        _check(self)

    @property
    def needs_value(self) -> bool:
        """See `Transform.needs_value`."""
        return self.downhill_check

    def init(self, parameters: Tree, index_prefix: Tree = None) -> FireState:
        """See `Transform.init`."""
        parameters = jax.tree.map(jnp.asarray, parameters)
        return self._start(Systems.of(parameters, index_prefix), parameters)

    def forget(self, state: FireState, which: jax.Array, parameters: Tree) -> FireState:
        """See `Transform.forget`."""
        return state.systems.choose(which, self._start(state.systems, parameters), state)

    def _start(self, systems: Systems, parameters: Tree) -> FireState:
        n, dtype = systems.n, jnp.result_type(*jax.tree.leaves(parameters))
        return FireState(
            velocity=jax.tree.map(jnp.zeros_like, parameters),
            dt=jnp.full(n, self.dt, dtype),
            mixing=jnp.full(n, self.astart, dtype),
            downhill=jnp.zeros(n, jnp.int32),
            started=jnp.zeros(n, bool),
            last=parameters if self.downhill_check else None,
            energy=jnp.full(n, jnp.inf, dtype) if self.downhill_check else None,
            systems=systems,
        )

    def update(
        self, updates: Tree, state: FireState, params: Tree = None, **extra: Any
    ) -> tuple[Tree, FireState]:
        """Turn gradients into steps.

        Args:
            updates: Gradients.
            state: From `init` or the last `update`.
            params: Where the gradients were taken; needed with `downhill_check`.
            **extra: `value`, the energies there; needed with `downhill_check`.

        Raises:
            OptionError: `downhill_check` lacks `value`.
        """
        if not self.downhill_check:
            return _fire(self, updates, state, None)
        value = extra.get("value")
        if value is None or params is None:
            raise OptionError(
                "Fire(downhill_check=True) compares energies, and got none: pass params and "
                "value=, the energy of each system, to update, or leave downhill_check False."
            )
        value = jnp.reshape(jnp.asarray(value, state.dt.dtype), state.dt.shape)
        return _fire(self, updates, state, (params, value))


@dataclass
class Fire2State:
    """Velocities and counters of `Fire2`.

    Attributes:
        velocity: Like the parameters.
        dt: (n_systems,) time step.
        mixing: (n_systems,) share of the velocity that is turned towards the force.
        downhill: (n_systems,) int32, steps since the velocity last pointed uphill.
        resting: (n_systems,) bool, whether the system starts from rest: in the first update, and
            after a step back.
        systems: Which elements belong to which system.
    """

    velocity: Tree = like_parameters()
    dt: jax.Array
    mixing: jax.Array
    downhill: jax.Array
    resting: jax.Array
    systems: Systems


@dataclasses.dataclass(frozen=True)
class Fire2(Transform[Fire2State]):
    """Step as ASE's FIRE2 does, or its ABC-FIRE; each system has its own clock.

    Where the velocity points uphill, ASE goes back half a step, evaluates the forces there, and
    goes on with these, all in one of its steps. Here these are two updates, one for each
    evaluation; the geometries that are evaluated are the same, one after the other.

    The updates are steps downhill: nothing needs to follow.

    Attributes:
        dt: First time step.
        maxstep: Longest step, Angstrom: the norm over all atoms, as in ASE; with `use_abc`
            the longest move along any coordinate.
        dtmax: Longest time step.
        dtmin: Shortest time step.
        nmin: Steps downhill before the time step grows.
        finc: Growth of the time step.
        fdec: What is left of it after a step uphill.
        astart: First share of the velocity that is turned towards the force.
        fa: Decay of that share.
        use_abc: Correct the velocity for its start from rest (ABC-FIRE). In float32 the share
            stays above 1e-6 where ASE's bound is 1e-10, which float32 cannot take from 1.

    References:
        Guenole et al., Comput. Mater. Sci. 2020, 175, 109584,
        doi:10.1016/j.commatsci.2020.109584.
        Echeverri Restrepo and Andric, Comput. Mater. Sci. 2023, 218, 111978,
        doi:10.1016/j.commatsci.2022.111978.
        ASE 3.29, `ase.optimize.FIRE2`.
    """

    dt: float = 0.1
    maxstep: float = 0.2
    dtmax: float = 1.0
    dtmin: float = 2e-3
    nmin: int = 20
    finc: float = 1.1
    fdec: float = 0.5
    astart: float = 0.25
    fa: float = 0.99
    use_abc: bool = False

    def __post_init__(self) -> None:
        _check(self)

    def init(self, parameters: Tree, index_prefix: Tree = None) -> Fire2State:
        """See `Transform.init`."""
        parameters = jax.tree.map(jnp.asarray, parameters)
        return self._start(Systems.of(parameters, index_prefix), parameters)

    def forget(self, state: Fire2State, which: jax.Array, parameters: Tree) -> Fire2State:
        """See `Transform.forget`."""
        return state.systems.choose(which, self._start(state.systems, parameters), state)

    def _start(self, systems: Systems, parameters: Tree) -> Fire2State:
        n, dtype = systems.n, jnp.result_type(*jax.tree.leaves(parameters))
        return Fire2State(
            velocity=jax.tree.map(jnp.zeros_like, parameters),
            dt=jnp.full(n, self.dt, dtype),
            mixing=jnp.full(n, self.astart, dtype),
            downhill=jnp.zeros(n, jnp.int32),
            resting=jnp.ones(n, bool),
            systems=systems,
        )

    def update(
        self, updates: Tree, state: Fire2State, params: Tree = None, **extra: Any
    ) -> tuple[Tree, Fire2State]:
        """Turn gradients into steps. See `Transform.update`."""
        del params, extra
        return _fire2(self, updates, state)


@partial(jax.jit, static_argnums=0)
def _fire(
    config: Fire, gradient: Tree, state: FireState, seen: tuple[Tree, jax.Array] | None
) -> tuple[Tree, FireState]:
    return rounded(partial(_fire_step, config))(jax.tree.map(keep, gradient), state, seen)


def _fire_step(
    config: Fire, gradient: Tree, state: FireState, seen: tuple[Tree, jax.Array] | None
) -> tuple[Tree, FireState]:
    systems, old = state.systems, state.velocity
    power = -systems.dot(gradient, old)
    risen = jnp.zeros_like(state.started)
    if seen is not None:
        assert state.energy is not None
        risen = state.started & (seen[1] > state.energy)
    down = state.started & (power > 0) & ~risen
    up = state.started & ~down

    # v, turned towards the force, and driven by it: a * v - b * gradient.
    mixing, dt = state.mixing, state.dt
    length = _over_norm(jnp.sqrt(systems.dot(old, old)), systems.dot(gradient, gradient))
    turn = jnp.where(down, mixing * length, 0)
    grow = down & (state.downhill > config.nmin)
    dt = jnp.where(grow, jnp.minimum(dt * config.finc, config.dtmax), dt)
    dt = jnp.where(up, dt * config.fdec, dt)
    velocity = _combine(systems, jnp.where(down, 1 - mixing, 0), old, -(turn + dt), gradient)
    mixing = jnp.where(grow, mixing * config.fa, mixing)
    mixing = jnp.where(up, config.astart, mixing)

    step = _bounded(config.maxstep, systems, systems.scale(velocity, dt))
    last = energy = None
    if seen is not None:
        # From where the energy had not risen yet, with the force of where it had: as in ASE.
        back = jax.tree.map(lambda there, s, here: (there + s) - here, state.last, step, seen[0])
        step = systems.where(risen, back, step)
        last = systems.where(risen, state.last, seen[0])
        assert state.energy is not None
        energy = jnp.where(risen, state.energy, seen[1])
    new = dataclasses.replace(
        state,
        velocity=velocity,
        dt=dt,
        mixing=mixing,
        downhill=jnp.where(down, state.downhill + 1, 0),
        started=jnp.ones_like(state.started),
        last=last,
        energy=energy,
    )
    return step, new


@partial(jax.jit, static_argnums=0)
def _fire2(config: Fire2, gradient: Tree, state: Fire2State) -> tuple[Tree, Fire2State]:
    return rounded(partial(_fire2_step, config))(jax.tree.map(keep, gradient), state)


def _fire2_step(config: Fire2, gradient: Tree, state: Fire2State) -> tuple[Tree, Fire2State]:
    systems, old = state.systems, state.velocity
    power = -systems.dot(gradient, old)
    down = ~state.resting & (power > 0)
    up = ~state.resting & ~down
    downhill = jnp.where(down, state.downhill + 1, jnp.where(up, 0, state.downhill))
    grow = down & (downhill > config.nmin)
    dt = jnp.where(grow, jnp.minimum(state.dt * config.finc, config.dtmax), state.dt)
    dt = jnp.where(up, jnp.maximum(state.dt * config.fdec, config.dtmin), dt)
    mixing = jnp.where(grow, state.mixing * config.fa, state.mixing)
    mixing = jnp.where(up, config.astart, mixing)

    one = jnp.ones_like(dt)
    velocity = _combine(systems, one, old, -dt, gradient)
    if config.use_abc:
        mixing = jnp.maximum(mixing, 1e-10 if dt.dtype == jnp.float64 else 1e-6)
    length = _over_norm(jnp.sqrt(systems.dot(velocity, velocity)), systems.dot(gradient, gradient))
    boost = one
    if config.use_abc:
        boost = 1 / (1 - _power(1 - mixing, downhill + 1))
    velocity = _combine(
        systems, boost * (1 - mixing), velocity, -(boost * (mixing * length)), gradient
    )
    if config.use_abc:
        fastest = systems.spread(config.maxstep / dt, velocity)
        velocity = jax.tree.map(lambda v, f: jnp.clip(v, -f, f).astype(v.dtype), velocity, fastest)
        step = systems.scale(velocity, dt)
    else:
        step = _bounded(config.maxstep, systems, systems.scale(velocity, dt))
    new = dataclasses.replace(
        state,
        velocity=systems.where(up, jax.tree.map(jnp.zeros_like, old), velocity),
        dt=dt,
        mixing=mixing,
        downhill=downhill,
        resting=up,
    )
    return systems.where(up, systems.scale(old, -(dt / 2)), step), new


def _combine(systems: Systems, a: jax.Array, x: Tree, b: jax.Array, y: Tree) -> Tree:
    return jax.tree.map(jnp.add, systems.scale(x, a), systems.scale(y, b))


def _over_norm(length: jax.Array, squared: jax.Array) -> jax.Array:
    """Divide a length by the root of a square; 0 where that is 0."""
    some = squared > 0
    return jnp.where(some, length / jnp.sqrt(jnp.where(some, squared, 1)), 0)


def _bounded(limit: float, systems: Systems, step: Tree) -> Tree:
    norm = jnp.sqrt(systems.dot(step, step))
    too_long = norm > limit
    factor = jnp.where(too_long, limit / jnp.where(too_long, norm, 1), 1)
    return systems.scale(step, factor)


def _power(x: jax.Array, exponent: jax.Array) -> jax.Array:
    """Raise to a whole power, by squaring: what `pow` gives may depend on the program around it."""

    def body(
        _: int, carry: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        result, base, left = carry
        return jnp.where(left % 2 == 1, result * base, result), base * base, left // 2

    return jax.lax.fori_loop(0, 31, body, (jnp.ones_like(x), x, exponent))[0]


def _check(config: Fire | Fire2) -> None:
    of = {bool: FLAG, int: Whole(), float: NOT_NEGATIVE}
    checks = {field.name: of[type(field.default)] for field in dataclasses.fields(config)}
    settle(config, **{**checks, "dt": POSITIVE, "maxstep": POSITIVE, "dtmax": POSITIVE})
