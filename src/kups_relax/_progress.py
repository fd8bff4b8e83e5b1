"""Tell how a run stands: a bar where there is a terminal, plain lines where there is none."""

import collections
import math
import sys
import time
from collections.abc import Callable
from typing import Any

# Seconds between two plain lines.
_BETWEEN = 30.0
# Seconds over which the rate of the time left is taken.
_WINDOW = 60.0


class Progress:
    """Count what is finished, and show it.

    Args:
        shown: None: a bar where stderr is a terminal, else nothing. True: a bar or lines.
        occupancy: Says which share of the lanes' time has been used.
        n_running: Says how many structures are begun.
        total: Says how many structures there are, as far as that is known.
    """

    def __init__(
        self,
        shown: bool | None,
        *,
        occupancy: Callable[[], float],
        n_running: Callable[[], int],
        total: Callable[[], int | None],
    ) -> None:
        self._occupancy, self._n_running, self._total = occupancy, n_running, total
        self._start = self._last = time.monotonic()
        self._recent: collections.deque[tuple[float, int]] = collections.deque([(self._start, 0)])
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
        now = time.monotonic()
        between = 0.2 if self._bar is not None else _BETWEEN
        if (self._bar is None and not self._lines) or now - self._last < between:
            return
        self._print(now)

    def close(self) -> None:
        """Show how it ended."""
        if self._bar is not None or (self._lines and self.n_done):
            self._print(time.monotonic())
        if self._bar is not None:
            self._bar.close()

    def line(self, now: float) -> str:
        """Say all in a line."""
        self._recent.append((now, self.n_done))
        while len(self._recent) > 2 and now - self._recent[0][0] > _WINDOW:
            self._recent.popleft()
        (then, before), total = self._recent[0], self._total()
        rate = (self.n_done - before) / max(now - then, 1e-9)
        of = "" if total is None else f" of {total}"
        parts = [f"{self.n_done}{of} done"]
        if self.n_failed:
            parts.append(f"{self.n_failed} not converged")
        parts += [f"{self._n_running()} begun or waiting", f"{rate:.1f}/s"]
        occupancy = self._occupancy()
        if not math.isnan(occupancy):
            parts.append(f"lanes {occupancy:.0%} busy")
        if total is not None and rate > 0 and total > self.n_done:
            parts.append(f"{_duration((total - self.n_done) / rate)} left")
        return f"relax {_duration(now - self._start)}: " + ", ".join(parts)

    def _print(self, now: float) -> None:
        self._last = now
        text = self.line(now)
        if self._bar is not None:
            self._bar.set_description_str(text)
        else:
            print(text, file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
