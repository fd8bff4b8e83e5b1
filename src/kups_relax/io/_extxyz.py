"""Extended XYZ that loses no bit.

ASE's own writer rounds coordinates and forces to 8 decimals, turns the text "007" into a number
when it is read back, and loses backslashes (SMILES have them). What is written here is read back
unchanged by ASE's reader.
"""

import io
import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kups_relax.io._format import Format, Shown, moving, text_file

if TYPE_CHECKING:
    import ase

_KINDS = {"f": "R", "i": "I", "u": "I", "b": "L", "U": "S", "S": "S", "O": "S"}


class ExtendedXYZ(Format):
    """Text with all digits, one structure after the other."""

    name = "extended XYZ"
    parts = frozenset({"info", "arrays", "results", "constraints", "celldisp"})
    columns = True

    def opened(self, path: Path) -> AbstractContextManager[Any]:
        """Begin a file, and return the function that adds a structure to it."""
        return text_file(path, _frame)

    def again(self, shown: Shown) -> "ase.Atoms":
        """Write a structure in memory and read it back."""
        from ase.io import read

        # As a file would: half of a surrogate pair is an error here, and not at the end.
        text = _frame(shown).encode().decode()
        back: Any = read(io.StringIO(text, newline=None), format="extxyz", index=":")
        [atoms] = back
        return atoms


def _frame(shown: Shown) -> str:
    """Write one frame: every array, info entry and result, with all digits.

    Raises:
        ValueError: It has something for which there is no place.
    """
    atoms = shown.atoms
    results = dict(getattr(atoms.calc, "results", {}))
    columns = {"species": np.array(atoms.get_chemical_symbols()), "pos": atoms.positions}
    mask = _move_mask(atoms)
    if not mask.all():
        columns["move_mask"] = mask
    per_atom, per_frame = _split(results, len(atoms))
    arrays = {k: v for k, v in atoms.arrays.items() if k not in ("numbers", "positions")}
    columns.update({name: _column(name, value) for name, value in {**arrays, **per_atom}.items()})
    parts = []
    if atoms.cell.array.any():
        parts.append(f'Lattice="{_words(atoms.cell.array)}"')
    layout = [
        f"{name}:{_KINDS[value.dtype.kind]}:{value.size // len(atoms)}"
        for name, value in columns.items()
    ]
    parts.append(f"Properties={':'.join(layout)}")
    for key, value in {**atoms.info, **shown.labels, **per_frame}.items():
        parts.append(f"{_quoted(str(key))}={_encoded(str(key), value)}")
    parts.append(f'pbc="{_words(atoms.pbc)}"')
    table = [_cells(value.reshape(len(atoms), -1)) for value in columns.values()]
    rows = [" ".join(row) for row in zip(*table, strict=True)]
    return "\n".join([str(len(atoms)), " ".join(parts), *rows]) + "\n"


def _split(results: dict[str, Any], n_atoms: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    from ase.outputs import all_outputs
    from ase.stress import voigt_6_to_full_3x3_stress

    per_atom, per_frame = {}, {}
    for name, value in results.items():
        shape = getattr(all_outputs.get(name), "shapespec", ())
        if shape[:1] == ("natoms",):
            per_atom[name] = np.asarray(value)
        elif name == "stress":
            per_frame[name] = voigt_6_to_full_3x3_stress(value)
        else:
            per_frame[name] = value
    return per_atom, per_frame


def _column(name: str, value: Any) -> np.ndarray:
    """Check what becomes a column: it has no other place."""
    value = np.asarray(value)
    if value.dtype.kind in "USO":
        value = np.array([str(v) for v in value.ravel()]).reshape(value.shape)
    if value.ndim > 2 or any(c in name for c in ' :="'):
        raise ValueError(f"{name} is no column")
    return value


def _move_mask(atoms: "ase.Atoms") -> np.ndarray:
    """(n_atoms,), or (n_atoms, 3) where single axes are fixed: which coordinates may move."""
    mask = moving(atoms.constraints, len(atoms))
    if mask is None:
        raise ValueError("constraints other than fixed coordinates have no column")
    whole = (mask == mask[:, :1]).all()
    return mask[:, 0] if whole else mask


def _encoded(key: str, value: Any) -> str:
    """Text that ASE's reader turns back into the value.

    Raises:
        ValueError: There is none.
        TypeError: There is none.
    """
    from ase.io.extxyz import SPECIAL_3_3_KEYS

    if isinstance(value, np.generic):
        value = value.item()
    if key in SPECIAL_3_3_KEYS:
        # The reader takes nothing but nine numbers here, the columns one after the other.
        if np.size(value) != 9:
            raise ValueError(f"{key} must be nine numbers")
        return f'"{_words(np.ravel(value, "F"))}"'
    if isinstance(value, str):
        if _stays_text(key, value):
            return _quoted(value)
    elif isinstance(value, bool | int | float):
        return _words(value)
    elif getattr(value, "ndim", 0) == 1 and value.size > 1 and value.dtype.kind in "fiub":
        return f'"{_words(value)}"'
    return _quoted("_JSON " + json.dumps(value, default=_listed))


def _listed(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _stays_text(key: str, value: str) -> bool:
    """Return whether quotes suffice; other text is written as JSON."""
    from ase.io.extxyz import key_val_str_to_dict

    if any(c in "\n\r" or "\ud800" <= c <= "\udfff" for c in value):
        return False
    try:
        back = key_val_str_to_dict(f"{_quoted(key)}={_quoted(value)}")
    except ValueError:  # it looks like JSON, and is none
        return False
    return isinstance(back.get(key), str) and back[key] == value


def _quoted(text: str) -> str:
    if text.isalnum():
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _words(values: Any) -> str:
    return " ".join(_cells(np.ravel(values)[None, :]))


def _cells(rows: np.ndarray) -> list[str]:
    """Each row as text; `repr` of a float gives it back with all its bits."""
    kind = rows.dtype.kind
    if kind == "b":
        return [" ".join("T" if v else "F" for v in row) for row in rows.tolist()]
    text = str if kind in "US" else repr
    return [" ".join(map(text, row)) for row in rows.tolist()]
