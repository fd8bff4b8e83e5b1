"""Checks of cutoff radii."""

from typing import Any

from kups_relax._checks import NOT_NEGATIVE, Number, settle
from kups_relax.errors import OptionError


def check_cutoff(potential: Any) -> None:
    """Check a cutoff, an onset and a skin, and that they make sense together.

    Args:
        potential: A frozen dataclass with `cutoff`, `onset` and `skin`.

    Raises:
        OptionError: cutoff <= 0, an onset without cutoff, or one outside (0, cutoff), skin < 0.
    """
    length = Number(above=0, none=True)
    settle(potential, cutoff=length, onset=length, skin=NOT_NEGATIVE)
    cutoff, onset = potential.cutoff, potential.onset
    if onset is not None and cutoff is None:
        raise OptionError(f"onset is {onset} without a cutoff; give both.")
    if onset is not None and cutoff is not None and not onset < cutoff:
        raise OptionError(f"onset is {onset}; it must be between 0 and the cutoff, {cutoff}.")
