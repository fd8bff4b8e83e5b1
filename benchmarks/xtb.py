"""GFN2-xTB on 30 molecules of the g2 set: 2 worker processes, against ASE's LBFGS one by one."""

import json
import os
import subprocess
import sys
import time
from importlib.metadata import version
from typing import Any

import numpy as np
from ase.collections import g2
from ase.optimize import LBFGS

import kups_relax as kr

FMAX, MAX_STEPS = 0.01, 500
N_MOLECULES, N_WORKERS, REPEATS = 30, 2, 3


def main() -> dict[str, Any]:
    """Measure in a process of its own, where libraries find OMP_NUM_THREADS=1 when they load."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.xtb"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def measure() -> dict[str, Any]:
    """Relax all molecules each way, in turns, 3 times; medians of the wall times."""
    structures = _molecules()
    ours = kr.potentials.AseCalculator(_calculator, workers=N_WORKERS)

    def relax(optimizer: str) -> Any:
        options = {"fmax": FMAX, "max_steps": MAX_STEPS, "progress": False}
        return kr.relax(structures, ours, optimizer, **options)

    ways = {
        "ASE LBFGS, one by one": lambda: _ase(structures),
        "ase-lbfgs, 2 workers": lambda: relax("ase-lbfgs"),
        "lbfgs, 2 workers": lambda: relax("lbfgs"),
    }
    # The first calls compile the steps.
    first = {name: _seconds(way)[0] for name, way in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, Any] = {}
    for _ in range(REPEATS):
        for name, way in ways.items():
            took, results[name] = _seconds(way)
            seconds[name].append(took)
    medians = {name: float(np.median(runs)) for name, runs in seconds.items()}
    energies, evaluations, converged = results["ASE LBFGS, one by one"]
    same, better = results["ase-lbfgs, 2 workers"], results["lbfgs, 2 workers"]
    return {
        "molecules": len(structures),
        "atoms": sorted(len(atoms) for atoms in structures),
        "converged": [
            int(np.sum(converged)),
            int(same.converged.sum()),
            int(better.converged.sum()),
        ],
        "seconds, median of 3": {name: round(s, 3) for name, s in medians.items()},
        "seconds, all": {name: np.round(runs, 3).tolist() for name, runs in seconds.items()},
        "seconds of the first call, compilation included": {
            name: round(s, 3) for name, s in first.items()
        },
        "of these, seconds to start 2 workers and evaluate once": round(_start_up(), 3),
        "evaluations": {
            "ASE LBFGS, one by one, counted in the calculator": int(np.sum(evaluations)),
            "ase-lbfgs, 2 workers": int(same.n_evaluations.sum()),
            "lbfgs, 2 workers": int(better.n_evaluations.sum()),
        },
        "molecules with as many evaluations as ASE's": int(
            (same.n_evaluations == np.array(evaluations)).sum()
        ),
        "largest difference to ASE's end energy, eV": {
            "ase-lbfgs": float(np.abs(same.energy - energies).max()),
            "lbfgs": float(np.abs(better.energy - energies).max()),
        },
        "times faster than ASE": {
            name: round(medians["ASE LBFGS, one by one"] / s, 2)
            for name, s in medians.items()
            if "workers" in name
        },
        "load average": os.getloadavg(),
        "tblite": version("tblite"),
    }


def _molecules() -> list[Any]:
    random = np.random.default_rng(0)
    names = [name for name in g2.names if len(g2[name]) >= 3]
    chosen = random.choice(names, N_MOLECULES, replace=False)
    structures = [g2[name] for name in chosen]
    for atoms, name in zip(structures, chosen, strict=True):
        atoms.rattle(0.05, rng=random)
        atoms.info["id"] = str(name)
    return structures


def _calculator() -> Any:
    from tblite.ase import TBLite

    return TBLite(method="GFN2-xTB", verbosity=0)


def _ase(structures: list[Any]) -> tuple[list[float], list[int], list[bool]]:
    energies, evaluations, converged = [], [], []
    for structure in structures:
        atoms = structure.copy()
        atoms.calc = _calculator()
        calls = _counted(atoms.calc)
        converged.append(LBFGS(atoms, logfile=None).run(fmax=FMAX, steps=MAX_STEPS))
        energies.append(atoms.get_potential_energy())
        evaluations.append(len(calls))
    return energies, evaluations, converged


def _counted(calculator: Any) -> list[None]:
    calls: list[None] = []
    calculate = calculator.calculate

    def counting(*args: Any, **kwargs: Any) -> None:
        calls.append(None)
        calculate(*args, **kwargs)

    calculator.calculate = counting
    return calls


def _start_up() -> float:
    """Least of three."""
    two = _molecules()[:N_WORKERS]
    potential = kr.potentials.AseCalculator(_calculator, workers=N_WORKERS)
    return min(
        _seconds(lambda: kr.relax(two, potential, max_steps=0, progress=False))[0] for _ in range(3)
    )


def _seconds(way: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    result = way()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    print(json.dumps(measure()))
