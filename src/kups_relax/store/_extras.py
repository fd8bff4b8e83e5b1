"""What atoms carry besides numbers, positions and cell, as text: info, arrays, constraints."""

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from kups_relax import io
from kups_relax._log import log
from kups_relax.data import Structure
from kups_relax.io import Entry
from kups_relax.store._values import decoded, encoded

# Bytes of a molecule, unpacked, that are read; RDKit needs some 100 an atom.
_MOST = 1 << 28
# What has datasets of its own.
_OWN = ("numbers", "positions")
# Attributes of ASE's FixSymmetry that are written down.
_OPERATIONS = {
    "symprec", "verbose", "rotations", "translations", "symm_map", "do_adjust_positions",
    "do_adjust_cell",
}  # fmt: skip
# Constraints that divide a direction by its length again when they are made again.
_DIRECTED = ("FixedLine", "FixedPlane")


def extras_of(entry: Entry, left_out: io.LeftOut | None = None) -> str:
    """Write down what a structure carries; "" where that is nothing.

    Args:
        entry: The structure.
        left_out: Told what cannot be said, or would not be read back as it is; it is missing then.
    """
    sections: dict[str, str] = {}
    atoms = entry.atoms

    def add(part: str, pairs: Iterable[str]) -> None:
        if content := ",".join(pairs):
            sections[part] = f"[{content}]"

    if atoms is not None:
        info = {k: v for k, v in atoms.info.items() if not _is_label(k, v)}
        arrays = {k: v for k, v in atoms.arrays.items() if k not in _OWN}
        add("info", _pairs(entry.id, "info", info, left_out))
        add("arrays", _pairs(entry.id, "arrays", arrays, left_out, len(atoms)))
        add("constraints", _constraints(entry.id, atoms, left_out))
        if np.any(atoms.get_celldisp()):
            sections["celldisp"] = _json(atoms.get_celldisp().ravel().tolist())
    if isinstance(entry, Structure):
        if atoms is None and entry.charge is not None:
            sections["info"] = _json([["charge", encoded(entry.charge)]])
        if entry.topology is not None:
            sections["topology"] = _json(_mol_to_text(entry.topology))
    content = ",".join(f"{_json(part)}:{text}" for part, text in sections.items())
    return f"{{{content}}}" if content else ""


def input_hash(entry: Entry, extras: str) -> bytes:
    """Digest of all that a structure's results may depend on, 32 bytes."""
    digest = hashlib.sha256(f"{entry.id}\0{extras}\0".encode(errors="surrogatepass"))
    if isinstance(entry, Structure):
        for array, dtype in (
            (entry.numbers, "<i4"),
            (entry.positions, "<f8"),
            (entry.cell, "<f8"),
            (entry.pbc, "?"),
        ):
            digest.update(np.ascontiguousarray(array, dtype).tobytes())
        digest.update(_json(encoded(entry.charge)).encode())
    else:
        digest.update(entry.reason.encode(errors="surrogatepass"))
    return digest.digest()


def add_extras(atoms: Any, text: str) -> None:
    """Give atoms back what `extras_of` wrote down."""
    extras = json.loads(text) if text else {}
    for key, value in extras.get("arrays", ()):
        atoms.set_array(decoded(key), decoded(value))
    for key, value in extras.get("info", ()):
        atoms.info[decoded(key)] = decoded(value)
    constraints = []
    for label, value in extras.get("constraints", ()):
        try:
            constraints.append(_constraint(decoded(value)))
        except Exception as error:  # a class of the user's own, that ASE cannot find
            log.warning("%s cannot be read back: %s: %s", label, type(error).__name__, error)
    atoms.set_constraint(constraints)
    if "celldisp" in extras:
        atoms.set_celldisp(extras["celldisp"])


def topology_in(text: str) -> Any:
    """The RDKit Mol of a structure, or None."""
    extras = json.loads(text) if text else {}
    if "topology" not in extras:
        return None
    from rdkit import Chem

    unpacking = zlib.decompressobj()
    binary: Any = unpacking.decompress(base64.b64decode(extras["topology"]), _MOST)
    if not unpacking.eof:
        raise ValueError(f"a molecule of more than {_MOST} bytes, or a part of one")
    return Chem.Mol(binary)


def _mol_to_text(mol: Any) -> str:
    from rdkit.Chem import PropertyPickleOptions

    binary = mol.ToBinary(PropertyPickleOptions.AllProps)
    return base64.b64encode(zlib.compress(binary, 1)).decode()


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _is_label(key: Any, value: Any) -> bool:
    """Return whether an entry of info repeats a column, id or status; numbers stay numbers."""
    if not isinstance(key, str):
        return False
    return key == "status" or (key == "id" and not isinstance(value, int | np.integer))


def _pairs(
    label: str,
    part: str,
    values: Mapping[Any, Any],
    left_out: io.LeftOut | None,
    n_rows: int | None = None,
) -> Iterator[str]:
    """Write keys and values as JSON, those alone that come back."""
    for key, value in values.items():
        try:
            text = _json([encoded(key), encoded(value)])
            good = _sure(key, value) or io.same([key, value], decoded(json.loads(text)))
            if n_rows is not None:
                # Arrays that somebody put there by hand may have any length.
                good = good and isinstance(value, np.ndarray) and value.shape[:1] == (n_rows,)
        except Exception:  # whatever values of the user's own raise when they are looked at
            good, text = False, ""
        if good:
            yield text
        elif left_out is not None:
            kind = type(value).__name__
            left_out.add(label, f"{part}[{io.name(key)}] ({kind})", (part, kind))


def _sure(key: Any, value: Any) -> bool:
    """Return whether a pair is read back unchanged, by its types alone."""
    if type(key) is not str:
        return False
    if type(value) is np.ndarray:
        return value.dtype.kind in "fiub" and value.size > 0
    return value is None or type(value) in (bool, int, float, str)


def _constraints(label: str, atoms: Any, left_out: io.LeftOut | None) -> Iterator[str]:
    for i, constraint in enumerate(atoms.constraints):
        kind = type(constraint).__name__
        try:
            symmetry = kind == "FixSymmetry"
            content = _symmetry_to_dict(constraint) if symmetry else constraint.todict()
            text = _json([f"constraint {i}, {kind}", encoded(content)])
            back = _constraint(decoded(json.loads(text))[1])
            good = symmetry or (
                type(back) is type(constraint) and io.same(back.todict(), constraint.todict())
            )
        except Exception:  # whatever a constraint's own code raises
            good, text = False, ""
        if good:
            yield text
        elif left_out is not None:
            left_out.add(label, f"constraint {i}, {kind}", ("constraint", kind))


def _constraint(content: dict[str, Any]) -> Any:
    from ase.constraints import dict2constraint

    if "operations" in content:
        return _symmetry(content)
    constraint: Any = dict2constraint(content)
    if content["name"] in _DIRECTED:
        constraint.dir = np.array(content["kwargs"]["direction"])
    return constraint


def _symmetry_to_dict(constraint: Any) -> dict[str, Any]:
    """Keep the operations: made anew, they are those of the atoms that spglib is shown."""
    state = dict(vars(constraint))
    atoms = state.pop("atoms")
    shape = {name: getattr(atoms, name) for name in ("numbers", "positions", "pbc")}
    return {"operations": state, "atoms": {**shape, "cell": atoms.cell.array}}


def _symmetry(content: dict[str, Any]) -> Any:
    from ase import Atoms
    from ase.constraints import FixSymmetry

    operations = content["operations"]
    if odd := set(operations) - _OPERATIONS:
        raise ValueError(f"a FixSymmetry with {', '.join(map(repr, sorted(odd)))}")
    constraint = FixSymmetry.__new__(FixSymmetry)
    vars(constraint).update(operations, atoms=Atoms(**content["atoms"]))
    return constraint
