"""Large crystals with Lennard-Jones and a cutoff: time per atom of a step, and peak memory.

Each size runs in a process of its own: `python -m benchmarks.large 20000` prints its figures.
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np

SIZES = (5_000, 20_000, 100_000)
RUNS = 3
# Steps over which the time of one is measured.
STEPS = 10


def main() -> dict[str, Any]:
    """Measure each size, and compare the largest with the smallest."""
    figures: dict[str, Any] = {}
    for n in SIZES:
        command = [sys.executable, "-m", "benchmarks.large", str(n)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        figures |= {f"{n} atoms: {name}": value for name, value in json.loads(output).items()}
    for name in (
        "one step in all, processor us an atom",
        "one step in all, us an atom",
        "a further step, us an atom",
    ):
        small, large = (figures[f"{n} atoms: {name}"] for n in (SIZES[0], SIZES[-1]))
        figures[f"{SIZES[-1]} to {SIZES[0]} atoms, {name}: ratio"] = large / small
    return figures


def measure(n: int) -> dict[str, float]:
    """Relax a rattled argon crystal of n atoms by a few steps.

    Returns:
        Microseconds an atom, programs compiled before: of reading, listing, one step and the
        result, `max_steps=1`, by the processor's clock and by the wall's; and of each further
        step. Peak memory of the process, MiB.
    """
    import kups_relax as kr

    argon = kr.potentials.LennardJones(epsilon=0.0104, sigma=3.40, cutoff=8.5)
    atoms = crystal(n)

    def seconds(max_steps: int) -> tuple[float, float]:
        start, before = time.perf_counter(), time.process_time()
        result = kr.relax([atoms], argon, fmax=1e-9, max_steps=max_steps, progress=False)
        assert result.status == ["max_steps"], result.reason
        return time.perf_counter() - start, time.process_time() - before

    def median(runs: list[tuple[float, float]]) -> tuple[float, float]:
        wall, processor = (statistics.median(clock) for clock in zip(*runs, strict=True))
        return wall, processor

    first, _ = seconds(1)
    wall, processor = median([seconds(1) for _ in range(RUNS)])
    several, _ = median([seconds(1 + STEPS) for _ in range(RUNS)])
    return {
        "first call, compiling included, s": first,
        "one step in all, us an atom": 1e6 * wall / n,
        "one step in all, processor us an atom": 1e6 * processor / n,
        "a further step, us an atom": 1e6 * (several - wall) / STEPS / n,
        "peak memory, MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def crystal(n: int) -> Any:
    """The first n atoms of a supercell of solid argon, rattled."""
    from ase.build import bulk

    shape = [1, 1, 1]
    while 4 * np.prod(shape) < n:
        shape[int(np.argmin(shape))] += 1
    atoms = (bulk("Ar", a=5.3, cubic=True) * shape)[:n]
    atoms.rattle(0.05, seed=n)
    return atoms


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
