"""Speed on crystals, against ASE in the same run: one of 256 atoms; 200 with variable cells."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import ase
import numpy as np
from ase.build import bulk

import kups_relax as kr
from benchmarks import periodic

FMAX = 0.01
MAX_STEPS = 1000
N_RUNS = 3
# ASE is serial: one in twenty of the small cells.
EVERY = 20
METALS = {"Al": 4.05, "Cu": 3.61, "Ag": 4.09, "Au": 4.08, "Ni": 3.52, "Pd": 3.89, "Pt": 3.92}


def main() -> dict[str, Any]:
    """Time both, compile apart: the first run of ours is not in its medians."""
    figures: dict[str, Any] = {}
    runs = (
        ("256 atoms", [argon_crystal()], periodic.argon(), None, ("lbfgs", "ase-lbfgs"), 1),
        ("200 cells", small_cells(200), kr.potentials.EMT(), kr.FrechetCell(), ("lbfgs",), EVERY),
    )
    for name, structures, potential, cell, optimizers, every in runs:
        sample = structures[::every]
        theirs = _timed(lambda s=sample, p=potential, c=cell: _ase(s, p, c), 3 if every == 1 else 1)
        figures[f"{name}, ASE LBFGS"] = theirs
        for optimizer in optimizers:
            options = {"fmax": FMAX, "max_steps": MAX_STEPS, "cell": cell, "progress": False}

            def run(s: Any = structures, p: Any = potential, o: Any = optimizer, k: Any = options):
                result = kr.relax(s, p, o, **k)
                return result.n_steps, result.energy, result.converged

            start = time.perf_counter()
            run()
            first = time.perf_counter() - start
            ours = _timed(run, N_RUNS)
            ours["seconds of the first run, compile included"] = first
            figures[f"{name}, {optimizer}"] = ours
            wall, ase_wall = ours["wall ms per structure"], theirs["wall ms per structure"]
            print(f"   {name}, {optimizer}: {wall:.1f} ms, ASE {ase_wall:.1f} ms", flush=True)
            for unit in ("wall", "cpu"):
                key = f"{unit} ms per structure"
                figures[f"{name}, {optimizer}: times less {unit} time to converge"] = (
                    theirs[key] / ours[key]
                )
            step = "wall ms per structure and step"
            figures[f"{name}, {optimizer}: times less wall time for a step"] = (
                theirs[step] / ours[step]
            )
            figures[f"{name}, {optimizer}: higher energy than ASE, eV"] = [
                float(a - b)
                for a, b in zip(ours["energies"][::every], theirs["energies"], strict=True)
            ]
    for row in figures.values():
        if isinstance(row, dict):
            del row["energies"]
    return figures


def argon_crystal() -> ase.Atoms:
    """256 atoms, fcc, rattled by 0.1 Angstrom."""
    atoms = bulk("Ar", "fcc", a=5.26, cubic=True).repeat((4, 4, 4))
    atoms.rattle(0.1, seed=0)
    return atoms


def small_cells(n: int) -> list[ase.Atoms]:
    """Alloys of up to three metals, 2 to 40 atoms: fcc, bcc or hcp, rattled, strained, sheared."""
    made = []
    for seed in range(n):
        random = np.random.default_rng(seed)
        metals = random.choice(list(METALS), size=3, replace=False)
        lattice = str(random.choice(["fcc", "bcc", "hcp"]))
        n_basis = 2 if lattice == "hcp" else 1
        repetitions = (0, 0, 0)
        while not 2 <= n_basis * np.prod(repetitions) <= 40:
            repetitions = tuple(random.integers(1, 5, size=3))
        n_atoms = n_basis * int(np.prod(repetitions))
        symbols = random.choice(metals, size=n_atoms)
        # The same volume for an atom in any lattice.
        volume = np.mean([METALS[symbol] ** 3 / 4 for symbol in symbols])
        atoms = bulk("Cu", lattice, a=1.0, c=1.633 if lattice == "hcp" else None)
        atoms.set_cell(
            atoms.cell.array * (volume * len(atoms) / atoms.get_volume()) ** (1 / 3), True
        )
        atoms = atoms.repeat(repetitions)
        atoms.symbols = symbols
        atoms.rattle(0.1, rng=random)
        made.append(periodic.deformed(atoms, random, strain=0.03, shear=0.03))
    return made


_Ends = tuple[np.ndarray, np.ndarray, np.ndarray]


def _timed(run: Callable[[], _Ends], repeats: int) -> dict[str, Any]:
    walls, cpus = [], []
    steps = energy = converged = np.zeros(0)
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        steps, energy, converged = run()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    wall, cpu, n = statistics.median(walls), statistics.median(cpus), len(steps)
    return {
        "structures": n,
        "runs": repeats,
        "wall s": wall,
        "fastest wall s": min(walls),
        "wall ms per structure": wall / n * 1e3,
        "cpu ms per structure": cpu / n * 1e3,
        "wall ms per structure and step": wall / float((steps + 1).sum()) * 1e3,
        "median steps": float(np.median(steps)),
        "converged": int(converged.sum()),
        "energies": energy.tolist(),
    }


def _ase(structures: list[ase.Atoms], potential: Any, cell: Any) -> _Ends:
    steps, energies, converged = [], [], []
    for structure in structures:
        atoms, optimizer = periodic.ase_lbfgs(structure, potential, cell)
        converged.append(optimizer.run(fmax=FMAX, steps=MAX_STEPS))
        steps.append(optimizer.nsteps)
        energies.append(atoms.get_potential_energy())
    return np.array(steps), np.array(energies), np.array(converged)
