"""What a step of "preconditioned" costs: 64 molecules of some 50 atoms, beside a GFN2-xTB call."""

import os
import statistics
import time
from typing import Any

import jax
import numpy as np

import kups_relax as kr
from benchmarks import cases
from kups_relax import coordinates, internals
from kups_relax.internals import Chart
from kups_relax.optimizers import Lanes, ScaleByModelHessian
from kups_relax.relaxation import axis_lengths, size_class
from kups_relax.relaxation._tiles import Block

N, N_LANES, N_RUNS = 64, 16, 7


def main() -> dict[str, Any]:
    """Time updates of four full tiles, one after the other, and calls of GFN2-xTB."""
    structures = molecules()
    n_atoms = [s.n_atoms for s in structures]
    figures: dict[str, Any] = {"atoms, least and most": [min(n_atoms), max(n_atoms)]}
    for dtype in ("float64", "float32"):
        wall, cpu = _steps(structures, np.dtype(dtype))
        figures[f"ms a molecule and step, {dtype}"] = {"wall": wall, "CPU": cpu}
    figures["ms a GFN2-xTB call, one thread, median of 8 molecules"] = call = _calls(
        structures[::8]
    )
    share = figures["ms a molecule and step, float64"]["CPU"] / call
    figures["CPU time of a step as a share of such a call"] = share
    figures["load average"] = os.getloadavg()
    return figures


def molecules() -> list[Any]:
    """Conformers of a molecule of 50 atoms: C16H34, hexadecane."""
    return list(kr.io.structures_from(cases.conformers("C" * 16, N)))


def _steps(structures: list[Any], dtype: np.dtype) -> tuple[float, float]:
    moving = coordinates.FREE
    guided = [internals.guide_of(s, moving, {}) for s in structures]
    guide = guided[0][0]
    model = kr.potentials.MMFF94()
    lengths: dict[str, int] = {}
    for _, arrays in guided:
        for axis, length in axis_lengths(guide, arrays).items():
            lengths[axis] = max(length, lengths.get(axis, 0))
    size = size_class(model, max(s.n_atoms for s in structures), {})
    size = size.joined(guide.capacities(size.n_atoms, lengths))
    transform = ScaleByModelHessian()
    with jax.enable_x64(dtype == np.float64):
        tiles = []
        for first in range(0, N, N_LANES):
            block = Block(guide.fields(), _of(size), dtype)
            x = np.zeros((3, size.n_atoms, N_LANES), dtype)
            for lane in range(N_LANES):
                s, (_, arrays) = structures[first + lane], guided[first + lane]
                block.put(lane, s.n_atoms, arrays)
                x[:, : s.n_atoms, lane] = s.positions.T
            terms = block.on_device()
            chart = Chart(guide=guide, terms=terms, factor=None, mask=None)
            n_internals = guide.n_internals(dict(size.capacities))
            state = transform.init(x, Lanes(n=N_LANES), n_internals=n_internals)
            gradient = np.random.default_rng(first).normal(size=x.shape).astype(dtype)
            tiles.append((gradient, state, x, chart))
        step = jax.jit(lambda g, state, x, chart: transform.update(g, state, x, chart=chart))
        walls, cpus = [], []
        for run in range(N_RUNS + 1):
            wall, cpu = time.perf_counter(), time.process_time()
            for tile in tiles:
                jax.block_until_ready(step(*tile))
            if run:  # the first one compiles
                walls.append(1e3 * (time.perf_counter() - wall) / N)
                cpus.append(1e3 * (time.process_time() - cpu) / N)
    return statistics.median(walls), statistics.median(cpus)


def _of(size: Any) -> Any:
    return type(size)(size.n_atoms, N_LANES, size.capacities)


def _calls(structures: list[Any]) -> float:
    from tblite.ase import TBLite

    took = []
    for s in structures:
        atoms = s.atoms.copy() if s.atoms is not None else _atoms(s)
        for k in range(2):
            atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
            atoms.rattle(0.01, seed=k)
            start = time.perf_counter()
            atoms.get_forces()
        took.append(1e3 * (time.perf_counter() - start))
    return statistics.median(took)


def _atoms(structure: Any) -> Any:
    import ase

    return ase.Atoms(structure.numbers, structure.positions)
