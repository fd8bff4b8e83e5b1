"""Structures that wait for a lane, and tiles that wait for structures.

Structures arrive one by one, in any order, and wait by program and size class. A worker takes the
tile that can be filled; one that runs dry while others could be filled is put aside, with what is
in its lanes, until there is more for it. What meets what in a tile is chance, and changes no bits.
"""

import collections
import threading
import time
from collections.abc import Iterator

from kups_relax.relaxation._batch import Batch
from kups_relax.relaxation._classes import SizeClass
from kups_relax.relaxation._jobs import Job
from kups_relax.relaxation._step import Program

Class = tuple[Program, SizeClass]

# Bytes of structures that wait, before reading stops until some have been taken.
READ_AHEAD = 128 << 20

# Seconds that a class may wait to be filled, while others are.
PATIENCE = 10.0


class Queues:
    """What waits, for all threads of a run."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[Class, collections.deque[tuple[float, Job]]] = {}
        self._aside: dict[Class, list[tuple[float, Batch]]] = {}
        self._n_bytes = 0
        self._ended = self._stopped = False

    @property
    def stopped(self) -> bool:
        """Whether nothing more is handed out."""
        return self._stopped

    def put(self, job: Job) -> None:
        """Queue a structure; waits as long as too much waits."""
        with self._changed:
            while self._n_bytes > READ_AHEAD and not self._stopped:
                self._changed.wait()
            self._append(job)

    def give_back(self, job: Job) -> None:
        """Queue a structure that outgrew its class."""
        with self._changed:
            self._append(job)

    def end(self) -> None:
        """Say that no more structures will come."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Hand out nothing more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def take(self, chosen: Class) -> Job | None:
        """Take a structure of a class, if one waits and the run goes on."""
        with self._changed:
            jobs = self._waiting.get(chosen)
            if not jobs or self._stopped:
                return None
            job = jobs.popleft()[1]
            self._n_bytes -= job.n_bytes
            self._changed.notify_all()
            return job

    def put_aside(self, batch: Batch) -> None:
        """Keep a tile whose lanes cannot be filled now."""
        with self._changed:
            now = time.monotonic()
            self._aside.setdefault((batch.program, batch.size), []).append((now, batch))
            self._changed.notify_all()

    def n_tiles(self) -> int:
        """How many more tiles could be at work now, or soon."""
        with self._changed:
            counts = [(count, c[1].n_lanes) for c, count, _ in self._candidates()]
            if self._ended:
                return sum(-(-count // n_lanes) for count, n_lanes in counts)
            # One worker at least, to look after classes that have waited long enough.
            return max(sum(count // n_lanes for count, n_lanes in counts), min(1, len(counts)))

    def choose(self) -> tuple[Class, Batch | None] | None:
        """Wait for a class that is worth a tile.

        Returns:
            The class, and its tile where one was put aside. None: there will be nothing more.
        """
        with self._changed:
            while not self._stopped:
                chosen = self._best()
                if chosen is not None:
                    aside = self._aside.get(chosen)
                    return chosen, aside.pop(0)[1] if aside else None
                if self._ended:
                    return None
                self._changed.wait(PATIENCE / 4)
            return None

    def refills(self, chosen: Class) -> bool:
        """Whether free lanes of a class may be filled, or its worker may go to another."""
        with self._changed:
            return not self._ended or bool(self._waiting.get(chosen))

    def others_wait(self, batch: Batch) -> bool:
        """Whether a worker should rather fill another tile than go on with a sparse one."""
        own = (batch.program, batch.size)
        with self._changed:
            return not self._ended and any(
                count >= c[1].n_lanes for c, count, _ in self._candidates() if c != own
            )

    def _append(self, job: Job) -> None:
        queue = self._waiting.setdefault((job.program, job.size), collections.deque())
        queue.append((time.monotonic(), job))
        self._n_bytes += job.n_bytes
        self._changed.notify_all()

    def _candidates(self) -> Iterator[tuple[Class, int, float]]:
        """Classes with something to do, how many structures each has, and since when."""
        for chosen in {**self._waiting, **self._aside}:
            waiting, aside = self._waiting.get(chosen), self._aside.get(chosen)
            count, since = 0, []
            if waiting:
                count += len(waiting)
                since.append(waiting[0][0])
            if aside:
                count += sum(batch.n_running for _, batch in aside)
                since.append(aside[0][0])
            if count:
                yield chosen, count, min(since)

    def _best(self) -> Class | None:
        candidates = list(self._candidates())
        if not candidates:
            return None
        oldest, _, since = min(candidates, key=lambda c: c[2])
        if not self._ended:
            if time.monotonic() - since > PATIENCE:
                return oldest
            full = [c for c in candidates if c[1] >= c[0][1].n_lanes]
            if not full and self._n_bytes > READ_AHEAD:
                # Nothing more is read before something is taken.
                return max(candidates, key=lambda c: c[1] / c[0][1].n_lanes)[0]
            candidates = full
        # The largest work first: what is left at the end is small, and no core waits long.
        return max(candidates, key=_work, default=(None,))[0]


def _work(candidate: tuple[Class, int, float]) -> int:
    (program, size), count, _ = candidate
    # On the host each costs what it costs, and the largest come first.
    return size.n_atoms * (1 if program.on_host else count)
