"""Speed on conformers of drug-like molecules, against RDKit's minimiser on the same cores."""

import os
import time
from typing import Any

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdForceFieldHelpers

import kups_relax as kr
from benchmarks import cases
from benchmarks.mmff94_minimiser import EV_PER_KCAL_MOL

N_EACH = 50


def main() -> dict[str, Any]:
    """Minimise 500 conformers both ways; ours to the median fmax that RDKit ends with."""
    mols = [cases.conformers(smiles, N_EACH) for smiles in cases.DRUGS.values()]
    potential = kr.potentials.MMFF94()
    cores = len(os.sched_getaffinity(0))

    theirs = [Chem.Mol(m) for m in mols]
    wall, cpu = time.perf_counter(), time.process_time()
    outcomes = [rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(m, numThreads=cores) for m in theirs]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    unfinished = sum(flag for outcome in outcomes for flag, _ in outcome)
    n = sum(len(outcome) for outcome in outcomes)
    final = kr.relax(theirs, potential, max_steps=0, progress=False)
    figures: dict[str, Any] = {
        "conformers": n,
        "atoms": [m.GetNumAtoms() for m in mols],
        "cores": cores,
        "RDKit, its defaults (at most 200 iterations)": {
            "wall ms per conformer": wall / n * 1e3,
            "cpu ms per conformer": cpu / n * 1e3,
            "unfinished": unfinished,
            "fmax, median and 90th percentile, eV/A": np.percentile(final.fmax, [50, 90]).tolist(),
            "mean energy, kcal/mol": float(final.energy.mean() / EV_PER_KCAL_MOL),
        },
    }
    for label, fmax in (
        ("RDKit's median", float(np.median(final.fmax))),
        ("0.01", 0.01),
        ("0.001", 0.001),
    ):
        run = _ours(mols, potential, fmax)
        figures[f"ours to fmax = {label}"] = run
        figures[f"times RDKit's conformers per second at fmax = {label}"] = (
            wall / n * 1e3 / run["wall ms per conformer"]
        )
    return figures


def _ours(mols: list[Any], potential: Any, fmax: float) -> dict[str, Any]:
    walls, cpus = [], []
    for _ in range(4):
        wall, cpu = time.perf_counter(), time.process_time()
        result = kr.relax(mols, potential, fmax=fmax, max_steps=5000, progress=False)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    n = len(result)
    # The first run compiles.
    return {
        "fmax": fmax,
        "wall ms per conformer": float(np.median(walls[1:])) / n * 1e3,
        "cpu ms per conformer": float(np.median(cpus[1:])) / n * 1e3,
        "seconds of the first run, compile included": walls[0],
        "median steps": float(np.median(result.n_steps)),
        "converged": int(result.converged.sum()),
        "mean energy, kcal/mol": float(result.energy.mean() / EV_PER_KCAL_MOL),
    }
