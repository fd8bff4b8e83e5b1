"""Symmetric crystals, distorted within their symmetry: lattices strained, free sites moved."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from ase.spacegroup import crystal

# Angstrom; half the distance of neighbours in the element.
RADII = {
    "Al": 1.43, "Ni": 1.25, "Cu": 1.28, "Pd": 1.38, "Ag": 1.45, "Pt": 1.39, "Au": 1.44,
    "C": 0.77, "Si": 1.18, "Ne": 1.58, "Ar": 1.88, "Kr": 2.00, "Xe": 2.17,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Prototype:
    """A kind of crystal.

    Attributes:
        name: What people call it.
        number: Of its space group.
        sites: From the values of the free coordinates to one site of each kind, fractional.
        shape: b / a, c / a, and the angles alpha, beta, gamma in degrees.
        free: Values of the free coordinates.
    """

    name: str
    number: int
    sites: Callable[..., Sequence[tuple[float, float, float]]]
    shape: tuple[float, float, float, float, float] = (1, 1, 90, 90, 90)
    free: tuple[float, ...] = ()


def _hexagonal(c: float) -> tuple[float, float, float, float, float]:
    return (1, c, 90, 90, 120)


def _tetragonal(c: float) -> tuple[float, float, float, float, float]:
    return (1, c, 90, 90, 90)


_O = (0.0, 0.0, 0.0)
_H = (0.5, 0.5, 0.5)
_Q = (0.25, 0.25, 0.25)

PROTOTYPES = {
    prototype.name: prototype
    for prototype in (
        Prototype("fcc", 225, lambda: [_O]),
        Prototype("bcc", 229, lambda: [_O]),
        Prototype("hcp", 194, lambda: [(1 / 3, 2 / 3, 1 / 4)], _hexagonal(1.63)),
        Prototype("diamond", 227, lambda: [_O]),
        Prototype("lonsdaleite", 194, lambda z: [(1 / 3, 2 / 3, z)], _hexagonal(1.65), (0.0625,)),
        Prototype("graphite", 194, lambda: [(0, 0, 0.25), (1 / 3, 2 / 3, 0.25)], _hexagonal(2.72)),
        Prototype("BC8", 206, lambda x: [(x, x, x)], free=(0.1003,)),
        Prototype("beta tin", 141, lambda: [_O], _tetragonal(0.55)),
        Prototype("rocksalt", 225, lambda: [_O, _H]),
        Prototype("zincblende", 216, lambda: [_O, _Q]),
        Prototype("caesium chloride", 221, lambda: [_O, _H]),
        Prototype(
            "wurtzite",
            186,
            lambda u: [(1 / 3, 2 / 3, 0), (1 / 3, 2 / 3, u)],
            _hexagonal(1.6),
            (0.38,),
        ),
        Prototype("nickel arsenide", 194, lambda: [_O, (1 / 3, 2 / 3, 1 / 4)], _hexagonal(1.39)),
        Prototype("FeSi", 198, lambda x, y: [(x, x, x), (y, y, y)], free=(0.137, 0.842)),
        Prototype("CuAu", 123, lambda: [_O, _H], _tetragonal(1.3)),
        Prototype("Cu3Au", 221, lambda: [_O, (0, 0.5, 0.5)]),
        Prototype("fluorite", 225, lambda: [_O, _Q]),
        Prototype("pyrite", 205, lambda u: [_O, (u, u, u)], free=(0.385,)),
        Prototype("rutile", 136, lambda u: [_O, (u, u, 0)], _tetragonal(0.65), (0.305,)),
        Prototype("anatase", 141, lambda z: [_O, (0, 0, z)], _tetragonal(2.51), (0.208,)),
        Prototype(
            "marcasite", 58, lambda x, y: [_O, (x, y, 0)], (1.22, 0.76, 90, 90, 90), (0.2, 0.378)
        ),
        Prototype("cuprite", 224, lambda: [(0.25, 0.25, 0.25), _O]),
        Prototype("MoSi2", 139, lambda z: [_O, (0, 0, z)], _tetragonal(2.45), (0.333,)),
        Prototype("Al3Ti", 139, lambda: [_O, (0, 0, 0.5), (0, 0.5, 0.25)], _tetragonal(2.23)),
        Prototype(
            "Ni3Sn",
            194,
            lambda x: [(1 / 3, 2 / 3, 1 / 4), (x, 2 * x, 1 / 4)],
            _hexagonal(0.8),
            (0.83,),
        ),
        Prototype("A15", 223, lambda: [_O, (0.25, 0, 0.5)]),
        Prototype("cubic Laves", 227, lambda: [(1 / 8, 1 / 8, 1 / 8), _H]),
        Prototype(
            "hexagonal Laves",
            194,
            lambda z, x: [(1 / 3, 2 / 3, z), _O, (x, 2 * x, 1 / 4)],
            _hexagonal(1.63),
            (0.062, 0.83),
        ),
        Prototype("perovskite", 221, lambda: [_O, _H, (0.5, 0.5, 0)]),
        Prototype("Heusler", 225, lambda: [_O, _H, _Q]),
        Prototype("half Heusler", 216, lambda: [_O, _H, _Q]),
        Prototype("spinel", 227, lambda u: [(1 / 8, 1 / 8, 1 / 8), _H, (u, u, u)], free=(0.2625,)),
        Prototype(
            "quartz",
            152,
            lambda u, x, y, z: [(u, 0, 1 / 3), (x, y, z)],
            _hexagonal(1.1),
            (0.47, 0.4135, 0.267, 0.119),
        ),
        Prototype(
            "cristobalite",
            92,
            lambda u, x, y, z: [(u, u, 0), (x, y, z)],
            _tetragonal(1.39),
            (0.3, 0.239, 0.104, 0.179),
        ),
        Prototype(
            "corundum",
            167,
            lambda z, x: [(0, 0, z), (x, 0, 0.25)],
            _hexagonal(2.73),
            (0.352, 0.306),
        ),
        Prototype(
            "calcite",
            167,
            lambda x: [(0, 0, 0), (0, 0, 0.25), (x, 0, 0.25)],
            _hexagonal(3.42),
            (0.257,),
        ),
        Prototype("skutterudite", 204, lambda y, z: [_Q, (0, y, z)], free=(0.335, 0.158)),
        Prototype(
            "cementite",
            62,
            lambda a, b, c, d, e, f, g: [(a, 0.25, b), (c, d, e), (f, 0.25, g)],
            (1.325, 0.888, 90, 90, 90),
            (0.036, 0.852, 0.186, 0.063, 0.328, 0.89, 0.45),
        ),
        Prototype(
            "orthorhombic",
            19,
            lambda a, b, c, d, e, f: [(a, b, c), (d, e, f)],
            (1.1, 1.25, 90, 90, 90),
            (0.1, 0.2, 0.3, 0.62, 0.57, 0.11),
        ),
        Prototype(
            "monoclinic",
            14,
            lambda a, b, c, d, e, f: [(a, b, c), (d, e, f)],
            (1.04, 1.03, 90, 99, 90),
            (0.275, 0.04, 0.208, 0.07, 0.332, 0.345),
        ),
        Prototype(
            "triclinic",
            2,
            lambda a, b, c, d, e, f: [(a, b, c), (d, e, f)],
            (1.2, 1.4, 83, 98, 105),
            (0.1, 0.2, 0.3, 0.7, 0.6, 0.15),
        ),
    )
}

# Name of the prototype, elements of its sites, and what describes them.
CRYSTALS = (
    ("fcc", "Cu", "emt"),
    ("fcc", "Ar", "lennard-jones"),
    ("bcc", "Pt", "emt"),
    ("hcp", "Ag", "emt"),
    ("hcp", "Ni", "emt"),
    ("hcp", "Kr", "lennard-jones"),
    ("diamond", "Si", "stillinger-weber"),
    ("diamond", "C", "tersoff"),
    ("lonsdaleite", "Si", "stillinger-weber"),
    ("lonsdaleite", "C", "tersoff"),
    ("graphite", "C C", "tersoff"),
    ("BC8", "Si", "tersoff"),
    ("beta tin", "Si", "stillinger-weber"),
    ("rocksalt", "Ne Xe", "lennard-jones"),
    ("rocksalt", "Cu Au", "emt"),
    ("zincblende", "Si C", "tersoff"),
    ("zincblende", "Ni Pt", "emt"),
    ("caesium chloride", "Ni Al", "emt"),
    ("wurtzite", "Si C", "tersoff"),
    ("wurtzite", "Cu Pd", "emt"),
    ("nickel arsenide", "Ne Kr", "lennard-jones"),
    ("FeSi", "Pd Al", "emt"),
    ("CuAu", "Cu Au", "emt"),
    ("Cu3Au", "Au Cu", "emt"),
    ("Cu3Au", "Al Ni", "emt"),
    ("fluorite", "Au Al", "emt"),
    ("pyrite", "Pt Ni", "emt"),
    ("rutile", "Xe Ne", "lennard-jones"),
    ("anatase", "Pd Cu", "emt"),
    ("marcasite", "Au Ni", "emt"),
    ("cuprite", "Ag Cu", "emt"),
    ("MoSi2", "Au Cu", "emt"),
    ("Al3Ti", "Au Al Al", "emt"),
    ("Ni3Sn", "Pt Ni", "emt"),
    ("A15", "Pt Ni", "emt"),
    ("cubic Laves", "Xe Kr", "lennard-jones"),
    ("hexagonal Laves", "Au Cu Cu", "emt"),
    ("perovskite", "Xe Ne Ar", "lennard-jones"),
    ("Heusler", "Al Ni Cu", "emt"),
    ("half Heusler", "Al Pt Ni", "emt"),
    ("spinel", "Al Au Cu", "emt"),
    ("quartz", "Pd Ni", "emt"),
    ("cristobalite", "Xe Ar", "lennard-jones"),
    ("corundum", "Al Cu", "emt"),
    ("calcite", "Pt Ni Cu", "emt"),
    ("skutterudite", "Pt Cu", "emt"),
    ("cementite", "Pd Pd Ni", "emt"),
    ("orthorhombic", "Cu Au", "emt"),
    ("monoclinic", "Al Pt", "emt"),
    ("triclinic", "Ag Ni", "emt"),
)


@dataclasses.dataclass(frozen=True)
class Symmetric:
    """A symmetric crystal.

    Attributes:
        atoms: Primitive cell, all axes periodic; `info["id"]` is the prototype and the elements.
        number: Of its space group.
        potential: "emt", "stillinger-weber", "tersoff" or "lennard-jones".
    """

    atoms: Atoms
    number: int
    potential: str


def _varied(prototype: Prototype, random: np.random.Generator, strain: float) -> list[float]:
    """a, b, c and angles, with the strain that the crystal system leaves."""
    b, c, *angles = prototype.shape
    lengths = np.array([1.0, b, c]) * (1 + strain * random.uniform(-1, 1, 3))
    number = prototype.number
    if number >= 75:  # a and b equal from the tetragonal groups on, all from the cubic ones on
        lengths[1] = lengths[0]
    if number >= 195:
        lengths[2] = lengths[0]
    turns = 90 * strain * random.uniform(-1, 1, 3)
    if number > 2:
        turns[[0, 2]] = 0.0
    if number > 15:
        turns[1] = 0.0
    return [*lengths, *(np.array(angles) + turns)]


def _built(
    prototype: Prototype, elements: Sequence[str], cell: Sequence[float], free: Sequence[float]
) -> Atoms:
    return crystal(
        list(elements),
        prototype.sites(*free),
        spacegroup=prototype.number,
        # diamond and its like have their origin on an atom, spinels on a centre of inversion
        setting=2 if prototype.name in _SECOND_SETTING else 1,
        cellpar=cell,
        primitive_cell=True,
    )


_SECOND_SETTING = ("spinel", "cubic Laves")


def _nearest(atoms: Atoms) -> float:
    """The smallest distance, in sums of radii."""
    reach = 1.3 * atoms.cell.volume ** (1 / 3)
    i, j, distance = neighbor_list("ijd", atoms, reach)
    radii = np.array([RADII[symbol] for symbol in atoms.symbols])
    return float((distance / (radii[i] + radii[j])).min())


def symmetric_crystals(strain: float = 0.02, shift: float = 0.01) -> Iterator[Symmetric]:
    """50 crystals, distorted within their symmetry.

    Args:
        strain: Largest relative change of a lattice constant; angles change by as much of 90 deg.
        shift: Largest change of a free coordinate, fractional.
    """
    for seed, (name, elements, potential) in enumerate(CRYSTALS):
        prototype = PROTOTYPES[name]
        random = np.random.default_rng(seed)
        symbols = elements.split()
        ideal = _built(prototype, symbols, [1, *prototype.shape], prototype.free)
        scale = 1 / _nearest(ideal)
        cell = _varied(prototype, random, strain)
        free = np.array(prototype.free) + shift * random.uniform(-1, 1, len(prototype.free))
        atoms = _built(prototype, symbols, [*(scale * np.array(cell[:3])), *cell[3:]], free)
        plain = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell[:], pbc=True)
        plain.info["id"] = f"{name} {''.join(symbols)}"
        yield Symmetric(plain, prototype.number, potential)
