"""Python values as JSON, and back with the types and bits that they had.

ASE's own encoding makes arrays of lists and integers of keys; what was read must be what was given.
"""

import base64
from typing import Any

import numpy as np

# Integers beyond are written to the base of 16.
_LARGE = 10**18


def encoded(value: Any) -> Any:
    """Say a value in what JSON knows.

    None, truth values, numbers, text and lists are themselves; all else is an object with one key,
    the kind of the value. Subclasses of list, tuple and dict become these.

    Raises:
        TypeError: It holds something that cannot be said.
    """
    if isinstance(value, np.generic | np.ndarray) and value.dtype.hasobject:
        if isinstance(value, np.ndarray) and value.dtype == object:
            return {"objects": [list(value.shape), [encoded(v) for v in value.ravel().tolist()]]}
        raise TypeError(f"cannot store a NumPy {value.dtype}")
    if isinstance(value, np.generic | np.ndarray) and value.dtype.names is None:
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        return {kind: [value.dtype.str, list(value.shape), _base64(value.tobytes())]}
    if type(value) is int and abs(value) >= _LARGE:
        # Python refuses to write, and to read, thousands of decimal digits.
        return {"int": hex(value)}
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, list):
        return [encoded(v) for v in value]
    if isinstance(value, tuple):
        return {"tuple": [encoded(v) for v in value]}
    if isinstance(value, dict):
        return {"dict": [[encoded(k), encoded(v)] for k, v in value.items()]}
    if isinstance(value, bytes):
        return {"bytes": _base64(value)}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    return _of_ase(value)


def decoded(value: Any) -> Any:
    """Undo `encoded`."""
    if isinstance(value, list):
        return [decoded(v) for v in value]
    if not isinstance(value, dict):
        return value
    [(kind, content)] = value.items()
    if kind in ("array", "scalar"):
        dtype, shape, text = content
        array = np.frombuffer(base64.b64decode(text), dtype).reshape(shape).copy()
        return array if kind == "array" else array[()]
    if kind == "objects":
        shape, items = content
        array = np.empty(len(items), object)
        array[:] = [decoded(v) for v in items]
        return array.reshape(shape)
    if kind == "int":
        return int(content, 16)
    if kind == "tuple":
        return tuple(decoded(v) for v in content)
    if kind == "dict":
        return {decoded(k): decoded(v) for k, v in content}
    if kind == "bytes":
        return base64.b64decode(content)
    if kind == "complex":
        return complex(*content)
    return _to_ase(kind, content)


def _of_ase(value: Any) -> Any:
    """Objects that crystals read from files carry, and those that ASE itself can write down."""
    from ase.io.jsonio import encode
    from ase.spacegroup import Spacegroup

    if isinstance(value, Spacegroup):
        return {"spacegroup": [value.no, value.setting]}
    if hasattr(value, "ase_objtype"):
        return {"ase": encode(value)}
    raise TypeError(f"cannot store a {type(value).__name__}")


def _to_ase(kind: str, content: Any) -> Any:
    from ase.io.jsonio import decode
    from ase.spacegroup import Spacegroup

    return Spacegroup(*content) if kind == "spacegroup" else decode(content)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
