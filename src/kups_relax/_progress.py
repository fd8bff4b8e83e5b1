"""Tell how a run stands: a bar where there is a terminal, plain lines where there is none."""

import collections
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

# Seconds between two plain lines.
_BETWEEN = 30.0
# Seconds between two updates of a bar.
_REFRESH = 0.2
# Seconds over which the rate is taken, and over which estimates of the end have to agree.
_WINDOW = 60.0
_STEADY = 5.0
# Shortest time over which a rate is taken.
_SHORTEST = 2.0
# Largest ratio of two estimates of the time left that agree.
_AGREE = 1.5


class Run(Protocol):
    """State of a run that `Progress` reads, from any thread."""

    @property
    def n_compiling(self) -> int:
        """Programs that are being compiled."""
        ...

    def seconds_left(self, n_unread: int | None) -> float | None:
        """Estimate of the rest; None where there is none that can be trusted."""
        ...


class Progress:
    """Count what is finished, and show it.

    A figure is shown where it is known: the total once it is exact, the time left where the run
    can estimate it and its estimates have agreed for a while. Nothing is better than a wrong one.
    "At this rate" says that input is still to be read, of which only the number is known.

    Args:
        shown: None: a bar where stderr is a terminal, else nothing. True: a bar or lines.
        run: Says what is compiled, and how long the rest takes.
        n_before: Structures that an earlier run has finished.
        n_read: Says how many entries of the input have been read and are to be relaxed.
        total: Says how many structures there are in all; None: not known.
        clock: Seconds.
    """

    def __init__(
        self,
        shown: bool | None,
        *,
        run: Run,
        n_before: int,
        n_read: Callable[[], int],
        total: Callable[[], int | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run, self._n_read, self._total, self._clock = run, n_read, total, clock
        self._n_before = n_before
        self._start = self._last = clock()
        self._looked = self._start - _REFRESH
        self._recent: collections.deque[tuple[float, int]] = collections.deque([(self._start, 0)])
        self._ends: collections.deque[tuple[float, float]] = collections.deque()
        self.n_done = self.n_failed = 0
        self._bar: Any = None
        terminal = sys.stderr.isatty()
        self._lines = bool(shown) and not terminal
        if terminal and shown is not False:
            from tqdm import tqdm

            self._bar = tqdm(
                total=None, bar_format="{desc}", leave=True, file=sys.stderr, dynamic_ncols=True
            )

    def add(self, converged: bool) -> None:
        """Count a structure."""
        self.n_done += 1
        self.n_failed += not converged
        self.show()

    def show(self) -> None:
        """Bring what is shown up to date, if it is time."""
        if self._bar is None and not self._lines:
            return
        now = self._clock()
        if now - self._looked >= _REFRESH:
            self._looked = now
            self._estimate(now)
        if now - self._last >= (_REFRESH if self._bar is not None else _BETWEEN):
            self._print(now)

    def close(self) -> None:
        """Show how it ended."""
        if self._bar is not None or (self._lines and self.n_done):
            self._print(self._clock())
        if self._bar is not None:
            self._bar.close()

    def line(self, now: float) -> str:
        """Say all in a line, what matters most first: terminals cut its end off."""
        self._recent.append((now, self.n_done))
        while len(self._recent) > 2 and now - self._recent[0][0] > _WINDOW:
            self._recent.popleft()
        total, done = self._total(), self._n_before + self.n_done
        if total is None:
            count = f"{done} done of {self._n_before + self._n_read()} read"
        else:
            count = f"{done} of {total} done"
        if self._n_before:
            count += f" ({self._n_before} before)"
        parts, (then, before), left = [count], self._recent[0], self.left(now)
        if n := self._run.n_compiling:
            parts.append(f"compiling {n} program{'s' * (n > 1)}")
        elif left is not None:
            rate = " at this rate" if self._n_unread() else ""
            parts.append(f"~{_duration(left)} left{rate}")
        if self.n_failed:
            parts.append(f"{self.n_failed} not converged")
        if not n and left is None and self.n_done > before and now - then >= _SHORTEST:
            parts.append(_rate((self.n_done - before) / (now - then)))
        return f"relax {_duration(now - self._start)}: " + ", ".join(parts)

    def left(self, now: float) -> float | None:
        """Seconds left; None unless estimates over some seconds agree."""
        if not self._ends or now - self._ends[0][0] < _STEADY:
            return None
        lefts = [end - now for _, end in self._ends]
        least, most = min(lefts), max(lefts)
        if least <= 0 or most > _AGREE * least:
            return None
        return sum(lefts) / len(lefts)

    def _estimate(self, now: float) -> None:
        """Add an estimate of the end; discard all estimates while the run gives none."""
        if self._run.n_compiling:
            # A rate says how fast structures are done, not how long compiling takes.
            self._recent.clear()
            self._recent.append((now, self.n_done))
        left = self._run.seconds_left(self._n_unread())
        if left is None:
            self._ends.clear()
            return
        self._ends.append((now, now + left))
        # The second one may be too young, so that those that are kept span the window.
        while len(self._ends) > 1 and now - self._ends[1][0] >= _STEADY:
            self._ends.popleft()

    def _n_unread(self) -> int | None:
        total = self._total()
        return None if total is None else total - self._n_before - self._n_read()

    def _print(self, now: float) -> None:
        self._last = now
        text = self.line(now)
        if self._bar is not None:
            self._bar.set_description_str(text)
        else:
            print(text, file=sys.stderr, flush=True)


def _rate(per_second: float) -> str:
    if per_second >= 1 or not per_second:
        return f"{per_second:.1f}/s"
    return f"{60 * per_second:.1f}/min" if 60 * per_second >= 1 else f"{3600 * per_second:.1f}/h"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
