"""What reading gives: a structure, or the reason why there is none."""

import dataclasses
import hashlib
import operator
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from kups_relax.data._structure import Structure
from kups_relax.errors import StructureError

if TYPE_CHECKING:
    import ase


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


Entry: TypeAlias = Structure | Unreadable


def label_in(info: Any) -> str | None:
    """Find the name that a structure carries in its info: `id`, then `name`, in any case."""
    lowered = {str(key).lower(): value for key, value in info.items()}
    for key in ("id", "name"):
        value = lowered.get(key)
        if isinstance(value, str | int | np.integer) and str(value).strip():
            return str(value).strip()
    return None


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
    atoms: "ase.Atoms", label: str, *, topology: Any = None, reason: str | None = None
) -> Entry:
    """Make one entry; `atoms` is kept, so hand over a copy.

    Args:
        atoms: Coordinates, cell and everything that must survive the round trip.
        label: The structure's id.
        topology: RDKit Mol with the same atoms, or None.
        reason: Why the structure cannot be used, where the caller already knows.
    """
    charge, objection = _charge(atoms.info)
    reason = reason or objection
    if reason is None:
        structure = Structure(
            id=label,
            numbers=np.array(atoms.numbers, np.int32),
            positions=np.array(atoms.positions, np.float64, order="C"),
            cell=np.array(atoms.cell.array, np.float64, order="C"),
            pbc=np.array(atoms.pbc, bool),
            charge=charge,
            topology=topology,
            atoms=atoms,
        )
        reason = _objection(structure)
        if reason is None:
            return structure
    formula = f"{atoms.get_chemical_formula()}: " if len(atoms) else ""
    return Unreadable(id=label, reason=formula + reason, atoms=atoms)


def _charge(info: Any) -> tuple[int | None, str | None]:
    """Read the total charge; the second value is what is wrong with it."""
    value = info.get("charge")
    if value is None:
        return None, None
    try:
        return _whole(value), None
    except (TypeError, ValueError):
        return None, (
            f"info['charge'] is {value!r}; expected the total charge, a whole number of e. "
            "Correct it, or remove it from info."
        )


def _whole(value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        number = float(value)
    if not number.is_integer():
        raise ValueError(value)
    return int(number)


def _objection(structure: Structure) -> str | None:
    """Say why no potential can use a structure, without repeating its id."""
    try:
        structure.check()
    except StructureError as error:
        return str(error).removeprefix(repr(structure.id)).lstrip(": ")
    return None
