"""Time and memory of stores: many small structures, few large ones, and the price of checks.

Each measurement has a process of its own. The price of checksums and checks is a ratio of medians:
a store with them against one without, written and read alternately.
"""

import contextlib
import dataclasses
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np

from benchmarks import periodic

N_SMALL, N_ATOMS = 100_000, 12
N_DIMERS, N_LARGE = 3_000, 100_000
REPEATS = 5


def main() -> dict[str, Any]:
    """Measure all."""
    figures: dict[str, Any] = {}
    for what in ("ragged", "price"):
        command = [sys.executable, "-m", "benchmarks.stores", what]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        figures |= json.loads(done.stdout)
    return figures


def ragged() -> dict[str, Any]:
    """Read and export 3,000 dimers beside a crystal of 100,000 atoms."""
    import kups_relax as kr

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "ragged.h5")
        sizes = [2] * N_DIMERS
        sizes[N_DIMERS // 2] = N_LARGE
        _write(path, sizes)
        start = time.perf_counter()
        n_read = sum(len(atoms) for atoms in kr.open(path).atoms)
        read = time.perf_counter() - start
        kr.open(path).write(pathlib.Path(folder, "out.extxyz"))
        export = time.perf_counter() - start - read
        n_bytes = path.stat().st_size
    assert n_read == sum(sizes)
    return {
        f"{N_DIMERS - 1} dimers beside {N_LARGE} atoms: read all, s": round(read, 2),
        "the same: export to .extxyz, s": round(export, 2),
        "the same: peak memory of the process, MB": _peak(),
        "the same: size of the store, MB": round(n_bytes / 1e6, 2),
    }


def price() -> dict[str, Any]:
    """Write and read 100,000 small structures, with checksums and checks and without."""
    import kups_relax as kr

    seconds: dict[tuple[bool, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(REPEATS):
            for checked in (True, False):
                path = pathlib.Path(folder, f"{repeat}-{checked}.h5")
                with contextlib.nullcontext() if checked else _unchecked():
                    start = time.perf_counter()
                    _write(path, [N_ATOMS] * N_SMALL)
                    written = time.perf_counter()
                    assert sum(len(atoms) for atoms in kr.open(path).atoms) == N_ATOMS * N_SMALL
                    read = time.perf_counter()
                seconds.setdefault((checked, "write"), []).append(written - start)
                seconds.setdefault((checked, "read"), []).append(read - written)
                path.unlink()
    medians = {key: statistics.median(values) for key, values in seconds.items()}
    both = {c: medians[c, "write"] + medians[c, "read"] for c in (True, False)}
    return {
        f"{N_SMALL} structures of {N_ATOMS} atoms: write, s": round(medians[True, "write"], 2),
        "the same: read all as Atoms, s": round(medians[True, "read"], 2),
        "write with checks / without": round(medians[True, "write"] / medians[False, "write"], 3),
        "read with checks / without": round(medians[True, "read"] / medians[False, "read"], 3),
        "both with checks / without": round(both[True] / both[False], 3),
        "price: peak memory of the process, MB": _peak(),
    }


@contextlib.contextmanager
def _unchecked() -> Iterator[None]:
    """Have stores without checksums, and reads without checks."""
    from kups_relax.store import _file, _layout, _structure

    filters = _layout.filters

    def without(column: Any) -> dict[str, Any]:
        return {**filters(column), "fletcher32": False}

    with (
        mock.patch.object(_layout, "filters", without),
        mock.patch.object(_file, "_check_dataset", return_value=None),
        mock.patch.object(_structure.Structure, "is_whole", return_value=True),
    ):
        yield


def _write(path: pathlib.Path, sizes: list[int]) -> None:
    """Write made-up results as a run does, some thousands at a time."""
    from kups_relax import store

    made = periodic.of_tests("made_stores")[0]
    writer, rng = store.Writer(path), np.random.default_rng(0)
    writer.create({**store.attributes(made.OPTIONS), "complete": False, "n_input": -1})
    one = {}
    for n in set(sizes):
        cube = np.stack(np.unravel_index(np.arange(n), [-int(-(n ** (1 / 3)) // 1)] * 3), axis=1)
        record = made.made_record(0, rng, n_atoms=n)
        one[n] = dataclasses.replace(record, positions=3.6 * cube + rng.uniform(size=(n, 3)))
    for number, n in enumerate(sizes):
        record = dataclasses.replace(one[n], number=number)
        writer.add(store.Row(record, "", b"\1" * 32))
    writer.write(complete=True, n_input=len(sizes))
    writer.close()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000


if __name__ == "__main__":
    print(json.dumps({"ragged": ragged, "price": price}[sys.argv[1]]()))
