"""Structures that carry whatever users may put into info, arrays, ids, and constraints."""

import collections
import datetime
import decimal
import enum
import fractions
import pathlib
import random
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
from ase import Atoms, constraints
from ase.build import molecule
from ase.spacegroup import Spacegroup

import kups_relax as kr

SIGMA = 3.40
N_ATOMS = 3
TEXTS = (
    "", " ", "007", "1e5", "T", "nan", "None", "_JSON 1", "_JSON {", "two\nlines", "car\rriage",
    "a\0b", "half \ud800", "line \u2028 end", "\x85", "tab\there", "[1, 2", "{", "a=b",
    "quote \" ' `", "back\\slash", "$$$$", "> <x>", "x\n\ny", "#", "data_x", ";", "ünïcode 🎉",
    "x" * 5000, "a,b", " padded ", "\ufeff", "M  END", "\x1b[31m",
)  # fmt: skip
KEYS = (
    "k", "key with blanks", "", " ", "a=b", 'q"uote', "new\nline", "half \ud800", "ünïcode",
    "x" * 300, "Lattice", "lattice", "Properties", "pbc", "energy", "free_energy", "energies",
    "forces", "stress", "magmom", "dipole", "charges", "positions", "pos", "species", "numbers",
    "move_mask", "virial",
    "REF_energy", "name", "status", "converged", "fmax", "n_steps", "reason", "unique_id", "data",
    "key_value_pairs", "energy_eV", "_Name", "$$$$", "> <x>", "[a]", "_JSON", "cell", "comment",
    "7", "\0", "tags", "structure_id", "calculator", "constraints",
    7, -1, 10**5000, 2.5, None, True, (1, 2), b"bytes", frozenset([1]), np.int64(3),
    np.str_("text"),
)  # fmt: skip
ARRAYS = (
    "k", "with blank", "a:b", "a=b", 'q"', "", "ünï", "half \ud800", "forces", "magmoms", "charges",
    "energies", "pos", "species", "symbols", "Z", "move_mask", "cell", "tags", "masses", "momenta",
    "initial_charges", "initial_magmoms", "velo", "new\nline", "stresses", "numbers_", "pos0",
)  # fmt: skip


class Colour(enum.Enum):
    """A class of the user's own."""

    RED = 1


class Odd:
    """An object that cannot even be looked at."""

    def __repr__(self) -> str:
        raise RuntimeError("not to be shown")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not to be compared")

    __hash__ = None  # pyright: ignore


class Own(constraints.FixConstraint):
    """A constraint that ASE does not know."""

    def todict(self) -> dict[str, Any]:
        """Follow the contract of ASE's constraints."""
        return {"name": "Own", "kwargs": {}}


class Mute(constraints.FixConstraint):
    """A constraint that cannot be written down."""

    def todict(self) -> dict[str, Any]:
        """Follow the contract of ASE's constraints."""
        raise NotImplementedError

    def adjust_forces(self, atoms: Any, forces: Any) -> None:
        """Follow the contract of ASE's constraints."""
        del atoms, forces


DATES = (
    datetime.datetime(2020, 1, 1),
    datetime.datetime(2020, 1, 1, 1, 1, 1, 5),
    datetime.date(2020, 1, 1),
    datetime.timedelta(1),
)
OBJECTS = (
    decimal.Decimal(1), fractions.Fraction(1, 3), uuid.UUID(int=1), pathlib.Path("x"), Colour.RED,
    print, len, Atoms, Odd, Odd(), object(),
)  # fmt: skip
CONTAINERS = (
    {1, 2}, frozenset([1]), collections.OrderedDict(a=1), collections.Counter("aab"), {"1": 1},
    {1: "1"}, {(1, 2): 3}, {"__ndarray__": 1}, {"array": [1, 2]}, {}, {1: 1, "1": 2},
)  # fmt: skip
SCALARS = (
    np.float32(0.1), np.int8(3), np.bool_(True), np.str_("007"), np.longdouble(1) / 3,
    np.datetime64("2020-01-01"),
)  # fmt: skip
DTYPES = ("i8", "u1", "f4", ">f8", "f2", "c16", "?", "S1", "U2", "O")


def structures(n: int, seed: int = 0) -> list[kr.Structure]:
    """Clusters of three argon atoms, every fifth of them plain, half of them in a cell."""
    from rdkit import Chem

    topology = Chem.MolFromSmiles(".".join(["[Ar]"] * N_ATOMS))
    found = []
    for i in range(n):
        draw = random.Random(f"{seed} {i}")
        atoms = _cluster(draw)
        label = f"odd-{i}"
        if i % 5:
            for _ in range(draw.randint(1, 4)):
                draw.choice([_put_info, _put_info, _put_array, _put_constraint])(draw, atoms)
            if draw.random() < 0.3:
                label = f"{draw.choice(TEXTS)}{i if draw.random() < 0.8 else ''}"
            if draw.random() < 0.2:
                atoms.info[draw.choice(["id", "ID", "name"])] = value(draw)
        found.append(
            kr.Structure(
                id=label,
                numbers=atoms.numbers.astype(np.int32),
                positions=atoms.positions.copy(),
                cell=atoms.cell.array.copy(),
                pbc=atoms.pbc.copy(),
                topology=topology,
                atoms=atoms,
            )
        )
    return found


def _cluster(draw: random.Random) -> Atoms:
    sides = [SIGMA * draw.uniform(1.0, 1.3) for _ in range(3)]
    points = [[0, 0, 0], [sides[0], 0, 0], [0.1, sides[1], 0.05 * sides[2]]]
    atoms = Atoms(f"Ar{N_ATOMS}", points)
    if draw.random() < 0.5:
        atoms.set_cell([[20.0, 0, 0], [1.0, 19.5, 0], [0.3, 0.7, 21.0]])
        atoms.pbc = draw.choice([True, True, [True, True, False]])
    return atoms


def _put_info(draw: random.Random, atoms: Atoms) -> None:
    atoms.info[draw.choice(KEYS)] = value(draw)


def _put_array(draw: random.Random, atoms: Atoms) -> None:
    n = len(atoms)
    rng = np.random.default_rng(draw.getrandbits(32))
    makers: list[Callable[[], Any]] = [
        lambda: rng.normal(size=n),
        lambda: rng.normal(size=(n, 3)),
        lambda: rng.normal(size=(n, 1)),
        lambda: rng.normal(size=(n, 2, 2)),
        lambda: rng.normal(size=(n, 0)),
        lambda: rng.normal(size=n).astype(np.float32),
        lambda: rng.normal(size=n).astype(">f8"),
        lambda: rng.normal(size=n).astype(np.longdouble) / 3,
        lambda: np.arange(n) + 2**40,
        lambda: np.arange(n).astype(np.uint64) + np.uint64(2**63),
        lambda: np.arange(n).astype(np.int8),
        lambda: np.array([True, False, True]),
        lambda: np.array(["CA", "", "two words"]),
        lambda: np.array(["CA", "β", "C\n"]),
        lambda: np.array([b"a", b"b", b"c"]),
        lambda: np.array([None, "x", 1.5], object),
        lambda: np.array([{}, [], ()], object),
        lambda: np.arange(n) * 1j,
        lambda: np.array(["2020-01-01"] * n, "M8[D]"),
        lambda: np.zeros(n, [("a", "f8"), ("b", "i4")]),
        lambda: np.ma.masked_array(np.arange(n), [True, False, False]),
        lambda: np.array([np.nan, -0.0, np.inf]),
        lambda: np.zeros(n + 2),
        lambda: np.zeros(0),
        lambda: np.array(1.0),
    ]
    # As users do it who know that the dict is there: nothing is checked.
    atoms.arrays[draw.choice(ARRAYS)] = draw.choice(makers)()


def _put_constraint(draw: random.Random, atoms: Atoms) -> None:
    c = constraints
    makers: list[Callable[[], Any]] = [
        lambda: c.FixAtoms([0]),
        lambda: c.FixAtoms([-1]),
        lambda: c.FixAtoms([]),
        lambda: c.FixAtoms(mask=[True, False, False]),
        lambda: c.FixCartesian([0, 1], [True, False, True]),
        lambda: c.FixCartesian(2, [False, False, False]),
        lambda: c.FixScaled([0], [True, False, False]),
        lambda: c.FixedLine(0, [1, 2, 3]),
        lambda: c.FixedPlane([0, 1], [0, 0, 1]),
        c.FixCom,
        lambda: c.Hookean(0, 1, 5.0, rt=3.0),
        lambda: c.Hookean(0, (1.0, 0.0, 0.0), 5.0, rt=3.0),
        lambda: c.FixBondLengths([[0, 1]]),
        lambda: c.FixLinearTriatomic([(0, 1, 2)]),
        lambda: c.ExternalForce(0, 1, 0.5),
        lambda: c.FixInternals(bonds=[[3.5, [0, 1]]]),
        lambda: c.FixedMode(np.ones((len(atoms), 3))),
        Own,
        Mute,
    ]
    atoms.constraints = [*atoms.constraints, draw.choice(makers)()]


def value(draw: random.Random, depth: int = 0) -> Any:
    """One of the things that somebody has put into info."""
    rng = np.random.default_rng(draw.getrandbits(32))
    makers: list[Callable[[], Any]] = [
        lambda: draw.choice(TEXTS),
        lambda: draw.choice(TEXTS),
        lambda: draw.choice([None, True, False, 0, 1, -7, 2**40, 2**70, 10**5000, -(2**63)]),
        lambda: draw.choice([0.1, -0.0, float("nan"), float("inf"), 5e-324, 1e308, 3.0]),
        lambda: draw.choice([1 - 2j, b"", b"\x00\xff", range(3), slice(1), ..., NotImplemented]),
        lambda: draw.choice(DATES),
        lambda: draw.choice(OBJECTS),
        lambda: draw.choice(CONTAINERS),
        lambda: draw.choice(SCALARS),
        lambda: rng.normal(size=draw.choice([0, 1, 3, 9])),
        lambda: rng.normal(size=draw.choice([(3, 3), (2, 2), (0, 3), (1, 1), ()])),
        lambda: np.arange(3).astype(draw.choice(DTYPES)),
        lambda: np.zeros(2, draw.choice(["V3", [("a", "f8")], "M8[Y]", "U3", "S0"])),
        lambda: np.ma.masked_array([1.0, 2.0], [True, False]),
        lambda: np.array([10**30, None], object),
        lambda: draw.choice(
            [molecule("H2O"), Atoms(), Atoms(cell=[1, 2, 3]).cell, Spacegroup(225)]
        ),
        _loop,
        _deep,
    ]
    if depth < 2:
        makers += [
            lambda: [value(draw, depth + 1) for _ in range(draw.randint(0, 3))],
            lambda: tuple(value(draw, depth + 1) for _ in range(draw.randint(1, 2))),
            lambda: {draw.choice(["a", 1, "é", "2"]): value(draw, depth + 1) for _ in range(2)},
        ] * 2
    return draw.choice(makers)()


def _loop() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


def _deep() -> list[Any]:
    deep: list[Any] = []
    for _ in range(400):
        deep = [deep]
    return deep
