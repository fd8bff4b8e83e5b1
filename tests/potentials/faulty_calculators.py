"""Calculators that go wrong, in a structure that asks for it, at its third evaluation.

Worker processes import this file; it imports neither JAX nor pytest.
"""

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

FAULT_AT = 3


class Faulty(EMT):
    """EMT, until `atoms.info["fault"]` names a method of this class, and it is time for it."""

    n_calls = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.n_calls += 1
        fault = atoms.info.get("fault")
        if fault and self.n_calls == FAULT_AT:
            getattr(self, fault)()

    def raises(self):
        raise RuntimeError("no convergence\nafter 99 cycles")

    def is_not_implemented(self):
        raise NotImplementedError("spin")

    def leaves(self):
        sys.exit("out of licences")

    def hangs(self):
        time.sleep(600)

    def waits_for_a_program(self):
        with subprocess.Popen(["sleep", "600"]) as program:
            pathlib.Path(self.atoms.info["pid"]).write_text(str(program.pid))

    def exits(self):
        os._exit(3)

    def crashes(self):
        os.kill(os.getpid(), signal.SIGSEGV)

    def gives_nan_energy(self):
        self.results["energy"] = np.nan

    def gives_infinite_force(self):
        self.results["forces"][1, 2] = np.inf

    def gives_transposed_forces(self):
        self.results["forces"] = self.results["forces"].T.copy()

    def gives_no_numbers(self):
        self.results["forces"] = "strong"

    def gives_energies(self):
        self.results["energy"] = self.results["energies"]

    def gives_long_stress(self):
        self.results["stress"] = np.zeros(9)

    def loses_forces(self):
        del self.results["forces"]

    def tells(self):
        raise RuntimeError(
            f"jax: {'jax' in sys.modules}, kups_relax: {'kups_relax' in sys.modules}"
        )


class EnergyOnly(Calculator):
    """A calculator that cannot be relaxed with."""

    implemented_properties = ("energy",)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0}


class NoStress(EMT):
    """EMT, for molecules."""

    implemented_properties = ("energy", "free_energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results.pop("stress", None)


class Remembering(EMT):
    """A calculator whose answer depends on what it was asked before, as orbitals do."""

    n_calls = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.n_calls += 1
        self.results["forces"] = self.results["forces"] * (1 + 1e-3 / self.n_calls)


def broken_factory():
    raise FileNotFoundError("parameters.toml")


class Smeared(EMT):
    """EMT whose forces are the slope of its free energy, as with smeared occupations in DFT."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        energy = self.results["energy"]
        # It rises where the free energy falls.
        self.results.update(energy=5.0 - 3.0 * energy, free_energy=energy)


class NoFreeEnergy(EMT):
    """EMT that declares a free energy, and has none."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        del self.results["free_energy"]
