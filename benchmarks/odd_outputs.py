"""Odd info, arrays, ids, and constraints in every output: no run is lost, the rest reads back."""

import collections
import csv
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms

import kups_relax as kr
from benchmarks import odd_cases

N = 500
ENDINGS = (".h5", ".extxyz", ".xyz", ".traj", ".db", ".csv", ".sdf", ".cif")
# What a run says of a structure, beside what the user gave it.
OUTCOMES = ("id", "status", "reason", "n_steps", "n_evaluations", "fmax", "fingerprint")


def main() -> dict[str, Any]:
    """Relax the same structures into every format, and export them from a store."""
    start = time.perf_counter()
    figures: dict[str, Any] = {"structures": N}
    structures = odd_cases.structures(N)
    whole = relaxed(structures)
    with tempfile.TemporaryDirectory() as folder:
        for ending in ENDINGS:
            figures[ending] = checked(structures, whole, Path(folder, f"relaxed{ending}"))
        store = kr.open(Path(folder, "relaxed.h5"))
        for ending in ENDINGS[1:]:
            figures[f"export {ending}"] = exported(store, Path(folder, f"exported{ending}"))
        figures["export POSCAR, one by one"] = poscars(store[:100], Path(folder, "POSCAR"))
    found = [f for f in figures.values() if isinstance(f, dict)]
    figures["runs lost"] = sum(f["runs lost"] for f in found)
    figures["differences"] = sum(f["differences"] for f in found)
    figures["seconds"] = round(time.perf_counter() - start, 1)
    return figures


def relaxed(structures: Sequence[kr.Structure], path: Path | None = None) -> Any:
    """Relax for steps, enough to have results."""
    argon = kr.potentials.LennardJones(0.0104, odd_cases.SIGMA, cutoff=8.0)
    return kr.relax(structures, argon, max_steps=2, output=path, progress=False)


def checked(structures: Sequence[kr.Structure], whole: Any, path: Path) -> dict[str, Any]:
    """Relax structures into one file, and compare what is in it with what there was."""
    result, told = _told(lambda: relaxed(structures, path))
    return told if result is None else _compared(path, structures, whole, told)


def exported(store: kr.Store, path: Path) -> dict[str, Any]:
    """Export a store, and compare what is in the file with what is in the store."""
    n_written, told = _told(lambda: kr.store.export(store, path))
    return told if n_written is None else _compared(path, None, store, told)


def poscars(store: kr.Store, path: Path) -> dict[str, Any]:
    """Export structures one by one; those without a cell are refused."""
    counts = collections.Counter(written=0, refused=0, differences=0)
    counts["runs lost"] = 0
    for i in range(len(store)):
        part = store[i : i + 1]

        def export(part: Any = part) -> Any:
            return kr.store.export(part, path, overwrite=True)

        try:
            n_written, told = _told(export)
        except kr.errors.StructureError:
            counts["refused"] += 1
            counts["differences"] += bool(part.atoms[0].cell.rank == 3)
            continue
        counts["runs lost"] += told["runs lost"]
        if n_written:
            counts["written"] += 1
            atoms, back = part.atoms[0], ase.io.read(path)
            same = _bits(atoms.positions) == _bits(back.positions)  # pyright: ignore
            counts["differences"] += not (same and np.array_equal(atoms.cell, back.cell))  # pyright: ignore
    return dict(counts)


def _told(run: Callable[[], Any]) -> tuple[Any, dict[str, Any]]:
    """Run, and count what is said to be left out; nothing is returned by a run that is lost."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            got = run()
        except kr.errors.StructureError:
            raise
        except Exception as error:
            return None, {"runs lost": 1, "differences": 0, "error": repr(error)[:500]}
    ours = [str(w.message) for w in caught if w.category is kr.errors.LeftOutWarning]
    more = [re.search(r", and (\d+) more of the kind", text) for text in ours]
    n = len(ours) + sum(int(found[1]) for found in more if found)
    return got, {"runs lost": 0, "warnings": len(ours), "left out by name": n}


def _compared(path: Path, given: Sequence[kr.Structure] | None, result: Any, told: Any) -> Any:
    """Count what is there, what is missing, and what differs."""
    tally = collections.Counter(items=0, missing=0, differences=0)
    differing: list[str] = []
    ending = path.suffix
    if ending == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for row, energy, label in zip(rows, result.energy, result.ids, strict=True):
            good = _same(float(row["energy"]), float(energy))
            good &= row["id"].replace("?", "") == re.sub("[?\ud800-\udfff]", "", label)
            tally["differences"] += not good
    else:
        sources = [None] * len(result) if given is None else [s.atoms for s in given]
        pairs = [
            (a, s, r)
            for a, s, r in zip(result.atoms, sources, result.reason, strict=True)
            if ending != ".cif" or a.cell.rank == 3
        ]
        tally["missing"] += len(result) - len(pairs)
        for back, (atoms, source, reason) in zip(_read(path), pairs, strict=True):
            source = atoms if source is None else source
            _compare(tally, differing, ending, back, atoms, source, done=not reason)
        if ending == ".cif":
            tally["missing"] += sum(not a.pbc.all() for a, *_ in pairs)
    # Each thing that is missing is told, and nothing else.
    if silent := tally["missing"] - told["left out by name"]:
        differing.append(f"{silent} are missing without a word")
        tally["differences"] += abs(silent)
    figures = {**told, **tally}
    return {**figures, "differing": differing[:20]} if differing else figures


def _read(path: Path) -> Iterable[Atoms]:
    if path.suffix == ".h5":
        return list(kr.open(path).atoms)
    if path.suffix == ".db":
        return _read_database(path)
    if path.suffix == ".sdf":
        return _read_molecules(path)
    return ase.io.read(path, ":")  # pyright: ignore


def _read_database(path: Path) -> Iterable[Atoms]:
    from ase.db import connect

    with connect(path) as database:
        for row in database.select():
            atoms = row.toatoms()
            atoms.info.update(row.data)
            yield atoms


def _read_molecules(path: Path) -> Iterable[Atoms]:
    from rdkit import Chem

    for mol in Chem.SDMolSupplier(str(path), removeHs=False):
        numbers = [atom.GetAtomicNum() for atom in mol.GetAtoms()]
        atoms = Atoms(numbers, mol.GetConformer().GetPositions())
        atoms.info = {name: mol.GetProp(name) for name in mol.GetPropNames()}
        yield atoms


def _compare(
    tally: Any,
    differing: list[str],
    ending: str,
    back: Atoms,
    atoms: Atoms,
    source: Atoms,
    *,
    done: bool,
) -> None:
    """Compare one structure in a file with what the run returned, and with what it was given."""

    def note(good: Any, what: Any) -> None:
        tally["differences"] += not good
        if not good:
            differing.append(f"{atoms.info['id']!a}: {what!a}"[:200])

    exact = ending not in (".sdf", ".cif")
    if exact:
        good = _bits(back.positions) == _bits(atoms.positions)
        good &= _bits(back.cell.array) == _bits(atoms.cell.array)
        good &= back.pbc.tolist() == atoms.pbc.tolist()
    elif ending == ".sdf":
        good = np.abs(back.positions - atoms.positions).max() < 0.51e-4
    else:
        moved = back.get_scaled_positions(False) - atoms.get_scaled_positions(False)
        good = np.abs(moved - np.rint(moved)).max() < 1e-9
        good &= np.allclose(back.cell.cellpar(), atoms.cell.cellpar(), rtol=1e-12)
    results = {} if atoms.calc is None else atoms.calc.results
    if exact:
        there = {} if back.calc is None else back.calc.results
        good &= results.keys() <= there.keys() and all(
            _bits(there[name]) == _bits(one) for name, one in results.items()
        )
    note(good, "geometry or results")

    # What a run says itself takes the place of what was there; a store has columns for it.
    said = {"id", "status"} if ending == ".h5" else {*OUTCOMES} - ({"reason"} if done else set())
    held = {".sdf": ("info",), ".cif": ()}.get(ending, ("info", "arrays"))
    for part in held:
        given, found = dict(getattr(source, part)), dict(getattr(back, part))
        if part == "arrays":
            del given["numbers"], given["positions"]
        elif ending != ".h5":
            found = {str(key): value for key, value in found.items()}
        for key, value in given.items():
            if isinstance(key, str) and part == "info" and key in said:
                continue
            tally["items"] += 1
            place = key if part == "arrays" or ending == ".h5" else _text(key)
            if place not in found or (ending == ".sdf" and place == "energy_eV" and results):
                tally["missing"] += 1
                continue
            got = found.pop(place)
            if ending == ".sdf":
                plain = value.item() if isinstance(value, np.generic) else value
                same = str(getattr(plain, "symbol", plain)) == got
            else:
                same = _same(value, got)
            if not same and ending != ".h5" and key != place:
                # Two keys that read alike: one of them is there.
                found[place] = got
                tally["missing"] += 1
            else:
                note(same, (part, key))
        own = {"numbers", "positions"} if part == "arrays" else {"energy_eV", *OUTCOMES}
        note(not set(found) - own, (part, set(found) - own))
    before, after = len(source.constraints), len(back.constraints)
    if ending in (".extxyz", ".xyz"):
        mask, n_held = _mask(source)
        tally["missing"] += before - n_held
        note(np.array_equal(mask, _mask(back)[0]), "mask")
    else:
        tally["missing"] += before - after
        texts = [_constraint(c) for c in source.constraints]
        note(all(_constraint(c) in texts for c in back.constraints), "constraints")


def _mask(atoms: Atoms) -> tuple[np.ndarray, int]:
    """Return the mask of coordinates that FixAtoms and FixCartesian hold, and their number."""
    held, n = np.zeros((len(atoms), 3), bool), 0
    for constraint in atoms.constraints:
        if type(constraint).__name__ in ("FixAtoms", "FixCartesian"):
            n += 1
            flags = getattr(constraint, "mask", np.ones(3, bool))
            held[constraint.index] |= np.asarray(flags, bool)
    return held, n


def _constraint(constraint: Any) -> str:
    try:
        return repr(_canonical(constraint.todict()))
    except NotImplementedError:
        return type(constraint).__name__


def _text(key: Any) -> Any:
    known = isinstance(key, str) or (
        not isinstance(key, bool) and isinstance(key, int | np.integer) and abs(int(key)) < 2**64
    )
    return str(key) if known else key


def _bits(x: Any) -> bytes:
    return np.asarray(x, np.float64).tobytes()


def _same(one: Any, other: Any) -> bool:
    return _canonical(one) == _canonical(other)


def _canonical(x: Any) -> Any:
    """A value as nested tuples that are equal where values are, whatever types hold them."""
    if isinstance(x, np.ndarray):
        assert not isinstance(x, np.ma.MaskedArray)
        return _canonical(x.tolist()) if x.ndim else _canonical(x[()])
    if isinstance(x, np.generic) and not isinstance(x, np.longdouble):
        x = x.item()
    if isinstance(x, np.longdouble) and x == float(x):
        x = float(x)
    if isinstance(x, list | tuple):
        return ("list", *map(_canonical, x))
    if isinstance(x, dict):
        return ("dict", *sorted((str(k), repr(_canonical(v))) for k, v in x.items()))
    if isinstance(x, bool) or x is None:
        return ("constant", repr(x))
    if isinstance(x, int):
        small = abs(x) < 2**1000 and float(x) == x
        return ("number", float(x).hex()) if small else ("large", hex(x))
    if isinstance(x, float):
        return ("number", x.hex())
    if isinstance(x, str):
        return ("text", str(x))
    if type(x).__name__ == "Spacegroup":
        return ("text", x.symbol)
    if hasattr(x, "todict"):
        return (type(x).__name__, _canonical(x.todict()))
    return (type(x).__name__, repr(x))
