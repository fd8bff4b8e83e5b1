"""Files of molecules: SDF records, SMILES line by line."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from kups_relax.errors import StructureError
from kups_relax.io._embedder import described
from kups_relax.io._entries import Entry, Unreadable, alone, label_in
from kups_relax.io._molecules import (
    Embedding,
    entries_from_mol,
    problems_of,
    properties_of,
    require_rdkit,
)

# Characters of SMILES and atoms of a record. RDKit's search for rings takes time and memory that
# grow with the square of a molecule: one ring of 5,000 atoms takes 0.7 GB. ETKDG finds coordinates
# for none of that size in reasonable time.
LONGEST_SMILES = 5_000
LARGEST_RECORD = 10_000
LONGEST_RECORD = 1 << 24
# Lines without a molecule after which a file is a list of SMILES nevertheless.
MOST_HELD = 1_000
# Characters of SMILES that messages show.
_SHOWN = 200


def entries_from_sdf(
    lines: Iterable[str], path: Path, stem: str, embedding: Embedding
) -> Iterator[Entry]:
    """Read the records of an SDF or MOL file, one after the other.

    Raises:
        StructureError: Nothing in the file looks like a record, or one does not end.
    """
    require_rdkit(f"{path}: reading SDF")
    from rdkit import Chem, rdBase

    for i, (record, only) in enumerate(alone(records(lines, path))):
        if only and "M  END" not in record:
            raise StructureError(
                f"{path}: no record ends in 'M  END', so it is no SDF or MOL file; it begins with "
                f"{record[:40]!r}. Check the file, or its ending."
            )
        title = record.split("\n", 1)[0].strip()
        number = stem if only else f"{stem}:{i}"
        label = title or number
        mol = None
        try:
            with rdBase.BlockLogs():
                if not (why := _too_large(record)):
                    supplier = Chem.SDMolSupplier()
                    supplier.SetData(record, sanitize=True, removeHs=False)
                    mol = supplier[0] if len(supplier) else None
                    why = "" if mol is not None else _why_no_mol(record)
            if mol is not None:
                label = title or label_in(properties_of(mol)) or number
        except Exception as error:  # whatever RDKit makes of odd numbers in it
            mol, why = None, f"RDKit fails on it: {described(error)}"
        if mol is None:
            reason = f"record {i} of {path}: {why}. Repair the record."
            yield Unreadable(id=label, reason=reason)
        else:
            yield from entries_from_mol(mol, label, embedding)


def records(lines: Iterable[str], path: Path) -> Iterator[str]:
    """Cut an SDF file where its records end.

    Raises:
        StructureError: A record has more than 2^24 characters.
    """
    record: list[str] = []
    length = number = 0
    for line in lines:
        record.append(line)
        length += len(line) + 1
        if length > LONGEST_RECORD:
            raise StructureError(
                f"{path}: record {number} has more than {LONGEST_RECORD} characters; expected a "
                "line '$$$$' after each. Check the file."
            )
        if line.startswith("$$$$"):
            yield "\n".join(record) + "\n"
            record, length, number = [], 0, number + 1
    if any(line.strip() for line in record):
        # RDKit takes a newline at the very end for one more record.
        yield "\n".join(record).rstrip() + "\n"


def _too_large(record: str) -> str:
    """Say that a record has too many atoms, or "". Those of V2000 have three digits for them."""
    found = re.search(r"^M  V30 COUNTS +(\d{1,18})", record, re.MULTILINE)
    if found is None or int(found.group(1)) <= LARGEST_RECORD:
        return ""
    return (
        f"it announces {found.group(1)} atoms; expected at most {LARGEST_RECORD} where there are "
        "bonds. Write it as .xyz or .pdb"
    )


def entries_from_smiles(
    lines: Iterable[str], path: Path, stem: str, embedding: Embedding
) -> Iterator[Entry]:
    """Read a file with one SMILES and an optional name on each line.

    Raises:
        StructureError: No line holds a SMILES.
    """
    require_rdkit(f"{path}: reading SMILES")
    from rdkit import Chem, rdBase

    # What comes before the first molecule is held back: there may be none.
    held: list[Entry] | None = []
    got = "there are no lines"
    for i, ((number, smiles, name), only) in enumerate(alone(smiles_lines(lines))):
        shown = repr(smiles[:_SHOWN]) + ("..." if len(smiles) > _SHOWN else "")
        got = got if i else f"the first is {shown}"
        label = name or (stem if only else f"{stem}:{i}")
        mol, why = None, ""
        try:
            with rdBase.BlockLogs():
                if len(smiles) > LONGEST_SMILES:
                    why = f"it has {len(smiles)} characters; expected at most {LONGEST_SMILES}"
                elif (mol := Chem.MolFromSmiles(smiles)) is None:
                    bare = Chem.MolFromSmiles(smiles, sanitize=False)
                    why = "it is no valid SMILES" if bare is None else problems_of(bare)
        except Exception as error:
            why = described(error)
        if mol is None:
            reason = f"line {number} of {path}: RDKit rejects {shown}: {why}. Correct it."
            entries: list[Entry] = [Unreadable(id=label, reason=reason)]
        else:
            entries = entries_from_mol(mol, label, embedding, {"smiles": smiles})
        if held is not None:
            held += entries
            if mol is None and len(held) < MOST_HELD:
                continue
            entries, held = held, None
        yield from entries
    if held is not None:
        raise StructureError(
            f"{path}: no line begins with a SMILES that RDKit accepts; {got}. "
            "Expected 'SMILES name' on each line; '#' begins a comment."
        )


def smiles_lines(lines: Iterable[str]) -> Iterator[tuple[int, str, str]]:
    """Line number, SMILES and name of each line that holds one."""
    first = True
    for number, line in enumerate(lines, 1):
        line = line.strip()
        # A '#' inside a line is a triple bond.
        if not line or line.startswith("#"):
            continue
        columns = line.split("\t") if "\t" in line else line.split(maxsplit=1)
        # No SMILES holds these letters in a row.
        header = first and "smi" in columns[0].lower()
        first = False
        if not header:
            yield number, columns[0].strip(), columns[1].strip() if len(columns) > 1 else ""


def _why_no_mol(record: str) -> str:
    from rdkit import Chem

    bare = Chem.MolFromMolBlock(record, sanitize=False, removeHs=False)
    return "RDKit cannot parse it" if bare is None else f"RDKit rejects it: {problems_of(bare)}"
