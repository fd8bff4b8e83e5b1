"""Write results to the files that other programs read."""

import csv
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kups_relax.errors import OptionError, StoreError, StructureError
from kups_relax.io._entries import Entry, Unreadable
from kups_relax.io._extxyz import frame

if TYPE_CHECKING:
    import ase

# Endings of the store, which other rooms write.
STORES = (".h5", ".hdf5", ".h5md")

# Columns of the table that go into `atoms.info`, and into the properties of an SDF record.
_INFO = ("status", "reason", "converged", "n_steps", "n_evaluations", "fmax", "fingerprint")


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
        StructureError: The format cannot hold one of the structures.
    """
    path = Path(path)
    ending = _ending(path)
    check_place(path, overwrite=overwrite)
    if ending == ".sdf":
        _check_topologies(path, structures)
    return path


def check_place(path: Path, *, overwrite: bool) -> None:
    """Find out whether a file can be written somewhere.

    Raises:
        StoreError: The directory is missing or not writable, or the file exists.
    """
    parent = path.absolute().parent
    if not parent.is_dir():
        raise StoreError(f"{str(path)!r}: there is no directory {str(parent)!r}. Make it first.")
    if path.is_dir():
        raise StoreError(f"{str(path)!r} is a directory; expected the name of a file in it.")
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
) -> None:
    r"""Write results, in the format that the ending of the path names.

    The file is written under a temporary name beside it and then renamed: whoever looks, whenever
    the process dies, finds the old file or the new one, whole. An existing file is replaced.

    * `.extxyz`: coordinates, forces and energies with all digits; ASE's reader gives the same bits.
    * `.traj`: ASE's binary format, also with constraints of every kind.
    * `.db`: ASE's database; `status`, `n_steps` and the like are key-value pairs, the id is
      `structure_id`, the longest force that was judged `judged_fmax`; the rest of the info is data.
    * `.sdf`: for molecules; coordinates with 4 decimals, as the format has it.
    * `.csv`: the table.

    Args:
        path: Where to write.
        atoms: One for each structure, with results attached; None, or empty, where there is no
            geometry: only the table has a row for it. They are taken one by one, so they may be
            made, or read, as they are asked for.
        structures: What the atoms came from.
        table: Columns by name, a row for each structure. `status`, `reason`, `converged`,
            `n_steps`, `n_evaluations`, `fmax` and `fingerprint` also go to the other formats.

    Raises:
        OptionError: The ending is unknown, or the lengths differ.
        StructureError: The format cannot hold one of the structures.
        StoreError: The file cannot be written.

    Example:
        >>> import tempfile, pathlib
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "table.csv")
        ...     write(path, [None], [None], {"id": ["w"], "energy": [-1.5]})
        ...     path.read_text()
        'id,energy\nw,-1.5\n'
    """
    path = Path(path)
    fill = _WRITERS[_ending(path)]
    columns = {name: _column(values) for name, values in table.items()}
    lengths = {"atoms": len(atoms), "structures": len(structures)}
    lengths.update({f"column {name!r}": len(values) for name, values in columns.items()})
    if len(set(lengths.values())) > 1:
        got = ", ".join(f"{length} for {name}" for name, length in lengths.items())
        raise OptionError(f"{str(path)!r}: expected equal lengths, got {got}.")
    if fill is _write_sdf:
        _check_topologies(path, structures)
    try:
        atomically(path, lambda temporary: fill(temporary, atoms, structures, columns))
    except OSError as error:
        raise StoreError(f"{str(path)!r} cannot be written: {error}.") from error


def _ending(path: Path) -> str:
    ending = path.suffix.lower()
    if ending not in _WRITERS:
        got = f"the ending {path.suffix!r}" if path.suffix else "no ending"
        raise OptionError(f"{str(path)!r} has {got}; expected one of .h5, {', '.join(_WRITERS)}.")
    return ending


def _check_topologies(path: Path, structures: Sequence[Entry]) -> None:
    bad = [s.id for s in structures if not isinstance(s, Unreadable) and s.topology is None]
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise StructureError(
            f"{str(path)!r}: {bad[0]!r}{more} came without bonds, which an SDF file needs. "
            "Write to .extxyz, or read molecules from SDF or SMILES."
        )


def _column(values: Any) -> list[Any]:
    return [v.item() if isinstance(v, np.generic) else v for v in values]


def atomically(path: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a temporary file, then put it in the place of `path`.

    Raises:
        OSError: It cannot be written; what was there before stays.
    """
    # A link stays a link, and what it points to is replaced.
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        fill(temporary)
        if path.exists():
            shutil.copymode(path, temporary)
        _sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":
        _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _labelled(
    atoms: Sequence["ase.Atoms | None"], structures: Sequence[Entry], columns: Mapping[str, list]
) -> "Iterator[tuple[ase.Atoms, Any]]":
    """Copies of the atoms with id and outcome in their info, and where they came from."""
    for i, (given, structure) in enumerate(zip(atoms, structures, strict=True)):
        if given is None or not len(given):
            continue
        labelled = given.copy()
        labelled.calc = given.calc
        if str(labelled.info.get("id")) != structure.id:
            labelled.info["id"] = structure.id
        for name in _INFO:
            if name in columns and columns[name][i] is not None:
                labelled.info[name] = columns[name][i]
        yield labelled, structure


def _write_csv(path: Path, atoms: Any, structures: Any, columns: Mapping[str, list]) -> None:
    with path.open("x", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _write_extxyz(path: Path, atoms: Any, structures: Any, columns: Mapping[str, list]) -> None:
    with path.open("x", encoding="utf-8") as file:
        for labelled, _ in _labelled(atoms, structures, columns):
            file.write(frame(labelled))


def _write_traj(path: Path, atoms: Any, structures: Any, columns: Mapping[str, list]) -> None:
    from ase.io.trajectory import TrajectoryWriter
    from ase.spacegroup import Spacegroup

    with TrajectoryWriter(path, "w") as file:
        for labelled, _ in _labelled(atoms, structures, columns):
            for key, value in labelled.info.items():
                if isinstance(value, Spacegroup):
                    labelled.info[key] = value.symbol
            file.write(labelled)


def _write_sdf(path: Path, atoms: Any, structures: Any, columns: Mapping[str, list]) -> None:
    from rdkit import Chem, rdBase
    from rdkit.Geometry import Point3D

    with path.open("x", encoding="utf-8") as file, rdBase.BlockLogs():
        writer = Chem.SDWriter(file)
        for labelled, structure in _labelled(atoms, structures, columns):
            if isinstance(structure, Unreadable):
                continue
            mol = Chem.Mol(structure.topology)
            mol.RemoveAllConformers()
            conformer = Chem.Conformer(len(labelled))
            conformer.Set3D(True)
            for i, xyz in enumerate(labelled.positions.tolist()):
                conformer.SetAtomPosition(i, Point3D(*xyz))
            mol.AddConformer(conformer)
            for name in mol.GetPropNames():
                mol.ClearProp(name)
            mol.SetProp("_Name", " ".join(structure.id.split()))
            for name, text in _sdf_properties(labelled).items():
                mol.SetProp(name, text)
            writer.write(mol)
        writer.close()


def _sdf_properties(atoms: "ase.Atoms") -> dict[str, str]:
    """Plain entries of info and the energy, as text that cannot break the record."""
    results = getattr(atoms.calc, "results", {})
    values = {key: value for key, value in atoms.info.items() if key != "id"}
    if "energy" in results:
        values["energy_eV"] = results["energy"]
    properties = {}
    for key, value in values.items():
        plain = value.item() if isinstance(value, np.generic) else value
        name = str(key)
        if isinstance(plain, str | int | float) and not set(name) & set("<>\n\r"):
            properties[name] = " ".join(str(plain).splitlines())
    return properties


def _write_db(path: Path, atoms: Any, structures: Any, columns: Mapping[str, list]) -> None:
    from ase.db import connect

    # The temporary name has another ending; who writes it is alone.
    connection: Any = connect(path, type="db", use_lock_file=False)
    with connection as database:
        for labelled, _ in _labelled(atoms, structures, columns):
            pairs, data = _db_entries(labelled.info)
            database.write(labelled, key_value_pairs=pairs, data=data)


def _db_entries(info: Mapping[Any, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part info into what can be searched for, and what is only kept.

    ASE refuses text that could be a number ("7" as an id) among key-value pairs, and names that
    it uses itself: "id", "fmax".
    """
    from ase.io.jsonio import encode

    names = {"id": "structure_id", "fmax": "judged_fmax"}
    pairs, data = {}, {}
    for key, value in info.items():
        plain = value.item() if isinstance(value, np.generic) else value
        known = key in ("id", *_INFO)
        if known and (plain == "" or plain != plain):
            continue
        if known and not (isinstance(plain, str) and _like_a_number(plain)):
            pairs[names.get(key, key)] = plain
            continue
        try:
            encode(plain)
        except (TypeError, ValueError, AttributeError, NotImplementedError):
            plain = str(plain)
        data[str(key)] = plain
    return pairs, data


def _like_a_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text in ("True", "False")
    return True


_WRITERS: dict[str, Callable[[Path, Any, Any, Mapping[str, list]], None]] = {
    ".csv": _write_csv,
    ".db": _write_db,
    ".extxyz": _write_extxyz,
    ".sdf": _write_sdf,
    ".traj": _write_traj,
}
