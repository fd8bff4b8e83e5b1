"""Signals that ask the command to stop. Nothing here is slow to import."""

import contextlib
import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from kups_relax._threads import is_saving

# Seconds from a signal to the end of the process, whatever is at work. Schedulers kill after 30,
# containers after 10.
_PATIENCE = 4.0
# The same, while results are being written: to a slow disk that may take longer.
_PATIENCE_TO_SAVE = 20.0
# Seconds between two looks at whether the signal's exception was lost.
_LOOK = 0.1

# What the process was asked to end with.
_asked: BaseException | None = None
# Says what is left of a run that is stopped; None before there is something to save.
_last_words: Callable[[], str] | None = None
# True after Python dropped the exception.
_lost = False


class Terminated(BaseException):
    """SIGTERM: a job scheduler, or somebody, wants the process to end soon."""


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Have SIGINT and SIGTERM end the process, soon and in good order.

    Before `begin` they end it at once. Afterwards SIGINT raises KeyboardInterrupt and SIGTERM
    `Terminated`, in the main thread, once; a second SIGINT ends the process at once, a second
    SIGTERM is ignored, so that what is saved thereupon is not interrupted again. Four seconds after
    the first signal the process ends in any case, for example from within a library's long call; or
    twenty, while results are being written.

    Also where the parent has SIGINT ignored, as shells do for what they start in the background:
    whoever sends it to a command wants it to stop.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = {n: signal.signal(n, _stop) for n in (signal.SIGTERM, signal.SIGINT)}
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    hook = sys.unraisablehook
    sys.unraisablehook = functools.partial(_note_lost, hook)
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(reader, ended), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(wakeup)
        os.close(writer)
        watcher.join()
        os.close(reader)
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)
        _forget()


def begin(last_words: Callable[[], str] = lambda: "stopped") -> None:
    """Have signals raise from now on, since there may be something to save.

    Args:
        last_words: Says what is left, after the command has been stopped.
    """
    global _last_words
    _last_words = last_words


def last_words() -> str:
    """Return what the command says at its end, after it was stopped."""
    return "stopped" if _last_words is None else _last_words()


def was_asked() -> BaseException | None:
    """Return what the process was asked to end with, by a signal; None where it was not."""
    return _asked


def status_of(stop: BaseException) -> int:
    """Return the exit status of a process that was asked to end: 128 and the signal's number."""
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


def ignore_signals() -> None:
    """Ignore further signals: the process is about to end."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)


def _stop(number: int, *_: Any) -> None:
    global _asked, _lost
    if _last_words is None:
        _say("stopped")
        os._exit(128 + number)
    if _asked is None:
        if number == signal.SIGTERM:
            _asked = Terminated()
        else:
            _asked = KeyboardInterrupt()
            _say("stopping; saving what is finished; Ctrl-C again to leave at once")
        raise _asked
    if _lost:
        _lost = False
        raise _asked
    if number == signal.SIGINT:
        # A store is whole at any moment. What the engine's threads are doing nobody waits for.
        _say("left at once")
        os._exit(128 + number)


def _note_lost(hook: Callable[[Any], object], problem: Any) -> None:
    """Take note where Python drops the exception, as in a callback of the garbage collector."""
    global _lost
    if _asked is None:
        hook(problem)
    elif problem.exc_value is _asked:
        _lost = True


def _watch(reader: int, ended: threading.Event) -> None:
    """Wait for a signal, and then for the end of the process, but not for ever."""
    first = os.read(reader, 1)
    if not first:
        return
    begun = time.monotonic()
    while not ended.wait(_LOOK):
        if _lost:
            # Python calls the handler once more, and what waits in the main thread wakes up.
            signal.pthread_kill(threading.main_thread().ident or 0, first[0])
        if time.monotonic() - begun > (_PATIENCE_TO_SAVE if is_saving() else _PATIENCE):
            _say("stopped; what was at work did not end in time. Go on with --resume")
            os._exit(128 + first[0])


def _forget() -> None:
    global _asked, _last_words, _lost
    _asked, _last_words, _lost = None, None, False


def _say(text: str) -> None:
    # Not by `sys.stderr`, in the middle of whose work the signal may have come.
    with contextlib.suppress(OSError):
        os.write(2, f"\nkups-relax: {text}\n".encode())
