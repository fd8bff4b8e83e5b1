"""Resolve `results[item]` to positions of structures."""

import difflib
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kups_relax.errors import OptionError, UnknownStructureError

# Ids that are compared with one that does not exist; comparing takes 10 us each.
_MOST_COMPARED = 20_000
_EXPECTED = (
    "expected a position, an id, a slice, a list of positions or ids, or a boolean for each "
    "structure"
)


def places_of(item: Any, ids: Sequence[str], by_id: Mapping[str, int]) -> int | np.ndarray:
    """Return the position that an item means, or the positions.

    Args:
        item: An integer, an id, a slice, a sequence of integers or of ids, or a boolean mask.
        ids: Of all structures.
        by_id: Position of each id.

    Returns:
        One position from 0 to n - 1, or an int64 array of such.

    Raises:
        UnknownStructureError: There is no such structure.
        OptionError: The item is of another kind, or a mask of another length.
    """
    n = len(ids)
    if isinstance(item, str):
        return _by_id(item, ids, by_id)
    if isinstance(item, slice):
        try:
            return np.arange(n)[item]
        except (TypeError, ValueError):
            raise OptionError(f"{item}: expected integers, and a step other than 0.") from None
    if (place := _integer(item)) is not None:
        return _checked(place, n)
    return _several(item, ids, by_id)


def _several(item: Any, ids: Sequence[str], by_id: Mapping[str, int]) -> np.ndarray:
    try:
        array = np.asarray(item)
    except ValueError:
        raise OptionError(f"got a {type(item).__name__} of uneven rows; {_EXPECTED}.") from None
    if array.ndim != 1 or (array.dtype.kind not in "biuUO" and array.size):
        shape = f" of shape {array.shape} and dtype {array.dtype}" if array.ndim else f" {item!r}"
        raise OptionError(f"got a {type(item).__name__}{shape}; {_EXPECTED}.")
    if array.dtype == bool:
        if len(array) != len(ids):
            raise OptionError(
                f"the mask has {len(array)} entries; expected {len(ids)}, one for each structure."
            )
        return array.nonzero()[0]
    # Python's own objects: NumPy would make text of `["a", 1]`.
    members = array.tolist() if hasattr(item, "dtype") else list(item)
    places = []
    for one in members:
        place = _by_id(one, ids, by_id) if isinstance(one, str) else _integer(one)
        if place is None:
            raise OptionError(f"got {one!r} in a {type(item).__name__}; {_EXPECTED}.")
        places.append(_checked(place, len(ids)))
    return np.array(places, np.int64)


def _integer(item: Any) -> int | None:
    if isinstance(item, bool | np.bool_):
        return None
    try:
        return operator.index(item)
    except TypeError:
        return None


def _checked(place: int, n: int) -> int:
    if not -n <= place < n:
        there = f"positions are 0 to {n - 1}" if n else "there are none at all"
        raise UnknownStructureError(f"there is no structure {place}; {there}.")
    return place % n


def _by_id(name: str, ids: Sequence[str], by_id: Mapping[str, int]) -> int:
    if (place := by_id.get(name)) is not None:
        return place
    near = difflib.get_close_matches(name, ids[:_MOST_COMPARED], n=3, cutoff=0.5)
    if near:
        hint = f"Near: {', '.join(map(repr, near))}."
    elif ids:
        more = ", ..." if len(ids) > 3 else ""
        hint = f"Ids are {', '.join(map(repr, ids[:3]))}{more}"
    else:
        hint = "There is none at all."
    raise UnknownStructureError(f"there is no structure {name!r}. {hint}")
