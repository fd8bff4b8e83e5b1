"""Write crystals of metals and alloys as CIF files: real prototypes, cells a few per cent off."""

import pathlib
import sys

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal

METALS = {"Al": 4.05, "Cu": 3.61, "Ag": 4.09, "Au": 4.08, "Ni": 3.52, "Pd": 3.89, "Pt": 3.92}
# Copper and gold, ordered: Strukturbericht L1_2 twice, and L1_0.
ORDERED = {"Cu3Au": ("Au", "Cu", 3.75), "Au3Cu": ("Cu", "Au", 3.98)}


def crystals(seed: int = 0) -> dict[str, Atoms]:
    """Seven metals and five alloys, strained by 2 % and rattled."""
    random = np.random.default_rng(seed)
    structures = {metal: bulk(metal, "fcc", a=a, cubic=True) for metal, a in METALS.items()}
    for name, (corner, face, a) in ORDERED.items():
        structures[name] = crystal(
            [corner, face], [(0, 0, 0), (0, 0.5, 0.5)], spacegroup=221, cellpar=[a] * 3 + [90] * 3
        )
    for name, a, c in (("CuAu", 3.96, 3.67), ("NiPt", 3.81, 3.59), ("AgPd", 3.9, 4.1)):
        one, other = name[:2], name[2:]
        structures[name] = crystal(
            [one, other],
            [(0, 0, 0), (0.5, 0.5, 0.5)],
            spacegroup=123,
            cellpar=[a / 2**0.5, a / 2**0.5, c, 90, 90, 90],
        )
    for atoms in structures.values():
        strain = np.eye(3) + 0.02 * random.standard_normal((3, 3))
        atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        atoms.rattle(0.05, rng=random)
    return structures


def write(folder: pathlib.Path, seed: int = 0) -> None:
    """Write one CIF file for each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, atoms in crystals(seed).items():
        atoms.write(folder / f"{name}.cif")


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "crystals"))
