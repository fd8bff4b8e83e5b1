"""From whatever chemists have to structures, in the caller's order."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from kups_relax.data._structure import Structure
from kups_relax.errors import StructureError
from kups_relax.io._ase_files import entries_by_ase
from kups_relax.io._count import Counter
from kups_relax.io._entries import (
    Entry,
    Unreadable,
    entry_from_atoms,
    entry_from_structure,
    formula_of,
    label_in,
    label_of,
    malformed,
    unique,
)
from kups_relax.io._inputs import (
    EXPECTED,
    FORMATS,
    RECORDS,
    SMILES,
    check_file,
    ending_of,
    files_of,
    is_mol,
    is_path,
    items,
    listed,
    named,
    objection_to,
    stem_of,
)
from kups_relax.io._lines import text_lines
from kups_relax.io._molecule_files import entries_from_sdf, entries_from_smiles
from kups_relax.io._molecules import (
    TIMEOUT,
    Embedding,
    entries_from_mol,
)

# Characters of an error of ASE's that are shown.
_SHOWN = 200


class Stream:
    """Read structures from objects and files one after the other, however many there are.

    One bad structure in a list or a file, and one file of several that cannot be read, becomes an
    `Unreadable` in its place and the others go on. Input that holds nothing else, and objects in a
    list that are no structures at all, raise.

    The id of a structure is the title of its record or `info["id"]` or `info["name"]`; where there
    is none, "stem:3" for the fourth structure in a file, "H2O 3" for water as the fourth item of a
    list, and "H2O" for a bare one. Conformers end in "/0", "/1", ..., and an id that was there
    before in "#2", "#3", ...

    A folder stands for the structure files in it, sorted by name, without hidden files, folders,
    and files of which neither name nor contents are those of a structure, which are named in a
    line of the log. A pattern such as "*.cif" or "**/POSCAR" stands for what matches, sorted.

    An iterator of one entry for each structure: a `Structure`, or an `Unreadable` with the reason.
    Nothing that the caller owns is changed or kept. Files of one structure after the other
    (extended XYZ, SDF, SMILES, ASE's trajectories and databases) are read as far as is asked for.

    What a reader of ASE would make up is refused, with the way to say it: elements where a file
    has types or ambiguous names only, one element for a site that several share.

    Args:
        inputs: `ase.Atoms`, an RDKit Mol (each conformer is a structure; a Mol without
            coordinates, or with a flat drawing, is embedded), a `Structure`, the path of a file or
            a folder or a pattern, or an iterable of these, nested or mixed. None in a list counts
            as a molecule that RDKit could not parse.
        seed: Of the coordinates that ETKDGv3 makes for SMILES, from 0 to 200000. They depend on
            the molecule and on this alone, not on what else is read.
        n_conformers: How many conformers a molecule without coordinates gets.
        timeout: Seconds in which each of them must be made; a molecule that takes longer fails.

    Raises:
        StructureError: At once: an object has an unknown type. On the way: nothing was given, or
            no file could be read.
        OptionError: `seed`, `n_conformers` or `timeout` is out of range.
    """

    def __init__(
        self, inputs: Any, *, seed: int = 0, n_conformers: int = 1, timeout: float = TIMEOUT
    ) -> None:
        self._embedding = Embedding.new(seed, n_conformers, timeout)
        # Files by place: folders and patterns are looked at once.
        self._files: dict[str, list[Path]] = {}
        for place, item in listed(inputs):
            if (reason := objection_to(item, place)) is not None:
                raise StructureError(reason)
            if is_path(item):
                self._files[place] = files_of(item)
        self._inputs = inputs
        self._n_read, self._ended = 0, False
        # Parts (items, files) that are finished, and the entries that they gave.
        self._finished = (0, 0)
        self._left: list[float] | None = None
        self._entries = self._read(inputs)

    def __iter__(self) -> Iterator[Entry]:
        return self

    def __next__(self) -> Entry:
        entry = next(self._entries)
        self._n_read += 1
        return entry

    @property
    def total(self) -> int | None:
        """The number of entries that there are in all, read ones included; None: not known.

        Counted where that is possible within a second, when it is first asked for: items of lists,
        frames and records, lines of SMILES, not where a molecule may give several conformers. Of
        trajectories and databases their own count is taken; where reading ends before it, because
        the file is damaged, that part counts as what it gave.
        """
        if self._ended:
            return self._n_read
        if self._left is None:
            self._left = self._count()
        n_parts, n_entries = self._finished
        left = self._left[n_parts] if n_parts < len(self._left) else 0.0
        total = n_entries + left
        return int(total) if self._n_read <= total < float("inf") else None

    def check_paths(self) -> None:
        """Raise for the first path that is listed and missing, or empty.

        Raises:
            StructureError: A file cannot be opened, as `strict` runs want to know at once.
        """
        for place, item in listed(self._inputs):
            for path in self._files[place] if is_path(item) else ():
                check_file(path, named(path, place))

    def _count(self) -> list[float]:
        """Entries of all parts from each one on; infinite where that is not known."""
        counter = Counter(self._embedding.n_conformers)
        counts: list[float] = []
        for place, item in listed(self._inputs):
            for part in self._files[place] if is_path(item) else [item]:
                n = None if _is_iterator(part) else counter.count(part)
                counts.append(float("inf") if n is None else n)
        left = [0.0]
        for n in reversed(counts):
            left.append(left[-1] + n)
        return left[::-1]

    def _read(self, inputs: Any) -> Iterator[Entry]:
        # Files that cannot be read are held back until something else is there: if nothing is,
        # there is nothing to go on with.
        held: list[Unreadable] | None = []

        def known() -> Iterator[Entry]:
            nonlocal held
            for entry in self._all(inputs):
                if isinstance(entry, _UnreadableFile):
                    entry = Unreadable(id=entry.id, reason=entry.reason)
                    if held is not None:
                        held.append(entry)
                        continue
                yield from held or ()
                held = None
                yield entry

        yield from unique(known())
        if held:
            several = f"no input can be used; the first of {len(held)}: " if held[1:] else ""
            raise StructureError(several + held[0].reason)
        if held is not None:
            raise StructureError(f"no structures: got an empty {type(inputs).__name__}. {EXPECTED}")
        self._ended = True

    def _all(self, inputs: Any) -> Iterator[Entry]:
        n_parts = n_entries = 0
        for number, (place, item) in enumerate(items(inputs)):
            for entries in self._parts(item, number, place):
                for entry in entries:
                    n_entries += 1
                    yield entry
                n_parts += 1
                self._finished = (n_parts, n_entries)

    def _parts(self, item: Any, number: int, place: str) -> Iterator[Iterable[Entry]]:
        """The entries of one item that is no list, file by file."""
        if not is_path(item):
            label = f"structure {number}" if place else "structure"
            yield _guarded(lambda: self._entries_of(item, number, place), label, "it")
            return
        files = self._files.get(place)
        for path in files_of(item) if files is None else files:
            name = named(path, place)
            yield _guarded(self._opener(path, name), label_of(stem_of(path)) or "file", name, True)

    def _entries_of(self, item: Any, number: int, place: str) -> Iterable[Entry]:
        """All entries of one object."""

        def default(formula: str | None) -> str:
            return f"{formula or 'structure'} {number}" if place else formula or "structure"

        if (reason := objection_to(item, place)) is not None:
            return [Unreadable(id=default(None), reason=reason)]
        if isinstance(item, Structure):
            return [entry_from_structure(item)]
        if isinstance(item, Unreadable):
            return [item]
        if item is None:
            reason = (
                "got None, which RDKit gives for what it cannot parse. Repair or drop the record."
            )
            return [Unreadable(id=default(None), reason=reason)]
        if is_mol(item):
            title = label_of(item.GetProp("_Name")) if item.HasProp("_Name") else None
            properties = item.GetPropsAsDict(autoConvertStrings=False)
            label = title or label_in(properties) or default(_formula_of_mol(item))
            return entries_from_mol(item, label, self._embedding)
        problem, formula = malformed(item), None
        with contextlib.suppress(Exception):  # of Atoms whose parts were replaced by anything
            formula = formula_of(item.numbers)
        label = label_in(item.info) or default(formula)
        if problem is not None:
            return [Unreadable(id=label, reason=problem)]
        return [entry_from_atoms(item.copy(), label)]

    def _opener(self, path: Path, name: str) -> Callable[[], Iterable[Entry]]:
        """A function that begins to read one file."""

        def opened() -> Iterable[Entry]:
            check_file(path, name)
            stem, ending = label_of(stem_of(path)) or "file", ending_of(path)
            if ending in RECORDS:
                return entries_from_sdf(text_lines(path, name), path, stem, self._embedding)
            if ending in SMILES:
                return entries_from_smiles(text_lines(path, name), path, stem, self._embedding)
            return entries_by_ase(path, name, stem)

        return opened


class _UnreadableFile(Unreadable):
    """A file of which nothing could be read."""


def structures_from(
    inputs: Any, *, seed: int = 0, n_conformers: int = 1, timeout: float = TIMEOUT
) -> list[Entry]:
    """Read structures from objects and files, in the order in which they are given.

    See `Stream`, which does the same one after the other.

    Args:
        inputs: As for `Stream`.
        seed: As for `Stream`.
        n_conformers: As for `Stream`.
        timeout: As for `Stream`.

    Returns:
        One entry for each structure.

    Raises:
        StructureError: As for `Stream`.
        OptionError: As for `Stream`.

    Example:
        >>> import ase
        >>> [entry] = structures_from(ase.Atoms("H2", [[0, 0, 0], [0, 0, 0.74]]))
        >>> entry.id, entry.n_atoms
        ('H2', 2)
    """
    return list(Stream(inputs, seed=seed, n_conformers=n_conformers, timeout=timeout))


def _guarded(
    read: Callable[[], Iterable[Entry]], label: str, name: str, of_file: bool = False
) -> Iterator[Entry]:
    """Turn what a library raises into the reason of one entry.

    Args:
        read: Begins to read one item.
        label: The default id of what is in it.
        name: What messages call it.
        of_file: Whether it is a file.
    """
    n = 0
    try:
        for entry in read():
            yield entry
            n += 1
        if of_file and not n:
            raise StructureError(f"{name} holds no structures. {FORMATS}")
    except Exception as error:  # RDKit, ASE and classes of users raise whatever their steps raise
        reason = str(error) if isinstance(error, StructureError) else _words(error, name)
        if n:
            reason = f"{reason.rstrip('.')}; nothing after it can be read."
        kind = _UnreadableFile if of_file and not n else Unreadable
        yield kind(id=f"{label}:{n}" if n else label, reason=reason)


def _words(error: Exception, name: str) -> str:
    try:
        text = " ".join(str(error).split())[:_SHOWN]
    except Exception:  # an error of a class of the user's own
        text = ""
    return f"{name} cannot be read ({type(error).__name__}: {text}). Repair it, or leave it out."


def _formula_of_mol(mol: Any) -> str | None:
    """The formula of a Mol, its implicit hydrogens included."""
    from rdkit.Chem.rdMolDescriptors import CalcMolFormula

    try:
        return CalcMolFormula(mol) or None
    except Exception:  # it has not been sanitized
        return None


def _is_iterator(item: Any) -> bool:
    """Tell what can be looked at only once."""
    from ase import Atoms

    known = isinstance(item, Atoms | Structure | Unreadable) or is_path(item) or is_mol(item)
    return isinstance(item, Iterable) and not known
