"""Atoms of ASE with whatever users, programs and mistakes put into them."""

import random
from collections import UserDict
from collections.abc import Callable
from typing import Any

import ase
import numpy as np
from ase import constraints
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from benchmarks import odd_cases
from kups_relax.data import Structure

NUMBERS = (
    0.0, -0.0, 1e-320, 5e-324, 1e-12, 0.05, 0.1, 1.0, 20.0, 9999.0, 16384.0, 1e8, 9e12, 1e16, 1e100,
    1e154, 1e200, 1.7e308, -1e12, -1e308, float("nan"), float("inf"), -float("inf"),
)  # fmt: skip


class RaisingAtoms(ase.Atoms):
    """Atoms that cannot be copied."""

    def copy(self) -> Any:
        """Raise, as a class of the user's own may."""
        raise RuntimeError("not to be copied")


class LyingAtoms(ase.Atoms):
    """Atoms that say another length than they have."""

    def __len__(self) -> int:
        return 7


class StrangeInfo(UserDict):  # type: ignore[type-arg]
    """A mapping whose keys cannot be listed."""

    def __iter__(self) -> Any:
        raise RuntimeError("no keys today")


class Subclass(ase.Atoms):
    """Atoms with one more argument, and an attribute of their own."""

    def __init__(self, *arguments: Any, extra: int = 3, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.extra = extra


class Failing(Calculator):
    """A calculator that always fails."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 - as ASE declares it

    def calculate(self, *arguments: Any, **options: Any) -> None:
        """Raise."""
        raise RuntimeError("no license")


def odd_atoms(draw: random.Random, most: int) -> tuple[str, ase.Atoms]:
    """Draw Atoms, and zero to four things that are odd about them.

    Args:
        draw: Decides all.
        most: Atoms there may be.

    Returns:
        What was done, and the Atoms.
    """
    name, make = draw.choice(_STARTS)
    atoms = make(draw, most)
    done = [name]
    for _ in range(draw.choice((0, 1, 1, 2, 2, 3, 4))):
        label, change = draw.choice(_CHANGES)
        try:
            changed = change(draw, atoms)
        except Exception as error:  # ASE refuses much of it itself
            done.append(f"{label}: {type(error).__name__}")
            continue
        atoms = changed if isinstance(changed, ase.Atoms) else atoms
        done.append(label)
    return ", ".join(done), atoms


def snapshot(item: Any) -> Any:
    """Return what must be the same after an object was read."""
    if isinstance(item, ase.Atoms):
        arrays = {repr(k): _bits(v) for k, v in item.arrays.items()}
        info = item.info
        keys = [id(v) for v in info.values()] if type(info) is dict else id(info)
        constraints_ = item.constraints
        held = [id(c) for c in constraints_] if type(constraints_) is list else id(constraints_)
        return arrays, _bits(item.cell.array), _bits(item.pbc), keys, held, id(item.calc)
    if isinstance(item, Structure):
        return [(k, _bits(v)) for k, v in vars(item).items() if isinstance(v, np.ndarray)]
    return None


def _bits(array: Any) -> Any:
    if not isinstance(array, np.ndarray):
        return id(array)
    return array.shape, str(array.dtype), array.tobytes() if array.dtype != object else id(array)


def number(draw: random.Random) -> float:
    """Draw a number, usual ones as often as odd ones."""
    return draw.choice(NUMBERS) if draw.random() < 0.5 else draw.uniform(-30, 30)


# Where they begin.


def _cluster(draw: random.Random, most: int) -> ase.Atoms:
    n = draw.randint(1, most)
    rng = np.random.default_rng(draw.getrandbits(32))
    spread = draw.choice((0.0, 0.05, 0.1, 0.5, 3.0, 3.7, 10.0, 1e4))
    positions = np.arange(n)[:, None] * [spread, 0.4 * spread, 0.0] + rng.normal(size=(n, 3)) / 5
    symbols = (
        draw.choice(
            ["Ar"],
        )
        if draw.random() < 0.6
        else draw.choice(("H", "Cu", "Og", "C"))
    )
    return ase.Atoms(f"{symbols}{n}", positions)


def _crystal(draw: random.Random, most: int) -> ase.Atoms:
    kind = draw.choice((("Ar", "fcc", 5.3), ("Cu", "fcc", 3.6), ("NaCl", "rocksalt", 5.6)))
    atoms = bulk(*kind)
    if draw.random() < 0.3 and 2 * len(atoms) <= most:
        atoms = atoms * draw.choice(((2, 1, 1), (1, 1, 2)))
    if draw.random() < 0.5:
        atoms.rattle(0.1, seed=draw.getrandbits(16))
    return atoms


def _molecule(draw: random.Random, most: int) -> ase.Atoms:
    return molecule(draw.choice(("H2O", "CH4", "O2", "NH3", "CO2", "H")))


def _subclass(draw: random.Random, most: int) -> ase.Atoms:
    kind = draw.choice((RaisingAtoms, LyingAtoms, Subclass))
    return kind("Ar2", [[0, 0, 0], [0, 0, 3.8]])


_STARTS: tuple[tuple[str, Callable[[random.Random, int], ase.Atoms]], ...] = (
    ("cluster", _cluster),
    ("cluster", _cluster),
    ("crystal", _crystal),
    ("molecule", _molecule),
    ("subclass", _subclass),
    ("empty", lambda draw, most: ase.Atoms(cell=draw.choice((None, [5, 5, 5])), pbc=True)),
)


# What is odd about them.


def _place(draw: random.Random, atoms: Any) -> None:
    positions = atoms.arrays["positions"]
    positions[draw.randrange(len(positions)), draw.randrange(3)] = number(draw)


def _places(draw: random.Random, atoms: Any) -> None:
    n = len(atoms.arrays["positions"])
    rng = np.random.default_rng(draw.getrandbits(32))
    given = rng.normal(size=(n, 3)) * draw.choice((0.0, 1e-3, 4.0, 1e5, 1e13, 1e300))
    dtype = draw.choice(("f8", "f4", "f2", ">f8", "i8", "u1", "?", "c16", "O", "S8", "U8", "g"))
    with np.errstate(all="ignore"):
        atoms.arrays["positions"] = given.astype(dtype)


def _shape_of_positions(draw: random.Random, atoms: Any) -> None:
    n = len(atoms.arrays["positions"])
    shape = draw.choice(((n, 2), (n + 1, 3), (0, 3), (3,), (), (n, 3, 1), (3, n), (n, 4)))
    atoms.arrays["positions"] = np.ones(shape)


def _strided(draw: random.Random, atoms: Any) -> None:
    positions = np.asfortranarray(atoms.arrays["positions"])
    atoms.arrays["positions"] = positions[::-1] if draw.random() < 0.5 else positions
    if draw.random() < 0.3:
        atoms.arrays["positions"].flags.writeable = False


def _element(draw: random.Random, atoms: Any) -> None:
    numbers = atoms.arrays["numbers"]
    numbers[draw.randrange(len(numbers))] = draw.choice((0, -1, 1, 118, 119, 255, 2**31 - 1, 2**40))


def _numbers(draw: random.Random, atoms: Any) -> None:
    n = len(atoms.arrays["numbers"])
    dtype = draw.choice(("f8", "i1", "u8", "O", "?", "c16", "U2", ">i4", "M8[D]", "m8[s]"))
    n += draw.choice((0, 0, 1, -1))
    atoms.arrays["numbers"] = np.full(max(n, 0), draw.choice((18, 18, 1))).astype(dtype)


def _numbers_of_another_kind(draw: random.Random, atoms: Any) -> None:
    atoms.arrays["numbers"] = draw.choice(
        (None, [18, 18], "Ar2", np.array(18), np.full((2, 2), 18), {}, np.zeros(2, "V4"))
    )


def _missing_array(draw: random.Random, atoms: Any) -> None:
    del atoms.arrays[draw.choice(("numbers", "positions"))]


def _duplicate(draw: random.Random, atoms: Any) -> None:
    atoms += atoms[: draw.choice((1, len(atoms)))]


def _cell(draw: random.Random, atoms: Any) -> None:
    cell = np.array([[number(draw) for _ in range(3)] for _ in range(3)])
    if draw.random() < 0.5:
        cell = np.diag(np.abs(np.diag(cell)))
    if draw.random() < 0.3:
        cell[draw.randrange(3)] = cell[draw.randrange(3)] * draw.choice((1.0, 1 + 1e-12, -2.0))
    atoms.set_cell(cell)


def _narrow(draw: random.Random, atoms: Any) -> None:
    lengths = [draw.choice((0.1, 0.2001, 0.5, 2.0, 5.0, 50.0, 1e6, 1e12)) for _ in range(3)]
    atoms.set_cell(lengths)
    atoms.pbc = [draw.random() < 0.6 for _ in range(3)]


def _angles(draw: random.Random, atoms: Any) -> None:
    lengths = [draw.choice((3.0, 6.0, 1e-3, 1e5)) for _ in range(3)]
    angles = [draw.choice((0.0, 1e-7, 0.5, 60.0, 90.0, 179.9, 180.0, 120.0)) for _ in range(3)]
    atoms.set_cell([*lengths, *angles])


def _cell_of_another_kind(draw: random.Random, atoms: Any) -> None:
    atoms.cell.array = draw.choice(
        (np.eye(2), np.eye(3, dtype="f4"), np.eye(3, dtype=object), np.eye(3, dtype="c16"), None,
         np.full((3, 3), "5"), np.eye(3, dtype=int) * 5, np.zeros((3, 3, 1)))
    )  # fmt: skip


def _pbc(draw: random.Random, atoms: Any) -> None:
    atoms.pbc = draw.choice((True, False, [True, False, True], [False, False, True], [1, 0, 0]))


def _pbc_of_another_kind(draw: random.Random, atoms: Any) -> None:
    atoms._pbc = draw.choice(
        (None, True, np.ones(2, bool), np.ones(3), np.array([2, 0, -1]), np.array(["T", "F", "T"]),
         [True, True, True], np.full(3, np.nan), np.ones((3, 1), bool), np.array([None, True, 1]))
    )  # fmt: skip


def _info(draw: random.Random, atoms: Any) -> None:
    odd_cases._put_info(draw, atoms)


def _label(draw: random.Random, atoms: Any) -> None:
    value = odd_cases.value(draw) if draw.random() < 0.7 else draw.choice(odd_cases.TEXTS)
    atoms.info[draw.choice(("id", "name", "ID", "Name"))] = value


def _charge(draw: random.Random, atoms: Any) -> None:
    atoms.info["charge"] = draw.choice(
        (0, 1, -1.0, 1.5, "1", "x", "", b"1", None, np.array(1), np.array([1]), np.array([1, 2]),
         np.nan, 2**70, 10**5000, "9" * 5000, 1j, [1], {}, True, np.float32(2), np.array("1"))
    )  # fmt: skip


def _info_of_another_kind(draw: random.Random, atoms: Any) -> None:
    atoms.info = draw.choice(
        (None, [], "id", StrangeInfo(id="x"), UserDict(id="x"), 3, {1: {2: 3}})
    )


def _array(draw: random.Random, atoms: Any) -> None:
    odd_cases._put_array(draw, atoms)


def _known_array(draw: random.Random, atoms: Any) -> None:
    n = len(atoms.arrays["positions"])
    rng = np.random.default_rng(draw.getrandbits(32))
    name = draw.choice(
        ("tags", "masses", "momenta", "initial_charges", "initial_magmoms", "occupancies", "type",
         "occupancy", "spacegroup_kinds", "atomtypes", "castep_labels", "residuenames")
    )  # fmt: skip
    atoms.arrays[name] = draw.choice(
        (np.zeros(n), rng.normal(size=n), rng.normal(size=(n, 3)), np.arange(n), np.full(n, np.nan),
         np.array(["x"] * n), np.zeros(n + 1), np.array(1.0), None, [0] * n, np.full(n, -1.0),
         atoms.arrays["numbers"], np.array([None] * n), np.full(n, 0.5), np.ones(n, "M8[s]"))
    )  # fmt: skip


def _occupancy(draw: random.Random, atoms: Any) -> None:
    atoms.info["occupancy"] = draw.choice(
        ({"0": {"Ar": 1.0}}, {"0": {"Ar": 0.5, "Kr": 0.5}}, {0: {"Ar": "?"}}, {"x": 3}, {}, None,
         [1.0], "1", {"0": {"Ar": np.nan}}, {"0": None}, {"0": {1: 2}}, 7, {None: {}})
    )  # fmt: skip


def _constraint(draw: random.Random, atoms: Any) -> None:
    if draw.random() < 0.5:
        odd_cases._put_constraint(draw, atoms)
        return
    n, c = len(atoms), constraints
    held: Any = draw.choice((c.FixAtoms([0]), c.FixCartesian([0]), c.FixScaled([0], [1, 1, 0])))
    index = draw.choice(
        ([n], [-n - 1], [0.5], ["0"], [[0]], None, [0, 0, 0], 2**70, [], np.ones(n, bool),
         np.array([2**63], "u8"), np.zeros(0, object), [None], [True], np.array(0), range(n))
    )  # fmt: skip
    held.index = index if draw.random() < 0.3 or index is None else np.array(index)
    if draw.random() < 0.3:
        held.mask = draw.choice((None, [1, 1], [2, 0, 1], np.ones((3, 3)), "xyz", [np.nan, 0, 1]))
    atoms.constraints = [*atoms.constraints, held]


def _line(draw: random.Random, atoms: Any) -> None:
    held: Any = draw.choice((constraints.FixedLine, constraints.FixedPlane))(0, [0, 0, 1])
    held.dir = draw.choice(
        ([0, 0, 0], [np.nan, 0, 1], [1e200, 0, 0], [1, 0], "z", None, [0, 0, 1 + 1e-9], [1j, 0, 0])
    )
    if draw.random() < 0.6:
        held.dir = np.array(held.dir)
    atoms.constraints = [*atoms.constraints, held]


def _symmetry(draw: random.Random, atoms: Any) -> None:
    held = constraints.FixSymmetry(bulk(draw.choice(("Ar", "Cu")), "fcc", a=5.3))
    if draw.random() < 0.6:
        name = draw.choice(("rotations", "translations", "symm_map"))
        setattr(held, name, draw.choice((None, [], np.zeros((1, 3, 3)), [[0]], "x", np.eye(3))))
    atoms.constraints = [*atoms.constraints, held]


def _constraints_of_another_kind(draw: random.Random, atoms: Any) -> None:
    atoms._constraints = draw.choice((None, [None], ["FixAtoms"], 3, [constraints.FixAtoms], [[]]))


def _calculator(draw: random.Random, atoms: Any) -> None:
    n = len(atoms.arrays["positions"])
    atoms._calc = draw.choice(
        (EMT(), Failing(), SinglePointCalculator(atoms, energy=1.0, forces=np.ones((n, 3))), "emt",
         SinglePointCalculator(atoms, energy=np.nan, forces=np.ones((n + 1, 3))), None, object(),
         SinglePointCalculator(atoms, stress=np.full(6, np.inf), magmoms=np.ones(n)), 3)
    )  # fmt: skip


def _displacement(draw: random.Random, atoms: Any) -> None:
    atoms._celldisp = draw.choice((None, np.full((3, 1), np.nan), np.ones((3, 1)), np.ones(2), "x"))


_CHANGES: tuple[tuple[str, Callable[[random.Random, Any], Any]], ...] = tuple(
    (change.__name__.strip("_"), change)
    for change in (
        _place, _places, _shape_of_positions, _strided, _element, _numbers, _missing_array,
        _numbers_of_another_kind, _duplicate, _cell, _narrow, _angles, _cell_of_another_kind, _pbc,
        _pbc_of_another_kind, _info, _label, _charge, _info_of_another_kind, _array, _known_array,
        _occupancy, _constraint, _line, _symmetry, _constraints_of_another_kind, _calculator,
        _displacement, _narrow, _cell, _place, _info, _constraint,
    )
)  # fmt: skip
