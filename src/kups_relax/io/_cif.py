"""CIF files: what other programs need of a crystal, with all digits."""

import io
import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kups_relax.io._format import Format, Shown, text_file

if TYPE_CHECKING:
    import ase

# Angles and fractions are computed anew by each reader.
_ROUNDING = 1e-9


class CIF(Format):
    """One block a structure, without symmetry: cell, elements, fractional coordinates.

    A CIF has neither energies nor forces, nor a direction in space for its cell.
    """

    name = "a CIF"
    parts = frozenset()
    periodic = True

    def __init__(self) -> None:
        self._blocks: set[str] = set()

    def refuses(self, atoms: "ase.Atoms | None", topology: Any) -> str | None:
        """Return why a structure does not fit: it has no cell."""
        del topology
        if atoms is not None and not abs(atoms.cell.volume) > 1e-6:
            return (
                "came without a cell of three vectors, which a CIF needs. Write to .extxyz, or "
                "give it a cell: atoms.center(vacuum=5.0)"
            )
        return None

    def opened(self, path: Path) -> AbstractContextManager[Any]:
        """Begin a file, and return the function that adds a structure to it."""
        return text_file(path, self._block)

    def again(self, shown: Shown) -> "ase.Atoms":
        """Write a structure in memory and read it back."""
        from ase.io import read

        text = _block("x", shown)
        back: Any = read(io.BytesIO(text.encode()), format="cif", index=":")
        [atoms] = back
        return atoms

    def same_geometry(self, one: "ase.Atoms", back: "ase.Atoms") -> bool:
        """Compare elements, positions and cell, to the rounding of fractional coordinates."""
        if not np.array_equal(one.numbers, back.numbers):
            return False
        moved = one.get_scaled_positions(wrap=False) - back.get_scaled_positions(wrap=False)
        lengths = np.abs(one.cell.cellpar() / back.cell.cellpar() - 1.0)
        return bool((np.abs(moved - np.rint(moved)) < _ROUNDING).all() and (lengths < 1e-9).all())

    def _block(self, shown: Shown) -> str:
        stem = name = re.sub(r"[^!-~]", "_", shown.id)[:60]
        number = 1
        while name.lower() in self._blocks:
            number += 1
            name = f"{stem}_{number}"
        self._blocks.add(name.lower())
        return _block(name, shown)


def _block(name: str, shown: Shown) -> str:
    atoms = shown.atoms
    a, b, c, alpha, beta, gamma = atoms.cell.cellpar().tolist()
    lines = [
        f"data_{name}",
        "_symmetry_space_group_name_H-M  'P 1'",
        "_symmetry_int_tables_number  1",
        *(f"_cell_length_{x}  {value!r}" for x, value in zip("abc", (a, b, c), strict=True)),
        f"_cell_angle_alpha  {alpha!r}",
        f"_cell_angle_beta  {beta!r}",
        f"_cell_angle_gamma  {gamma!r}",
        "",
        "loop_",
        " _symmetry_equiv_pos_as_xyz",
        " 'x, y, z'",
        "",
        "loop_",
        " _atom_site_type_symbol",
        " _atom_site_label",
        " _atom_site_fract_x",
        " _atom_site_fract_y",
        " _atom_site_fract_z",
        " _atom_site_occupancy",
    ]
    counts: dict[str, int] = {}
    fractions = atoms.get_scaled_positions(wrap=False).tolist()
    for symbol, xyz in zip(atoms.get_chemical_symbols(), fractions, strict=True):
        counts[symbol] = counts.get(symbol, 0) + 1
        words = " ".join(map(repr, xyz))
        lines.append(f" {symbol} {symbol}{counts[symbol]} {words} 1.0")
    return "\n".join([*lines, "", ""])
