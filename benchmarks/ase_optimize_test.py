"""The systems of `ase.optimize.test`: steps of our LBFGS against those of ASE's."""

import warnings
from typing import Any

import ase.optimize
import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT, parameters
from ase.collections import g2
from ase.optimize.test.systems import get_systems

from kups_relax.ase import LBFGS

FMAX, MAX_STEPS = 0.02, 2000


def main() -> dict[str, Any]:
    """Relax each to ASE's own threshold there, 0.02 eV/Angstrom, with EMT.

    Unequal counts of long runs may be rounding that grew: ASE's own counts from starts that
    differ by less than a rounding of the coordinates stand beside them.
    """
    systems = {label: atoms for atoms, label in get_systems()}
    small = {
        name: molecule(name, cell=[12.0, 12.0, 12.0])
        for name in g2.names
        if set(molecule(name).symbols) <= set(parameters)
    }
    return {
        "fmax, eV/A": FMAX,
        "systems of ase.optimize.test": _compare(systems),
        "molecules of ase.collections.g2": _compare(small),
        "left out": {
            "g2 molecules with elements that EMT does not know": " ".join(
                sorted(set(g2.names) - set(small))
            ),
            "ase.collections.s22, dcdft, dbh24": "molecules in pairs held by dispersion, which "
            "EMT and LJ do not describe; elements that EMT does not know; barriers",
            "ase.optimize.test.neb": "makes a band and optimizes nothing",
        },
    }


def _compare(systems: dict[str, Atoms]) -> dict[str, Any]:
    makers = {
        "ASE's LBFGS": (ase.optimize.LBFGS, {}),
        "ase-lbfgs": (LBFGS, {}),
        "lbfgs": (LBFGS, {"optimizer": "lbfgs"}),
    }
    runs = {
        name: {system: _run(atoms, cls, **options) for system, atoms in systems.items()}
        for name, (cls, options) in makers.items()
    }
    steps = {name: {s: run[0] for s, run in each.items()} for name, each in runs.items()}
    theirs, ours, better = steps.values()
    unequal = [system for system in systems if theirs[system] != ours[system]]
    return {
        "systems": len(systems),
        "equal steps": len(systems) - len(unequal),
        "largest difference of an end energy, eV": max(
            abs(runs["ASE's LBFGS"][s][1] - runs["ase-lbfgs"][s][1]) for s in systems
        ),
        "median steps": {name: float(np.median(list(n.values()))) for name, n in steps.items()},
        "not converged": {
            name: [s for s, n in each.items() if n >= MAX_STEPS] for name, each in steps.items()
        },
        "unequal": {
            system: {
                "ASE's LBFGS": theirs[system],
                "ase-lbfgs": ours[system],
                "ASE's LBFGS, from starts moved by 1e-14 A": [
                    _run(_moved(systems[system], seed), ase.optimize.LBFGS)[0] for seed in range(5)
                ],
            }
            for system in unequal
        },
        "steps of ASE's LBFGS, ase-lbfgs, lbfgs": {
            system: [theirs[system], ours[system], better[system]] for system in systems
        },
    }


def _moved(atoms: Atoms, seed: int) -> Atoms:
    atoms = atoms.copy()
    atoms.positions += np.random.default_rng(seed).uniform(-1e-14, 1e-14, (len(atoms), 3))
    return atoms


def _run(atoms: Atoms, cls: Any, **options: Any) -> tuple[int, float]:
    atoms = atoms.copy()
    atoms.calc = EMT()
    run = cls(atoms, logfile=None, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # EMT's, where atoms fly apart
        run.run(fmax=FMAX, steps=MAX_STEPS)
    return run.nsteps, float(atoms.get_potential_energy())
