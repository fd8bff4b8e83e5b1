"""Copies of an ASE calculator that a user made, one for each structure."""

import functools
import pickle
from typing import Any

from kups_relax._loaded import serialize
from kups_relax.errors import OptionError, described, shown

_METHODS = ("get_potential_energy", "get_forces")


def is_calculator(value: Any) -> bool:
    """Return whether a value is an ASE calculator, or a class of them."""
    return all(callable(getattr(value, name, None)) for name in _METHODS)


class Copies:
    """A factory that copies a calculator, as it was when this was made, without its results.

    The copies are what pickle makes of it, here and in worker processes alike, so results do not
    depend on the workers. One that has been used may hold what cannot be pickled; then it is made
    again of its class and its parameters, if that gives the same parameters.

    Args:
        calculator: An ASE calculator.

    Raises:
        OptionError: It can be copied in neither way.
    """

    def __init__(self, calculator: Any) -> None:
        cls = type(calculator)
        self.__name__ = cls.__name__
        self.__module__ = cls.__module__
        parameters = getattr(calculator, "parameters", None)
        listed = [f"{k}={shown(v, 40)}" for k, v in dict(parameters or {}).items()]
        self.__qualname__ = f"{cls.__qualname__}({', '.join(listed[:20])})"
        try:
            self._data = _pickled(calculator)
        except Exception as error:
            self._data = _rebuilt(calculator, error)

    def __call__(self) -> Any:
        """Return a copy."""
        return pickle.loads(self._data)

    def __reduce__(self) -> Any:
        # Worker processes do not import this package.
        return functools.partial, (pickle.loads, self._data)


def _pickled(calculator: Any) -> bytes:
    copy = pickle.loads(serialize(calculator))
    if callable(getattr(copy, "reset", None)):
        copy.reset()
    return serialize(copy)


def _rebuilt(calculator: Any, error: Exception) -> bytes:
    cls, parameters = type(calculator), dict(getattr(calculator, "parameters", None) or {})
    try:
        fresh = cls(**parameters)
        if not parameters or shown(dict(fresh.parameters), 10_000) != shown(parameters, 10_000):
            raise ValueError("its parameters are not all that it is made of")
        return _pickled(fresh)
    except Exception as second:
        raise OptionError(
            f"the calculator {shown(calculator)} cannot be copied ({described(error, 150)}; "
            f"{cls.__name__}(**parameters): {described(second, 150)}), and each structure "
            "needs one of its own. Give a function that makes it, "
            f"AseCalculator(lambda: {cls.__name__}(...))."
        ) from error
