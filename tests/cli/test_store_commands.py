"""The command with a store: resume, stopping, info, export, report."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import ase.io
import h5py
import numpy as np
import pytest
from ase import Atoms
from command_cases import clusters, command, mixed

import kups_relax as kr
from helpers import argon, argon_clusters, assert_same_result
from kups_relax.cli import _print, _stoppable, _stopping
from made_stores import made_records, made_store

__all__ = ["clusters", "command", "mixed"]  # fixtures

ARGON = ["--potential", "lennard-jones:epsilon=0.0104,sigma=3.4"]
RUN = [sys.executable, "-c", "from kups_relax.cli import main; main()"]


@pytest.fixture
def mixed_store(command, mixed, tmp_path):
    path = tmp_path / "mixed.h5"
    command("relax", mixed, *ARGON, "-o", path, "--max-steps", 2)
    return path


def test_a_store_has_what_memory_has_and_is_not_replaced(command, clusters, tmp_path):
    path = tmp_path / "out.h5"
    assert command("relax", clusters, *ARGON, "-o", path)[0] == 0
    got, expected = kr.open(path), kr.relax(clusters, argon())
    assert got.complete
    for i in range(3):
        assert_same_result(got, i, expected, i)
    status, _, err = command("relax", clusters, *ARGON, "-o", path)
    assert status == 2
    assert "exists" in err


def test_resume_of_other_options_is_2_and_names_them(command, clusters, tmp_path):
    path = tmp_path / "out.h5"
    assert command("relax", clusters, *ARGON, "-o", path, "--resume")[0] == 0
    assert command("relax", clusters, *ARGON, "-o", path, "--resume")[0] == 0
    status, _, err = command("relax", clusters, *ARGON, "-o", path, "--resume", "--fmax", "0.1")
    assert status == 2
    assert "another fmax: 0.01 there, 0.1 here" in err
    assert command("relax", clusters, *ARGON, "--resume")[0] == 2


def test_how_to_rerun_works_as_it_is_printed(command, mixed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = command("relax", mixed, *ARGON, "-o", "out.h5", "--max-steps", 2)
    assert status == 1
    hint = err.splitlines()[-1]
    _, export, relax = (part.strip() for part in hint.replace(";", ": ").split(": "))
    assert command(*export.split()[1:])[0] == 0
    again = relax.split()[2]
    assert [a.info["id"] for a in ase.io.read(again, ":")] == ["Ar8-0", "broken"]
    assert "1 of 2 structures converged" in command("relax", again, *ARGON)[1]


def test_molecules_are_rerun_with_their_bonds(command, tmp_path, monkeypatch):
    pytest.importorskip("rdkit", reason="reads SMILES")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.smi").write_text("CCO\tethanol\n")
    options = ["-p", "mmff94", "--max-steps", 1]
    assert "-o out-again.sdf" in command("relax", "in.smi", *options, "-o", "out.h5")[2]


def test_strict_stops_at_the_first_and_keeps_what_is_done(command, mixed, tmp_path):
    path = tmp_path / "out.h5"
    status, _, err = command("relax", mixed, *ARGON, "-o", path, "--strict")
    assert status == 2
    assert "'broken' failed" in err
    assert not kr.open(path).complete


def test_trajectories_are_kept_of_those_that_are_named(command, clusters, tmp_path):
    path = tmp_path / "out.h5"
    options = ["--trajectory", 3, "--trajectory-of", "Ar8-1", "--trajectory-of", "nobody"]
    status, _, err = command("relax", clusters, *ARGON, "-o", path, *options)
    assert status == 0
    assert "nobody: no structure has this id" in err
    store = kr.open(path)
    assert store.with_trajectory == ["Ar8-1"]
    frames, curve = store.trajectory("Ar8-1"), store.convergence("Ar8-1")
    assert curve["step"].tolist() == [frame.info["step"] for frame in frames]
    assert curve["energy"].tolist() == [frame.get_potential_energy() for frame in frames]
    assert curve["fmax"][-1] == store.fmax[1]
    with pytest.raises(kr.errors.OptionError, match="no trajectory"):
        store.convergence(0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trajectory", 3], "--trajectory 3 needs a store"),
        (["--trajectory-of", "Ar8-1"], "--trajectory is 0"),
        (["--resume", "--overwrite", "-o", "OUT"], "exclude each other"),
    ],
)
def test_options_that_do_not_go_together_are_2(options, message, command, clusters, tmp_path):
    options = [tmp_path / "out.h5" if o == "OUT" else o for o in options]
    status, out, err = command("relax", clusters, *ARGON, *options)
    assert (status, out) == (2, "")
    assert message in err


def test_many_structures_are_counted_and_not_listed(command, tmp_path):
    path = tmp_path / "pairs.extxyz"
    pairs = [*(0.003 * i for i in range(30)), *[3.8164] * 25]
    ase.io.write(path, [Atoms("Ar2", [[0, 0, 0], [0, 0, d]]) for d in pairs])
    store = tmp_path / "out.h5"
    status, out, err = command("relax", path, *ARGON, "-o", store)
    assert status == 1
    first, *_ = out.splitlines()
    assert first.startswith("25 of 55 structures converged")
    assert first.endswith("; 30 failed")
    assert err.count(": failed: ") == _print.MOST_FAILURES
    assert f"... and 10 more: kups-relax report {store}" in err


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["TERM", "INT"]
)
def test_a_signal_saves_and_says_how_to_go_on(number, status, tmp_path):
    structures, path = tmp_path / "in.extxyz", tmp_path / "out.h5"
    ase.io.write(structures, [*argon_clusters([3, 4, 5]), *argon_clusters([20] * 200)])
    # No run of these ends: forces never get this small.
    words = ["relax", structures, *ARGON, "-o", path, "--fmax", "1e-300", "--max-steps", 10**9]
    process = subprocess.Popen(
        [*RUN, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    os.kill(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert out == ""
    last = err.splitlines()[-1]
    assert f"{path} holds {len(kr.open(path))} finished structures" in last
    assert last.endswith(" --resume")
    assert "--max-steps 1000000000" in last


def test_a_stopped_run_goes_on_by_the_command_that_it_prints(command, clusters, monkeypatch):
    from kups_relax import relaxation

    real, path = relaxation.Scheduler.run, clusters.with_name("out.h5")

    def stopped(self, items, sink, saved=()):
        real(self, list(items)[:2], sink)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(relaxation.Scheduler, "run", stopped)
    before = signal.getsignal(signal.SIGTERM)
    status, _, err = command("relax", clusters, *ARGON, "-o", path, "--overwrite")
    assert status == 143
    assert signal.getsignal(signal.SIGTERM) == before
    assert f"{path} holds 2 finished structures. Go on with: kups-relax " in err
    monkeypatch.undo()
    words = err.splitlines()[-1].split("kups-relax ")[-1].split()
    done = subprocess.run([*RUN, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert kr.open(path).complete


def test_info_says_what_the_store_says(command, mixed_store):
    status, out, err = command("info", mixed_store)
    assert (status, err) == (0, "")
    assert "3, complete" in out
    for line in ("converged", "failed", "max_steps"):
        assert f"  {line:12s} 1 (33.3%)" in out
    assert "max_steps    2\n" in out
    assert "  potential    lennard-jones: epsilon 0.0104, sigma 3.4, " in out
    assert "  optimizer    lbfgs: memory_size 16, " in out
    facts = json.loads(command("info", mixed_store, "--json")[1])
    store = kr.open(mixed_store)
    assert facts["counts"] == store.counts
    assert facts["options"] == store.options
    assert facts["n_atoms"] == {"least": 2, "median": 2.0, "most": 8}
    assert facts["bytes"] == mixed_store.stat().st_size


def test_info_of_what_is_not_complete_and_of_nothing(command, tmp_path):
    made_store(tmp_path / "some.h5", made_records(4), complete=False)
    out = command("info", tmp_path / "some.h5")[1]
    assert "4 finished; the run goes on, or was stopped" in out
    made_store(tmp_path / "none.h5", [])
    status, out, _ = command("info", tmp_path / "none.h5")
    assert status == 0
    assert "0, complete" in out
    assert json.loads(command("info", tmp_path / "none.h5", "--json")[1])["n_steps"] is None


@pytest.mark.parametrize("name", ["info", "export", "report"])
def test_what_is_no_store_is_2(name, command, tmp_path):
    output = ["-o", tmp_path / "out.csv"] if name == "export" else []
    (tmp_path / "letter.h5").write_text("Dear Sir or Madam,\n")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros(3)
    for file, message in (
        ("nowhere.h5", "there is no file"),
        ("letter.h5", "cannot be read as HDF5"),
        ("other.h5", "no store of kups_relax"),
    ):
        status, out, err = command(name, tmp_path / file, *output)
        assert (status, out) == (2, "")
        assert message in err
        assert err.count("\n") == 1


def test_export_filters_by_status_and_counts(command, mixed_store, tmp_path):
    path = tmp_path / "out.extxyz"
    status, out, _ = command(
        "export", mixed_store, "-o", path, "--status", "converged", "--status", "max_steps"
    )
    assert status == 0
    assert out == f"2 of 2 structures written to {path}\n"
    assert [a.info["id"] for a in ase.io.read(path, ":")] == ["pair", "Ar8-0"]
    assert command("export", mixed_store, "-o", path)[0] == 2
    assert command("export", mixed_store, "-o", path, "--overwrite")[0] == 0
    for option, message in (
        (["-o", tmp_path / "x.csv", "--status", "good"], "no status 'good'"),
        (["-o", tmp_path / "x.h5"], "would be a store again"),
        (["-o", tmp_path / "x.pdb"], "the ending '.pdb'"),
        (["-o", tmp_path / "x.sdf"], "came without bonds"),
    ):
        status, _, err = command("export", mixed_store, *option)
        assert status == 2
        assert message in err


def test_report_is_written_beside_the_store_and_again(command, mixed_store, tmp_path):
    page = mixed_store.with_suffix(".html")
    assert command("report", mixed_store)[1] == f"written to {page}\n"
    assert command("report", mixed_store)[0] == 0
    page.write_text("<p>Something that somebody wrote.</p>")
    assert command("report", mixed_store)[0] == 2
    assert page.read_text() == "<p>Something that somebody wrote.</p>"
    assert command("report", mixed_store, "--overwrite")[0] == 0
    assert command("report", mixed_store, "-o", tmp_path / "other.html")[0] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_gets_lost_stops_the_run_all_the_same(number, tmp_path):
    path = tmp_path / "in.extxyz"
    ase.io.write(path, argon_clusters([3, 4, 5]))
    before = signal.getsignal(number)
    with _stopping.listening():
        _stopping.begin()
        stream = _stoppable.Stoppable(path)
        next(stream)
        # As in a callback, whose exceptions Python prints and forgets.
        with contextlib.suppress(_stopping.Terminated, KeyboardInterrupt):
            signal.raise_signal(number)
        with pytest.raises((_stopping.Terminated, KeyboardInterrupt)):
            next(stream)
    assert signal.getsignal(number) == before


def test_check_says_which_structures_are_whole_and_saves_them(command, tmp_path):
    path, whole = tmp_path / "out.h5", tmp_path / "out-whole.h5"
    made_store(path, made_records(6, bad=0.0))
    status, out, err = command("check", path)
    assert (status, out, err) == (0, f"{path}: 6 of 6 structures are whole\n", "")
    with h5py.File(path, "r+") as file:
        file["structures/energy"][[1, 4]] += 1.0
    status, out, err = command("check", path)
    assert (status, out) == (1, f"{path}: 4 of 6 structures are whole\n")
    assert err.splitlines()[0].startswith("row 1: ")
    assert "'made-1' is damaged" in err
    assert err.splitlines()[-1] == f"to save them: kups-relax check {path} -o {whole}"
    status, out, _ = command("check", path, "-o", whole)
    assert (status, out.splitlines()[-1]) == (1, f"4 of 4 written to {whole}")
    assert kr.open(whole).ids == ["made-0", "made-2", "made-3", "made-5"]
    assert command("check", tmp_path / "missing.h5")[0] == 2
