"""Optimizers by name: complete chains, from gradients to steps."""

from collections.abc import Callable
from functools import partial
from typing import Any

from kups_relax.errors import OptionError
from kups_relax.optimizers._backtracking import BacktrackingLineSearch
from kups_relax.optimizers._base import Search, Transform, as_transform, chain
from kups_relax.optimizers._lbfgs import ScaleByAseLbfgs
from kups_relax.optimizers._learning_rate import ScaleByLearningRate
from kups_relax.optimizers._model_hessian import ScaleByModelHessian
from kups_relax.optimizers._steps import ClipByGlobalNorm, ClipByValue, MaxStepSize, Scale
from kups_relax.optimizers._zoom import ZoomLineSearch

_SEARCHES = {"backtracking": BacktrackingLineSearch, "zoom": ZoomLineSearch}


def ase_lbfgs() -> Transform[Any]:
    """Make ASE's L-BFGS to the letter: memory 100, alpha 70, longest step 0.2 Angstrom."""
    return chain(ScaleByAseLbfgs(), MaxStepSize(0.2), Scale(-1.0))


def lbfgs(
    memory_size: int = 16,
    learning_rate: Any = 1.0,
    scale_init_precond: bool = True,
    linesearch: Any = None,
    *,
    alpha: float = 70.0,
    max_step_size: float | None = 0.2,
    clip_norm: float | None = None,
    clip_value: float | None = None,
) -> Transform[Any]:
    """Make our L-BFGS: pairs of positive curvature alone, a step that is bounded.

    Options that optax's `lbfgs` has too have its names.

    Args:
        memory_size: Number of pairs kept.
        learning_rate: Factor on each step, or a schedule; see `ScaleByLearningRate`.
        scale_init_precond: Whether the initial inverse Hessian adapts to the newest pair; else it
            stays 1/alpha.
        linesearch: None: the step is taken as it is, one evaluation each. "backtracking", "zoom":
            a `BacktrackingLineSearch`, a `ZoomLineSearch` with `max_step_size`; or an object.
        alpha: Initial curvature, eV/Angstrom^2.
        max_step_size: Longest move of an atom, Angstrom; None: not bounded.
        clip_norm: Bound on the norm of each system's gradient; None: not bounded.
        clip_value: Bound on each component of the gradient; None: not bounded.

    Raises:
        OptionError: An option has a value that makes no sense.

    Example:
        >>> from kups_relax import optimizers as ko
        >>> optimizer = ko.lbfgs(linesearch="zoom", memory_size=8)
    """
    initial_scale = "adaptive" if scale_init_precond else "fixed"
    members: list[Any] = []
    if clip_value is not None:
        members.append(ClipByValue(clip_value))
    if clip_norm is not None:
        members.append(ClipByGlobalNorm(clip_norm))
    members.append(ScaleByAseLbfgs(memory_size, alpha, initial_scale, curvature_guard=True))
    plain = not callable(learning_rate) and learning_rate == 1
    if not plain:
        members.append(ScaleByLearningRate(learning_rate))
    if max_step_size is not None:
        members.append(MaxStepSize(max_step_size))
    if plain:
        members.append(Scale(-1.0))
    if linesearch is not None:
        members.append(_search(linesearch, max_step_size))
    return chain(*members)


def preconditioned(memory_size: int = 8, step: float = 1.0) -> Transform[Any]:
    """Make the optimizer of the fewest evaluations: steps from a guess of the Hessian.

    A step that raises the energy is taken back and shortened.

    Args:
        memory_size: Number of pairs kept.
        step: Multiplies the longest step; see `ScaleByModelHessian`.

    Raises:
        OptionError: An option has a value that makes no sense.
    """
    return chain(ScaleByModelHessian(memory_size, step), BacktrackingLineSearch())


def _search(linesearch: Any, max_step_size: float | None) -> Search[Any]:
    if isinstance(linesearch, Search):
        return linesearch
    if isinstance(linesearch, str) and linesearch in _SEARCHES:
        return _SEARCHES[linesearch](max_step_size=max_step_size)
    raise OptionError(
        f"linesearch is {linesearch!r}; expected None, one of {', '.join(_SEARCHES)}, or a "
        "BacktrackingLineSearch or ZoomLineSearch."
    )


NAMED: dict[str, Callable[[], Transform[Any]]] = {
    "lbfgs": lbfgs,
    "ase-lbfgs": ase_lbfgs,
    "preconditioned": preconditioned,
    "lbfgs-backtracking": partial(lbfgs, linesearch="backtracking"),
    "lbfgs-zoom": partial(lbfgs, linesearch="zoom"),
}


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
