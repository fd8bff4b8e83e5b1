"""Alone against batched, all bits: LJ, Morse and MMFF94, f64 and f32, 2 to 100 atoms.

With L-BFGS and ASE's, and on fewer structures with line searches.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

import kups_relax as kr
from benchmarks import cases

SIZES, SEARCHED = (2, 3, 5, 20, 60, 120, 500), (2, 3, 5, 20, 60, 200)
SEARCHES = ("lbfgs-backtracking", "lbfgs-zoom")


def main() -> dict[str, Any]:
    """Compare 710 times in each of twelve combinations, 290 times with each search in eight."""
    random = np.random.default_rng(0)
    clusters = cases.argon_clusters(60, sizes=range(2, 101), seed=1)
    molecules = [
        e for e in kr.io.structures_from(cases.MOLECULES, seed=1) if isinstance(e, kr.Structure)
    ]
    molecules = [molecules[i] for i in random.permutation(len(molecules))[:60]]
    argon = {"epsilon": 0.0104, "r0": 3.82, "rho0": 6.0}
    runs = [
        (cases.argon(), clusters, 1e-3),
        (kr.potentials.Morse(**argon), clusters, 1e-3),
        (kr.potentials.MMFF94(), molecules, 0.05),
    ]
    figures: dict[str, Any] = {}
    total = mismatches = 0
    plain = itertools.product(runs, ("float64", "float32"), ("lbfgs", "ase-lbfgs"))
    searching = itertools.product(runs[::2], ("float64", "float32"), SEARCHES)
    for (potential, structures, fmax), dtype, optimizer in itertools.chain(plain, searching):
        # ASE's L-BFGS is slow to converge; its first steps are as good a test.
        steps = 300 if optimizer == "lbfgs" else 40
        count, wrong = compare(
            structures,
            potential,
            random,
            SEARCHED if optimizer in SEARCHES else SIZES,
            optimizer=optimizer,
            dtype=dtype,
            fmax=fmax,
            max_steps=steps,
        )
        figures[f"{potential.name} {dtype} {optimizer}"] = f"{wrong} of {count}"
        print(f"   {potential.name} {dtype} {optimizer}: {wrong} of {count} differ", flush=True)
        total += count
        mismatches += wrong
    return {"comparisons": total, "mismatches": mismatches, **figures}


def compare(
    structures: Sequence[Any],
    potential: Any,
    random: np.random.Generator,
    sizes: Sequence[int] = SIZES,
    **options: Any,
) -> tuple[int, int]:
    """Relax each structure alone, then batches of these sizes drawn with repetition."""
    options["progress"] = False
    alone = [kr.relax([s], potential, **options).fingerprint[0] for s in structures]
    count = wrong = 0
    for size in sizes:
        chosen = random.choice(len(structures), size=size)
        got = kr.relax([structures[i] for i in chosen], potential, **options).fingerprint
        count += size
        wrong += sum(f != alone[i] for i, f in zip(chosen, got, strict=True))
    return count, wrong
