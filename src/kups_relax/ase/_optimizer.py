"""ASE optimizers that take their steps from our transforms."""

import re
from collections.abc import Iterator
from os import PathLike
from typing import IO, Any

import numpy as np
from ase.io.jsonio import read_json
from ase.io.trajectory import Trajectory
from ase.mep.neb import BaseNEB
from ase.optimize import RestartError
from ase.optimize.optimize import DEFAULT_MAX_STEPS
from ase.optimize.optimize import Optimizer as AseOptimizer
from ase.utils.abc import Optimizable

from kups_relax import optimizers
from kups_relax._checks import FLAG, NOT_NEGATIVE, POSITIVE, FileName, Whole
from kups_relax._settings import check_environment, own
from kups_relax.ase._checked import Checked
from kups_relax.ase._filters import allowed_step, cell_rows
from kups_relax.ase._guess import Guess
from kups_relax.ase._one_system import OneSystem
from kups_relax.errors import OptionError, StoreError, StructureError
from kups_relax.optimizers import Chain

File = str | PathLike[str]

# What filters remember of their start, by attribute: coordinates have no meaning without it.
_REFERENCES = ("orig_cell", "origcell", "strain")


class RestartFileError(StoreError, RestartError):
    """A restart file cannot be read, or is not of this optimizer and structure."""


class Optimizer(AseOptimizer):
    """Optimize one system with any of our optimizers, or optax's, as an ASE optimizer.

    For whatever ASE optimizes: Atoms with any calculator and constraints, cell filters, bands,
    and other objects with `__ase_optimizable__`. `run`, `irun`, `attach` and the log are ASE's.
    The calculator is called once a step; by a line search, as often as it tries a point, and its
    trials are neither steps nor in the trajectory. A step costs about 0.1 ms besides what ASE does;
    the first one of a size and an optimizer compiles, in about half a second.

    Steps are computed in float64, on the CPU, whatever JAX is set to. With forces that equal those
    of one of our potentials to the bit, a run takes the very steps of `kups_relax.relax` with that
    potential and the same optimizer: same number, same coordinates. For that, arrays are padded as
    in the engine: to the atom capacity that the calculator states as its `atom_capacity`, else to
    the smallest that holds the system.

    Bounds on a step (`MaxStepSize`) are for each atom, three coordinates. An object that is no
    list of atoms, with its own `gradient_norm` or a number of coordinates that three does not
    divide, is bounded by the norm of its whole step.

    Args:
        atoms: What to optimize.
        optimizer: A name in `kups_relax.optimizers.NAMED`, a transform or a chain of
            `kups_relax.optimizers`, or an optax transformation that ends in steps downhill.
        restart: File for the optimizer's state, written after each step. If it exists, the run
            goes on from it, bit for bit where the atoms are those of the last step.
        logfile: File or its name; "-" for stdout; None for no log.
        trajectory: Trajectory, or the name of its file.
        append_trajectory: Whether to append to a trajectory file that exists.
        **kwargs: `master`, `comm`, `loginterval`, as in ASE.

    Raises:
        OptionError: The optimizer does not exist.
        StructureError: `atoms` is nothing that ASE can optimize.
        RestartFileError: The restart file is not of this optimizer and structure.

    `run` and `irun` raise CalculatorError for a calculator that is missing, or gives no forces,
    no stress for a moving cell, values that are not finite, or arrays of a wrong shape.

    Example:
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> from kups_relax.ase import Optimizer
        >>> atoms = molecule("H2O", calculator=EMT())
        >>> run = Optimizer(atoms, "lbfgs", logfile=None)
        >>> converged = run.run(fmax=0.01)
        >>> run.nsteps
        4
    """

    def __init__(
        self,
        atoms: Any,
        optimizer: Any = "lbfgs",
        restart: File | None = None,
        logfile: IO[str] | File | None = "-",
        trajectory: Any = None,
        append_trajectory: bool = False,
        **kwargs: Any,
    ) -> None:
        check_environment()
        restart = FileName(none=True)("restart", restart)
        opened = FileName(none=True, opened=True)
        logfile, trajectory = opened("logfile", logfile), opened("trajectory", trajectory)
        append_trajectory = FLAG("append_trajectory", append_trajectory)
        if not hasattr(atoms, "__ase_optimizable__"):
            raise StructureError(
                f"{type(atoms).__name__} is nothing that ASE can optimize: it has no "
                "__ase_optimizable__. Pass Atoms, a filter of ase.filters, or a band."
            )
        with own():
            self.transform = optimizers.get(optimizer)
            optimizers.check_batched(self.transform)
        super().__init__(
            atoms,
            restart,  # pyright: ignore[reportArgumentType]
            logfile,  # pyright: ignore[reportArgumentType]
            trajectory,
            append_trajectory,
            **kwargs,
        )
        self.optimizable: Any = Checked(self.optimizable, atoms)

    def _longest_step(self, maxstep: float | None) -> float:
        """Return a longest step, or ASE's default where there is none, Angstrom.

        Raises:
            OptionError: It is no positive number.
        """
        return POSITIVE("maxstep", self.defaults["maxstep"] if maxstep is None else maxstep)

    def run(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, fmax: float = 0.05, steps: int = DEFAULT_MAX_STEPS
    ) -> bool:
        """Move until no force is longer than a threshold.

        Args:
            fmax: The threshold, eV/Angstrom.
            steps: Moves allowed to this call.

        Returns:
            True if it was reached.

        Raises:
            OptionError: An option has a value that makes no sense.
            CalculatorError: The calculator is missing, or does not give what is needed of it.
        """
        return super().run(*_checked_run(fmax, steps))

    def irun(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, fmax: float = 0.05, steps: int = DEFAULT_MAX_STEPS
    ) -> Iterator[bool]:
        """Do as `run`, one move at a time: yields whether the threshold has been reached.

        Args:
            fmax: The threshold, eV/Angstrom.
            steps: Moves allowed to this call.

        Raises:
            OptionError: An option has a value that makes no sense.
        """
        return super().irun(*_checked_run(fmax, steps))

    def initialize(self) -> None:
        """Start without a history."""
        self._system: OneSystem | None = None

    def step(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, forces: np.ndarray | None = None
    ) -> None:
        """Evaluate and move once.

        Args:
            forces: (n_atoms, 3), eV/Angstrom, instead of the calculator's. ASE is giving this up.
        """
        gradient = self._get_gradient(forces)
        x = self._learn(self.optimizable.get_x(), gradient, self._value())
        self.optimizable.set_x(x)
        if self._searches:
            self._search()
        if self.restart is not None:
            self.dump(self._state())

    @property
    def _searches(self) -> bool:
        """Whether there is a line search, whose trials are no steps."""
        return isinstance(self.transform, Chain) and self.transform.search is not None

    def _value(self) -> float:
        """What is minimised; NaN where nobody asks.

        Raises:
            OptionError: The forces are the slope of nothing.
        """
        if not self.transform.needs_value:
            return np.nan
        if isinstance(self.atoms, BaseNEB):
            raise OptionError(
                f"{type(self.atoms).__name__}: the forces of a band are not the slope of an energy,"
                f" which {self._description()} needs. Use one that asks for no energies, such as "
                "'lbfgs'."
            )
        value = self.optimizable.get_value()
        if not np.isfinite(value):
            raise OptionError(
                f"{type(self.atoms).__name__}: its value is {value}, and {self._description()} "
                "needs what the forces are the slope of. Use one that asks for no energies, such "
                "as 'lbfgs'."
            )
        return float(value)

    def _search(self) -> None:
        """Go from trial to trial, until one is taken, or is where the run may end."""
        assert self._system is not None
        while True:
            # Constraints may have led elsewhere than the step would.
            x = self.optimizable.get_x()
            gradient, value = self.optimizable.get_gradient(), self._value()
            # Without `run` there is no fmax.
            if self.fmax is not None and self.gradient_converged(gradient):
                return
            if self._system.takes(x, gradient, value):
                return
            self.optimizable.set_x(self._learn(x, gradient, value))

    def replay_trajectory(self, traj: Any) -> None:
        """Learn from the images of an earlier run, as if it had been this one's.

        Args:
            traj: Trajectory, or the name of its file. Its images carry forces.

        Raises:
            OptionError: There is a line search, which cannot tell what was tried between images.
            StructureError: The images have other coordinates than this optimizer's object.
        """
        if self._searches:
            raise OptionError(
                "replay_trajectory: a line search cannot be replayed, as images do not say what it "
                "tried between them. Write a restart file, and go on from that."
            )
        if isinstance(traj, str | PathLike):
            with Trajectory(traj) as images:
                self.replay_trajectory(images)
            return
        # What is learnt from the last image, the next step learns by itself.
        for image in traj[:-1]:
            x, forces = image.get_positions().ravel(), image.get_forces().ravel()
            if len(x) != self.optimizable.ndofs():
                raise StructureError(
                    f"an image of the trajectory has {len(x)} coordinates, and what is optimized "
                    f"has {self.optimizable.ndofs()}. Only trajectories of the same atoms, "
                    "without a filter, can be replayed."
                )
            value = _value_of(image) if self.transform.needs_value else np.nan
            self._learn(x, -forces, value)

    def todict(self) -> dict[str, Any]:
        """Describe the run, for trajectories."""
        return {**super().todict(), "transform": self._description()}

    def read(self) -> None:
        """Load the state from the restart file.

        Raises:
            RestartFileError: It is not of this optimizer and structure.
        """
        self.initialize()
        name, n = str(self.restart), self.optimizable.ndofs()
        try:
            with open(name) as file:
                data: Any = read_json(file, always_array=False)
        except Exception as error:
            raise RestartFileError(
                f"Could not decode {name!r}: {error}. Delete it to start anew."
            ) from error
        if not (isinstance(data, dict) and "transform" in data):
            raise RestartFileError(
                f"{name!r} is no restart file of {type(self).__name__}; another optimizer wrote "
                "it. Delete it, or name another file."
            )
        if data["transform"] != self._description():
            raise RestartFileError(
                f"{name!r} is of the optimizer {data['transform']}, and this is "
                f"{self._description()}. Use that one, or delete the file."
            )
        if data["n"] != n:
            raise RestartFileError(
                f"{name!r} is of a system of {data['n']} coordinates, and this one has {n}. "
                "Use the same structure and filter, or delete the file."
            )
        for attribute, value in data["references"].items():
            setattr(self.atoms, attribute, value)
        system = OneSystem(
            self.transform,
            n,
            rows=data["rows"],
            capacity=data["capacity"],
            cell_rows=cell_rows(self.atoms),
            guess=self._guess(data["capacity"], data["perceived"]),
        )
        try:
            system.load(data["arrays"])
        except ValueError as error:
            raise RestartFileError(
                f"{name!r} does not fit {self._description()}: {error}. Delete the file."
            ) from error
        self._system = system

    def _state(self) -> dict[str, Any]:
        assert self._system is not None
        references = {
            name: np.array(getattr(self.atoms, name))
            for name in _REFERENCES
            if hasattr(self.atoms, name)
        }
        return {
            "transform": self._description(),
            "n": self._system.n,
            "rows": self._system.rows,
            "capacity": self._system.capacity,
            "arrays": self._system.save(),
            "references": references,
            "perceived": None if self._system.guess is None else self._system.guess.perceived,
        }

    def _description(self) -> str:
        return re.sub(r" at 0x[0-9a-f]+", "", repr(self.transform))

    def _learn(self, x: np.ndarray, gradient: np.ndarray, value: float) -> np.ndarray:
        if self._system is None:
            self._system = self._new_system()
        if len(x) != self._system.n:
            raise StructureError(
                f"there are {len(x)} coordinates now, and there were {self._system.n} in the last "
                "step. Make a new optimizer when atoms come or go."
            )
        there = self._system.step(x, gradient, value)
        if not np.isfinite(there).all():
            raise OptionError(
                f"{self._description()} made a step that is not finite, of finite forces. "
                "Choose other options for it."
            )
        step = there - x
        allowed = allowed_step(self.atoms, step)
        return there if allowed is step else x + allowed

    def _new_system(self) -> OneSystem:
        n = self.optimizable.ndofs()
        norm = getattr(type(self.optimizable.inner), "gradient_norm", None)
        rows = n % 3 == 0 and norm is Optimizable.gradient_norm
        capacity = getattr(self.optimizable.calculator, "atom_capacity", None)
        capacity = capacity if rows else None
        guess = self._guess(capacity)
        return OneSystem(
            self.transform,
            n,
            rows=rows,
            capacity=capacity,
            cell_rows=cell_rows(self.atoms) if rows else 0,
            guess=guess,
        )

    def _guess(self, capacity: int | None, perceived: Any = None) -> Guess | None:
        if not self.transform.needs_chart:
            return None
        return Guess.of(self.atoms, capacity, perceived)


def _value_of(image: Any) -> float:
    """Return the energy that forces are the slope of, as ASE's optimizers do, eV."""
    try:
        return image.get_potential_energy(force_consistent=True)
    except NotImplementedError:
        return image.get_potential_energy()


def _checked_run(fmax: Any, steps: Any) -> tuple[float, int]:
    return NOT_NEGATIVE("fmax", fmax), Whole(most=2**63 - 1)("steps", steps)
