"""Disturb a run again and again, at random moments, and resume it: nothing is lost or redone.

It is killed (KILL), asked to end (TERM, INT), halted for a while (STOP and CONT), and it meets a
limit of the size of files, a folder that becomes read-only, and a file system that is full. Outputs
are a store, and a file of another kind, beside which a store stands until it is whole.

`python -m benchmarks.kills 50` disturbs runs fifty times.
"""

import collections
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import kups_relax as kr
from benchmarks.report import save
from benchmarks.stream import clusters

N = 300
N_KILLS = 100
# In turns; signals are what happens most.
KINDS = ("KILL", "TERM", "INT", "KILL", "STOP", "file size", "KILL", "read-only", "INT", "full")
ENDINGS = (".h5", ".extxyz")
# Exit status of a run that ended with an error of kups_relax.
_IN_WORDS = 3
# Seconds that a run may take, on a loaded machine.
_LIMIT = 300.0

_RUN = """
import resource
import sys
import kups_relax as kr
from benchmarks import kills
if len(sys.argv) > 2:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
print("begins", flush=True)
try:
    kills.relax(sys.argv[1], slowly=True)
except kr.errors.KupsRelaxError as error:
    print(error, file=sys.stderr)
    sys.exit(3)
"""


def main(n_kills: int = N_KILLS, endings: Sequence[str] = ENDINGS) -> dict[str, Any]:
    """Runs are slowed down, so that they are met at work; moments are drawn from a seed."""
    draw = random.Random(0)
    counts: collections.Counter[str] = collections.Counter()
    told: list[str] = []
    n_done = 0
    with tempfile.TemporaryDirectory() as folder:
        want = relax(Path(folder, "undisturbed.h5"))
        files = {".h5": b""}
        for ending in endings:
            if ending not in files:
                path = Path(folder, f"undisturbed{ending}")
                relax(path)
                files[ending] = path.read_bytes()
        while n_done < n_kills:
            ending = endings[counts["runs that came to their end"] % len(endings)]
            with _place(Path(folder), counts, told) as place:
                run = _Run(place, ending, draw, counts, told)
                n_done = run.to_its_end(n_done, n_kills)
                run.check(want, files[ending])
            counts["runs that came to their end"] += 1
    kinds = {kind: counts.pop(kind, 0) for kind in dict.fromkeys(KINDS)}
    return {
        "structures": N,
        "disturbances": n_done,
        **{f"disturbances: {kind}": n for kind, n in kinds.items()},
        **{name: counts.pop(name, 0) for name in _COUNTED},
        **counts,
        "what runs said": told[:20],
    }


_COUNTED = (
    "runs that came to their end",
    "disturbed runs that ended in words",
    "disturbed runs that ended with another exception",
    "disturbed runs that came to their end",
    "runs that were not disturbed and failed",
    "stores that could not be opened",
    "finished structures lost",
    "finished structures there twice",
    "finished structures redone",
    "results that differ from an undisturbed run",
    "files that differ from an undisturbed run's",
)


def relax(path: Any, *, slowly: bool = False) -> Any:
    """The run: with checkpoints and trajectories, from a stream."""
    argon = kr.potentials.LennardJones(0.0104, 3.4)

    def items() -> Any:
        for i, atoms in enumerate(clusters(N)):
            # So that it is not over before anything can happen to it.
            if slowly and i % 10 == 0:
                time.sleep(0.15)
            yield atoms

    options: dict[str, Any] = {"checkpoint": 0.5}
    if Path(path).suffix == ".h5":
        options |= {"trajectory": 20, "trajectory_of": range(0, N, 7)}
    return kr.relax(items(), argon, output=path, resume=True, progress=False, **options)


class _Run:
    """One output, whose run is begun again until it comes to its end."""

    def __init__(
        self,
        folder: Path,
        ending: str,
        draw: random.Random,
        counts: collections.Counter[str],
        told: list[str],
    ) -> None:
        self._folder, self._draw, self._counts, self._told = folder, draw, counts, told
        self._path = folder / f"out{ending}"
        self._store = self._path if ending == ".h5" else folder / f"out{ending}.h5"
        self._known: dict[int, tuple[str, float]] = {}

    def to_its_end(self, n_done: int, n_kills: int) -> int:
        """Disturb the run as long as any disturbances are left; return how many there were."""
        failures = 0
        while True:
            kind = KINDS[n_done % len(KINDS)] if n_done < n_kills else None
            status, happened, text = self._attempt(kind)
            if happened:
                assert kind is not None
                n_done += 1
                self._counts[kind] += 1
                self._note(status, kind, text)
            if status == 0:
                return n_done
            if not happened:
                self._counts["runs that were not disturbed and failed"] += 1
                self._told.append(f"undisturbed: exit status {status}: {text}")
                failures += 1
                if failures > 3:
                    raise RuntimeError(f"a run that nobody disturbs fails: {text}")
            self._look()

    def check(self, want: Any, file: bytes) -> None:
        """Compare what a run that came to its end left with what an undisturbed one does."""
        if self._path != self._store:
            self._counts["files that differ from an undisturbed run's"] += (
                self._path.read_bytes() != file
            )
            left = [path.name for path in self._folder.iterdir() if path != self._path]
            if left:
                self._told.append(f"left beside {self._path.name}: {sorted(left)}")
            return
        self._look()
        got = kr.open(self._path)
        assert got.complete
        differ = N
        if len(got) == len(want):
            differ = int((got.fingerprint != want.fingerprint).sum()) + _different(got, want)
        self._counts["results that differ from an undisturbed run"] += differ

    def _attempt(self, kind: str | None) -> tuple[int, bool, str]:
        """Run once; return the exit status, whether it was disturbed, and what it said."""
        command = [sys.executable, "-c", _RUN, str(self._path)]
        if kind == "file size":
            # Beyond what is there, or short of it.
            sizes = [p.stat().st_size for p in (self._store, self._path) if p.exists()]
            more = self._draw.choice((1000, 20_000, 60_000, 150_000))
            command.append(str(max(sizes, default=0) + more))
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        with contextlib.ExitStack() as undo:
            process.stdout.readline()
            happened = kind == "file size"
            if kind not in (None, "file size"):
                time.sleep(self._draw.uniform(0.0, 7.0))
                happened = process.poll() is None and self._disturb(kind, process, undo)
            try:
                _, text = process.communicate(timeout=_LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()
                _, text = process.communicate()
                text = f"more than {_LIMIT:g} s {text}"
        return process.returncode, happened, text[-600:]

    def _disturb(self, kind: str, process: Any, undo: contextlib.ExitStack) -> bool:
        if kind == "STOP":
            process.send_signal(signal.SIGSTOP)
            time.sleep(self._draw.uniform(0.5, 3.0))
            process.send_signal(signal.SIGCONT)
        elif kind == "read-only":
            return self._make_read_only(undo)
        elif kind == "full":
            return self._fill(undo)
        else:
            process.send_signal(getattr(signal, f"SIG{kind}"))
        return True

    def _make_read_only(self, undo: contextlib.ExitStack) -> bool:
        """Make the file system read-only; where a file is open for writing, the folder alone."""
        if not _is_mounted(self._folder):
            return False
        command = ["mount", "-o", "remount,ro", str(self._folder)]
        deadline = time.monotonic() + 2.0
        while time.monotonic() < deadline:
            if subprocess.run(command, capture_output=True).returncode == 0:
                undo.callback(_call, "mount", "-o", "remount,rw", str(self._folder))
                self._counts["read-only: file systems"] += 1
                return True
        # As root no permission counts, and this does.
        if subprocess.run(["chattr", "+i", str(self._folder)], capture_output=True).returncode:
            return False
        undo.callback(_call, "chattr", "-i", str(self._folder))
        self._counts["read-only: folders, while the store is open"] += 1
        return True

    def _fill(self, undo: contextlib.ExitStack) -> bool:
        """Leave no byte free on the file system until the run has ended."""
        if not _is_mounted(self._folder):
            return False
        large = self._folder / "large"
        undo.callback(large.unlink, missing_ok=True)
        with contextlib.suppress(OSError), large.open("wb", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                with contextlib.suppress(OSError):
                    while file.write(b"\1" * size):
                        pass
        return True

    def _note(self, status: int, kind: str, text: str) -> None:
        if status == 0:
            self._counts["disturbed runs that came to their end"] += 1
        elif status == _IN_WORDS:
            self._counts["disturbed runs that ended in words"] += 1
        elif status > 0 and "KeyboardInterrupt" not in text:
            self._counts["disturbed runs that ended with another exception"] += 1
        if status > 0 and not (kind == "INT" and "KeyboardInterrupt" in text):
            self._told.append(f"{kind}: exit status {status}: {text}")

    def _look(self) -> None:
        """Open what there is, and compare it with what was there before."""
        try:
            found, n_twice = _seen(self._store)
        except Exception as error:
            self._counts["stores that could not be opened"] += 1
            self._told.append(repr(error)[:400])
            return
        if self._path != self._store and self._path.exists():
            return
        known = self._known
        self._counts["finished structures lost"] += len(known.keys() - found.keys())
        self._counts["finished structures there twice"] += n_twice
        self._counts["finished structures redone"] += sum(
            found[n] != known[n] for n in known.keys() & found.keys()
        )
        self._known = found


@contextlib.contextmanager
def _place(folder: Path, counts: collections.Counter[str], told: list[str]) -> Iterator[Path]:
    """A folder on a small file system of its own, or a plain one where none can be mounted."""
    place = folder / "place"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode and not counts["file systems that could not be mounted"]:
        told.append(f"no read-only and no full file system: {mounted.stderr.strip()}")
    counts["file systems that could not be mounted"] += bool(mounted.returncode)
    try:
        yield place
    finally:
        if not mounted.returncode:
            _call("umount", str(place))
        shutil.rmtree(place)


def _is_mounted(folder: Path) -> bool:
    return os.path.ismount(folder)


def _call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _seen(path: Path) -> tuple[dict[int, tuple[str, float]], int]:
    """What is in a store: by number, the fingerprint and when it was finished; how many twice."""
    if not path.exists():
        return {}, 0
    store = kr.open(path)
    columns = zip(store.fingerprint, store.finished.tolist(), strict=True)
    numbers = store.input_index.tolist()
    return dict(zip(numbers, columns, strict=True)), len(numbers) - len(set(numbers))


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


if __name__ == "__main__":
    save("kills", main(int(sys.argv[1]) if sys.argv[1:] else N_KILLS))
