"""The host's part of a relaxation: fill lanes, collect what finishes, fill again.

The caller's thread reads structures and queues them (`_queues`); worker threads keep tiles
(`_batch`) at work; one more thread hands out what is done, so that neither reading nor computing
waits for what becomes of it.
"""

import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np

from kups_relax._log import log
from kups_relax._settings import Settings, own
from kups_relax._threads import THREAD, join, join_all, raise_lost, start
from kups_relax.potentials import EnergyModel, HostPotential, Session
from kups_relax.relaxation._batch import Batch, Limits
from kups_relax.relaxation._checkpoint import Saved
from kups_relax.relaxation._jobs import Job, Outcome, Refused
from kups_relax.relaxation._pace import Pace
from kups_relax.relaxation._queues import Queues

# Takes what a structure got; None, now and then, where nothing has been finished.
Sink: TypeAlias = Callable[[Outcome | Refused | None], None]

# Seconds without anything finished before the sink is told.
_IDLE = 0.25

# Seconds that Ctrl-C waits for workers.
_PATIENCE = 2.0

# Follows the last event.
_END: Any = object()

# Outcomes that wait to be handed out, before workers wait.
_BACKLOG = 4096


class Scheduler:
    """Run jobs to their end in tiles.

    Args:
        dtype: "float64" or "float32".
        fmax: Convergence threshold, eV/Angstrom.
        max_steps: Moves allowed to each structure.
        n_workers: Tiles in flight. None: one for each CPU core, or one on an accelerator. At most
            as many as a `HostPotential` says.
        checkpoint: Writes tiles at work, now and then; None: nobody does. Those that the host
            evaluates are left out.
        every: Seconds between two times.
    """

    def __init__(
        self,
        *,
        dtype: str,
        fmax: float,
        max_steps: int,
        n_workers: int | None = None,
        checkpoint: Callable[[Sequence[Saved]], None] | None = None,
        every: float = math.inf,
    ) -> None:
        self._dtype = np.dtype(dtype)
        self._outside = Settings.current()
        self._limits = Limits(self._dtype.type(fmax), np.int32(max_steps))
        self._wanted = n_workers
        self._n_workers = 0
        self._queues = Queues()
        self._pace = Pace()
        self._events: queue.Queue[Any] = queue.Queue(_BACKLOG)
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._sessions: list[Session] = []
        self._error: BaseException | None = None
        self._steps = self._busy = 0
        self._checkpoint, self._every = checkpoint, every
        self._saved: dict[Batch, Saved] = {}
        self._written = time.monotonic()

    def run(self, items: Iterable[Job | Refused], sink: Sink, saved: Sequence[Saved] = ()) -> None:
        """Run all to their end.

        Args:
            items: Read in this thread, as they are needed. Refused ones are passed on.
            saved: Tiles with which to go on, as soon as all of their structures have been read.
            sink: Called with what each got, as it finishes, from one other thread. An exception
                from it, or from the items, ends the run after the call that each worker has under
                way; a session may cut its own short. Ctrl-C waits two seconds for these calls, and
                leaves those that take longer, as compiling does, to themselves.
        """
        hand_out = threading.Thread(target=self._hand_out, args=(sink,), name=THREAD, daemon=True)
        restore = _Restore(saved, self._dtype, self._pace)
        seconds_to_end = math.inf
        try:
            start(hand_out)
            last = time.monotonic()
            for item in items:
                raise_lost()
                if self._queues.stopped:
                    break
                seconds = time.monotonic() - last
                if isinstance(item, Refused):
                    self._pace.read(None, seconds)
                    self._events.put(item)
                    last = time.monotonic()
                    continue
                self._pace.read((item.program, item.size), seconds, item.size)
                self._allow(item.program.potential)
                if restore.takes(item):
                    restore.put(self._queues)
                else:
                    self._queues.put(item)
                self._start_workers()
                last = time.monotonic()
            restore.put(self._queues, incomplete=True)
            self._queues.end()
            self._start_workers()
            for thread in self._threads:
                join(thread)
        except BaseException as error:
            self._stop()
            if not isinstance(error, Exception):
                seconds_to_end = _PATIENCE
            raise
        finally:
            try:
                join_all(self._threads, seconds_to_end)
            finally:
                # Nobody may use the sink after this, so a second Ctrl-C has to wait for its thread.
                _insist(lambda: self._events.put(_END))
                _insist(lambda: join(hand_out))
        if self._error is not None:
            raise self._error

    @property
    def n_compiling(self) -> int:
        """Programs that are being compiled; from any thread."""
        return self._pace.n_compiling

    def seconds_left(self, n_unread: int | None) -> float | None:
        """Estimate the rest of the run; None where no estimate can be trusted. See `Pace.left`."""
        return self._pace.left(n_unread, self._n_workers)

    @property
    def occupancy(self) -> float:
        """Share of the lanes' time in which they were running a structure, weighted by atoms.

        NaN before the first call; from any thread.
        """
        return self._busy / self._steps if self._steps else np.nan

    def _hand_out(self, sink: Sink) -> None:
        while True:
            try:
                event = self._events.get(timeout=_IDLE)
            except queue.Empty:
                event = None
            if event is _END:
                return
            self._write_checkpoint()
            if self._error is not None:
                continue
            try:
                sink(event)
            except BaseException as error:
                self._fail(error)

    def _write_checkpoint(self) -> None:
        """Write what workers have saved, when it is time."""
        now = time.monotonic()
        if self._checkpoint is None or now - self._written < self._every:
            return
        with self._lock:
            saved = list(self._saved.values())
        try:
            self._checkpoint(saved)
        except BaseException as error:
            self._fail(error)
        self._written = now

    def _fail(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error
        self._stop()

    def _stop(self) -> None:
        self._queues.stop()
        with self._lock:
            sessions = list(self._sessions)
        for session in sessions:
            session.interrupt()

    def _allow(self, potential: EnergyModel) -> None:
        """Let as many workers start as a potential can use."""
        self._n_workers = max(self._n_workers, max_workers(potential, self._wanted))

    def _start_workers(self) -> None:
        """Start workers for what could be at work, as many as are allowed."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        room = self._n_workers - len(self._threads)
        for _ in range(min(room, self._queues.n_tiles()) if room else 0):
            self._threads.append(threading.Thread(target=self._work, name=THREAD, daemon=True))
            start(self._threads[-1])

    def _work(self) -> None:
        sessions: dict[EnergyModel, Session] = {}
        try:
            with own(self._dtype, self._outside):
                while (chosen := self._queues.choose()) is not None:
                    (program, size), batch = chosen
                    self._run(batch or Batch(program, size, self._dtype), sessions)
        except BaseException as error:
            self._fail(error)
        finally:
            for session in sessions.values():
                session.close()

    def _run(self, batch: Batch, sessions: dict[EnergyModel, Session]) -> None:
        """Keep a tile at work as long as it is worth it."""
        chosen, potential = (batch.program, batch.size), batch.program.potential
        # A few idle lanes are worth a return to the host.
        idle = max(1, batch.size.n_lanes // 8)
        session = None
        if isinstance(potential, HostPotential):
            session = self._session(potential, sessions)
        batch.pace = self._pace

        def take() -> Job | None:
            job = self._queues.take(chosen)
            if job is not None:
                self._pace.began(chosen)
            return job

        batch.fill(take)
        saves = self._checkpoint is not None and session is None
        last = time.monotonic()
        while batch.n_running and not self._queues.stopped:
            refill, begin = self._queues.refills(chosen), time.monotonic()
            outcomes = batch.advance(
                self._limits, max(0, batch.n_running - idle) if refill else 0, session
            )
            lost, grown = batch.renew()
            for job in grown:
                self._pace.moved(chosen, (job.program, job.size), job.size, begun=True)
                self._queues.give_back(job)
            for outcome in (*outcomes, *lost):
                self._events.put(outcome)
            batch.fill(take)
            n_ended = len(outcomes) + len(lost)
            spent = time.monotonic() - begin - batch.compile_seconds
            self._pace.worked(chosen, spent, n_ended)
            batch.compile_seconds = 0.0
            with self._lock:
                self._steps += batch.steps * batch.size.n_atoms
                self._busy += batch.busy * batch.size.n_atoms
            batch.steps = batch.busy = 0
            # Twice as often as they are written: what is written is never old.
            if saves and time.monotonic() - last > self._every / 2:
                last = time.monotonic()
                self._save(batch)
            sparse = batch.n_running <= batch.size.n_lanes - idle
            if session is None and sparse and self._queues.others_wait(batch):
                if saves:
                    self._save(batch)
                self._queues.put_aside(batch)
                return
        with self._lock:
            self._saved.pop(batch, None)

    def _save(self, batch: Batch) -> None:
        saved = batch.save()
        with self._lock:
            self._saved[batch] = saved

    def _session(self, potential: HostPotential, sessions: dict[EnergyModel, Session]) -> Session:
        if potential not in sessions:
            sessions[potential] = potential.session()
            with self._lock:
                self._sessions.append(sessions[potential])
            if self._queues.stopped:
                sessions[potential].interrupt()
        return sessions[potential]


def _insist(wait: Callable[[], object]) -> None:
    """Wait for something, and raise only then what interrupted it."""
    try:
        wait()
    except KeyboardInterrupt:
        _insist(wait)
        raise


class _Restore:
    """Brings saved tiles and the structures that belong to them together."""

    def __init__(self, saved: Sequence[Saved], dtype: np.dtype, pace: Pace) -> None:
        self._dtype, self._pace = dtype, pace
        self._saved = dict(enumerate(saved))
        self._tile_of = {n: i for i, s in enumerate(saved) for n in s.numbers if n >= 0}
        self._jobs: dict[int, dict[int, Job]] = {}

    def takes(self, job: Job) -> bool:
        """Keep a structure that is in a tile."""
        tile = self._tile_of.get(job.number)
        if tile is None:
            return False
        self._jobs.setdefault(tile, {})[job.number] = job
        return True

    def put(self, queues: Queues, *, incomplete: bool = False) -> None:
        """Queue the tiles that are complete, or all; structures of one that does not fit begin."""
        for tile, jobs in list(self._jobs.items()):
            saved = self._saved[tile]
            if not incomplete and len(jobs) < sum(number >= 0 for number in saved.numbers):
                continue
            del self._jobs[tile]
            try:
                with own(self._dtype):
                    batch = Batch.restored(saved, jobs, self._dtype)
                for job in jobs.values():
                    new = (batch.program, batch.size)
                    self._pace.moved((job.program, job.size), new, batch.size, begun=False)
                    self._pace.began(new)
                queues.put_aside(batch)
            except Exception as error:  # whatever arrays of a damaged file come to
                log.warning("a checkpoint is of no use: %s", error)
                for job in jobs.values():
                    queues.put(job)


def max_workers(potential: EnergyModel, wanted: int | None) -> int:
    """Threads: one for each core, or one on an accelerator; what the host evaluates says itself."""
    if isinstance(potential, HostPotential):
        offered = potential.n_workers() or 1
        return min(offered, wanted or offered)
    if wanted:
        return wanted
    if jax.default_backend() != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
