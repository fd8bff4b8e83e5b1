"""A hundred thousand clusters in one run into a store: memory, traces, what the store costs."""

import gc
import os
import pathlib
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any

import ase
import numpy as np

import kups_relax as kr
from kups_relax.testing import count_programs

N = 100_000
# For the cost of the store, runs that take turns.
N_STORE, N_RUNS = 10_000, 5


def main() -> dict[str, Any]:
    """Watch the process from outside of the run, every half second."""
    figures: dict[str, Any] = {"structures": N}
    argon = kr.potentials.LennardJones(0.0104, 3.4)
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder, "all.h5")
        curve: list[tuple[float, int, float, int]] = []
        n_read = [0]
        done = threading.Event()
        start = time.perf_counter()

        def watch() -> None:
            while not done.wait(0.5):
                seconds = round(time.perf_counter() - start, 1)
                curve.append((seconds, n_read[0], _mebibytes(), programs.n_traced("_advance")))

        watcher = threading.Thread(target=watch)
        with count_programs() as programs:
            watcher.start()
            result = kr.relax(_counted(clusters(N), n_read), argon, output=out, progress=False)
            done.set()
            watcher.join()
        seconds = time.perf_counter() - start
        tenth = [c for c in curve if c[1] >= N // 10]
        figures |= {
            "seconds": seconds,
            "structures per second": N / seconds,
            "counts": result.counts,
            "MiB after the first tenth, and at the end": [tenth[0][2], curve[-1][2]],
            "largest MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "new traces after the first tenth": curve[-1][3] - tenth[0][3],
            "curve: s, structures read, MiB, traces": curve[:: max(1, len(curve) // 50)],
            "MiB of the store": out.stat().st_size / 2**20,
        }
    figures |= _store_cost(argon)
    return figures


def clusters(n: int, low: int = 5, high: int = 20, seed: int = 0) -> Iterator[ase.Atoms]:
    """Loose clusters of argon, one after the other."""
    random = np.random.default_rng(seed)
    for size in random.integers(low, high + 1, n).tolist():
        edge = 3.8 * size ** (1 / 3)
        points = random.uniform(0, edge, (1, 3))
        while len(points) < size:
            point = random.uniform(0, edge, 3)
            if np.linalg.norm(points - point, axis=1).min() > 2.6:
                points = np.vstack([points, point])
            else:
                edge *= 1.002
        yield ase.Atoms(f"Ar{size}", points)


def _counted(items: Iterator[Any], n: list[int]) -> Iterator[Any]:
    for item in items:
        n[0] += 1
        yield item


def _store_cost(argon: Any) -> dict[str, Any]:
    """The same run with and without a store, in turns."""
    structures = list(clusters(N_STORE, seed=1))
    times: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder:
        for i in range(2 * (N_RUNS + 1)):
            stored = bool(i % 2)
            output = pathlib.Path(folder, f"{i}.h5") if stored else None
            gc.collect()
            wall, cpu = time.perf_counter(), time.process_time()
            kr.relax(iter(structures), argon, output=output, progress=False)
            times[stored].append((time.perf_counter() - wall, time.process_time() - cpu))
    figures: dict[str, Any] = {}
    for k, unit in enumerate(("wall", "cpu")):
        # The first two compile.
        without, stored = ([t[k] for t in times[which][1:]] for which in (False, True))
        figures[f"{unit} s without and with a store, {N_STORE}"] = [
            statistics.median(without),
            statistics.median(stored),
        ]
        figures[f"{unit} time, share more with a store"] = (
            statistics.median(stored) / statistics.median(without) - 1
        )
    return figures


def _mebibytes() -> float:
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
