"""RDKit's molecules as structures."""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kups_relax.errors import OptionError, StructureError
from kups_relax.io._embedder import described
from kups_relax.io._embedding import TooSlow, embed
from kups_relax.io._entries import Entry, Unreadable, entry_from_atoms

if TYPE_CHECKING:
    from rdkit.Chem import Conformer, Mol

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
    info = {**properties_of(mol), **(info or {})}
    conformers = list(topology.GetConformers())
    if topology.GetNumAtoms() and not (
        conformers and all(_is_geometry(topology, conformer) for conformer in conformers)
    ):
        return _embedded(topology, label, embedding, info)
    positions = [conformer.GetPositions() for conformer in conformers] or [np.zeros((0, 3))]
    return _entries(topology, positions, label, info)


def problems_of(mol: "Mol") -> str:
    """Say what RDKit finds wrong with the chemistry of a molecule."""
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


def properties_of(mol: "Mol") -> dict[str, Any]:
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
