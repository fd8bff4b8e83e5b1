"""Sums of potentials."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import jax
import numpy as np

from kups_relax.data import Field, Structure, Terms
from kups_relax.errors import OptionError, shown
from kups_relax.ops import keep, rounded
from kups_relax.potentials._base import Evaluation, Potential

# Axes that all parts share; all others are a part's own.
_COMMON = ("atoms", "pairs")


@dataclasses.dataclass(frozen=True, init=False)
class Sum(Potential):
    """Add potentials up: short-ranged repulsion to a fitted model, dispersion to one without.

    Energy, forces, stress and energies of atoms are those of the parts, added in their order; the
    last two only where all parts give them. Each part has its own lists and cutoff. Lists are made
    anew when the first of them no longer holds, for all parts.

    It costs what the parts cost. Parts are rounded as they are alone; if one of them is a
    `GraphModel`, the others still are, and nothing is merged across.

    Attributes:
        parts: The potentials, in order.

    Raises:
        OptionError: There is no part, or one that is not evaluated on the device, such as
            `AseCalculator`.

    Example:
        >>> import ase, kups_relax as kr
        >>> from kups_relax.potentials import LennardJones, Morse, Sum
        >>> pair = ase.Atoms("Ar2", [[0, 0, 0], [0, 0, 3.6]])
        >>> both = Sum(LennardJones(0.0104, 3.4), Morse(epsilon=0.01, r0=3.8))
        >>> bool(kr.relax(pair, both, progress=False).converged[0])
        True
    """

    name: ClassVar[str] = "sum"

    parts: tuple[Potential, ...]

    def __init__(self, *parts: Potential) -> None:
        if not parts:
            raise OptionError("a Sum needs a potential; give it some, Sum(EMT(), LennardJones()).")
        for part in parts:
            if not isinstance(part, Potential):
                raise OptionError(
                    f"Sum cannot add {shown(part)}; expected potentials that are evaluated on the "
                    "device, such as EMT(). Add ASE calculators by "
                    "ase.calculators.mixing.SumCalculator, within one AseCalculator."
                )
        object.__setattr__(self, "parts", parts)

    @property
    def rounds(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """See `Potential`: whether all parts are rounded by the engine."""
        return all(part.rounds for part in self.parts)

    @property
    def slack(self) -> float | None:
        """See `EnergyModel.slack`: the smallest of the parts."""
        return _smallest([part.slack for part in self.parts])

    @property
    def reach(self) -> float | None:
        """See `EnergyModel.reach`: the largest of the parts that have lists."""
        far = [part.reach for part in self.parts if part.slack is not None]
        known = [r for r in far if r is not None]
        return max(known) if known and len(known) == len(far) else None

    @property
    def coarse(self) -> Mapping[str, int]:
        """See `EnergyModel.coarse`."""
        return {
            f"{i}.{axis}": factor
            for i, part in enumerate(self.parts)
            for axis, factor in part.coarse.items()
        }

    def describe(self) -> dict[str, Any]:
        """See `EnergyModel.describe`."""
        return {"name": self.name, "parts": [part.describe() for part in self.parts]}

    def caution(self, structure: Structure) -> str | None:
        """Say what the parts say. See `EnergyModel.caution`."""
        said = [part.caution(structure) for part in self.parts]
        return " ".join(text for text in said if text) or None

    def specialize(self, structure: Structure) -> "Sum":
        """Sum the forms that a structure needs. See `EnergyModel.specialize`.

        Raises:
            PotentialError: No form of a part can describe the structure.
        """
        forms = []
        for part in self.parts:
            form = part.specialize(structure)
            assert isinstance(form, Potential), form
            forms.append(form)
        return Sum(*forms)

    def prepare(self, structure: Structure) -> Mapping[str, np.ndarray]:
        """See `EnergyModel.prepare`."""
        return {
            prefix + name: array
            for prefix, part in self._prefixed()
            for name, array in part.prepare(structure).items()
        }

    def fields(self) -> Mapping[str, Field]:
        """See `EnergyModel.fields`."""
        return {
            prefix + name: dataclasses.replace(
                field, axes=tuple(_own_axis(prefix, axis) for axis in field.axes)
            )
            for prefix, part in self._prefixed()
            for name, field in part.fields().items()
        }

    def capacities(self, n_atoms: int) -> Mapping[str, int]:
        """See `EnergyModel.capacities`."""
        return {
            prefix + axis: length
            for prefix, part in self._prefixed()
            for axis, length in part.capacities(n_atoms).items()
        }

    def n_lanes(self, n_atoms: int) -> int | None:
        """See `EnergyModel.n_lanes`: the smallest of the parts."""
        return _smallest([part.n_lanes(n_atoms) for part in self.parts])

    def parameters(self) -> tuple[Any, ...]:
        """See `Potential.parameters`: those of each part."""
        return tuple(part.parameters() for part in self.parts)

    def evaluate(self, positions: jax.Array, cell: jax.Array, terms: Terms) -> Evaluation:
        """See `Potential.evaluate`."""
        got: list[Evaluation] = []
        for k, (prefix, part) in enumerate(self._prefixed()):
            evaluate = rounded(part.evaluate) if part.rounds and not self.rounds else part.evaluate
            one = evaluate(positions, cell, _of_part(terms, prefix, terms.parameters[k]))
            # What the compiler may do within a part, it may not do with the sum.
            got.append(one if part.rounds else jax.tree.map(keep, one))
        return Evaluation(
            energy=_added([one.energy for one in got]),
            forces=_added([one.forces for one in got]),
            stress=_added([one.stress for one in got]),
            energies=_added([one.energies for one in got]),
        )

    def _prefixed(self) -> Iterator[tuple[str, Potential]]:
        """Each part, and what the names of its arrays and axes start with."""
        return ((f"{k}.", part) for k, part in enumerate(self.parts))


def _own_axis(prefix: str, axis: str | int) -> str | int:
    return prefix + axis if isinstance(axis, str) and axis not in _COMMON else axis


def _of_part(terms: Terms, prefix: str, parameters: Any) -> Terms:
    """What a part would find if it were alone."""
    arrays, counts = (
        {name.removeprefix(prefix): x for name, x in named.items() if name.startswith(prefix)}
        for named in (terms.arrays, terms.counts)
    )
    return Terms(arrays, {"atoms": terms.counts["atoms"], **counts}, parameters)


def _added(values: Sequence[Any]) -> Any:
    """The sum from first to last; None where one is None."""
    if any(value is None for value in values):
        return None
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def _smallest(values: Sequence[Any]) -> Any:
    return min((value for value in values if value is not None), default=None)
