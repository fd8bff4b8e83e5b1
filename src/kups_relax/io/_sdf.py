"""SDF files of molecules."""

import io
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kups_relax.io._format import Format, Shown, text_file
from kups_relax.io._left_out import encodable

if TYPE_CHECKING:
    import ase

# Half of the last digit of a V2000 record, and a little.
_ROUNDING = 0.5001e-4
# Coordinates have ten columns there.
_LARGEST = 9999.0


class SDF(Format):
    """Bonds and coordinates with 4 decimals; plain info is properties."""

    name = "an SDF file"
    parts = frozenset({"info", "results"})
    results = frozenset({"energy"})
    reserved = frozenset({"energy_eV", "_Name"})

    def refuses(self, atoms: "ase.Atoms | None", topology: Any) -> str | None:
        """Return why a structure does not fit: it has no bonds."""
        del atoms
        if topology is None:
            return (
                "came without bonds, which an SDF file needs. Write to .extxyz, or read molecules "
                "from SDF or SMILES"
            )
        return None

    def opened(self, path: Path) -> AbstractContextManager[Any]:
        """Begin a file, and return the function that adds a structure to it."""
        return text_file(path, _record)

    def again(self, shown: Shown) -> "ase.Atoms":
        """Write a structure in memory and read it back."""
        from ase import Atoms
        from ase.calculators.singlepoint import SinglePointCalculator
        from rdkit import Chem, rdBase

        with rdBase.BlockLogs():
            text = _record(shown).encode()
            reader = Chem.ForwardSDMolSupplier(io.BytesIO(text), sanitize=False, removeHs=False)
            [mol] = reader
        atoms = Atoms(
            [atom.GetAtomicNum() for atom in mol.GetAtoms()],
            mol.GetConformer().GetPositions(),
            cell=shown.atoms.cell,
            pbc=shown.atoms.pbc,
        )
        texts = {name: mol.GetProp(name) for name in mol.GetPropNames()}
        labels = {name: _text(value) for name, value in shown.outcome.items()}
        if set(texts) - {"energy_eV"} != set(shown.atoms.info) | set(labels):
            raise ValueError("other properties")
        if "energy_eV" in texts:
            atoms.calc = SinglePointCalculator(atoms, energy=float(texts["energy_eV"]))
        # Values are text there.
        for key, value in shown.atoms.info.items():
            atoms.info[key] = value if texts[key] == _text(value) else texts[key]
        return atoms

    def same_geometry(self, one: "ase.Atoms", back: "ase.Atoms") -> bool:
        """Compare elements and positions, to the four decimals of the format."""
        return np.array_equal(one.numbers, back.numbers) and bool(
            (np.abs(one.positions - back.positions) <= _ROUNDING).all()
        )


def _record(shown: Shown) -> str:
    from rdkit import Chem, rdBase
    from rdkit.Geometry import Point3D

    atoms = shown.atoms
    with rdBase.BlockLogs():
        mol = Chem.Mol(shown.topology)
        mol.RemoveAllConformers()
        conformer = Chem.Conformer(len(atoms))
        conformer.Set3D(True)
        for i, xyz in enumerate(atoms.positions.tolist()):
            conformer.SetAtomPosition(i, Point3D(*xyz))
        mol.AddConformer(conformer)
        for name in mol.GetPropNames():
            mol.ClearProp(name)
        mol.SetProp("_Name", " ".join(encodable(shown.id).split()))
        for name, text in _properties(shown).items():
            mol.SetProp(name, text)
        out = io.StringIO()
        writer = Chem.SDWriter(out)
        writer.SetForceV3000(bool((np.abs(atoms.positions) >= _LARGEST).any()))
        writer.write(mol)
        writer.close()
    return out.getvalue()


def _properties(shown: Shown) -> dict[str, str]:
    """Write info, outcome and energy as text."""
    results = getattr(shown.atoms.calc, "results", {})
    own = {f"{name}": " ".join(_text(v).splitlines()) for name, v in shown.outcome.items()}
    if "energy" in results:
        own["energy_eV"] = _text(results["energy"])
    texts = {str(key): _text(value) for key, value in shown.atoms.info.items()}
    for name, text in texts.items():
        # A record ends data at an empty line, and names at a bracket.
        if name in own or not name or set(name) & set("<>\n\r") or name.startswith("_"):
            raise ValueError(f"{name!r} cannot be the name of a property")
        if text != text.strip() or "\0" in text:
            raise ValueError(f"{name!r} is no text of a property")
    return {name: encodable(text) for name, text in {**texts, **own}.items()}


def _text(value: Any) -> str:
    plain = value.item() if isinstance(value, np.generic) else value
    if not isinstance(plain, str | int | float):
        raise TypeError(f"{type(value).__name__} is no text")
    return str(plain)
