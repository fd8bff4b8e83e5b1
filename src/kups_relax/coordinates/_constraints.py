"""What the constraints of a structure keep in place, on the host."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from kups_relax.data import Structure
from kups_relax.errors import StructureError


@dataclasses.dataclass(frozen=True, eq=False)
class Held:
    """What the constraints of a structure keep in place.

    Attributes:
        kinds: Which of `_held.FIELDS` there are, sorted.
        arrays: Their arrays.
    """

    kinds: tuple[str, ...]
    arrays: Mapping[str, np.ndarray]


def held_by(structure: Structure, moving_cell: bool) -> Held:
    """Read the constraints of a structure.

    Raises:
        StructureError: It carries constraints.
    """
    del moving_cell
    constraints = getattr(structure.atoms, "constraints", None)
    if constraints:
        names = ", ".join(sorted({type(c).__name__ for c in constraints}))
        raise StructureError(
            f"{structure.id!r} carries constraints ({names}), which relax does not honour yet and "
            "will not drop silently. Remove them with del atoms.constraints to relax all atoms."
        )
    return Held((), {})
