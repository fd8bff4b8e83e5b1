"""What a step in ASE costs besides the calculator, with our LBFGS and with ASE's."""

import time
from collections.abc import Callable
from typing import Any

import ase.optimize
import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from kups_relax.ase import LBFGS
from kups_relax.testing import count_programs

N_ATOMS, N_STEPS, REPEATS = 50, 300, 7


class Diagonal(Calculator):
    """A quadratic form that takes a few microseconds, and hundreds of steps to relax."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.n_calls = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """See `ase.calculators.calculator.Calculator`."""
        super().calculate(atoms, properties, system_changes)
        self.n_calls += 1
        x = atoms.positions
        forces = -np.logspace(-2, 4, x.size).reshape(x.shape) * x
        self.results = {"energy": -0.5 * float((forces * x).sum()), "forces": forces}


def main() -> dict[str, Any]:
    """Time steps after 120, when a memory of 100 is full; fastest of 7 runs, taken in turn."""
    makers = {
        "ASE's LBFGS": lambda atoms: ase.optimize.LBFGS(atoms, logfile=None),
        "ours, ASE's convention": lambda atoms: LBFGS(atoms, logfile=None),
        "ours, 'lbfgs'": lambda atoms: LBFGS(atoms, optimizer="lbfgs", logfile=None),
    }
    seconds = {name: [] for name in makers}
    for _ in range(REPEATS):
        for name, make in makers.items():
            seconds[name].append(_seconds(make))
    with count_programs() as programs:
        for name, make in makers.items():
            if name.startswith("ours"):
                make(_atoms(N_ATOMS + 10)).run(fmax=0, steps=3)
    return {
        "atoms": N_ATOMS,
        "ms a step, the whole of ASE's loop": {
            name: round(1e3 * min(runs), 3) for name, runs in seconds.items()
        },
        "ms a step, medians": {
            name: round(1e3 * float(np.median(runs)), 3) for name, runs in seconds.items()
        },
        "programs compiled for the next molecule of the size": programs.n_traced("step"),
    }


def _atoms(n_atoms: int) -> Atoms:
    positions = np.random.default_rng(0).normal(size=(n_atoms, 3))
    return Atoms(f"H{n_atoms}", positions, calculator=Diagonal())


def _seconds(make: Callable[[Atoms], Any]) -> float:
    atoms = _atoms(N_ATOMS)
    optimizer = make(atoms)
    optimizer.run(fmax=0, steps=120)
    start = time.perf_counter()
    optimizer.run(fmax=0, steps=N_STEPS)
    seconds = time.perf_counter() - start
    assert atoms.calc.n_calls == optimizer.nsteps + 1 == 120 + N_STEPS + 1
    return seconds / N_STEPS
