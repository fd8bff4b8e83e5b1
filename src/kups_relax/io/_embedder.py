"""Coordinates by RDKit's ETKDGv3: the program of a process of its own, see `_child.py`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from rdkit.Chem import Mol

# (n_made, n_atoms, 3) coordinates, Angstrom; or what RDKit raised.
Answer: TypeAlias = np.ndarray | str


def begin() -> None:
    """Import what embedding needs."""
    import rdkit.Chem  # noqa: F401


def answers(data: bytes, n_wanted: int, seed: int) -> Iterator[Answer]:
    """Embed one molecule, which RDKit made binary; the one answer is as `embed` says."""
    from rdkit import rdBase

    with rdBase.BlockLogs():
        try:
            yield embed(_mol(data), n_wanted, seed)
        except Exception as error:  # whatever RDKit raises
            yield described(error)


def _mol(data: Any) -> "Mol":
    from rdkit import Chem

    return Chem.Mol(data)


def embed(mol: "Mol", n_wanted: int, seed: int) -> np.ndarray:
    """Embed a molecule.

    Args:
        mol: With all hydrogens.
        n_wanted: Number of conformers.
        seed: RDKit's.

    Returns:
        (n_made, n_atoms, 3), Angstrom; n_made is 0 where RDKit finds no coordinates.
    """
    from rdkit.Chem import rdDistGeom

    options = rdDistGeom.ETKDGv3()
    options.randomSeed = seed
    # The default multiplies the seed by the conformer's number: all alike for seed 0.
    options.enableSequentialRandomSeeds = True
    options.numThreads = 1
    for random_start in (False, True):
        options.useRandomCoords = random_start
        if len(rdDistGeom.EmbedMultipleConfs(mol, n_wanted, options)):
            break
    positions = [conformer.GetPositions() for conformer in mol.GetConformers()]
    return np.array(positions, np.float64).reshape(-1, mol.GetNumAtoms(), 3)


def described(error: Exception) -> str:
    """Tell what RDKit raised in a line: its own reports have many, with places in its sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {'; '.join(lines[:2])[:200]}".rstrip(".: ")
