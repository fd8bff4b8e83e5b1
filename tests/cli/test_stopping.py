"""Signals at moments that real ones rarely meet: none of these processes imports anything slow."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kups_relax import _threads

# A signal comes while the command is imported, and takes long.
IMPORTING = """
import os, signal, sys, time
from kups_relax.cli import main

class Slow:
    @staticmethod
    def find_spec(name, *_):
        if name == "kups_relax.cli._app":
            os.kill(os.getpid(), signal.{name})
            time.sleep(60)

sys.meta_path.insert(0, Slow)
main()
"""
# A signal comes within a callback, whose exceptions Python drops; the main thread waits for ever.
DROPPED = """
import gc, os, signal, sys, threading
from kups_relax.cli import _main, _stopping

def collected(*_):
    gc.callbacks.clear()
    os.kill(os.getpid(), signal.{name})
    threading.Event().wait(0.01)

class App:
    @staticmethod
    def run():
        _stopping.begin(lambda: "stopped; so it is")
        gc.callbacks.append(collected)
        gc.collect()
        threading.Event().wait(60)

sys.modules["kups_relax.cli._app"] = App
_main.main()
"""
# A library swallows the exception and goes on.
SWALLOWED = """
import os, signal, sys, time
from kups_relax.cli import _main, _stopping

class App:
    @staticmethod
    def run():
        _stopping.begin()
        try:
            os.kill(os.getpid(), signal.{name})
            time.sleep(60)
        except BaseException:
            time.sleep(60)

_stopping._PATIENCE = 0.2
sys.modules["kups_relax.cli._app"] = App
_main.main()
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    ("program", "last"),
    [
        (IMPORTING, "kups-relax: stopped"),
        (DROPPED, "kups-relax: stopped; so it is"),
        (SWALLOWED, "did not end in time. Go on with --resume"),
    ],
    ids=["importing", "dropped", "swallowed"],
)
def test_the_command_says_one_thing_and_ends(program: str, last: str, name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program.format(name=name)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 128 + signal.Signals[name], done.stderr
    lines = [line for line in done.stderr.splitlines() if line]
    assert all(line.startswith("kups-relax: stop") for line in lines), done.stderr
    assert lines[-1].endswith(last)


def test_nobody_waits_for_threads_longer_than_is_said() -> None:
    event = threading.Event()
    threads = [threading.Thread(target=event.wait, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        _threads.join_all(threads, 0.05)
        assert all(thread.is_alive() for thread in threads)
    finally:
        event.set()
    _threads.join_all(threads, float("inf"))
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no file that is always full")
def test_output_that_cannot_be_written_is_said_at_the_end() -> None:
    program = (
        "import sys\n"
        "from kups_relax.cli import _main\n"
        "class App:\n"
        "    run = staticmethod(lambda: print('x') or 0)\n"
        "sys.modules['kups_relax.cli._app'] = App\n"
        "_main.main()\n"
    )
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "PYTHONUNBUFFERED": ""},
        )
    assert done.returncode == 2
    assert done.stderr.startswith("kups-relax: standard output cannot be written: ")
