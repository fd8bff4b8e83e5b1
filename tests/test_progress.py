"""Progress: what is counted, and that a time left is near the truth or not shown."""

import collections
import dataclasses
import heapq
import types

import numpy as np
import pytest

from kups_relax._progress import Progress
from kups_relax.relaxation import SizeClass
from kups_relax.relaxation._pace import Pace


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Told:
    """A run that says what a test wants it to."""

    n_compiling = 0
    left = None

    def seconds_left(self, n_unread):
        return self.left


def progress(run=None, *, n_before=0, n_read=lambda: 0, total=lambda: None, clock=None):
    shown = Progress(
        True,
        run=run or Told(),
        n_before=n_before,
        n_read=n_read,
        total=total,
        clock=clock or Clock(),
    )
    shown.show()
    return shown


def test_the_total_is_shown_when_it_is_known_and_what_has_been_read_before():
    clock, total = Clock(), [None]
    shown = progress(clock=clock, n_read=lambda: 1360, total=lambda: total[0])
    clock.now = 10.0
    for _ in range(20):
        shown.add(True)
    assert shown.line(10.0) == "relax 0:10: 20 done of 1360 read, 2.0/s"
    total[0] = 3000
    assert shown.line(10.0) == "relax 0:10: 20 of 3000 done, 2.0/s"


def test_what_an_earlier_run_has_finished_is_done_and_in_no_rate():
    clock = Clock()
    shown = progress(clock=clock, n_before=100, n_read=lambda: 50, total=lambda: 200)
    clock.now = 10.0
    shown.add(False)
    line = shown.line(10.0)
    assert line == "relax 0:10: 101 of 200 done (100 before), 1 not converged, 6.0/min"


def test_a_compilation_is_named_and_hides_the_time_left():
    clock, run = Clock(), Told()
    run.left = 100.0
    shown = progress(run, clock=clock, total=lambda: 10)
    for _ in range(60):
        clock.now += 0.2
        run.left -= 0.2
        shown.show()
    assert shown.line(clock.now).endswith("~1:28 left at this rate")
    run.n_compiling = 2
    assert shown.line(clock.now).endswith("compiling 2 programs")
    run.n_compiling = 1
    assert shown.line(clock.now).endswith("compiling 1 program")


def test_a_rate_leaves_compiling_out():
    clock, run = Clock(), Told()
    run.n_compiling = 1
    shown = progress(run, clock=clock)
    clock.now = 50.0
    shown.add(True)
    run.n_compiling = 0
    for _ in range(10):
        clock.now += 1.0
        shown.add(True)
    assert shown.line(clock.now).endswith(" 1.0/s")


def test_estimates_that_swing_are_not_shown():
    clock, run = Clock(), Told()
    shown = progress(run, clock=clock, total=lambda: 10)
    for i in range(100):
        clock.now += 0.25
        run.left = 100.0 if i % 2 else 200.0
        shown.show()
        assert i < 2 or shown.left(clock.now) is None


def test_a_line_fits_80_columns():
    clock, run = Clock(), Told()
    run.left = 12345.0
    shown = progress(run, clock=clock, n_read=lambda: 1000, total=lambda: 10000)
    for _ in range(60):
        clock.now += 60
        run.left -= 60
        shown.add(False)
    assert shown.line(clock.now).startswith(
        "relax 1:00:00: 60 of 10000 done, ~2:25:45 left at this rate, 60 not"
    )
    assert len(shown.line(clock.now)) <= 80


# The time left, in simulated runs


@dataclasses.dataclass(frozen=True)
class Kind:
    """A size class of a simulated run."""

    n_atoms: int
    n_lanes: int
    steps: float
    step_seconds: float


def kinds_of(rng, n):
    """Draw classes whose cost spans three orders of magnitude."""
    found = []
    for _ in range(n):
        n_atoms = int(rng.choice([8, 16, 32, 64, 128, 256]))
        n_lanes = max(1, min(64, 1024 // n_atoms))
        n_lanes = n_lanes if n_lanes >= 16 else 1
        step = 1e-3 * (n_atoms * n_lanes / 1024) * rng.uniform(0.5, 2) * (1 + n_atoms / 64)
        found.append(Kind(n_atoms, n_lanes, rng.uniform(30, 300), step))
    return found


def simulate(inputs, rng, *, n_workers=2, read_seconds=1e-3, ahead=400, compiling=3.0, known=True):
    """Do what the scheduler does in simulated time.

    Returns:
        (time, figure, whether all had been read), and the end.
    """
    clock, figures = Clock(), []
    pace = Pace(clock)
    waiting = collections.defaultdict(collections.deque)
    state = types.SimpleNamespace(n_read=0, n_done=0, ended=False)
    run = types.SimpleNamespace(seconds_left=lambda n: pace.left(n, n_workers), n_compiling=0)
    shown = progress(
        run, clock=clock, n_read=lambda: state.n_read,
        total=lambda: len(inputs) if known or state.ended else None,
    )  # fmt: skip
    compiled = set()
    events = []
    counter = iter(range(10**9))

    def later(seconds, process):
        heapq.heappush(events, (clock.now + seconds, next(counter), process))

    def read():
        for kind in inputs:
            while sum(map(len, waiting.values())) > ahead:
                yield 0.05
            seconds = read_seconds * rng.uniform(0.5, 1.5)
            yield seconds
            size = SizeClass(n_atoms=kind.n_atoms, n_lanes=kind.n_lanes)
            pace.read(kind, seconds, size)
            waiting[kind].append(max(1, int(rng.exponential(kind.steps))))
            state.n_read += 1
        state.ended = True

    def work():
        while True:
            full = [k for k, w in waiting.items() if len(w) >= (1 if state.ended else k.n_lanes)]
            if not full:
                if state.ended:
                    return
                yield 0.05
                continue
            kind = max(full, key=lambda k: k.n_atoms * len(waiting[k]))
            lanes = []
            if kind not in compiled:
                compiled.add(kind)
                with pace.compiling():
                    yield compiling
            while True:
                while len(lanes) < kind.n_lanes and waiting[kind]:
                    lanes.append(waiting[kind].popleft())
                    pace.began(kind)
                if not lanes:
                    break
                idle = max(1, kind.n_lanes // 8)
                refill = waiting[kind] or not state.ended
                keep = max(0, len(lanes) - idle) if refill else 0
                steps = min(200, sorted(lanes, reverse=True)[keep])
                seconds = steps * kind.step_seconds
                yield seconds
                left = [n - steps for n in lanes if n > steps]
                n_ended = len(lanes) - len(left)
                pace.worked(kind, seconds, n_ended)
                lanes = left
                for _ in range(n_ended):
                    state.n_done += 1
                    shown.add(True)

    def look():
        while True:
            shown.show()
            if (left := shown.left(clock.now)) is not None:
                figures.append((clock.now, left, state.ended))
            yield 0.2

    for process in (read(), *(work() for _ in range(n_workers)), look()):
        later(0.0, process)
    while state.n_done < len(inputs):
        clock.now, _, process = heapq.heappop(events)
        seconds = next(process, None)
        if seconds is not None:
            later(seconds, process)
    return figures, clock.now


def check(figures, end, *, read=False):
    """Look at all figures, or at those that were shown when all had been read."""
    wrong = [
        (now, left, end - now, all_read)
        for now, left, all_read in figures
        if (all_read or not read) and not 0.5 <= left / (end - now) <= 2
    ]
    assert not wrong, (len(wrong), len(figures), wrong[:3], wrong[-3:], end)


SEEDS = [*range(4), *(pytest.param(n, marks=pytest.mark.extended) for n in range(4, 60))]


def drawn(seed, n=3000, n_kinds=5):
    rng = np.random.default_rng(seed)
    kinds = kinds_of(rng, n_kinds)
    shares = rng.dirichlet(np.ones(n_kinds))
    return [kinds[i] for i in rng.choice(n_kinds, size=n, p=shares)], rng


@pytest.mark.parametrize("seed", SEEDS)
def test_a_time_left_is_within_a_factor_of_two_of_the_truth(seed):
    inputs, rng = drawn(seed)
    n_workers, read_seconds = int(rng.choice([1, 2, 8])), float(rng.choice([1e-4, 1e-2]))
    check(*simulate(inputs, rng, n_workers=n_workers, read_seconds=read_seconds))


@pytest.mark.parametrize("seed", SEEDS)
def test_it_is_so_where_the_input_is_sorted_by_size(seed):
    inputs, rng = drawn(seed)
    inputs.sort(key=lambda kind: kind.n_atoms, reverse=bool(seed % 2))
    check(*simulate(inputs, rng), read=True)


def test_it_is_shown_for_most_of_a_long_steady_run():
    inputs, rng = drawn(3, n=6000)
    figures, end = simulate(inputs, rng)
    check(figures, end)
    assert len(figures) * 0.2 > 0.5 * end


def test_without_a_total_nothing_is_shown_before_all_has_been_read():
    inputs, rng = drawn(3)
    figures, end = simulate(inputs, rng, known=False, read_seconds=0.02)
    check(figures, end)
    assert all(now >= 0.9 * len(inputs) * 0.02 for now, *_ in figures)


def test_structures_of_many_kinds_that_each_compile_give_no_figure_that_is_wrong():
    inputs, rng = drawn(5, n=400, n_kinds=40)
    check(*simulate(inputs, rng, compiling=5.0))
