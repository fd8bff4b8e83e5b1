"""Extended XYZ that loses no bit.

ASE's own writer rounds coordinates and forces to 8 decimals, turns the text "007" into a number
when it is read back, and loses backslashes (SMILES have them). What is written here is read back
unchanged by ASE's reader.
"""

import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import ase

_KINDS = {"f": "R", "i": "I", "u": "I", "b": "L", "U": "S", "S": "S", "O": "S"}
# These keys of the comment line describe the frame itself.
_RESERVED = frozenset({"Properties", "Lattice", "pbc"})


def frame(atoms: "ase.Atoms") -> str:
    """Write one frame: every array, info entry and result, with all digits."""
    results = dict(getattr(atoms.calc, "results", {}))
    columns = {"species": np.array(atoms.get_chemical_symbols()), "pos": atoms.positions}
    mask = _move_mask(atoms)
    if not mask.all():
        columns["move_mask"] = mask
    per_atom, per_frame = _split(results, len(atoms))
    arrays = {k: v for k, v in atoms.arrays.items() if k not in ("numbers", "positions")}
    columns.update(_writable({**arrays, **per_atom}, atoms))

    info = {k: v for k, v in atoms.info.items() if str(k) not in _RESERVED}
    parts = []
    if atoms.cell.array.any():
        parts.append(f'Lattice="{_words(atoms.cell.array)}"')
    layout = [
        f"{name}:{_KINDS[value.dtype.kind]}:{value.size // len(atoms)}"
        for name, value in columns.items()
    ]
    parts.append(f"Properties={':'.join(layout)}")
    for key, value in {**info, **per_frame}.items():
        text = _encoded(str(key), value)
        if text is None:
            _warn(atoms, f"info[{key!r}], a {type(value).__name__}")
        else:
            parts.append(f"{_quoted(str(key))}={text}")
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


def _writable(arrays: dict[str, np.ndarray], atoms: "ase.Atoms") -> dict[str, np.ndarray]:
    """Leave out, with a warning, what does not fit into columns."""
    kept = {}
    for name, value in arrays.items():
        if value.dtype.kind in "USO":
            value = np.array([str(v).strip() for v in value.ravel()]).reshape(value.shape)
            fits = all(v and not any(c.isspace() for c in v) for v in value.ravel())
        else:
            fits = value.dtype.kind in _KINDS
        if fits and value.ndim <= 2 and not any(c in name for c in ' :="'):
            kept[name] = value
        else:
            _warn(atoms, f"the array {name!r}")
    return kept


def _move_mask(atoms: "ase.Atoms") -> np.ndarray:
    """(n_atoms,), or (n_atoms, 3) where single axes are fixed: which coordinates may move."""
    from ase.constraints import FixAtoms, FixCartesian

    mask = np.ones((len(atoms), 3), bool)
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            mask[constraint.index] = False
        elif isinstance(constraint, FixCartesian):
            mask[constraint.index] &= ~np.asarray(constraint.mask, bool)
        else:
            _warn(atoms, f"the constraint {type(constraint).__name__}")
    whole = (mask == mask[:, :1]).all()
    return mask[:, 0] if whole else mask


def _encoded(key: str, value: Any) -> str | None:
    """Text that ASE's reader turns back into the value; None where there is none."""
    from ase.io.extxyz import SPECIAL_3_3_KEYS, key_val_str_to_dict
    from ase.spacegroup import Spacegroup

    if isinstance(value, Spacegroup):
        value = value.symbol
    if isinstance(value, np.generic):
        value = value.item()
    if key in SPECIAL_3_3_KEYS:
        # The reader takes nothing but nine numbers here, the columns one after the other.
        return f'"{_words(np.ravel(value, "F"))}"' if np.size(value) == 9 else None
    if isinstance(value, str):
        if not any(c in value for c in "\n\r"):
            back = key_val_str_to_dict(f"{_quoted(key)}={_quoted(value)}")
            if isinstance(back.get(key), str) and back[key] == value:
                return _quoted(value)
    elif isinstance(value, bool | int | float):
        return _words(value)
    elif getattr(value, "ndim", 0) == 1 and value.size > 1 and value.dtype.kind in "fiub":
        return f'"{_words(value)}"'
    try:
        return _quoted("_JSON " + json.dumps(value, default=_listed))
    except (TypeError, ValueError):
        return None


def _listed(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")


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
    return [" ".join(v if kind in "US" else repr(v) for v in row) for row in rows.tolist()]


def _warn(atoms: "ase.Atoms", what: str) -> None:
    warnings.warn(
        f"{atoms.info.get('id', 'structure')!r}, {atoms.get_chemical_formula()}: extended XYZ "
        f"cannot hold {what}; it is left out. Write to .traj to keep it.",
        stacklevel=2,
    )
