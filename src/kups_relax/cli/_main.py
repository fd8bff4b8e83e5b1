"""The console script. Signals are handled before anything slow is imported."""

import errno
import sys
from typing import NoReturn

from kups_relax._threads import end_process
from kups_relax.cli._stopping import (
    Terminated,
    ignore_signals,
    last_words,
    listening,
    status_of,
    was_asked,
)


def main() -> NoReturn:
    """Run the command and end the process with its status.

    The process ends without Python's own shutdown, which a signal or a thread at work in XLA would
    turn into a traceback or an abort. Standard output and error are flushed.
    """
    with listening():
        try:
            from kups_relax.cli._app import run

            status = run()
        except (Exception, KeyboardInterrupt, Terminated) as error:
            # While it is imported, a library makes errors of its own of an interrupt.
            stop = was_asked() or error
            if not isinstance(stop, KeyboardInterrupt | Terminated):
                raise
            print(f"kups-relax: {last_words()}", file=sys.stderr)
            status = status_of(stop)
        ignore_signals()
        end_process(_flushed(status))


def _flushed(status: int) -> int:
    """Return the status, or another one where standard output cannot be written."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # A reader that has seen enough, such as `head`, has no use for a message.
        if error.errno != errno.EPIPE:
            print(f"kups-relax: standard output cannot be written: {error}", file=sys.stderr)
            return 2
        return max(status, 1)
    return status
