"""Programs traced when second and third batches of the same size classes come."""

from typing import Any

import jax

import kups_relax as kr
from benchmarks import cases
from kups_relax.testing import count_programs


def main() -> dict[str, Any]:
    """Relax three batches of other molecules, and other conformers, of 5 to 100 atoms."""
    jax.clear_caches()  # other benchmarks in this process have traced some of them
    potential = kr.potentials.MMFF94()
    entries = kr.io.structures_from(cases.MOLECULES, seed=2)
    figures: dict[str, Any] = {}
    for k in range(3):
        batch = entries[k::3]
        with count_programs() as programs:
            kr.relax(batch, potential, max_steps=50, progress=False)
        n_traced = programs.n_traced("_advance")
        figures[f"new traces in batch {k + 1} ({len(batch)} molecules)"] = n_traced
    return figures
