"""Relax molecules with GFN2-xTB, two at a time, in processes of their own.

Run it with OMP_NUM_THREADS=1 in the environment: two workers are parallel enough.
"""

from ase.build import molecule

import kups_relax as kr


def calculator():
    """Make a calculator; each structure gets its own."""
    from tblite.ase import TBLite

    return TBLite(method="GFN2-xTB", verbosity=0)


names = ["H2O", "NH3", "CH3OH", "CH3CHO", "C2H6", "HCOOH", "CH3NO2", "C6H6"]
structures = [molecule(name) for name in names]
for name, atoms in zip(names, structures, strict=True):
    atoms.info["id"] = name
    atoms.rattle(0.05, seed=len(atoms))

xtb = kr.potentials.AseCalculator(calculator, workers=2, timeout=60)
result = kr.relax(structures, xtb, fmax=0.01)

for name, energy, n_steps, status in zip(
    result.ids, result.energy, result.n_steps, result.status, strict=True
):
    print(f"{name:8s} {energy:12.4f} eV  {n_steps:3d} steps  {status}")
print(result)
