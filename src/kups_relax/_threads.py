"""The engine's threads: stack to compile in, and an end of the process that they do not abort.

Nothing here imports JAX, so the command can end without loading it.
"""

import atexit
import contextlib
import functools
import math
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

# Name of the threads, for debuggers.
THREAD = "kups_relax"

# Bytes of stack, in which LLVM compiles: users set less for their threads.
_STACK = 16 << 20
_STACK_LOCK = threading.Lock()

# Seconds in which they end, before the process leaves without them.
_LEAVE = 20.0
_threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()

# Seconds between two looks at whether Ctrl-C was dropped.
_LOOK = 0.2
_lost = threading.Event()

# One entry for each write of results under way.
_saving: list[None] = []


def start(thread: threading.Thread) -> None:
    """Start a thread of the engine, with stack enough to compile in.

    If the interpreter ends while the thread is at work, it waits for it: see `_end_threads`.
    """
    _watch_end()
    _threads.add(thread)
    with _STACK_LOCK:
        before = threading.stack_size(_STACK)
        try:
            thread.start()
        finally:
            threading.stack_size(before)


def join(thread: threading.Thread, seconds: float | None = None) -> None:
    """Wait for a thread of the engine; not for one that Ctrl-C has kept from starting."""
    deadline = math.inf if seconds is None else time.monotonic() + seconds
    with contextlib.suppress(RuntimeError):
        while thread.is_alive():
            raise_lost()
            left = deadline - time.monotonic()
            thread.join(max(0.0, min(left, _LOOK)))
            if left <= _LOOK:
                return


def join_all(threads: Iterable[threading.Thread], seconds: float) -> None:
    """Wait for threads of the engine.

    Args:
        threads: Of the engine.
        seconds: For all of them together; inf: until they have ended.
    """
    deadline = time.monotonic() + seconds
    for thread in list(threads):
        left = max(0.0, deadline - time.monotonic())
        join(thread, None if math.isinf(seconds) else left)


@contextlib.contextmanager
def noting_interrupts() -> Iterator[None]:
    """Take note where Python drops a KeyboardInterrupt, so that `raise_lost` can raise it again.

    It does so in callbacks of the garbage collector, and JAX has one: while a large heap is looked
    through, Ctrl-C would do nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _lost.clear()
    before = sys.unraisablehook

    def note(problem: Any) -> None:
        if issubclass(problem.exc_type, KeyboardInterrupt):
            _lost.set()
        else:
            before(problem)

    sys.unraisablehook = note
    try:
        yield
        raise_lost()
    finally:
        sys.unraisablehook = before
        _lost.clear()


def raise_lost() -> None:
    """Raise the KeyboardInterrupt that Python dropped, if there was one.

    Raises:
        KeyboardInterrupt: There was one.
    """
    if _lost.is_set() and threading.current_thread() is threading.main_thread():
        _lost.clear()
        raise KeyboardInterrupt


@contextlib.contextmanager
def saving() -> Iterator[None]:
    """Mark that results are being written: who ends the process gives this some more time."""
    _saving.append(None)
    try:
        yield
    finally:
        _saving.pop()


def is_saving() -> bool:
    """Return whether results are being written."""
    return bool(_saving)


def at_work() -> bool:
    """Return whether a thread of the engine is running."""
    return any(thread.is_alive() for thread in _threads)


def end_process(status: int) -> NoReturn:
    """End the process without waiting for threads; standard output and error are flushed.

    Python, until 3.14, unwinds the engine's threads where they next ask for the interpreter, and
    those that compute in XLA would abort the process: "FATAL: exception not rethrown".

    Args:
        status: Exit status.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status)


@functools.cache
def _watch_end() -> None:
    atexit.register(_end_threads)


def _end_threads() -> None:
    """Wait for the engine's threads before the interpreter ends, for example after Ctrl-C.

    They end after the call that they have under way. Where Ctrl-C ended the program, nobody waits
    for what takes long.
    """
    interrupted = isinstance(getattr(sys, "last_value", None), KeyboardInterrupt)
    with contextlib.suppress(KeyboardInterrupt):
        join_all(_threads, 0.5 if interrupted else _LEAVE)
    if at_work():
        end_process(128 + signal.SIGINT)
