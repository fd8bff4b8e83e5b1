"""The host's part of a relaxation: fill lanes, collect what finishes, fill again.

Structures wait in one queue for each program and size class. A worker thread takes a tile of the
class with the most work, and keeps its lanes busy until that queue is empty. Workers share nothing
but the queues; which structure meets which in a tile is chance, and changes no structure's bits.
"""

import collections
import dataclasses
import os
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence

import jax
import numpy as np

from kups_relax._platform import make_room
from kups_relax.data import Structure, Terms
from kups_relax.errors import CapacityError, PotentialError, StructureError
from kups_relax.potentials import Asked, EnergyModel, Evaluation, HostPotential, Session
from kups_relax.potentials._host import given
from kups_relax.relaxation._classes import SizeClass, axis_capacity, axis_lengths
from kups_relax.relaxation._status import ADVICE, Status
from kups_relax.relaxation._step import Program, TileState, advance, load, settle
from kups_relax.relaxation._tiles import Tile

_Class = tuple[Program, SizeClass]


@dataclasses.dataclass(frozen=True)
class Job:
    """A structure that is ready to run.

    Attributes:
        number: Place in the caller's input.
        structure: What was read.
        program: What it runs through: with the form of the potential that it needs.
        prepared: What the potential made of it.
        moves: What its coordinates need.
        size: Its size class.
    """

    number: int
    structure: Structure
    program: Program
    prepared: Mapping[str, np.ndarray]
    moves: Mapping[str, np.ndarray]
    size: SizeClass


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a structure got: all of one and the same evaluated geometry.

    Attributes:
        number: Place in the caller's input.
        positions: (n_atoms, 3) float64, Angstrom.
        cell: (3, 3) float64, rows are lattice vectors, Angstrom; None where it did not change.
        energy: eV.
        forces: (n_atoms, 3) float64, eV/Angstrom.
        stress: (3, 3) float64, eV/Angstrom^3; None where none was asked for.
        fmax: Longest row of the forces that are judged, eV/Angstrom.
        n_steps: Moves made.
        status: How it ended.
        reason: Why it did not converge, and what to do.
    """

    number: int
    positions: np.ndarray
    cell: np.ndarray | None
    energy: float
    forces: np.ndarray
    stress: np.ndarray | None
    fmax: float
    n_steps: int
    status: Status
    reason: str


class Scheduler:
    """Run jobs to their end in tiles.

    Args:
        dtype: "float64" or "float32".
        fmax: Convergence threshold, eV/Angstrom.
        max_steps: Moves allowed to each structure.
        n_workers: Tiles in flight. None: one for each CPU core, or one on an accelerator. At most
            as many as a `HostPotential` says.
    """

    # Steps between two looks at the clock and at Ctrl-C; a tile returns earlier when it has
    # lanes to refill.
    BUDGET = 200

    def __init__(
        self,
        *,
        dtype: str,
        fmax: float,
        max_steps: int,
        n_workers: int | None = None,
    ) -> None:
        self._dtype = np.dtype(dtype)
        self._fmax = self._dtype.type(fmax)
        self._max_steps = np.int32(max_steps)
        self._n_workers = n_workers
        self._queues: dict[_Class, collections.deque[Job]] = {}
        self._lock = threading.Lock()
        self._outcomes: queue.SimpleQueue[Outcome | BaseException | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._sessions: list[Session] = []

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Yield each job's outcome as it finishes.

        Closing the iterator, or an exception in the consumer, stops the workers after the call
        that each has under way; a session may cut its own short.
        """
        # Large ones first: what is left at the end is small, and no core waits long for another.
        for job in sorted(jobs, key=lambda job: -job.structure.n_atoms):
            self._queues.setdefault((job.program, job.size), collections.deque()).append(job)
        n_tiles = sum(-(-len(q) // size.n_lanes) for (_, size), q in self._queues.items())
        n_workers = min(n_tiles, _workers(self._queues, self._n_workers))
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(n_workers)]
        for thread in threads:
            thread.start()
        left = len(threads)
        try:
            while left:
                outcome = self._outcomes.get()
                if isinstance(outcome, BaseException):
                    raise outcome
                if outcome is None:
                    left -= 1
                else:
                    yield outcome
        finally:
            self._stop.set()
            if left:
                self._interrupt()
            for thread in threads:
                thread.join()

    def _work(self) -> None:
        sessions: dict[EnergyModel, Session] = {}
        try:
            with jax.enable_x64(self._dtype == np.float64):
                while (chosen := self._next_class()) is not None and not self._stop.is_set():
                    self._run_tile(*chosen, sessions)
            self._outcomes.put(None)
        except BaseException as error:
            self._outcomes.put(error)
        finally:
            for session in sessions.values():
                session.close()

    def _session(self, potential: HostPotential, own: dict[EnergyModel, Session]) -> Session:
        if potential not in own:
            own[potential] = potential.session()
            with self._lock:
                self._sessions.append(own[potential])
            if self._stop.is_set():
                own[potential].interrupt()
        return own[potential]

    def _interrupt(self) -> None:
        with self._lock:
            sessions = list(self._sessions)
        for session in sessions:
            session.interrupt()

    def _next_class(self) -> _Class | None:
        def work(chosen: _Class) -> int:
            program, size = chosen
            # On the host each costs what it costs, and the largest come first.
            together = not isinstance(program.potential, HostPotential)
            return size.n_atoms * (len(self._queues[chosen]) if together else 1)

        with self._lock:
            waiting = [chosen for chosen, jobs in self._queues.items() if jobs]
            return max(waiting, key=work, default=None)

    def _take(self, chosen: _Class) -> Job | None:
        with self._lock:
            jobs = self._queues[chosen]
            return jobs.popleft() if jobs else None

    def _give_back(self, job: Job) -> None:
        """Queue a structure that outgrew its class."""
        with self._lock:
            self._queues.setdefault((job.program, job.size), collections.deque()).append(job)

    def _run_tile(
        self, program: Program, size: SizeClass, sessions: dict[EnergyModel, Session]
    ) -> None:
        make_room(program, size, self._dtype)
        tile = Tile(program.potential, size, self._dtype, program.coordinates)
        state = program.empty(tile.positions.shape, self._dtype)
        jobs: list[Job | None] = [None] * size.n_lanes
        self._fill(program, tile, jobs)
        on_host = isinstance(program.potential, HostPotential)
        terms, moves = None if on_host else tile.terms(), tile.moves()
        while tile.occupied.any() and not self._stop.is_set():
            failed: Mapping[int, str] = {}
            if isinstance(program.potential, HostPotential):
                session = self._session(program.potential, sessions)
                state, failed = self._step_on_host(program, session, tile, moves, jobs, state)
            else:
                assert terms is not None
                # With structures waiting, a few idle lanes are worth a return to the host.
                idle = max(1, size.n_lanes // 8)
                waiting = bool(self._queues[program, size])
                state = advance(
                    program,
                    state,
                    terms,
                    tile.start(moves),
                    self._fmax,
                    self._max_steps,
                    np.int32(self.BUDGET),
                    np.int32(max(0, int(tile.occupied.sum()) - idle) if waiting else 0),
                )
            tile.fresh[:] = False
            self._collect(tile, jobs, state, failed)
            renewed = self._renew(tile, jobs, state)
            filled = self._fill(program, tile, jobs)
            if filled:
                moves = tile.moves()
            if (filled or renewed) and not on_host:
                terms = tile.terms()

    def _step_on_host(
        self,
        program: Program,
        session: Session,
        tile: Tile,
        moves: Terms | None,
        jobs: list[Job | None],
        state: TileState,
    ) -> tuple[TileState, Mapping[int, str]]:
        """Load what is fresh, have the session evaluate, judge and move."""
        start = tile.start(moves)
        if tile.fresh.any():
            state = load(program, state, start)
        structures = [None if job is None else job.structure for job in jobs]
        fresh = tile.fresh.tolist()
        trial = state.trial
        asked = Asked(structures, trial.positions, trial.cell, program.stress, fresh)
        evaluation, failed = session.evaluate(asked)
        energy = evaluation.energy
        if program.coordinates.cell is not None:
            failed = {**_without_stress(asked, evaluation, program.potential), **failed}
        if failed:
            # They end with their last good geometry, as those do whose energy is NaN.
            energy = np.array(energy)
            energy[list(failed)] = np.nan
        stress = evaluation.stress if program.stress else None
        evaluation = Evaluation(energy, evaluation.forces, stress)  # pyright: ignore
        state = settle(program, state, evaluation, start, self._fmax, self._max_steps)
        return state, failed

    def _fill(self, program: Program, tile: Tile, jobs: list[Job | None]) -> bool:
        filled = False
        for lane in np.flatnonzero(~tile.occupied):
            job = self._take((program, tile.size))
            if job is None:
                break
            s = job.structure
            tile.put(int(lane), s.positions, job.prepared, s.cell, job.moves)
            jobs[lane] = job
            filled = True
        return filled

    def _renew(self, tile: Tile, jobs: list[Job | None], state: TileState) -> bool:
        """Prepare anew the structures that have moved too far. Returns whether there were any."""
        stale = np.flatnonzero(np.asarray(state.stale) & tile.occupied)
        for lane in stale:
            job = jobs[lane]
            assert job is not None
            n = job.structure.n_atoms
            trial = _rows(np.asarray(state.trial.positions)[:, :n, lane].T)
            cell, potential = job.structure.cell, job.program.potential
            if job.program.coordinates.cell is not None:
                cell = _rows(np.asarray(state.trial.cell)[..., lane])
            moved = dataclasses.replace(job.structure, positions=trial, cell=cell)
            try:
                prepared = potential.prepare(moved)
                lengths = axis_lengths(potential, prepared)
                room = {"atoms": tile.size.n_atoms, **dict(tile.size.capacities)}
                if all(length <= room[axis] for axis, length in lengths.items()):
                    tile.prepare(int(lane), trial, prepared, cell)
                    continue
                # It starts again where it has room: what it gets stays a function of itself.
                room |= {
                    a: axis_capacity(potential, tile.size.n_atoms, a, n)
                    for a, n in lengths.items()
                    if n > room[a]
                }
                axes = tuple(sorted((a, n) for a, n in room.items() if a != "atoms"))
                size = dataclasses.replace(tile.size, capacities=axes)
                self._give_back(dataclasses.replace(job, size=size))
            except (PotentialError, StructureError, CapacityError) as error:
                self._put(int(lane), job, _Arrays(state), Status.FAILED, str(error))
            jobs[lane] = None
            tile.free(int(lane))
        return bool(len(stale))

    def _collect(
        self,
        tile: Tile,
        jobs: list[Job | None],
        state: TileState,
        failed: Mapping[int, str],
    ) -> None:
        status = np.asarray(state.status)
        over = status != Status.RUNNING
        over[list(failed)] = True
        done = np.flatnonzero(tile.occupied & over)
        if not len(done):
            return
        arrays = _Arrays(state)
        for lane in done.tolist():
            job = jobs[lane]
            assert job is not None
            if lane in failed:
                self._put(lane, job, arrays, Status.FAILED, failed[lane])
            else:
                ended = Status(int(status[lane]))
                self._put(lane, job, arrays, ended, _reason(job, ended))
            jobs[lane] = None
            tile.free(lane)

    def _put(self, lane: int, job: Job, arrays: "_Arrays", status: Status, reason: str) -> None:
        """Hand out what a structure got."""
        n = job.structure.n_atoms
        stress = None if arrays.stress is None else _rows(arrays.stress[..., lane])
        cell = None
        if job.program.coordinates.cell is not None:
            cell = _rows(arrays.cell[..., lane])
        if isinstance(job.program.potential, HostPotential):
            stress = given(stress)
        self._outcomes.put(
            Outcome(
                number=job.number,
                positions=_rows(arrays.positions[:, :n, lane].T),
                cell=cell,
                energy=float(arrays.energy[lane]),
                forces=_rows(arrays.forces[:, :n, lane].T),
                stress=stress,
                fmax=float(arrays.fmax[lane]),
                n_steps=int(arrays.n_steps[lane]),
                status=status,
                reason=reason,
            )
        )


class _Arrays:
    """The results of a tile, on the host."""

    def __init__(self, state: TileState) -> None:
        self.positions, self.forces = np.asarray(state.seen.positions), np.asarray(state.forces)
        self.cell = np.asarray(state.seen.cell)
        self.energy, self.fmax = np.asarray(state.energy), np.asarray(state.fmax)
        self.stress = None if state.stress is None else np.asarray(state.stress)
        self.n_steps = np.asarray(state.n_steps)


def _rows(x: np.ndarray) -> np.ndarray:
    return np.array(x, np.float64, order="C")


def _without_stress(asked: Asked, evaluation: Evaluation, potential: EnergyModel) -> dict[int, str]:
    """Say which lanes got no stress, though their cells are to change."""
    stress = np.asarray(evaluation.stress)
    none = np.isnan(stress).all(axis=(0, 1)).reshape(stress.shape[-1])
    return {
        lane: f"{s.id!r} with {potential.name}: it gave no stress, which a variable cell needs. "
        "Relax with cell=None, or with another calculator."
        for lane, s in enumerate(asked.structures)
        if s is not None and none[lane]
    }


def _reason(job: Job, ended: Status) -> str:
    """Say why a structure did not converge; and which model gave numbers that are none."""
    potential = job.program.potential
    if ended is Status.NON_FINITE and isinstance(potential, HostPotential):
        return f"{job.structure.id!r} with {potential.name}: {ADVICE[ended]}"
    return ADVICE[ended]


def _workers(classes: Iterable[_Class], wanted: int | None) -> int:
    """Threads: one for each core, or one on an accelerator; what the host evaluates says itself."""
    models = [program.potential for program, _ in classes]
    offered = [(m.n_workers() or 1) for m in models if isinstance(m, HostPotential)]
    if offered:
        return min(max(offered), wanted or max(offered))
    if wanted:
        return wanted
    if jax.default_backend() != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
