"""TorchSim models to test with, one that is right by the interface and its faults; structures.

Importing this skips the tests that do where TorchSim is not installed.
"""

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from ase.build import bulk

import kups_relax as kr
from helpers import argon_clusters
from kups_relax.potentials import Asked, TorchSim
from kups_relax.relaxation import evaluate

try:
    with warnings.catch_warnings():
        # Of torch.jit.script, which TorchSim uses.
        warnings.simplefilter("ignore")
        import torch
        import torch_sim as torch_sim
        from torch_sim.models.interface import ModelInterface
        from torch_sim.models.lennard_jones import LennardJonesModel as LennardJonesModel
        from torch_sim.models.morse import MorseModel as MorseModel
        from torch_sim.models.soft_sphere import SoftSphereModel as SoftSphereModel
except ModuleNotFoundError as error:
    pytest.skip(
        f"{error}: TorchSim is an extra; pip install 'kups-relax[torch-sim]', with Python 3.12 or "
        "newer for its present versions",
        allow_module_level=True,
    )

EPSILON, SIGMA = 0.0104, 3.4
XENON = 54


class Images(ModelInterface):
    """Lennard-Jones of ASE, shifted to zero at the cutoff, over all images of all atoms.

    It takes cells as TorchSim documents them, and works on one system after the other.

    Args:
        cutoff: Angstrom.
        dtype: What it computes in.
        forces: Whether it has forces.
        stress: Whether it has stress.

    Attributes:
        states: What it was called with.
        spoil: Makes what it returns, from the state and what it should return.
    """

    def __init__(
        self,
        cutoff: float = 8.0,
        dtype: torch.dtype = torch.float64,
        forces: bool = True,
        stress: bool = True,
    ) -> None:
        super().__init__()
        self._device, self._dtype = torch.device("cpu"), dtype
        self._compute_forces, self._compute_stress = forces, stress
        self.cutoff = cutoff
        self.states: list[Any] = []
        self.spoil: Callable[[Any, dict[str, Any]], Any] = lambda state, out: out

    def forward(self, state: Any, **_: Any) -> dict[str, Any]:
        self.states.append(state)
        assert state.positions.dtype == state.cell.dtype == state.masses.dtype == self.dtype
        assert (state.masses > 0).all()
        pbc = torch.as_tensor(state.pbc).expand(3).tolist()
        parts = [
            self._system(state.positions[state.system_idx == k], cell, pbc)
            for k, cell in enumerate(state.cell)
        ]
        energy, forces, stress = zip(*parts, strict=True)
        out = {"energy": torch.stack(energy), "forces": torch.cat(forces)}
        if self.compute_stress:
            out["stress"] = torch.stack(stress)
        return self.spoil(state, out)

    def _system(self, x: Any, cell: Any, pbc: list[bool]) -> Any:
        x = x.detach().requires_grad_()
        strain = torch.zeros(3, 3, dtype=self.dtype, requires_grad=True)
        deform = torch.eye(3, dtype=self.dtype) + (strain + strain.T) / 2
        here, columns = x @ deform, deform @ cell
        reach = [0, 0, 0]
        if any(pbc):
            inverse = torch.linalg.inv(cell)
            least, most = (x.detach() @ inverse.T).aminmax(dim=0)
            far = self.cutoff * torch.linalg.norm(inverse, dim=1) + most - least
            reach = [int(f) + 1 if p else 0 for f, p in zip(far.tolist(), pbc, strict=True)]
        multiples = itertools.product(*(range(-n, n + 1) for n in reach))
        shifts = torch.tensor(list(multiples), dtype=self.dtype) @ columns.T
        d = here[:, None, None] - here[None, :, None] - shifts
        squared = (d * d).sum(-1)
        near = (squared > 0) & (squared < self.cutoff**2)
        six = (SIGMA**2 / torch.where(near, squared, torch.ones_like(squared))) ** 3
        beyond = (SIGMA / self.cutoff) ** 6
        pair = 4 * EPSILON * (six * six - six - beyond * beyond + beyond)
        energy = torch.where(near, pair, torch.zeros_like(pair)).sum() / 2
        slope, strained = torch.autograd.grad(energy, (x, strain))
        return energy.detach(), -slope, strained / torch.linalg.det(cell).abs()


def has_xenon(state: Any) -> bool:
    """Whether a state holds the atom that the models below stumble over."""
    return bool((state.atomic_numbers == XENON).any())


def raising(state: Any, out: dict[str, Any]) -> dict[str, Any]:
    """Refuse states with xenon."""
    if has_xenon(state):
        raise RuntimeError("no xenon, please")
    return out


def giving_nan(state: Any, out: dict[str, Any]) -> dict[str, Any]:
    """Have NaN for every system of a state with xenon, as where products mix systems."""
    return {k: v * float("nan") for k, v in out.items()} if has_xenon(state) else out


def giving_columns(state: Any, out: dict[str, Any]) -> dict[str, Any]:
    """Have energies of a wrong shape in states with xenon."""
    return {**out, "energy": out["energy"][:, None]} if has_xenon(state) else out


def giving_nothing(state: Any, out: dict[str, Any]) -> dict[str, Any] | None:
    """Return None for states with xenon."""
    return None if has_xenon(state) else out


def without(key: str) -> Callable[[Any, dict[str, Any]], dict[str, Any]]:
    """Leave a part out in states with xenon."""

    def spoil(state: Any, out: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in out.items() if k != key or not has_xenon(state)}

    return spoil


def writing(state: Any, out: dict[str, Any]) -> dict[str, Any]:
    """Use the state as scratch space, as a model may."""
    for name in ("positions", "cell", "masses", "atomic_numbers"):
        getattr(state, name).zero_()
    return out


BATCHING = ("one-by-one", "together")
# One model for many tests, so that they share compiled programs.
MODEL = Images()
POTENTIALS = {batching: TorchSim(MODEL, batching=batching) for batching in BATCHING}


def sheared(seed=0, name="Ar", factor=1.0):
    """Fcc argon in a cell that is no symmetric matrix, so that rows are no columns."""
    atoms = bulk(name, "fcc", a=5.3 * factor, cubic=True)
    atoms.set_cell(atoms.cell.array @ [[1, 0, 0], [0.2, 1, 0], [0.1, 0.3, 1]], scale_atoms=True)
    atoms.rattle(0.15, seed=seed)
    atoms.info["id"] = f"{name}4-sheared-{seed}"
    return atoms


def mixed():
    """Clusters of several sizes, and crystals."""
    return [*argon_clusters([2, 5, 9, 12, 3]), sheared(0), sheared(1, factor=1.02)]


def small():
    """Clusters and crystals of one size class."""
    return [*argon_clusters([2, 5, 7, 3]), sheared(0), sheared(1, factor=1.02)]


def with_xenon():
    """A batch, with one structure that spoilt models stumble over."""
    batch = argon_clusters([4, 6, 5, 7])
    batch[1].numbers[0] = 54
    batch[1].info["id"] = "the culprit"
    return batch


def single_points(potential, structures, dtype="float64"):
    return evaluate(potential, kr.io.structures_from(structures), dtype=dtype)


def asked(batch, n_lanes=4):
    """The question that the engine asks about structures of one class."""
    structures = kr.io.structures_from(batch)
    positions = np.zeros((3, 8, n_lanes))
    for lane, s in enumerate(structures):
        positions[:, : s.n_atoms, lane] = s.positions.T
    x, cell = jax.device_put((positions, np.zeros((3, 3, n_lanes))))
    held = [*structures, *[None] * (n_lanes - len(structures))]
    return Asked(held, x, cell, stress=False, fresh=[s is not None for s in held])
