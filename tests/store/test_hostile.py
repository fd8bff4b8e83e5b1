"""Stores of somebody else, damaged stores, and files that lie in the way of a run's own."""

import json
import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from store_cases import prompt

import kups_relax as kr
from helpers import argon_clusters
from kups_relax.errors import StoreError
from kups_relax.relaxation import write_checkpoint
from kups_relax.report import write_report
from kups_relax.store import _extras, _layout, _writer
from made_stores import made_record, made_records, made_store
from support.crossing import first

CLUSTERS = argon_clusters([3, 5, 2, 8, 4, 6, 3, 6])
COLUMNS = sorted(_layout.DATASETS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.h5"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with all that stores can have, once."""
    rng = np.random.default_rng(0)
    records = [made_record(i, rng, n_frames=3 if i % 10 == 0 else 0) for i in range(1, 40)]
    records = [*made_records(10)[:1], *records]
    for record in records:
        record.entry.atoms.info["charge"] = 0
    path = tmp_path_factory.mktemp("good") / "good.h5"
    made_store(path, records)
    return path


def run(path: Path, structures: Any = CLUSTERS, **options: Any) -> Any:
    options = {"output": path, "progress": False, **options}
    return kr.relax(structures, prompt(), **options)  # pyright: ignore


def read_all(path: Path) -> list[Any]:
    """Everything that a store can be asked for, as plain values."""
    store = kr.open(path)
    tables = [json.dumps(store.table()), json.dumps(store.options), json.dumps(store.versions)]
    atoms = [
        [a.numbers.tolist(), a.positions.tobytes(), a.cell.array.tobytes(), repr(a.info)]
        for a in store
    ]
    ways = [
        [frame.positions.tobytes() for frame in store.trajectory(i)]
        for i in store._n_frames.nonzero()[0].tolist()
    ]
    return [*tables, atoms, ways, store.done, store.finished.tolist(), list(store.topologies())]


# What a run makes for itself


@pytest.mark.parametrize("kind", ["symbolic link", "hard link", "file", "folder", "dangling link"])
@pytest.mark.parametrize("name", [".run.h5.lock", "run.h5.checkpoint", "run.extxyz.h5"])
def test_a_runs_own_files_follow_no_link(path: Path, name: str, kind: str) -> None:
    """Case 30."""
    mine, there = path.with_name("mine.txt"), path.with_name(name)
    mine.write_text("mine")
    if kind == "symbolic link":
        there.symlink_to(mine)
    elif kind == "hard link":
        there.hardlink_to(mine)
    elif kind == "file":
        there.write_text("mine too")
    elif kind == "folder":
        there.mkdir()
    else:
        there.symlink_to(path.with_name("nothing"))
    before = sorted(p.name for p in path.parent.iterdir())
    output = path if "extxyz" not in name else path.with_suffix(".extxyz")
    options = {"checkpoint": 1e-9} if "checkpoint" in name else {}
    for more in ({}, {"overwrite": True}):
        with pytest.raises(StoreError, match=re.escape(name)):
            run(output, **options, **more)
        assert sorted(p.name for p in path.parent.iterdir()) == before
        assert mine.read_text() == "mine"
        assert kind != "file" or there.read_text() == "mine too"


def test_a_file_of_the_users_that_is_called_like_a_checkpoint_stays(path: Path) -> None:
    there = path.with_name("run.h5.checkpoint")
    there.write_text("mine")
    run(path)
    assert there.read_text() == "mine"
    # One that a run left is removed when the run is complete.
    write_checkpoint(there, "an old run", [])
    run(path, overwrite=True)
    assert not there.exists()


def test_a_checkpoint_that_becomes_a_link_is_not_followed(path: Path) -> None:
    mine = path.with_name("mine.txt")
    mine.write_text("mine")
    there = path.with_name("run.h5.checkpoint")
    there.symlink_to(mine)
    write_checkpoint(there, "run", [])
    assert mine.read_text() == "mine"
    assert not there.is_symlink()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_modes_are_kept(path: Path, mode: int) -> None:
    for output in (path, path.with_suffix(".extxyz")):
        run(output)
        output.chmod(mode)
        run(output, overwrite=True)
        assert stat.S_IMODE(output.stat().st_mode) == mode
    run(path, [*CLUSTERS, CLUSTERS[0]], resume=True)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_hidden_copies_are_as_secret_as_the_store(path: Path) -> None:
    seen = []
    run(path, CLUSTERS[:2])
    path.chmod(0o600)

    def watched() -> Any:
        yield from CLUSTERS
        seen.extend(stat.S_IMODE(p.stat().st_mode) for p in path.parent.glob(".*.next"))

    append = _layout.append

    def appending(file: Any, block: Any) -> None:
        seen.append(stat.S_IMODE(Path(file.filename).stat().st_mode))
        append(file, block)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_layout, "append", appending)
        run(path, watched(), resume=True)
    assert seen
    assert set(seen) == {0o600}


def test_a_store_that_is_replaced_meanwhile_is_noticed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_writer, "_MOST", 2)

    def clusters() -> Any:
        yield from CLUSTERS[:6]
        other = path.with_name("other")
        other.write_text("mine")
        other.replace(path)
        yield from CLUSTERS[6:]

    with pytest.raises(StoreError, match=r"was replaced by another file.*are in '(.*)'") as info:
        run(path, clusters())
    assert path.read_text() == "mine"
    kept = Path(re.findall(r"are in '([^']*)'", str(info.value))[0])
    n_kept = len(kr.open(kept))
    assert f"the {n_kept} structures" in str(info.value)
    assert n_kept >= 2
    assert sorted(p.name for p in path.parent.iterdir()) == sorted(["run.h5", kept.name])
    kept.replace(path)
    assert len(run(path, resume=True)) == len(CLUSTERS)


def test_a_store_that_is_removed_meanwhile_comes_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_writer, "_MOST", 1)

    def clusters() -> Any:
        yield from CLUSTERS[:5]
        path.unlink(missing_ok=True)
        yield from CLUSTERS[5:]

    assert len(run(path, clusters())) == len(CLUSTERS)
    assert len(kr.open(path)) == len(CLUSTERS)


def test_a_store_that_becomes_another_runs_is_noticed_by_who_reads(path: Path, good: Path) -> None:
    shutil.copy(good, path)
    store = kr.open(path)
    run(path, overwrite=True)
    with pytest.raises(StoreError, match="is that of another run since it was opened"):
        list(store)


@pytest.mark.parametrize("ending", [".h5", ".extxyz"])
def test_a_name_that_is_too_long_is_refused_before_the_work(path: Path, ending: str) -> None:
    def never() -> Any:
        raise AssertionError("the input was read")
        yield

    long = path.with_name("n" * 230 + ending)
    with pytest.raises(StoreError, match=r"its name has 2\d\d bytes; at most 215"):
        run(long, never())
    assert list(path.parent.iterdir()) == []
    run(path.with_name("n" * 200 + ending), CLUSTERS[:2], checkpoint=1e-9)


# Stores of somebody else


def _soft_link(file: Any, name: str, outside: Path) -> None:
    file[f"other/{name}"] = file[name]
    del file[name]
    file[name] = h5py.SoftLink(f"/other/{name}")


def _external_link(file: Any, name: str, outside: Path) -> None:
    del file[name]
    file[name] = h5py.ExternalLink(str(outside), name)


def _external_storage(file: Any, name: str, outside: Path) -> None:
    old = file[name]
    n_bytes = max(1, old.size) * old.dtype.itemsize
    made = {"shape": old.shape or (1,), "dtype": old.dtype}
    del file[name]
    file.create_dataset(name, external=[(str(outside), 0, n_bytes)], **made)


def _virtual(file: Any, name: str, outside: Path) -> None:
    old = file[name]
    layout = h5py.VirtualLayout(shape=old.shape, dtype=old.dtype)
    layout[...] = h5py.VirtualSource(str(outside), name, shape=old.shape)
    del file[name]
    file.create_virtual_dataset(name, layout)


def _other_dtype(file: Any, name: str, outside: Path) -> None:
    old = file[name]
    shape, chunks = old.shape, old.chunks
    del file[name]
    file.create_dataset(name, shape, "f2", chunks=chunks, maxshape=(None, *shape[1:]))


def _text(file: Any, name: str, outside: Path) -> None:
    shape = file[name].shape
    del file[name]
    file.create_dataset(name, shape, h5py.string_dtype())


def _another_rank(file: Any, name: str, outside: Path) -> None:
    old = file[name]
    data = old[()][..., None]
    del file[name]
    file[name] = data


def _group(file: Any, name: str, outside: Path) -> None:
    del file[name]
    file.create_group(name)


def _missing(file: Any, name: str, outside: Path) -> None:
    del file[name]


def _shorter(file: Any, name: str, outside: Path) -> None:
    file[name].resize(max(0, file[name].shape[0] - 1), axis=0)


def _huge(file: Any, name: str, outside: Path) -> None:
    file[name].resize(10**12, axis=0)


def _no_filters(file: Any, name: str, outside: Path) -> None:
    data, chunks = file[name][()], file[name].chunks
    del file[name]
    file.create_dataset(name, data=data, chunks=chunks, maxshape=(None, *data.shape[1:]))


ATTACKS: list[Callable[..., None]] = [
    _soft_link, _external_link, _external_storage, _virtual, _other_dtype, _text, _another_rank,
    _group, _missing, _shorter, _huge, _no_filters,
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_column_that_is_none_of_ours(path: Path, good: Path, attack: Callable[..., None]) -> None:
    """Case 31, for every column: nothing outside is read or written, and the column is named."""
    outside = path.with_name("outside.h5")
    shutil.copy(good, outside)
    content = outside.read_bytes()
    for name in COLUMNS:
        column = _layout.DATASETS[name]
        if attack is _shorter and name.startswith("run/"):
            continue
        shutil.copy(good, path)
        with h5py.File(path, "r+", libver=_layout.LIBVER) as file:
            attack(file, name, outside)
        there = path.read_bytes()
        attempts = [read_all, kr.store.check]
        if name == COLUMNS[0]:
            attempts.append(lambda p: run(p, resume=True))
        for attempt in attempts:
            with pytest.raises(StoreError, match=f"{name.split('/')[0]}|{column.end}"):
                attempt(path)
        assert path.read_bytes() == there
        assert outside.read_bytes() == content


@pytest.mark.parametrize("name", ["format", "layout", "n_structures", "run", "complete", "n_input"])
@pytest.mark.parametrize(
    "value", [None, -1, 10**15, 2.5, "text", b"\xff" * 10, [1, 2], "long" * 100, h5py.Empty("f8")]
)
def test_attributes_that_make_no_sense(path: Path, good: Path, name: str, value: Any) -> None:
    shutil.copy(good, path)
    with h5py.File(path, "r+", libver=_layout.LIBVER) as file:
        del file.attrs[name]
        if value is not None:
            file.attrs[name] = value
    with pytest.raises(StoreError):
        read_all(path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "[" * 100_000, '{"a": ' + "9" * 10_000 + "}", '"\ud800"', "null"]
)
@pytest.mark.parametrize("where", ["options", "versions", "extras"])
def test_json_that_makes_no_sense(path: Path, where: str, text: str) -> None:
    store = made_store(path, made_records(3))
    data = np.frombuffer(text.encode(errors="surrogatepass"), np.uint8)
    with h5py.File(path, "r+", libver=_layout.LIBVER) as file:
        if where == "extras":
            file["texts/extras"].resize(data.shape)
            file["texts/extras"][:] = data
            file["structures/extras_end"][:] = len(data)
        else:
            file[f"run/{where}"].resize(data.shape)
            file[f"run/{where}"][:] = data
    if where == "extras" and not text:
        assert len(read_all(path)[3]) == len(store)
        return
    with pytest.raises(StoreError, match=where):
        read_all(path)


def test_a_molecule_that_unpacks_to_a_bomb(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import base64
    import zlib

    monkeypatch.setattr(_extras, "_MOST", 1 << 20)
    bomb = base64.b64encode(zlib.compress(b"\0" * 3_000_000, 9)).decode()
    made_store(path, made_records(1))
    text = np.frombuffer(json.dumps({"topology": bomb}).encode(), np.uint8)
    with h5py.File(path, "r+", libver=_layout.LIBVER) as file:
        file["texts/extras"].resize(text.shape)
        file["texts/extras"][:] = text
        file["structures/extras_end"][:] = len(text)
    with pytest.raises(StoreError, match="a molecule of more than"):
        list(kr.open(path).topologies())


def test_a_fingerprint_that_does_not_fit(path: Path) -> None:
    """Values that somebody changed with another program have right checksums."""
    made_store(path, made_records(30, bad=0.0))
    with h5py.File(path, "r+", libver=_layout.LIBVER) as file:
        file["atoms/positions"][0, 0] += 1e-9
        file["structures/energy"][7] += 1e-9
    with pytest.raises(StoreError, match="'made-0' is damaged"):
        list(kr.open(path))
    assert sorted(kr.store.check(path).damaged) == [0, 7]


def test_a_status_and_an_optimizer_that_do_not_exist(path: Path) -> None:
    made_store(path, made_records(3))
    with h5py.File(path, "r+", libver=_layout.LIBVER) as file:
        file["structures/status"][1] = b"odd"
        file["run/options"].resize((2,))
        file["run/options"][:] = np.frombuffer(b"{}", np.uint8)
    store = kr.open(path)
    with pytest.raises(StoreError, match=r"structures/status has 'odd'; expected one of"):
        store.status  # noqa: B018
    with pytest.raises(StoreError, match="run/options is damaged"):
        store.optimizer  # noqa: B018


@pytest.mark.parametrize("time", [np.nan, np.inf, 1e300, -1.0])
def test_a_time_that_no_clock_shows_is_told(path: Path, time: float) -> None:
    made_store(path, made_records(3))
    with h5py.File(path, "r+", libver=_layout.LIBVER) as file:
        file["structures/finished"][1] = time
    with pytest.raises(StoreError, match="structures/finished has times that no clock shows"):
        write_report(kr.open(path), path.with_suffix(".html"))


# Damage


def test_flipped_bits_are_told_or_change_nothing(path: Path, good: Path) -> None:
    want, content = read_all(good), good.read_bytes()
    rng, told = np.random.default_rng(0), 0
    for _ in range(60):
        damaged = bytearray(content)
        for place in rng.integers(len(damaged), size=rng.integers(1, 4)):
            damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            assert read_all(path) == want
        except StoreError:
            told += 1
        assert path.read_bytes() == damaged
    assert told > 30


@pytest.mark.parametrize("fill", first([b"\0", b"\xff"]))
def test_sectors_that_were_lost_are_told_or_change_nothing(
    path: Path, good: Path, fill: bytes
) -> None:
    want, content = read_all(good), good.read_bytes()
    told = 0
    for at in range(0, len(content), 512):
        part = content[at : at + 512]
        path.write_bytes(content[:at] + fill * len(part) + content[at + 512 :])
        try:
            assert read_all(path) == want
        except StoreError:
            told += 1
    assert told > len(content) // 1024


def damaged(path: Path, column: str) -> None:
    """Flip a bit in the last chunk of a column."""
    with h5py.File(path) as file:
        dataset = file[column]
        chunk = dataset.id.get_chunk_info(dataset.id.get_num_chunks() - 1)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + chunk.size // 2] ^= 4
    path.write_bytes(content)


TOLD_APART = [
    "atoms/positions",
    "frames/step",
    "structures/atoms_end",
    "structures/energy",
    "texts/id",
]


@pytest.mark.parametrize(
    "column",
    [
        *TOLD_APART,
        *(
            pytest.param(name, marks=pytest.mark.extended)
            for name in COLUMNS
            if name not in TOLD_APART and not name.startswith("run/")
        ),
    ],
)
def test_structures_beside_damaged_ones_are_saved(
    path: Path, column: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With small chunks, so that a column has several."""
    monkeypatch.setattr(_layout, "_SMALL", 64)
    monkeypatch.setattr(_layout, "_LARGE", 256)
    rng = np.random.default_rng(1)
    records = [made_record(i, rng, n_frames=2, status="max_steps") for i in range(40)]
    for record in records:
        record.entry.atoms.info["note"] = "of this structure alone"
    store = made_store(path, records)
    want = [a.positions.tobytes() for a in store]
    damaged(path, column)
    found = kr.store.check(path)
    assert 0 < len(found.damaged) < 40
    assert all(name in reason for reason in found.damaged.values() for name in [path.name])
    assert sorted([*found.damaged, *found.whole.tolist()]) == list(range(40))
    saved = path.with_name("whole.h5")
    assert found.save(saved) == len(found.whole)
    again = kr.open(saved)
    assert not again.complete
    assert again.run == store.run
    assert [a.positions.tobytes() for a in again] == [want[i] for i in again.input_index]
    assert kr.store.check(saved).ok
    assert found.save(path.with_name("whole.extxyz")) == len(found.whole)


def test_a_whole_store_is_saved_as_it_is(path: Path, good: Path) -> None:
    found = kr.store.check(good)
    assert found.ok
    found.save(path)
    assert read_all(path) == read_all(good)
    assert kr.open(path).complete
    with pytest.raises(StoreError, match="is the store that is checked"):
        kr.store.check(path).save(path, overwrite=True)


def test_a_damaged_store_is_saved_and_goes_on(path: Path) -> None:
    want = run(path).fingerprint.tolist()
    damaged(path, "atoms/positions")
    with pytest.raises(StoreError, match=r"is damaged: 8 of its 8 structures are not whole"):
        run(path, resume=True)
    saved = path.with_name("saved.h5")
    kr.store.check(path).save(saved)
    saved.replace(path)
    assert run(path, resume=True).fingerprint.tolist() == want


def test_os_errors_are_told_in_words(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def fails(*_: Any) -> None:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(StoreError, match="larger than files may be here"):
        run(path)
