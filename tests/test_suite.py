"""The machinery of the tests themselves: kept programs, budgets, what `make check` chooses."""

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support import costs, crossing, programs, selection

ROOT = Path(__file__).parents[1]

# Relaxes as tests do; then again, after all programs were released. Prints what each run got.
RUN = """
import json, pathlib, sys
sys.path.insert(0, "tests")
import jax
from ase.build import bulk
import kups_relax as kr
from helpers import argon, argon_clusters
from support.programs import keep_programs, release_programs

folder, wide = sys.argv[1:]
if folder:
    keep_programs(pathlib.Path(folder))
loaded = []
jax.monitoring.register_event_listener(
    lambda event, **_: loaded.append(event) if event.endswith("cache_hits") else None
)
for _ in range(2 if folder else 1):
    got = []
    for dtype in ("float64", "float32") if wide else ("float64",):
        options = {"dtype": dtype, "max_steps": 20, "progress": False}
        got += kr.relax(argon_clusters([3, 8, 5]), argon(), **options).fingerprint.tolist()
        if wide == "wide":
            crystals = [bulk("Cu", cubic=True) for _ in range(3)]
            for seed, atoms in enumerate(crystals):
                atoms.rattle(0.1, seed=seed)
            for optimizer in ("lbfgs", "preconditioned"):
                options |= {"cell": "frechet", "optimizer": optimizer}
                got += kr.relax(crystals, "emt", **options).fingerprint.tolist()
    print(json.dumps([got, len(loaded)]))
    release_programs()
"""


def run(folder, wide=""):
    """Return what each turn got, and how many programs had been loaded after it."""
    environment = {k: v for k, v in os.environ.items() if "CACHE" not in k}
    out = subprocess.run(
        [sys.executable, "-c", RUN, str(folder), wide],
        capture_output=True, text=True, check=True, cwd=ROOT, env=environment,
    ).stdout  # fmt: skip
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize("wide", ["", pytest.param("wide", marks=pytest.mark.extended)])
def test_programs_from_disk_give_the_bits_of_programs_compiled_here(tmp_path, wide):
    [(compiled, n_loaded)] = run("", wide)
    assert n_loaded == 0
    [(cold, n_cold), (warm, n_warm)] = run(tmp_path, wide)
    assert cold == warm == compiled
    assert n_warm > n_cold
    if wide:
        # As a killed process leaves them: cut short, an entry is compiled anew.
        for entry in tmp_path.glob("*-cache"):
            entry.write_bytes(entry.read_bytes()[:-20])
        assert run(tmp_path, wide)[0][0] == compiled


def test_what_killed_processes_left_is_removed(tmp_path):
    def entry(name, seconds):
        path = tmp_path / f"{name}-cache"
        path.write_bytes(b"program")
        os.utime(path, (seconds, seconds))
        return path

    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    gone = tmp_path / f"running-{process.pid}"
    gone.touch()
    os.utime(gone, (1000, 1000))
    here = tmp_path / f"running-{os.getpid()}"
    here.touch()
    before, after = entry("before", 900), entry("after", 1100)
    programs._remove_remains(tmp_path)
    assert before.exists()
    assert here.exists()
    assert not after.exists()
    assert not gone.exists()


def test_the_oldest_programs_go_first(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "MOST_KEPT", 25)
    folder = tmp_path / "key"
    folder.mkdir()
    for k in range(4):
        path = folder / f"{k}-cache"
        path.write_bytes(b"0123456789")
        os.utime(path, (k, k))
    programs._remove_oldest(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["2-cache", "3-cache"]


def test_any_two_values_meet_in_make_test_and_all_combinations_are_there():
    axes = ["abcde", "xyz", [0, 1]]
    made = crossing.crossed(*axes)
    assert len(made) == len({p.values for p in made}) == 30
    kept = [p.values for p in made if not p.marks]
    assert len(kept) < 20
    for i, j in itertools.combinations(range(3), 2):
        assert {(v[i], v[j]) for v in kept} == set(itertools.product(axes[i], axes[j]))
    turns = [p.values for p in crossing.in_turns(*axes, leave={"b"}) if not p.marks]
    assert [{v[i] for v in turns} for i in range(3)] == [set("acde"), set("xyz"), {0, 1}]


def test_a_file_that_builds_more_programs_than_it_may_is_found(monkeypatch):
    monkeypatch.setattr(costs, "budgets", lambda: {"tests/test_a.py": {"programs": 3}})
    plugin = object.__new__(costs.Costs)
    plugin._extended = {"tests/test_a.py::test_crossing"}
    plugin._tests = {
        "tests/test_a.py::test_one": costs.Cost(programs=3),
        "tests/test_a.py::test_crossing": costs.Cost(programs=50),
        "tests/test_b.py::test_one": costs.Cost(programs=costs.DEFAULT_BUDGET["programs"]),
    }
    assert plugin._over() == []
    plugin._tests["tests/test_a.py::test_two"] = costs.Cost(programs=1)
    assert plugin._over() == [("tests/test_a.py", 4, 3)]


def test_every_budget_is_that_of_a_file():
    for file in costs.budgets():
        assert (ROOT / file).exists(), file


def test_what_changed_is_checked_first_then_its_room_then_the_cheapest(monkeypatch):
    budgets = {
        "tests/ops/test_fold.py": 1.0,
        "tests/ops/test_gather.py": 2.0,
        "tests/ops/test_root.py": 50.0,
        "tests/io/test_read.py": 0.5,
        "tests/io/test_write.py": 90.0,
    }
    monkeypatch.setattr(
        costs, "budgets", lambda: {f: {"programs": 1, "seconds": s} for f, s in budgets.items()}
    )

    def choose(changes, seconds):
        return selection.choose(set(budgets), changes, seconds)

    # A test that changed runs, whatever it costs.
    assert choose(["tests/io/test_write.py", "README.md"], 10.0) == ["tests/io/test_write.py"]
    source = ["src/kups_relax/ops/_gather.py"]
    assert choose(source, 2.2) == ["tests/ops/test_gather.py"]
    assert choose(source, 3.6) == [
        "tests/ops/test_gather.py",
        "tests/ops/test_fold.py",
        "tests/io/test_read.py",
    ]
    assert choose([], 1.5) == ["tests/io/test_read.py", "tests/ops/test_fold.py"]
    assert set(choose([], 1e3)) == set(budgets)


def test_sigint_is_heard_however_the_tests_were_started():
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
