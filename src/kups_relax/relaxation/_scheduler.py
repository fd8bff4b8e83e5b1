"""The host's part of a relaxation: fill lanes, collect what finishes, fill again.

Structures wait in one queue for each size class. A worker thread takes a tile of the class with
the most work, and keeps its lanes busy until that queue is empty. Workers share nothing but the
queues; which structure meets which in a tile is chance, and changes no structure's bits.
"""

import collections
import dataclasses
import os
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence

import jax
import numpy as np

from kups_relax.relaxation._classes import SizeClass
from kups_relax.relaxation._status import Status
from kups_relax.relaxation._step import Program, TileState, advance
from kups_relax.relaxation._tiles import Tile


@dataclasses.dataclass(frozen=True)
class Job:
    """A structure that is ready to run.

    Attributes:
        number: Place in the caller's input.
        positions: (n_atoms, 3), Angstrom.
        prepared: What the potential made of it.
        size: Its size class.
    """

    number: int
    positions: np.ndarray
    prepared: Mapping[str, np.ndarray]
    size: SizeClass


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a structure got: all of one and the same evaluated geometry.

    Attributes:
        number: Place in the caller's input.
        positions: (n_atoms, 3) float64, Angstrom.
        energy: eV.
        forces: (n_atoms, 3) float64, eV/Angstrom.
        fmax: Longest force on an atom, eV/Angstrom.
        n_steps: Moves made.
        status: How it ended.
    """

    number: int
    positions: np.ndarray
    energy: float
    forces: np.ndarray
    fmax: float
    n_steps: int
    status: Status


class Scheduler:
    """Run jobs to their end in tiles.

    Args:
        program: Potential and optimizer.
        dtype: "float64" or "float32".
        fmax: Convergence threshold, eV/Angstrom.
        max_steps: Moves allowed to each structure.
        n_workers: Tiles in flight. None: one for each CPU core, or one on an accelerator.
    """

    # Steps between two looks at the clock and at Ctrl-C; a tile returns earlier when it has
    # lanes to refill.
    BUDGET = 200

    def __init__(
        self,
        program: Program,
        *,
        dtype: str,
        fmax: float,
        max_steps: int,
        n_workers: int | None = None,
    ) -> None:
        self._program = program
        self._dtype = np.dtype(dtype)
        self._fmax = self._dtype.type(fmax)
        self._max_steps = np.int32(max_steps)
        self._n_workers = n_workers
        self._queues: dict[SizeClass, collections.deque[Job]] = {}
        self._lock = threading.Lock()
        self._outcomes: queue.SimpleQueue[Outcome | BaseException | None] = queue.SimpleQueue()
        self._stop = threading.Event()

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Yield each job's outcome as it finishes.

        Closing the iterator, or an exception in the consumer, stops the workers after the call
        that each has under way.
        """
        for job in jobs:
            self._queues.setdefault(job.size, collections.deque()).append(job)
        n_tiles = sum(-(-len(q) // size.n_lanes) for size, q in self._queues.items())
        n_workers = min(n_tiles, self._n_workers or _default_workers())
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(n_workers)]
        for thread in threads:
            thread.start()
        try:
            left = len(threads)
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
            for thread in threads:
                thread.join()

    def _work(self) -> None:
        try:
            with jax.enable_x64(self._dtype == np.float64):
                while (size := self._next_class()) is not None and not self._stop.is_set():
                    self._run_tile(size)
            self._outcomes.put(None)
        except BaseException as error:
            self._outcomes.put(error)

    def _next_class(self) -> SizeClass | None:
        def work(size: SizeClass) -> int:
            return len(self._queues[size]) * size.n_atoms

        with self._lock:
            waiting = [size for size, jobs in self._queues.items() if jobs]
            return max(waiting, key=work, default=None)

    def _take(self, size: SizeClass) -> Job | None:
        with self._lock:
            jobs = self._queues[size]
            return jobs.popleft() if jobs else None

    def _run_tile(self, size: SizeClass) -> None:
        tile = Tile(self._program.potential, size, self._dtype)
        state = self._program.empty(tile.positions.shape, self._dtype)
        jobs: list[Job | None] = [None] * size.n_lanes
        self._fill(tile, jobs)
        terms = tile.terms()
        while tile.occupied.any() and not self._stop.is_set():
            # With structures waiting, a few idle lanes are worth a return to the host.
            idle = max(1, size.n_lanes // 8)
            waiting = bool(self._queues[size])
            state = advance(
                self._program,
                state,
                terms,
                tile.positions.copy(),
                tile.fresh.copy(),
                self._fmax,
                self._max_steps,
                np.int32(self.BUDGET),
                np.int32(max(0, int(tile.occupied.sum()) - idle) if waiting else 0),
            )
            tile.fresh[:] = False
            self._collect(tile, jobs, state)
            if self._fill(tile, jobs):
                terms = tile.terms()

    def _fill(self, tile: Tile, jobs: list[Job | None]) -> bool:
        filled = False
        for lane in np.flatnonzero(~tile.occupied):
            job = self._take(tile.size)
            if job is None:
                break
            tile.put(int(lane), job.positions, job.prepared)
            jobs[lane] = job
            filled = True
        return filled

    def _collect(self, tile: Tile, jobs: list[Job | None], state: TileState) -> None:
        status = np.asarray(state.status)
        done = np.flatnonzero(tile.occupied & (status != Status.RUNNING))
        if not len(done):
            return
        positions, forces = np.asarray(state.positions), np.asarray(state.forces)
        energy, fmax = np.asarray(state.energy), np.asarray(state.fmax)
        n_steps = np.asarray(state.n_steps)
        for lane in done:
            job = jobs[lane]
            assert job is not None
            n = len(job.positions)
            self._outcomes.put(
                Outcome(
                    number=job.number,
                    positions=np.array(positions[:, :n, lane].T, np.float64, order="C"),
                    energy=float(energy[lane]),
                    forces=np.array(forces[:, :n, lane].T, np.float64, order="C"),
                    fmax=float(fmax[lane]),
                    n_steps=int(n_steps[lane]),
                    status=Status(int(status[lane])),
                )
            )
            jobs[lane] = None
            tile.free(int(lane))


def _default_workers() -> int:
    if jax.default_backend() != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
