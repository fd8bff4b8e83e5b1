"""Find the atoms of a molecule that MMFF94 has no types for; RDKit only says that some exist."""

from typing import Any

# How many bonds an atom of each element may have.
DEGREES: dict[int, tuple[int, ...]] = {
    1: (1,), 3: (0,), 6: (1, 2, 3, 4), 7: (1, 2, 3, 4), 8: (1, 2, 3), 9: (0, 1), 11: (0,),
    12: (0,), 14: (1, 2, 3, 4), 15: (1, 2, 3, 4), 16: (1, 2, 3, 4), 17: (0, 1, 4), 19: (0,),
    20: (0,), 26: (0,), 29: (0,), 30: (0,), 35: (0, 1), 53: (1,),
}  # fmt: skip

# Elements that hydrogen may be bonded to.
_HOLDS_HYDROGEN = (6, 7, 8, 14, 15, 16)

_MOST = 8


def untyped(mol: Any) -> str:
    """Say which atoms have no type, and how they are bonded.

    Args:
        mol: RDKit Mol with all hydrogens, of which RDKit found no types.

    Returns:
        A clause, such as "atom 3 (S) has no atom type; it has bonds to F4, F5, F6, F7, F8, F9".
    """
    for atom in mol.GetAtoms():
        near = list(atom.GetNeighbors())
        foreign = atom.GetAtomicNum() not in DEGREES
        bonds = len(near) not in DEGREES.get(atom.GetAtomicNum(), ())
        lonely = atom.GetAtomicNum() == 1 and any(
            other.GetAtomicNum() not in _HOLDS_HYDROGEN for other in near
        )
        if foreign or bonds or lonely:
            named = ", ".join(f"{other.GetSymbol()}{other.GetIdx()}" for other in near[:_MOST])
            how = f"it has bonds to {named}" if near else "it has no bonds"
            return f"atom {atom.GetIdx()} ({atom.GetSymbol()}) has no atom type; {how}"
    return f"{_fragment(mol)} have bonds or charges for which there is no atom type"


def _fragment(mol: Any) -> str:
    """Name the atoms of the first fragment that RDKit finds no types for."""
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdForceFieldHelpers

    found = tuple(range(mol.GetNumAtoms()))
    places: list[tuple[int, ...]] = []
    with rdBase.BlockLogs():
        parts = Chem.GetMolFrags(mol, asMols=True, fragsMolAtomMapping=places)
        for part, atoms in zip(parts, places, strict=True):
            if rdForceFieldHelpers.MMFFGetMoleculeProperties(part) is None:
                found = tuple(atoms)
                break
    named = ", ".join(f"{i} ({mol.GetAtomWithIdx(i).GetSymbol()})" for i in found[:_MOST])
    more = f" and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return f"some of the atoms {named}{more}"
