"""Check what a potential needs of a structure: elements, their parameters, axes, charge."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from kups_relax._checks import POSITIVE
from kups_relax.data import Structure
from kups_relax.data._symbols import SYMBOLS
from kups_relax.errors import OptionError, PotentialError, StructureError, shown

Parameter = float | tuple[tuple[str, float], ...]


def freeze(name: str, value: Any) -> Parameter:
    """Make a parameter hashable: a number for all elements, or sorted (symbol, number) pairs.

    Raises:
        OptionError: A symbol does not exist, or a number is not positive and finite.
    """
    if not isinstance(value, tuple | Mapping):
        return POSITIVE(name, value)
    items = [*value.items()] if isinstance(value, Mapping) else value
    if not items or not all(isinstance(item, tuple) and len(item) == 2 for item in items):
        raise OptionError(
            f"{name} is {shown(value)}; expected a number, or one for each chemical symbol, such "
            f"as {name}={{'Ar': ..., 'Ne': ...}}."
        )
    for symbol, _ in items:
        if not isinstance(symbol, str) or symbol not in SYMBOLS:
            raise OptionError(f"{name} is given for {shown(symbol)}, which is no chemical symbol.")
    return tuple(sorted((symbol, POSITIVE(name, number)) for symbol, number in items))


def parameters_of(
    potential: str, options: Any, names: Sequence[str], structure: Structure
) -> np.ndarray:
    """Look up the parameters of each atom.

    Args:
        potential: Its name, for messages.
        options: Has an attribute for each name: what `freeze` made.
        names: Of the parameters.
        structure: Any.

    Returns:
        (n_names, n_atoms) float64.

    Raises:
        PotentialError: An element of the structure has none.
    """
    return np.stack([_per_atom(potential, n, getattr(options, n), structure) for n in names])


def _per_atom(potential: str, name: str, value: Parameter, structure: Structure) -> np.ndarray:
    if isinstance(value, float):
        return np.full(structure.n_atoms, value)
    known = dict(value if isinstance(value, tuple) else ())
    symbols = symbols_of(structure)
    advice = f"Add the element, e.g. {name}={{'ELEMENT': ...}}."
    refuse_elements(f"{potential} has no {name}", structure, known, advice)
    return np.array([known[s] for s in symbols])


def symbols_of(structure: Structure) -> list[str]:
    """Return the chemical symbol of each atom; "X" stands for no element.

    Raises:
        StructureError: There are no atoms.
        PotentialError: An atomic number is of no element.
    """
    numbers = np.asarray(structure.numbers)
    if not len(numbers):
        raise StructureError(f"{structure.id!r} has no atoms. Leave it out of the input.")
    foreign = np.flatnonzero((numbers < 0) | (numbers >= len(SYMBOLS)))
    if len(foreign):
        raise PotentialError(
            f"{structure.id!r}: the atomic number of atom {foreign[0]} is {numbers[foreign[0]]}, "
            f"which is no element; expected 1 to {len(SYMBOLS) - 1}. Correct the structure."
        )
    return [SYMBOLS[z] for z in numbers.tolist()]


def refuse_elements(what: str, structure: Structure, known: Collection[str], advice: str) -> None:
    """Raise for elements that a potential does not know.

    Args:
        what: Begins the sentence: "EMT has no parameters".
        structure: Any.
        known: Chemical symbols.
        advice: Ends it; ELEMENT stands for the first one that is missing.

    Raises:
        PotentialError: An atom is of another element.
    """
    missing = sorted(set(symbols_of(structure)) - set(known))
    if missing:
        raise PotentialError(
            f"{structure.id!r}: {what} for {', '.join(missing)}; it has "
            f"{', '.join(known)}. {advice.replace('ELEMENT', missing[0])}"
        )


def charge_of(potential: str, structure: Structure) -> int:
    """Return the total charge of a structure in e, 0 where it does not say.

    Raises:
        PotentialError: It is no whole number, or none that atoms can have.
    """
    charge = structure.charge
    if charge is None:
        return 0
    whole = isinstance(charge, int | float | np.number) and float(charge).is_integer()
    if not whole or abs(charge) > 100 * max(structure.n_atoms, 1):
        raise PotentialError(
            f"{structure.id!r}: its charge is {shown(charge)}; {potential} needs a whole number "
            "of elementary charges. Correct it."
        )
    return int(charge)


def refuse_periodic(potential: str, structure: Structure) -> None:
    """Raise for periodic structures.

    Raises:
        PotentialError: Some axis is periodic.
    """
    if structure.pbc.any():
        raise PotentialError(
            f"{structure.id!r}: pbc is {structure.pbc.tolist()}, and {potential} describes "
            "molecules and clusters alone. Set pbc=False if it is one, or use another potential."
        )
