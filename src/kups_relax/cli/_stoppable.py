"""Input of a run that may be stopped, and what is left of one that was."""

import re
import sys
from pathlib import Path

from kups_relax import errors
from kups_relax.cli._stopping import was_asked
from kups_relax.errors import printable, shell_word
from kups_relax.io import Entry, Stream, store_of


class Stoppable(Stream):
    """Input that ends when the process has been asked to stop.

    A library may swallow the exception of a signal handler, and the run would go on: so the next
    structure raises it again.
    """

    def __next__(self) -> Entry:
        if (stop := was_asked()) is not None:
            raise stop
        return super().__next__()


def what_is_left(output: Path | None) -> str:
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
            # Words behind -- are paths.
            place = words.index("--") if "--" in words else len(words)
            words.insert(place, "--resume")
            again = " ".join(["kups-relax", *map(_word, words)])
            left = f"{path} holds {n_done} finished structures. Go on with: {again}"
    return printable(f"stopped; {left}")


def _word(text: str) -> str:
    """Write an argument as it was given: those that begin with a dash are options."""
    return text if re.fullmatch(r"-[-\w]*", text, re.ASCII) else shell_word(text)
