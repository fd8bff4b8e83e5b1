"""What reading gives: a structure, or the reason why there is none."""

import dataclasses
import hashlib
import itertools
import math
import operator
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from kups_relax.data._structure import Structure
from kups_relax.data._symbols import SYMBOLS
from kups_relax.errors import StructureError, described, shown
from kups_relax.io._invented import objection_to_atoms

if TYPE_CHECKING:
    import ase

# Longest text that is made of an array or a number for an id.
_LONGEST = 100
# The way out for Atoms of which a part was replaced by what ASE's methods refuse.
_MAKE = "Make the Atoms anew: ase.Atoms(numbers=..., positions=..., cell=..., pbc=...)."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unreadable:
    """Stand in for one bad item of a list or a file, so that the others go on.

    Attributes:
        id: The label that the structure would have had.
        reason: What is wrong with it and what to do, in one or two sentences.
        atoms: The `ase.Atoms` as they were read, where there are any that are whole: with
            numbers, positions, cell and pbc of the usual shapes and types.
    """

    id: str
    reason: str
    atoms: Any = dataclasses.field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", label_of(self.id) or "structure")
        if self.atoms is not None and malformed(self.atoms) is not None:
            object.__setattr__(self, "atoms", None)

    def __str__(self) -> str:
        return f"{self.id!r}: {self.reason}"


T = TypeVar("T")

Entry: TypeAlias = Structure | Unreadable


def label_in(info: Any) -> str | None:
    """Find the name that a structure carries in its info: `id`, then `name`, in any case.

    Returns:
        The name as text; None where there is none, or where info is no dict.
    """
    if not isinstance(info, dict):
        return None
    lowered = {key.lower(): value for key, value in info.items() if isinstance(key, str)}
    for key in ("id", "name"):
        if (label := label_of(lowered.get(key))) is not None:
            return label
    return None


def label_of(value: Any) -> str | None:
    """Make an id of a value: of text, bytes, and of numbers and arrays that are short as text.

    Returns:
        Text without spaces at its ends, which can be written as UTF-8; None where the value has no
        such text, or one that differs from run to run.
    """
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, str):
        # Lone surrogates and NUL cannot be stored.
        return str(value).encode("utf-8", "replace").decode().replace("\0", "").strip() or None
    if isinstance(value, float | np.floating) and not np.isfinite(value):
        return None
    plain = isinstance(value, int | float) or (
        isinstance(value, np.generic | np.ndarray) and value.dtype.kind in "biufcSUmMV"
    )
    if not plain:
        return None
    try:
        text = " ".join(str(value).split())
    except ValueError:  # Python writes no number of more than 4300 digits
        return None
    return text if 0 < len(text) <= _LONGEST else None


def label(atoms: "ase.Atoms", name: str) -> None:
    """Give atoms an id, where they have another one."""
    given = atoms.info.get("id")
    text = given if isinstance(given, str) else None
    if isinstance(given, int | np.integer) and not isinstance(given, bool):
        text = label_of(given)
    if text != name:
        atoms.info["id"] = name


def formula_of(numbers: Any) -> str | None:
    """Write atomic numbers as a formula in Hill's order; None where one is no element's."""
    numbers = np.asarray(numbers)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        return None
    counts = Counter(numbers.tolist())
    if not counts or not all(n in range(1, len(SYMBOLS)) for n in counts):
        return None
    names = {SYMBOLS[n]: count for n, count in counts.items()}
    first = ("C", "H") if "C" in names else ()
    order = sorted(names, key=lambda name: (first.index(name) if name in first else 2, name))
    return "".join(name + (str(names[name]) if names[name] > 1 else "") for name in order)


def alone(items: Iterable[T]) -> Iterator[tuple[T, bool]]:
    """Say of each whether it is the only one."""
    source = iter(items)
    first = list(itertools.islice(source, 2))
    for item in itertools.chain(first, source):
        yield item, len(first) == 1


def unique(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Give a repeated id the ending `#2`, `#3`, ... in order of appearance."""
    # Digests: a hundred thousand of them take less room than one structure's work.
    taken: set[bytes] = set()
    counts: dict[str, int] = {}
    for entry in entries:
        label = entry.id
        while (digest := _digest(label)) in taken:
            counts[entry.id] = counts.get(entry.id, 1) + 1
            label = f"{entry.id}#{counts[entry.id]}"
        taken.add(digest)
        yield entry if label == entry.id else dataclasses.replace(entry, id=label)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=12).digest()


def entry_from_atoms(
    atoms: "ase.Atoms", name: str, *, topology: Any = None, reason: str | None = None
) -> Entry:
    """Make one entry; `atoms` is kept, so hand over a copy.

    Args:
        atoms: Coordinates, cell and everything that must survive the round trip.
        name: The structure's id.
        topology: RDKit Mol with the same atoms, or None.
        reason: Why the structure cannot be used, where the caller already knows.
    """
    if (problem := malformed(atoms)) is not None:
        return Unreadable(id=name, reason=problem)
    if "id" in atoms.info:
        label(atoms, name)
    charge = None
    if reason is None:
        charge, reason = _charge(atoms.info)
    if reason is None:
        structure = Structure(
            id=name,
            numbers=atoms.arrays["numbers"],
            positions=np.array(atoms.arrays["positions"], order="C"),
            cell=np.array(atoms.cell.array, order="C"),
            pbc=np.array(atoms.pbc),
            charge=charge,
            topology=topology,
            atoms=atoms,
        )
        entry = entry_from_structure(structure)
        if isinstance(entry, Structure):
            return entry
        reason = entry.reason
    formula = formula_of(atoms.numbers)
    if formula and not name.startswith(formula):
        reason = f"{formula}: {reason}"
    return Unreadable(id=name, reason=reason, atoms=atoms)


def entry_from_structure(structure: Structure) -> Entry:
    """Check a structure, whoever made it; its arrays are made those that are promised."""
    name = label_of(structure.id) or "structure"
    if name != structure.id:
        structure = dataclasses.replace(structure, id=name)
    try:
        if structure.atoms is not None and (problem := malformed(structure.atoms)) is not None:
            raise StructureError(f"the `atoms` of this Structure cannot be used: {problem}")
        structure = structure.plain()
        if (atoms := _in_float64(structure.atoms)) is not structure.atoms:
            structure = dataclasses.replace(structure, atoms=atoms)
        structure.check()
        _check_atoms(structure)
        reason = None if structure.atoms is None else objection_to_atoms(structure.atoms)
    except StructureError as error:
        # Without the id, which stands beside it.
        reason = str(error).removeprefix(repr(name)).lstrip(": ")
    return (
        structure if reason is None else Unreadable(id=name, reason=reason, atoms=structure.atoms)
    )


def _check_atoms(structure: Structure) -> None:
    """Raise where results cannot be put into the `atoms` of a structure."""
    from ase import Atoms

    atoms = structure.atoms
    if atoms is None:
        return
    if type(atoms) is not Atoms:
        try:
            atoms.copy()
        except Exception as error:  # of a class of the user's own
            raise StructureError(
                f"its `atoms`, a {type(atoms).__name__}, cannot be copied ({described(error)}). "
                "Pass ase.Atoms of the same, or None."
            ) from error
    for name, there, own in (
        ("numbers", atoms.arrays["numbers"], structure.numbers),
        ("pbc", atoms.pbc, structure.pbc),
    ):
        if not np.array_equal(there, own):
            raise StructureError(
                f"the {name} of this Structure are {shown(own.tolist())}, and those of its `atoms` "
                f"{shown(there.tolist())}; expected the same. Pass the Atoms it came from, or None."
            )


def _in_float64(atoms: Any) -> Any:
    """Return atoms whose array of positions, which somebody may have replaced, can hold any."""
    if atoms is None or atoms.arrays["positions"].dtype == np.float64:
        return atoms
    atoms = atoms.copy()
    atoms.arrays["positions"] = atoms.arrays["positions"].astype(np.float64)
    return atoms


def malformed(atoms: Any) -> str | None:
    """Say what ASE's Atoms never are, and become where parts of them are replaced by hand.

    Values are not looked at: an atomic number of no element, or a position that is NaN, leaves
    Atoms whole, which are handed back with the reason why they cannot be relaxed.
    """
    from ase import Atoms

    if not isinstance(atoms, Atoms):
        return f"got a {type(atoms).__name__}; expected ase.Atoms. Pass ase.Atoms, or None."
    given = getattr(atoms, "arrays", None)
    arrays = given if isinstance(given, dict) else {}
    missing = [name for name in ("numbers", "positions") if name not in arrays]
    if missing:
        return f"these Atoms have no {' and no '.join(missing)}. {_MAKE}"
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            return (
                f"atoms.arrays[{shown(name)}] is a {type(array).__name__}; expected a NumPy array. "
                "Put it in with atoms.set_array."
            )
    n = arrays["numbers"].shape[:1]
    for name, array, kinds, shape in (
        ("numbers", arrays["numbers"], "iu", n or (0,)),
        ("positions", arrays["positions"], "biuf", (*n, 3)),
        ("cell", atoms.cell.array, "biuf", (3, 3)),
        ("pbc", atoms.pbc, "biuf", (3,)),
    ):
        array = np.asarray(array)
        if array.shape != shape or array.dtype.kind not in kinds:
            what = "whole numbers" if kinds == "iu" else "numbers"
            return (
                f"its {name} have shape {array.shape} and dtype {array.dtype}; expected {what} of "
                f"shape {shape} for {len(arrays['numbers']) if n else 0} atoms. {_MAKE}"
            )
    if not isinstance(atoms.info, dict):
        return f"its info is a {type(atoms.info).__name__}; expected a dict. {_MAKE}"
    return None


def _charge(info: Any) -> tuple[int | None, str | None]:
    """Read the total charge; the second value is what is wrong with it."""
    value = info.get("charge")
    if value is None:
        return None, None
    try:
        charge = _whole(value)
        if abs(charge) < 2**31:
            return charge, None
    except (TypeError, ValueError):
        pass
    return None, (
        f"info['charge'] is {shown(value, _LONGEST)}; expected the total charge, a whole "
        "number of e. Correct it, or remove it from info."
    )


def _whole(value: Any) -> int:
    if isinstance(value, np.ndarray):
        value = value.item()
    try:
        return operator.index(value)
    except TypeError:
        number = float(value)
    if not (math.isfinite(number) and number.is_integer()):
        raise ValueError(value)
    return int(number)
