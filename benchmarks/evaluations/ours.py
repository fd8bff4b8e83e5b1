"""Our optimizers, by name or as they are built, each a batch."""

from typing import Any

import kups_relax as kr
from benchmarks.evaluations import _engines
from benchmarks.evaluations.sets import Set, potential

# What is measured when nothing else is asked for; a name that does not exist is passed by.
NAMES = ("lbfgs", "ase-lbfgs", "preconditioned")


def measure(of: Set, optimizer: Any) -> list[dict[str, Any]]:
    """Relax a set with one optimizer: a row a structure."""
    return relaxed(of, optimizer)[0]


def relaxed(of: Set, optimizer: Any) -> tuple[list[dict[str, Any]], list[Any]]:
    """Relax a set with one optimizer: rows, and where the structures ended.

    The first evaluation is that of the start, so a limit of evaluations is one of steps less one;
    whatever an optimizer does between steps is in the result's own count.
    """
    rows: dict[int, dict[str, Any]] = {}
    ends: dict[int, Any] = {}
    for name in dict.fromkeys(of.calculators):
        places = [k for k, other in enumerate(of.calculators) if other == name]
        result = kr.relax(
            [of.structures[k] for k in places],
            model(name),
            optimizer,
            fmax=of.fmax,
            max_steps=of.limit - 1,
            cell=of.cell,
            progress=False,
        )
        for i, k in enumerate(places):
            ends[k] = result.atoms[i]
            status = str(result.status[i])
            rows[k] = {
                "evaluations": int(result.n_evaluations[i]),
                "energy": float(result.energy[i]),
                "fmax": float(result.fmax[i]),
                "failure": "" if status == "converged" else f"{status}: {result.reason[i]}",
            }
    return [rows[k] for k in range(len(rows))], [ends[k] for k in range(len(rows))]


def model(name: str) -> Any:
    """Make the energy model of a set: for GFN2-xTB in two processes."""
    if name == "GFN2-xTB":
        return kr.potentials.AseCalculator(_engines.gfn2, workers=2)
    return kr.potentials.EMT() if name == "ASE EMT" else potential(name)
