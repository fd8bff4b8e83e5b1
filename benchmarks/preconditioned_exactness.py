"""Alone against batched, all bits, of `preconditioned`: molecules, clusters and moving cells."""

import itertools
import tempfile
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.build import bulk

import kups_relax as kr
from benchmarks import cases, periodic
from benchmarks.exactness import compare
from kups_relax.internals import _guide

# Of 3 to 8 atoms, of one class: straight ones, planar ones and a dimer are among them.
SMALL = "O C N CO C#N C=O CC C#C OO O=C=O NN CN C=C CC#N C=C=C CC#C CC=O O.O NC=O OC=O CS CF"
# As molecules of more than 512 atoms are solved for: by conjugate gradients.
NO_MATRIX, MOST_DENSE = "molecules, no matrix", _guide.MOST_DENSE
SIZES = (2, 3, 5, 20, 60, 120)


def main() -> dict[str, Any]:
    """Compare 210 times in each of the eight combinations, which are a program each."""
    random = np.random.default_rng(0)
    runs = [
        ("molecules", kr.potentials.MMFF94(), _molecules(), {"fmax": 0.01}),
        (NO_MATRIX, kr.potentials.MMFF94(), _molecules(), {"fmax": 0.01}),
        ("clusters", cases.argon(), _clusters(), {"fmax": 1e-3}),
        ("copper, moving cells", kr.potentials.EMT(), _copper(), {"cell": "frechet"}),
    ]
    figures: dict[str, Any] = {}
    total = mismatches = 0
    for (name, potential, structures, options), dtype in itertools.product(
        runs, ("float64", "float32")
    ):
        _guide.MOST_DENSE = {True: 2} if name == NO_MATRIX else MOST_DENSE
        count, wrong = compare(
            structures,
            potential,
            random,
            SIZES,
            optimizer="preconditioned",
            dtype=dtype,
            max_steps=100,
            **options,
        )
        figures[f"{name} {dtype}"] = f"{wrong} of {count}"
        print(f"   {name} {dtype}: {wrong} of {count} differ", flush=True)
        total += count
        mismatches += wrong
    return {"comparisons": total, "mismatches": mismatches, **figures}


def _molecules() -> list[Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "small.smi")
        path.write_text("\n".join(f"{smiles} {smiles}" for smiles in SMALL.split()))
        return kr.io.structures_from(str(path), seed=1)


def _clusters() -> list[ase.Atoms]:
    """Loose ones, whose atoms do not count as bonded."""
    clusters = cases.argon_clusters(16, sizes=range(2, 9), seed=1)
    for atoms in clusters:
        atoms.positions *= 1.4
    return clusters


def _copper() -> list[ase.Atoms]:
    return [_crystal("Cu", seed, strain=0.05) for seed in range(12)]


def _crystal(symbol: str, seed: int, strain: float) -> ase.Atoms:
    random = np.random.default_rng(seed)
    atoms = bulk(symbol, cubic=True)
    atoms.rattle(0.12, rng=random)
    periodic.deformed(atoms, random, strain=strain, shear=strain / 2)
    atoms.info["id"] = f"{symbol} {seed}"
    return atoms
