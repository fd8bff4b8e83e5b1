"""Kill a run a hundred times, at random moments, and resume it: nothing is lost or redone."""

import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

import kups_relax as kr
from benchmarks.stream import clusters

N = 300
N_KILLS = 100

_RUN = """
import sys, time
import kups_relax as kr
from benchmarks import kills
print("begins", flush=True)
kills.relax(sys.argv[1], slowly=True)
"""


def main() -> dict[str, Any]:
    """Runs are slowed down, so that kills meet them at work; moments are drawn from a seed."""
    draw = random.Random(0)
    losses = redone = runs = kills = 0
    with tempfile.TemporaryDirectory() as folder:
        want = relax(pathlib.Path(folder, "undisturbed.h5"))
        differ = 0
        while kills < N_KILLS:
            path = pathlib.Path(folder, f"{runs}.h5")
            runs += 1
            known: dict[int, tuple[str, float]] = {}
            while True:
                command = [sys.executable, "-c", _RUN, str(path)]
                process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
                killed = kills < N_KILLS and _kill(process, draw)
                if process.wait() == 0:
                    break
                assert killed, process.returncode
                kills += 1
                found = _seen(path)
                losses += len(known.keys() - found.keys())
                redone += sum(found[n] != known[n] for n in known.keys() & found.keys())
                known = found
            got = kr.open(path)
            found = _seen(path)
            redone += sum(found[n] != known[n] for n in known)
            losses += len(known.keys() - found.keys())
            assert got.complete
            differ += int((got.fingerprint != want.fingerprint).sum()) + _different(got, want)
    return {
        "structures": N,
        "kills": kills,
        "runs that came to their end": runs,
        "finished structures lost": losses,
        "finished structures redone": redone,
        "results that differ from an undisturbed run": differ,
    }


def relax(path: Any, *, slowly: bool = False) -> Any:
    """The run: with checkpoints and trajectories, from a stream."""
    argon = kr.potentials.LennardJones(0.0104, 3.4)

    def items() -> Any:
        for i, atoms in enumerate(clusters(N)):
            # So that it is not over before anything can happen to it.
            if slowly and i % 10 == 0:
                time.sleep(0.15)
            yield atoms

    return kr.relax(
        items(),
        argon,
        output=path,
        resume=True,
        checkpoint=0.5,
        trajectory=20,
        trajectory_of=range(0, N, 7),
        progress=False,
    )


def _kill(process: Any, draw: random.Random) -> bool:
    """Kill a process some time after it has begun to relax, if it is still there."""
    process.stdout.readline()
    time.sleep(draw.uniform(0.0, 7.0))
    if process.poll() is not None:
        return False
    os.kill(process.pid, signal.SIGKILL)
    return True


def _seen(path: pathlib.Path) -> dict[int, tuple[str, float]]:
    """What is in a store: by number, the fingerprint and when it was finished."""
    if not path.exists():
        return {}
    store = kr.open(path)
    columns = zip(store.fingerprint, store.finished.tolist(), strict=True)
    return dict(zip(store.input_index.tolist(), columns, strict=True))


def _different(got: Any, want: Any) -> int:
    """Count trajectories that differ."""
    if got.with_trajectory != want.with_trajectory:
        return N
    different = 0
    for label in got.with_trajectory:
        pairs = zip(got.trajectory(label), want.trajectory(label), strict=True)
        different += any(
            a.info["step"] != b.info["step"] or not np.array_equal(a.positions, b.positions)
            for a, b in pairs
        )
    return different
