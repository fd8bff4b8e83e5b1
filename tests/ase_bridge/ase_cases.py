"""Calculators and structures that the tests of the ASE side share."""

import dataclasses
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.utils.abc import Optimizable

import kups_relax as kr
from kups_relax.relaxation import axis_lengths, evaluate, size_class


class Engine(Calculator):
    """One of our potentials as the engine evaluates it, in a tile of its own."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, potential: Any, atoms: Atoms) -> None:
        super().__init__()
        [structure] = kr.io.structures_from(atoms)
        self.structure = structure
        prepared = potential.prepare(structure)
        size = size_class(potential, structure.n_atoms, axis_lengths(potential, prepared))
        self.atom_capacity = size.n_atoms
        self.n_calls = 0
        self.potential = potential

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.n_calls += 1
        moved = dataclasses.replace(self.structure, positions=atoms.positions.copy())
        [got] = evaluate(self.potential, [moved])
        self.results = {"energy": got.energy, "forces": got.forces}


class Springs(Calculator):
    """Every atom on a spring of its own; counts its evaluations."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.n_calls = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.n_calls += 1
        x = atoms.positions
        k = np.linspace(1.0, 9.0, x.size).reshape(x.shape)
        self.results = {
            "energy": float((0.5 * k * x**2 + 0.1 * x**4).sum()),
            "forces": -k * x - 0.4 * x**3,
        }


def hung(n_atoms: int, seed: int = 0) -> Atoms:
    """Atoms on springs, away from their rest."""
    random = np.random.default_rng(seed)
    return Atoms(f"H{n_atoms}", random.uniform(-2, 2, (n_atoms, 3)), calculator=Springs())


def gold(stdev: float = 0.1, seed: int = 3) -> Atoms:
    """Four shaken gold atoms in a periodic cell that is strained a little, with EMT."""
    atoms = bulk("Au", cubic=True)
    atoms.set_cell(atoms.cell.array * [0.98, 1.0, 1.03], scale_atoms=True)
    atoms.rattle(stdev, seed=seed)
    atoms.calc = EMT()
    return atoms


class FreshEMT(EMT):
    """EMT without memory: its neighbour list, and so the order of its sums, is always new."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, all_changes)


class Function(Optimizable):
    """A convex function of n coordinates that are no atoms; its least value is 0, at 1."""

    def __init__(self, n: int) -> None:
        self.x = np.linspace(-3.0, 5.0, n)
        self.k = np.linspace(1.0, 30.0, n)

    def ndofs(self):
        return len(self.x)

    def get_x(self):
        return self.x.copy()

    def set_x(self, x):
        self.x[:] = x

    def get_value(self):
        return float((self.k * (self.x - 1) ** 2).sum() / 2)

    def get_gradient(self):
        return self.k * (self.x - 1)

    def iterimages(self):
        return iter([])

    def gradient_norm(self, gradient):
        return np.linalg.norm(gradient)
