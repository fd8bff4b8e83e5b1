"""Speed on W1: 256 random argon clusters of 13 atoms to fmax 1e-3 eV/A, against ASE's LBFGS."""

import time
from typing import Any

import numpy as np
from ase.calculators.lj import LennardJones
from ase.optimize import LBFGS

import kups_relax as kr
from benchmarks import cases

FMAX = 1e-3
MAX_STEPS = 2000


def main() -> dict[str, Any]:
    """Time ours nine times (ASE's mode three) after a warm-up, and ASE on a sample."""
    clusters = cases.argon_clusters(256, sizes=[13])
    ours = {name: _ours(clusters, name) for name in ("lbfgs", "ase-lbfgs")}
    ase = _ase(clusters[::16])
    figures: dict[str, Any] = {"ASE LBFGS": ase}
    for name, run in ours.items():
        figures[name] = run
        for unit in ("wall", "cpu"):
            step = f"{unit} us per atom and step"
            each = f"{unit} ms per structure"
            figures[f"{name}: times less {unit} time per atom and step"] = ase[step] / run[step]
            figures[f"{name}: times less {unit} time to converge"] = ase[each] / run[each]
    return figures


def _ours(clusters: list[Any], optimizer: str) -> dict[str, Any]:
    entries = kr.io.structures_from(clusters)
    potential, n = cases.argon(), len(clusters)

    def run() -> Any:
        options = {"fmax": FMAX, "max_steps": MAX_STEPS, "progress": False}
        return kr.relax(entries, potential, optimizer, **options)

    run()
    walls, cpus = [], []
    for _ in range(9 if optimizer == "lbfgs" else 3):
        wall, cpu = time.perf_counter(), time.process_time()
        result = run()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return _row(np.median(walls), np.median(cpus), n, result.n_steps, result.energy)


def _ase(clusters: list[Any]) -> dict[str, Any]:
    wall, cpu = time.perf_counter(), time.process_time()
    steps, energies = [], []
    for atoms in clusters:
        atoms = atoms.copy()
        atoms.calc = LennardJones(**cases.ARGON, rc=1e3)
        optimizer = LBFGS(atoms, logfile=None)
        optimizer.run(fmax=FMAX, steps=MAX_STEPS)
        steps.append(optimizer.nsteps)
        energies.append(atoms.get_potential_energy())
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return _row(wall, cpu, len(clusters), np.array(steps), np.array(energies))


def _row(wall: float, cpu: float, n: int, steps: np.ndarray, energy: np.ndarray) -> dict[str, Any]:
    work = 13 * (steps.sum() + n)
    return {
        "structures": n,
        "wall s": float(wall),
        "cpu s": float(cpu),
        "wall us per atom and step": float(wall / work * 1e6),
        "cpu us per atom and step": float(cpu / work * 1e6),
        "wall ms per structure": float(wall / n * 1e3),
        "cpu ms per structure": float(cpu / n * 1e3),
        "median steps": float(np.median(steps)),
        "converged": int((steps < MAX_STEPS).sum()),
        "mean energy, eV": float(energy.mean()),
    }
