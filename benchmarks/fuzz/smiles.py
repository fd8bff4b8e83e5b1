"""SMILES, whole and mutated, made into structures."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rdkit import Chem, rdBase

from benchmarks.fuzz._verdict import WrongError
from kups_relax.data import Structure
from kups_relax.io import structures_from

# Seconds for the coordinates of one molecule.
TIMEOUT = 10.0
SEEDS = (
    "C", "CCO", "c1ccccc1", "O=C=O", "C#N", "[NH4+].[Cl-]", "CC(=O)O", "C1CC1", "N[C@@H](C)C(=O)O",
    "F/C=C/F", "F\\C=C/F", "c1ccc2[nH]ccc2c1", "O=[N+]([O-])c1ccccc1",
    "[O-]S(=O)(=O)[O-].[Na+].[Na+]",
    "C1CCCCC1", "[2H]C([2H])[2H]", "[13CH4]", "CS(C)=O", "P(=O)(O)(O)O", "FC(F)(F)C", "BrCCl",
    "[SiH4]", "B(O)O", "C[N+](C)(C)C", "[Fe]", "[U]", "[H][H]", "[He]", "C=C=C", "C1=CC=CN1",
    "OC[C@H]1OC(O)[C@H](O)[C@@H](O)[C@@H]1O", "CC(C)Cc1ccc(cc1)C(C)C(=O)O", "C1CC2CCC1C2",
    "[Xe](F)F",
    "N#N", "[C-]#[O+]", "S1SSSSSSS1", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C", "C12C3C4C1C5C2C3C45", "*C",
    "[R]", "[CH3:1][OH:2]", "C%10CC%10", "[Cu+2].[O-]C", "CCCCCCCCCCCC", "[O]", "[CH2]",
    "[se]1cccc1",
    "[Og]", "F[Pt@SP1](F)(Cl)Cl", "C->[Fe]", "C~C", "[#6]", "C |$_AP1$|", "CC{-}CC", "O.O.O",
    "[nH]1cc1",
)  # fmt: skip
_PIECES = (
    "C", "N", "O", "c", "n", "(", ")", "[", "]", "=", "#", "$", ":", "/", "\\", ".", "1", "2",
    "%99",
    "%", "+", "-", "@", "@@", "[H]", "[Na+]", "[Fe+3]", "[C+20]", "[999C]", "*", "~", "->", "[Zz]",
    "C1CC1", "\t", " ", "  x", "\0", "\r", "é", "🎉", "'", '"', "<", "$$$$", "9" * 30, "[#0]",
    "[#119]",
    "[C-99]", "[CH99]", "%(100)", "()", "[]", "|", ">", ">>", "CCCCCCCCCC", "C(" * 60, "[" * 40,
    ";",
)  # fmt: skip


def case(seed: int, index: int) -> tuple[str, Callable[[], Any]]:
    """Make one case: a description, and a call that reads SMILES from a file or as Mols."""
    draw = random.Random(f"smiles {seed} {index}")
    text = _mutated(draw)
    as_mol = draw.random() < 0.3
    n_conformers = draw.choice((1, 1, 1, 2))

    def call() -> list[str]:
        item: Any = Path("fuzzed.smi")
        if as_mol:
            with rdBase.BlockLogs():
                try:
                    item = Chem.MolFromSmiles(text, sanitize=index % 2 == 0)
                except Exception:  # RDKit's own
                    return []
        else:
            item.write_bytes(text.encode("utf-8", "surrogateescape") + b" named\nC good\n")
        entries = structures_from([item], n_conformers=n_conformers, timeout=TIMEOUT)
        if not as_mol:
            good = [entry for entry in entries if entry.id in ("good", "good/0", "good#2")]
            if not good or not isinstance(good[0], Structure) or good[0].n_atoms != 5:
                raise WrongError(f"the next line was not read: {entries}")
        for entry in entries:
            if isinstance(entry, Structure):
                _check(entry)
        return [entry.reason for entry in entries if not isinstance(entry, Structure)]

    return f"{text[:200]!r}{' as a Mol' if as_mol else ''}", call


def _mutated(draw: random.Random) -> str:
    text = draw.choice(SEEDS)
    for _ in range(draw.choice((0, 1, 1, 2, 3, 6))):
        at = draw.randint(0, len(text))
        way = draw.randrange(5)
        if way == 0:
            text = text[:at] + draw.choice(_PIECES) + text[at:]
        elif way == 1:
            text = text[:at] + text[at + draw.randint(1, 3) :]
        elif way == 2:
            text = text[:at] + draw.choice(_PIECES) + text[at + 1 :]
        elif way == 3:
            text += draw.choice(("", ".")) + draw.choice(SEEDS)
        else:
            part = text[at : at + draw.randint(1, 8)]
            text = text[:at] + part * draw.choice((1, 1, 2, 20)) + text[at:]
    return text[:600]


def _check(entry: Structure) -> None:
    """Compare elements and charge with what RDKit makes of the same SMILES."""
    smiles = entry.atoms.info.get("smiles") if entry.atoms is not None else None
    if not isinstance(smiles, str):
        return
    with rdBase.BlockLogs():
        mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    numbers = [atom.GetAtomicNum() for atom in mol.GetAtoms()]
    if numbers != entry.numbers.tolist() or Chem.GetFormalCharge(mol) != entry.charge:
        raise WrongError(f"{smiles!r}: {entry.numbers.tolist()} of charge {entry.charge}")
