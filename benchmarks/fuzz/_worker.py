"""Process that runs cases of one generator, one after the other, and writes a line for each."""

import importlib
import itertools
import json
import os
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Memory that cases may take beyond what the process has after a first case.
ROOM = 4 << 30
# For which generators the cases are streams that only go forwards.
_streams: dict[tuple[str, int], tuple[int, Iterator[Any]]] = {}


def module_of(generator: str) -> Any:
    """Import a generator: a module of this package, or any other by its whole name."""
    return importlib.import_module(
        generator if "." in generator else f"benchmarks.fuzz.{generator}"
    )


def case(generator: str, seed: int, index: int) -> tuple[str, Callable[[], Any]]:
    """Make one case of a generator.

    Args:
        generator: Module of this package, or its whole name, with `case(seed, index)`, or with
            `cases(seed, n)`, an iterator over the first n cases.
        seed: Decides, with the index alone, what the case is.
        index: From 0.

    Returns:
        A description, and the call that `benchmarks.fuzz._verdict.judge` judges.
    """
    module = module_of(generator)
    if hasattr(module, "case"):
        return module.case(seed, index)
    at, stream = _streams.get((generator, seed), (0, None))
    if stream is None or at > index:
        at, stream = 0, iter(module.cases(seed, sys.maxsize))
    found = next(itertools.islice(stream, index - at, None))
    _streams[generator, seed] = (index + 1, stream)
    return found


def serve(generator: str, seed: int, start: int, stop: int, lines: Any) -> None:
    """Judge cases start .. stop, and write a line of JSON for each."""
    from benchmarks.fuzz._verdict import judge

    module = module_of(generator)
    if hasattr(module, "prepare"):
        module.prepare()
    _limit_memory()
    print(json.dumps({"ready": True}), file=lines, flush=True)
    for index in range(start, stop):
        description, call = case(generator, seed, index)
        print(json.dumps({"begins": index, "case": description[:600]}), file=lines, flush=True)
        found = judge(call)
        record = {"index": index, "kind": found.kind, "text": found.text, "warned": found.warned}
        print(json.dumps(record), file=lines, flush=True)


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * os.sysconf("SC_PAGE_SIZE") + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == "__main__":
    name, first, begin, end = sys.argv[1:]
    # What libraries print must not come between the lines.
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(name, int(first), int(begin), int(end), channel)
