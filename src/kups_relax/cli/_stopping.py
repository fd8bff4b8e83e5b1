"""End a run in good order when somebody asks for it."""

import contextlib
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from kups_relax import errors


class Terminated(BaseException):
    """SIGTERM: a job scheduler, or somebody, wants the process to end soon."""


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Turn SIGTERM into `Terminated`, once: what is saved thereupon is not interrupted again."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def say_stopped(output: Path | None) -> None:
    """Say what is left of a run that was stopped, and how it goes on."""
    from kups_relax import store
    from kups_relax._keep import STORES

    if output is None or output.suffix.lower() not in STORES:
        left = "nothing was written. A store keeps what is finished: -o OUT.h5"
    else:
        try:
            n_done = len(store.Store(output))
        except errors.StoreError:
            left = f"nothing is in {output} yet"
        else:
            words = [w for w in sys.argv[1:] if w not in ("--overwrite", "--resume")]
            again = shlex.join(["kups-relax", *words, "--resume"])
            left = f"{output} holds {n_done} finished structures. Go on with: {again}"
    print(f"kups-relax: stopped; {left}", file=sys.stderr)
