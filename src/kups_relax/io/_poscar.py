"""POSCAR files of VASP."""

import io
import itertools
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kups_relax.io._format import Format, Shown, text_file
from kups_relax.io._left_out import encodable

if TYPE_CHECKING:
    import ase


class POSCAR(Format):
    """One structure: its cell, elements and Cartesian coordinates, with all digits.

    Atoms stay in their order: an element may have several counts. FixAtoms and FixScaled are
    selective dynamics, along the vectors of the cell.
    """

    name = "a POSCAR"
    parts = frozenset({"constraints"})
    periodic = True
    single = True

    def refuses(self, atoms: "ase.Atoms | None", topology: Any) -> str | None:
        """Return why a structure does not fit: it has no cell."""
        del topology
        if atoms is not None and not abs(atoms.cell.volume) > 1e-6:
            return (
                "came without a cell of three vectors, which a POSCAR needs. Write to .extxyz, or "
                "give it a cell: atoms.center(vacuum=5.0)"
            )
        return None

    def opened(self, path: Path) -> AbstractContextManager[Any]:
        """Begin a file, and return the function that adds a structure to it."""
        return text_file(path, _text)

    def again(self, shown: Shown) -> "ase.Atoms":
        """Write a structure in memory and read it back."""
        from ase.io import read

        back: Any = read(io.StringIO(_text(shown)), format="vasp")
        back.pbc = shown.atoms.pbc
        back.constraints = _as_given(shown.atoms, back)
        return back


def _text(shown: Shown) -> str:
    atoms = shown.atoms
    runs = [(s, len(list(g))) for s, g in itertools.groupby(atoms.get_chemical_symbols())]
    lines = [
        " ".join(encodable(shown.id).split())[:200],
        "1.0",
        *(" ".join(map(repr, vector)) for vector in atoms.cell.array.tolist()),
        " ".join(symbol for symbol, _ in runs),
        " ".join(str(count) for _, count in runs),
    ]
    held = _held(atoms.constraints, len(atoms))
    if held.any():
        lines.append("Selective dynamics")
    lines.append("Cartesian")
    for xyz, fixed in zip(atoms.positions.tolist(), held.tolist(), strict=True):
        flags = ["F" if one else "T" for one in fixed] if held.any() else []
        lines.append(" ".join([*map(repr, xyz), *flags]))
    return "\n".join(lines) + "\n"


def _held(constraints: list[Any], n: int) -> np.ndarray:
    """(n, 3), along which vectors of the cell atoms are held.

    Raises:
        ValueError: A constraint says more.
    """
    from ase.constraints import FixAtoms, FixScaled

    held = np.zeros((n, 3), bool)
    for constraint in constraints:
        if type(constraint) is FixAtoms:
            held[constraint.index] = True
        elif type(constraint) is FixScaled:
            held[constraint.index] |= np.asarray(constraint.mask, bool)
        else:
            raise ValueError(f"{type(constraint).__name__} is no selective dynamics")
    return held


def _as_given(atoms: "ase.Atoms", back: "ase.Atoms") -> list[Any]:
    """The constraints that were written, if those that were read hold the same."""
    given = list(atoms.constraints)
    same = np.array_equal(_held(given, len(atoms)), _held(back.constraints, len(back)))
    return given if same else list(back.constraints)
