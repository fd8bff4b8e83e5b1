"""Cases of the environment: interrupts, embedding, JAX's settings, forks."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import ase.io
import jax
import numpy as np
import pytest
from ase.build import bulk

import kups_relax as kr
from helpers import argon_clusters, assert_same_result
from kups_relax.io import _molecules, _processes

RUN = [sys.executable, "-c", "from kups_relax.cli import main; main()", "relax"]
SALEN = "[Zn]123[N+](=CC4=CC=CC=C4O3)CC[N+]1=CC1=CC=CC=C1O2"
# RDKit needs more than ten minutes for a ring of 400 atoms.
ENDLESS = "C1" + "C" * 400 + "1"
ARGON = ["--potential", "lennard-jones:epsilon=0.0104,sigma=3.4"]
CARBON = ["--potential", "lennard-jones:epsilon=0.01,sigma=1.2"]


def wait_for(there: Any) -> None:
    deadline = time.monotonic() + 120
    while not there() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert there()


def embeds(parent: int, seconds: float = 4.0) -> bool:
    """Whether a process has a child that embeds, and has worked for longer than starting takes."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            embedder = b"_embedder.py" in stat.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if embedder and int(fields[1]) == parent:
            return int(fields[11]) / os.sysconf("SC_CLK_TCK") > seconds
    return False


def interrupted(command: list[Any], ready: Any, pauses: list[float]) -> tuple[int, str]:
    """Start a command, send it SIGINT when it is ready, and after each pause once more."""
    process = subprocess.Popen(
        [*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(lambda: ready(process.pid) or process.poll() is not None)
        for pause in [0.0, *pauses]:
            time.sleep(pause)
            process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, err


@pytest.fixture
def smiles(tmp_path: Path) -> Path:
    path = tmp_path / "in.smi"
    path.write_text("CCO a\nCCN b\nCCC c\nC=O d\n")
    return path


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_case_11_an_interrupt_ends_an_embedding(tmp_path: Path) -> None:
    path, store = tmp_path / "in.smi", tmp_path / "out.h5"
    path.write_text(f"CCO a\nCCN b\n{ENDLESS} endless\nCCC c\n")
    command = [*RUN, path, *CARBON, "--fmax", "1e9", "-o", store, "-q"]
    status, err = interrupted(command, embeds, [])
    assert status == 130, err
    assert "stopping; saving what is finished; Ctrl-C again to leave at once" in err
    assert "kups-relax: stopped; " in err
    # Neither what was in work nor what follows.
    assert not store.exists() or {*kr.open(store).ids} <= {"a", "b"}


def test_case_11_the_run_that_goes_on_equals_an_undisturbed_one(
    smiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"n_conformers": 2, "fmax": 0.05, "progress": False}
    potential = kr.potentials.LennardJones(epsilon=0.01, sigma=1.2)
    path = tmp_path / "out.h5"
    undisturbed = kr.relax(smiles, potential, **options)
    real, calls = _molecules.embed, []

    def embed(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 3:
            # While RDKit works: its process must neither hear of it nor go on.
            ask = _processes.Worker.ask

            def slowly(self: Any, message: Any) -> None:
                threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
                ask(self, (_endless(), 1, 0))

            with monkeypatch.context() as patch:
                patch.setattr(_processes.Worker, "ask", slowly)
                return real(*args)
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(_molecules, "embed", embed)
        with pytest.raises(KeyboardInterrupt):
            kr.relax(smiles, potential, output=path, resume=True, **options)
    assert len(calls) == 3
    result = kr.relax(smiles, potential, output=path, resume=True, **options)
    assert list(result.fingerprint) == list(undisturbed.fingerprint)
    assert list(result.ids) == list(undisturbed.ids)


def _endless() -> bytes:
    from rdkit import Chem

    return Chem.AddHs(Chem.MolFromSmiles(ENDLESS)).ToBinary()


def test_case_12_a_second_interrupt_leaves_at_once(tmp_path: Path) -> None:
    path, store = tmp_path / "in.extxyz", tmp_path / "out.h5"
    ase.io.write(path, [*argon_clusters([3, 4, 5]), *argon_clusters([20] * 200)])
    options = ["--fmax", "1e-300", "--max-steps", 10**9, "-q", "-o", store]
    status, err = interrupted([*RUN, path, *ARGON, *options], lambda _: store.exists(), [0.05])
    assert status == 130, err
    assert "terminate called" not in err
    assert "FATAL" not in err
    kr.open(store)


SCRIPT = """
import sys, ase.io, kups_relax as kr
argon = kr.potentials.LennardJones(0.0104, 3.4)
print("begun", flush=True)
kr.relax(ase.io.read(sys.argv[1], ":"), argon, fmax=1e-300, max_steps=10**9, output=sys.argv[2],
         progress=False)
"""


@pytest.mark.parametrize("pauses", [[], [0.02]], ids=["once", "twice"])
def test_case_12_a_script_that_is_interrupted_does_not_abort(
    pauses: list[float], tmp_path: Path
) -> None:
    path, store = tmp_path / "in.extxyz", tmp_path / "out.h5"
    ase.io.write(path, argon_clusters([20] * 200))
    command = [sys.executable, "-c", SCRIPT, path, store]
    status, err = interrupted(command, lambda _: store.exists(), pauses)
    assert "KeyboardInterrupt" in err
    assert status in (-signal.SIGINT, 130), err
    assert "terminate called" not in err
    assert "FATAL" not in err


def test_case_22_a_molecule_on_which_rdkit_fails_is_one_entry(tmp_path: Path) -> None:
    path = tmp_path / "in.smi"
    path.write_text(f"CCO a\n{SALEN} salen\nCCN b\n")
    potential = kr.potentials.LennardJones(epsilon=0.01, sigma=1.2)
    result = kr.relax(path, potential, fmax=1e9, progress=False)
    assert result.status.tolist() == ["converged", "failed", "converged"]
    assert "RDKit's ETKDGv3 fails on it: RuntimeError: Invariant Violation" in result.reason[1]
    assert "\n" not in result.reason[1]


def test_case_26_settings_of_jax_change_no_bit() -> None:
    crystal = bulk("Cu", a=3.7)
    crystal.rattle(0.01, seed=0)
    options = {"cell": "frechet", "max_steps": 5, "progress": False}
    expected = kr.relax(crystal, kr.potentials.EMT(), **options)
    names = ("numpy_dtype_promotion", "numpy_rank_promotion", "debug_nans")
    guards = [n for n in jax.config.values if n.startswith("jax_transfer_guard")]
    before = {n: jax.config.values[n] for n in [*guards, *(f"jax_{n}" for n in names)]}
    try:
        for name, value in zip(names, ("strict", "raise", True), strict=True):
            jax.config.update(f"jax_{name}", value)
        jax.config.update("jax_transfer_guard", "disallow")
        got = kr.relax(crystal, kr.potentials.EMT(), **options)
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
    assert_same_result(got, 0, expected, 0)


POOL = """
import multiprocessing, ase, kups_relax as kr
pair, argon = ase.Atoms("Ar2", [[0, 0, 0], [0, 0, 3.7]]), kr.potentials.LennardJones(0.0104, 3.4)
kr.relax(pair, argon, progress=False)
with multiprocessing.get_context("fork").Pool(1) as pool:
    pool.apply(kr.relax, (pair, argon))
"""


def test_case_27_a_pool_of_forked_processes_is_told_to_spawn() -> None:
    command = [sys.executable, "-W", "ignore", "-c", POOL]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("kups_relax.errors.KupsRelaxError: this process was forked")
    assert "spawn" in last


RECORD = """{name}
     RDKit          3D

  1  0  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 Ar  0  0  0  0  0{valence}  0  0  0  0  0  0
M  END
$$$$
"""


def test_case_32_a_record_with_an_absurd_number_is_one_entry(tmp_path: Path) -> None:
    path = tmp_path / "in.sdf"
    names = ["good", "bad", "other"]
    valences = ["  0", " 999999999999999999999", "  0"]
    path.write_text(
        "".join(RECORD.format(name=n, valence=v) for n, v in zip(names, valences, strict=True))
    )
    good, bad, other = kr.io.structures_from(path)
    assert [one.id for one in (good, bad, other)] == names
    assert isinstance(bad, kr.io.Unreadable)
    assert "record 1 of " in bad.reason
    assert np.array_equal(good.positions, other.positions)  # pyright: ignore
