"""Parameters crossed pairwise in `make test`, and fully in `make test-all`."""

import itertools
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import pytest


def crossed(
    *axes: Iterable[Any],
    strength: int = 2,
    leave: Collection[Any] = (),
    exact: Collection[Any] = (),
) -> list[Any]:
    """Cross the values of several parameters, for `pytest.mark.parametrize`.

    All combinations are there. Those that `make test` needs so that any two values of two axes
    meet in one test are unmarked, the others are marked as extended.

    Args:
        axes: Values of each parameter.
        strength: 1: each value is in one test at least, next to values of others in turns.
        leave: Values of the first parameter of which all combinations are extended.
        exact: Values of the first parameter of which all combinations have the mark `exact`.
    """
    values = [list(axis) for axis in axes]
    chosen = set(_covering([len(axis) for axis in values], strength))
    made = []
    for places in itertools.product(*(range(len(axis)) for axis in values)):
        row = [axis[i] for axis, i in zip(values, places, strict=True)]
        marks = []
        if places not in chosen or (leave and row[0] in leave):
            marks.append(pytest.mark.extended)
        if exact and row[0] in exact:
            marks.append(pytest.mark.exact)
        made.append(pytest.param(*row, marks=marks))
    return made


def in_turns(*axes: Iterable[Any], **options: Collection[Any]) -> list[Any]:
    """Cross parameters, of which `make test` needs each value once: see `crossed`."""
    return crossed(*axes, strength=1, **options)


def first(values: Sequence[Any], n: int = 1) -> list[Any]:
    """Leave all values but the first to `make test-all`."""
    return [
        pytest.param(value, marks=[] if k < n else [pytest.mark.extended])
        for k, value in enumerate(values)
    ]


def _covering(lengths: list[int], strength: int) -> list[tuple[int, ...]]:
    """Choose combinations, greedily, that cover every choice of values of so many axes."""
    if strength == 1:
        # Diagonals: long axes meet the values of short ones in turns.
        return [tuple(k % n for n in lengths) for k in range(max(lengths))]
    strength = min(strength, len(lengths))

    def covered(places: tuple[int, ...]) -> set[tuple[tuple[int, int], ...]]:
        return set(itertools.combinations(enumerate(places), strength))

    everything = list(itertools.product(*(range(n) for n in lengths)))
    missing = set().union(*(covered(places) for places in everything))
    chosen = []
    while missing:
        best = max(everything, key=lambda places: len(covered(places) & missing))
        chosen.append(best)
        missing -= covered(best)
    return chosen
