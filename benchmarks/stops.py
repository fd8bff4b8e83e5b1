"""Stop the command by signals at many moments: it says so in one line, and is gone within seconds.

Moments are drawn from a seed, from the start of Python to the midst of compiling. Each run gets
SIGINT or SIGTERM, once or twice. Runs would not end by themselves.
"""

import collections
import os
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import ase.io
from ase.build import bulk

import kups_relax as kr

N = int(os.environ.get("STOPS", "80"))
LATEST = 10.0
# Seconds from the first signal within which the process is gone.
ALLOWED = 5.0

_RUN = [sys.executable, "-c", "from kups_relax.cli import main; main()"]
_STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
# What nobody should read.
_NOISE = ("Traceback", "Exception ignored", "terminate called", "FATAL", "Fatal Python error")


def main() -> dict[str, Any]:
    """Stop runs, one after the other, and look at what they say and leave."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Started in the background of a script; what this one starts would ignore it, too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    draw, kinds = random.Random(0), collections.Counter()
    seconds: list[float] = []
    after_word: list[float] = []
    odd: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        structures = pathlib.Path(folder, "in.extxyz")
        write_input(structures)
        for i in range(N):
            path = pathlib.Path(folder, f"{i}.h5")
            number = draw.choice([signal.SIGINT, signal.SIGTERM])
            # A third in the first second, in which everything is imported.
            delay = draw.uniform(0.0, 1.0 if i % 3 == 0 else LATEST)
            pauses = draw.choice([[], [draw.uniform(0.0, 1.5)]])
            status, err, spent, since = stopped(structures, path, number, delay, pauses)
            kind = _kind(status, err, number)
            if path.exists():
                try:
                    len(kr.open(path))
                except kr.errors.KupsRelaxError as error:
                    kind = f"broken store: {error}"
            kinds[kind] += 1
            seconds.append(spent)
            if since is not None:
                after_word.append(since)
            if kind not in _ORDERLY or spent > ALLOWED:
                odd.append(f"{number.name} after {delay:.2f} s {pauses}: {kind}, {spent:.1f} s")
    return {
        "stops": N,
        **{kind: kinds[kind] for kind in sorted(kinds)},
        "longest from signal to end, s": max(seconds),
        "median from signal to end, s": statistics.median(seconds),
        "longest from the word stopped to end, s": max(after_word, default=0.0),
        f"later than {ALLOWED:g} s": sum(one > ALLOWED for one in seconds),
        "odd": odd,
    }


def write_input(path: pathlib.Path) -> None:
    """Crystals of many sizes, so that programs are compiled for as long as anybody looks."""
    crystals = []
    for n in (1, 2, 3, 4, 5, 6, 8):
        crystal = bulk("Cu", cubic=True) * (n, 1, 1)
        crystal.rattle(0.05, seed=n)
        crystals.append(crystal)
    ase.io.write(path, crystals)


def stopped(
    structures: pathlib.Path,
    output: pathlib.Path,
    number: signal.Signals,
    delay: float,
    pauses: list[float],
) -> tuple[int, str, float, float | None]:
    """Start a run and send it signals.

    Args:
        structures: What it reads.
        output: Its store.
        number: The signal.
        delay: Seconds before the first.
        pauses: Seconds between it and the next.

    Returns:
        Exit status, what it said, and seconds to its end from the first signal, and from the word
        "stopped"; None where it did not say that.
    """
    words = ["relax", structures, "-p", "emt", "--cell", "frechet", "-o", output]
    endless = ["--fmax", "1e-300", "--max-steps", 10**9]
    process = subprocess.Popen(
        [*_RUN, *map(str, [*words, *endless])],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # Programs are compiled anew each time.
        env={**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "0"},
    )
    assert process.stderr is not None
    os.set_blocking(process.stderr.fileno(), False)
    try:
        time.sleep(delay)
        first = time.monotonic()
        for pause in [0.0, *pauses]:
            time.sleep(pause)
            if process.poll() is None:
                process.send_signal(number)
        text, word = b"", None
        while process.poll() is None and time.monotonic() < first + 60:
            text += process.stderr.read() or b""
            if word is None and b"stopped" in text:
                word = time.monotonic()
            time.sleep(0.01)
        end = time.monotonic()
    finally:
        process.kill()
    text += process.stderr.read() or b""
    process.wait()
    process.stderr.close()
    return process.returncode, text.decode(), end - first, None if word is None else end - word


_ORDERLY = ("orderly", "left at once", "before the command had begun")


def _kind(status: int, err: str, number: signal.Signals) -> str:
    noise = next((one for one in _NOISE if one in err), None)
    if status == -number or (noise == "Traceback" and "/kups_relax/" not in err):
        # Python starts, and has no handlers, or its own.
        return "before the command had begun"
    if noise is not None:
        return f"said {noise!r}"
    if status != _STATUS[number]:
        return f"status {status}"
    return "left at once" if "left at once" in err else "orderly"
