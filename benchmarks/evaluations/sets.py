"""Starts, all from seeds. What has an even number is for tuning, what has an odd one is not."""

import dataclasses
from collections.abc import Callable
from typing import Any

import ase
import numpy as np
from ase.build import bulk, molecule
from ase.cluster import Icosahedron
from ase.collections import g2 as g2_collection
from ase.optimize.test.systems import get_systems

import kups_relax as kr
from benchmarks import cases, clusters, periodic

INTERNAL = ("ASE LBFGS", "ASE BFGS", "ASE GoodOldQuasiNewton", "Sella (internal)", "geomeTRIC")
CARTESIAN = ("ASE LBFGS", "ASE BFGS", "ASE GoodOldQuasiNewton")
CELLS = ("ASE LBFGS", "ASE BFGS", "ASE CellAwareBFGS")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Set:
    """Structures, what they are relaxed with, and who relaxes them beside us.

    Attributes:
        structures: Starts.
        calculators: Of each, the name of its potential: "GFN2-xTB", "ASE EMT" or one of ours.
        peers: Who is compared.
        fmax: Threshold, eV/Angstrom.
        limit: Evaluations after which a run has failed.
        cell: How cells change.
    """

    structures: list[ase.Atoms]
    calculators: list[str]
    peers: tuple[str, ...]
    fmax: float = 0.01
    limit: int = 1000
    cell: Any = None


def potential(name: str) -> Any:
    """Make one of our potentials from the name that a set gives it."""
    potentials: dict[str, Callable[[], Any]] = {
        "MMFF94": kr.potentials.MMFF94,
        "EMT": kr.potentials.EMT,
        "LJ": lambda: kr.potentials.LennardJones(epsilon=1.0, sigma=1.0),
        "argon": periodic.argon,
        "argon, all pairs": cases.argon,
        "StillingerWeber": kr.potentials.StillingerWeber,
        "Tersoff Si": lambda: kr.potentials.Tersoff("si-t3"),
    }
    return potentials[name]()


def g2() -> Set:
    """Molecules of at least 3 atoms, rattled by 0.1 A.

    Unpaired electrons are those of the collection's magnetic moments, which GFN2-xTB reads; every
    optimizer has them.
    """
    made = []
    for name in g2_collection.names:
        atoms = g2_collection[name].copy()
        if len(atoms) >= 3:
            atoms.info["id"] = name
            atoms.rattle(0.1, rng=np.random.default_rng([0, *atoms.numbers]))
            made.append(atoms)
    return _with("GFN2-xTB", made, INTERNAL)


def drugs() -> Set:
    """Twenty drug-like molecules of 30 to 60 atoms, as ETKDG embeds them."""
    return _with("GFN2-xTB", _embedded(1), INTERNAL)


def conformers() -> Set:
    """Ten conformers of each of these, MMFF94; halves share no molecule."""
    return _with("MMFF94", _embedded(10), ("ASE LBFGS",))


def ase_test() -> Set:
    """The systems of `ase.optimize.test`, EMT."""
    made = []
    for atoms, label in get_systems():
        atoms.info["id"] = label
        made.append(atoms)
    return _with("ASE EMT", made, CARTESIAN)


def icosahedra() -> Set:
    """Sixteen Cu-Au icosahedra of 147 atoms, EMT."""
    return _with("ASE EMT", clusters.icosahedra(16), CARTESIAN)


def crystals() -> Set:
    """Sixty bulk crystals of 2 to 16 atoms, strained by 3 %, rattled by 0.05 A."""
    kinds: tuple[tuple[str, tuple[tuple[str, str, dict[str, Any]], ...]], ...] = (
        (
            "EMT",
            (
                ("Cu", "fcc", {"a": 3.61}),
                ("Ag", "hcp", {"a": 2.9, "c": 4.8}),
                ("AlNi", "cesiumchloride", {"a": 2.9}),
                ("Au", "fcc", {"a": 4.06}),
                ("CuPd", "cesiumchloride", {"a": 3.0}),
            ),
        ),
        (
            "argon",
            (
                ("Ar", "fcc", {"a": 5.3}),
                ("Ar", "hcp", {"a": 3.75, "c": 6.1}),
            ),
        ),
        ("StillingerWeber", (("Si", "diamond", {"a": 5.43}),)),
        ("Tersoff Si", (("Si", "diamond", {"a": 5.43}),)),
    )
    made, names = [], []
    # Two of a kind follow one another: both halves have as many of each.
    for number in range(60):
        name, lattices = kinds[number // 2 % len(kinds)]
        random = np.random.default_rng(number)
        symbols, lattice, constants = lattices[random.integers(len(lattices))]
        unit = bulk(symbols, lattice, **constants)
        repeats = (0, 0, 0)
        while not 2 <= len(unit) * np.prod(repeats) <= 16:
            repeats = tuple(int(n) for n in random.integers(1, 5, size=3))
        atoms = unit.repeat(repeats)
        strain = random.uniform(-0.03, 0.03, (3, 3))
        deformation = np.eye(3) + (strain + strain.T) / 2
        atoms.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
        atoms.rattle(0.05, rng=random)
        atoms.info["id"] = f"{number} {atoms.symbols} {lattice} {name}"
        made.append(atoms)
        names.append(name)
    return Set(structures=made, calculators=names, peers=CELLS, cell=kr.FrechetCell())


def argon_w1() -> Set:
    """256 random argon clusters of 13 atoms, to 1e-3 eV/A."""
    made = cases.argon_clusters(256, sizes=[13])
    return _with("argon, all pairs", made, ("ASE LBFGS",), fmax=1e-3)


def argon_w2() -> Set:
    """64 random argon clusters of 10 to 60 atoms, to 1e-3 eV/A."""
    made = cases.argon_clusters(64, sizes=range(10, 61))
    return _with("argon, all pairs", made, ("ASE LBFGS",), fmax=1e-3)


def large() -> Set:
    """Four clusters of metal of 309 and 561 atoms, and two of a hundred water molecules."""
    made, names = [], []
    for number in range(4):
        random = np.random.default_rng(number)
        cluster = Icosahedron("Cu", (5, 5, 6, 6)[number])
        cluster.symbols[random.random(len(cluster)) < 0.5] = "Au"
        cluster.set_positions(cluster.positions * 1.06)
        cluster.rattle(0.1, rng=random)
        cluster.info["id"] = f"{number} {cluster.symbols}"
        made.append(cluster)
        names.append("EMT")
    for number in range(2):
        made.append(_water(100, np.random.default_rng(number)))
        made[-1].info["id"] = f"{number} {len(made[-1]) // 3} H2O"
        names.append("MMFF94")
    return Set(structures=made, calculators=names, peers=("ASE LBFGS",))


def water() -> Set:
    """Twelve clusters of 8 and 20 water molecules, MMFF94, on grids, turned at random."""
    made = [_water((8, 20)[k // 2 % 2], np.random.default_rng([1, k])) for k in range(12)]
    return _with("MMFF94", made, ("ASE LBFGS",))


def _water(n: int, random: np.random.Generator) -> ase.Atoms:
    """Molecules on a grid, 3.1 A apart, each turned at random."""
    places = np.array(np.meshgrid(*[range(5)] * 3)).reshape(3, -1).T[:n] * 3.1
    cluster = ase.Atoms()
    for place in places:
        one = molecule("H2O")
        one.euler_rotate(*random.uniform(0, 360, 3), center="COM")
        one.translate(place)
        cluster += one
    return cluster


SETS: dict[str, Callable[[], Set]] = {
    "g2": g2,
    "drugs": drugs,
    "conformers": conformers,
    "ase-test": ase_test,
    "icosahedra": icosahedra,
    "crystals": crystals,
    "argon-w1": argon_w1,
    "argon-w2": argon_w2,
    "water": water,
    "large": large,
}


def _with(name: str, structures: list[ase.Atoms], peers: tuple[str, ...], **options: Any) -> Set:
    return Set(structures=structures, calculators=[name] * len(structures), peers=peers, **options)


def _embedded(n: int) -> list[ase.Atoms]:
    """Conformer by conformer, so that a molecule is in one half with all of its."""
    drugs = cases.DRUGS | cases.MORE_DRUGS
    made = [[] for _ in range(n)]
    for name, smiles in drugs.items():
        mol = cases.conformers(smiles, n)
        numbers = [atom.GetAtomicNum() for atom in mol.GetAtoms()]
        for k, conformer in enumerate(mol.GetConformers()):
            atoms = ase.Atoms(numbers, conformer.GetPositions(), info={"id": f"{name} {k}"})
            made[k].append(atoms)
    return [atoms for conformers in made for atoms in conformers]
