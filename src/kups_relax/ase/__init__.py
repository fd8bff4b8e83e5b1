"""At home in ASE: our potentials as calculators, our optimizers for any calculator."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kups_relax.ase._calculator import JaxCalculator as JaxCalculator
    from kups_relax.ase._optimizer import LBFGS as LBFGS
    from kups_relax.ase._optimizer import Optimizer as Optimizer
    from kups_relax.ase._optimizer import RestartFileError as RestartFileError

# Loaded when first used: importing this package does not import ASE.
_HOMES = {
    "JaxCalculator": "_calculator",
    "LBFGS": "_optimizer",
    "Optimizer": "_optimizer",
    "RestartFileError": "_optimizer",
}

__all__ = [*_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
