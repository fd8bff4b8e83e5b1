"""Kinds of values: what is taken, and as what; what is refused, in words."""

import decimal
import fractions
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kups_relax as kr
from kups_relax._checks import (
    DTYPE,
    FLAG,
    NOT_NEGATIVE,
    POSITIVE,
    FileName,
    Flag,
    Number,
    Whole,
    refuse_loops,
)
from kups_relax.errors import OptionError


class Hostile:
    """An object that cannot be looked at, compared, or used as a condition."""

    def _raise(self, *_: Any) -> Any:
        raise RuntimeError

    __repr__ = __eq__ = __bool__ = __float__ = __index__ = __fspath__ = __lt__ = _raise
    __hash__ = None  # pyright: ignore


ODD = [
    math.nan, math.inf, 10**400, 1j, True, np.True_, decimal.Decimal(1), "1", b"1", [1], {}, {1},
    np.ones(2), np.zeros(0), np.array(None), np.ones(2, object), np.longdouble("1e4000"),
    fractions.Fraction(10**400), Path("x"), Hostile(), Hostile, (i for i in ()),
]  # fmt: skip


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("kind", [POSITIVE, Whole()], ids=["number", "whole"])
def test_what_is_no_number_is_refused(kind: Any, value: Any) -> None:
    with pytest.raises(OptionError, match=r"^x is .*; it must be a (whole )?number"):
        kind("x", value)


@pytest.mark.parametrize(
    "value", [2, 2.0, np.float32(2), np.int8(2), np.array(2.0), fractions.Fraction(2)]
)
def test_a_number_becomes_pythons(value: Any) -> None:
    assert POSITIVE("x", value) == 2.0
    assert type(POSITIVE("x", value)) is float


@pytest.mark.parametrize("value", [2, np.uint8(2), np.array(2)])
def test_a_whole_number_becomes_pythons(value: Any) -> None:
    assert Whole()("x", value) == 2
    assert type(Whole()("x", value)) is int


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (POSITIVE, 0, "x is 0; it must be a number greater than 0."),
        (NOT_NEGATIVE, -1e-9, "x is -1e-09; it must be a finite number, at least 0."),
        (Number(above=0, below=1), 1, "x is 1; it must be a number between 0 and 1."),
        (Number(least=0, below=1), 1, "x is 1; it must be a number, at least 0 and below 1."),
        (Number(none=True), "a", "x is 'a'; it must be a finite number, or None."),
        (POSITIVE, None, "x is None; it must be a number greater than 0."),
        (Whole(least=1), 0, "x is 0; it must be a whole number, at least 1."),
        (Whole(), 2**31, "x is 2147483648; it must be a whole number, at least 0."),
        (FLAG, 1, "x is 1; it must be True or False."),
        (Flag(none=True), 0, "x is 0; it must be True or False, or None."),
        (DTYPE, np.array(["float64"]), "it must be 'float64' or 'float32'."),
        (FileName(), 5, "x is 5; it must be the name of a file."),
        (FileName(none=True), b"a", "it must be the name of a file, or None."),
        (FileName(), "a\0b", "it must be the name of a file."),
        (FileName(), "half \ud800", "it must be the name of a file."),
        (FileName(), Path("."), "it must be the name of a file."),
        (FileName(), "x" * 300, "a name that long no file can have"),
    ],
)
def test_a_message_says_what_it_must_be(kind: Any, value: Any, message: str) -> None:
    with pytest.raises(OptionError) as error:
        kind("x", value)
    assert message in str(error.value)


def test_lists_that_hold_themselves_are_refused_and_lists_that_occur_twice_are_not() -> None:
    loop: list[Any] = [1]
    loop.append((loop,))
    with pytest.raises(OptionError, match="a list that holds itself"):
        refuse_loops("structures", loop)
    with pytest.raises(OptionError, match="a list that holds itself"):
        kr.relax(loop, kr.potentials.EMT())
    same = [1]
    refuse_loops("structures", [same, same, (same,)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fmax": 10**400}, "fmax is 1000.*; it must be a number greater than 0, in eV"),
        ({"trajectory": 1, "trajectory_of": 5.5}, r"trajectory_of is 5\.5; expected ids, or "),
        ({"trajectory": 1, "trajectory_of": [True]}, r"trajectory_of is \[True\]; expected ids"),
        ({"output": 5}, "output is 5; it must be the name of a file, or None"),
        ({"output": b"x.h5"}, "output is b'x.h5'; it must be the name of a file, or None"),
        ({"seed": -1}, "seed is -1; it must be a whole number, at least 0"),
        ({"strict": "no"}, "strict is 'no'; it must be True or False"),
    ],
)
def test_options_of_a_run_are_refused_before_it_reads(
    options: dict[str, Any], message: str
) -> None:
    def structures() -> Any:
        raise AssertionError("it has been read")
        yield

    with pytest.raises(OptionError, match=message):
        kr.relax(structures(), kr.potentials.EMT(), **options)
