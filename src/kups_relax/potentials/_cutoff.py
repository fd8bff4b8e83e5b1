"""Checks of cutoff radii."""

import math

from kups_relax.errors import OptionError


def check_cutoff(cutoff: float | None, onset: float | None, skin: float) -> None:
    """Raise for a cutoff and an onset that make no sense together.

    Raises:
        OptionError: cutoff <= 0, an onset without cutoff, or one outside (0, cutoff), skin < 0.
    """
    if cutoff is not None and not cutoff > 0:
        raise OptionError(f"cutoff is {cutoff}; it must be greater than 0, or None for all pairs.")
    if not 0 <= skin < math.inf:
        raise OptionError(f"skin is {skin}; it must be a finite number, at least 0.")
    if onset is not None and cutoff is None:
        raise OptionError(f"onset is {onset} without a cutoff; give both.")
    if onset is not None and cutoff is not None and not 0 < onset < cutoff:
        raise OptionError(f"onset is {onset}; it must be between 0 and the cutoff, {cutoff}.")
