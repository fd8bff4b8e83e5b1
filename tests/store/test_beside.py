"""Outputs that are no store: one beside them keeps what is finished until they are whole."""

import errno
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from store_cases import assert_same_results, prompt, write_at_once

import kups_relax as kr
from helpers import argon_clusters, bits
from kups_relax.errors import LeftOutWarning, StoreError

CLUSTERS = argon_clusters([3, 5, 2, 8, 4, 6] * 3)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    write_at_once(monkeypatch)


@pytest.fixture(scope="module")
def undisturbed() -> kr.Result:
    return kr.relax(CLUSTERS, prompt(), progress=False, trajectory=5)


@pytest.fixture(params=["extxyz", "traj", "csv", "db"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"out.{request.param}"


@pytest.fixture
def xyz(tmp_path: Path) -> Path:
    return tmp_path / "out.extxyz"


def run(path: Path, structures: Any = CLUSTERS, **options: Any) -> Any:
    options = {"output": path, "progress": False, "trajectory": 5, **options}
    return kr.relax(structures, prompt(), **options)  # pyright: ignore


class Broken(Exception):
    """What goes wrong in these tests."""


def broken(path: Path, n: int = 12) -> Iterator[Atoms]:
    yield from CLUSTERS[:n]
    while not (path.exists() and len(kr.open(path))):
        pass
    raise Broken


def stopped(path: Path, **options: Any) -> kr.Store:
    """What a run leaves that ends before its time."""
    beside = kr.io.store_of(path)
    with pytest.raises(Broken):
        run(path, broken(beside), **options)
    left = kr.open(beside)
    assert len(left)
    assert not left.complete
    return left


def names(path: Path) -> list[str]:
    return sorted(p.name for p in path.parent.iterdir())


def assert_whole(path: Path, expected: Any) -> None:
    """The output has all, and nothing is left beside it."""
    assert names(path) == [path.name]
    if path.suffix == ".csv":
        assert len(path.read_text().splitlines()) == len(expected) + 1
        return
    for atoms, known in zip(ase.io.iread(path, ":"), expected.atoms, strict=True):
        assert np.array_equal(bits(atoms.positions), bits(known.positions))
        assert np.array_equal(bits(atoms.get_forces()), bits(known.get_forces()))


def test_a_run_that_ends_leaves_the_output_alone(path: Path, undisturbed: kr.Result) -> None:
    result = run(path)
    assert isinstance(result, kr.Result)
    assert_same_results(result, undisturbed)
    assert_whole(path, undisturbed)


def test_a_stopped_run_leaves_a_store_and_goes_on(path: Path, undisturbed: kr.Result) -> None:
    left = stopped(path)
    assert not path.exists()
    finished = dict(zip(left.ids, left.finished.tolist(), strict=True))
    result = run(path, resume=True)
    assert_same_results(result, undisturbed)
    assert_whole(path, undisturbed)
    after = {record.entry.id: record.finished for record in result.records}
    assert {label: after[label] for label in finished} == finished
    for label in undisturbed.ids:
        got, want = result.trajectory(label), undisturbed.trajectory(label)
        assert [a.info["step"] for a in got] == [a.info["step"] for a in want]
        for one, other in zip(got, want, strict=True):
            assert np.array_equal(bits(one.positions), bits(other.positions))
            assert np.array_equal(bits(one.get_forces()), bits(other.get_forces()))


def test_what_a_stopped_run_left_is_not_lost_unasked(xyz: Path, undisturbed: kr.Result) -> None:
    left = stopped(xyz)
    with pytest.raises(StoreError, match=r"out\.extxyz\.h5' holds what a run for '.*resume=True"):
        run(xyz)
    assert len(kr.open(kr.io.store_of(xyz))) == len(left)
    assert_same_results(run(xyz, overwrite=True), undisturbed)
    assert_whole(xyz, undisturbed)


def test_an_old_output_stays_until_the_new_one_is_whole(xyz: Path, undisturbed: kr.Result) -> None:
    xyz.write_text("mine")
    for options in ({}, {"resume": True}):
        with pytest.raises(StoreError, match="exists and would be lost"):
            run(xyz, **options)
    assert names(xyz) == [xyz.name]
    stopped(xyz, overwrite=True)
    assert xyz.read_text() == "mine"
    assert_same_results(run(xyz, resume=True), undisturbed)
    assert_whole(xyz, undisturbed)


def test_other_options_are_refused_by_name(xyz: Path) -> None:
    stopped(xyz)
    with pytest.raises(StoreError, match="was begun with another fmax"):
        run(xyz, resume=True, fmax=0.5)


def test_an_input_without_structures_leaves_nothing(xyz: Path) -> None:
    with pytest.raises(kr.errors.StructureError, match="no structures"):
        run(xyz, [])
    assert names(xyz) == []


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_disk_that_is_full_at_the_end(
    xyz: Path, undisturbed: kr.Result, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """All is in the store, and the error says how to write it."""
    real = getattr(os, where)

    def full(*args: Any) -> None:
        target = os.readlink(f"/proc/self/fd/{args[0]}") if where == "fsync" else str(args[0])
        if ".extxyz." in target and target.endswith(".tmp"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(*args)

    monkeypatch.setattr(os, where, full)
    with pytest.raises(
        StoreError, match=r"no space is left on the device.* All 18 results are in"
    ) as info:
        run(xyz)
    monkeypatch.undo()
    assert names(xyz) == ["out.extxyz.h5"]
    store = kr.open(kr.io.store_of(xyz))
    assert store.complete
    assert_same_results(store, undisturbed)
    command = shlex.split(str(info.value).split("write them with: ")[1])
    assert command == ["kups-relax", "export", f"{xyz}.h5", "-o", str(xyz)]
    kr.store.export(store, xyz)
    kr.io.store_of(xyz).unlink()
    assert_whole(xyz, undisturbed)


def test_a_writer_that_fails_as_nobody_expected(
    xyz: Path, undisturbed: kr.Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kups_relax.io._write._shown", lambda *_: 1 / 0)
    with pytest.raises(StoreError, match=r"ZeroDivisionError: .* All 18 results are in .*\.h5"):
        run(xyz)
    monkeypatch.undo()
    assert_same_results(run(xyz, resume=True), undisturbed)
    assert_whole(xyz, undisturbed)


def test_warnings_that_are_raised_come_when_all_is_written(xyz: Path) -> None:
    odd = CLUSTERS[0].copy()
    odd.info["anything"] = print
    with pytest.raises(LeftOutWarning, match=r"'Ar3-0': left out info\['anything'\]"):
        run(xyz, [odd, *CLUSTERS[1:]])
    assert names(xyz) == [xyz.name]
    assert len(ase.io.read(xyz, ":")) == len(CLUSTERS)
