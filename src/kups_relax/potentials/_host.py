"""Energy models that are evaluated on the host, between two steps of the optimizer."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kups_relax.data import Field, Structure
from kups_relax.potentials._base import EnergyModel, Evaluation


@dataclasses.dataclass(frozen=True)
class Asked:
    """The trial geometries of a tile.

    Attributes:
        structures: One for each lane: which structure it holds, with the geometry that it
            started from. None: the lane needs no evaluation.
        positions: (3, atom capacity, n_lanes), Angstrom: a `jax.Array`.
        cell: (3, 3, n_lanes), Angstrom: likewise.
        stress: Whether the stress is wanted.
        fresh: One for each lane: whether its structure is asked for the first time.
    """

    structures: Sequence[Structure | None]
    positions: Any
    cell: Any
    stress: bool
    fresh: Sequence[bool]


class Session(abc.ABC):
    """What one worker thread uses to evaluate: a process, a model on a device."""

    @abc.abstractmethod
    def evaluate(self, asked: Asked) -> tuple[Evaluation, Mapping[int, str]]:
        """Evaluate the lanes that hold a structure.

        Returns:
            An evaluation of the whole tile, in the dtype of the positions, and for each lane that
            could not be evaluated the reason. Such lanes, and those that were not asked for, hold
            any finite numbers. A stress of NaN says that the structure has none to give.
        """

    def interrupt(self) -> None:
        """Have `evaluate` return soon, if that can be done. Called from another thread."""
        return None

    def close(self) -> None:
        """Give up what the session holds."""
        return None


class HostPotential(EnergyModel):
    """An energy model that the host evaluates: an ASE calculator, a model of another framework.

    Structures take the same steps, judged and moved by the same programs, as with a `Potential`.
    """

    @abc.abstractmethod
    def session(self) -> Session:
        """Start what one worker thread needs. It is closed when the thread ends."""

    def n_workers(self) -> int | None:
        """How many threads evaluate at once. None: one."""
        return None

    def gives_stress(self) -> bool:
        """Whether stress can be asked for."""
        return False

    def prepare(self, structure: Structure) -> Mapping[str, np.ndarray]:
        """See `EnergyModel.prepare`. There is nothing to prepare."""
        del structure
        return {}

    def fields(self) -> Mapping[str, Field]:
        """See `EnergyModel.fields`."""
        return {}


def given(stress: np.ndarray | None) -> np.ndarray | None:
    """Take a structure's stress as a session tells it: None where it is NaN."""
    return None if stress is None or np.isnan(stress).all() else stress
