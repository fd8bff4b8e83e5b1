"""L-BFGS under ASE's name, with ASE's arguments and defaults."""

import dataclasses
from typing import IO, Any

from kups_relax import optimizers
from kups_relax._checks import FLAG, POSITIVE
from kups_relax.ase._optimizer import File, Optimizer
from kups_relax.errors import OptionError, shown
from kups_relax.optimizers import Chain, MaxStepSize, Scale, ScaleByAseLbfgs, ZoomLineSearch


class LBFGS(Optimizer):
    """L-BFGS, in the place of ASE's: the same arguments, the same defaults, the same steps.

    `LBFGS(atoms, optimizer="lbfgs")` is the better one: a scale that adapts and a guard against
    negative curvature, a memory of 16 steps. It mostly needs fewer steps (`benchmarks/
    ase_optimize_test.py` counts them). Everything else is as `Optimizer` says.

    Args:
        atoms, restart, logfile, trajectory, **kwargs: As in `Optimizer`.
        maxstep: Longest move of an atom in a step, Angstrom; at most 1. None: 0.2.
        memory: Steps remembered. None: 100, or 16 for "lbfgs".
        damping: Factor on each step.
        alpha: Initial curvature, eV/Angstrom^2. None: 70.
        use_line_search: True searches along each direction for a step that fulfils the strong Wolfe
            conditions, with the constants of ASE's `LBFGSLineSearch`, as
            `kups_relax.optimizers.ZoomLineSearch` does.
        optimizer: "ase-lbfgs" or "lbfgs".

    Raises:
        OptionError: An option has a value that makes no sense.
    """

    def __init__(
        self,
        atoms: Any,
        restart: File | None = None,
        logfile: IO[str] | File | None = "-",
        trajectory: Any = None,
        maxstep: float | None = None,
        memory: int | None = None,
        damping: float = 1.0,
        alpha: float | None = None,
        use_line_search: bool = False,
        *,
        optimizer: str = "ase-lbfgs",
        **kwargs: Any,
    ) -> None:
        self.maxstep = self._longest_step(maxstep)
        if self.maxstep > 1.0:
            raise OptionError(f"maxstep is {self.maxstep}; it must be at most 1 Angstrom.")
        self.damping = damping = POSITIVE("damping", damping)
        use_line_search = FLAG("use_line_search", use_line_search)
        chain = optimizers.get(optimizer)
        match chain:
            case Chain((ScaleByAseLbfgs() as scale, MaxStepSize(), Scale())):
                search = [_search(self.maxstep)] if use_line_search else []
            case _:
                raise OptionError(
                    f"optimizer is {shown(optimizer)}; LBFGS takes 'ase-lbfgs' or 'lbfgs'. "
                    "kups_relax.ase.Optimizer takes any."
                )
        given = {"memory_size": memory, "alpha": alpha}
        scale = dataclasses.replace(scale, **{k: v for k, v in given.items() if v is not None})
        self.memory, self.alpha = scale.memory_size, scale.alpha
        transform = optimizers.chain(scale, MaxStepSize(self.maxstep), Scale(-damping), *search)
        super().__init__(atoms, transform, restart, logfile, trajectory, **kwargs)


def _search(maxstep: float) -> ZoomLineSearch:
    """The line search of ASE's `LBFGSLineSearch`, with its constants."""
    return ZoomLineSearch(decrease=0.23, curvature=0.46, max_step_size=maxstep)
