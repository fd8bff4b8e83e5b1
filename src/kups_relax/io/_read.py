"""From whatever chemists have to structures, in the caller's order."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from kups_relax.data._structure import Structure
from kups_relax.errors import StructureError
from kups_relax.io._entries import Entry, Unreadable, entry_from_atoms, label_in, unique
from kups_relax.io._lines import text_lines
from kups_relax.io._molecules import (
    Embedding,
    alone,
    entries_from_mol,
    entries_from_sdf,
    entries_from_smiles,
)
from kups_relax.io._xyz import read_frames

_EXPECTED = "Expected ase.Atoms, RDKit Mols, paths of structure files, or a list of these."
_FORMATS = (
    "Expected SDF or MOL (.sdf, .mol), SMILES (.smi, .smiles), or what ase.io reads "
    "(.extxyz, .xyz, .cif, POSCAR, .traj, .db, ...)."
)
# Names that programs give to every file they write: the folder says more.
_NAMELESS = frozenset({"poscar", "contcar", "geometry", "outcar", "xdatcar", "vasprun", "control"})


class Stream:
    """Read structures from objects and files one after the other, however many there are.

    One bad structure in a list or a file becomes an `Unreadable` in its place and the others go
    on; input that is no structure at all raises.

    The id of a structure is the title of its record or `info["id"]` or `info["name"]`; where there
    is none, "stem:3" for the fourth structure in a file and "structure 3" for the fourth item of a
    list. Conformers end in "/0", "/1", ..., and an id that was there before in "#2", "#3", ...

    An iterator of one entry for each structure: a `Structure`, or an `Unreadable` with the reason.
    Nothing that the caller owns is changed or kept. Files of one structure after the other
    (extended XYZ, SDF, SMILES, ASE's trajectories and databases) are read as far as is asked for.

    Attributes:
        share: How much of the input has been read, from 0 to 1; None where that is not known.
        total: How many entries there will be, exactly; None where that is not known.

    Args:
        inputs: `ase.Atoms`, an RDKit Mol (each conformer is a structure; a Mol without
            coordinates, or with a flat drawing, is embedded), a `Structure`, the path of a file,
            or an iterable of these, nested or mixed. None in a list counts as a molecule that
            RDKit could not parse.
        seed: Of the coordinates that ETKDGv3 makes for SMILES, from 0 to 200000. They depend on
            the molecule and on this alone, not on what else is read.
        n_conformers: How many conformers a molecule without coordinates gets.

    Raises:
        StructureError: At once: a path is missing or no file. On the way: nothing was given, a
            file is no structure file, or an object has an unknown type.
        OptionError: `seed` or `n_conformers` is out of range.
    """

    def __init__(self, inputs: Any, *, seed: int = 0, n_conformers: int = 1) -> None:
        self._embedding = Embedding.new(seed, n_conformers)
        for place, path in _paths(inputs, ""):
            _check_file(Path(os.fsdecode(path)), _named(path, place))
        self._length = len(inputs) if isinstance(inputs, list | tuple) else None
        if isinstance(inputs, str | os.PathLike):
            self._length = 1
        self._item = self._within = 0.0
        self._total = _counted(inputs)
        self._entries = self._read(inputs)

    def __iter__(self) -> Iterator[Entry]:
        return self

    def __next__(self) -> Entry:
        return next(self._entries)

    @property
    def share(self) -> float | None:
        """See the class."""
        if not self._length:
            return None
        return min(1.0, (self._item + self._within) / self._length)

    @property
    def total(self) -> int | None:
        """See the class."""
        return self._total

    def _read(self, inputs: Any) -> Iterator[Entry]:
        entry = None
        for entry in unique(self._all(inputs)):
            yield entry
        if entry is None:
            raise StructureError(
                f"no structures: got an empty {type(inputs).__name__}. {_EXPECTED}"
            )

    def _all(self, inputs: Any) -> Iterator[Entry]:
        outer = enumerate(inputs) if isinstance(inputs, list | tuple) else [(None, inputs)]
        number = 0
        for i, part in outer:
            for place, item in _items(part, "" if i is None else f"[{i}]"):
                yield from self._entries_of(item, number, place)
                number += 1
            self._item, self._within = (i or 0) + 1.0, 0.0

    def _entries_of(self, item: Any, number: int, place: str) -> Iterable[Entry]:
        """All entries of one item that is no list."""
        label = f"structure {number}"
        if isinstance(item, Structure | Unreadable):
            return [item]
        if item is None:
            reason = (
                "got None, which RDKit gives for what it cannot parse. Repair or drop the record."
            )
            return [Unreadable(id=label, reason=reason)]
        if isinstance(item, str | os.PathLike):
            return self._entries_of_file(Path(os.fsdecode(item)), _named(item, place))
        if _is_mol(item):
            title = item.GetProp("_Name").strip() if item.HasProp("_Name") else ""
            properties = item.GetPropsAsDict(autoConvertStrings=False)
            label = title or label_in(properties) or label
            return entries_from_mol(item, label, self._embedding)
        return [entry_from_atoms(item.copy(), label_in(item.info) or label)]

    def _entries_of_file(self, path: Path, named: str) -> Iterable[Entry]:
        """All entries of one file."""
        _check_file(path, named)
        name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
        ending = Path(name).suffix.lower()
        stem = Path(name).stem if ending else name
        if stem.lower() in _NAMELESS and path.absolute().parent.name:
            stem = f"{path.absolute().parent.name}/{name}"
        if ending in (".sdf", ".sd", ".mol"):
            return entries_from_sdf(self._lines(path, named), path, stem, self._embedding)
        if ending in (".smi", ".smiles"):
            return entries_from_smiles(self._lines(path, named), path, stem, self._embedding)
        return self._entries_by_ase(path, named, stem)

    def _lines(self, path: Path, named: str) -> Iterator[str]:
        def seen(share: float) -> None:
            self._within = share

        return text_lines(path, named, seen)

    def _entries_by_ase(self, path: Path, named: str, stem: str) -> Iterator[Entry]:
        n_frames = 0
        for i, ((line, atoms), only) in enumerate(alone(self._frames(path, named))):
            n_frames += 1
            label = stem if only else f"{stem}:{i}"
            if isinstance(atoms, str):
                where = f", from line {line}" if line else ""
                reason = f"frame {i} of {path}{where}: {atoms}. Repair the file."
                yield Unreadable(id=label, reason=reason)
            else:
                atoms.calc = None
                label = label_in(atoms.info) or label
                yield entry_from_atoms(atoms, label, reason=_disorder(atoms))
        if not n_frames:
            raise StructureError(f"{named} holds no structures. Leave it out of the input.")

    def _frames(self, path: Path, named: str) -> Iterator[tuple[int, Any]]:
        """Line number (or 0) and atoms of each frame, or what is wrong with it."""
        from ase.io import iread
        from ase.io.formats import filetype

        n_frames = 0
        try:
            if filetype(str(path)) in ("extxyz", "xyz"):
                frames = read_frames(self._lines(path, named))
            else:
                found = iread(path, index=":", do_not_split_by_at_sign=True)
                frames = ((0, atoms) for atoms in found)
            for frame in frames:
                yield frame
                n_frames += 1
        except Exception as error:  # ASE's many parsers raise whatever their steps raise
            if n_frames:
                # What follows cannot be found any more.
                yield 0, f"{type(error).__name__}: {str(error)[:200]}; nothing after it can be read"
            elif isinstance(error, StructureError):
                raise
            else:
                raise StructureError(
                    f"{named}: ASE cannot read it as a structure file "
                    f"({type(error).__name__}: {str(error)[:200]}). {_FORMATS}"
                ) from error


def structures_from(inputs: Any, *, seed: int = 0, n_conformers: int = 1) -> list[Entry]:
    """Read structures from objects and files, in the order in which they are given.

    See `Stream`, which does the same one after the other.

    Args:
        inputs: As for `Stream`.
        seed: As for `Stream`.
        n_conformers: As for `Stream`.

    Returns:
        One entry for each structure.

    Raises:
        StructureError: As for `Stream`.
        OptionError: As for `Stream`.

    Example:
        >>> import ase
        >>> [entry] = structures_from(ase.Atoms("H2", [[0, 0, 0], [0, 0, 0.74]]))
        >>> entry.id, entry.n_atoms
        ('structure 0', 2)
    """
    return list(Stream(inputs, seed=seed, n_conformers=n_conformers))


def _counted(inputs: Any) -> int | None:
    """Count lists of what is one structure each; None for all else."""
    from ase import Atoms

    one = Atoms | Structure | Unreadable
    if isinstance(inputs, one):
        return 1
    if isinstance(inputs, list | tuple) and all(isinstance(item, one) for item in inputs):
        return len(inputs)
    return None


def _paths(inputs: Any, place: str) -> Iterator[tuple[str, Any]]:
    """The paths among what is given, as far as that can be looked at twice."""
    if isinstance(inputs, str | os.PathLike):
        yield place, inputs
    elif isinstance(inputs, list | tuple):
        for i, item in enumerate(inputs):
            yield from _paths(item, f"{place}[{i}]")


def _items(inputs: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Flatten nested iterables; the text says where an item stood."""
    from ase import Atoms

    leaf = isinstance(inputs, Atoms | Structure | Unreadable | str | os.PathLike) or _is_mol(inputs)
    refused = isinstance(inputs, Mapping | Set | bytes | bytearray | np.ndarray)
    if leaf or (inputs is None and place):
        yield place, inputs
    elif isinstance(inputs, Iterable) and not refused:
        for i, item in enumerate(inputs):
            yield from _items(item, f"{place}[{i}]")
    else:
        raise StructureError(
            f"input{place}: cannot make a structure from {type(inputs).__name__} "
            f"{repr(inputs)[:60]}. {_EXPECTED}{_hint(inputs)}"
        )


def _hint(item: Any) -> str:
    if type(item).__module__.partition(".")[0] == "pymatgen":
        return " Convert it with pymatgen.io.ase.AseAtomsAdaptor.get_atoms(structure)."
    if isinstance(item, Mapping):
        return " Pass list(mapping.values()), with the names in atoms.info['id']."
    if isinstance(item, Set):
        return " A set has no order; pass a list."
    return ""


def _is_mol(item: Any) -> "TypeGuard[Any]":
    # Where RDKit was never imported nobody holds a Mol.
    chem = sys.modules.get("rdkit.Chem")
    return chem is not None and isinstance(item, chem.Mol)


def _named(path: Any, place: str) -> str:
    name = os.fsdecode(path)
    return f"input{place} ({name!r})" if place else repr(name)


def _check_file(path: Path, named: str) -> None:
    if path.is_dir():
        raise StructureError(
            f"{named} is a directory; expected a file. Name the files in it, for example "
            f"sorted(pathlib.Path({str(path)!r}).glob('*.cif'))."
        )
    if not path.exists():
        hint = " Patterns are expanded by the shell, or by glob.glob." if "*" in str(path) else ""
        raise StructureError(
            f"{named}: there is no such file. Check the path; SMILES go into a .smi file, or "
            f"through rdkit.Chem.MolFromSmiles.{hint}"
        )
    if path.stat().st_size == 0:
        raise StructureError(f"{named} is empty. {_FORMATS}")


def _disorder(atoms: Any) -> str | None:
    """Say which site of a crystal is not occupied by one element.

    ASE keeps the element with the larger share, which is another crystal.
    """
    occupancy = atoms.info.get("occupancy")
    if not isinstance(occupancy, Mapping):
        return None
    for site, shares in occupancy.items():
        if isinstance(shares, Mapping) and (len(shares) > 1 or min(shares.values()) < 0.99):
            content = ", ".join(f"{symbol} {share:g}" for symbol, share in shares.items())
            return (
                f"site {site} is disordered ({content}); expected one element with occupancy 1. "
                "Make an ordered model of it first."
            )
    return None
