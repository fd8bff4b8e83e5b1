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
from kups_relax._threads import at_work, end_process
from kups_relax.io import Entry, Stream, store_of


class Terminated(BaseException):
    """SIGTERM: a job scheduler, or somebody, wants the process to end soon."""


class Stoppable(Stream):
    """Input that ends when the process has been asked to stop.

    Python drops an exception of a signal handler that is raised in a callback of the garbage
    collector, and the run would go on: so the next structure raises it again.
    """

    def __next__(self) -> Entry:
        if _asked is not None:
            raise _asked
        return super().__next__()


# What the process was asked to end with.
_asked: BaseException | None = None


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Turn SIGINT into KeyboardInterrupt and SIGTERM into `Terminated`; a second SIGINT ends all.

    Also where the parent has SIGINT ignored, as shells do for what they start in the background:
    whoever sends it to a command wants it to stop. SIGTERM counts once: what is saved thereupon is
    not interrupted again.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.signal(n, _stop) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _forget()


def was_asked() -> BaseException | None:
    """Return what the process was asked to end with, by a signal; None where it was not."""
    return _asked


def _stop(number: int, *_: Any) -> None:
    global _asked
    if number == signal.SIGTERM:
        if _asked is None:
            _asked = Terminated()
            raise _asked
        return
    if _asked is None:
        _asked = KeyboardInterrupt()
        _say("stopping; saving what is finished; Ctrl-C again to leave at once")
        raise _asked
    # A store is whole at any moment. What the engine's threads are doing nobody waits for.
    _say("left at once")
    os._exit(128 + signal.SIGINT)


def _forget() -> None:
    global _asked
    _asked = None


def _say(text: str) -> None:
    # Not by `sys.stderr`, in the middle of whose work the signal may have come.
    with contextlib.suppress(OSError):
        os.write(2, f"\nkups-relax: {text}\n".encode())


def leave(status: int) -> NoReturn:
    """End the process, of which all that matters is saved, whatever its threads are doing.

    Args:
        status: Exit status.
    """
    # Another signal may come at any moment, and would be a traceback of Python's own end.
    if _asked is not None or at_work():
        end_process(status)
    sys.exit(status)


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
