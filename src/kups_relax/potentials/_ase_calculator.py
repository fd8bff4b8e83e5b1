"""Any ASE calculator as a potential, in this process or in worker processes."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from kups_relax._checks import Number, Whole, can_hash, settle
from kups_relax._settings import theirs
from kups_relax.data import Structure
from kups_relax.errors import OptionError, shown
from kups_relax.potentials._base import Evaluation
from kups_relax.potentials._copies import Copies, is_calculator
from kups_relax.potentials._evaluator import Answer, Evaluator
from kups_relax.potentials._host import Asked, HostPotential, Session
from kups_relax.potentials._worker_process import WorkerProcess, pickled


@dataclasses.dataclass(frozen=True, eq=False)
class AseCalculator(HostPotential):
    """Energies, forces and stress of an ASE calculator.

    The optimizer's steps are the engine's own. Each structure advances by itself, so a slow one
    holds nobody up, and gets a fresh calculator when it starts: what a calculator remembers, the
    orbitals of the last geometry say, is the structure's own, and its result does not depend on
    what was evaluated before it. It is evaluated once a step, the start included.

    A calculator that raises, hangs, ends its process, or gives no proper forces fails its
    structure alone; the reason names both. One without a stress serves as long as cells are fixed.

    Where a calculator tells a free energy, optimizers follow that, as in ASE: it is what the forces
    are the slope of. Results have both.

    With `workers=0` structures are evaluated one at a time, in this process; with more, in that
    many processes at once, each a fresh interpreter with the environment of this one. It starts
    in about a quarter of a second, and then imports what the factory needs. Set OMP_NUM_THREADS=1
    in the environment if the calculator has threads of its own, or each process takes all cores.

    Args:
        factory: Returns a new calculator: a class such as `EMT`, or a function without arguments,
            `lambda: TBLite(method="GFN2-xTB")`. For worker processes it is serialized, a lambda
            or a function of a notebook too; it should make what it needs, not close over it. Or a
            calculator, of which each structure gets a copy, as it is now and without results; one
            that can be pickled, or made again of its class and its parameters. A factory
            may return one and the same calculator if that keeps nothing but its last result;
            `kups_relax.verify` shows whether that is so.
        workers: Worker processes; they need a POSIX system. 0: none.
        timeout: Seconds for one evaluation, the first of a structure with the making of its
            calculator. Its process is killed when they are over. None: no limit. Needs workers.
        name: What messages call the calculator. "": what the factory is called.

    Raises:
        OptionError: An option makes no sense; when a run starts, a factory that cannot be
            serialized.

    Example:
        >>> from ase.build import bulk, molecule
        >>> from ase.calculators.emt import EMT
        >>> import kups_relax as kr
        >>> start = [molecule("CH4"), bulk("Cu", cubic=True)]
        >>> kr.relax(start, kr.potentials.AseCalculator(EMT), fmax=0.05).converged.tolist()
        [True, True]
    """

    factory: Callable[[], Any]
    workers: int = dataclasses.field(default=0, kw_only=True)
    timeout: float | None = dataclasses.field(default=None, kw_only=True)
    name: str = dataclasses.field(default="", kw_only=True)  # pyright: ignore

    def __post_init__(self) -> None:
        if is_calculator(self.factory) and not isinstance(self.factory, type):
            object.__setattr__(self, "factory", Copies(self.factory))
        if not callable(self.factory):
            raise OptionError(
                f"the factory is {shown(self.factory)}, which cannot be called; expected a "
                "function that returns a new calculator, lambda: EMT() or EMT itself."
            )
        settle(self, workers=Whole(), timeout=Number(above=0, none=True, otherwise=", in seconds"))
        if not can_hash(self.factory):
            raise OptionError(
                f"the factory is {shown(self.factory)}, which cannot be hashed; give a function."
            )
        if not isinstance(self.name, str):
            raise OptionError(f"name is {shown(self.name)}; it must be text.")
        if self.workers and os.name != "posix":
            raise OptionError("worker processes need Linux or macOS; use workers=0 here.")
        if self.timeout is not None and not self.workers:
            raise OptionError(
                f"timeout is {self.timeout!r} and workers is 0: in this process a calculator "
                "cannot be stopped. Give workers=1 or more."
            )
        if not self.name:
            own = getattr(self.factory, "__name__", type(self.factory).__name__)
            object.__setattr__(self, "name", "AseCalculator" if own == "<lambda>" else own)

    def _options(self) -> tuple[Any, ...]:
        return id(self.factory), self.workers, self.timeout, self.name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AseCalculator) and self._options() == other._options()

    def __hash__(self) -> int:
        return hash(self._options())

    def n_lanes(self, n_atoms: int) -> int | None:
        """See `EnergyModel.n_lanes`: nobody waits for others."""
        del n_atoms
        return 1

    def n_workers(self) -> int | None:
        """See `HostPotential.n_workers`: a thread for each process."""
        return max(1, int(self.workers))

    def gives_stress(self) -> bool:
        """See `HostPotential.gives_stress`: who has none, says so when asked."""
        return True

    def session(self) -> Session:
        """See `HostPotential.session`.

        Raises:
            OptionError: The factory cannot be serialized.
        """
        if not self.workers:
            return _Session(self.name, Evaluator(self.factory))
        return _Session(self.name, WorkerProcess(pickled(self.factory), self.timeout))

    def describe(self) -> dict[str, Any]:
        """See `EnergyModel.describe`."""
        module = getattr(self.factory, "__module__", None)
        own = getattr(self.factory, "__qualname__", type(self.factory).__qualname__)
        return {
            "name": self.name,
            "factory": f"{module}.{own}" if module else own,
            "workers": self.workers,
            "timeout": self.timeout,
        }


class _Backend(Protocol):
    def evaluate(
        self, atoms: Any, positions: np.ndarray, cell: np.ndarray, stress: bool
    ) -> Answer: ...
    def interrupt(self) -> None: ...
    def close(self) -> None: ...


class _Session(Session):
    def __init__(self, name: str, backend: _Backend) -> None:
        self._name = name
        self._backend = backend

    def evaluate(self, asked: Asked) -> tuple[Evaluation, Mapping[int, str]]:
        [structure], [fresh] = asked.structures, asked.fresh
        assert structure is not None
        n = structure.n_atoms
        shape, dtype = asked.positions.shape, asked.positions.dtype
        positions = np.array(np.asarray(asked.positions)[:, :n, 0].T, np.float64, order="C")
        cell = np.array(np.asarray(asked.cell)[..., 0], np.float64)
        with theirs():
            atoms = _atoms(structure) if fresh else None
            answer = self._backend.evaluate(atoms, positions, cell, asked.stress)
        failed: dict[int, str] = {}
        if isinstance(answer, str):
            failed[0] = f"{structure.id!r} with calculator {self._name}: {answer}"
            answer = (0.0, np.zeros((n, 3)), None, None)
        energy, rows, tensor, free_energy = answer
        forces = np.zeros(shape, dtype)
        forces[:, :n, 0] = rows.T
        stress = None
        if asked.stress:
            stress = np.full((3, 3, 1), np.nan, dtype)
            if tensor is not None:
                stress[..., 0] = tensor
        free_energy = energy if free_energy is None else free_energy
        energies: Any = np.array([[energy], [free_energy]], dtype)
        shown: Any = forces, stress
        return Evaluation(energies[0], *shown, free_energy=energies[1]), failed

    def interrupt(self) -> None:
        self._backend.interrupt()

    def close(self) -> None:
        self._backend.close()


def _atoms(structure: Structure) -> Any:
    """Copy what was read, charges and all, without constraints: these are not the calculator's."""
    from ase import Atoms

    if structure.atoms is not None:
        atoms = structure.atoms.copy()
        atoms.set_constraint()
        return atoms
    info = {} if structure.charge is None else {"charge": structure.charge}
    return Atoms(
        numbers=structure.numbers,
        positions=structure.positions,
        cell=structure.cell,
        pbc=structure.pbc,
        info=info,
    )
