"""Programs in processes of their own, which can be stopped, and which Ctrl-C does not reach."""

import contextlib
import os
import subprocess
import sys
import threading
import weakref
from multiprocessing.connection import Pipe
from typing import Any

from kups_relax.io import _child

# Seconds for a process to start and to import what it needs.
_START = 300.0

_lock = threading.Lock()


class Workers:
    """The processes that run one program; those without work wait for the next.

    Args:
        program: A file with two functions, which imports nothing of this package: `begin()`
            imports what it needs, `answers(*request)` is an iterator of answers.
    """

    def __init__(self, program: str) -> None:
        self._program = program
        # Newest last, and the process that started them.
        self._idle: list[Worker] = []
        # Those at work. Held here, a connection outlives the generators that use it, in whatever
        # order these are collected: closed twice, its number could be another file's.
        self._busy: set[Worker] = set()
        self._owner = 0

    def take(self) -> "tuple[Worker, bool]":
        """Return a process that is ready for work, and whether it waited for some."""
        with _lock:
            if self._owner != os.getpid():
                # After a fork they are the parent's.
                self._owner = os.getpid()
                self._idle.clear()
                self._busy.clear()
            while self._idle:
                worker = self._idle.pop()
                if worker.is_idle():
                    self._busy.add(worker)
                    return worker, True
        worker = Worker(self._program)
        with _lock:
            self._busy.add(worker)
        return worker, False

    def give_back(self, worker: "Worker") -> None:
        """Let a process wait for more work."""
        with _lock:
            self._busy.discard(worker)
            self._idle.append(worker)

    def end(self, worker: "Worker") -> int | None:
        """End a process at once, and return its exit status."""
        status = worker.kill()
        # Without the lock: a generator may be collected while it is held.
        self._busy.discard(worker)
        return status


class Worker:
    """A process that answers one request after the other."""

    def __init__(self, program: str) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            # -P: the folder of this package is not to be searched for modules.
            command = [sys.executable, "-P", _child.__file__, str(theirs.fileno()), program]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._finalizer = weakref.finalize(self, _kill, self._process, os.getpid())
        self._ready = False
        with contextlib.suppress(ConnectionError):
            self._connection.send(list(sys.path))

    def ask(self, message: Any) -> None:
        """Send a request, once the process is ready.

        Raises:
            EOFError: The process has ended.
            OSError: The process has ended.
        """
        if not self._ready:
            if not self._connection.poll(_START):
                raise EOFError
            self._connection.recv()
            self._ready = True
        self._connection.send(message)

    def answer(self, seconds: float | None = None) -> Any:
        """Wait for the next answer.

        Args:
            seconds: For how long; None: as long as the process lives.

        Raises:
            TimeoutError: There was none in time.
            EOFError: The process has ended.
            OSError: The process has ended.
        """
        if not self._connection.poll(seconds):
            raise TimeoutError
        return self._connection.recv()

    def is_idle(self) -> bool:
        """Say whether it waits for work."""
        with contextlib.suppress(OSError):
            return not self._connection.poll()
        return False

    def kill(self) -> int | None:
        """End it at once, and return its exit status."""
        self._connection.close()
        self._finalizer()
        return self._process.returncode


def _kill(process: "subprocess.Popen[bytes]", owner: int) -> None:
    # A child that was forked from the owner has a copy of this.
    if os.getpid() == owner:
        process.kill()
        process.wait()
