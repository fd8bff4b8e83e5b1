"""Relax the conformers of a set of real molecules, and check that batching changed nothing.

Run it with `make demo`, or `python examples/demo.py [SMILES or SDF file] [conformers]`.
"""

import pathlib
import sys
import time

import numpy as np

import kups_relax as kr
from kups_relax.cli import format_table

HERE = pathlib.Path(__file__).parent


def main(molecules: str, n_conformers: int, output: pathlib.Path) -> int:
    """Relax, show, write, verify; return the exit status."""
    potential = kr.potentials.MMFF94()
    start = time.perf_counter()
    structures = kr.io.structures_from(molecules, n_conformers=n_conformers)
    print(f"{len(structures)} structures read in {time.perf_counter() - start:.1f} s")

    start = time.perf_counter()
    result = kr.relax(structures, potential, output=output, overwrite=True, progress=True)
    seconds = time.perf_counter() - start
    print(format_table(result))
    print(
        f"{result.converged.sum()} of {len(result)} structures converged, "
        f"{result.n_steps.sum()} steps in {seconds:.1f} s; written to {output}"
    )

    sample = [structures[i] for i in np.linspace(0, len(structures) - 1, 24).astype(int)]
    print("relaxing a sample alone and in random batches ...")
    report = kr.verify(sample, potential, draws=12)
    print(report)
    return 0 if report.ok and result.converged.all() else 1


if __name__ == "__main__":
    source = sys.argv[1] if len(sys.argv) > 1 else str(HERE / "molecules.smi")
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    folder = pathlib.Path("out")
    folder.mkdir(exist_ok=True)
    sys.exit(main(source, count, folder / "relaxed.sdf"))
