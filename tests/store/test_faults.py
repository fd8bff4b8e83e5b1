"""What goes wrong with files: a clear error, nothing overwritten, what was finished is there."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from store_cases import assert_same_results, prompt

import kups_relax as kr
from helpers import argon, argon_clusters
from kups_relax.errors import StoreError
from kups_relax.report import write_report
from kups_relax.store import _layout, _writer

CLUSTERS = argon_clusters([3, 5, 2, 8, 4, 6, 3, 6, 7, 2] * 3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.h5"


@pytest.fixture(autouse=True)
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write whenever five more are finished."""
    monkeypatch.setattr(_writer, "_MOST", 5)


@pytest.fixture(scope="module")
def undisturbed() -> kr.Result:
    return kr.relax(CLUSTERS, prompt(), progress=False)


def run(path: Path, structures: Any = CLUSTERS, **options: Any) -> kr.Store:
    options = {"output": path, "progress": False, **options}
    return kr.relax(structures, prompt(), **options)  # pyright: ignore


def fails_after(n: int, function: Callable[..., Any], error: BaseException) -> Callable[..., Any]:
    """A function that works n times, and then never again."""
    left = [n]

    def broken(*args: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise error
        return function(*args, **options)

    return broken


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
# As h5py reports it.
FULL_IN_HDF5 = RuntimeError("Can't write (errno = 28, error message = 'No space left on device')")


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("append", FULL_IN_HDF5),
        ("append", FULL),
        ("fsync", FULL),
        ("replace", FULL),
        ("copyfile", FULL),
    ],
)
def test_a_full_disk(
    path: Path,
    undisturbed: kr.Result,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    error: Exception,
) -> None:
    module = {"append": _layout, "copyfile": _writer.shutil}.get(where, os)
    n = {"append": 3, "copyfile": 0, "fsync": 4, "replace": 4}[where]
    monkeypatch.setattr(module, where, fails_after(n, getattr(module, where), error))
    with pytest.raises(StoreError, match="no space is left on the device") as caught:
        run(path)
    monkeypatch.undo()
    left = kr.open(path)
    said = re.search(r"It holds the (\d+) structures that were written before", str(caught.value))
    assert said
    assert int(said[1]) == len(left)
    assert (len(left) > 0) == (where != "copyfile")
    assert not left.complete
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    # What was finished is kept.
    finished = dict(zip(left.ids, left.finished, strict=True))
    store = run(path, resume=True)
    assert_same_results(store, undisturbed)
    after = dict(zip(store.ids, store.finished, strict=True))
    assert {label: after[label] for label in finished} == finished


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system cannot reserve room")
def test_room_is_asked_for_before_hdf5_needs_it(
    path: Path, undisturbed: kr.Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HDF5 may end the process when a disk is full."""
    appended, reserve = [], os.posix_fallocate

    def small_disk(file: int, offset: int, length: int) -> None:
        if len(appended) >= 3:
            raise FULL
        reserve(file, offset, length)

    append = _layout.append
    monkeypatch.setattr(os, "posix_fallocate", small_disk)
    monkeypatch.setattr(_layout, "append", lambda *a: (append(*a), appended.append(None)))
    with pytest.raises(StoreError, match="no space is left on the device"):
        run(path)
    monkeypatch.undo()
    assert len(kr.open(path))
    assert_same_results(run(path, resume=True), undisturbed)


def test_what_was_reserved_is_given_back_and_was_enough(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, grown, append = [], [], _layout.append

    def seen(file: Any, block: Any) -> None:
        before = file.id.get_filesize()
        append(file, block)
        file.flush()
        grown.append(file.id.get_filesize() - before)
        asked.append(_layout.ROOM + block.n_bytes)

    monkeypatch.setattr(_layout, "append", seen)
    run(path, trajectory=1)
    assert all(a >= b for a, b in zip(asked, grown, strict=True))
    assert path.stat().st_size < 4 * _layout.ROOM


def test_a_disk_that_is_full_at_the_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", fails_after(0, os.fsync, FULL))
    with pytest.raises(StoreError, match="no space is left on the device"):
        run(path)
    assert list(path.parent.iterdir()) == []


def test_a_disk_that_is_full_at_the_start_leaves_what_was_there(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(b"mine")
    monkeypatch.setattr(os, "fsync", fails_after(0, os.fsync, FULL))
    with pytest.raises(StoreError, match="no space is left on the device"):
        run(path, overwrite=True)
    assert path.read_bytes() == b"mine"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_disk_that_has_room_again(
    path: Path, undisturbed: kr.Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last attempt, when the run ends, writes what could not be written before."""
    append, calls = _layout.append, []

    def full_once(*args: Any) -> None:
        calls.append(None)
        if len(calls) == 3:
            raise FULL
        append(*args)

    monkeypatch.setattr(_layout, "append", full_once)
    with pytest.raises(StoreError, match="no space is left"):
        run(path)
    left = kr.open(path)
    assert len(left) >= 10
    assert len(set(left.ids)) == len(left)
    assert_same_results(run(path, resume=True), undisturbed)


def test_file_systems_without_hard_links(
    path: Path, undisturbed: kr.Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", fails_after(0, os.link, PermissionError(errno.EPERM, "no")))
    assert_same_results(run(path), undisturbed)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_file_systems_without_locks(
    path: Path, undisturbed: kr.Result, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    fcntl = pytest.importorskip("fcntl", reason="there are no such locks on Windows")
    unknown = OSError(errno.ENOTSUP, "no locks")
    monkeypatch.setattr(fcntl, "flock", fails_after(0, fcntl.flock, unknown))
    assert_same_results(run(path), undisturbed)
    assert "cannot be locked: [Errno 95] no locks" in caplog.text
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("resume", [False, True])
def test_a_directory_that_cannot_be_written_to(
    path: Path, monkeypatch: pytest.MonkeyPatch, resume: bool
) -> None:
    """Root may write everywhere, so the answer is made up."""
    if resume:
        run(path, CLUSTERS[:3])
    monkeypatch.setattr(os, "access", lambda *_: False)
    before = sorted(path.parent.iterdir())
    with pytest.raises(StoreError, match=r"is not writable\. Choose another one"):
        run(path, resume=resume)
    assert sorted(path.parent.iterdir()) == before


def test_a_directory_whose_permissions_lie(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refused(file: Any, *args: Any, **options: Any) -> int:
        if str(file).endswith(".lock"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(file, *args, **options)

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(StoreError, match=r"run\.h5' cannot be written: .*Permission denied"):
        run(path)


def test_a_missing_directory(path: Path) -> None:
    for resume in (False, True):
        with pytest.raises(StoreError, match="there is no directory"):
            run(path.parent / "missing" / "run.h5", resume=resume)


def test_a_directory_of_that_name(path: Path) -> None:
    path.mkdir()
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(StoreError, match="is a directory"):
            run(path, **options)
    assert list(path.iterdir()) == []


def test_an_output_that_exists(path: Path) -> None:
    path.write_bytes(b"mine")
    with pytest.raises(StoreError, match="exists and would be lost"):
        run(path)
    assert path.read_bytes() == b"mine"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_truncated_store(path: Path, share: float) -> None:
    run(path)
    content = path.read_bytes()
    content = content[: int(share * len(content))]
    path.write_bytes(content)
    for attempt in (lambda: kr.open(path), lambda: run(path, resume=True)):
        with pytest.raises(StoreError, match=r"cannot be read as HDF5.* was cut off"):
            attempt()
    assert path.read_bytes() == content
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000, b"\x89HDF\r\n\x1a\n" + b"\1" * 5000])
def test_garbage(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for attempt in (lambda: kr.open(path), lambda: run(path, resume=True)):
        with pytest.raises(StoreError, match="cannot be read as HDF5"):
            attempt()
    assert path.read_bytes() == content


def test_hdf5_of_somebody_else(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["particles/atoms/position/value"] = np.zeros((3, 2, 3))
    content = path.read_bytes()
    for attempt in (lambda: kr.open(path), lambda: run(path, resume=True)):
        with pytest.raises(StoreError, match="is an HDF5 file, but no store of kups_relax"):
            attempt()
    assert path.read_bytes() == content


def test_a_store_of_another_layout(path: Path) -> None:
    run(path, CLUSTERS[:2])
    with h5py.File(path, "r+") as file:
        file.attrs.modify("layout", 99)
    with pytest.raises(StoreError, match="no store of kups_relax of layout 3"):
        kr.open(path)


_HOLDS = """
import sys, time
sys.path[:0] = {folders!r}
import kups_relax as kr
from test_faults import CLUSTERS, prompt

def forever():
    yield from CLUSTERS
    print("read", flush=True)
    time.sleep(100)

kr.relax(forever(), prompt(), output=sys.argv[1], progress=False)
"""


def test_two_runs_on_one_store(path: Path, undisturbed: kr.Result) -> None:
    """In two processes; then Ctrl-C, which leaves what was finished."""
    tests = Path(__file__).parents[1]
    program = _HOLDS.format(folders=[str(tests), str(tests / "store")])
    first = subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert first.stdout
    assert first.stdout.readline() == "read\n"
    deadline = time.monotonic() + 30
    while not (n_before := len(kr.open(path))) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert n_before
    link = path.with_name("link.h5")
    link.symlink_to(path)
    for other, options in ((path, {"resume": True}), (path, {"overwrite": True}), (link, {})):
        options = options or {"resume": True}
        with pytest.raises(StoreError, match=f"another run .process {first.pid} on "):
            run(other, **options)
    assert len(kr.open(path)) >= n_before
    first.send_signal(signal.SIGINT)
    _, error = first.communicate(timeout=60)
    assert "KeyboardInterrupt" in error
    store = kr.open(path)
    assert len(store) >= n_before
    assert not store.complete
    assert sorted(p.name for p in path.parent.iterdir()) == ["link.h5", "run.h5"]
    assert_same_results(run(path, resume=True), undisturbed)


def test_two_runs_on_one_store_in_one_process(path: Path) -> None:
    def clusters() -> Any:
        yield from CLUSTERS[:10]
        with pytest.raises(StoreError, match=f"another run .process {os.getpid()} on "):
            run(path, overwrite=True)
        yield from CLUSTERS[10:]

    assert len(run(path, clusters())) == len(CLUSTERS)


def test_many_options_do_not_overflow_an_attribute(path: Path) -> None:
    """Attributes of HDF5 hold 64 kB, unless they are text of its own kind."""
    chosen = [f"structure with a long name {i}" for i in range(5000)]
    store = run(path, CLUSTERS[:2], trajectory=1, trajectory_of=chosen)
    assert store.options["trajectory"] == [1, sorted(chosen)]


def test_an_old_store_is_lost_only_to_a_new_structure(tmp_path):
    path = tmp_path / "out.h5"
    want = kr.relax(argon_clusters([3, 5]), argon(), output=path).fingerprint.tolist()
    with pytest.raises(kr.errors.StructureError, match="no structures"):
        kr.relax([], argon(), output=path, overwrite=True)
    assert kr.open(path).fingerprint.tolist() == want
    # A store can be read while it is replaced.
    again = kr.relax(kr.open(path), argon(), output=path, overwrite=True)
    assert again.converged.all()
    assert again.n_steps.tolist() == [0, 0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["out.h5", "out.extxyz", "out.html"])
def test_an_output_that_is_a_pipe_is_refused_and_not_waited_for(
    path: Path, name: str, overwrite: bool
) -> None:
    pipe = path.with_name(name)
    os.mkfifo(pipe)
    write: Any = write_report if name == "out.html" else kr.store.export
    store = run(path.with_name("whole.h5"), CLUSTERS[:2])
    with pytest.raises(StoreError, match="is a pipe or a device"):
        run(pipe, overwrite=overwrite) if name == "out.h5" else write(
            store, pipe, overwrite=overwrite
        )
    assert pipe.is_fifo()
