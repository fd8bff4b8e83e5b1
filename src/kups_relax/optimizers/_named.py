"""Optimizers by name: complete chains, from gradients to steps."""

from collections.abc import Callable
from typing import Any

from kups_relax.errors import OptionError
from kups_relax.optimizers._base import Transform, as_transform, chain
from kups_relax.optimizers._lbfgs import ScaleByAseLbfgs
from kups_relax.optimizers._steps import MaxStepSize, Scale


def ase_lbfgs() -> Transform[Any]:
    """Make ASE's L-BFGS to the letter: memory 100, alpha 70, longest step 0.2 Angstrom."""
    return chain(ScaleByAseLbfgs(), MaxStepSize(0.2), Scale(-1.0))


def lbfgs() -> Transform[Any]:
    """Make our L-BFGS: memory 16, adaptive initial scale, curvature guard, bounded step."""
    scale = ScaleByAseLbfgs(memory_size=16, initial_scale="adaptive", curvature_guard=True)
    return chain(scale, MaxStepSize(0.2), Scale(-1.0))


NAMED: dict[str, Callable[[], Transform[Any]]] = {"lbfgs": lbfgs, "ase-lbfgs": ase_lbfgs}


def get(optimizer: Any) -> Transform[Any]:
    """Return the optimizer that a name, a transform of ours, or one of optax's stands for.

    Raises:
        OptionError: The name does not exist; the message lists those that do.
    """
    if isinstance(optimizer, str):
        if optimizer not in NAMED:
            raise OptionError(
                f"there is no optimizer {optimizer!r}; expected one of {', '.join(NAMED)}, "
                "or an optimizer built with kups_relax.optimizers or optax."
            )
        return NAMED[optimizer]()
    return as_transform(optimizer)
