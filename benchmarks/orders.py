"""The same structures as given, shuffled, and sorted by size: throughput, occupancy, bits."""

import statistics
import time
from typing import Any

import numpy as np

import kups_relax as kr
from benchmarks.stream import clusters
from kups_relax.relaxation import Scheduler

N = 6_000
N_RUNS = 3


def main() -> dict[str, Any]:
    """Compile apart: a first run is in no figure."""
    argon = kr.potentials.LennardJones(0.0104, 3.4)
    given = list(clusters(N, 2, 100))
    random = np.random.default_rng(1)
    orders = {
        "as given": np.arange(N),
        "shuffled": random.permutation(N),
        "smallest first": np.argsort([len(a) for a in given], kind="stable"),
        "largest first": np.argsort([-len(a) for a in given], kind="stable"),
    }
    kr.relax(iter(given), argon, progress=False)
    figures: dict[str, Any] = {"structures": N, "atoms": [2, 100]}
    fingerprints: dict[str, np.ndarray] = {}
    seconds: dict[str, list[float]] = {name: [] for name in orders}
    occupancy: dict[str, list[float]] = {name: [] for name in orders}
    for _ in range(N_RUNS):
        for name, order in orders.items():
            shares: list[float] = []
            with _watched(shares):
                start = time.perf_counter()
                result = kr.relax((given[i] for i in order), argon, progress=False)
                seconds[name].append(time.perf_counter() - start)
            occupancy[name].append(shares[-1] if shares else np.nan)
            back = np.empty(N, object)
            back[order] = result.fingerprint
            fingerprints[name] = back
    for name in orders:
        figures[f"{name}: structures per second"] = N / statistics.median(seconds[name])
        figures[f"{name}: occupancy between the first fill and the drain"] = statistics.median(
            occupancy[name]
        )
        figures[f"{name}: differ from as given"] = int(
            (fingerprints[name] != fingerprints["as given"]).sum()
        )
    rates = [N / statistics.median(s) for s in seconds.values()]
    figures["slowest over fastest order"] = min(rates) / max(rates)
    return figures


class _watched:
    """Record the share of busy lanes until the input has ended."""

    def __init__(self, shares: list[float]) -> None:
        self._shares = shares

    def __enter__(self) -> None:
        self._run = Scheduler._run
        run, shares = self._run, self._shares

        def running(scheduler: Any, batch: Any, sessions: Any) -> None:
            run(scheduler, batch, sessions)
            if not scheduler._queues._ended:
                shares.append(scheduler.occupancy)

        Scheduler._run = running

    def __exit__(self, *_: Any) -> None:
        Scheduler._run = self._run
