"""The device program: evaluate, judge, move, per lane, until enough lanes are done.

Nothing here looks across lanes except the question whether to return to the host, which changes
when results are collected and never what they are; and the count of busy lanes, which is only
shown.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from kups_relax._platform import compiler_options
from kups_relax._tree import dataclass
from kups_relax.coordinates import FREE, Coordinates, Geometry, relative_strain, shrinkage
from kups_relax.data import Terms
from kups_relax.internals import Chart, Guide
from kups_relax.ops import apart, fold, product, root, rounded
from kups_relax.optimizers import Lanes, Transform
from kups_relax.potentials import EnergyModel, Evaluation, HostPotential, Potential
from kups_relax.relaxation._status import Status


@dataclass
class Start:
    """What the host hands to a tile, besides the potential's arrays.

    Attributes:
        geometry: Where the structures of all lanes started.
        reference: For which geometry the potential's arrays were prepared.
        inverse: (3, 3, L) of the reference's cell; None where cells do not change.
        terms: The arrays of the coordinates; None where all is free.
        guide: Those of the guess of the Hessian; None where the optimizer asks for none.
        every: (L,) int32, steps between two frames of a trajectory; 0: there is none.
        fresh: (L,) bool, lanes with a new structure.
        occupied: (L,) bool; the others hold nothing that is waited for.
    """

    geometry: Geometry
    reference: Geometry
    inverse: jax.Array | None
    terms: Terms | None
    guide: Terms | None
    every: jax.Array
    fresh: jax.Array
    occupied: jax.Array


@dataclass
class TileState:
    """What a tile knows of its structures.

    Energy, forces, stress and fmax belong to `seen`, the last geometry with finite values that the
    optimizer took, or that has converged; a line search tries others in between.

    Attributes:
        x: (3, rows, L), what the optimizer moves: see `Coordinates`.
        trial: The geometry of x, that is evaluated next.
        seen: The last one with finite values that was taken.
        energy: (L,), eV.
        free_energy: (L,), eV: what the forces are the slope of; None: the energy, as it is for
            potentials of the device.
        forces: (3, A, L), eV/Angstrom.
        stress: (3, 3, L), eV/Angstrom^3; None where the program does not ask for it.
        fmax: (L,), longest row of the forces on x that is judged, eV/Angstrom.
        status: (L,) int32, a `Status`.
        n_steps: (L,) int32, moves made: geometries taken after the start.
        n_evaluations: (L,) int32, of the structure, those of trials included.
        stale: (L,) bool, running structures whose arrays no longer hold at `trial`. A tile goes
            back to the host before it evaluates one.
        due: (L,) bool, structures whose `seen` belongs into a trajectory. A tile goes back to the
            host before it evaluates another.
        n_calls: () int32, evaluations of the tile in this call.
        busy: () int32, lanes that were running in these, summed.
        optimizer: State of the optimizer.
    """

    x: jax.Array
    trial: Geometry
    seen: Geometry
    energy: jax.Array
    free_energy: jax.Array | None
    forces: jax.Array
    stress: jax.Array | None
    fmax: jax.Array
    status: jax.Array
    n_steps: jax.Array
    n_evaluations: jax.Array
    stale: jax.Array
    due: jax.Array
    n_calls: jax.Array
    busy: jax.Array
    optimizer: Any


@dataclasses.dataclass(frozen=True)
class Program:
    """What a compiled program depends on, besides the shapes of a size class.

    Attributes:
        potential: Energy model.
        optimizer: Step maker.
        coordinates: What moves.
        stress: Whether results say the stress.
        guide: What the optimizer's guess of the Hessian is made of; None: it asks for none.
    """

    potential: EnergyModel
    optimizer: Transform[Any]
    coordinates: Coordinates = FREE
    stress: bool = False
    guide: Guide | None = None

    @property
    def on_host(self) -> bool:
        """Whether the host evaluates the potential."""
        return isinstance(self.potential, HostPotential)

    @property
    def mover(self) -> "Mover":
        """What of it judges and moves."""
        model = self.potential
        return Mover(self.optimizer, self.coordinates, model.slack, model.reach, self.guide)

    def empty(
        self, shape: tuple[int, int, int], dtype: Any, capacities: Mapping[str, int]
    ) -> TileState:
        """Make the state of a tile without structures.

        Args:
            shape: (3, atom capacity, n_lanes).
            dtype: Floating dtype of the run.
            capacities: Of the class.
        """
        _, n_atoms, n_lanes = shape
        rows = (3, self.coordinates.n_rows(n_atoms), n_lanes)
        x = jax.ShapeDtypeStruct(rows, dtype)
        extra = {}
        if self.guide is not None:
            extra["n_internals"] = self.guide.n_internals(capacities)
        init = functools.partial(self.optimizer.init, **extra)
        optimizer = jax.eval_shape(lambda p: init(p, Lanes(n=n_lanes)), x)
        optimizer = jax.tree.map(lambda x: _zeros(x.shape, x.dtype), optimizer)

        def nowhere() -> Geometry:
            return Geometry(positions=_zeros(shape, dtype), cell=_zeros((3, 3, n_lanes), dtype))

        return TileState(
            x=_zeros(rows, dtype),
            trial=nowhere(),
            seen=nowhere(),
            energy=_zeros(n_lanes, dtype),
            free_energy=_zeros(n_lanes, dtype) if self.on_host else None,
            forces=_zeros(shape, dtype),
            stress=_zeros((3, 3, n_lanes), dtype) if self.stress else None,
            fmax=_zeros(n_lanes, dtype),
            status=_zeros(n_lanes, jnp.int32),
            n_steps=_zeros(n_lanes, jnp.int32),
            n_evaluations=_zeros(n_lanes, jnp.int32),
            stale=_zeros(n_lanes, bool),
            due=_zeros(n_lanes, bool),
            n_calls=_zeros((), jnp.int32),
            busy=_zeros((), jnp.int32),
            optimizer=optimizer,
        )


@dataclasses.dataclass(frozen=True)
class Mover:
    """What judges and moves, whatever the potential: all that is compiled for those of the host.

    Attributes:
        optimizer: Step maker.
        coordinates: What moves.
        slack: See `EnergyModel.slack`.
        reach: See `EnergyModel.reach`.
        guide: See `Program`.
    """

    optimizer: Transform[Any]
    coordinates: Coordinates
    slack: float | None
    reach: float | None
    guide: Guide | None = None


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

    That is when few lanes are running, a lane's arrays are stale, a frame is due, or the budget is
    spent.

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
    run = _compiled(_advance, program.mover)
    return run(program, state, terms, start, fmax, max_steps, budget, keep_running)


def load(program: Program, state: TileState, start: Start) -> TileState:
    """Load fresh structures, for potentials that are evaluated on the host. Gives `state` up.

    Compiled once for a mover and the shapes, whatever the potential.
    """
    return _compiled(_load, program.mover)(program.mover, state, start)


def settle(
    program: Program,
    state: TileState,
    evaluation: Evaluation,
    start: Start,
    fmax: ArrayLike,
    max_steps: ArrayLike,
) -> TileState:
    """Judge and move, after the host evaluated the trial geometries. Gives `state` up.

    Compiled once for a mover and the shapes, whatever the potential.
    """
    run = _compiled(_settle, program.mover)
    return run(program.mover, state, evaluation, start, fmax, max_steps)


def _zeros(shape: Any, dtype: Any) -> jax.Array:
    # `jnp.zeros` compiles a program for each shape. The copy is the device's own: it is donated.
    return jax.device_put(np.zeros(shape, dtype), may_alias=False)


def _compiled(function: Any, mover: Mover) -> Any:
    # Inverting a guess of the Hessian takes five times as long without the last level.
    options = compiler_options(jax.default_backend()) if mover.guide is None else {}
    return _jitted(function, tuple(options.items()))


@functools.cache
def _jitted(function: Any, options: tuple[tuple[str, Any], ...]) -> Any:
    return jax.jit(function, static_argnums=0, donate_argnums=1, compiler_options=dict(options))


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
    mover = program.mover
    state = _load(mover, state, start)

    def go_on(state: TileState) -> jax.Array:
        more = (state.n_calls < budget) & (_n_running(state) > keep_running)
        return more & ~jnp.any(state.stale | state.due)

    def body(state: TileState) -> TileState:
        evaluation = evaluate_tile(
            program.potential,
            max_steps >= 0,
            state.trial.positions,
            state.trial.cell,
            terms,
            program.stress,
        )
        return _settle(mover, state, evaluation, start, fmax, max_steps)

    return lax.while_loop(go_on, body, state)


def _n_running(state: TileState) -> jax.Array:
    return jnp.sum(state.status == Status.RUNNING, dtype=jnp.int32)


def _load(mover: Mover, state: TileState, start: Start) -> TileState:
    fresh = start.fresh
    zero = jnp.zeros((), state.energy.dtype)
    nan = jnp.full((), jnp.nan, state.energy.dtype)
    x = jnp.where(fresh, mover.coordinates.start(start.geometry), state.x)
    status = jnp.where(start.occupied, state.status, jnp.int32(Status.EMPTY))
    return TileState(
        x=x,
        trial=_choose(fresh, start.geometry, state.trial),
        seen=_choose(fresh, start.geometry, state.seen),
        energy=jnp.where(fresh, nan, state.energy),
        free_energy=None if state.free_energy is None else jnp.where(fresh, nan, state.free_energy),
        forces=jnp.where(fresh, zero, state.forces),
        stress=None if state.stress is None else jnp.where(fresh, zero, state.stress),
        fmax=jnp.where(fresh, nan, state.fmax),
        status=jnp.where(fresh, jnp.int32(Status.RUNNING), status),
        n_steps=jnp.where(fresh, 0, state.n_steps),
        n_evaluations=jnp.where(fresh, 0, state.n_evaluations),
        # Whatever was stale has been prepared anew when the host comes back.
        stale=jnp.zeros_like(fresh),
        due=jnp.zeros_like(fresh),
        n_calls=jnp.zeros_like(state.n_calls),
        busy=jnp.zeros_like(state.busy),
        optimizer=mover.optimizer.reset(state.optimizer, fresh, x),
    )


def _settle(
    mover: Mover,
    state: TileState,
    evaluation: Evaluation,
    start: Start,
    fmax: jax.Array,
    max_steps: jax.Array,
) -> TileState:
    coordinates, needed = mover.coordinates, max_steps >= 0
    slope_of = evaluation.energy if evaluation.free_energy is None else evaluation.free_energy
    pull = _run(coordinates, needed, coordinates.pull)(
        state.x,
        state.trial,
        start.geometry.cell,
        slope_of,
        evaluation.forces,
        evaluation.stress,
        start.terms,
    )

    running = state.status == Status.RUNNING
    finite = jnp.isfinite(evaluation.energy) & jnp.isfinite(pull.fmax)
    finite &= jnp.isfinite(pull.residual)
    if evaluation.free_energy is not None:
        finite &= jnp.isfinite(evaluation.free_energy)
    done = (pull.fmax < fmax) & (pull.residual < pull.smax)
    value = jnp.where(finite, pull.value, jnp.nan)
    extra: dict[str, Any] = {"value": value}
    if coordinates.cell is not None:
        extra["cell_rows"] = 3
    if mover.guide is not None:
        extra["chart"] = _chart(mover, start)
    steps, memory = mover.optimizer.update(-pull.forces, state.optimizer, state.x, **extra)
    accepted = mover.optimizer.accepted(memory)
    taken = jnp.ones_like(done) if accepted is None else accepted | done
    n_steps = state.n_steps + (running & taken & (state.n_evaluations > 0))
    judged = jnp.where(taken & (n_steps >= max_steps), Status.MAX_STEPS, Status.RUNNING)
    judged = jnp.where(done, Status.CONVERGED, judged)
    # A search goes back from a trial that is not finite.
    judged = jnp.where(finite | ~taken, judged, Status.NON_FINITE).astype(jnp.int32)
    status = jnp.where(running, judged, state.status)
    seen = running & finite & taken

    x, trial, sane = _run(coordinates, needed, coordinates.move)(
        state.x, steps, state.trial, start.geometry.cell, start.terms
    )
    lost = (status == Status.RUNNING) & ~sane
    status = jnp.where(lost, jnp.int32(Status.EXPLODED), status)
    move = status == Status.RUNNING
    stress = state.stress
    if stress is not None:
        assert evaluation.stress is not None
        stress = jnp.where(seen, evaluation.stress, stress)
    free_energy = state.free_energy
    if free_energy is not None:
        free_energy = jnp.where(seen, slope_of, free_energy)
    trial = _choose(move, trial, state.trial)
    return TileState(
        x=jnp.where(move, x, state.x),
        trial=trial,
        seen=_choose(seen, state.trial, state.seen),
        energy=jnp.where(seen, evaluation.energy, state.energy),
        free_energy=free_energy,
        forces=jnp.where(seen, evaluation.forces, state.forces),
        stress=stress,
        fmax=jnp.where(seen, pull.fmax, state.fmax),
        status=status,
        n_steps=n_steps,
        n_evaluations=state.n_evaluations + running,
        stale=move & _stale(mover, trial, start),
        due=seen & (start.every > 0) & (n_steps % jnp.maximum(start.every, 1) == 0),
        n_calls=state.n_calls + 1,
        busy=state.busy + _n_running(state),
        optimizer=memory,
    )


def _chart(mover: Mover, start: Start) -> Chart:
    assert mover.guide is not None
    assert start.guide is not None
    cell = start.terms if mover.coordinates.cell is not None else None
    return Chart(
        guide=mover.guide,
        terms=start.guide,
        factor=None if cell is None else cell["factor"],
        mask=None if cell is None else cell["mask"],
    )


def _run(coordinates: Coordinates, needed: jax.Array, function: Any) -> Any:
    """Round what the coordinates compute, apart from the rest; free ones have their own way."""
    if coordinates.free:
        return rounded(function)
    return functools.partial(apart, needed, rounded(function))


def _choose(which: jax.Array, a: Geometry, b: Geometry) -> Geometry:
    """Take the geometries of some lanes from `a`, of the others from `b`."""
    return jax.tree.map(lambda a, b: jnp.where(which, a, b), a, b)


def _stale(mover: Mover, trial: Geometry, start: Start) -> jax.Array:
    """(L,) bool: atoms or cell have gone too far for the arrays that were prepared.

    In a cell that was strained since then, whatever was `reach` apart is nearer by no more than the
    cell has shrunk, and by twice the way that atoms have gone in it.
    """
    positions, reference = trial.positions, start.reference
    nothing = jnp.zeros(positions.shape[-1], positions.dtype)
    if mover.slack is None:
        return nothing > 0
    moved, used = positions - reference.positions, nothing
    if mover.coordinates.cell is not None:
        assert start.inverse is not None
        strained = relative_strain(trial.cell, reference.cell, start.inverse)
        carried = reference.positions[:, None] * strained[:, :, None]
        moved = moved - fold(carried)
        if mover.reach is None:
            used = jnp.where(jnp.any(strained != 0, axis=(0, 1)), jnp.inf, nothing)
        else:
            used = shrinkage(strained) * (mover.reach / 2)
    return root(jnp.max(fold(product(moved, moved)), axis=0)) + used > mover.slack


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
