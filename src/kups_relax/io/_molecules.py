"""RDKit's molecules: Mols, SDF records, SMILES."""

import dataclasses
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from kups_relax.errors import OptionError, StructureError
from kups_relax.io._embedder import described
from kups_relax.io._embedding import TooSlow, embed
from kups_relax.io._entries import Entry, Unreadable, entry_from_atoms, label_in

if TYPE_CHECKING:
    from rdkit.Chem import Conformer, Mol

T = TypeVar("T")

# Conformer k of seed s is drawn with the number s * _STRIDE + k: two seeds never share one.
_STRIDE = 10_000
_MAX_SEED = 200_000
# Distance between the boxes of two fragments, Angstrom. RDKit puts all of them on the origin.
_FRAGMENT_GAP = 3.0
# Seconds for each conformer, unless the user says otherwise: most take less than one.
TIMEOUT = 60.0
_REPAIR = "Repair the input, or give coordinates in an SDF file."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Embedding:
    """How coordinates are made for molecules that have none.

    Attributes:
        seed: Of the random numbers; a molecule's coordinates depend on it and on the molecule.
        n_conformers: How many conformers a molecule without coordinates gets.
        timeout: Seconds for each of them, on average.
    """

    seed: int
    n_conformers: int
    timeout: float = TIMEOUT

    @classmethod
    def new(cls, seed: int, n_conformers: int, timeout: float = TIMEOUT) -> "Embedding":
        """Check the options.

        Raises:
            OptionError: A number is out of range.
        """
        for name, value, low, high in (
            ("seed", seed, 0, _MAX_SEED),
            ("n_conformers", n_conformers, 1, _STRIDE),
        ):
            if not isinstance(value, int | np.integer) or not low <= value <= high:
                raise OptionError(
                    f"{name} is {value!r}; expected a whole number from {low} to {high}."
                )
        if not (isinstance(timeout, int | float | np.number) and 0 < timeout < math.inf):
            raise OptionError(f"timeout is {timeout!r}; expected seconds, more than 0.")
        return cls(seed=int(seed), n_conformers=int(n_conformers), timeout=float(timeout))


def require_rdkit(what: str) -> None:
    """Raise where RDKit is missing.

    Raises:
        StructureError: RDKit cannot be imported.
    """
    try:
        import rdkit.Chem  # noqa: F401
    except ImportError as error:
        raise StructureError(
            f"{what} needs RDKit, which is not installed. Run: pip install 'kups-relax[rdkit]'"
        ) from error


def entries_from_mol(
    mol: "Mol",
    label: str,
    embedding: Embedding,
    info: Mapping[str, Any] | None = None,
) -> list[Entry]:
    """Make one entry for each conformer of a Mol.

    A Mol without conformer, or with a flat drawing in its place, gets hydrogens and is embedded.
    Hydrogens that a Mol with coordinates lacks stay missing: the potential reports them.

    Args:
        mol: Left as it is.
        label: The id; several conformers become `label/0`, `label/1`, ...
        embedding: How coordinates are made where there are none.
        info: For `atoms.info`, in addition to the Mol's properties.
    """
    try:
        return _entries_from_mol(mol, label, embedding, info)
    except Exception as error:  # whatever RDKit, or ASE, makes of odd molecules
        return [Unreadable(id=label, reason=f"RDKit fails on it: {described(error)}. {_REPAIR}")]


def _entries_from_mol(
    mol: "Mol", label: str, embedding: Embedding, info: Mapping[str, Any] | None
) -> list[Entry]:
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        topology = Chem.Mol(mol)
        problem = _sanitized(topology)
    if problem is not None:
        return [Unreadable(id=label, reason=f"RDKit rejects it: {problem}. Repair the input.")]
    info = {**_properties(mol), **(info or {})}
    conformers = list(topology.GetConformers())
    if topology.GetNumAtoms() and not (
        conformers and all(_is_geometry(topology, conformer) for conformer in conformers)
    ):
        return _embedded(topology, label, embedding, info)
    positions = [conformer.GetPositions() for conformer in conformers] or [np.zeros((0, 3))]
    return _entries(topology, positions, label, info)


def entries_from_sdf(
    lines: Iterable[str], path: Path, stem: str, embedding: Embedding
) -> Iterator[Entry]:
    """Read the records of an SDF or MOL file, one after the other.

    Raises:
        StructureError: Nothing in the file looks like a record.
    """
    require_rdkit(f"{path}: reading SDF")
    from rdkit import Chem, rdBase

    for i, (record, only) in enumerate(alone(_records(lines))):
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
                supplier = Chem.SDMolSupplier()
                supplier.SetData(record, sanitize=True, removeHs=False)
                mol = supplier[0] if len(supplier) else None
                why = "" if mol is not None else _why_no_mol(record)
            if mol is not None:
                label = title or label_in(_properties(mol)) or number
        except Exception as error:  # whatever RDKit makes of odd numbers in it
            mol, why = None, f"RDKit fails on it: {described(error)}"
        if mol is None:
            reason = f"record {i} of {path}: {why}. Repair the record."
            yield Unreadable(id=label, reason=reason)
        else:
            yield from entries_from_mol(mol, label, embedding)


def _records(lines: Iterable[str]) -> Iterator[str]:
    """Cut an SDF file where its records end."""
    record: list[str] = []
    for line in lines:
        record.append(line)
        if line.startswith("$$$$"):
            yield "\n".join(record) + "\n"
            record = []
    if any(line.strip() for line in record):
        # RDKit takes a newline at the very end for one more record.
        yield "\n".join(record).rstrip() + "\n"


def alone(items: Iterable[T]) -> Iterator[tuple[T, bool]]:
    """Say of each whether it is the only one."""
    source = iter(items)
    first = list(itertools.islice(source, 2))
    for item in itertools.chain(first, source):
        yield item, len(first) == 1


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
    for i, ((number, smiles, name), only) in enumerate(alone(_smiles_lines(lines))):
        got = got if i else f"the first is {smiles!r}"
        label = name or (stem if only else f"{stem}:{i}")
        mol, why = None, ""
        try:
            with rdBase.BlockLogs():
                mol = Chem.MolFromSmiles(smiles)
                if mol is None:
                    bare = Chem.MolFromSmiles(smiles, sanitize=False)
                    why = "it is no valid SMILES" if bare is None else _problems(bare)
        except Exception as error:
            why = described(error)
        if mol is None:
            reason = f"line {number} of {path}: RDKit rejects {smiles!r}: {why}. Correct it."
            entries: list[Entry] = [Unreadable(id=label, reason=reason)]
        else:
            entries = entries_from_mol(mol, label, embedding, {"smiles": smiles})
        if held is not None:
            held += entries
            if mol is None:
                continue
            entries, held = held, None
        yield from entries
    if held is not None:
        raise StructureError(
            f"{path}: no line begins with a SMILES that RDKit accepts; {got}. "
            "Expected 'SMILES name' on each line; '#' begins a comment."
        )


def _smiles_lines(lines: Iterable[str]) -> Iterator[tuple[int, str, str]]:
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
    return "RDKit cannot parse it" if bare is None else f"RDKit rejects it: {_problems(bare)}"


def _problems(mol: "Mol") -> str:
    from rdkit import Chem

    found = [problem.Message() for problem in Chem.DetectChemistryProblems(mol)]
    return "; ".join(found) or "its chemistry makes no sense"


def _sanitized(mol: "Mol") -> str | None:
    """Finish a Mol that was built without sanitization; the value is what is wrong with it."""
    from rdkit import Chem

    dummies = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() == 0]
    if dummies:
        return f"atom {dummies[0]} is a placeholder ('*' or R) and no element"
    if not mol.NeedsUpdatePropertyCache():
        try:
            mol.GetRingInfo().NumRings()
            return None
        except RuntimeError:
            pass
    try:
        Chem.SanitizeMol(mol)
    except ValueError as error:
        return str(error).strip().rstrip(".")
    return None


def _is_geometry(mol: "Mol", conformer: "Conformer") -> bool:
    """Tell a geometry from a drawing.

    A flat molecule from a file whose header does not say 2D or 3D counts as a geometry.
    """
    if conformer.Is3D():
        return True
    if not mol.HasProp("_MolFileInfo") or mol.GetProp("_MolFileInfo")[20:22].strip():
        return False
    return mol.GetNumAtoms() == 1 or bool(np.any(conformer.GetPositions()))


def _embedded(mol: "Mol", label: str, embedding: Embedding, info: dict[str, Any]) -> list[Entry]:
    from rdkit import Chem

    n_wanted, numbered = embedding.n_conformers, embedding.n_conformers > 1
    labels = [f"{label}/{k}" if numbered else label for k in range(n_wanted)]
    mol = Chem.AddHs(mol)
    try:
        got = embed(mol, n_wanted, embedding.seed * _STRIDE, embedding.timeout * n_wanted)
    except TooSlow:
        return [too_slow(name) for name in labels]
    if isinstance(got, str):
        reason = f"RDKit's ETKDGv3 fails on it: {got}. {_REPAIR}"
        return [Unreadable(id=label, reason=reason)]
    if len(got) == 0:
        reason = (
            "RDKit's ETKDGv3 finds no coordinates for it. Give coordinates in an SDF file, "
            "or try another seed."
        )
        return [Unreadable(id=label, reason=reason)]
    fragments = [np.array(fragment) for fragment in Chem.GetMolFrags(mol)]
    positions = [_side_by_side(xyz, fragments) for xyz in got]
    entries = _entries(mol, positions, label, info, numbered=numbered)
    for name in labels[len(got) :]:
        reason = f"RDKit's ETKDGv3 finds coordinates for {len(got)} of {n_wanted} conformers only."
        entries.append(Unreadable(id=name, reason=f"{reason} Try another seed."))
    return entries


def too_slow(label: str) -> Unreadable:
    """Stand in for a conformer that was not made in time.

    What a structure gets does not depend on how fast a machine is: it gets these coordinates, or
    none. So the reason is the same everywhere, and who compares inputs can tell.
    """
    reason = (
        "RDKit's ETKDGv3 makes no coordinates for it within the time limit. Give coordinates in an "
        f"SDF file, or more seconds to each conformer than {TIMEOUT:g}: io.Stream(..., timeout=)."
    )
    return Unreadable(id=label, reason=reason)


def _side_by_side(positions: np.ndarray, fragments: list[np.ndarray]) -> np.ndarray:
    """Move fragments along x until none touches another."""
    edge = None
    for rows in fragments:
        if edge is not None:
            positions[rows, 0] += edge + _FRAGMENT_GAP - positions[rows, 0].min()
        edge = positions[rows, 0].max()
    return positions


def _entries(
    mol: "Mol",
    positions: list[np.ndarray],
    label: str,
    info: dict[str, Any],
    *,
    numbered: bool | None = None,
) -> list[Entry]:
    """One entry for each geometry; all share one topology."""
    from ase import Atoms
    from rdkit import Chem

    topology = Chem.Mol(mol)
    topology.RemoveAllConformers()
    atoms = list(topology.GetAtoms())
    formal = [atom.GetFormalCharge() for atom in atoms]
    info = {**info, "charge": Chem.GetFormalCharge(topology)}
    entries = []
    for k, xyz in enumerate(positions):
        name = f"{label}/{k}" if (len(positions) > 1 if numbered is None else numbered) else label
        built = Atoms(
            numbers=[atom.GetAtomicNum() for atom in atoms],
            positions=xyz,
            charges=formal if any(formal) else None,
            masses=[atom.GetMass() for atom in atoms]
            if any(atom.GetIsotope() for atom in atoms)
            else None,
            info={**info, "id": name},
        )
        entries.append(entry_from_atoms(built, name, topology=topology))
    return entries


def _properties(mol: "Mol") -> dict[str, Any]:
    """The public properties of a Mol; text becomes a number only where nothing is lost."""
    raw = mol.GetPropsAsDict(includePrivate=False, includeComputed=False, autoConvertStrings=False)
    return {str(key): _plain(value) for key, value in raw.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return _number(value)
    return value if isinstance(value, int | float) else list(value)


def _number(text: str) -> str | int | float:
    if re.fullmatch(r"0|-?[1-9]\d{0,17}", text):
        return int(text)
    if re.fullmatch(r"-?\d+\.\d+(e[+-]?\d+)?", text, re.IGNORECASE):
        return float(text)
    return text
