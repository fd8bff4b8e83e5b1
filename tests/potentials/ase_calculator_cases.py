"""What tests of ASE calculators share."""

import subprocess

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

import kups_relax as kr
from kups_relax.potentials import AseCalculator, _worker_process

QUICK = {"fmax": 0.05, "max_steps": 40, "progress": False}


def rattled(name, seed=0, **info):
    atoms = bulk("Cu", cubic=True) if name == "Cu4" else molecule(name)
    atoms.rattle(0.08, rng=np.random.default_rng([seed, len(atoms)]))
    atoms.info.update(info, id=f"{name}-{seed}")
    return atoms


def molecules():
    return [rattled(name) for name in ("H2O", "CH4", "NH3", "CO2", "C2H2")]


def relax(structures, factory=EMT, optimizer="lbfgs", options=QUICK, **calculator):
    return kr.relax(structures, AseCalculator(factory, **calculator), optimizer, **options)


@pytest.fixture
def processes(monkeypatch):
    """The worker processes that were started; others may start programs meanwhile."""
    started = []

    class Popen(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            if _worker_process._PROGRAM in self.args:
                started.append(self)

    monkeypatch.setattr(_worker_process.subprocess, "Popen", Popen)
    return started
