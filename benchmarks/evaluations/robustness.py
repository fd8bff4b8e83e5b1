"""Starts that are hard: stretched, on slopes that curve down, near saddles, at random.

Every end must be a minimum: of all ends, or of a sample, the Hessian by central differences of the
forces, less the modes of translation and rotation, has no eigenvalue below -1e-3 of its largest.
"""

from collections.abc import Callable
from typing import Any

import ase
import numpy as np
from ase.build import molecule

import kups_relax as kr
from benchmarks.evaluations import ours, peers, tables
from benchmarks.evaluations.sets import Set
from kups_relax.errors import OptionError

NEGATIVE = -1e-3
SAMPLE = 50
STEP = 1e-4


def main(optimizers: tuple[Any, ...], n_random: int = 1000) -> dict[str, Any]:
    """Relax all groups with each optimizer; ASE's LBFGS the small ones."""
    groups: dict[str, Callable[[], Set]] = {
        "stretched H2, EMT": stretched,
        "near saddles, MMFF94": saddles,
        "symmetric clusters, LJ": symmetric,
        f"{n_random} random LJ38": lambda: random_lj38(n_random),
    }
    figures: dict[str, Any] = {}
    for title, make in groups.items():
        of = make()
        rows: dict[str, dict[str, Any]] = {}
        small = len(of.structures) < n_random
        if small:
            measured, _ = peers.measure(of, [peers.REFERENCE])
            rows |= {name: _figures(of, each, None) for name, each in measured.items()}
        for optimizer in optimizers:
            try:
                kr.optimizers.get(optimizer)
            except OptionError as error:
                print(f"   passed by: {error}", flush=True)
                continue
            each, ends = ours.relaxed(of, optimizer)
            rows[str(optimizer)] = _figures(of, each, ends)
        print(f"\n{title}: {len(of.structures)} starts\n")
        print(tables.markdown(rows), flush=True)
        for name, row in rows.items():
            if row["ends checked"]:
                print(
                    f"   {name}: {row['no minimum']} of {row['ends checked']} ends are no minimum"
                    f": {row['which']}",
                    flush=True,
                )
        figures[title] = {"fmax": of.fmax, **rows}
    return figures


def stretched() -> Set:
    """H2 in a large box, from 0.5 to 2 A: EMT's bond is 0.78 A."""
    made = [
        ase.Atoms("H2", [(0, 0, 0), (0, 0, length)], info={"id": f"H2 {length:.1f} A"})
        for length in np.arange(0.5, 2.05, 0.1)
    ]
    return _set("ASE EMT", made)


def saddles() -> Set:
    """Molecules near saddles, each moved ten times by 0.05 A at random, to 1e-3 eV/A.

    Near a saddle forces are small: at 0.01 eV/A a torsion 0.03 A from its top counts as converged,
    whatever the optimizer, and the table would be about the threshold.
    """
    planar = molecule("NH3")
    angles = np.arange(3) * 2 * np.pi / 3
    planar.positions[0] = 0.0
    planar.positions[1:] = 1.0 * np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    linear = ase.Atoms("OH2", [(0, 0, 0), (0.97, 0, 0), (-0.97, 0, 0)])
    eclipsed = molecule("C2H6")
    second = [k for k, z in enumerate(eclipsed.positions[:, 2]) if z < 0]
    eclipsed.positions[second] = _turned(eclipsed.positions[second], np.pi / 3)
    flat = molecule("H2O2")
    flat.set_dihedral(2, 0, 1, 3, 180.0, indices=[3])
    ring = np.arange(6) * np.pi / 3
    carbons = np.stack([np.cos(ring), np.sin(ring), 0 * ring], axis=1)
    up = np.array([0, 0, 0.89])
    cyclohexane = ase.Atoms(
        "C6H12", np.concatenate([1.52 * carbons, 1.9 * carbons + up, 1.9 * carbons - up])
    )
    starts = {
        "planar NH3": planar,
        "linear H2O": linear,
        "eclipsed C2H6": eclipsed,
        "H2O2, trans": flat,
        "flat cyclohexane": cyclohexane,
    }
    return _set("MMFF94", _moved(starts, 0.05, 10), fmax=1e-3)


def symmetric() -> Set:
    """Clusters on saddles or on slopes that curve down, moved ten times by 0.05 sigma."""
    r = 2 ** (1 / 6)
    line = np.arange(5)[:, None] * np.array([[r, 0, 0]])
    ring = np.arange(6) * np.pi / 3
    hexagon = r * np.stack([np.cos(ring), np.sin(ring), 0 * ring], axis=1)
    cube = r * np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, 8).T
    starts = {
        "line of 5": line,
        "square": cube[[0, 1, 2, 3]],
        "hexagon with its centre": np.concatenate([hexagon, np.zeros((1, 3))]),
        "cube": cube,
        "stretched pair": np.array([[0, 0, 0], [1.8, 0, 0]]),
        "stretched triangle": 1.6 * np.array([[0, 0, 0], [1, 0, 0], [0.5, 0.75**0.5, 0]]),
    }
    clusters = {name: ase.Atoms(f"X{len(x)}", x) for name, x in starts.items()}
    return _set("LJ", _moved(clusters, 0.05, 10), fmax=1e-3)


def random_lj38(n: int) -> Set:
    """38 points in a ball, no two closer than 0.7 sigma."""
    made = []
    for number in range(n):
        random = np.random.default_rng(number)
        points = np.empty((0, 3))
        while len(points) < 38:
            trial = random.uniform(-2.3, 2.3, 3)
            apart = (np.linalg.norm(points - trial, axis=1) > 0.7).all()
            if np.linalg.norm(trial) < 2.3 and apart:
                points = np.vstack([points, trial])
        made.append(ase.Atoms("X38", points))
    return _set("LJ", made)


def hessian_ratio(atoms: ase.Atoms, model: Any) -> float:
    """Return the lowest eigenvalue of the Hessian over the largest, rigid motions left out."""
    n = 3 * len(atoms)
    moved = []
    for k in range(2 * n):
        copy = atoms.copy()
        copy.positions[k // 2 // 3, k // 2 % 3] += STEP * (1 - 2 * (k % 2))
        moved.append(copy)
    result = kr.relax(moved, model, max_steps=0, progress=False)
    forces = np.array([each.get_forces().ravel() for each in result.atoms])
    hessian = -(forces[::2] - forces[1::2]) / (2 * STEP)
    hessian = (hessian + hessian.T) / 2
    centred = atoms.positions - atoms.positions.mean(axis=0)
    rigid = [np.tile(axis, len(atoms)) for axis in np.eye(3)]
    rigid += [np.cross(axis, centred).ravel() for axis in np.eye(3)]
    # Of a linear molecule one rotation is none.
    basis, sizes, _ = np.linalg.svd(np.array(rigid).T, full_matrices=True)
    inner = basis[:, int((sizes > 1e-3 * sizes[0]).sum()) :]
    eigenvalues = np.linalg.eigvalsh(inner.T @ hessian @ inner)
    return float(eigenvalues[0] / np.abs(eigenvalues).max())


def _figures(of: Set, rows: list[dict[str, Any]], ends: list[Any] | None) -> dict[str, Any]:
    labels = [atoms.info.get("id", str(k)) for k, atoms in enumerate(of.structures)]
    figures = tables.summary(rows, None) | {"failures": tables.failures(rows, labels)}
    energies = np.array([row["energy"] for row in rows])
    figures["lowest and highest end energy"] = [float(energies.min()), float(energies.max())]
    figures["ends checked"] = 0
    if ends is not None:
        sample = range(0, len(ends), max(1, len(ends) // SAMPLE))
        model = ours.model(of.calculators[0])
        ratios = {k: hessian_ratio(ends[k], model) for k in sample if not rows[k]["failure"]}
        figures["ends checked"] = len(ratios)
        figures["lowest eigenvalue over the largest"] = min(ratios.values())
        figures["no minimum"] = sum(x < NEGATIVE for x in ratios.values())
        figures["which"] = ", ".join(labels[k] for k, x in ratios.items() if x < NEGATIVE)
    return figures


def _set(name: str, structures: list[ase.Atoms], fmax: float = 0.01) -> Set:
    names = [name] * len(structures)
    return Set(structures=structures, calculators=names, peers=(), fmax=fmax)


def _moved(starts: dict[str, ase.Atoms], spread: float, n: int) -> list[ase.Atoms]:
    made = []
    for name, atoms in starts.items():
        for seed in range(n):
            made.append(atoms.copy())
            made[-1].info["id"] = f"{name} {seed}"
            made[-1].rattle(spread, rng=np.random.default_rng(seed))
    return made


def _turned(points: np.ndarray, angle: float) -> np.ndarray:
    """Turn around z."""
    c, s = np.cos(angle), np.sin(angle)
    return points @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
