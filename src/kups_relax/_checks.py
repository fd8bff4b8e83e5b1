"""Kinds of values that options have: numbers, flags, choices, files. One wording for all."""

import dataclasses
import math
import numbers
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kups_relax.errors import OptionError, shown

# Whole numbers beyond fit no counter of the engine.
_MOST_WHOLE = 2**31 - 1

# Bytes of a name, to which the store beside a file and temporary files add some; systems take 255.
_LONGEST = 255


@dataclasses.dataclass(frozen=True, kw_only=True)
class Number:
    """A finite number: of Python, a scalar of NumPy or JAX, or a fraction.

    Attributes:
        above: It must be greater.
        least: It must not be less.
        below: It must be less.
        none: True if None is allowed.
        otherwise: Ends the message: a unit, what else is allowed, why.
    """

    above: float | None = None
    least: float | None = None
    below: float | None = None
    none: bool = False
    otherwise: str = ""

    def __call__(self, name: str, value: Any) -> Any:
        """Return the value as Python's float, or None.

        Raises:
            OptionError: It is no such number.
        """
        if value is None and self.none:
            return None
        number = _float(value)
        if (
            number is None
            or (self.above is not None and not number > self.above)
            or (self.least is not None and not number >= self.least)
            or (self.below is not None and not number < self.below)
        ):
            raise OptionError(f"{name} is {shown(value)}; it must be {self._range()}.")
        return number

    def _range(self) -> str:
        least = "" if self.least is None else f"at least {self.least:g}"
        if self.above is not None and self.below is not None:
            text = f"a number between {self.above:g} and {self.below:g}"
        elif self.below is not None:
            text = f"a number, {least}{' and ' if least else ''}below {self.below:g}"
        elif self.above is not None:
            text = f"a number greater than {self.above:g}"
        else:
            text = f"a finite number{', ' if least else ''}{least}"
        return f"{text}{', or None' if self.none else ''}{self.otherwise}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Whole:
    """A whole number: of Python, or a scalar of NumPy or JAX.

    Attributes:
        least: It must not be less.
        most: It must not be greater.
        none: True if None is allowed.
    """

    least: int = 0
    most: int = _MOST_WHOLE
    none: bool = False

    def __call__(self, name: str, value: Any) -> Any:
        """Return the value as Python's int, or None.

        Raises:
            OptionError: It is no such number.
        """
        if value is None and self.none:
            return None
        scalar = _scalar(value)
        if isinstance(scalar, numbers.Integral) and not isinstance(scalar, bool):
            number = int(scalar)
            if self.least <= number <= self.most:
                return number
        raise OptionError(
            f"{name} is {shown(value)}; it must be a whole number, at least {self.least}"
            f"{'' if self.most == _MOST_WHOLE else f' and at most {self.most}'}"
            f"{', or None' if self.none else ''}."
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flag:
    """True or False, of Python or NumPy.

    Attributes:
        none: True if None is allowed.
    """

    none: bool = False

    def __call__(self, name: str, value: Any) -> Any:
        """Return the value as Python's bool, or None.

        Raises:
            OptionError: It is neither.
        """
        if value is None and self.none:
            return None
        if not isinstance(value, bool | np.bool_):
            more = ", or None" if self.none else ""
            raise OptionError(f"{name} is {shown(value)}; it must be True or False{more}.")
        return bool(value)


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of some texts.

    Attributes:
        of: The texts, and None where that is allowed.
    """

    of: Sequence[str | None]

    def __call__(self, name: str, value: Any) -> Any:
        """Return the value.

        Raises:
            OptionError: It is none of them.
        """
        if (value is None or isinstance(value, str)) and value in self.of:
            return None if value is None else str(value)
        *others, last = [repr(one) for one in self.of]
        expected = f"{', '.join(others)} or {last}" if others else last
        raise OptionError(f"{name} is {shown(value)}; it must be {expected}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileName:
    """The name of a file, as text or a path.

    Attributes:
        none: True if None is allowed.
        opened: True if an open file is allowed.
    """

    none: bool = False
    opened: bool = False

    def __call__(self, name: str, value: Any) -> Any:
        """Return the value.

        Raises:
            OptionError: It is no name that a file can have.
        """
        if value is None and self.none:
            return None
        if self.opened and not isinstance(value, type) and callable(getattr(value, "write", None)):
            return value
        try:
            path: Any = os.fspath(value)  # pyright: ignore
            os.fsencode(path)
        except Exception:  # whatever an object of the user's own raises
            path = None
        if isinstance(path, str) and "\0" not in path and Path(path).name not in ("", ".."):
            if max(len(os.fsencode(part)) for part in Path(path).parts) > _LONGEST:
                raise OptionError(
                    f"{name} is {shown(value)}; a name that long no file can have. Choose one of "
                    f"at most {_LONGEST} bytes."
                )
            return value
        more = ", or an open one" if self.opened else ""
        more += ", or None" if self.none else ""
        raise OptionError(f"{name} is {shown(value)}; it must be the name of a file{more}.")


Check = Callable[[str, Any], Any]

# Those that occur often.
POSITIVE = Number(above=0)
NOT_NEGATIVE = Number(least=0)
FLAG = Flag()
SEED = Whole(most=2**63 - 1)
DTYPE = Choice(("float64", "float32"))


def settle(record: Any, prefix: str = "", /, **checks: Check) -> None:
    """Check fields of a frozen dataclass, from its `__post_init__`, and put plain values there.

    Args:
        record: The dataclass.
        prefix: Begins messages, such as "FrechetCell: ".
        checks: What each field may be.

    Raises:
        OptionError: A field is something else.
    """
    for name, check in checks.items():
        object.__setattr__(record, name, check(f"{prefix}{name}", getattr(record, name)))


def can_hash(value: Any) -> bool:
    """Return whether a value can be a part of what compiled programs are found by."""
    try:
        hash(value)
    except Exception:  # whatever an object of the user's own raises
        return False
    return True


def refuse_loops(name: str, value: Any) -> None:
    """Refuse a list that holds itself, which nobody comes to the end of.

    Raises:
        OptionError: It does.
    """
    around: set[int] = set()

    def walk(items: Any, depth: int) -> None:
        if id(items) in around or depth > 100:
            raise OptionError(
                f"{name} are {shown(value)}, a list that holds itself, or lists a hundred deep; "
                "give a flat list."
            )
        around.add(id(items))
        for item in items:
            if isinstance(item, list | tuple):
                walk(item, depth + 1)
        around.discard(id(items))

    if isinstance(value, list | tuple):
        walk(value, 0)


def _scalar(value: Any) -> Any:
    """Return what an array without axes holds, and anything else as it is."""
    if getattr(value, "shape", None) == () and not isinstance(value, np.generic):
        try:
            return np.asarray(value)[()]
        except Exception:  # whatever an object of the user's own raises
            return None
    return value


def _float(value: Any) -> float | None:
    """Return a finite number as Python's float; None where it is none."""
    value = _scalar(value)
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except Exception:  # more than a float can hold, or a class of the user's own
        return None
    return number if math.isfinite(number) else None
