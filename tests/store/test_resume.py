"""A run that was stopped goes on where it was, and ends as if it had never been."""

import dataclasses
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from store_cases import Prompt, assert_same_results, poisoned_clusters, prompt, write_at_once

import kups_relax as kr
from helpers import ARGON, argon_clusters
from kups_relax import _keep
from kups_relax.errors import BitsWarning, OptionError, StoreError, StructureError
from kups_relax.store import _save

CLUSTERS = argon_clusters([3, 5, 2, 8, 4, 6, 3, 6, 7, 2] * 6)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.h5"


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    write_at_once(monkeypatch)


@pytest.fixture(scope="module")
def undisturbed() -> kr.Result:
    return kr.relax(CLUSTERS, prompt(), progress=False)


def run(path: Path, structures: Any = CLUSTERS, potential: Any = None, **options: Any) -> kr.Store:
    options = {"output": path, "progress": False, "resume": True, **options}
    return kr.relax(structures, potential or prompt(), **options)  # pyright: ignore


class Broken(Exception):
    """What goes wrong in these tests."""


def broken_after(n: int) -> Iterator[Atoms]:
    yield from CLUSTERS[:n]
    # What was read is finished first, so that the store has some.
    time.sleep(0.2)
    raise Broken


def begun(path: Path, n: int) -> kr.Store:
    """A store whose run was stopped after it had read n structures."""
    while not path.exists() or len(kr.open(path)) == 0:
        with pytest.raises(Broken):
            run(path, broken_after(n))
    store = kr.open(path)
    assert not store.complete
    return store


def assert_goes_on(path: Path, undisturbed: kr.Result, structures: Any = CLUSTERS) -> kr.Store:
    """What was finished stays as it was, and the rest is done."""
    before = kr.open(path)
    finished = dict(zip(before.ids, before.finished, strict=True))
    store = run(path, structures)
    assert store.complete
    assert store.n_input == len(undisturbed)
    after = dict(zip(store.ids, store.finished, strict=True))
    assert {label: after[label] for label in finished} == finished
    assert_same_results(store, undisturbed)
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name]
    return store


def test_an_input_that_raises(path: Path, undisturbed: kr.Result) -> None:
    store = begun(path, 30)
    assert 0 < len(store) <= 30
    assert_goes_on(path, undisturbed)


def test_a_generator_can_be_given_again(path: Path, undisturbed: kr.Result) -> None:
    begun(path, 30)
    assert_goes_on(path, undisturbed, (atoms for atoms in CLUSTERS))


def test_a_sink_that_raises(
    path: Path, undisturbed: kr.Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = itertools.count()
    add = _keep.Stored.add

    def add_some(self: Any, record: Any) -> None:
        add(self, record)
        if next(counted) == 20:
            raise Broken

    monkeypatch.setattr(_keep.Stored, "add", add_some)
    with pytest.raises(Broken):
        run(path)
    monkeypatch.undo()
    # Those that were handed out are there, the last one too.
    assert len(kr.open(path)) == 21
    assert_goes_on(path, undisturbed)


def test_the_first_failure_of_a_strict_run(path: Path) -> None:
    structures = [*CLUSTERS[:20], Atoms(), *CLUSTERS[20:]]
    with pytest.raises(StructureError, match="has no atoms"):
        run(path, structures, strict=True)
    assert "failed" in kr.open(path).status.tolist()
    assert_same_results(run(path, structures), kr.relax(structures, prompt(), progress=False))


@pytest.mark.parametrize("delay", [0.05, 0.3])
def test_ctrl_c(path: Path, undisturbed: kr.Result, delay: float) -> None:
    def slowly() -> Iterator[Atoms]:
        timer = threading.Timer(delay, signal.raise_signal, (signal.SIGINT,))
        timer.start()
        for atoms in CLUSTERS:
            yield atoms
            time.sleep(0.01)
        time.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        run(path, slowly())
    assert not kr.open(path).complete
    assert_goes_on(path, undisturbed)


def test_several_stops(path: Path, undisturbed: kr.Result) -> None:
    for n in (10, 25, 40):
        begun(path, n)
        with pytest.raises(Broken):
            run(path, broken_after(n))
    assert_goes_on(path, undisturbed)


def test_what_failed_is_not_done_again_either(path: Path) -> None:
    structures = poisoned_clusters()
    memory = kr.relax(structures, prompt(), progress=False)
    first = run(path, structures)
    assert_same_results(first, memory)
    again = run(path, structures)
    assert again.finished.tolist() == first.finished.tolist()
    assert_same_results(again, memory)


def test_a_complete_store_is_left_as_it_is(path: Path, undisturbed: kr.Result) -> None:
    first = run(path)
    again = run(path)
    assert again.finished.tolist() == first.finished.tolist()
    assert_same_results(again, undisturbed)


def test_a_complete_store_takes_an_input_that_has_grown(path: Path, undisturbed: Any) -> None:
    assert run(path, CLUSTERS[:40]).n_input == 40
    assert_goes_on(path, undisturbed)


def test_there_may_be_no_file_yet(path: Path, undisturbed: kr.Result) -> None:
    assert_same_results(run(path), undisturbed)


def test_copies_that_a_killed_run_left_are_removed(path: Path, undisturbed: kr.Result) -> None:
    begun(path, 30)
    for name in (".run.h5.0123abcd.next", ".run.h5.89abcdef.last"):
        path.with_name(name).write_bytes(b"left over")
    path.with_name(".run.h5.lock").write_bytes(b"process 1 on this")
    assert_goes_on(path, undisturbed)


def test_a_link_stays_a_link(path: Path, undisturbed: kr.Result, tmp_path: Path) -> None:
    begun(path, 30)
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "linked.h5"
    link.symlink_to(path)
    store = run(link)
    assert link.is_symlink()
    assert_same_results(store, undisturbed)
    assert_same_results(kr.open(path), undisturbed)


@dataclasses.dataclass(frozen=True)
class _Fitted(Prompt):
    """Parameters that JAX sees, and `describe` does not."""

    shift: float = 0.0

    def describe(self) -> dict[str, Any]:
        return {"name": "fitted"}

    def parameters(self) -> Any:
        return {"shift": np.float64(self.shift)}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"fmax": 0.02}, "another fmax: 0.01 there, 0.02 here"),
        ({"max_steps": 7}, "another max_steps: 1000 there, 7 here"),
        (
            {"optimizer": "ase-lbfgs"},
            "another optimizer, name: 'lbfgs' there, 'ase-lbfgs' here",
        ),
        (
            {"optimizer": "lbfgs:memory-size=8"},
            "another optimizer, memory_size: 16 there, 8 here",
        ),
        ({"dtype": "float32"}, "another dtype: 'float64' there, 'float32' here"),
        ({"cell": "frechet"}, "another cell: None there, "),
        ({"cell": "frechet:pressure=1GPa"}, "another cell: None there, "),
        ({"seed": 1}, "another seed: 0 there, 1 here"),
        ({"n_conformers": 2}, "another n_conformers: 1 there, 2 here"),
        ({"trajectory": 5}, "another trajectory: "),
        (
            {"potential": Prompt(**(ARGON | {"epsilon": 0.0105}))},
            "another potential, epsilon: 0.0104 there, 0.0105 here",
        ),
        ({"potential": kr.potentials.EMT()}, "another potential, "),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_what_differs_is_named(path: Path, options: dict[str, Any], named: str) -> None:
    begun(path, 20)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="was begun with ") as caught:
        run(path, **options)
    assert named in str(caught.value)
    assert "Resume it with the same" in str(caught.value)
    assert path.read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name]


def test_parameters_that_differ_are_refused(path: Path) -> None:
    def fitted(shift: float) -> Any:
        return _Fitted(**ARGON, shift=shift)

    run(path, CLUSTERS[:3], fitted(0.0))
    with pytest.raises(StoreError, match="another potential, parameters: "):
        run(path, CLUSTERS[:3], fitted(1.0))


def moved(i: int, **changes: Any) -> list[Atoms]:
    clusters = [atoms.copy() for atoms in CLUSTERS]
    for name, value in changes.items():
        getattr(clusters[i], name)[...] = value
    return clusters


def changed(i: int, change: Any) -> list[Atoms]:
    clusters = [atoms.copy() for atoms in CLUSTERS]
    change(clusters[i])
    return clusters


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.positions.__setitem__((0, 0), np.nextafter(a.positions[0, 0], 9.0)),
        lambda a: a.set_pbc([True, False, False]) or a.set_cell([50, 50, 50]),
        lambda a: a.info.__setitem__("charge", 1),
        lambda a: a.numbers.__setitem__(0, 10),
        lambda a: a.set_tags(1),
        lambda a: a.info.__setitem__("id", "other"),
    ],
    ids=["positions", "cell", "charge", "numbers", "tags", "id"],
)
def test_another_structure_is_named(path: Path, change: Any) -> None:
    store = begun(path, 20)
    place = int(store.input_index[-1])
    with pytest.raises(StoreError, match=f"structure {place}, '.*', is not the one that was"):
        run(path, changed(place, change))
    assert len(kr.open(path)) >= len(store)


def test_another_order_is_refused(path: Path) -> None:
    begun(path, 20)
    with pytest.raises(StoreError, match="cannot be resumed with this input: structure "):
        run(path, CLUSTERS[::-1])


def test_a_shorter_input_is_refused_and_loses_nothing(path: Path) -> None:
    store = run(path, CLUSTERS[:30])
    with pytest.raises(StoreError, match="it holds structure 29, and the input has only 10"):
        run(path, CLUSTERS[:10])
    assert_same_results(kr.open(path), store)


def test_a_run_that_goes_on_where_bits_differ_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(path, CLUSTERS[:2])
    here = kr.open(path).versions["bits"]
    other = {**here, "instructions": "x86-64 of another kind"}
    monkeypatch.setattr(_save, "environment", lambda: other)
    with pytest.warns(BitsWarning, match=r"instructions x86-64 of another kind \(earlier .*\)\. "):
        store = run(path, CLUSTERS[:2])
    assert store.versions["bits"] == here
    assert [later["bits"] for later in store.versions["resumed with"]] == [other]
    # Back where it was begun: what the second run made has other bits than this one would.
    monkeypatch.setattr(_save, "environment", lambda: here)
    with pytest.warns(BitsWarning, match="earlier x86-64 of another kind"):
        store = run(path, CLUSTERS[:2])
    assert len(store.versions["resumed with"]) == 1


def test_overwrite_begins_anew(path: Path, undisturbed: kr.Result) -> None:
    run(path, CLUSTERS[:3], fmax=0.1)
    with pytest.raises(StoreError, match="exists and would be lost"):
        run(path, resume=False)
    store = run(path, resume=False, overwrite=True)
    assert_same_results(store, undisturbed)


def test_resume_asks_for_an_output(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="resume=True needs an output"):
        kr.relax(CLUSTERS, prompt(), resume=True)
    for name in ("a.h5", "a.extxyz"):
        with pytest.raises(OptionError, match="resume=True and overwrite=True exclude each other"):
            kr.relax(CLUSTERS, prompt(), output=tmp_path / name, resume=True, overwrite=True)


_SLOWLY = """
import sys, time
from pathlib import Path
sys.path[:0] = {folders!r}
import kups_relax as kr
from store_cases import prompt
from kups_relax.store import _writer
from test_resume import CLUSTERS
_writer._INTERVAL, _writer._SHARE = 0.0, 0

def slowly():
    for atoms in CLUSTERS:
        yield atoms
        time.sleep(0.02)

kr.relax(slowly(), prompt(), output=sys.argv[1], resume=True, progress=False)
"""


@pytest.mark.extended
def test_kill_9(path: Path, undisturbed: kr.Result) -> None:
    """At random moments, until a run comes to its end."""
    tests = Path(__file__).parents[1]
    program = _SLOWLY.format(folders=[str(tests), str(tests / "store")])
    random, n_killed, seen = np.random.default_rng(5), 0, {}
    while True:
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(path)], env=os.environ, stderr=subprocess.PIPE
        )
        begun = time.monotonic()
        while process.poll() is None and time.monotonic() < begun + 60:
            n = len(kr.open(path)) if path.exists() else 0
            if n > len(seen) and n_killed < 5:
                time.sleep(random.uniform(0.0, 0.3))
                process.kill()
            time.sleep(0.01)
        _, error = process.communicate(timeout=60)
        store = kr.open(path)
        finished = dict(zip(store.ids, store.finished, strict=True))
        assert {label: finished[label] for label in seen} == seen
        seen = finished
        assert process.returncode in (0, -signal.SIGKILL), error.decode()
        if process.returncode == 0:
            break
        n_killed += 1
    assert n_killed
    assert store.complete
    assert_same_results(store, undisturbed)


def test_results_and_stores_call_the_optimizer_as_it_was_chosen(path: Path) -> None:
    for chosen in ("lbfgs", "lbfgs:memory-size=8"):
        store = run(path.with_name(f"{chosen[-1]}.h5"), optimizer=chosen, max_steps=2)
        memory = kr.relax(CLUSTERS[:1], prompt(), chosen, max_steps=2, progress=False)
        assert store.optimizer == memory.optimizer == chosen
        assert store.options["optimizer"]["max_step_size"] == 0.2
