"""What goes into the scheduler, and what comes out."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from kups_relax.data import Structure
from kups_relax.relaxation._classes import SizeClass
from kups_relax.relaxation._status import Status
from kups_relax.relaxation._step import Program


@dataclasses.dataclass(frozen=True)
class Job:
    """A structure that is ready to run.

    Attributes:
        number: Place in the caller's input.
        structure: What was read.
        program: What it runs through: with the form of the potential that it needs.
        prepared: What the potential made of it.
        moves: What its coordinates need.
        size: Its size class.
        every: Steps between two frames of its trajectory; 0: none is kept.
        guide: What the optimizer's guess of the Hessian needs; None: it asks for none.
    """

    number: int
    structure: Structure
    program: Program
    prepared: Mapping[str, np.ndarray]
    moves: Mapping[str, np.ndarray]
    size: SizeClass
    every: int = 0
    guide: Mapping[str, np.ndarray] | None = None

    @property
    def n_bytes(self) -> int:
        """What it holds in memory, about."""
        arrays = [*self.prepared.values(), *self.moves.values(), *(self.guide or {}).values()]
        # Objects of ASE and RDKit take a few kB, and more the more atoms there are.
        return sum(np.asarray(a).nbytes for a in arrays) + 4096 + 512 * self.structure.n_atoms


@dataclasses.dataclass(frozen=True)
class Refused:
    """A structure that cannot run.

    Attributes:
        number: Place in the caller's input.
        entry: What was read of it.
        reason: Why, and what to do.
    """

    number: int
    entry: Any
    reason: str


@dataclasses.dataclass(frozen=True)
class Frame:
    """A geometry on the way.

    Attributes:
        step: Moves made before it.
        positions: (n_atoms, 3) float64, Angstrom.
        cell: (3, 3) float64, Angstrom; None where it does not change.
        energy: eV.
        forces: (n_atoms, 3) float64, eV/Angstrom.
        fmax: Longest row of the forces that are judged, eV/Angstrom.
        free_energy: eV, what the forces are the slope of; None: the energy.
    """

    step: int
    positions: np.ndarray
    cell: np.ndarray | None
    energy: float
    forces: np.ndarray
    fmax: float
    free_energy: float | None = None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a structure got: all of one and the same evaluated geometry.

    Attributes:
        number: Place in the caller's input.
        structure: What was read.
        positions: (n_atoms, 3) float64, Angstrom.
        cell: (3, 3) float64, rows are lattice vectors, Angstrom; None where it did not change.
        energy: eV.
        forces: (n_atoms, 3) float64, eV/Angstrom.
        stress: (3, 3) float64, eV/Angstrom^3; None where none was asked for.
        fmax: Longest row of the forces that are judged, eV/Angstrom.
        n_steps: Moves made.
        n_evaluations: Evaluations of the potential, those of a line search's trials included.
        status: How it ended.
        reason: Why it did not converge, and what to do.
        frames: Its trajectory, where one is kept; the last frame is the outcome itself.
        free_energy: eV, what the forces are the slope of; None: the energy.
    """

    number: int
    structure: Structure
    positions: np.ndarray
    cell: np.ndarray | None
    energy: float
    forces: np.ndarray
    stress: np.ndarray | None
    fmax: float
    n_steps: int
    n_evaluations: int
    status: Status
    reason: str
    frames: tuple[Frame, ...] = ()
    free_energy: float | None = None
