"""Count the entries of an input without reading it."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kups_relax.io._ase_files import count_frames
from kups_relax.io._inputs import RECORDS, SMILES, ending_of, is_mol, is_path
from kups_relax.io._invented import format_of
from kups_relax.io._lines import text_lines
from kups_relax.io._molecule_files import LONGEST_SMILES, MOST_HELD, records, smiles_lines
from kups_relax.io._xyz import cut_frames

# Seconds that counting may take in all.
_SECONDS = 1.0
# Lines between two looks at the clock.
_LINES = 4096


class Counter:
    """Count entries for a second at most.

    Args:
        n_conformers: Of each molecule without coordinates. With more than one, a molecule gives
            as many entries as RDKit finds conformers, which nobody knows before.
    """

    def __init__(self, n_conformers: int) -> None:
        self._single = n_conformers == 1
        self._deadline = time.monotonic() + _SECONDS

    def count(self, item: Any) -> int | None:
        """Return the exact number of entries of an item or a file, or None."""
        try:
            if is_path(item):
                return self._of_file(Path(item))
            if is_mol(item):
                return 1 if self._single and item.GetNumConformers() <= 1 else None
        except Exception:  # what is wrong with it is found when it is read
            return None
        return 1

    def _of_file(self, path: Path) -> int | None:
        ending = ending_of(path)
        if not path.is_file() or path.stat().st_size == 0:
            return 1
        if ending in RECORDS or ending in SMILES:
            if not self._single:
                return None
            if ending in SMILES:
                return self._of_smiles(path)
            return max(1, sum(1 for _ in records(self._lines(path), path)))
        if time.monotonic() > self._deadline:
            return None
        return self._by_ase(path)

    def _of_smiles(self, path: Path) -> int:
        from rdkit import rdBase

        n, any_molecule = 0, False
        with rdBase.BlockLogs():
            for _, smiles, _ in smiles_lines(self._lines(path)):
                n += 1
                # Of a file that is no list of SMILES, all lines together are one entry.
                any_molecule = any_molecule or n >= MOST_HELD or _is_molecule(smiles)
        return n if any_molecule else 1

    def _by_ase(self, path: Path) -> int | None:
        from ase.io.formats import ioformats

        kind = format_of(path)
        if kind in ("extxyz", "xyz"):
            return max(1, sum(1 for _ in cut_frames(self._lines(path))))
        if kind in ("traj", "db"):
            return max(1, count_frames(path, kind, self._deadline - time.monotonic()))
        if kind == "cif":
            # Of several blocks some have no atoms.
            blocks = sum(line.lower().startswith("data_") for line in self._lines(path))
            return 1 if blocks <= 1 else None
        return 1 if kind in ioformats and ioformats[kind].single else None

    def _lines(self, path: Path) -> Iterator[str]:
        for i, line in enumerate(text_lines(path, str(path))):
            if i % _LINES == 0 and time.monotonic() > self._deadline:
                raise TimeoutError
            yield line


def _is_molecule(smiles: str) -> bool:
    from rdkit import Chem

    return len(smiles) <= LONGEST_SMILES and Chem.MolFromSmiles(smiles) is not None
