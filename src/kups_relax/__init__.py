"""Relax many molecules and crystals at once, each to the last bit as it would relax alone.

>>> import ase, kups_relax as kr
>>> pair = ase.Atoms("Ar2", [[0, 0, 0], [0, 0, 3.6]])
>>> kr.relax(pair, kr.potentials.LennardJones(0.0104, 3.4), fmax=0.01)
Result(1 structure: 1 converged)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kups_relax import ase as ase
    from kups_relax import coordinates as coordinates
    from kups_relax import errors as errors
    from kups_relax import io as io
    from kups_relax import ops as ops
    from kups_relax import optimizers as optimizers
    from kups_relax import potentials as potentials
    from kups_relax import store as store
    from kups_relax import testing as testing
    from kups_relax._memory import Result as Result
    from kups_relax._relax import relax as relax
    from kups_relax._verify import Report as Report
    from kups_relax._verify import verify as verify
    from kups_relax.coordinates import FrechetCell as FrechetCell
    from kups_relax.coordinates import UnitCell as UnitCell
    from kups_relax.coordinates import gpa as gpa
    from kups_relax.data import Index as Index
    from kups_relax.data import Structure as Structure
    from kups_relax.data import Table as Table
    from kups_relax.store import Store as Store
    from kups_relax.store import open as open

__version__ = "0.1.0.dev0"

# Loaded when first used, so that importing the package costs nothing and starts nothing.
_HOMES = {
    "ase": None,
    "coordinates": None,
    "errors": None,
    "io": None,
    "ops": None,
    "optimizers": None,
    "potentials": None,
    "store": None,
    "testing": None,
    "relax": "_relax",
    "Result": "_memory",
    "FrechetCell": "coordinates",
    "UnitCell": "coordinates",
    "gpa": "coordinates",
    "Index": "data",
    "Structure": "data",
    "Table": "data",
    "Store": "store",
    "open": "store",
    "Report": "_verify",
    "verify": "_verify",
}

__all__ = ["__version__", *_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    module = importlib.import_module(f"{__name__}.{home or name}")
    value = module if home is None else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
