"""The name "ase-lbfgs" against `ase.optimize.LBFGS`, on the same clusters, step by step."""

from typing import Any

import numpy as np
from ase.calculators.lj import LennardJones
from ase.optimize import LBFGS

import kups_relax as kr
from benchmarks import cases

N_STEPS = 30


def main() -> dict[str, Any]:
    """Follow 20 clusters for 30 steps, and count the steps of 100 clusters to fmax 0.01."""
    clusters = cases.argon_clusters(100, sizes=(5, 8, 13, 20), seed=2)
    worst = 0.0
    tracks = [_ase_track(atoms) for atoms in clusters[:20]]
    for n in range(N_STEPS + 1):
        # max_steps=n returns the geometry after n moves; fmax is out of reach.
        ours = kr.relax(
            clusters[:20], cases.argon(), "ase-lbfgs", fmax=1e-9, max_steps=n, progress=False
        )
        for atoms, track in zip(ours.atoms, tracks, strict=True):
            worst = max(worst, float(np.abs(atoms.positions - track[n]).max()))
    result = kr.relax(
        clusters, cases.argon(), "ase-lbfgs", fmax=0.01, max_steps=2000, progress=False
    )
    theirs = [_ase_steps(atoms) for atoms in clusters]
    return {
        "largest difference of a coordinate over 30 steps, A": worst,
        "clusters": len(clusters),
        "equal step counts at fmax 0.01": int((result.n_steps == np.array(theirs)).sum()),
        "median steps": float(np.median(result.n_steps)),
    }


def _calculator() -> LennardJones:
    return LennardJones(epsilon=cases.ARGON["epsilon"], sigma=cases.ARGON["sigma"], rc=1e3)


def _ase_track(atoms: Any) -> list[np.ndarray]:
    atoms = atoms.copy()
    atoms.calc = _calculator()
    track = []
    for _ in LBFGS(atoms, logfile=None).irun(fmax=1e-9, steps=N_STEPS):
        track.append(atoms.positions.copy())
    return track


def _ase_steps(atoms: Any) -> int:
    atoms = atoms.copy()
    atoms.calc = _calculator()
    optimizer = LBFGS(atoms, logfile=None)
    optimizer.run(fmax=0.01, steps=2000)
    return optimizer.nsteps
