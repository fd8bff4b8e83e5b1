"""At home in ASE: our potentials as calculators, our optimizers for any calculator."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kups_relax.ase._calculator import JaxCalculator as JaxCalculator
    from kups_relax.ase._classes import BFGS as BFGS
    from kups_relax.ase._classes import FIRE as FIRE
    from kups_relax.ase._classes import FIRE2 as FIRE2
    from kups_relax.ase._classes import ConjugateGradient as ConjugateGradient
    from kups_relax.ase._classes import GradientDescent as GradientDescent
    from kups_relax.ase._classes import LBFGSLineSearch as LBFGSLineSearch
    from kups_relax.ase._classes import Preconditioned as Preconditioned
    from kups_relax.ase._lbfgs import LBFGS as LBFGS
    from kups_relax.ase._optimizer import Optimizer as Optimizer
    from kups_relax.ase._optimizer import RestartFileError as RestartFileError

# Loaded when first used: importing this package does not import ASE.
_HOMES = {
    "BFGS": "_classes",
    "FIRE": "_classes",
    "FIRE2": "_classes",
    "ConjugateGradient": "_classes",
    "GradientDescent": "_classes",
    "JaxCalculator": "_calculator",
    "LBFGS": "_lbfgs",
    "LBFGSLineSearch": "_classes",
    "Optimizer": "_optimizer",
    "Preconditioned": "_classes",
    "RestartFileError": "_optimizer",
}

_FEWEST = "Preconditioned needs the fewest evaluations of all"
_LINES = "LBFGSLineSearch looks for steps that fulfil the same conditions"
_GUESS = "Preconditioned guesses the Hessian, from bonds too"
_FORCES = "nothing here does without forces; LBFGS needs fewer evaluations"
# Optimizers that ASE's users know and that are not here: what to use.
_INSTEAD = {
    "BFGSClimbFixInternals": "Optimizer and all others here only go down, to minima",
    "BFGSLineSearch": _LINES,
    "CellAwareBFGS": "Preconditioned knows how stiff cells are: pass it FrechetCellFilter(atoms)",
    "GPMin": _FEWEST,
    "GoodOldQuasiNewton": _FEWEST,
    "MDMin": "FIRE is damped dynamics as well, in fewer steps",
    "ODE12r": _FEWEST,
    "PreconFIRE": _GUESS,
    "PreconLBFGS": _GUESS,
    "PreconODE12r": _GUESS,
    "QuasiNewton": _LINES,
    "RFO": _FEWEST,
    "SciPyFmin": _FORCES,
    "SciPyFminBFGS": _LINES,
    "SciPyFminCG": "ConjugateGradient, with one evaluation a step",
    "SciPyFminPowell": _FORCES,
}

__all__ = [*_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _INSTEAD:
        # `from kups_relax.ase import ...` drops the message of an AttributeError.
        raise ImportError(
            f"{__name__} has no {name}: {_INSTEAD[name]}. ase.optimize's own works with "
            "kups_relax.ase.JaxCalculator."
        )
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
