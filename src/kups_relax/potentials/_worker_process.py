"""A process that evaluates structures, and that can be killed."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from typing import Any

import numpy as np

from kups_relax._loaded import serialize
from kups_relax.errors import OptionError, shown
from kups_relax.potentials import _evaluator
from kups_relax.potentials._evaluator import Answer, described

# Seconds for a process to start and to import what the factory needs.
_START = 300.0
# Seconds for a process that was told to end.
_END = 5.0
_PROGRAM = str(pathlib.Path(_evaluator.__file__))
_INTERRUPTED = "the run was interrupted."


class WorkerProcess:
    """An `Evaluator` in a process of its own.

    The process is a fresh interpreter, and no copy of this one: it runs nothing of the user's
    script, which needs no `if __name__ == "__main__"`. It leads a process group of its own, so
    that Ctrl-C in a terminal does not reach it, and so that programs that a calculator started
    are killed with it. After it was killed, or died, the next structure gets a new one.

    Args:
        factory: Makes the calculators; as `pickled` gives it.
        timeout: Seconds for one evaluation. None: no limit.
    """

    def __init__(self, factory: bytes, timeout: float | None) -> None:
        self._factory = factory
        self._timeout = timeout
        self._lock = threading.Lock()
        self._interrupted = False
        self._ready = False
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._start()

    def evaluate(self, atoms: Any, positions: np.ndarray, cell: np.ndarray, stress: bool) -> Answer:
        """See `Evaluator.evaluate`. `atoms` are sent as a copy."""
        try:
            data = None if atoms is None else _pickled(atoms)
        except Exception as error:
            return (
                f"the atoms cannot be sent to a worker process: {described(error)}. Remove what "
                "cannot be pickled from atoms.info, or use workers=0."
            )
        if self._process is None:
            assert atoms is not None, "a structure whose process ended has failed"
            self._start()
        if self._interrupted:
            return _INTERRUPTED
        try:
            return self._answer((data, positions, cell, stress))
        except (EOFError, OSError):
            code = self._end(1.0)
            return _INTERRUPTED if self._interrupted else _how_it_died(code)

    def interrupt(self) -> None:
        """Kill the process: `evaluate`, in another thread, then returns, now and ever after."""
        with self._lock:
            self._interrupted = True
            if self._process is not None:
                _kill(self._process)

    def close(self) -> None:
        """Let the process end, and kill it if it does not."""
        self._end(_END)

    def _start(self) -> None:
        with self._lock:
            if self._interrupted:
                return
            self._connection, theirs = Pipe()
            with theirs:
                # -P: the folder of this package is not to be searched for modules.
                command = [sys.executable, "-P", _PROGRAM, str(theirs.fileno())]
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            # Also when nobody closes this.
            self._finalizer = weakref.finalize(self, _kill_and_wait, self._process)
        self._ready = False
        # A process that died at once is noticed by who waits for its answer.
        with contextlib.suppress(ConnectionError):
            self._connection.send((list(sys.path), self._factory))

    def _answer(self, message: Any) -> Answer:
        connection = self._connection
        assert connection is not None
        if not self._ready:
            if not connection.poll(_START):
                self._end(0)
                return f"a worker process did not start within {_START:g} s; it was killed."
            connection.recv()
            self._ready = True
        connection.send(message)
        if self._timeout is None or connection.poll(self._timeout):
            return connection.recv()
        self._end(0)
        return (
            f"no answer within {self._timeout:g} s; its process was killed. Raise timeout, or "
            "leave the structure out."
        )

    def _end(self, seconds: float) -> int:
        """End the process; kill it if it has not ended by itself within so many seconds.

        Returns:
            Its exit code; negative for a signal.
        """
        with self._lock:
            process, connection = self._process, self._connection
            self._process = self._connection = None
        if process is None or connection is None:
            return 0
        with connection, contextlib.suppress(OSError):
            if seconds:
                connection.send(None)
                connection.poll(seconds)  # until its end is closed, the last that it does
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(min(seconds, 1.0))
        self._finalizer.detach()
        return _kill_and_wait(process)


def pickled(factory: Callable[[], Any]) -> bytes:
    """Serialize a factory, a lambda or a function of a notebook included.

    Raises:
        OptionError: It refers to something that cannot be serialized.
    """
    try:
        return serialize(factory)
    except Exception as error:
        raise OptionError(
            f"the factory {shown(factory)} cannot be sent to worker processes: {described(error)}. "
            "Make what it needs within it, so that each process makes its own, or use workers=0."
        ) from error


def _pickled(value: Any) -> bytes:
    import cloudpickle

    return cloudpickle.dumps(value)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    # Not waited for, so the number is still its own.
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _kill_and_wait(process: "subprocess.Popen[bytes]") -> int:
    _kill(process)
    return process.wait()


def _how_it_died(code: int) -> str:
    how = f"exit code {code}"
    if code < 0:
        with contextlib.suppress(ValueError):
            how = f"signal {signal.Signals(-code).name}"
    return (
        f"its worker process ended by itself ({how}); what it wrote to stderr may say why. Too "
        "little memory and faults in compiled code end processes so. Leave the structure out, or "
        "change the settings of the calculator."
    )
