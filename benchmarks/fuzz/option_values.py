"""Odd values of Python, NumPy, JAX, ASE and optax, and objects that raise when touched."""

import decimal
import fractions
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import ase
import jax.numpy as jnp
import numpy as np
import optax
from ase.calculators.emt import EMT

import kups_relax as kr
from benchmarks.fuzz._verdict import UserError
from benchmarks.odd_cases import Odd


class Hostile:
    """An object that cannot be looked at, compared, or used as a condition."""

    def _raise(self, *_: Any) -> Any:
        raise RuntimeError("not to be touched")

    __repr__ = __str__ = __eq__ = __bool__ = __len__ = __iter__ = __float__ = __int__ = _raise
    __index__ = __array__ = __fspath__ = __lt__ = __gt__ = __le__ = __ge__ = __getitem__ = _raise
    __hash__ = None  # pyright: ignore


def _raises(*_: Any) -> Any:
    raise UserError("not to be called")


class Unhashable(list):
    """A list of the user's own."""


def _endless() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


# Made anew for each case: some can be used once.
VALUES: Mapping[str, Callable[[], Any]] = {
    "None": lambda: None,
    "nan": lambda: math.nan,
    "inf": lambda: math.inf,
    "-inf": lambda: -math.inf,
    "10**400": lambda: 10**400,
    "-10**400": lambda: -(10**400),
    "2**31": lambda: 2**31,
    "2**64": lambda: 2**64,
    "0": lambda: 0,
    "-0.0": lambda: -0.0,
    "1": lambda: 1,
    "-1": lambda: -1,
    "0.5": lambda: 0.5,
    "5.5": lambda: 5.5,
    "1e300": lambda: 1e300,
    "1e-320": lambda: 1e-320,
    "1e-300": lambda: 1e-300,
    "True": lambda: True,
    "False": lambda: False,
    "complex": lambda: 1 + 2j,
    "Decimal": lambda: decimal.Decimal("0.5"),
    "Decimal nan": lambda: decimal.Decimal("sNaN"),
    "Fraction": lambda: fractions.Fraction(1, 3),
    "huge Fraction": lambda: fractions.Fraction(10**400),
    "bytes": lambda: b"1",
    "bytearray": lambda: bytearray(b"1"),
    "str": lambda: "odd \x1b[31m\n",
    "empty str": lambda: "",
    "digits": lambda: "1",
    "surrogate": lambda: "half \ud800",
    "null": lambda: "a\0b",
    "long str": lambda: "x" * 10_000,
    "list": lambda: [1, 2],
    "empty list": lambda: [],
    "endless list": _endless,
    "tuple": lambda: (1.0, "a"),
    "dict": lambda: {"a": 1},
    "empty dict": lambda: {},
    "odd dict": lambda: {1: [], None: Hostile()},
    "elements": lambda: {"Ar": 10**400},
    "set": lambda: {1, "a"},
    "frozenset": lambda: frozenset([1]),
    "range": lambda: range(3),
    "generator": lambda: (i for i in range(3)),
    "np.float64": lambda: np.float64(0.5),
    "np.float32": lambda: np.float32(0.5),
    "np.float16": lambda: np.float16(0.5),
    "np.longdouble": lambda: np.longdouble("1e4000"),
    "np.int64": lambda: np.int64(3),
    "np.uint8": lambda: np.uint8(3),
    "np.bool": lambda: np.bool_(True),
    "np.str": lambda: np.str_("fire"),
    "np.complex": lambda: np.complex128(1),
    "np.datetime64": lambda: np.datetime64("2020-01-01"),
    "0-d array": lambda: np.array(0.5),
    "0-d int array": lambda: np.array(3),
    "0-d object array": lambda: np.array(Odd(), object),
    "array": lambda: np.array([0.5, 1.0]),
    "empty array": lambda: np.zeros(0),
    "2-d array": lambda: np.ones((3, 3)),
    "object array": lambda: np.array([None, {}, Odd()], object),
    "structured array": lambda: np.zeros(2, [("a", "f8")]),
    "masked array": lambda: np.ma.masked_array([1.0, 2.0], [True, False]),
    "jax scalar": lambda: jnp.float32(0.5),
    "jax array": lambda: jnp.ones(2),
    "Path": lambda: pathlib.Path("nowhere.xyz"),
    "function": lambda: lambda *_: 0.1,
    "raising function": lambda: _raises,
    "class": lambda: Odd,
    "object": object,
    "hostile": Hostile,
    "unhashable": lambda: Unhashable([1]),
    "Atoms": lambda: ase.Atoms("Ar"),
    "module": lambda: math,
    "Ellipsis": lambda: ...,
    "NotImplemented": lambda: NotImplemented,
    "lookahead": lambda: optax.lookahead(optax.sgd(0.1), 5, 0.5),
    "sam": lambda: optax.contrib.sam(optax.sgd(0.1), optax.sgd(0.1)),
    "optax.lbfgs": optax.lbfgs,
    "optax.noisy": lambda: optax.noisy_sgd(0.1),
    "half optax": lambda: optax.GradientTransformation(lambda params: (), lambda *_: None),
    "EMT": EMT,
    "argon": lambda: kr.potentials.LennardJones(0.0104, 3.4),
    "frechet": lambda: "frechet",
}
TEXTS = (
    "", " ", "nan", "inf", "-inf", "1e400", "-1", "0", "0.5", "1", "1" + "0" * 400, "1e-400", "1_0",
    "none", "true", "\x1b[31m", "é", "half \udc80", "x" * 5000, "a=b", ":", "fire:", "fire:dt=nan",
    "fire:dt=1e400", "fire:dt=-1", "fire:dt=", "frechet:mask=", "frechet:pressure=nanGPa",
    "emt:skin=-1",
    "lbfgs:memory-size=1e18", "adam:learning-rate=-1", "adam:b1=2", "..:x", "os:getcwd", "math:pi",
    "[1]", "{}", "/", ".", "~", "*", "a/../b", "--", "-", "x.h5", "x.extxyz", "x.csv", "x.pdb",
    "h5", ".h5",
)  # fmt: skip
