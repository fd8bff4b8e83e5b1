"""Parameters per element, and how two elements mix. Host side."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kups_relax.data import Structure
from kups_relax.data._symbols import SYMBOLS
from kups_relax.errors import OptionError, PotentialError

Parameter = float | tuple[tuple[str, float], ...]


def freeze(name: str, value: Any) -> Parameter:
    """Make a parameter hashable: a number for all elements, or sorted (symbol, number) pairs.

    Raises:
        OptionError: A symbol does not exist, or a number is not positive and finite.
    """
    if isinstance(value, tuple):
        items = {symbol: number for symbol, number in value}
    else:
        items = {**value} if isinstance(value, Mapping) else {"": value}
    for symbol, number in items.items():
        if symbol and symbol not in SYMBOLS:
            raise OptionError(f"{name} is given for {symbol!r}, which is no chemical symbol.")
        if not (isinstance(number, int | float | np.number) and 0 < number < np.inf):
            raise OptionError(f"{name} is {number!r}; it must be a positive, finite number.")
    if "" in items:
        return float(items[""])
    return tuple(sorted((symbol, float(number)) for symbol, number in items.items()))


def per_atom(potential: str, name: str, value: Parameter, structure: Structure) -> np.ndarray:
    """(n_atoms,) the parameter of each atom.

    Raises:
        PotentialError: An element of the structure has none.
    """
    if isinstance(value, float):
        return np.full(structure.n_atoms, value)
    known = dict(value if isinstance(value, tuple) else ())
    symbols = [SYMBOLS[z] for z in structure.numbers]
    missing = sorted(set(symbols) - set(known))
    if missing:
        raise PotentialError(
            f"{structure.id!r}: {potential} has no {name} for {', '.join(missing)}; it has "
            f"{', '.join(known)}. Add the element, e.g. {name}={{{missing[0]!r}: ...}}."
        )
    return np.array([known[s] for s in symbols])


def refuse_periodic(potential: str, structure: Structure) -> None:
    """Raise for periodic structures.

    Raises:
        PotentialError: Some axis is periodic.
    """
    if structure.pbc.any():
        raise PotentialError(
            f"{structure.id!r}: pbc is {structure.pbc.tolist()}, and {potential} sums all pairs of "
            "a non-periodic structure. Set pbc=False if it is a molecule or a cluster."
        )
