"""Main loop of the processes of `Workers`: one program answers request after request.

The process runs this file by its path. It imports neither the rest of the package nor JAX, so that
it is there in half a second.
"""

import importlib.util
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from types import ModuleType

# Seconds without anything to do after which a process ends.
_IDLE = 60.0


def main(connection: Connection, program: str) -> None:
    """Answer what comes through a connection, until it is closed or nothing comes any more."""
    # RDKit's own handler would cut an embedding short, and RDKit try other coordinates.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        sys.path[:] = connection.recv()
        module = _loaded(program)
        module.begin()
        connection.send(None)
        while connection.poll(_IDLE):
            for answer in module.answers(*connection.recv()):
                connection.send(answer)
    except (EOFError, ConnectionError):
        return


def _loaded(program: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("program", program)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _end_with_parent(parent: int) -> None:
    """End at once with the parent, busy or not."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])), sys.argv[2])
