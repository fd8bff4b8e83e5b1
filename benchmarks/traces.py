"""Programs traced when second and third batches of the same size classes come."""

from typing import Any

import jax

import kups_relax as kr
from benchmarks import cases
from kups_relax.relaxation import traces


def main() -> dict[str, Any]:
    """Relax three batches of other molecules, and other conformers, of 5 to 100 atoms."""
    jax.clear_caches()  # other benchmarks in this process have traced some of them
    potential = kr.potentials.MMFF94()
    entries = kr.io.structures_from(cases.MOLECULES, seed=2)
    figures: dict[str, Any] = {}
    for k in range(3):
        before = len(traces)
        batch = entries[k::3]
        kr.relax(batch, potential, max_steps=50, progress=False)
        figures[f"new traces in batch {k + 1} ({len(batch)} molecules)"] = len(traces) - before
    return figures
