"""Optimizers under ASE's names, with ASE's arguments and defaults."""

from collections.abc import Callable
from typing import IO, Any

from kups_relax import optimizers
from kups_relax._checks import FLAG, NOT_NEGATIVE, POSITIVE
from kups_relax.ase._lbfgs import LBFGS
from kups_relax.ase._optimizer import File, Optimizer
from kups_relax.errors import OptionError, shown


class BFGS(Optimizer):
    """BFGS, in the place of ASE's: the same arguments and defaults.

    It remembers the last 100 steps and no matrix, so a step costs a few vectors. While no more were
    made and the curvature is positive, the steps are those of ASE's BFGS. That turns negative
    curvature positive; here, pairs that show it are passed by.

    Args:
        atoms, restart, logfile, trajectory, **kwargs: As in `Optimizer`.
        maxstep: Longest move of an atom in a step, Angstrom. None: 0.2.
        alpha: Initial curvature, eV/Angstrom^2. None: 70.

    Raises:
        OptionError: An option has a value that makes no sense.
    """

    def __init__(
        self,
        atoms: Any,
        restart: File | None = None,
        logfile: IO[str] | File | None = "-",
        trajectory: Any = None,
        append_trajectory: bool = False,
        maxstep: float | None = None,
        alpha: float | None = None,
        **kwargs: Any,
    ) -> None:
        self.maxstep = self._longest_step(maxstep)
        self.alpha = POSITIVE("alpha", 70.0 if alpha is None else alpha)
        transform = optimizers.chain(
            optimizers.ScaleByAseLbfgs(alpha=self.alpha, curvature_guard=True, descent_guard=True),
            optimizers.MaxStepSize(self.maxstep),
            optimizers.Scale(-1.0),
        )
        super().__init__(
            atoms, transform, restart, logfile, trajectory, append_trajectory, **kwargs
        )


class LBFGSLineSearch(LBFGS):
    """L-BFGS with a line search: `LBFGS(..., use_line_search=True)`.

    It takes ASE's arguments and searches for what ASE's does, a step that fulfils the strong Wolfe
    conditions with the same constants, by trials of its own (`ZoomLineSearch`): the steps differ.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["use_line_search"] = True
        super().__init__(*args, **kwargs)


class FIRE(Optimizer):
    """FIRE, in the place of ASE's: the same arguments, the same defaults, the same steps.

    Args:
        atoms, restart, logfile, trajectory, **kwargs: As in `Optimizer`.
        dt: First time step.
        maxstep: Longest step, Angstrom: the norm over all atoms. None: 0.2.
        maxmove: ASE's former name of `maxstep`; refused.
        dtmax: Longest time step.
        Nmin: Steps downhill before the time step grows.
        finc: Growth of the time step.
        fdec: What is left of it after a step uphill.
        astart: Share of the velocity that is turned towards the force, after a step uphill.
        fa: Decay of that share.
        a: That share at the start; must be `astart`.
        downhill_check: Go back from a step that raised the energy.
        position_reset_callback: Refused.

    Raises:
        OptionError: An option has a value that makes no sense, or that this FIRE does not have.

    Example:
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> from kups_relax.ase import FIRE
        >>> run = FIRE(molecule("H2O", calculator=EMT()), logfile=None)
        >>> bool(run.run(fmax=0.05))
        True
    """

    def __init__(
        self,
        atoms: Any,
        restart: File | None = None,
        logfile: IO[str] | File | None = "-",
        trajectory: Any = None,
        dt: float = 0.1,
        maxstep: float | None = None,
        maxmove: float | None = None,
        dtmax: float = 1.0,
        Nmin: int = 5,
        finc: float = 1.1,
        fdec: float = 0.5,
        astart: float = 0.1,
        fa: float = 0.99,
        a: float = 0.1,
        downhill_check: bool = False,
        position_reset_callback: Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if maxmove is not None:
            raise OptionError(
                f"FIRE: maxmove is maxstep's former name. Pass maxstep={shown(maxmove)}."
            )
        _refuse_callback("FIRE", position_reset_callback)
        astart, a = NOT_NEGATIVE("astart", astart), NOT_NEGATIVE("a", a)
        if a != astart:
            raise OptionError(
                f"FIRE: a is {a} and astart is {astart}; this FIRE begins with the share that it "
                "goes back to after a step uphill. Pass the same for both."
            )
        self.maxstep = self._longest_step(maxstep)
        self.dt, self.dtmax, self.Nmin, self.finc, self.fdec = dt, dtmax, Nmin, finc, fdec
        self.astart, self.fa, self.downhill_check = astart, fa, downhill_check
        transform = optimizers.Fire(
            dt, self.maxstep, dtmax, Nmin, finc, fdec, astart, fa, downhill_check
        )
        super().__init__(atoms, transform, restart, logfile, trajectory, **kwargs)


class FIRE2(Optimizer):
    """FIRE 2.0 and ABC-FIRE, in the place of ASE's: the same arguments, defaults and geometries.

    A step that begins uphill is two evaluations. ASE makes both in one step, here each is a step,
    so the calculator is asked for the same geometries, and there are more steps.

    Args:
        atoms, restart, logfile, trajectory, **kwargs: As in `Optimizer`.
        dt: First time step.
        maxstep: Longest step, Angstrom: the norm over all atoms; with `use_abc` of each component.
        dtmax: Longest time step.
        dtmin: Shortest time step.
        Nmin: Steps downhill before the time step grows.
        finc: Growth of the time step.
        fdec: What is left of it after a step uphill.
        astart: First share of the velocity that is turned towards the force.
        fa: Decay of that share.
        position_reset_callback: Refused.
        use_abc: Whether to correct the bias of the first steps: ABC-FIRE.

    Raises:
        OptionError: An option has a value that makes no sense, or that this FIRE does not have.
    """

    def __init__(
        self,
        atoms: Any,
        restart: File | None = None,
        logfile: IO[str] | File | None = "-",
        trajectory: Any = None,
        dt: float = 0.1,
        maxstep: float | None = 0.2,
        dtmax: float = 1.0,
        dtmin: float = 2e-3,
        Nmin: int = 20,
        finc: float = 1.1,
        fdec: float = 0.5,
        astart: float = 0.25,
        fa: float = 0.99,
        position_reset_callback: Callable[..., Any] | None = None,
        use_abc: bool = False,
        **kwargs: Any,
    ) -> None:
        _refuse_callback("FIRE2", position_reset_callback)
        self.maxstep = self._longest_step(maxstep)
        self.dt, self.dtmax, self.dtmin, self.Nmin = dt, dtmax, dtmin, Nmin
        self.finc, self.fdec, self.astart, self.fa = finc, fdec, astart, fa
        self.use_abc = use_abc = FLAG("use_abc", use_abc)
        transform = optimizers.Fire2(
            dt, self.maxstep, dtmax, dtmin, Nmin, finc, fdec, astart, fa, self.use_abc
        )
        super().__init__(atoms, transform, restart, logfile, trajectory, **kwargs)


class ConjugateGradient(Optimizer):
    """Conjugate gradients with secant steps, one evaluation each; ASE has SciPy's.

    Args:
        atoms, restart, logfile, trajectory, **kwargs: As in `Optimizer`.
        maxstep: Longest move of an atom in a step, Angstrom. None: 0.2.
        alpha: Initial curvature, eV/Angstrom^2.
        beta: Formula of the direction: see `kups_relax.optimizers.ConjugateGradient`.

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
        alpha: float = 70.0,
        beta: Any = "hybrid",
        **kwargs: Any,
    ) -> None:
        self.maxstep = self._longest_step(maxstep)
        self.alpha = alpha
        transform = optimizers.conjugate_gradient(beta, alpha, self.maxstep)
        super().__init__(atoms, transform, restart, logfile, trajectory, **kwargs)


class GradientDescent(Optimizer):
    """Steepest descent with Barzilai and Borwein's steps, one evaluation each.

    Args:
        atoms, restart, logfile, trajectory, **kwargs: As in `Optimizer`.
        maxstep: Longest move of an atom in a step, Angstrom. None: 0.2.
        alpha: Initial curvature, eV/Angstrom^2.

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
        alpha: float = 70.0,
        **kwargs: Any,
    ) -> None:
        self.maxstep = self._longest_step(maxstep)
        self.alpha = alpha
        transform = optimizers.gradient_descent(alpha, self.maxstep)
        super().__init__(atoms, transform, restart, logfile, trajectory, **kwargs)


class Preconditioned(Optimizer):
    """The optimizer of the fewest evaluations, which guesses the Hessian from the geometry.

    For Atoms and cell filters; see `kups_relax.optimizers.preconditioned`.

    Args:
        atoms, restart, logfile, trajectory, **kwargs: As in `Optimizer`.
        memory: Number of pairs kept.
        step: Multiplies the longest step.

    Raises:
        OptionError: An option has a value that makes no sense.
    """

    def __init__(
        self,
        atoms: Any,
        restart: File | None = None,
        logfile: IO[str] | File | None = "-",
        trajectory: Any = None,
        memory: int = 8,
        step: float = 1.0,
        **kwargs: Any,
    ) -> None:
        self.memory = memory
        transform = optimizers.preconditioned(memory, step)
        super().__init__(atoms, transform, restart, logfile, trajectory, **kwargs)


def _refuse_callback(name: str, callback: Any) -> None:
    if callback is not None:
        raise OptionError(
            f"{name}: position_reset_callback is not called here. Attach an observer with "
            "`attach`, or use ase.optimize's."
        )
