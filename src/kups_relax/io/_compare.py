"""Compare values that were written with those that were read back."""

import math
from typing import Any

import numpy as np


def same(one: Any, other: Any) -> bool:
    """Compare what was written with what a reader made of it.

    Files have fewer types than Python: a list may come back as a tuple or an array, a NumPy number
    as Python's, an integer key of a dict as text. Values must be equal to the bit, so must the
    lengths of all that is nested, and truth values stay truth values.
    """
    try:
        if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
            return one.shape == other.shape and _same(one, other)
        return _same(one, other)
    except Exception:  # values of the user's own compare as they please; or hold themselves
        return False


def _same(one: Any, other: Any) -> bool:
    if hasattr(one, "todict"):
        return type(one) is type(other) and _same(one.todict(), other.todict())
    arrays = type(one) is type(other) is np.ndarray and one.dtype == other.dtype
    if arrays and one.dtype.kind in "biuf":
        return one.shape == other.shape and same_bits(one, other)
    one, other = _plain(one), _plain(other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        texts = {str(key): value for key, value in other.items()}
        return len(one) == len(texts) and all(_same(v, texts[str(k)]) for k, v in one.items())
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, float) and isinstance(other, float):
        if math.isnan(one) or math.isnan(other):
            return math.isnan(one) and math.isnan(other)
        return one == other and math.copysign(1.0, one) == math.copysign(1.0, other)
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other
    return type(one) is type(other) and bool(one == other)


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    """Compare numbers: NaN is equal to itself, whichever it is; -0 is not 0."""
    if one.dtype.kind != "f":
        return np.array_equal(one, other)
    return np.array_equal(one, other, equal_nan=True) and np.array_equal(
        np.signbit(one) & ~np.isnan(one), np.signbit(other) & ~np.isnan(other)
    )


def _plain(value: Any) -> Any:
    if type(value) is np.ma.MaskedArray:
        raise TypeError("a masked array has values that are none")
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.floating):
        return float(value) if float(value) == value or value != value else value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, str):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
