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
from kups_relax.errors import StructureError
from kups_relax.io._invented import objection_to_atoms

if TYPE_CHECKING:
    import ase

# Longest text that is made of an array or a number for an id.
_LONGEST = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unreadable:
    """Stand in for one bad item of a list or a file, so that the others go on.

    Attributes:
        id: The label that the structure would have had.
        reason: What is wrong with it and what to do, in one or two sentences.
        atoms: The `ase.Atoms` as they were read, where there are any.
    """

    id: str
    reason: str
    atoms: Any = dataclasses.field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.id!r}: {self.reason}"


T = TypeVar("T")

Entry: TypeAlias = Structure | Unreadable


def label_in(info: Any) -> str | None:
    """Find the name that a structure carries in its info: `id`, then `name`, in any case."""
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
    counts = Counter(np.asarray(numbers).tolist())
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
        structure = structure.plain()
        structure.check()
        reason = None if structure.atoms is None else objection_to_atoms(structure.atoms)
    except StructureError as error:
        # Without the id, which stands beside it.
        reason = str(error).removeprefix(repr(name)).lstrip(": ")
    return (
        structure if reason is None else Unreadable(id=name, reason=reason, atoms=structure.atoms)
    )


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
        f"info['charge'] is {_shown(value)}; expected the total charge, a whole number of e. "
        "Correct it, or remove it from info."
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


def _shown(value: Any) -> str:
    """A value's repr, as far as it has a short one."""
    try:
        text = repr(value)
    except Exception:  # of a class of the user's own; of an integer of more than 4300 digits
        return f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
