"""What one structure got, as results and stores keep it."""

import dataclasses
import hashlib
import math
import time
from typing import Any

import numpy as np

from kups_relax import io
from kups_relax.data import Structure
from kups_relax.errors import printable
from kups_relax.relaxation import Frame, Outcome, Refused, Status

# Where the components of a stress in Voigt order are in the 3 x 3 matrix.
_VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Record:
    """One structure and its results, all of one and the same evaluated geometry.

    Attributes:
        number: Place in the caller's input.
        entry: What was read.
        numbers: (n_atoms,) int32; no atoms where nothing could be read.
        positions: (n_atoms, 3) float64, Angstrom.
        cell: (3, 3) float64, Angstrom.
        pbc: (3,) bool.
        energy: eV; NaN where there is none.
        forces: (n_atoms, 3) float64, eV/Angstrom; None where there is no energy.
        stress: (6,) float64, Voigt order, eV/Angstrom^3; None where there is none.
        fmax: eV/Angstrom; NaN where there is none.
        n_steps: Moves made.
        n_evaluations: Evaluations of the potential.
        status: How it ended.
        reason: Why it did not converge, and what to do, without its id; "" if it did.
        frames: Its trajectory, where one is kept.
        finished: When, seconds since 1970.
        free_energy: eV, what the forces are the slope of; None: the energy.
    """

    number: int
    entry: io.Entry
    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    energy: float
    forces: np.ndarray | None
    stress: np.ndarray | None
    fmax: float
    n_steps: int
    n_evaluations: int
    status: str
    reason: str
    frames: tuple[Frame, ...] = ()
    finished: float = dataclasses.field(default_factory=time.time)
    free_energy: float | None = None

    @classmethod
    def of(cls, item: Outcome | Refused) -> "Record":
        """Bring what the scheduler hands out into one form."""
        if isinstance(item, Refused):
            return _refused(item)
        s, known = item.structure, math.isfinite(item.energy)
        stress = item.stress if known else None
        if stress is not None:
            stress = (stress[_VOIGT] + stress[_VOIGT[::-1]]) / 2
        return cls(
            number=item.number,
            entry=s,
            numbers=s.numbers,
            positions=item.positions,
            cell=s.cell if item.cell is None else item.cell,
            pbc=s.pbc,
            energy=item.energy,
            forces=item.forces if known else None,
            stress=stress,
            fmax=item.fmax,
            n_steps=item.n_steps,
            n_evaluations=item.n_evaluations,
            status=item.status.label,
            reason=reason_alone(item.reason, s.id),
            frames=item.frames,
            free_energy=item.free_energy if known else None,
        )

    @property
    def fingerprint(self) -> str:
        """See `Results`."""
        return fingerprint(
            self.positions,
            self.cell,
            self.forces,
            self.stress,
            energies(self.energy, self.fmax, self.free_energy),
            f"{self.n_steps} {self.status}",
        )

    def trajectory(self) -> list[Any]:
        """Return the geometries on the way, as Atoms; see `frame_atoms`."""
        atoms = self.atoms()
        return [frame_atoms(atoms, self.cell, frame) for frame in self.frames]

    def atoms(self) -> Any:
        """Return the `ase.Atoms`, results attached."""
        if not isinstance(self.entry, Structure):
            from ase import Atoms

            atoms = Atoms() if self.entry.atoms is None else self.entry.atoms.copy()
            atoms.info["id"] = self.entry.id
        else:
            known = self.forces is not None
            atoms = io.to_atoms(
                self.entry,
                self.positions,
                self.cell,
                energy=self.energy if known else None,
                free_energy=self.free_energy,
                forces=self.forces,
                stress=self.stress,
            )
        atoms.info["status"] = self.status
        return atoms


def energies(energy: float, fmax: float, free_energy: float | None) -> np.ndarray:
    """Return what a fingerprint holds of them: a free energy where it is not the energy."""
    same = free_energy is None or free_energy == energy
    return np.array([energy, fmax] if same else [energy, fmax, free_energy])


def fingerprint(*parts: np.ndarray | str | None) -> str:
    """Sha256 over the bits of some float64 arrays, and text."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(part.encode())
        elif part is not None:
            digest.update(np.ascontiguousarray(part, "<f8").tobytes())
    return digest.hexdigest()


def reason_alone(reason: str, label: str) -> str:
    """Return a reason without the id that errors begin with: whoever prints it says whose it is.

    Example:
        >>> reason_alone("'water': atoms 0 and 1 are at one place.", "water")
        'atoms 0 and 1 are at one place.'
    """
    rest = reason.removeprefix(repr(label))
    if rest == reason:
        rest = reason.removeprefix(f"{label}:")
    # Reasons hold what others wrote: a library, a file.
    return printable(rest if rest == reason else rest.lstrip(": ").removeprefix("with "))


def frame_atoms(atoms: Any, cell: Any, frame: Frame) -> Any:
    """Put a geometry on the way into a copy of a structure's atoms.

    `info["step"]` says how many moves came before.
    """
    copy = atoms.copy()
    copy.set_cell(cell if frame.cell is None else frame.cell, apply_constraint=False)
    copy.set_positions(frame.positions, apply_constraint=False)
    copy.info["step"] = frame.step
    io.attach(copy, frame.energy, frame.forces, free_energy=frame.free_energy)
    return copy


def _refused(item: Refused) -> Record:
    """A structure that did not run comes back as it was; empty where nothing could be read."""
    source: Any = item.entry if isinstance(item.entry, Structure) else item.entry.atoms
    none = source is None
    return Record(
        number=item.number,
        entry=item.entry,
        numbers=np.zeros(0, np.int32) if none else np.array(source.numbers, np.int32),
        positions=np.zeros((0, 3)) if none else np.array(source.positions, np.float64),
        cell=np.zeros((3, 3)) if none else np.array(source.cell, np.float64).reshape(3, 3),
        pbc=np.zeros(3, bool) if none else np.array(source.pbc, bool),
        energy=math.nan,
        forces=None,
        stress=None,
        fmax=math.nan,
        n_steps=0,
        n_evaluations=0,
        status=Status.FAILED.label,
        reason=reason_alone(item.reason, item.entry.id),
    )
