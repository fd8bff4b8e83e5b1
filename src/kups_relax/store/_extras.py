"""What atoms carry besides numbers, positions and cell, as text: info, arrays, constraints."""

import base64
import hashlib
import json
import logging
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from kups_relax.data import Structure
from kups_relax.io import Entry
from kups_relax.store._values import decoded, encoded

log = logging.getLogger("kups_relax")

# What has datasets of its own.
_OWN = ("numbers", "positions")
# Constraints that divide a direction by its length again when they are made again.
_DIRECTED = ("FixedLine", "FixedPlane")


def extras_of(entry: Entry) -> str:
    """Write down what a structure carries; "" where that is nothing.

    What cannot be said is left out, with a warning.
    """
    extras: dict[str, Any] = {}
    atoms = entry.atoms
    if atoms is not None:
        info = {k: v for k, v in atoms.info.items() if not (k == "id" and v == entry.id)}
        extras["info"] = _pairs(entry.id, info)
        arrays = {k: v for k, v in atoms.arrays.items() if k not in _OWN}
        extras["arrays"] = _pairs(entry.id, arrays)
        extras["constraints"] = _pairs(entry.id, _constraints(atoms))
        if np.any(atoms.get_celldisp()):
            extras["celldisp"] = atoms.get_celldisp().ravel().tolist()
    if isinstance(entry, Structure):
        if atoms is None and entry.charge is not None:
            extras["info"] = [["charge", entry.charge]]
        if entry.topology is not None:
            extras["topology"] = _mol_to_text(entry.topology)
    extras = {key: value for key, value in extras.items() if value}
    return json.dumps(extras, separators=(",", ":")) if extras else ""


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
        digest.update(str(entry.charge).encode())
    else:
        digest.update(entry.reason.encode(errors="surrogatepass"))
    return digest.digest()


def with_geometry(extras: str, **arrays: np.ndarray) -> str:
    """Add the geometry of a structure that other readers of the file could not make sense of."""
    known = json.loads(extras) if extras else {}
    return json.dumps({**known, "geometry": encoded(arrays)}, separators=(",", ":"))


def geometry_in(text: str) -> dict[str, np.ndarray]:
    """Numbers, positions and cell that `with_geometry` put there; nothing, mostly."""
    # Text that is long is parsed once more than needed only where it has one.
    return decoded(json.loads(text)["geometry"]) if '"geometry":' in text else {}


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

    binary: Any = zlib.decompress(base64.b64decode(extras["topology"]))
    return Chem.Mol(binary)


def _mol_to_text(mol: Any) -> str:
    from rdkit.Chem import PropertyPickleOptions

    binary = mol.ToBinary(PropertyPickleOptions.AllProps)
    return base64.b64encode(zlib.compress(binary, 1)).decode()


def _pairs(label: str, values: Mapping[Any, Any]) -> list[list[Any]]:
    pairs = []
    for key, value in values.items():
        try:
            pairs.append([encoded(key), encoded(value)])
        except (TypeError, ValueError, RecursionError) as error:
            log.warning("%r: %s cannot be stored: %s", label, key, error)
    return pairs


def _constraints(atoms: Any) -> dict[str, Any]:
    found = {}
    for i, constraint in enumerate(atoms.constraints):
        label = f"constraint {i}, {type(constraint).__name__}"
        try:
            if type(constraint).__name__ == "FixSymmetry":
                found[label] = _symmetry_to_dict(constraint)
            else:
                found[label] = constraint.todict()
        except Exception as error:  # whatever a constraint's own code raises
            found[label] = error
    return found


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

    constraint = FixSymmetry.__new__(FixSymmetry)
    vars(constraint).update(content["operations"], atoms=Atoms(**content["atoms"]))
    return constraint
