"""The device program: evaluate, judge, move, per lane, until enough lanes are done.

Nothing here looks across lanes except the question whether to return to the host, which changes
when results are collected and never what they are.
"""

import dataclasses
import functools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from kups_relax._tree import dataclass
from kups_relax.ops import apart, fold, product, root, rounded
from kups_relax.optimizers import Lanes, Transform
from kups_relax.potentials import Potential, Terms
from kups_relax.relaxation._status import Status

# A level below XLA's default: on CPU it compiles in three quarters of the time and runs as fast.
_COMPILER_OPTIONS = {"cpu": {"xla_backend_optimization_level": 2}}

# Programs traced so far, for tests that count them.
traces: list[tuple[Any, ...]] = []


@dataclass
class TileState:
    """What a tile knows of its structures.

    Energy, forces and fmax belong to `positions`, the last geometry with finite values.

    Attributes:
        trial: (3, A, L), the geometry that is evaluated next.
        positions: (3, A, L).
        energy: (L,), eV.
        forces: (3, A, L), eV/Angstrom.
        fmax: (L,), longest force on an atom, eV/Angstrom.
        status: (L,) int32, a `Status`.
        n_steps: (L,) int32, moves made.
        optimizer: State of the optimizer.
    """

    trial: jax.Array
    positions: jax.Array
    energy: jax.Array
    forces: jax.Array
    fmax: jax.Array
    status: jax.Array
    n_steps: jax.Array
    optimizer: Any


@dataclasses.dataclass(frozen=True)
class Program:
    """What a compiled program depends on, besides the shapes of a size class.

    Attributes:
        potential: Energy model.
        optimizer: Step maker.
    """

    potential: Potential
    optimizer: Transform[Any]

    def empty(self, shape: tuple[int, int, int], dtype: Any) -> TileState:
        """Make the state of a tile without structures.

        Args:
            shape: (3, atom capacity, n_lanes).
            dtype: Floating dtype of the run.
        """
        lanes = Lanes(n=shape[-1])
        parameters = jax.ShapeDtypeStruct(shape, dtype)
        optimizer = jax.eval_shape(lambda p: self.optimizer.init(p, lanes), parameters)
        optimizer = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), optimizer)
        n_lanes = shape[-1]
        return TileState(
            trial=jnp.zeros(shape, dtype),
            positions=jnp.zeros(shape, dtype),
            energy=jnp.zeros(n_lanes, dtype),
            forces=jnp.zeros(shape, dtype),
            fmax=jnp.zeros(n_lanes, dtype),
            status=jnp.zeros(n_lanes, jnp.int32),
            n_steps=jnp.zeros(n_lanes, jnp.int32),
            optimizer=optimizer,
        )


def advance(
    program: Program,
    state: TileState,
    terms: Terms,
    start: ArrayLike,
    fresh: ArrayLike,
    fmax: ArrayLike,
    max_steps: ArrayLike,
    budget: ArrayLike,
    keep_running: ArrayLike,
) -> TileState:
    """Load fresh structures, then step until few lanes are running or the budget is spent.

    Args:
        program: Static. With the shapes, all that decides what is compiled.
        state: The tile so far. Given up: its buffers become those of the result.
        terms: What the potential needs of the structures.
        start: (3, A, L), positions of the fresh lanes; others are ignored.
        fresh: (L,) bool, lanes with a new structure.
        fmax: () convergence threshold, eV/Angstrom.
        max_steps: () int32, moves allowed to a structure.
        budget: () int32, steps in this call.
        keep_running: () int32, return once at most so many lanes are running.
    """
    run = _compiled(jax.default_backend())
    return run(program, state, terms, start, fresh, fmax, max_steps, budget, keep_running)


@functools.cache
def _compiled(platform: str) -> Any:
    options = _COMPILER_OPTIONS.get(platform)
    return jax.jit(_advance, static_argnums=0, donate_argnums=1, compiler_options=options)


def _advance(
    program: Program,
    state: TileState,
    terms: Terms,
    start: jax.Array,
    fresh: jax.Array,
    fmax: jax.Array,
    max_steps: jax.Array,
    budget: jax.Array,
    keep_running: jax.Array,
) -> TileState:
    traces.append((program, start.shape, start.dtype))
    state = _load(program, state, start, fresh)

    def go_on(carry: tuple[jax.Array, TileState]) -> jax.Array:
        step, state = carry
        running = jnp.sum(state.status == Status.RUNNING, dtype=jnp.int32)
        return (step < budget) & (running > keep_running)

    def body(carry: tuple[jax.Array, TileState]) -> tuple[jax.Array, TileState]:
        step, state = carry
        return step + 1, _step(program, state, terms, fmax, max_steps)

    return lax.while_loop(go_on, body, (jnp.zeros((), jnp.int32), state))[1]


def _load(program: Program, state: TileState, start: jax.Array, fresh: jax.Array) -> TileState:
    zero = jnp.zeros((), start.dtype)
    nan = jnp.full((), jnp.nan, start.dtype)
    trial = jnp.where(fresh, start, state.trial)
    return TileState(
        trial=trial,
        positions=jnp.where(fresh, start, state.positions),
        energy=jnp.where(fresh, nan, state.energy),
        forces=jnp.where(fresh, zero, state.forces),
        fmax=jnp.where(fresh, nan, state.fmax),
        status=jnp.where(fresh, jnp.int32(Status.RUNNING), state.status),
        n_steps=jnp.where(fresh, 0, state.n_steps),
        optimizer=program.optimizer.reset(state.optimizer, fresh, trial),
    )


def _step(
    program: Program, state: TileState, terms: Terms, fmax: jax.Array, max_steps: jax.Array
) -> TileState:
    energy, forces = apart(
        max_steps >= 0, rounded(partial(_evaluate, program.potential)), state.trial, terms
    )
    longest = root(jnp.max(fold(product(forces, forces)), axis=0))

    running = state.status == Status.RUNNING
    finite = jnp.isfinite(energy) & jnp.isfinite(longest)
    judged = jnp.where(state.n_steps >= max_steps, Status.MAX_STEPS, Status.RUNNING)
    judged = jnp.where(longest < fmax, Status.CONVERGED, judged)
    judged = jnp.where(finite, judged, Status.NON_FINITE).astype(jnp.int32)
    status = jnp.where(running, judged, state.status)
    seen = running & finite

    steps, optimizer = program.optimizer.update(-forces, state.optimizer, state.trial)
    move = status == Status.RUNNING
    return TileState(
        trial=jnp.where(move, state.trial + steps, state.trial),
        positions=jnp.where(seen, state.trial, state.positions),
        energy=jnp.where(seen, energy, state.energy),
        forces=jnp.where(seen, forces, state.forces),
        fmax=jnp.where(seen, longest, state.fmax),
        status=status,
        n_steps=state.n_steps + move,
        optimizer=optimizer,
    )


def _evaluate(
    potential: Potential, positions: jax.Array, terms: Terms
) -> tuple[jax.Array, jax.Array]:
    evaluation = potential.evaluate(positions, terms)
    return evaluation.energy, evaluation.forces
