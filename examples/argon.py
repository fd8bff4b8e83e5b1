"""Relax argon clusters of many sizes at once, in one call."""

import ase
import numpy as np

import kups_relax as kr

random = np.random.default_rng(0)
grid = np.stack(np.meshgrid(*[np.arange(4.0)] * 3), axis=-1).reshape(-1, 3) * 3.9
clusters = [
    ase.Atoms(f"Ar{n}", random.permutation(grid)[:n] + random.normal(0, 0.2, (n, 3)))
    for n in random.integers(2, 40, size=32)
]

argon = kr.potentials.LennardJones(epsilon=0.0104, sigma=3.40)
result = kr.relax(clusters, argon, fmax=1e-3)

print(result)
for atoms, energy, steps in zip(result.atoms[:5], result.energy, result.n_steps, strict=False):
    print(f"{atoms.get_chemical_formula():6s} {energy:10.6f} eV after {steps} steps")
