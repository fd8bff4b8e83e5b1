"""Embed molecules in a process, which can be stopped, and which Ctrl-C does not reach.

RDKit has a handler of its own for SIGINT while it embeds or looks for substructures. It swallows
the signal, and the molecule in work gets other coordinates, or none. In another process it does
not replace Python's handler, and nothing that RDKit does can hold or end this one.
"""

import contextlib
import os
import subprocess
import sys
import threading
import weakref
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import TYPE_CHECKING

from kups_relax.io import _embedder
from kups_relax.io._embedder import Answer

if TYPE_CHECKING:
    from rdkit.Chem import Mol

# Seconds for a process to start and to import RDKit.
_START = 300.0

# Processes without work, newest last, and the process that started them.
_idle: list["_Process"] = []
_lock = threading.Lock()
_owner = 0


class TooSlow(Exception):
    """A molecule took longer than the time limit."""


def embed(mol: "Mol", n_wanted: int, seed: int, seconds: float) -> Answer:
    """Embed a molecule in another process. Ctrl-C ends this at once.

    Args:
        mol: With all hydrogens.
        n_wanted: Number of conformers.
        seed: RDKit's.
        seconds: Time limit.

    Returns:
        (n_made, n_atoms, 3) coordinates, Angstrom; or why there are none.

    Raises:
        TooSlow: The time limit has passed.
    """
    from rdkit import Chem

    data = mol.ToBinary(int(Chem.PropertyPickleOptions.AllProps))
    process = _take()
    status = None
    # One that waits too long ends; it may do so in the moment in which it is taken.
    for one in (process, None) if process else (None,):
        process = one or _Process()
        try:
            answer = process.ask((data, n_wanted, seed), seconds)
        except (EOFError, OSError):
            status = process.kill()
        except BaseException:
            process.kill()
            raise
        else:
            with _lock:
                _idle.append(process)
            return answer
    return f"its process ended by itself (status {status}); expected coordinates"


def _take() -> "_Process | None":
    """Take a process that is idle."""
    global _owner
    with _lock:
        if _owner != os.getpid():
            # After a fork they are the parent's.
            _owner = os.getpid()
            _idle.clear()
        while _idle:
            process = _idle.pop()
            if process.is_idle():
                return process
    return None


class _Process:
    """A process that embeds one molecule after the other."""

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            # -P: the folder of this package is not to be searched for modules.
            command = [sys.executable, "-P", str(Path(_embedder.__file__)), str(theirs.fileno())]
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

    def ask(self, message: tuple[bytes, int, int], seconds: float) -> Answer:
        """Have a molecule embedded; EOFError or OSError where the process has ended."""
        if not self._ready:
            if not self._connection.poll(_START):
                raise EOFError
            self._connection.recv()
            self._ready = True
        self._connection.send(message)
        if not self._connection.poll(seconds):
            raise TooSlow
        return self._connection.recv()

    def is_idle(self) -> bool:
        """Say whether it waits for a molecule."""
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
