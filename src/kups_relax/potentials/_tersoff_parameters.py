"""Published parameters of Tersoff's potentials."""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

from kups_relax.potentials._triplets import Triplet


class TersoffParameters(NamedTuple):
    """What a triplet has, in the order of LAMMPS's files and of ASE.

    `n`, `beta`, `lambda2`, `B`, `lambda1` and `A` count where both neighbours are of one element:
    they are those of a bond.
    """

    m: float
    gamma: float
    lambda3: float
    c: float
    d: float
    h: float
    n: float
    beta: float
    lambda2: float
    B: float
    R: float
    D: float
    lambda1: float
    A: float


class _Element(NamedTuple):
    """What an element has in Tersoff's papers; the cutoff function falls from R to S."""

    A: float
    B: float
    lambda_: float
    mu: float
    beta: float
    n: float
    c: float
    d: float
    h: float
    R: float
    S: float


def _single(symbol: str, x: _Element, lambda3: float = 0.0) -> dict[Triplet, TersoffParameters]:
    entry = _mixed({symbol: x}, 1.0)[symbol, symbol, symbol]
    return {(symbol, symbol, symbol): entry._replace(lambda3=lambda3)}


def _mixed(elements: dict[str, _Element], chi: float) -> dict[Triplet, TersoffParameters]:
    """Mix as in Tersoff's papers; chi strengthens the bonds of two elements."""
    found = {}
    for i, j, k in itertools.product(elements, repeat=3):
        one, other, third = elements[i], elements[j], elements[k]
        inner, outer = math.sqrt(one.R * third.R), math.sqrt(one.S * third.S)
        found[i, j, k] = TersoffParameters(
            m=3.0,
            gamma=1.0,
            lambda3=0.0,
            c=one.c,
            d=one.d,
            h=one.h,
            n=one.n,
            beta=one.beta,
            lambda2=(one.mu + other.mu) / 2,
            B=math.sqrt(one.B * other.B) * (1.0 if i == j else chi),
            R=(inner + outer) / 2,
            D=(outer - inner) / 2,
            lambda1=(one.lambda_ + other.lambda_) / 2,
            A=math.sqrt(one.A * other.A),
        )
    return found


def _si_t2() -> dict[Triplet, TersoffParameters]:
    return _single(
        "Si",
        _Element(
            3264.7, 95.373, 3.2394, 1.3258, 0.33675, 22.956, 4.8381, 2.0417, 0.0, 2.8, 3.2
        ),
        lambda3=1.3258,
    )  # fmt: skip


def _si_t3() -> dict[Triplet, TersoffParameters]:
    return _single(
        "Si",
        _Element(
            1830.8, 471.18, 2.4799, 1.7322, 1.0999e-6, 0.78734, 1.0039e5, 16.218, -0.59826, 2.7, 3.0
        ),
        lambda3=1.7322,
    )


_SI_1989 = _Element(
    1830.8, 471.18, 2.4799, 1.7322, 1.1000e-6, 0.78734, 1.0039e5, 16.217, -0.59825, 2.7, 3.0
)


def _carbon(attraction: float) -> _Element:
    return _Element(
        1393.6, attraction, 3.4879, 2.2119, 1.5724e-7, 0.72751, 3.8049e4, 4.3484, -0.57058, 1.8, 2.1
    )


def _c() -> dict[Triplet, TersoffParameters]:
    return _single("C", _carbon(346.7))


def _sic_1989() -> dict[Triplet, TersoffParameters]:
    return _mixed({"C": _carbon(346.74), "Si": _SI_1989}, 0.9776)


def _sic_1994() -> dict[Triplet, TersoffParameters]:
    carbon = _Element(
        1544.8, 389.63, 3.4653, 2.3064, 4.1612e-6, 0.99054, 1.9981e4, 7.0340, -0.33953, 1.8, 2.1
    )
    return _mixed({"C": carbon, "Si": _SI_1989}, 1.0086)


SETS: dict[str, Callable[[], dict[Triplet, TersoffParameters]]] = {
    "si-t2": _si_t2,
    "si-t3": _si_t3,
    "c": _c,
    "sic-1989": _sic_1989,
    "sic-1994": _sic_1994,
}
