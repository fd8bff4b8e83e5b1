"""Other optimizers, each on one structure, with every call of the calculator counted.

Run as a script it reads a job and writes what came of it (`peers.py` starts it), so that packages
that cannot be installed beside ours run in an interpreter of their own. It needs only ASE and the
package that it is asked for.
"""

import importlib
import importlib.metadata
import json
import logging
import multiprocessing
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.filters import FrechetCellFilter
from ase.io.jsonio import decode


class Below(BaseException):
    """The threshold was met; no optimizer may catch it."""


class Spent(BaseException):
    """As many evaluations were made as may be."""


class Counted:
    """Count a calculator's evaluations, and end the run at the first below the threshold.

    Every optimizer is judged by the same forces, those of ASE's `FrechetCellFilter` where the cell
    moves, and stopped by the same hand, so no rule of its own makes it stop early or late.
    """

    def __init__(self, calculator: Any, atoms: Atoms, fmax: float, limit: int, cell: bool) -> None:
        self.n, self.energy, self.longest = 0, float("nan"), float("nan")
        self._fmax, self._limit = fmax, limit
        self._probe = atoms.copy()
        self._judged: Any = FrechetCellFilter(self._probe) if cell else self._probe
        self._calculator, self._calculate = calculator, calculator.calculate
        calculator.reset()
        calculator.calculate = self._counting

    def _counting(self, atoms: Any = None, *args: Any, **kwargs: Any) -> None:
        if self.n >= self._limit:
            raise Spent
        self.n += 1
        self._calculate(atoms, *args, **kwargs)
        results = self._calculator.results
        self._probe.set_cell(atoms.cell)
        self._probe.set_positions(atoms.positions, apply_constraint=False)
        kept = {k: results[k] for k in ("energy", "forces", "stress") if k in results}
        self._probe.calc = SinglePointCalculator(self._probe, **kept)
        self.energy = float(results["energy"])
        self.longest = float(np.linalg.norm(self._judged.get_forces(), axis=1).max())
        if self.longest < self._fmax:
            raise Below

    def restore(self) -> None:
        """Give the calculator its own method back."""
        del self._calculator.calculate


def _ase(name: str) -> Callable[[Atoms, bool], None]:
    def run(atoms: Atoms, cell: bool) -> None:
        maker: Any = getattr(importlib.import_module("ase.optimize"), name)
        # CellAwareBFGS insists on a factor of 1.
        factor: dict[str, Any] = {"exp_cell_factor": 1.0} if name == "CellAwareBFGS" else {}
        moving: Any = FrechetCellFilter(atoms, **factor) if cell else atoms
        rules = {"smax": 0.0} if name == "CellAwareBFGS" else {}
        maker(moving, logfile=None).run(fmax=0.0, steps=10**6, **rules)

    return run


def _sella(atoms: Atoms, cell: bool) -> None:
    from sella import Sella  # pyright: ignore

    assert not cell
    Sella(atoms, order=0, internal=True, logfile=None).run(fmax=0.0, steps=10**6)


def _geometric(atoms: Atoms, cell: bool) -> None:
    from geometric.ase_engine import EngineASE  # pyright: ignore
    from geometric.internal import DelocalizedInternalCoordinates  # pyright: ignore
    from geometric.molecule import Molecule  # pyright: ignore
    from geometric.nifty import ang2bohr  # pyright: ignore
    from geometric.optimize import Optimize, OptParams  # pyright: ignore

    assert not cell
    logging.disable(logging.CRITICAL)
    molecule = Molecule()
    molecule.elem = atoms.get_chemical_symbols()
    molecule.xyzs = [atoms.positions.copy()]
    molecule.build_topology()
    engine = EngineASE(molecule, atoms.calc)
    engine.ase_atoms = atoms  # with its magnetic moments
    # TRIC. Its rules for gradients are out of reach, and so it never stops by itself; all else
    # is its default.
    coordinates = DelocalizedInternalCoordinates(molecule, build=True, connect=False, addcart=False)
    rules = OptParams(convergence_gmax=0.0, convergence_grms=0.0, maxiter=10**6)
    start = molecule.xyzs[0].ravel() * ang2bohr
    with tempfile.TemporaryDirectory() as folder:
        Optimize(start, molecule, coordinates, engine, folder, rules, print_info=False)


ENGINES: dict[str, Callable[[Atoms, bool], None]] = {
    "ASE LBFGS": _ase("LBFGS"),
    "ASE BFGS": _ase("BFGS"),
    "ASE GoodOldQuasiNewton": _ase("GoodOldQuasiNewton"),
    "ASE CellAwareBFGS": _ase("CellAwareBFGS"),
    "Sella (internal)": _sella,
    "geomeTRIC": _geometric,
}


def gfn2() -> Any:
    """Make GFN2-xTB; charge and unpaired electrons are the structure's."""
    # Before the library loads: processes share the cores as it is.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from tblite.ase import TBLite

    return TBLite(method="GFN2-xTB", verbosity=0)


def calculator(name: str) -> Any:
    """Make the calculator of a set: GFN2-xTB, ASE's EMT, or a potential of ours."""
    if name == "GFN2-xTB":
        return gfn2()
    if name == "ASE EMT":
        from ase.calculators.emt import EMT

        return EMT()
    from benchmarks.evaluations import sets
    from kups_relax.ase import JaxCalculator

    return JaxCalculator(sets.potential(name))


def run(engine: str, atoms: Atoms, calc: Any, rules: dict[str, Any]) -> dict[str, Any]:
    """Relax a copy; what it took, where it ended, and how it failed, if it did."""
    atoms = atoms.copy()
    atoms.calc = calc
    counted = Counted(calc, atoms, rules["fmax"], rules["limit"], rules["cell"])
    failure = "stopped by itself above the threshold"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of trial geometries
            ENGINES[engine](atoms, rules["cell"])
    except Below:
        failure = ""
    except Spent:
        failure = f"not converged within {rules['limit']} evaluations"
    except ModuleNotFoundError:
        raise  # of the installation, not of the structure
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"[:200]
    finally:
        counted.restore()
    return {
        "evaluations": counted.n,
        "energy": counted.energy,
        "fmax": counted.longest,
        "failure": failure,
    }


_calculators: dict[str, Any] = {}


def _one(job: tuple[str, str, str, dict[str, Any]]) -> dict[str, Any]:
    engine, name, text, rules = job
    if name not in _calculators:
        _calculators[name] = calculator(name)
    return run(engine, decode(text), _calculators[name], rules)


def main(asked: str, answer: str) -> None:
    """Read a job from one file, write to another: a row of every engine for every structure."""
    with open(asked) as file:
        job = json.load(file)
    structures = list(zip(job["calculators"], job["structures"], strict=True))
    jobs = [
        (engine, name, text, job["rules"]) for engine in job["engines"] for name, text in structures
    ]
    with multiprocessing.get_context("spawn").Pool(job["processes"]) as pool:
        done = pool.map(_one, jobs, chunksize=1)
    rows = {
        engine: done[k * len(structures) : (k + 1) * len(structures)]
        for k, engine in enumerate(job["engines"])
    }
    installed = {x.name.lower(): x.version for x in importlib.metadata.distributions()}
    versions = {k: installed[k] for k in ("ase", "sella", "geometric", "tblite") if k in installed}
    with open(answer, "w") as file:
        json.dump({"rows": rows, "versions": versions}, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
