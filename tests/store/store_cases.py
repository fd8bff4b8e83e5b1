"""What tests of the store share: inputs of every kind, and what it means that two results agree."""

from typing import Any

import numpy as np
import pytest
from ase import Atoms

import kups_relax as kr
from helpers import ARGON, argon_clusters, bits
from kups_relax._record import fingerprint
from kups_relax.store import _writer


def write_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have stores write whatever is finished, and wait for no more of it."""
    monkeypatch.setattr(_writer, "_INTERVAL", 0.0)
    monkeypatch.setattr(_writer, "_SHARE", 0)


class Prompt(kr.potentials.LennardJones):
    """Relaxes each structure as soon as it is read: tiles of one lane are always full."""

    def n_lanes(self, n_atoms: int) -> int:
        return 1


def prompt() -> Any:
    return Prompt(**ARGON)


COLUMNS = ("n_atoms", "energy", "fmax", "n_steps", "n_evaluations", "status", "reason")


def same(one: Any, other: Any) -> bool:
    """Whether two values have the same type, shape and bits."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray) and one.dtype != object:
        return one.dtype == other.dtype and one.shape == other.shape and same_bits(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(v, other[k]) for k, v in one.items())
    if isinstance(one, list | tuple | np.ndarray):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return np.float64(one).tobytes() == np.float64(other).tobytes()
    if isinstance(one, Atoms):
        return one == other
    if hasattr(one, "todict"):
        return same(one.todict(), other.todict())
    return one == other


def same_bits(one: Any, other: Any) -> bool:
    return np.asarray(one).tobytes() == np.asarray(other).tobytes()


def assert_same_atoms(got: Atoms, expected: Atoms) -> None:
    """Two Atoms agree in all that they carry."""
    assert got.arrays.keys() == expected.arrays.keys()
    for name, array in expected.arrays.items():
        assert same(got.arrays[name], array), name
    assert same_bits(got.cell.array, expected.cell.array)
    assert got.pbc.tolist() == expected.pbc.tolist()
    assert same_bits(got.get_celldisp(), expected.get_celldisp())
    assert got.info.keys() == expected.info.keys()
    for name, value in expected.info.items():
        assert same(got.info[name], value), (name, got.info[name], value)
    assert [type(c) for c in got.constraints] == [type(c) for c in expected.constraints]
    for one, other in zip(got.constraints, expected.constraints, strict=True):
        assert same(one.todict(), other.todict())
    assert (got.calc is None) == (expected.calc is None)
    if expected.calc is not None:
        assert got.calc.results.keys() == expected.calc.results.keys()
        for name, value in expected.calc.results.items():
            assert same(got.calc.results[name], value), name


def assert_same_results(store: Any, memory: Any) -> None:
    """A store says of every structure what a result in memory says."""
    assert list(store.ids) == list(memory.ids)
    assert len(store) == len(memory)
    for name in COLUMNS:
        got, expected = getattr(store, name), getattr(memory, name)
        assert got.dtype == expected.dtype, name
        if got.dtype == np.float64:
            assert np.array_equal(bits(got), bits(expected)), name
        else:
            assert got.tolist() == expected.tolist(), name
    assert store.fingerprint.tolist() == memory.fingerprint.tolist()
    assert fingerprints(store) == memory.fingerprint.tolist()
    assert store.table() == memory.table() or np.isnan(memory.energy).any()
    for got, expected in zip(store.atoms, memory.atoms, strict=True):
        assert_same_atoms(got, expected)


def fingerprints(results: Any) -> list[str]:
    """The digests of what is read back, made anew."""
    found = []
    for i, atoms in enumerate(results.atoms):
        calculated = {} if atoms.calc is None else atoms.calc.results
        found.append(
            fingerprint(
                atoms.positions,
                atoms.cell.array,
                calculated.get("forces"),
                calculated.get("stress"),
                np.array([results.energy[i], results.fmax[i]]),
                f"{results.n_steps[i]} {results.status[i]}",
            )
        )
    return found


def poisoned_clusters() -> list[Atoms]:
    """Clusters, and among them what cannot be relaxed."""
    atoms = argon_clusters([3, 5, 8, 1, 2, 13, 4])
    nowhere, overlap = atoms[1].copy(), atoms[2].copy()
    nowhere.positions[-1] = np.nan
    nowhere.info["id"] = "nowhere"
    overlap.positions[3] = overlap.positions[5]
    overlap.info["id"] = "overlap"
    boxed = atoms[0].copy()
    boxed.set_cell(np.diag([9.0, np.nan, 9.0]))
    boxed.info["id"] = "boxed"
    return [nowhere, *atoms[:3], Atoms(), overlap, *atoms[3:], boxed]
