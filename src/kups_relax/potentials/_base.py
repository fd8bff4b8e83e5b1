"""The contract between a potential and the engine."""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import numpy as np

from kups_relax.data import Field, Structure, Terms


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Energy and forces of every lane of a tile, and what else a potential gives.

    What is not used is not computed: the compiler drops it.

    Attributes:
        energy: (n_lanes,), eV.
        forces: (3, atom capacity, n_lanes), eV/Angstrom; zero for padding atoms.
        stress: (3, 3, n_lanes), eV/Angstrom^3, ASE's sign: the derivative of the energy by the
            strain, over the volume. None: not supported.
        energies: (atom capacity, n_lanes), eV, shares of the atoms. None: there are none.
        free_energy: (n_lanes,), eV: what the forces are the slope of, where that is not the
            energy, as with smeared occupations of electrons; for models of the host. None: the
            energy.
    """

    energy: jax.Array
    forces: jax.Array
    stress: jax.Array | None = None
    energies: jax.Array | None = None
    free_energy: jax.Array | None = None


jax.tree_util.register_dataclass(
    Evaluation,
    data_fields=["energy", "forces", "stress", "energies", "free_energy"],
    meta_fields=[],
)


class EnergyModel(abc.ABC):
    """What relaxes a structure: a `Potential` on the device, or a `HostPotential`.

    A model is an immutable value: it is hashed and compared by its options, because the
    compiled program depends on it and on nothing else of it. Everything that differs from one
    structure to the next is data, made on the host by `prepare`.
    """

    name: ClassVar[str]

    @property
    def coarse(self) -> Mapping[str, int]:
        """Axes of its own whose padding costs little, and how coarse their capacities may be.

        Each capacity is so many times the last one: structures get fewer size classes. Other
        axes follow the finer ladder of atom capacities.
        """
        return {}

    @property
    def slack(self) -> float | None:
        """Angstrom: how far an atom may be from where it was at `prepare`. None: anywhere.

        Half the skin of a neighbour list. When an atom has gone farther, the engine calls
        `prepare` again, for that structure alone.
        """
        return None

    @property
    def reach(self) -> float | None:
        """Angstrom: pairs up to this distance are in the arrays; the cutoff and the skin.

        With `slack` it says how much strain of a cell the arrays bear: pairs farther apart than
        `reach` must not come within the cutoff. None, where there is a slack: `prepare` is called
        whenever the cell has changed.
        """
        return None

    @property
    def too_large(self) -> str:
        """Sentence that says what to do about a structure that memory does not hold."""
        return "Relax smaller structures, or use a potential with a cutoff."

    def specialize(self, structure: Structure) -> "EnergyModel":
        """Return the form of this model that a structure needs, e.g. one with neighbour lists.

        Raises:
            PotentialError: No form can describe the structure.
        """
        del structure
        return self

    def caution(self, structure: Structure) -> str | None:
        """Say why what a structure gets is not to be relied on; None: nothing speaks against it.

        A run logs each such sentence once, with the first structure of which it is true.
        """
        del structure
        return None

    @abc.abstractmethod
    def prepare(self, structure: Structure) -> Mapping[str, np.ndarray]:
        """Make the arrays of one structure, on the host.

        Returns:
            One array for each entry of `fields`, with the axes that it names, unpadded.

        Raises:
            PotentialError: The potential cannot describe the structure; the message names the
                structure, the reason, and what would serve instead.
        """

    @abc.abstractmethod
    def fields(self) -> Mapping[str, Field]:
        """Say how the arrays that `prepare` returns are laid out."""

    def capacities(self, n_atoms: int) -> Mapping[str, int]:
        """Lengths of the model's own axes in a tile whose atom capacity is `n_atoms`.

        The engine gives a structure the smallest atom capacity at which everything fits, so
        these need to be generous for common structures and not for all. An axis that is not
        named here gets a capacity of its own, from its length in the structure.
        """
        del n_atoms
        return {}

    def n_lanes(self, n_atoms: int) -> int | None:
        """Structures side by side in a tile of that atom capacity. None: the engine chooses."""
        del n_atoms
        return None

    def describe(self) -> dict[str, Any]:
        """Return the options as plain values, for records and reports."""
        options = dataclasses.asdict(self) if dataclasses.is_dataclass(self) else {}
        return {"name": self.name, **options}


class Potential(EnergyModel):
    """An energy model that runs on tiles, on the device.

    To add one: subclass as a frozen dataclass, fill in `prepare`, `fields` and `evaluate`,
    register the name in `potentials/_named.py`, test it against an oracle, and run
    `kups_relax.verify` and `kups_relax.testing.check_potential` on it.

    Attributes:
        rounds: Whether the engine has every operation of `evaluate` rounded on its own
            (`kups_relax.ops.rounded`), so that its bits are the same in any program.
    """

    rounds: ClassVar[bool] = True

    def parameters(self) -> Any:
        """Return what all structures share and `evaluate` finds in its terms: a model's weights.

        A pytree of arrays, or None.
        """
        return None

    @abc.abstractmethod
    def evaluate(self, positions: jax.Array, cell: jax.Array, terms: Terms) -> Evaluation:
        """Compute energy and forces of a tile: pure, jittable, nothing looks across lanes.

        Args:
            positions: (3, atom capacity, n_lanes), Angstrom. Padding atoms are at the origin.
            cell: (3, 3, n_lanes), Angstrom: cell[i, :, lane] is lattice vector i. Zero for
                structures without one, and in empty lanes.
            terms: The prepared arrays.
        """
