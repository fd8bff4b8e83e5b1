"""The device program: evaluate, judge, move, per lane, until enough lanes are done.

Nothing here looks across lanes except the question whether to return to the host, which changes
when results are collected and never what they are.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from kups_relax._tree import dataclass
from kups_relax.ops import apart, fold, product, root, rounded
from kups_relax.optimizers import Lanes, Transform
from kups_relax.potentials import EnergyModel, Evaluation, Potential, Terms
from kups_relax.relaxation._status import Status

# A level below XLA's default: on CPU it compiles in three quarters of the time and runs as fast.
COMPILER_OPTIONS = {"cpu": {"xla_backend_optimization_level": 2}}

# Programs traced so far, for tests that count them.
traces: list[tuple[Any, ...]] = []


@dataclass
class Start:
    """What the host hands to a tile, besides the potential's arrays.

    Attributes:
        positions: (3, A, L), of the fresh lanes; others are ignored.
        cell: (3, 3, L), cell[i, :, lane] is lattice vector i; likewise.
        reference: (3, A, L): for which positions the potential's arrays were prepared.
        fresh: (L,) bool, lanes with a new structure.
        occupied: (L,) bool; the others hold nothing that is waited for.
    """

    positions: jax.Array
    cell: jax.Array
    reference: jax.Array
    fresh: jax.Array
    occupied: jax.Array


@dataclass
class TileState:
    """What a tile knows of its structures.

    Energy, forces, stress and fmax belong to `positions`, the last geometry with finite values.

    Attributes:
        trial: (3, A, L), the geometry that is evaluated next.
        positions: (3, A, L).
        cell: (3, 3, L).
        energy: (L,), eV.
        forces: (3, A, L), eV/Angstrom.
        stress: (3, 3, L), eV/Angstrom^3; None where the program does not ask for it.
        fmax: (L,), longest force on an atom, eV/Angstrom.
        status: (L,) int32, a `Status`.
        n_steps: (L,) int32, moves made.
        stale: (L,) bool, running structures whose arrays no longer hold at `trial`. A tile goes
            back to the host before it evaluates one.
        optimizer: State of the optimizer.
    """

    trial: jax.Array
    positions: jax.Array
    cell: jax.Array
    energy: jax.Array
    forces: jax.Array
    stress: jax.Array | None
    fmax: jax.Array
    status: jax.Array
    n_steps: jax.Array
    stale: jax.Array
    optimizer: Any


@dataclasses.dataclass(frozen=True)
class Program:
    """What a compiled program depends on, besides the shapes of a size class.

    Attributes:
        potential: Energy model.
        optimizer: Step maker.
        stress: Whether results say the stress.
    """

    potential: EnergyModel
    optimizer: Transform[Any]
    stress: bool = False

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
            cell=jnp.zeros((3, 3, n_lanes), dtype),
            energy=jnp.zeros(n_lanes, dtype),
            forces=jnp.zeros(shape, dtype),
            stress=jnp.zeros((3, 3, n_lanes), dtype) if self.stress else None,
            fmax=jnp.zeros(n_lanes, dtype),
            status=jnp.zeros(n_lanes, jnp.int32),
            n_steps=jnp.zeros(n_lanes, jnp.int32),
            stale=jnp.zeros(n_lanes, bool),
            optimizer=optimizer,
        )


def advance(
    program: Program,
    state: TileState,
    terms: Terms,
    start: Start,
    fmax: ArrayLike,
    max_steps: ArrayLike,
    budget: ArrayLike,
    keep_running: ArrayLike,
) -> TileState:
    """Load fresh structures, then step until the host is needed.

    That is when few lanes are running, a lane's arrays are stale, or the budget is spent.

    Args:
        program: Static. With the shapes, all that decides what is compiled.
        state: The tile so far. Given up: its buffers become those of the result.
        terms: What the potential needs of the structures.
        start: The fresh structures, and where arrays were prepared.
        fmax: () convergence threshold, eV/Angstrom.
        max_steps: () int32, moves allowed to a structure.
        budget: () int32, steps in this call.
        keep_running: () int32, return once at most so many lanes are running.
    """
    run = _compiled(_advance, jax.default_backend())
    return run(program, state, terms, start, fmax, max_steps, budget, keep_running)


def load(program: Program, state: TileState, start: Start) -> TileState:
    """Load fresh structures, for potentials that are evaluated on the host. Gives `state` up.

    Compiled once for an optimizer and the shapes, whatever the potential.
    """
    return _compiled(_load, jax.default_backend())(program.optimizer, state, start)


def settle(
    program: Program,
    state: TileState,
    evaluation: Evaluation,
    reference: ArrayLike | None,
    fmax: ArrayLike,
    max_steps: ArrayLike,
) -> TileState:
    """Judge and move, after the host evaluated the trial geometries. Gives `state` up.

    Compiled once for an optimizer, a slack and the shapes, whatever the potential. `reference` is
    that of `Start`, None where there is no slack.
    """
    run = _compiled(_settle, jax.default_backend())
    mover = (program.optimizer, program.potential.slack)
    return run(mover, state, evaluation, reference, fmax, max_steps)


@functools.cache
def _compiled(function: Any, platform: str) -> Any:
    options = COMPILER_OPTIONS.get(platform)
    return jax.jit(function, static_argnums=0, donate_argnums=1, compiler_options=options)


def _advance(
    program: Program,
    state: TileState,
    terms: Terms,
    start: Start,
    fmax: jax.Array,
    max_steps: jax.Array,
    budget: jax.Array,
    keep_running: jax.Array,
) -> TileState:
    traces.append((program, start.positions.shape, start.positions.dtype))
    state = _load(program.optimizer, state, start)
    mover = (program.optimizer, program.potential.slack)

    def go_on(carry: tuple[jax.Array, TileState]) -> jax.Array:
        step, state = carry
        running = jnp.sum(state.status == Status.RUNNING, dtype=jnp.int32)
        return (step < budget) & (running > keep_running) & ~jnp.any(state.stale)

    def body(carry: tuple[jax.Array, TileState]) -> tuple[jax.Array, TileState]:
        step, state = carry
        evaluation = evaluate_tile(
            program.potential, max_steps >= 0, state.trial, state.cell, terms, program.stress
        )
        return step + 1, _settle(mover, state, evaluation, start.reference, fmax, max_steps)

    return lax.while_loop(go_on, body, (jnp.zeros((), jnp.int32), state))[1]


def _load(optimizer: Transform[Any], state: TileState, start: Start) -> TileState:
    fresh = start.fresh
    zero = jnp.zeros((), start.positions.dtype)
    nan = jnp.full((), jnp.nan, start.positions.dtype)
    trial = jnp.where(fresh, start.positions, state.trial)
    status = jnp.where(start.occupied, state.status, jnp.int32(Status.EMPTY))
    return TileState(
        trial=trial,
        positions=jnp.where(fresh, start.positions, state.positions),
        cell=jnp.where(fresh, start.cell, state.cell),
        energy=jnp.where(fresh, nan, state.energy),
        forces=jnp.where(fresh, zero, state.forces),
        stress=None if state.stress is None else jnp.where(fresh, zero, state.stress),
        fmax=jnp.where(fresh, nan, state.fmax),
        status=jnp.where(fresh, jnp.int32(Status.RUNNING), status),
        n_steps=jnp.where(fresh, 0, state.n_steps),
        # Whatever was stale has been prepared anew when the host comes back.
        stale=jnp.zeros_like(fresh),
        optimizer=optimizer.reset(state.optimizer, fresh, trial),
    )


def _settle(
    mover: tuple[Transform[Any], float | None],
    state: TileState,
    evaluation: Evaluation,
    reference: jax.Array | None,
    fmax: jax.Array,
    max_steps: jax.Array,
) -> TileState:
    optimizer, slack = mover
    energy, forces = evaluation.energy, evaluation.forces
    longest = root(jnp.max(fold(product(forces, forces)), axis=0))

    running = state.status == Status.RUNNING
    finite = jnp.isfinite(energy) & jnp.isfinite(longest)
    judged = jnp.where(state.n_steps >= max_steps, Status.MAX_STEPS, Status.RUNNING)
    judged = jnp.where(longest < fmax, Status.CONVERGED, judged)
    judged = jnp.where(finite, judged, Status.NON_FINITE).astype(jnp.int32)
    status = jnp.where(running, judged, state.status)
    seen = running & finite

    steps, memory = optimizer.update(-forces, state.optimizer, state.trial)
    move = status == Status.RUNNING
    trial = jnp.where(move, state.trial + steps, state.trial)
    stress = state.stress
    if stress is not None:
        assert evaluation.stress is not None
        stress = jnp.where(seen, evaluation.stress, stress)
    return TileState(
        trial=trial,
        positions=jnp.where(seen, state.trial, state.positions),
        cell=state.cell,
        energy=jnp.where(seen, energy, state.energy),
        forces=jnp.where(seen, forces, state.forces),
        stress=stress,
        fmax=jnp.where(seen, longest, state.fmax),
        status=status,
        n_steps=state.n_steps + move,
        stale=move & _stale(slack, trial, reference),
        optimizer=memory,
    )


def _stale(slack: float | None, trial: jax.Array, reference: jax.Array | None) -> jax.Array:
    """(L,) bool: some atom has gone too far for the arrays that were prepared."""
    if slack is None or reference is None:
        return jnp.zeros(trial.shape[-1], bool)
    moved = trial - reference
    return jnp.max(fold(product(moved, moved)), axis=0) > slack**2


def evaluate_tile(
    potential: EnergyModel,
    needed: jax.Array,
    positions: jax.Array,
    cell: jax.Array,
    terms: Terms,
    stress: bool = False,
    energies: bool = False,
) -> Evaluation:
    """Evaluate a tile as a part of its own, so that its bits are the same in any program.

    Args:
        potential: Energy model.
        needed: () bool that is true, and that the compiler cannot know.
        positions: (3, A, L), Angstrom.
        cell: (3, 3, L), Angstrom.
        terms: The prepared arrays.
        stress: Whether the stress is wanted.
        energies: Whether the shares of the atoms are wanted.
    """
    assert isinstance(potential, Potential), potential

    def evaluate(positions: jax.Array, cell: jax.Array, terms: Terms) -> Evaluation:
        got = potential.evaluate(positions, cell, terms)
        return Evaluation(
            got.energy,
            got.forces,
            got.stress if stress else None,
            got.energies if energies else None,
        )

    run = rounded(evaluate) if potential.rounds else evaluate
    return apart(needed, run, positions, cell, terms)
