"""Peers in processes of their own; those of another interpreter where PEERS names it."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

from ase.io.jsonio import encode

from benchmarks.evaluations import _engines
from benchmarks.evaluations.sets import Set

ASE = ("ASE LBFGS", "ASE BFGS", "ASE GoodOldQuasiNewton", "ASE CellAwareBFGS")
REFERENCE = "ASE LBFGS"
PROCESSES = 2
ROOT = pathlib.Path(__file__).parent.parent.parent


def measure(of: Set, names: list[str]) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """Run peers on a set.

    Returns:
        For each peer that could be run, a row a structure; and the versions of its packages.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    versions: dict[str, str] = {}
    elsewhere = os.environ.get("PEERS")
    for interpreter, chosen in (
        (sys.executable, [name for name in names if name in ASE]),
        (elsewhere, [name for name in names if name not in ASE]),
    ):
        if chosen and interpreter:
            done = _run(interpreter, of, chosen)
            rows |= done["rows"]
            versions = done["versions"] | versions
    return {name: rows[name] for name in names if name in rows}, versions


def _run(interpreter: str, of: Set, names: list[str]) -> dict[str, Any]:
    job = {
        "engines": names,
        "calculators": of.calculators,
        "structures": [encode(atoms) for atoms in of.structures],
        "rules": {"fmax": of.fmax, "limit": of.limit, "cell": of.cell is not None},
        "processes": PROCESSES,
    }
    own = [str(ROOT), str(ROOT / "src")] if interpreter == sys.executable else []
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    with tempfile.TemporaryDirectory() as folder:
        asked, answer = (os.path.join(folder, name) for name in ("asked.json", "answer.json"))
        pathlib.Path(asked).write_text(json.dumps(job))
        environment = {**os.environ, **single, "PYTHONPATH": os.pathsep.join(own)}
        # Its folder, not ours: some write files where they run.
        subprocess.run(
            [interpreter, _engines.__file__, asked, answer],
            env=environment,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        return json.loads(pathlib.Path(answer).read_text())
