"""Write results to the files that other programs read."""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kups_relax._files import objection_to_name, why_not_written, write_atomically
from kups_relax.errors import OptionError, StoreError, StructureError
from kups_relax.io._cif import CIF
from kups_relax.io._csv import write_csv
from kups_relax.io._db import Database
from kups_relax.io._entries import Entry, Unreadable
from kups_relax.io._extxyz import ExtendedXYZ
from kups_relax.io._format import Format, Shown, fitted
from kups_relax.io._left_out import LeftOut, name
from kups_relax.io._poscar import POSCAR
from kups_relax.io._sdf import SDF
from kups_relax.io._traj import Traj

if TYPE_CHECKING:
    import ase

# Endings of the store, which other rooms write.
STORES = (".h5", ".hdf5")
TABLE = ".csv"
_FORMATS: dict[str, Callable[[], Format]] = {
    ".cif": CIF,
    ".db": Database,
    ".extxyz": ExtendedXYZ,
    ".sdf": SDF,
    ".traj": Traj,
    ".vasp": POSCAR,
    ".xyz": ExtendedXYZ,
}
# Files without an ending, by the name that VASP gives them.
_NAMES = ("poscar", "contcar")
ENDINGS = tuple(sorted([*_FORMATS, TABLE]))

# Columns of the table that go into `atoms.info`, and into the properties of an SDF record.
_INFO = ("status", "reason", "converged", "n_steps", "n_evaluations", "fmax", "fingerprint")


def store_of(path: str | os.PathLike[str]) -> Path:
    """Name the store that holds results while a run goes on: the output itself, or one beside it.

    Raises:
        StoreError: The path is a folder by its name alone: "", ".", "/".

    Example:
        >>> store_of("relaxed.h5").name, store_of("relaxed.extxyz").name
        ('relaxed.h5', 'relaxed.extxyz.h5')
    """
    path = Path(path)
    if not path.name:
        raise StoreError(f"{str(path)!r} is a directory; expected the name of a file in it.")
    return path if path.suffix.lower() in STORES else path.with_name(f"{path.name}.h5")


def check_output(
    path: str | os.PathLike[str],
    *,
    structures: Sequence[Entry] = (),
    overwrite: bool = False,
) -> Path:
    """Find out before a long run whether its results can be written.

    Args:
        path: Where to write; its ending chooses the format.
        structures: What is going to be written, where it is known already.
        overwrite: Whether an existing file may be replaced.

    Returns:
        The path.

    Raises:
        OptionError: The ending is unknown.
        StoreError: The directory is missing or not writable, or the file exists.
        StructureError: The format can hold none of the structures, or one, and there are several.
    """
    path = Path(path)
    _format_of(path)
    check_place(path, overwrite=overwrite)
    for _ in checked(path, structures):
        pass
    return path


def checked(path: str | os.PathLike[str], entries: Iterable[Entry]) -> Iterable[Entry]:
    """Read as far ahead as it takes to know whether a format can hold what is read.

    Args:
        path: Where results will be written; its ending chooses the format.
        entries: What is read.

    Returns:
        The same entries.

    Raises:
        StructureError: The format can hold none of the structures, or one, and there are several.
    """
    path = Path(path)
    form = _format_of(path)
    if form is None or not (form.single or type(form).refuses is not Format.refuses):
        return entries
    known: list[Entry] = []
    refused: list[tuple[str, str]] = []
    n_good, left = 0, iter(entries)
    for entry in left:
        known.append(entry)
        if isinstance(entry, Unreadable):
            continue
        reason = form.refuses(_given(entry), entry.topology)
        if reason is None:
            n_good += 1
            _check_single(path, form, n_good)
            if not form.single:
                break
        else:
            refused.append((entry.id, reason))
    if refused and not n_good:
        raise _refused(path, refused)
    return itertools.chain(known, left)


def _given(entry: Any) -> "ase.Atoms":
    from ase import Atoms

    if entry.atoms is not None:
        return entry.atoms
    return Atoms(numbers=entry.numbers, positions=entry.positions, cell=entry.cell, pbc=entry.pbc)


def _check_single(path: Path, form: Format, n: int) -> None:
    if form.single and n > 1:
        raise StructureError(
            f"{str(path)!r}: {form.name} holds one structure, and there are several. Write to "
            ".extxyz or .traj, or to a store (.h5), and export single ones."
        )


def _refused(path: Path, refused: Sequence[tuple[str, str]]) -> StructureError:
    label, reason = refused[0]
    more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
    return StructureError(f"{str(path)!r}: {name(label)}{more} {reason}.")


def check_place(path: Path, *, overwrite: bool) -> None:
    """Find out whether a file can be written somewhere.

    Raises:
        StoreError: The directory is missing or not writable, or the file exists.
    """
    parent = path.absolute().parent
    if not parent.is_dir():
        raise StoreError(f"{str(path)!r}: there is no directory {str(parent)!r}. Make it first.")
    if (objection := objection_to_name(path)) is not None:
        raise StoreError(f"{str(path)!r} cannot be written: {objection}")
    if path.is_dir():
        raise StoreError(f"{str(path)!r} is a directory; expected the name of a file in it.")
    if path.exists() and not path.is_file():
        raise StoreError(f"{str(path)!r} is a pipe or a device; expected the name of a file.")
    if path.exists() and not overwrite:
        raise StoreError(
            f"{str(path)!r} exists and would be lost. Choose another name, remove it, or allow it "
            "with overwrite=True."
        )
    if not os.access(parent, os.W_OK | os.X_OK):
        raise StoreError(
            f"{str(path)!r}: the directory {str(parent)!r} is not writable. Choose another one."
        )


def write(
    path: str | os.PathLike[str],
    atoms: Sequence["ase.Atoms | None"],
    structures: Sequence[Entry],
    table: Mapping[str, Any],
) -> int:
    r"""Write results, in the format that the ending of the path names.

    The file is written under a temporary name beside it and then renamed: whoever looks, whenever
    the process dies, finds the old file or the new one, whole. An existing file is replaced.

    * `.extxyz`, `.xyz`: extended XYZ; coordinates, forces and energies with all digits; ASE's
      reader gives the same bits.
    * `.traj`: ASE's binary format, also with constraints of every kind that ASE can make again.
    * `.db`: ASE's database; `status`, `n_steps` and the like are key-value pairs, the id is
      `structure_id`, the longest force that was judged `judged_fmax`; the info is data.
    * `.sdf`: for molecules; coordinates with 4 decimals, as the format has it.
    * `.cif`: a block for each structure with a cell, without symmetry, with all digits.
    * `.vasp`, POSCAR, CONTCAR: one structure with a cell, with all digits.
    * `.csv`: the table; an apostrophe is put before text that a spreadsheet would take for a
      formula, and before text that begins with one.

    Each structure is written by itself. What a format cannot give back as it is (info of odd types,
    constraints of other kinds, names that mean something else in the file) is left out, with a
    `LeftOutWarning` for each kind once the file is there, and so is a structure that it cannot hold
    at all. Structures with anything unusual are read back before they are written, to know. That
    .csv, .cif and POSCAR have no info, arrays, or results, and .sdf no arrays and forces, is no
    reason to warn.

    Args:
        path: Where to write.
        atoms: One for each structure, with results attached; None, or empty, where there is no
            geometry: only the table has a row for it. They are taken one by one, so they may be
            made, or read, as they are asked for.
        structures: What the atoms came from.
        table: Columns by name, a row for each structure. `status`, `reason`, `converged`,
            `n_steps`, `n_evaluations`, `fmax` and `fingerprint` also go to the other formats,
            where they are not empty.

    Returns:
        How many structures were written.

    Raises:
        OptionError: The ending is unknown, or the lengths differ.
        StructureError: The format can hold none of the structures, or one, and there are several.
        StoreError: The file cannot be written.

    Example:
        >>> import tempfile, pathlib
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "table.csv")
        ...     n_written = write(path, [None], [None], {"id": ["w"], "energy": [-1.5]})
        ...     path.read_text()
        'id,energy\nw,-1.5\n'
    """
    path = Path(path)
    form = _format_of(path)
    columns = {key: _column(values) for key, values in table.items()}
    lengths = {"atoms": len(atoms), "structures": len(structures)}
    lengths.update({f"column {key!r}": len(values) for key, values in columns.items()})
    if len(set(lengths.values())) > 1:
        got = ", ".join(f"{length} for {key}" for key, length in lengths.items())
        raise OptionError(f"{str(path)!r}: expected equal lengths, got {got}.")
    left_out, n_written = LeftOut(path, "a table" if form is None else form.name), 0

    def fill(temporary: Path) -> None:
        nonlocal left_out, n_written
        if form is None:
            write_csv(temporary, columns, left_out)
            n_written = len(structures)
            return
        try:
            n_written = _fill(path, temporary, atoms, structures, columns, left_out)
        except (OSError, StructureError):
            raise
        except Exception:  # a structure that seemed plain: now look at each before it is written
            os.truncate(temporary, 0)
            left_out = LeftOut(path, form.name)
            n_written = _fill(path, temporary, atoms, structures, columns, left_out, doubt=True)

    try:
        write_atomically(path, fill)
    except OSError as error:
        raise StoreError(f"{str(path)!r} cannot be written: {why_not_written(error)}.") from error
    left_out.warn()
    return n_written


def _format_of(path: Path) -> Format | None:
    """The format of a path; None: the table alone.

    Raises:
        OptionError: There is none.
    """
    ending = path.suffix.lower()
    if not ending and path.name.lower() in _NAMES:
        return POSCAR()
    if ending == TABLE:
        return None
    if ending not in _FORMATS:
        got = f"the ending {path.suffix!r}" if path.suffix else "no ending"
        raise OptionError(
            f"{str(path)!r} has {got}; expected one of .h5, {', '.join(ENDINGS)}, or the name "
            "POSCAR."
        )
    return _FORMATS[ending]()


def _column(values: Any) -> list[Any]:
    return [v.item() if isinstance(v, np.generic) else v for v in values]


def _fill(
    path: Path,
    temporary: Path,
    atoms: Iterable["ase.Atoms | None"],
    structures: Iterable[Entry],
    columns: Mapping[str, list[Any]],
    left_out: LeftOut,
    *,
    doubt: bool = False,
) -> int:
    """Write structure by structure, and count them."""
    form = _format_of(path)
    assert form is not None
    n_written = 0
    refused: list[tuple[str, str]] = []
    with form.opened(temporary) as add:
        for shown, usable in _shown(atoms, structures, columns):
            reason = form.refuses(shown.atoms, shown.topology)
            if reason is None:
                fitting = fitted(form, shown, left_out, doubt=doubt)
                if fitting is not None:
                    n_written += 1
                    _check_single(path, form, n_written)
                    add(fitting)
                    continue
            # What could not be used is known for it.
            if usable:
                reason = reason or f"cannot be given back by {form.name}"
                refused.append((shown.id, reason))
                left_out.add(shown.id, "the structure", reason, f"it {reason}")
            elif reason is None:
                left_out.add(shown.id, "the structure, which failed", "failed")
    if refused and not n_written:
        raise _refused(path, refused)
    return n_written


def _shown(
    atoms: Iterable["ase.Atoms | None"],
    structures: Iterable[Entry],
    columns: Mapping[str, list[Any]],
) -> Iterator[tuple[Shown, bool]]:
    """Yield each structure that has a geometry, and whether it could be used as input."""
    for i, (given, entry) in enumerate(zip(atoms, structures, strict=True)):
        if given is None or not len(given):
            continue
        usable = not isinstance(entry, Unreadable)
        outcome = {key: columns[key][i] for key in _INFO if key in columns}
        shown = Shown(
            id=entry.id,
            atoms=given,
            outcome={key: value for key, value in outcome.items() if value not in (None, "")},
            topology=entry.topology if usable else None,
        )
        yield shown, usable
