"""TorchSim's classical models: exact one by one, how far together, and what each costs on a CPU.

It needs the extra torch-sim, and is not among the benchmarks that run by default.
"""

import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from ase.build import bulk
from torch_sim.models.interface import SumModel
from torch_sim.models.lennard_jones import LennardJonesModel
from torch_sim.models.morse import MorseModel
from torch_sim.models.particle_life import ParticleLifeModel
from torch_sim.models.soft_sphere import SoftSphereModel, SoftSphereMultiModel

import kups_relax as kr
from benchmarks import cases

BATCHING = ("one-by-one", "together")


def main() -> dict[str, Any]:
    """Compare alone with batched, bit by bit, for each model, dtype and way of batching."""
    figures: dict[str, Any] = {name: version(name) for name in ("torch", "torch-sim-atomistic")} | {
        "torch threads": torch.get_num_threads()
    }
    structures = [*cases.argon_clusters(12, sizes=range(2, 41), seed=3), *_crystals(6)]
    for name, make in _models().items():
        for dtype in ("float64", "float32"):
            model = make(getattr(torch, dtype))
            for batching in BATCHING:
                report = kr.verify(
                    structures,
                    kr.potentials.TorchSim(model, batching=batching),
                    draws=30,
                    dtype=dtype,
                    max_steps=10,
                )
                key = f"{name} {dtype} {batching}"
                figures[key] = f"{report.n_mismatches} of {report.n_comparisons} differ"
                print(f"   {key}: {figures[key]}", flush=True)
    figures["repeated calls"] = _repeated(_models()["lennard-jones"](torch.float64))
    return figures | _times(_models()["lennard-jones"](torch.float64))


def _models() -> dict[str, Callable[[torch.dtype], Any]]:
    both = {"compute_forces": True, "compute_stress": True}
    pairs = {"sigma": 3.4, "epsilon": 0.0104, "cutoff": 8.0, **both}
    soft = {"epsilon": 1.0, "alpha": 2.5}

    def lennard_jones(dtype: torch.dtype) -> Any:
        return LennardJonesModel(dtype=dtype, **pairs)

    def morse(dtype: torch.dtype) -> Any:
        return MorseModel(dtype=dtype, alpha=1.6, **pairs)

    def soft_sphere(dtype: torch.dtype) -> Any:
        return SoftSphereModel(dtype=dtype, sigma=4.0, **soft, **both)

    def soft_sphere_multi(dtype: torch.dtype) -> Any:
        matrices = {"sigma": 4.0, **soft}
        options = {f"{k}_matrix": torch.full((1, 1), v, dtype=dtype) for k, v in matrices.items()}
        return SoftSphereMultiModel(torch.tensor([18]), dtype=dtype, **options, **both)

    def particle_life(dtype: torch.dtype) -> Any:
        return ParticleLifeModel(dtype=dtype, sigma=5.0, epsilon=0.01, **both)

    def added(dtype: torch.dtype) -> Any:
        return SumModel(lennard_jones(dtype), morse(dtype))

    makers = (lennard_jones, morse, soft_sphere, soft_sphere_multi, particle_life, added)
    names = ("lennard-jones", "morse", "soft-sphere", "soft-sphere-multi", "particle-life", "sum")
    return dict(zip(names, makers, strict=True))


def _crystals(n: int) -> list[Any]:
    random = np.random.default_rng(5)
    crystals = []
    for seed in range(n):
        atoms = bulk("Ar", "fcc", a=5.26, cubic=True).repeat((1, 1, 1 + seed % 3))
        atoms.set_cell(
            atoms.cell.array @ (np.eye(3) + 0.05 * random.normal(size=(3, 3))), scale_atoms=True
        )
        atoms.rattle(0.1, seed=seed)
        crystals.append(atoms)
    return crystals


def _repeated(model: Any, n: int = 50) -> str:
    """Evaluate one large crystal again and again: threads must not change a sum."""
    crystal = bulk("Ar", "fcc", a=5.26, cubic=True).repeat(6)
    crystal.rattle(0.1, seed=1)
    [structure] = kr.io.structures_from([crystal])
    got = [_bytes(model, structure) for _ in range(n)]
    return f"{sum(g != got[0] for g in got[1:])} of {n - 1} differ ({structure.n_atoms} atoms)"


def _bytes(model: Any, structure: Any) -> bytes:
    from kups_relax.relaxation import evaluate

    [one] = evaluate(kr.potentials.TorchSim(model), [structure])
    assert one.stress is not None
    return np.float64(one.energy).tobytes() + one.forces.tobytes() + one.stress.tobytes()


def _times(model: Any) -> dict[str, str]:
    clusters = cases.argon_clusters(40, sizes=[13], seed=7)
    figures = {}
    for batching in BATCHING:
        potential = kr.potentials.TorchSim(model, batching=batching)
        kr.relax(clusters, potential, progress=False)
        times = []
        for _ in range(5):
            start = time.perf_counter()
            result = kr.relax(clusters, potential, progress=False)
            times.append(time.perf_counter() - start)
        each = 1e3 * min(times) / int(result.n_evaluations.sum())
        figures[f"ms per evaluation, 40 clusters of 13 atoms, {batching}"] = f"{each:.2f}"
    return figures
