"""Relaxed MMFF94 energies against RDKit's own minimiser, from the same starts."""

from typing import Any

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdForceFieldHelpers

import kups_relax as kr
from benchmarks import cases

EV_PER_KCAL_MOL = 0.0433641153087705


def main() -> dict[str, Any]:
    """Minimise the molecules of examples/, three conformers each, both ways to the end."""
    entries = kr.io.structures_from(cases.MOLECULES, seed=3, n_conformers=3)
    result = kr.relax(entries, kr.potentials.MMFF94(), fmax=1e-4, max_steps=5000, progress=False)
    theirs, unfinished = [], 0
    for entry in entries:
        mol = _with_positions(entry)
        properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol)
        field = rdForceFieldHelpers.MMFFGetMoleculeForceField(
            mol, properties, nonBondedThresh=1e6, ignoreInterfragInteractions=False
        )
        unfinished += field.Minimize(maxIts=20000, forceTol=1e-5, energyTol=1e-8)
        theirs.append(field.CalcEnergy())
    ours = result.energy / EV_PER_KCAL_MOL
    excess = ours - np.array(theirs)
    return {
        "structures": len(entries),
        "converged, fmax 1e-4 eV/A": int(result.converged.sum()),
        "unfinished by RDKit": unfinished,
        "at or below RDKit + 1e-3 kcal/mol": float((excess <= 1e-3).mean()),
        "within 1e-3 kcal/mol of RDKit": float((np.abs(excess) <= 1e-3).mean()),
        "lower by more than 1e-3": float((excess < -1e-3).mean()),
        "median steps": float(np.median(result.n_steps)),
    }


def _with_positions(entry: Any) -> Any:
    mol = Chem.Mol(entry.topology)
    conformer = Chem.Conformer(entry.n_atoms)
    for i, position in enumerate(entry.positions.tolist()):
        conformer.SetAtomPosition(i, position)
    mol.RemoveAllConformers()
    mol.AddConformer(conformer)
    return mol
