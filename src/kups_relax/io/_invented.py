"""Refuse elements, sites and boundaries that ASE's readers invent where a file has none.

Most formats name the element of each atom. The others are refused here, with the way to name the
elements, unless what is in them leaves no choice; then the guess is logged.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kups_relax.data._symbols import SYMBOLS
from kups_relax.io._lines import text_lines
from kups_relax.io._opening import head_of

if TYPE_CHECKING:
    import ase


# Bytes of a file that tell its format.
_HEAD = 4096
# Characters of a line that are looked at.
_LOOKED = 1000
# Digits of a number of atoms that are read, and bytes that an atom takes: "0 0 0", and the end.
_DIGITS = 18
_SMALLEST = 5
# A site with less of its element than this is not occupied by it alone.
_OCCUPIED = 0.99
# How far a mass may be from that of its element, amu.
_MASS = 0.1
_DEUTERIUM = 2.014
# Beads of united-atom models that weigh nearly as much as an element does, amu.
_BEADS = {"CH2": 14.027, "CH4": 16.043}
_NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS)}

_NAME = (
    "Name the elements in the file, or read it with ase.io.read, set atoms.symbols, and pass the "
    "Atoms"
)
_DUMP = (
    "Write them into the dump (dump_modify ID element Cu Zr, and the column 'element'), or pass "
    "ase.io.read(path, format='lammps-dump-text', specorder=['Cu', 'Zr'])"
)
_DATA = (
    "Write a section Masses or Atom Type Labels into it, or pass "
    "ase.io.read(path, format='lammps-data', Z_of_type={1: 29, 2: 40})"
)


def format_of(path: Path) -> str:
    """Name the format of a file as ASE does, and know LAMMPS's files by what is in them.

    Raises:
        Exception: Whatever ASE raises for a file that it cannot tell.
    """
    from ase.io.formats import filetype

    # An absolute path: ASE takes names that begin with "postgres" or "mysql" for databases.
    name = str(path.absolute())
    if path.is_file():
        head = head_of(path, name, _HEAD)
        if head.startswith(b"ITEM: "):
            return "lammps-dump-text"
        if re.search(rb"^\s*\d+\s+atoms\s*(#.*)?$", head, re.M) and re.search(
            rb"^\s*\d+\s+atom\s+types\s*(#.*)?$", head, re.M
        ):
            return "lammps-data"
    return filetype(name)


def objection_to_file(path: Path, kind: str, size: int) -> str | None:
    """Say what a file does not say and its reader would make up, or says and cannot hold.

    Args:
        path: Of the file.
        kind: The format, as `format_of` names it.
        size: Bytes that it holds.

    Returns:
        What is missing, and the way to say it; None where nothing is.
    """
    name = str(path)
    if kind == "netcdftrajectory":
        return None if b"ASE" in head_of(path, name) else _no_elements(iter(()))
    reason = None
    if kind in _LOOK:
        reason = _LOOK[kind](line[:_LOOKED] for line in text_lines(path, name))
    if reason is None and kind in _ANNOUNCED:
        reason = _too_many(head_of(path, name, _HEAD), _ANNOUNCED[kind], size)
    return reason


def _too_many(head: bytes, pattern: bytes, size: int) -> str | None:
    """ASE makes room for all atoms that are announced before it looks for one."""
    found = re.search(pattern, head.replace(b"\r\n", b"\n"), re.MULTILINE)
    if found is None:
        return None
    n, most = sum(int(count[:_DIGITS]) for count in found.group(1).split()), size // _SMALLEST
    if n <= most:
        return None
    return f"it announces {n} atoms; {size} bytes hold at most {most}. Repair it."


def objection_to_frame(atoms: "ase.Atoms", kind: str) -> str | None:
    """Say what the reader of a format made up for one frame, and correct what the format defines.

    Args:
        atoms: As they were read; may be changed.
        kind: The format.
    """
    if kind == "proteindatabank" and np.array_equal(atoms.cell.cellpar(), [1, 1, 1, 90, 90, 90]):
        # By the format's definition: not a crystal.
        atoms.cell, atoms.pbc = None, False
    if kind in ("lammps-data", "gpumd") and atoms.has("masses"):
        return _by_mass(atoms)
    return None


def note_on(kind: str, atoms: "ase.Atoms") -> str | None:
    """Say what is taken for granted in a file of a format, in words for a log."""
    return None if kind == "cube" and not atoms.pbc.any() else _NOTES.get(kind)


def objection_to_atoms(atoms: "ase.Atoms") -> str | None:
    """Say what a reader of ASE made up for atoms, whoever called it.

    Returns:
        Which site is not occupied by one element, or which elements are no more than numbers of
        types or parts of names; None where nothing is known to be wrong.
    """
    reason = _disorder(atoms)
    types = atoms.arrays.get("type")
    if reason is None and types is not None and not atoms.has("masses"):
        numbers = atoms.arrays["numbers"]
        if len(numbers) and np.array_equal(types, numbers):
            reason = (
                "its atomic numbers are the types in atoms.arrays['type'], as ASE makes them of "
                f"files of LAMMPS without elements. {_DUMP}, or Z_of_type for format='lammps-data'"
                "; where they are the elements, del atoms.arrays['type']."
            )
    if reason is None and "atomtypes" in atoms.arrays and "bfactor" not in atoms.arrays:
        reason = _by_name(atoms.arrays["atomtypes"], atoms, "atomtypes")
    labels = atoms.arrays.get("dlp4_labels")
    if reason is None and labels is not None:
        names = [f"{s}{label}" for s, label in zip(atoms.symbols, np.ravel(labels), strict=False)]
        reason = _by_name(names, atoms, "dlp4_labels")
    return reason


def _disorder(atoms: "ase.Atoms") -> str | None:
    """Say which site of a crystal is not occupied by one element.

    ASE keeps the element with the largest share, which is another crystal.
    """
    way = (
        "expected one element with occupancy 1. Make an ordered model of it first; where this is "
        "one, remove the entry 'occupancy' from atoms."
    )
    occupancy = atoms.info.get("occupancy")
    for site, shares in occupancy.items() if isinstance(occupancy, Mapping) else ():
        if not isinstance(shares, Mapping):
            continue
        known = [_share(share) for share in shares.values()]
        if len(shares) > 1 or any(not share >= _OCCUPIED for share in known):
            content = ", ".join(f"{symbol} {share}" for symbol, share in shares.items())
            return f"site {site} is disordered ({content}); {way}info."
    column = atoms.arrays.get("occupancy")
    if column is not None and column.ndim == 1 and column.dtype.kind in "fiu":
        # Programs that know no occupancies write 0.
        part = np.flatnonzero((column > 0) & (column < _OCCUPIED))
        if len(part):
            return f"atom {part[0]} has the occupancy {column[part[0]]:g}; {way}arrays."
    return None


def _share(value: Any) -> float:
    """An occupancy; 1, which is CIF's default, where it is not given."""
    if isinstance(value, str) and value.strip() in ("?", ".", ""):
        return 1.0
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _candidates(name: str) -> list[str]:
    """The elements that an atom's name may stand for."""
    found = re.match(r"[\d\s]*([A-Za-z]+)", name)
    letters = found.group(1) if found else ""
    two = letters[:2].capitalize()
    if len(letters) > 1 and letters[1].islower() and two in _NUMBERS:
        return [two]
    return [symbol for symbol in (letters[:1].upper(), two) if symbol in _NUMBERS][: len(letters)]


def _by_name(names: Any, atoms: "ase.Atoms", array: str) -> str | None:
    """Say which atom's name leaves a choice of elements, or was misread."""
    if np.ndim(names) != 1:  # no names of atoms, whoever put it there
        return None
    for i, (name, symbol) in enumerate(zip(names, atoms.symbols, strict=False)):
        may_be = _candidates(str(name))
        if may_be != [symbol]:
            those = " or ".join(may_be) or "no element"
            return (
                f"its elements were guessed from the names of atoms, and atom {i}, {str(name)!r}, "
                f"taken for {symbol}, may be {those}. {_NAME} without atoms.arrays[{array!r}]."
            )
    return None


def _by_mass(atoms: "ase.Atoms") -> str | None:
    from ase.data import atomic_masses

    masses = atoms.get_masses()
    off = np.abs(masses - atomic_masses[atoms.numbers])
    off = np.where(atoms.numbers == 1, np.minimum(off, np.abs(masses - _DEUTERIUM)), off)
    beads = np.abs(masses[:, None] - np.array(list(_BEADS.values()))).min(axis=1)
    bad = np.flatnonzero(~(off < np.minimum(_MASS, beads)))
    if not len(bad):
        return None
    i = bad[0]
    return (
        f"its elements were guessed from masses, and that of atom {i}, {masses[i]:g}, is no "
        f"element's; the nearest is {atoms.symbols[i]}. {_DATA}."
    )


# Whole files: what is in their lines.


def _lammps_dump(lines: Iterator[str]) -> str | None:
    for line in lines:
        if line.startswith("ITEM: UNITS"):
            if (reason := _units(next(lines, "").strip())) is not None:
                return reason
        elif line.startswith("ITEM: ATOMS"):
            columns = line.split()[2:]
            if "element" in columns:
                return None
            return (
                f"it has no elements, only the columns {' '.join(columns)}; types are numbers of "
                f"LAMMPS's own. {_DUMP}."
            )
    return None


def _lammps_data(lines: Iterator[str]) -> str | None:
    first = next(lines, "")
    found = re.search(r"units\s*=\s*(\w+)", first)
    if found and (reason := _units(found.group(1))) is not None:
        return reason
    section, labels = "", []
    for line in lines:
        text = line.partition("#")[0].strip()
        if text[:1].isalpha():
            section = text
        elif section == "Masses" and text:
            return None
        elif section == "Atom Type Labels" and text:
            labels.append(text.split()[-1])
    if labels and all(label in _NUMBERS for label in labels):
        return None
    return f"it has no elements, only types, which are numbers of LAMMPS's own. {_DATA}."


def _units(units: str) -> str | None:
    if units in ("metal", "real"):
        return None
    return (
        f"its units are {units!r}; expected 'metal' or 'real', whose lengths are in Angstrom. "
        f"Read it with ase.io.read(path, units={units!r}, ...), and pass the Atoms."
    )


def _gromos(lines: Iterator[str]) -> str | None:
    return f"a .g96 file has names of atoms and no elements. {_NAME}."


def _no_elements(lines: Iterator[str]) -> str | None:
    return (
        "files of this format have numbers of types, or nothing at all, in place of elements. "
        f"{_NAME}."
    )


def _protein(lines: Iterator[str]) -> str | None:
    """Without elements in columns 77 and 78, ASE takes alpha carbons, 'CA', for calcium."""
    for i, line in enumerate(lines, 1):
        if line.startswith(("ATOM  ", "HETATM")) and not line[76:78].strip():
            may_be = _candidates(line[12:16])
            # Columns 13 and 14 hold the symbol, right-justified: ' CA ' is carbon, 'CA  ' calcium.
            if len(may_be) != 1:
                return (
                    f"line {i} has no element in columns 77 and 78, and its name, "
                    f"{line[12:16].strip()!r}, may be {' or '.join(may_be) or 'no element'}. "
                    f"{_NAME}."
                )
    return None


def _poscar(lines: Iterator[str]) -> str | None:
    head = [line for _, line in zip(range(6), lines, strict=False)]
    counts = head[5].split("!")[0].split() if len(head) > 5 else []
    if not counts or not all(count.isdecimal() for count in counts):
        return None
    words = head[0].split()
    if len(words) == len(counts) and all(word in _NUMBERS for word in words):
        return None
    return (
        f"it has no line of symbols before the numbers of atoms, {' '.join(counts)}, as VASP has "
        f"written since version 5, and its first line is no list of symbols: {head[0][:60]!r}. "
        "Insert one, such as 'Na Cl', as line 6."
    )


def _shelx(lines: Iterator[str]) -> str | None:
    """ASE's reader knows the files that AIRSS writes: all atoms of the cell, each there."""
    listed = False
    for line in lines:
        words = line.split()
        if line.startswith("SYMM") or (line.startswith("LATT") and words[1:2] != ["-1"]):
            return (
                f"it has symmetry ({line.strip()}), which ASE's reader of .res leaves out. Convert "
                "it to CIF."
            )
        listed = listed or line.startswith("SFAC")
        if listed and re.match(r"\w+\s+\d+(\s+-?[\d.]+){4}", line) and _share(words[5]) != 1.0:
            return f"{words[0]} has the occupancy {words[5]}; expected 1. Convert it to CIF."
    return None


def _xdatcar(lines: Iterator[str]) -> str | None:
    """ASE lays out the symbols of all atoms that are announced, before it looks for one."""
    head = list(itertools.islice(lines, 7))
    counts = head[6].split() if len(head) > 6 else []
    if not all(count.isdecimal() and len(count) <= _DIGITS for count in counts):
        return None
    n_atoms, n_lines = sum(map(int, counts)), sum(1 for _ in lines)
    if n_atoms <= n_lines:
        return None
    return f"it announces {n_atoms} atoms, and has {n_lines} lines after that. Repair it."


def _nwchem(lines: Iterator[str]) -> str | None:
    """ASE's pattern for a geometry takes forever where one is not closed as it expects."""
    begun, last = 0, ""
    for i, line in enumerate(itertools.chain(lines, [""]), 1):
        if begun and (not line.strip() or re.search(r"[^\S \t]", line)):
            if line or last.lstrip(" \t") != "end":
                return (
                    f"the geometry that begins in line {begun} does not end with a line 'end' and "
                    f"an empty one after it: line {i} is {line[:40]!r}. Repair it."
                )
            begun = 0
        elif not begun and line.lstrip(" \t").startswith("geometry"):
            begun = i
        last = line
    return None


_LOOK: Mapping[str, Callable[[Iterator[str]], str | None]] = {
    "lammps-dump-text": _lammps_dump,
    "lammps-dump-binary": _no_elements,
    "lammps-data": _lammps_data,
    "gromos": _gromos,
    "cp2k-dcd": _no_elements,
    "nwchem-in": _nwchem,
    "vasp-xdatcar": _xdatcar,
    "proteindatabank": _protein,
    "vasp": _poscar,
    "res": _shelx,
}

# Where a file announces how many atoms it has: a number, or several that are added.
_ANNOUNCED: Mapping[str, bytes] = {
    "cfg": rb"^\s*Number of particles\s*=\s*(\d+)",
    "cube": rb"\A.*\n.*\n\s*-?(\d+)",
    "gen": rb"\A\s*(\d+)",
    "gromacs": rb"\A.*\n[ \t]*(\d+)",
    "lammps-data": rb"^\s*(\d+)\s+atoms\s*(?:#.*)?$",
    "lammps-dump-text": rb"^ITEM: NUMBER OF ATOMS\n\s*(\d+)",
    "siesta-xv": rb"\A(?:.*\n){3}\s*(\d+)",
    "struct_out": rb"\A(?:.*\n){3}\s*(\d+)",
    "vasp": rb"\A(?:.*\n){5}(?:[ \t]*[A-Za-z].*\n)?[ \t]*(\d+(?:[ \t]+\d+)*)",
    "xsf": rb"^\s*PRIMCOORD.*\n\s*(\d+)",
}

_NOTES: Mapping[str, str] = {
    "lammps-data": "the elements are those of the masses or labels, and all axes are taken for "
    "periodic, which a data file does not say",
    "gpumd": "the elements are those of the masses",
    "gromacs": "the elements are those that the names of atoms begin with",
    "dlp4": "the elements are those that the names of atoms begin with",
    "dlp-history": "the elements are those that the names of atoms begin with",
    "cube": "the box of the grid is taken for a periodic cell, which a cube file does not say",
}
