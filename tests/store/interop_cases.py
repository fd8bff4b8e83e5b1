"""A store as other programs see it: one interpreter writes, and another one may check.

`python interop_cases.py FOLDER` checks what `write` left there, wherever znh5md or MDAnalysis is.
"""

import importlib.metadata
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np


def write(folder: Path, n: int = 300) -> None:
    """Relax a bit what is of one size, and what is not, and say in NumPy what each one got."""
    from ase.build import bulk
    from store_cases import poisoned_clusters

    import kups_relax as kr
    from helpers import ARGON, argon_clusters

    solid = kr.potentials.LennardJones(**ARGON, cutoff=6.0)
    random = np.random.default_rng(0)
    clusters = argon_clusters(random.integers(1, 9, n - n // 3 - 11).tolist())
    crystals = []
    for i in range(n // 3):
        crystals.append(bulk("Ar", a=5.2 + 0.002 * i, cubic=True))
        crystals[-1].rattle(0.05, seed=i)
    options: Any = {"max_steps": 8, "progress": False, "overwrite": True}
    mixed = [*poisoned_clusters(), *clusters, *crystals]
    store = kr.relax(mixed, solid, output=folder / "mixed.h5", **options)
    _write_expected(folder / "mixed.npz", store.atoms)
    equal = argon_clusters([7] * 20)
    store = kr.relax(equal, solid, output=folder / "equal.h5", **options)
    _write_expected(folder / "equal.npz", store.atoms)
    store = kr.relax(equal, solid, output=folder / "ways.h5", trajectory=2, **options)
    _write_expected(folder / "trajectory.npz", store.trajectory(3))


def _write_expected(path: Path, atoms: Any) -> None:
    """Arrays of each structure, by the id under which it is found again."""
    arrays = {}
    for i, one in enumerate(atoms):
        arrays[f"{i}/id"] = np.array(one.info["id"])
        arrays[f"{i}/numbers"] = one.numbers
        arrays[f"{i}/positions"] = one.positions
        arrays[f"{i}/cell"] = one.cell.array
        arrays[f"{i}/pbc"] = one.pbc
        for name in ("energy", "forces", "stress"):
            if one.calc is not None and name in one.calc.results:
                arrays[f"{i}/{name}"] = np.array(one.calc.results[name])
    np.savez(path, **arrays)


def _expected(path: Path) -> list[dict[str, np.ndarray]]:
    found: dict[int, dict[str, np.ndarray]] = {}
    with np.load(path) as file:
        for key in file.files:
            i, name = key.split("/")
            found.setdefault(int(i), {})[name] = file[key]
    return [found[i] for i in range(len(found))]


def _mismatches(atoms: Any, expected: dict[str, np.ndarray]) -> int:
    """How many arrays of a structure differ from what was written."""
    results = {} if atoms.calc is None else atoms.calc.results
    got = {
        "numbers": atoms.numbers,
        "positions": atoms.positions,
        "cell": atoms.cell.array,
        "pbc": atoms.pbc,
        **{k: v for k, v in results.items() if k in ("energy", "forces", "stress")},
    }
    names = expected.keys() - {"id"}
    return sum(
        name not in got or name not in expected or not np.array_equal(got[name], expected[name])
        for name in names | got.keys()
    )


def check_ase(folder: Path) -> dict[str, int]:
    """Compare what znh5md and `ase.io.read` with its plugin read, to the bit."""
    import ase.io
    import znh5md

    figures = {}
    for reader, frames in (
        ("znh5md", znh5md.IO(folder / "mixed.h5")[:]),
        ("ase.io.read", ase.io.read(folder / "mixed.h5", ":")),
    ):
        expected = {str(e["id"]): e for e in _expected(folder / "mixed.npz")}
        hidden = {k for k, e in expected.items() if not _finite(e)}
        named = {atoms.info["structure_id"]: atoms for atoms in frames}
        assert named.keys() == expected.keys()
        figures[f"{reader}: structures"] = len(frames)
        figures[f"{reader}: of these without finite coordinates, shown empty"] = sum(
            len(named[label]) == 0 for label in hidden
        )
        figures[f"{reader}: arrays that differ"] = sum(
            _mismatches(named[label], expected[label]) for label in expected.keys() - hidden
        )
    frames = znh5md.IO(folder / "ways.h5", particles_group="trajectory_3")[:]
    expected = _expected(folder / "trajectory.npz")
    assert len(frames) == len(expected)
    figures["znh5md: frames of a trajectory"] = len(frames)
    figures["znh5md: arrays of a trajectory that differ"] = sum(
        _mismatches(atoms, known) for atoms, known in zip(frames, expected, strict=True)
    )
    return figures


def _finite(expected: dict[str, np.ndarray]) -> bool:
    return bool(np.isfinite(expected["positions"]).all() and np.isfinite(expected["cell"]).all())


def check_mdanalysis(folder: Path) -> dict[str, int]:
    """Have MDAnalysis open a store of one size, and a trajectory in it."""
    import MDAnalysis

    figures = {}
    for name, group in (("equal", "relaxed"), ("trajectory", "trajectory_3")):
        expected = _expected(folder / f"{name}.npz")
        n_atoms = len(expected[0]["numbers"])
        universe = MDAnalysis.Universe.empty(n_atoms, trajectory=False)
        path = folder / "equal.h5"
        if name == "trajectory":
            # It reads the first group of particles of a file, with the observables of all groups.
            path = folder / "trajectory.h5"
            _only(folder / "ways.h5", path, group)
        universe.load_new(str(path), format="H5MD", convert_units=False)
        frames = [np.array(frame.positions) for frame in universe.trajectory]
        known = [e["positions"].astype(np.float32) for e in expected]
        if name == "equal":
            frames.sort(key=lambda x: x.tobytes())
            known.sort(key=lambda x: x.tobytes())
        assert len(frames) == len(known)
        figures[f"MDAnalysis: frames of {name}"] = len(frames)
        figures[f"MDAnalysis: frames of {name} that differ in float32"] = sum(
            not np.array_equal(a, b) for a, b in zip(frames, known, strict=True)
        )
    return figures


def _only(source: Path, target: Path, group: str) -> None:
    import h5py

    with h5py.File(source, "r") as old, h5py.File(target, "w") as new:
        old.copy("h5md", new)
        for home in ("particles", "observables"):
            old.copy(f"{home}/{group}", new.require_group(home))


READERS = {"znh5md": check_ase, "MDAnalysis": check_mdanalysis}


if __name__ == "__main__":
    found: dict[str, Any] = {}
    for package in sys.argv[2:] or READERS:
        if importlib.util.find_spec(package):
            found |= {f"{package} version": importlib.metadata.version(package)}
            found |= READERS[package](Path(sys.argv[1]))
    print(json.dumps(found))
