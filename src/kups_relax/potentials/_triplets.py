"""Parameters for triplets of elements, as LAMMPS's files have them: checked, read, looked up."""

import dataclasses
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kups_relax._checks import FileName, Number
from kups_relax.data import Structure
from kups_relax.data._symbols import SYMBOLS
from kups_relax.errors import OptionError, described, shown
from kups_relax.potentials._species import refuse_elements, symbols_of

Triplet = tuple[str, str, str]
Frozen = tuple[tuple[Triplet, Any], ...]


def freeze_triplets(potential: str, record: type[Any], parameters: Any) -> Frozen:
    """Make parameters of triplets hashable, in the order of their elements.

    Args:
        potential: Its name, for messages.
        record: Names what each triplet has.
        parameters: For each triplet (i, j, k) of chemical symbols, i at the centre: numbers by
            name, in order, or as a dataclass with these fields (such as ASE's).

    Raises:
        OptionError: A symbol does not exist, a triplet is missing, or numbers are.
    """
    items: dict[Any, Any] = {}
    if isinstance(parameters, Mapping | list | tuple):
        try:
            items = dict(parameters)
        except Exception:  # no pairs, or keys that cannot be hashed
            items = {}
    if not items:
        raise OptionError(
            f"{potential}: parameters are {shown(parameters)}; expected a dictionary of triplets "
            "of chemical symbols, e.g. {('Si', 'Si', 'Si'): ...}."
        )
    frozen = {}
    for triplet, values in items.items():
        if not isinstance(triplet, tuple) or len(triplet) != 3:
            raise OptionError(
                f"{potential}: parameters are given for {shown(triplet)}; expected three chemical "
                "symbols, the first of the atom at the centre."
            )
        for symbol in triplet:
            if not isinstance(symbol, str) or symbol not in SYMBOLS[1:]:
                raise OptionError(
                    f"{potential}: {shown(symbol)} in {shown(triplet)} is no chemical symbol."
                )
        frozen[triplet] = record(*_numbers(potential, record._fields, triplet, values))
    elements = sorted({symbol for triplet in frozen for symbol in triplet})
    for triplet in itertools.product(elements, repeat=3):
        if triplet not in frozen:
            raise OptionError(
                f"{potential}: there are no parameters for {triplet!r}; give them for all "
                f"{len(elements) ** 3} triplets of {', '.join(elements)}."
            )
    return tuple(sorted(frozen.items()))


def _numbers(potential: str, names: Sequence[str], triplet: Triplet, values: Any) -> list[float]:
    if dataclasses.is_dataclass(values):
        values = vars(values)
    if isinstance(values, Mapping):
        missing = [name for name in names if name not in values]
        unknown = [name for name in values if name not in names]
        if missing or unknown:
            what = f"lack {missing[0]!r}" if missing else f"have {unknown[0]!r}"
            raise OptionError(
                f"{potential}: the parameters of {triplet!r} {what}; expected {', '.join(names)}."
            )
        values = [values[name] for name in names]
    try:
        numbers = [Number()(potential, value) for value in values]
    except Exception:  # no numbers, or a class of the user's own
        numbers = []
    if len(numbers) != len(names) or not np.isfinite(numbers).all():
        raise OptionError(
            f"{potential}: the parameters of {triplet!r} are {shown(values)}; expected "
            f"{len(names)} finite numbers: {', '.join(names)}."
        )
    return numbers


def read_lammps(potential: str, record: type[Any], path: Any) -> dict[Triplet, Any]:
    """Read a parameter file: three elements and the numbers of `record`, again and again.

    Raises:
        OptionError: The file cannot be read, or is of another form.
    """
    path = FileName()(f"{potential}: path", path)
    try:
        with open(path, encoding="utf-8") as file:
            words = [word for line in file for word in line.partition("#")[0].split()]
    except (OSError, ValueError, TypeError) as error:
        raise OptionError(
            f"{potential}: {shown(path)} cannot be read: {described(error)}"
        ) from error
    size = 3 + len(record._fields)
    found: dict[Triplet, Any] = {}
    for start in range(0, len(words), size):
        entry = words[start : start + size]
        try:
            triplet = (entry[0], entry[1], entry[2])
            found[triplet] = record(*map(float, entry[3:]))
        except (IndexError, TypeError, ValueError):
            raise OptionError(
                f"{potential}: {os.fspath(path)!r}: entry {start // size} is "
                f"{' '.join(entry)!r}; expected three elements and {len(record._fields)} numbers: "
                f"{', '.join(record._fields)}."
            ) from None
    return found


def elements_of(parameters: Frozen) -> tuple[str, ...]:
    """The elements that there are parameters for, sorted."""
    return tuple(sorted({triplet[0] for triplet, _ in parameters}))


def tables(parameters: Frozen, record: type[Any]) -> dict[str, np.ndarray]:
    """Lay parameters out by element: (n, n, n) each, by their names."""
    n = len(elements_of(parameters))
    values = np.array([values for _, values in parameters]).reshape(n, n, n, -1)
    return {name: values[..., k] for k, name in enumerate(record._fields)}


def of_pairs(table: np.ndarray) -> np.ndarray:
    """(n, n) of (n, n, n): that of (i, j, j), which holds for the pair i-j."""
    return np.einsum("ijj->ij", table)


def restricted(parameters: Frozen, structure: Structure, potential: str) -> Frozen:
    """Leave out what a structure does not need.

    Raises:
        PotentialError: An element of the structure has no parameters.
    """
    known = elements_of(parameters)
    advice = (
        f"Give them for all triplets of the elements: {potential}({{('ELEMENT', 'ELEMENT', "
        f"'ELEMENT'): ..., ...}}), or {potential}.from_lammps(path)."
    )
    refuse_elements(f"{potential} has no parameters", structure, known, advice)
    present = set(symbols_of(structure))
    return tuple(item for item in parameters if present.issuperset(item[0]))


def species_of(parameters: Frozen, structure: Structure) -> np.ndarray:
    """(n_atoms,) int32: where each atom's element is among those of the parameters."""
    place = {symbol: k for k, symbol in enumerate(elements_of(parameters))}
    return np.array([place[symbol] for symbol in symbols_of(structure)], np.int32)


def pick(table: np.ndarray, *species: jax.Array) -> jax.Array | float:
    """Look numbers up by species, along those axes of the table on which they depend.

    Args:
        table: As many axes as there are species, of one length.
        species: Arrays of int that broadcast against each other.

    Returns:
        A number where all are equal, so that programs for one element look nothing up.
    """
    chosen = list(species)
    for axis in reversed(range(table.ndim)):
        if (table == table.take([0], axis)).all():
            table = table.take(0, axis)
            del chosen[axis]
    if not chosen:
        return float(table)

    def choose(table: np.ndarray, species: list[jax.Array]) -> jax.Array | float:
        if not species:
            return float(table)
        parts = [choose(part, species[1:]) for part in table]
        value = parts[0]
        for k, part in enumerate(parts[1:], 1):
            value = jnp.where(species[0] == k, part, value)
        return value

    return choose(table, chosen)
