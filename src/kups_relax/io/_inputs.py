"""Split input into items with their places, and find the files of paths."""

import glob
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any, TypeGuard

import jax
import numpy as np

from kups_relax._log import log
from kups_relax.data._structure import Structure
from kups_relax.errors import StructureError, shown
from kups_relax.io._entries import Unreadable
from kups_relax.io._invented import format_of
from kups_relax.io._opening import COMPRESSED, head_of

EXPECTED = "Expected ase.Atoms, RDKit Mols, paths of structure files, or a list of these."
FORMATS = (
    "Expected SDF or MOL (.sdf, .mol), SMILES (.smi, .smiles), or what ase.io reads "
    "(.extxyz, .xyz, .cif, POSCAR, .traj, .db, ...)."
)
RECORDS = (".sdf", ".sd", ".mol")
SMILES = (".smi", ".smiles")
# Endings that say little: in a folder such files are read if their contents say more.
_GENERIC = frozenset(
    {".arc", ".com", ".dat", ".data", ".in", ".json", ".log", ".md", ".out", ".restart"}
)
# Names that programs give to every file they write: the folder says more.
_NAMELESS = frozenset({"poscar", "contcar", "geometry", "outcar", "xdatcar", "vasprun", "control"})
# Characters of a default id: no file has a longer name, but text may be taken for a path.
_LONGEST = 255
# Files that messages name.
_NAMED = 5
# Lists in lists in lists: deeper ones are taken for a list that holds itself.
_DEEPEST = 50


def items(inputs: Any, place: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Flatten nested iterables; the text says where an item stood, and is "" for a bare one.

    Raises:
        StructureError: They are nested too deep, or one holds itself.
    """
    if _is_nested(inputs):
        _check_depth(depth)
        for i, item in enumerate(inputs):
            yield from items(item, f"{place}[{i}]", depth + 1)
    else:
        yield place, inputs


def listed(inputs: Any, place: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Flatten lists and tuples only, which can be looked at twice.

    Raises:
        StructureError: They are nested too deep, or one holds itself.
    """
    if isinstance(inputs, list | tuple):
        _check_depth(depth)
        for i, item in enumerate(inputs):
            yield from listed(item, f"{place}[{i}]", depth + 1)
    else:
        yield place, inputs


def _check_depth(depth: int) -> None:
    if depth > _DEEPEST:
        raise StructureError(
            f"the input is a list in a list in a list, more than {_DEEPEST} deep, or one that "
            "holds itself; expected one list of structures. Flatten it."
        )


def objection_to(item: Any, place: str) -> str | None:
    """Say why nothing can be made of an item, by its type alone."""
    from ase import Atoms

    if isinstance(item, Atoms | Structure | Unreadable) or is_mol(item):
        return None
    if is_path(item):
        try:
            os.fsencode(item)
            return None
        except TypeError as error:  # of a class of the user's own, whose path is no text
            return f"input{place}: {error}. Pass the path as text."
        except UnicodeEncodeError:
            return f"input{place}: no file can have the name {shown(item, 60)}. Check the path."
    if (item is None and place) or _is_nested(item):
        return None
    return (
        f"input{place}: cannot make a structure from {type(item).__name__} "
        f"{shown(item, 60)}. {EXPECTED}{_hint(item)}"
    )


def is_path(item: Any) -> bool:
    """Return whether an item is a path."""
    return isinstance(item, str | os.PathLike)


def is_mol(item: Any) -> "TypeGuard[Any]":
    """Return whether an item is a molecule of RDKit."""
    # Where RDKit was never imported nobody holds a Mol.
    chem = sys.modules.get("rdkit.Chem")
    return chem is not None and isinstance(item, chem.Mol)


def _is_nested(item: Any) -> bool:
    from ase import Atoms

    leaf = isinstance(item, Atoms | Structure | Unreadable) or is_path(item) or is_mol(item)
    refused = isinstance(item, Mapping | Set | bytes | bytearray | np.ndarray | jax.Array)
    return isinstance(item, Iterable) and not leaf and not refused


def _hint(item: Any) -> str:
    if type(item).__module__.partition(".")[0] == "pymatgen":
        return " Convert it with pymatgen.io.ase.AseAtomsAdaptor.get_atoms(structure)."
    if isinstance(item, Mapping):
        return " Pass list(mapping.values()), with the names in atoms.info['id']."
    if isinstance(item, Set):
        return " A set has no order; pass a list."
    return ""


def named(path: Any, place: str) -> str:
    """Return the name of a path in messages."""
    name = os.fsdecode(path)
    return f"input{place} ({name!r})" if place else repr(name)


def stem_of(path: Path) -> str:
    """Return the default id of the structures in a file."""
    name = path.stem if path.suffix.lower() in COMPRESSED else path.name
    stem = Path(name).stem if Path(name).suffix else name
    if stem.lower() in _NAMELESS and path.absolute().parent.name:
        return f"{path.absolute().parent.name}/{name}"
    return (stem or str(path))[:_LONGEST]


def ending_of(path: Path) -> str:
    """Return the ending of a file's name, in lower case, without that of what compressed it."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in COMPRESSED else suffix


def files_of(path: Any) -> list[Path]:
    """Find the files that a path stands for.

    Args:
        path: Of a file; of a folder, which stands for the structure files in it, sorted by name,
            without hidden ones and folders; or, where there is no such file, a pattern such as
            "*.cif" or "**/POSCAR".

    Returns:
        At least one path: where nothing is found, the one that was given.
    """
    given = Path(os.fsdecode(path))
    try:
        exists = given.exists()
    except OSError:  # a name that is too long
        return [given]
    if not exists and glob.has_magic(str(given)):
        found = [Path(name) for name in sorted(glob.glob(str(given), recursive=True))]
        # "**" matches folders and what is in them.
        return list(dict.fromkeys(file for one in found for file in _members(one))) or [given]
    return _members(given) or [given]


def _members(path: Path) -> list[Path]:
    """The structure files in a folder, or the file itself."""
    try:
        if not path.is_dir():
            return [path]
        names = sorted(name for name in os.listdir(path) if not name.startswith("."))
    except OSError:
        return [path]
    files = [path / name for name in names if not (path / name).is_dir()]
    are = [_is_structure_file(file) for file in files]
    known = [file for file, is_one in zip(files, are, strict=True) if is_one]
    if left := [file.name for file, is_one in zip(files, are, strict=True) if not is_one]:
        shown = ", ".join(left[:_NAMED]) + (", ..." if len(left) > _NAMED else "")
        log.warning("%s: left out %d files of other kinds: %s", path, len(left), shown)
    return known


def _is_structure_file(path: Path) -> bool:
    """Tell by name, and by contents where the name says little."""
    from ase.io.formats import ioformats, match_magic

    ending = ending_of(path)
    if ending in (*RECORDS, *SMILES):
        return True
    try:
        if not path.is_file():
            return path.is_symlink() and not path.exists()
        kind = ioformats.get(format_of(path))
        if kind is None or not kind.can_read:
            return False
        if ending not in _GENERIC or kind.name.startswith("lammps"):
            return True
        head = head_of(path, str(path), 4096)
        return b'"numbers' in head if ending == ".json" else match_magic(head) is not None
    except PermissionError:
        return True
    except Exception:  # of a file that ASE cannot tell; it has several kinds of errors for that
        # One that is empty, or damaged, is missed by nobody unless its name promises a structure.
        return ending.lstrip(".") in _promising() and ending not in _GENERIC


def _promising() -> set[str]:
    from ase.io.formats import ioformats

    return {ending for kind in ioformats.values() if kind.can_read for ending in kind.extensions}


def check_file(path: Path, name: str) -> None:
    """Raise for a path that is no file with something in it.

    Raises:
        StructureError: It is missing, empty, a folder without structure files, a pattern that
            matches nothing, a pipe or device, or cannot be looked at.
    """
    try:
        if path.is_dir():
            raise StructureError(
                f"{name}: this folder holds no structure files. {FORMATS} Folders in it are "
                f"read by a pattern, for example {str(path / '*' / 'POSCAR')!r}."
            )
        if not path.exists():
            raise StructureError(f"{name}: {_missing(path)}")
        if not path.is_file():
            raise StructureError(
                f"{name} is a pipe or a device; expected a file. Write what it gives into one."
            )
        if path.stat().st_size == 0:
            raise StructureError(f"{name} is empty. {FORMATS}")
    except OSError as error:
        raise StructureError(f"{name} cannot be opened: {error}. Check the path.") from error


def _missing(path: Path) -> str:
    text = str(path)
    if _is_smiles(text):
        return (
            "there is no such file. It looks like SMILES: write them into a file whose name ends "
            f"in .smi, one on each line, and pass that; in Python, Chem.MolFromSmiles({text!r}) "
            "of RDKit will do."
        )
    if glob.has_magic(text):
        return (
            "there is no such file, and as a pattern it matches none. Check it; SMILES go into a "
            "file whose name ends in .smi."
        )
    return "there is no such file. Check the path; SMILES go into a file whose name ends in .smi."


def _is_smiles(text: str) -> bool:
    """Tell by RDKit, where it is installed, and never from what is surely a path."""
    if len(text) > _LONGEST or text.startswith((".", "/", "~")) or not text.isascii():
        return False
    try:
        from rdkit import Chem, rdBase
    except ImportError:
        return False
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(text, sanitize=False)
    return mol is not None and mol.GetNumAtoms() > 0
