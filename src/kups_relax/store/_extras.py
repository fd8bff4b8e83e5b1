"""What atoms carry besides numbers, positions and cell, as text: info, arrays, constraints."""

import base64
import hashlib
import json
import logging
import zlib
from typing import Any

import numpy as np

from kups_relax.data import Structure
from kups_relax.io import Entry

log = logging.getLogger("kups_relax")

# What has datasets of its own.
_OWN = ("numbers", "positions")


def extras_of(entry: Entry) -> str:
    """Write down what a structure carries; "" where that is nothing.

    What JSON and ASE's own encoding cannot say is left out, with a warning.
    """
    extras: dict[str, Any] = {}
    atoms = entry.atoms
    if atoms is not None:
        info = {str(k): v for k, v in atoms.info.items() if not (k == "id" and v == entry.id)}
        extras["info"] = _encodable(entry.id, {k: _plain(v) for k, v in info.items()})
        arrays = {k: v for k, v in atoms.arrays.items() if k not in _OWN}
        extras["arrays"] = _encodable(entry.id, arrays)
        extras["constraints"] = _encodable(entry.id, _constraints(atoms))
        if np.any(atoms.get_celldisp()):
            extras["celldisp"] = atoms.get_celldisp().ravel().tolist()
    if isinstance(entry, Structure):
        if atoms is None and entry.charge is not None:
            extras["info"] = {"charge": str(entry.charge)}
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


def add_extras(atoms: Any, text: str) -> None:
    """Give atoms back what `extras_of` wrote down."""
    from ase.constraints import dict2constraint
    from ase.io.jsonio import decode

    extras = json.loads(text) if text else {}
    for key, value in extras.get("arrays", {}).items():
        atoms.set_array(key, np.asarray(decode(value)))
    for key, value in extras.get("info", {}).items():
        atoms.info[key] = _restored(decode(value))
    constraints: list[Any] = [decode(value) for value in extras.get("constraints", {}).values()]
    atoms.set_constraint([dict2constraint(one) for one in constraints])
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


def _encodable(label: str, values: dict[str, Any]) -> dict[str, str]:
    from ase.io.jsonio import encode

    encoded = {}
    for key, value in values.items():
        try:
            encoded[key] = encode(value)
        except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
            log.warning("%r: %s cannot be stored: %s", label, key, error)
    return encoded


def _constraints(atoms: Any) -> dict[str, Any]:
    from types import SimpleNamespace

    found = {}
    for i, constraint in enumerate(atoms.constraints):
        try:
            found[f"constraint {i}, {type(constraint).__name__}"] = constraint.todict()
        except Exception as error:  # whatever a constraint's own code raises
            unknown = SimpleNamespace(error=error)
            found[f"constraint {i}, {type(constraint).__name__}"] = unknown
    return found


def _plain(value: Any) -> Any:
    from ase.spacegroup import Spacegroup

    if isinstance(value, Spacegroup):
        return {"ase.spacegroup": [value.no, value.setting]}
    return value


def _restored(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"ase.spacegroup"}:
        from ase.spacegroup import Spacegroup

        return Spacegroup(*value["ase.spacegroup"])
    return value
