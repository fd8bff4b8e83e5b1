"""The first `relax` in a new process, imports and compilation included."""

import json
import subprocess
import sys
from typing import Any

import numpy as np

SCRIPT = """
import json, sys, time
import kups_relax as kr
from benchmarks import cases
entries = kr.io.structures_from(cases.MOLECULES)
sizes = sorted({c for c in (16, 24, 32, 48, 64)})
chosen = []
for low, high in zip([8, *sizes[:-1]], sizes):
    chosen += [e for e in entries if low < e.n_atoms <= high][:10]
from kups_relax.testing import count_programs
with count_programs() as programs:
    start = time.perf_counter()
    result = kr.relax(chosen, kr.potentials.MMFF94(), progress=False)
    seconds = time.perf_counter() - start
n_classes = programs.n_traced("_advance")
json.dump([seconds, len(chosen), n_classes, int(result.converged.sum())], sys.stdout)
"""


def main() -> dict[str, Any]:
    """Time three new processes; reading the file is not counted, all else of `relax` is."""
    runs = []
    for _ in range(3):
        out = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True)
        runs.append(json.loads(out.stdout))
    return {
        "seconds, median of 3": float(np.median([r[0] for r in runs])),
        "seconds": [round(r[0], 2) for r in runs],
        "molecules": runs[0][1],
        "size classes": runs[0][2],
        "converged": runs[0][3],
    }
