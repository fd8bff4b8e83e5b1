"""Estimate the rest of a run from the cost of structures of each size class."""

import collections
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from kups_relax.relaxation._classes import SizeClass

# Entries of a block at first, and blocks that are kept before pairs of them are joined.
_BLOCK = 16
_BLOCKS = 16
# Largest ratio between the mean costs of blocks of input that count as alike.
_ALIKE = 2.0
# Largest share of the work whose cost may be guessed from other classes.
_GUESSED = 0.25
# Mean lives of a structure in its lane, and seconds, below which the slowest ones alone decide.
_TAIL = 3.0
_SHORT = 5.0
# Mean cost in seconds below which blocks need not be alike.
_NOTHING = 1e-4
# Finished structures that make a cost known.
_ENOUGH = 8
# Finished structures after which older ones count half.
_MEMORY = 256


@dataclass
class _Class:
    """Counts of one size class; `seconds` of workers were spent on `n_measured` structures."""

    n_atoms: int
    n_lanes: int
    n_read: int = 0
    n_begun: int = 0
    n_ended: int = 0
    n_measured: float = 0.0
    seconds: float = 0.0

    @property
    def n_waiting(self) -> int:
        return self.n_read - self.n_begun

    @property
    def n_running(self) -> int:
        return self.n_begun - self.n_ended

    @property
    def cost(self) -> float | None:
        """Worker seconds a structure; None before enough of them have ended."""
        if self.n_measured < max(1, min(_ENOUGH, self.n_begun), self.n_running):
            return None
        # Those under way are half done on average.
        return self.seconds / (self.n_measured + self.n_running / 2)


class Pace:
    """Measure what structures cost, and estimate what is left; from any thread.

    An estimate is made only where it can be trusted: costs are kept by size class, since the
    scheduler takes the largest work first and a plain rate would be off by orders of magnitude.

    Args:
        clock: Seconds; replaced in simulations.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._classes: dict[Hashable, _Class] = {}
        # The input in order: classes and seconds of reading of so many entries each.
        self._blocks: list[tuple[collections.Counter[Hashable], float]] = []
        self._size = _BLOCK
        self._counts: collections.Counter[Hashable] = collections.Counter()
        self._reading = 0.0
        self._n_compiling = self._n_compiled = 0
        self._compile_seconds = 0.0

    @property
    def n_compiling(self) -> int:
        """Programs that are being compiled now."""
        return self._n_compiling

    @contextmanager
    def compiling(self) -> Iterator[None]:
        """Count the block as a compilation."""
        start = self._clock()
        with self._lock:
            self._n_compiling += 1
        try:
            yield
        finally:
            with self._lock:
                self._n_compiling -= 1
                self._n_compiled += 1
                self._compile_seconds += self._clock() - start

    def read(self, kind: Hashable | None, seconds: float, size: SizeClass | None = None) -> None:
        """Count one more entry of the input.

        Args:
            kind: Its program and size class; None: it cannot run and costs nothing.
            seconds: How long it took to read and prepare it.
            size: The size class.
        """
        with self._lock:
            if kind is not None:
                assert size is not None
                self._class(kind, size).n_read += 1
            self._counts[kind] += 1
            self._reading += seconds
            if self._counts.total() < self._size:
                return
            self._blocks.append((self._counts, self._reading))
            self._counts, self._reading = collections.Counter(), 0.0
            if len(self._blocks) == _BLOCKS:
                pairs = zip(self._blocks[::2], self._blocks[1::2], strict=True)
                self._blocks = [(a[0] + b[0], a[1] + b[1]) for a, b in pairs]
                self._size *= 2

    def began(self, kind: Hashable) -> None:
        """Count a structure that was put into a lane."""
        with self._lock:
            if kind in self._classes:
                self._classes[kind].n_begun += 1

    def moved(self, old: Hashable, new: Hashable, size: SizeClass, *, begun: bool) -> None:
        """Move a structure to another class, where it waits.

        Args:
            old: Where it was.
            new: Where it is.
            size: Size class of the new one.
            begun: Whether it was in a lane of the old one.
        """
        with self._lock:
            if old in self._classes:
                self._classes[old].n_read -= 1
                self._classes[old].n_begun -= begun
            self._class(new, size).n_read += 1

    def worked(self, kind: Hashable, seconds: float, n_ended: int) -> None:
        """Add what a worker did for a class, compilations left out."""
        with self._lock:
            if (known := self._classes.get(kind)) is None:
                return
            known.n_ended += n_ended
            known.n_measured += n_ended
            known.seconds += seconds
            if known.n_measured > max(_MEMORY, 4 * known.n_running):
                known.n_measured /= 2
                known.seconds /= 2

    def left(self, n_unread: int | None, n_workers: int) -> float | None:
        """Estimate the seconds until all structures are done.

        What is unread is taken to be like what was read; only where nothing is unread does the
        estimate depend on nothing of that kind.

        Args:
            n_unread: Entries of the input that have not been read; None: unknown.
            n_workers: Tiles in flight.

        Returns:
            None where no estimate can be trusted: a program is being compiled, classes have not
            been measured, parts of the input differ, or the last structures alone decide.
        """
        with self._lock:
            if n_unread is None or self._n_compiling:
                return None
            costs = self._costs()
            if costs is None or (unread := self._unread(n_unread, costs)) is None:
                return None
            work, guessed, reading = unread
            longest = 0.0
            for kind, known in self._classes.items():
                n = known.n_waiting + known.n_running / 2
                if not n:
                    continue
                cost, sure = costs[kind]
                work += n * cost
                guessed += 0.0 if sure else n * cost + self._mean_compilation()
                n_tiles = -(-(known.n_waiting + known.n_running) // known.n_lanes)
                if n_workers > n_tiles:
                    longest = max(longest, n * cost / n_tiles)
                longest = max(longest, _TAIL * known.n_lanes * cost)
            seconds = max(work / max(1, n_workers), reading)
            if guessed > _GUESSED * work or max(longest, _SHORT) > seconds:
                return None
            return seconds

    def _class(self, kind: Hashable, size: SizeClass) -> _Class:
        return self._classes.setdefault(kind, _Class(size.n_atoms, size.n_lanes))

    def _costs(self) -> dict[Hashable, tuple[float, bool]] | None:
        """Cost of each class, and whether it was measured; None where none was."""
        measured = [
            (known.n_atoms, cost)
            for known in self._classes.values()
            if (cost := known.cost) is not None
        ]
        if not measured:
            return None
        costs = {}
        for kind, known in self._classes.items():
            if (cost := known.cost) is not None:
                costs[kind] = (cost, True)
                continue
            n_atoms, cost = min(measured, key=lambda m: abs(m[0] - known.n_atoms))
            costs[kind] = (cost * max(1.0, known.n_atoms / max(1, n_atoms)) ** 2, False)
        return costs

    def _unread(
        self, n_unread: int, costs: dict[Hashable, tuple[float, bool]]
    ) -> tuple[float, float, float] | None:
        """Worker seconds, those of them that are guessed, and reader seconds of what is unread."""
        if n_unread <= 0:
            return 0.0, 0.0, 0.0
        if len(self._blocks) < 4:
            return None
        works, guesses, readings = [], [], []
        for counts, seconds in self._blocks:
            n = counts.total()
            known = [
                (k * costs[kind][0], costs[kind][1])
                for kind, k in counts.items()
                if kind is not None
            ]
            works.append(sum(work for work, _ in known) / n)
            guesses.append(sum(work for work, sure in known if not sure) / n)
            readings.append(seconds / n)
        if any(max(v) > _ALIKE * min(v) and max(v) > _NOTHING for v in (works, readings)):
            return None
        work, guessed, reading = (n_unread * sum(v) / len(v) for v in (works, guesses, readings))
        return work, guessed, reading

    def _mean_compilation(self) -> float:
        return self._compile_seconds / self._n_compiled if self._n_compiled else 0.0
