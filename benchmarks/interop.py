"""A store as znh5md, `ase.io.read` and MDAnalysis see it: 300 structures, compared to the bit.

These may be installed elsewhere: READERS="/path/python /other/python" names the interpreters that
check, each what it has; without it, the one that runs this does.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import periodic


def main() -> dict[str, Any]:
    """Write here, read there."""
    _, cases = periodic.of_tests("store_cases", "interop_cases")
    figures: dict[str, Any] = {"structures written": 300}
    with tempfile.TemporaryDirectory() as folder:
        cases.write(Path(folder), 300)
        for interpreter in os.environ.get("READERS", sys.executable).split():
            command = [interpreter, cases.__file__, folder]
            done = subprocess.run(command, capture_output=True, check=True)
            figures |= json.loads(done.stdout)
    for package in cases.READERS:
        figures.setdefault(f"{package} version", "not installed, not checked")
    return figures
