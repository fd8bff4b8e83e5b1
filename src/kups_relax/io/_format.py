"""The contract of a file format, and how a structure is made to fit it."""

import abc
import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kups_relax.io._compare import same, same_bits
from kups_relax.io._content import BOOKKEEPING, STANDARD, Item, items_of, plain_geometry, with_items
from kups_relax.io._left_out import LeftOut

if TYPE_CHECKING:
    import ase


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
    """One structure as it is to be written.

    Attributes:
        id: Its label.
        atoms: With all that it carries.
        outcome: What became of it, plain values by name; nothing that is empty.
        topology: RDKit Mol with the same atoms, or None.
    """

    id: str
    atoms: "ase.Atoms"
    outcome: Mapping[str, Any]
    topology: Any = None

    @property
    def labels(self) -> dict[str, Any]:
        """The id and the outcome."""
        return {"id": self.id, **self.outcome}


class Format(abc.ABC):
    """Writer of one kind of file; one instance writes one file."""

    name: ClassVar[str]
    # Parts of `Item` that it can hold. Constraints that it cannot hold are named.
    parts: ClassVar[frozenset[str]]
    # True if arrays of any name are columns; else only those that ASE has names for.
    columns: ClassVar[bool] = False
    # Results that it takes, if not all.
    results: ClassVar[frozenset[str] | None] = None
    # True if readers take all three axes for periodic.
    periodic: ClassVar[bool] = False
    # Names in info that it uses itself, besides those that others use.
    reserved: ClassVar[frozenset[str]] = frozenset()
    # True for formats that hold one structure only.
    single: ClassVar[bool] = False

    def refuses(self, atoms: "ase.Atoms | None", topology: Any) -> str | None:
        """Say why it cannot hold a structure at all; None: it can."""
        del atoms, topology
        return None

    @abc.abstractmethod
    def opened(self, path: Path) -> AbstractContextManager[Callable[[Shown], None]]:
        """Begin a file, and give the function that adds a structure to it."""

    @abc.abstractmethod
    def again(self, shown: Shown) -> "ase.Atoms":
        """Write a structure in memory and read it back, as other programs would.

        Id and outcome may be missing in what comes back.
        """

    def same_geometry(self, one: "ase.Atoms", back: "ase.Atoms") -> bool:
        """Compare elements, positions and cell, to the digits that the format has."""
        return (
            np.array_equal(one.numbers, back.numbers)
            and same_bits(one.positions, back.positions)
            and same_bits(one.cell.array, back.cell.array)
            and np.array_equal(one.pbc, back.pbc)
        )


def fitted(form: Format, shown: Shown, left_out: LeftOut, *, doubt: bool = False) -> Shown | None:
    """Leave out of a structure what its file could not give back.

    Plain structures are not looked at twice. Others are written in memory and read back; where that
    fails or something differs, item by item.

    Args:
        form: Of the file.
        shown: The structure.
        left_out: Told what is missing.
        doubt: Look at it even if it seems plain.

    Returns:
        What can be written; None if not even the geometry.
    """
    atoms, labels = shown.atoms, shown.labels
    items, odd, names = [], doubt or not plain_geometry(atoms), set()
    if form.periodic and not atoms.pbc.all():
        left_out.add(shown.id, f"pbc={atoms.pbc.tolist()}", "pbc")
    for item in items_of(atoms, form.parts):
        if item.part == "info":
            # Keys are text in every file; those of ours are written anyway.
            text = _key(item.key)
            if text in labels:
                continue
            if text is None or text in names:
                left_out.add(shown.id, item.text, item.kind)
                continue
            names.add(text)
            item = dataclasses.replace(item, key=text)
        elif item.part == "arrays" and not (form.columns or item.key in STANDARD):
            if item.key != BOOKKEEPING:
                left_out.add(shown.id, item.text, item.kind)
            continue
        elif item.part == "results" and form.results is not None and item.key not in form.results:
            continue
        elif item.part == "constraints" and "constraints" not in form.parts:
            left_out.add(shown.id, item.text, item.kind)
            continue
        items.append(item)
        odd |= not item.plain or item.key in form.reserved

    def kept(some: list[Item]) -> Shown:
        return dataclasses.replace(shown, atoms=with_items(atoms, some))

    if not odd or _reads_back(form, kept, items):
        return kept(items)
    good: list[Item] = []
    if not _reads_back(form, kept, good):
        return None
    for item in items:
        if _reads_back(form, kept, [*good, item]):
            good.append(item)
        else:
            left_out.add(shown.id, item.text, item.kind)
    return kept(good)


def _key(key: Any) -> str | None:
    if isinstance(key, int | np.integer) and not isinstance(key, bool):
        # Python refuses to say those of thousands of digits.
        return str(int(key)) if abs(int(key)) < 2**64 else None
    return str(key) if isinstance(key, str) else None


def _reads_back(form: Format, kept: Callable[[list[Item]], Shown], items: list[Item]) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            shown = kept(items)
            back = form.again(shown)
            return form.same_geometry(shown.atoms, back) and _same_items(items, back)
        except Exception:  # whatever writers and readers raise for what they do not know
            return False


def _same_items(items: list[Item], back: "ase.Atoms") -> bool:
    found: dict[str, Mapping[Any, Any]] = {
        "info": {str(key): value for key, value in back.info.items()},
        "arrays": back.arrays,
        "results": getattr(back.calc, "results", {}),
        "celldisp": {"": back.get_celldisp()},
    }
    constraints = [item.value for item in items if item.part == "constraints"]
    return _same_constraints(constraints, back) and all(
        item.part == "constraints"
        or (item.key in found[item.part] and same(item.value, found[item.part][item.key]))
        for item in items
    )


def _same_constraints(constraints: list[Any], back: "ase.Atoms") -> bool:
    before, after = moving(constraints, len(back)), moving(back.constraints, len(back))
    if before is not None and after is not None:
        # Some formats say which coordinates may move, whatever holds the others.
        return np.array_equal(before, after)
    one, other = ([c.todict() for c in given] for given in (constraints, back.constraints))
    return same(one, other)


def moving(constraints: list[Any], n: int) -> np.ndarray | None:
    """(n, 3), which Cartesian coordinates may move; None where that does not say it all."""
    from ase.constraints import FixAtoms, FixCartesian

    mask = np.ones((n, 3), bool)
    for constraint in constraints:
        if type(constraint) is FixAtoms:
            mask[constraint.index] = False
        elif type(constraint) is FixCartesian:
            mask[constraint.index] &= ~np.asarray(constraint.mask, bool)
        else:
            return None
    return mask


@contextlib.contextmanager
def text_file(path: Path, text_of: Callable[[Shown], str]) -> Iterator[Callable[[Shown], None]]:
    """Write a file that is the texts of its structures, one after the other."""
    with path.open("w", encoding="utf-8", newline="\n") as file:

        def add(shown: Shown) -> None:
            file.write(text_of(shown))

        yield add
