"""End a run in good order when somebody asks for it."""

import contextlib
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from kups_relax import errors
from kups_relax.io import Entry, Stream, store_of


class Terminated(BaseException):
    """SIGTERM: a job scheduler, or somebody, wants the process to end soon."""


class Stoppable(Stream):
    """Input that ends when the process has been asked to stop.

    Python drops an exception of a signal handler that is raised in a callback of the garbage
    collector, and the run would go on: so the next structure raises it again.
    """

    asked: BaseException | None = None

    def __next__(self) -> Entry:
        if self.asked is not None:
            raise self.asked
        return super().__next__()


@contextlib.contextmanager
def stopping(stream: Stoppable) -> Iterator[None]:
    """Turn SIGTERM into `Terminated`, and SIGINT into KeyboardInterrupt, also where it gets lost.

    SIGTERM counts once: what is saved thereupon is not interrupted again.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, *_: Any) -> NoReturn:
        if number == signal.SIGTERM:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stream.asked = Terminated() if number == signal.SIGTERM else KeyboardInterrupt()
        raise stream.asked

    before = {n: signal.signal(n, stop) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave(status: int) -> NoReturn:
    """End the process, of which all that matters is saved, whatever its threads are doing.

    Python, until 3.14, unwinds the engine's threads where they next ask for the interpreter. Those
    that compute in XLA would abort the process: "FATAL: exception not rethrown".

    Args:
        status: Exit status.
    """
    engine = sys.modules.get("kups_relax.relaxation")
    if engine is None or all(thread.name != engine.THREAD for thread in threading.enumerate()):
        sys.exit(status)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def say_stopped(output: Path | None) -> None:
    """Say what is left of a run that was stopped, and how it goes on."""
    from kups_relax import store

    if output is None:
        left = "nothing was written. An output keeps what is finished: -o OUT.h5, or OUT.extxyz"
    else:
        path = store_of(output)
        try:
            n_done = len(store.Store(path))
        except errors.StoreError:
            left = f"nothing is in {path} yet"
        else:
            words = [w for w in sys.argv[1:] if w not in ("--overwrite", "--resume")]
            again = shlex.join(["kups-relax", *words, "--resume"])
            left = f"{path} holds {n_done} finished structures. Go on with: {again}"
    print(f"kups-relax: stopped; {left}", file=sys.stderr)
