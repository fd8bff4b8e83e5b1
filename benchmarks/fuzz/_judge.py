"""Ask everything of a store, and compare what it says with what was written into it."""

import dataclasses
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms

import kups_relax as kr
from benchmarks.fuzz._hostile import CANARY, CANARY_TEXT, OUTSIDE, forget, touched
from benchmarks.fuzz._verdict import WrongError
from kups_relax._record import energies, fingerprint
from kups_relax.errors import KupsRelaxError
from kups_relax.report import write_report

COLUMNS = ("ids", "status", "reason", "energy", "fmax", "n_atoms", "n_steps", "n_evaluations",
           "fingerprint")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Want:
    """What a store says when it is whole.

    Attributes:
        columns: By name.
        atoms: What `told` makes of each structure.
        frames: Likewise of each trajectory, by id.
        topologies: SMILES, or None.
    """

    columns: dict[str, list[Any]]
    atoms: list[Any]
    frames: dict[str, list[Any]]
    topologies: list[str | None]


def make_store(path: Path) -> tuple[Path, Want]:
    """Write a store with structures of all kinds, trajectories and failures, and read it."""
    relax(path, resume=False)
    store = kr.open(path)
    columns = {name: _listed(getattr(store, name)) for name in COLUMNS}
    frames = {i: [told(a) for a in store.trajectory(i)] for i in store.with_trajectory}
    return path, Want(columns, [told(a) for a in store.atoms], frames, _topologies(store))


def relax(path: Path, *, resume: bool = True) -> Any:
    """The run that writes the store."""
    options = {"max_steps": 6, "trajectory": 2, "trajectory_of": [0, 2], "n_workers": 1}
    argon = kr.potentials.LennardJones(0.0104, 3.4, cutoff=8.0)
    given = inputs()
    return kr.relax(given, argon, output=path, resume=resume, progress=False, **options)


def inputs() -> list[Any]:
    """Clusters and a crystal with info, arrays and constraints; one fails, one has bonds."""
    from rdkit import Chem

    rng = np.random.default_rng(0)
    base = np.array([[0, 0, 0], [3.7, 0, 0], [0, 3.9, 0.1]])
    made: list[Any] = [
        Atoms("Ar3", base + rng.normal(size=(3, 3)) / 20, info={"id": f"ar-{i}"}) for i in range(6)
    ]
    made[1].info |= {"note": "ünïcode", "list": [1, {"a": 2.5}], "charge": 0}
    made[1].arrays["weight"] = np.arange(3.0)
    made[2].constraints = [FixAtoms([0])]
    made.append(Atoms("Ar2", np.zeros((2, 3)), info={"id": "fails"}))
    crystal = bulk("Ar", "fcc", a=5.3)
    crystal.info["id"] = "crystal"
    mol = Chem.AddHs(Chem.MolFromSmiles("C"))
    conformer = Chem.Conformer(5)
    for i in range(5):
        x, y, z = rng.normal(size=3).tolist()
        conformer.SetAtomPosition(i, [x + 4 * i, y, z])
    conformer.Set3D(True)
    mol.AddConformer(conformer)
    return [*made, crystal, mol]


def told(atoms: Any) -> Any:
    """Return a structure as values that can be compared."""
    results = {} if atoms.calc is None else atoms.calc.results
    arrays = (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
    return (
        [a.tolist() for a in arrays],
        {k: np.asarray(v).tolist() for k, v in sorted(results.items())},
        {str(k): repr(v) for k, v in atoms.info.items() if k not in ("fmax",)},
        {k: np.asarray(v).tolist() for k, v in atoms.arrays.items()},
        [repr(c.todict()) for c in atoms.constraints],
    )


def judge(path: Path, want: Want) -> list[str]:
    """Use a store in every way.

    Args:
        path: Of a store that may be damaged; a folder `OUTSIDE` with canaries is beside it or in
            the working folder.
        want: What it says when it is whole.

    Returns:
        The messages of errors.

    Raises:
        WrongError: It says something else without an error, or other files were read or changed.
        Exception: Whatever else is raised on the way.
    """
    return _ask(path, want, (_columns, _atoms, _frames, _bonds, _export, _report, _resume))


def use(path: Path, want: Want) -> list[str]:
    """Use a store of which somebody has changed values: it may be whole, and say something else.

    Args:
        path: As for `judge`.
        want: As for `judge`.

    Returns:
        The messages of errors.

    Raises:
        WrongError: Atoms are not those of their fingerprint, or other files were read or changed.
        Exception: Whatever else is raised on the way.
    """
    return _ask(path, want, (_whole, _export, _report, _go_on))


def _ask(path: Path, want: Want, asks: Sequence[Callable[[Path, Want], list[str]]]) -> list[str]:
    outside = Path(OUTSIDE)
    if outside.exists():
        forget(outside)
    reasons: list[str] = []
    before = path.read_bytes()
    for ask in asks:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", kr.errors.LeftOutWarning)
                reasons += ask(path, want)
        except KupsRelaxError as error:
            reasons.append(str(error))
    if path.read_bytes() != before:
        raise WrongError("a store that was only read has changed")
    if outside.exists() and (reached := touched(outside)) is not None:
        raise WrongError(f"reached outside: {reached}")
    return reasons


def _places(store: Any, want: Want) -> list[int]:
    """Where each structure of a store is among those that were written."""
    ids, known = list(store.ids), want.columns["ids"]
    if store.complete and len(ids) != len(known):
        raise WrongError(f"{len(ids)} structures without an error; there are {len(known)}")
    foreign = set(ids) - set(known)
    if foreign or len(set(ids)) != len(ids):
        raise WrongError(f"ids without an error: {ids}")
    return [known.index(label) for label in ids]


def _columns(path: Path, want: Want) -> list[str]:
    store = kr.open(path)
    places = _places(store, want)
    if places != sorted(places):
        raise WrongError(f"structures in another order: {places}")
    reasons = []
    for name in COLUMNS:
        try:
            got = _listed(getattr(store, name))
        except KupsRelaxError as error:
            reasons.append(str(error))
            continue
        _compare(name, got, [want.columns[name][i] for i in places])
    return reasons


def _atoms(path: Path, want: Want) -> list[str]:
    store = kr.open(path)
    reasons = []
    for i, place in enumerate(_places(store, want)):
        try:
            atoms = store[i]
        except KupsRelaxError as error:
            reasons.append(str(error))
            continue
        _compare(f"atoms {i}", told(atoms), want.atoms[place])
    return reasons


def _frames(path: Path, want: Want) -> list[str]:
    store = kr.open(path)
    _compare("with_trajectory", sorted(store.with_trajectory), sorted(want.frames))
    for label in store.with_trajectory:
        _compare(f"frames of {label}", [told(a) for a in store.trajectory(label)],
                 want.frames[label])  # fmt: skip
        store.convergence(label)
    return []


def _bonds(path: Path, want: Want) -> list[str]:
    store = kr.open(path)
    _compare("topologies", _topologies(store), [want.topologies[i] for i in _places(store, want)])
    return []


def _export(path: Path, want: Want) -> list[str]:
    out = path.with_suffix(".extxyz")
    try:
        kr.store.export(kr.open(path), out, overwrite=True)
        _no_canary(out)
    finally:
        out.unlink(missing_ok=True)
    return []


def _report(path: Path, want: Want) -> list[str]:
    out = path.with_suffix(".html")
    try:
        write_report(kr.open(path), out)
        _no_canary(out)
        if "<script>alert" in out.read_text():
            raise WrongError("text of the store is code in the report")
    finally:
        out.unlink(missing_ok=True)
    return []


def _resume(path: Path, want: Want) -> list[str]:
    copy = path.with_name("resumed.h5")
    shutil.copyfile(path, copy)
    try:
        result = relax(copy)
        _compare("resumed", _listed(result.fingerprint), want.columns["fingerprint"])
        return _atoms(copy, want)
    finally:
        for left in path.parent.glob("resumed.h5*"):
            left.unlink()


def _whole(path: Path, want: Want) -> list[str]:
    store = kr.open(path)
    repr(store), store.optimizer, kr.store.summary(store), store.table(), store.counts
    for label in store.with_trajectory:
        len(store.trajectory(label)), store.convergence(label)
    list(store.topologies())
    for i, atoms in enumerate(store.atoms):
        results = {} if atoms.calc is None else atoms.calc.results
        made = fingerprint(
            atoms.positions,
            atoms.cell.array,
            results.get("forces"),
            results.get("stress"),
            energies(store.energy[i], store.fmax[i], results.get("free_energy")),
            f"{store.n_steps[i]} {store.status[i]}",
        )
        if made != store.fingerprint[i]:
            raise WrongError(f"atoms {i} are not those of their fingerprint")
    return []


def _go_on(path: Path, want: Want) -> list[str]:
    copy = path.with_name("resumed.h5")
    shutil.copyfile(path, copy)
    try:
        return _whole(relax(copy).path, want)
    finally:
        for left in path.parent.glob("resumed.h5*"):
            left.unlink()


def _topologies(store: Any) -> list[str | None]:
    from rdkit import Chem

    return [None if mol is None else Chem.MolToSmiles(mol) for mol in store.topologies()]


def _no_canary(path: Path) -> None:
    text = path.read_text(errors="replace")
    if str(CANARY) in text or CANARY_TEXT in text:
        raise WrongError("reached outside: a canary's contents are in the output")


def _listed(column: Any) -> list[Any]:
    return column.tolist() if isinstance(column, np.ndarray) else list(column)


def _compare(what: str, got: Any, want: Any) -> None:
    # As text: NaN is equal to itself there, and -0.0 is not 0.0.
    shown, wanted = repr(got), repr(want)
    if shown != wanted:
        ends = zip(shown, wanted, strict=False)
        at = max(0, next((i for i, (a, b) in enumerate(ends) if a != b), 0) - 40)
        if str(CANARY) in repr(got) or CANARY_TEXT in repr(got):
            raise WrongError(f"reached outside: {what} is {shown[at : at + 200]}")
        raise WrongError(
            f"{what} without an error: {shown[at : at + 200]}; written {wanted[at : at + 200]}"
        )
