"""Run cases in a process that is replaced when it hangs or dies."""

import contextlib
import dataclasses
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.fuzz._verdict import KINDS

# Seconds for imports and for what a generator prepares.
_START = 300.0
EXAMPLES = 20
# A file and a line, by which faults are told apart: where an exception was raised.
_PLACE = re.compile(r"\b\w+\.pyx?:\d+")
_ROOT = Path(__file__).parents[2]


@dataclasses.dataclass
class Tally:
    """Counts of one generator's cases.

    Attributes:
        tried: Number of cases.
        counts: Cases of each kind.
        examples: Of all kinds but "clear"; the first of each place or message,
            `EXAMPLES` at most of each kind.
        warned: Warnings that code of kups_relax caused, and how often.
        seconds: Wall time.
    """

    tried: int = 0
    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    examples: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    warned: Counter[str] = dataclasses.field(default_factory=Counter)
    seconds: float = 0.0

    def add(self, kind: str, seed: int, index: int, case: str, text: str) -> None:
        """Count one case, and keep it as an example where it is of a new kind."""
        self.tried += 1
        self.counts[kind] += 1
        key = (
            kind,
            _PLACE.findall(text)[:1] or text[:40],
            case.partition(":")[0] if kind == "hang" else "",
        )
        alike = [e for e in self.examples if e["kind"] == kind]
        known = len(alike) >= EXAMPLES or any(e["key"] == key for e in alike)
        if kind != "clear" and not known:
            example = {"kind": kind, "seed": seed, "index": index, "case": case, "text": text}
            self.examples.append({**example, "key": key})

    def figures(self) -> dict[str, Any]:
        """Return the counts and examples for a file of results."""
        examples = [{k: v for k, v in e.items() if k != "key"} for e in self.examples]
        return {
            "tried": self.tried,
            **{kind: self.counts[kind] for kind in KINDS},
            "warnings of numpy and others in kups_relax": dict(self.warned.most_common(EXAMPLES)),
            "examples": examples,
            "seconds": round(self.seconds, 1),
        }


def run(generator: str, n: int, *, seed: int = 0, start: int = 0, limit: float = 60.0) -> Tally:
    """Run cases of a generator in one process at a time.

    Args:
        generator: Module of this package, or the whole name of another one.
        n: Number of cases.
        seed: Decides, with the index alone, what each case is.
        start: Index of the first.
        limit: Seconds for each case, after which it counts as a hang.

    Raises:
        RuntimeError: The process does not even start.
    """
    tally, begun = Tally(), time.perf_counter()
    at, stop = start, start + n
    while at < stop:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            at = _run_some(generator, seed, at, stop, limit, Path(folder), tally)
    tally.seconds = time.perf_counter() - begun
    return tally


def _run_some(
    generator: str, seed: int, start: int, stop: int, limit: float, folder: Path, tally: Tally
) -> int:
    """Run cases until all are done or the process ends; return the index of the next one."""
    command = [sys.executable, "-m", "benchmarks.fuzz._worker", generator]
    paths = [str(_ROOT), str(_ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    with (folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(
            [*command, str(seed), str(start), str(stop)],
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            cwd=folder,
            # Some of ASE's writers write sets.
            env={
                **os.environ,
                "PYTHONHASHSEED": "0",
                "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            },
            start_new_session=True,
        )
    at, case, ready = start, "", False
    try:
        lines = _Lines(process.stdout)
        while at < stop:
            line = lines.next(limit if ready else _START)
            if line is None:
                ended = process.poll()
                told = (folder / "stderr").read_text(errors="replace")[-600:]
                if not ready and not case:
                    raise RuntimeError(f"{generator}: the worker did not start: {told}")
                if lines.at_end:
                    ended = process.wait(10)
                    tally.add("crash", seed, at, case, f"exit status {ended}: {told}")
                else:
                    tally.add("hang", seed, at, case, f"more than {limit:g} s")
                return at + 1
            record = json.loads(line)
            if "ready" in record:
                ready = True
            elif "begins" in record:
                case = record["case"]
            else:
                tally.warned.update(record["warned"])
                tally.add(record["kind"], seed, at, case, record["text"])
                at += 1
    finally:
        _end(process)
    return at


def _end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


class _Lines:
    """Lines of a pipe, with a time limit for each."""

    def __init__(self, pipe: Any) -> None:
        self._pipe, self._left, self.at_end = pipe, b"", False
        self._selector = selectors.DefaultSelector()
        self._selector.register(pipe, selectors.EVENT_READ)

    def next(self, limit: float) -> bytes | None:
        """Return the next line; None at the end, and where none comes in time."""
        deadline = time.monotonic() + limit
        while b"\n" not in self._left:
            if not self._selector.select(max(0.0, deadline - time.monotonic())):
                return None
            block = os.read(self._pipe.fileno(), 1 << 16)
            if not block:
                self.at_end = True
                return None
            self._left += block
        line, _, self._left = self._left.partition(b"\n")
        return line
