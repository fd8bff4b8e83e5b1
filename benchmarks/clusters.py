"""Speed on metals, EMT: 16 Cu-Au icosahedra of 147 atoms against ASE's LBFGS; 4000 atoms."""

import resource
import statistics
import sys
import time
from typing import Any

import ase
import jax
import numpy as np
from ase.build import bulk
from ase.cluster import Icosahedron

import kups_relax as kr
from benchmarks import periodic
from kups_relax.relaxation import Program, axis_lengths, size_class
from kups_relax.relaxation._tiles import Tile

FMAX = 0.01
OPTIMIZERS = ("lbfgs", "ase-lbfgs")
N_RUNS = 7
# Of the large structures: so many that the start does not matter.
N_STEPS = 60
# ASE is serial, and its time per structure hardly varies: a sample.
N_ASE = 4


def main() -> dict[str, Any]:
    """Time both to convergence; then steps of a large cluster and a large crystal."""
    atoms = icosahedra(16)
    figures: dict[str, Any] = {f"ASE LBFGS, {N_ASE} of them": (theirs := _ase(atoms[:N_ASE]))}
    for optimizer in OPTIMIZERS:
        figures[optimizer] = ours = _ours(atoms, optimizer, FMAX, 1000)
        figures[f"{optimizer}: times less wall time to converge than ASE"] = (
            theirs["wall ms per structure"] / ours["wall ms per structure"]
        )
    # By one worker each: one structure is one tile, and a batch would take all cores.
    for dtype in ("float64", "float32"):
        small = _ours(atoms, "lbfgs", 1e-9, N_STEPS, dtype, n_workers=1)
        figures[f"{N_STEPS} steps by one worker, {dtype}"] = rows = {"16 of 147": small}
        for name, large in (("cluster", large_cluster()), ("crystal", large_crystal())):
            rows[f"{name} of {len(large)}"] = row = _ours([large], "lbfgs", 1e-9, N_STEPS, dtype)
            for key in ("wall us per atom and step", "cpu us per atom and step", "bytes per atom"):
                row[f"times {key} of the batch"] = row[key] / small[key]
    figures["largest memory of the process, MiB"] = _peak()
    return figures


def icosahedra(n: int) -> list[ase.Atoms]:
    """Half Cu, half Au at random, rattled."""
    out = []
    for seed in range(n):
        atoms = Icosahedron("Cu", 4, latticeconstant=3.7)
        random = np.random.default_rng(seed)
        atoms.symbols[random.permutation(len(atoms))[:70]] = "Au"
        atoms.rattle(0.05, seed=seed)
        out.append(atoms)
    return out


def large_crystal() -> ase.Atoms:
    """CuAu, disordered, 4000 atoms in a periodic cell."""
    atoms = bulk("Cu", a=3.61 * 1.06, cubic=True) * (10, 10, 10)
    random = np.random.default_rng(0)
    atoms.symbols[random.permutation(len(atoms))[: len(atoms) // 2]] = "Au"
    atoms.rattle(0.05, seed=1)
    return atoms


def large_cluster() -> ase.Atoms:
    """The same as a cube in vacuum."""
    atoms = large_crystal()
    atoms.set_pbc(False)
    atoms.set_cell(None)
    return atoms


def _ours(
    atoms: list[ase.Atoms],
    optimizer: str,
    fmax: float,
    max_steps: int,
    dtype: str = "float64",
    n_workers: int | None = None,
) -> dict[str, Any]:
    potential = kr.potentials.EMT()
    options = {"fmax": fmax, "max_steps": max_steps, "dtype": dtype, "n_workers": n_workers}
    walls, cpus = [], []
    result: Any = None
    for _ in range(N_RUNS + 1):
        wall, cpu = time.perf_counter(), time.process_time()
        result = kr.relax(atoms, potential, optimizer, progress=False, **options)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    # The first run compiles.
    wall, cpu = statistics.median(walls[1:]), statistics.median(cpus[1:])
    row = _row(wall, cpu, result.n_atoms, result.n_steps, result.energy)
    return {
        **row,
        "fastest wall s": min(walls[1:]),
        "seconds of the first run, compile included": walls[0],
        "converged": int(result.converged.sum()),
        "bytes per atom": _bytes(potential, atoms[0], optimizer, dtype),
    }


def _ase(structures: list[ase.Atoms]) -> dict[str, Any]:
    wall, cpu = time.perf_counter(), time.process_time()
    steps, energies = [], []
    for structure in structures:
        atoms, optimizer = periodic.ase_lbfgs(structure, kr.potentials.EMT())
        optimizer.run(fmax=FMAX, steps=1000)
        steps.append(optimizer.nsteps)
        energies.append(atoms.get_potential_energy())
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    n_atoms = np.array([len(atoms) for atoms in structures])
    return _row(wall, cpu, n_atoms, np.array(steps), np.array(energies))


def _row(
    wall: float, cpu: float, n_atoms: np.ndarray, steps: np.ndarray, energy: np.ndarray
) -> dict[str, Any]:
    work = int((n_atoms * (steps + 1)).sum())
    return {
        "wall s": wall,
        "cpu s": cpu,
        "wall ms per structure": wall / len(steps) * 1e3,
        "wall us per atom and step": wall / work * 1e6,
        "cpu us per atom and step": cpu / work * 1e6,
        "median steps": float(np.median(steps)),
        "mean energy, eV": float(energy.mean()),
    }


def _bytes(potential: kr.potentials.EMT, atoms: ase.Atoms, optimizer: str, dtype: str) -> float:
    """What a tile holds for each of its atoms: the potential's arrays and the optimizer's state."""
    structure: Any = kr.io.structures_from([atoms])[0]
    prepared = potential.prepare(structure)
    size = size_class(potential, len(atoms), axis_lengths(potential, prepared))
    tile = Tile(potential, size, np.dtype(dtype))
    program = Program(potential, kr.optimizers.get(optimizer))
    with jax.enable_x64(dtype == "float64"):
        state = program.empty(tile.positions.shape, tile.dtype)
        held = jax.tree.leaves((tile.terms().arrays, state))
    return sum(x.nbytes for x in held) / (size.n_lanes * len(atoms))


def _peak() -> float:
    # In KiB, on macOS in bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
