"""GFN2-xTB in 2 worker processes against ASE's LBFGS one by one: 30 molecules of g2, and larger."""

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
from benchmarks import cases

MAX_STEPS = 500
N_WORKERS, REPEATS = 2, 3
ASE, SAME, BETTER = "ASE's LBFGS, one by one", "ase-lbfgs, 2 workers", "lbfgs, 2 workers"


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
    """Relax three sets each way, in turns, 3 times."""
    few = _g2(30)
    again = [_rattled(atoms, seed) for seed in range(5) for atoms in few]
    return {
        "start-up: 2 workers, 2 molecules evaluated once, s": round(_start_up(few[:2]), 3),
        "30 of g2, fmax 0.01": _compared(few, 0.01),
        "5 rattles of each of these, fmax 0.01": _compared(again, 0.01),
        "10 drug-like molecules, fmax 0.05": _compared(_drug_like(), 0.05),
        "tblite": version("tblite"),
    }


def _compared(structures: list[Any], fmax: float) -> dict[str, Any]:
    potential = kr.potentials.AseCalculator(_calculator, workers=N_WORKERS)

    def relax(optimizer: str) -> Any:
        options = {"fmax": fmax, "max_steps": MAX_STEPS, "progress": False}
        return kr.relax(structures, potential, optimizer, **options)

    ways = {
        ASE: lambda: _ase(structures, fmax),
        SAME: lambda: relax("ase-lbfgs"),
        BETTER: lambda: relax("lbfgs"),
    }
    # Steps are compiled before, once for each optimizer and size class.
    for optimizer in ("ase-lbfgs", "lbfgs"):
        kr.relax(structures, potential, optimizer, max_steps=1, progress=False)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, Any] = {}
    for _ in range(REPEATS):
        for name, way in ways.items():
            took, results[name] = _seconds(way)
            seconds[name].append(took)
    medians = {name: float(np.median(runs)) for name, runs in seconds.items()}
    energies, evaluations, converged = results[ASE]
    ours = {name: results[name] for name in (SAME, BETTER)}
    counts = {ASE: np.sum(evaluations)} | {k: r.n_evaluations.sum() for k, r in ours.items()}
    return {
        "atoms": sorted(len(atoms) for atoms in structures),
        "converged": {ASE: int(sum(converged))}
        | {k: int(r.converged.sum()) for k, r in ours.items()},
        "seconds, start-up included": {
            k: np.round(runs, 3).tolist() for k, runs in seconds.items()
        },
        "ms an evaluation, medians": {
            k: round(1e3 * medians[k] / int(n), 3) for k, n in counts.items()
        },
        "evaluations": {name: int(n) for name, n in counts.items()},
        "structures with as many evaluations as in ASE": {
            k: int((r.n_evaluations == np.array(evaluations)).sum()) for k, r in ours.items()
        },
        "largest difference to ASE's end energy, eV": {
            k: float(np.abs(r.energy - energies).max()) for k, r in ours.items()
        },
        "times faster than ASE, medians": {k: round(medians[ASE] / medians[k], 2) for k in ours},
        "load average": os.getloadavg(),
    }


def _g2(n: int) -> list[Any]:
    names = [name for name in g2.names if len(g2[name]) >= 3]
    return [
        _rattled(g2[name], 0) for name in np.random.default_rng(0).choice(names, n, replace=False)
    ]


def _rattled(atoms: Any, seed: int) -> Any:
    atoms = atoms.copy()
    atoms.rattle(0.05, rng=np.random.default_rng([seed, *atoms.numbers]))
    return atoms


def _drug_like() -> list[Any]:
    mols = [cases.conformers(smiles, 1) for smiles in cases.DRUGS.values()]
    return [entry.atoms for entry in kr.io.structures_from(mols)]


def _calculator() -> Any:
    from tblite.ase import TBLite

    return TBLite(method="GFN2-xTB", verbosity=0)


def _ase(structures: list[Any], fmax: float) -> tuple[list[float], list[int], list[bool]]:
    energies, evaluations, converged = [], [], []
    for structure in structures:
        atoms = structure.copy()
        atoms.calc = _calculator()
        calls = _counted(atoms.calc)
        converged.append(LBFGS(atoms, logfile=None).run(fmax=fmax, steps=MAX_STEPS))
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


def _start_up(two: list[Any]) -> float:
    """Least of five, after what compiles."""
    potential = kr.potentials.AseCalculator(_calculator, workers=N_WORKERS)
    runs = [
        _seconds(lambda: kr.relax(two, potential, max_steps=0, progress=False))[0] for _ in range(6)
    ]
    return min(runs[1:])


def _seconds(way: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    result = way()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    print(json.dumps(measure()))
