"""Ask ASE calculators for energies and forces; and the program that a worker process runs.

A worker runs this file by its path. It imports neither the rest of the package nor JAX, so that it
is there in a fraction of a second, and so does this file.
"""

import os
import pickle
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

import numpy as np

# Energy in eV, (n_atoms, 3) forces in eV/Angstrom, (3, 3) stress in eV/Angstrom^3 where there is
# one, energy that is consistent with the forces where there is another; or why there is no answer,
# and what to do.
Answer: TypeAlias = tuple[float, np.ndarray, np.ndarray | None, float | None] | str


class Fault(Exception):
    """What is wrong with a factory, or with its calculator; a sentence, and the way out."""


class Evaluator:
    """Evaluate one structure after another, each with a calculator of its own.

    Args:
        factory: Makes the calculators.
    """

    def __init__(self, factory: Callable[[], Any]) -> None:
        self._factory = factory
        self._atoms: Any = None

    def evaluate(self, atoms: Any, positions: np.ndarray, cell: np.ndarray, stress: bool) -> Answer:
        """Evaluate a geometry. No error of the calculator leaves here.

        Args:
            atoms: The next structure, for which a calculator is made; it is kept. None: the
                structure of the last call.
            positions: (n_atoms, 3) float64, Angstrom.
            cell: (3, 3) float64, Angstrom.
            stress: Whether to ask for the stress.
        """
        try:
            if atoms is not None:
                self._atoms = None  # the last calculator goes before the next one comes
                atoms.calc = self._new_calculator()
                self._atoms = atoms
            atoms = self._atoms
            atoms.set_cell(cell, scale_atoms=False, apply_constraint=False)
            atoms.set_positions(positions, apply_constraint=False)
            return _ask(atoms, stress)
        except Fault as fault:
            return str(fault)

    def interrupt(self) -> None:
        """Do nothing: what runs in this process runs to its end."""

    def close(self) -> None:
        """Give the calculator up."""
        self._atoms = None

    def _new_calculator(self) -> Any:
        try:
            calculator = self._factory()
        except Fault:
            raise
        except (Exception, SystemExit) as error:
            raise Fault(
                f"the factory raised {described(error)}. Call it by itself to see why."
            ) from error
        known = all(callable(getattr(calculator, n, None)) for n in _METHODS)
        if isinstance(calculator, type) or not known:
            raise Fault(
                f"the factory returned {_shown(calculator)}, which is no ASE calculator; "
                "expected an object with get_potential_energy and get_forces, such as EMT()."
            )
        return calculator


_METHODS = ("get_potential_energy", "get_forces")


def _ask(atoms: Any, stress: bool) -> Answer:
    """Ask for what is most to compute first: what comes with it is then there already."""
    calculator, n = atoms.calc, len(atoms)
    tensor, unable = _tensor(calculator, atoms) if stress else (None, None)
    try:
        energy, forces = _energy_and_forces(calculator, atoms, n)
    except Fault as fault:
        # What it could not do at first says more than what it stumbles over then.
        raise unable or fault from fault
    return energy, forces, tensor, _free_energy(calculator, atoms)


def _energy_and_forces(calculator: Any, atoms: Any, n: int) -> tuple[float, np.ndarray]:
    forces = _get(calculator.get_forces, atoms, "forces")
    energy = _get(calculator.get_potential_energy, atoms, "energy")
    forces = _numbers(calculator, "forces", forces, [(n, 3)])
    return float(_numbers(calculator, "an energy", energy, [()])), forces


def _free_energy(calculator: Any, atoms: Any) -> float | None:
    """Ask for the energy that forces are the slope of, of calculators that say they have one."""
    if "free_energy" not in (getattr(calculator, "implemented_properties", None) or ()):
        return None

    def ask(atoms: Any) -> Any:
        return calculator.get_potential_energy(atoms, force_consistent=True)

    try:
        energy = _get(ask, atoms, "free energy")
    except _NotGiven:
        return None  # declared, and not there for this structure
    return float(_numbers(calculator, "a free energy", energy, [()]))


def _tensor(calculator: Any, atoms: Any) -> tuple[np.ndarray | None, Fault | None]:
    """Ask for the stress; where there is none, say why: a fixed cell needs none."""
    if not callable(getattr(calculator, "get_stress", None)):
        return None, None
    try:
        stress = _get(calculator.get_stress, atoms, "stress")
    except _NotGiven:
        return None, None
    except _Unable as unable:
        return None, unable
    stress = _numbers(calculator, "a stress", stress, [(6,), (3, 3)])
    if stress.shape == (3, 3):
        return stress, None
    xx, yy, zz, yz, xz, xy = stress
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]), None


class _NotGiven(Fault):
    """There is no such property."""


class _Unable(Fault):
    """There is one, and not for this structure."""


def _get(method: Callable[[Any], Any], atoms: Any, what: str) -> Any:
    name = type(atoms.calc).__name__
    try:
        return method(atoms)
    except NotImplementedError as error:
        known = getattr(atoms.calc, "implemented_properties", None)
        if not _is_missing(error, known, what):
            raise _Unable(
                f"{name} raised {described(error)}. It gives {', '.join(known or ())}, so this "
                "structure, or a setting, is what it cannot do. Leave the structure out, or choose "
                "another calculator."
            ) from error
        has = f"; it gives {', '.join(known)}" if known else ""
        raise _NotGiven(
            f"{name} gives no {what} ({described(error)}){has}. Choose a calculator that gives "
            "energy and forces."
        ) from error
    except (Exception, SystemExit) as error:
        raise Fault(
            f"{name} raised {described(error)}. Evaluate the returned geometry with it to see "
            "more, change its settings, or leave the structure out."
        ) from error


def _is_missing(error: Exception, known: Any, what: str) -> bool:
    """Return whether a calculator does not implement a property, by its error or its list."""
    from ase.calculators.calculator import PropertyNotImplementedError

    missing = isinstance(error, PropertyNotImplementedError)
    return missing or what.replace(" ", "_") not in (known or ())


def _numbers(calculator: Any, what: str, value: Any, shapes: list[tuple[int, ...]]) -> np.ndarray:
    try:
        array = np.array(value, np.float64)
        got = f"of shape {array.shape}"
    except (TypeError, ValueError):
        array, got = None, f"that is {_shown(value)}"
    if array is None or array.shape not in shapes:
        expected = " or ".join(map(str, shapes))
        raise Fault(
            f"{type(calculator).__name__} gave {what} {got}, expected real numbers of shape "
            f"{expected}. Repair the calculator."
        )
    return array


def _shown(value: Any) -> str:
    # As `kups_relax.errors.shown`, which a worker process cannot import.
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def described(error: BaseException) -> str:
    """Tell an exception in a line: its type, its text, and where it was raised."""
    text = " ".join(str(error).split())[:400]
    frames = traceback.extract_tb(error.__traceback__)
    where = (
        f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""
    )
    return type(error).__name__ + (f": {text}" if text else "") + where


def main(connection: Connection) -> None:
    """Answer what comes through a connection, until it is closed."""
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        sys.path[:], factory = connection.recv()
        evaluator = Evaluator(_loaded(factory))
        connection.send(None)
        while (message := connection.recv()) is not None:
            atoms, *geometry = message
            try:
                atoms = None if atoms is None else pickle.loads(atoms)
            except Exception as error:
                answer = f"a worker process cannot load the atoms: {described(error)}. Remove "
                connection.send(answer + "from atoms.info what it cannot import.")
            else:
                connection.send(evaluator.evaluate(atoms, *geometry))
    except (EOFError, ConnectionError):
        return


def _loaded(factory: bytes) -> Callable[[], Any]:
    try:
        return pickle.loads(factory)
    except Exception as error:
        fault = Fault(
            f"a worker process cannot load the factory: {described(error)}. Define it where "
            "Python finds it, in an installed module or in the script itself, or use workers=0."
        )

    def broken() -> Any:
        raise fault

    return broken


def _end_with_parent(parent: int) -> None:
    """Leave nothing behind when the parent was killed while this one is busy."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os.killpg(0, 9)


if __name__ == "__main__":
    # Programs that a calculator starts do not hold it open; that it closes tells of the end.
    os.set_inheritable(int(sys.argv[1]), False)
    there = Connection(int(sys.argv[1]))
    main(there)
