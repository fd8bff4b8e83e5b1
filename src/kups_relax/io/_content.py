"""List the items that a structure carries into a file."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kups_relax.io._left_out import name

if TYPE_CHECKING:
    import ase

# Texts and names that every format keeps as they are.
_TEXT = re.compile(r"[A-Za-z0-9]([ -~]{0,998}[!-~])?\Z")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# Names that mean something else in one file or another: columns, headers, results.
_RESERVED = frozenset(
    """
    lattice properties pbc cell positions pos numbers species symbols z move_mask velo virial id
    energies free_energy energy force forces magmom magmoms charges dipole stress stresses
    constraints info calculator comment unique_id key_value_pairs data celldisp
    """.split()  # noqa: SIM905
)
# Arrays that ASE itself gives a meaning, and their shapes after the axis of atoms.
STANDARD = {
    "tags": ((),),
    "masses": ((),),
    "momenta": ((3,),),
    "initial_charges": ((),),
    "initial_magmoms": ((), (3,)),
}
# What is geometry, and what ASE's reader of CIF adds to each structure for its own use.
_OWN = ("numbers", "positions")
BOOKKEEPING = "spacegroup_kinds"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
    """One thing that atoms carry beside geometry.

    Attributes:
        part: "info", "arrays", "results", "constraints" or "celldisp".
        key: Its name there; the place of a constraint.
        value: What it is.
        plain: Whether every format that has such things gives it back as it is.
    """

    part: str
    key: Any
    value: Any
    plain: bool

    @property
    def text(self) -> str:
        """Name in messages."""
        if self.part == "constraints":
            return f"the constraint {self._type}"
        if self.part == "celldisp":
            return "the displacement of the cell"
        where = {"info": "info", "arrays": "arrays", "results": "calc.results"}[self.part]
        dtype = f" of {self.value.dtype}" if isinstance(self.value, np.ndarray) else ""
        return f"{where}[{name(self.key)}] ({self._type}{dtype})"

    @property
    def kind(self) -> tuple[str, str]:
        """Items of one kind are named once."""
        return (self.part, self._type)

    @property
    def _type(self) -> str:
        return type(self.value).__name__


def items_of(atoms: "ase.Atoms", parts: Iterable[str]) -> list[Item]:
    """List what atoms carry in these parts; first what must not give way to the others."""
    n, found = len(atoms), []
    if "results" in parts:
        results = getattr(atoms.calc, "results", None)
        for key, value in (results if isinstance(results, Mapping) else {}).items():
            plain = _plain_result(key, value, n)
            found.append(Item(part="results", key=key, value=value, plain=plain))
    for i, value in enumerate(atoms.constraints):
        plain = "constraints" in parts and _plain_constraint(value, n)
        found.append(Item(part="constraints", key=i, value=value, plain=plain))
    if "arrays" in parts:
        for key, value in atoms.arrays.items():
            if key not in _OWN:
                plain = _plain_array(key, value, n)
                found.append(Item(part="arrays", key=key, value=value, plain=plain))
    if "info" in parts:
        found += [_info(key, value) for key, value in atoms.info.items()]
    if "celldisp" in parts and np.any(atoms.get_celldisp()):
        found.append(Item(part="celldisp", key="", value=atoms.get_celldisp(), plain=False))
    return found


def with_items(atoms: "ase.Atoms", items: Iterable[Item]) -> "ase.Atoms":
    """Make atoms of a geometry and some items; nothing is copied deeply, nor looked at."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    new = Atoms(
        numbers=atoms.arrays["numbers"],
        positions=atoms.arrays["positions"],
        cell=atoms.cell.array,
        pbc=atoms.pbc,
    )
    by_part: dict[str, dict[Any, Any]] = {}
    for item in items:
        by_part.setdefault(item.part, {})[item.key] = item.value
    for key, value in by_part.get("arrays", {}).items():
        new.set_array(key, value)
    for value in by_part.get("celldisp", {}).values():
        new.set_celldisp(value)
    if "results" in by_part:
        calculator: Any = SinglePointCalculator(new, **by_part["results"])
        label = getattr(atoms.calc, "name", None)
        calculator.name = label if isinstance(label, str) else "unknown"
        new.calc = calculator
    # After the calculator, which keeps a deep copy.
    new.info = by_part.get("info", {})
    new.constraints = list(by_part.get("constraints", {}).values())
    return new


def plain_geometry(atoms: "ase.Atoms") -> bool:
    """Return whether numbers, positions and cell lie where every format gives them back."""
    numbers, positions = atoms.arrays["numbers"], atoms.arrays["positions"]
    return bool(
        ((numbers >= 1) & (numbers <= 118)).all()
        and (np.abs(positions) < 9999).all()
        and np.isfinite(atoms.cell.array).all()
    )


def _info(key: Any, value: Any) -> Item:
    from ase.spacegroup import Spacegroup

    if isinstance(value, Spacegroup):
        # Readers make atoms of its number or symbol alone, and no file has the class.
        value = value.symbol
    return Item(part="info", key=key, value=value, plain=_plain_name(key) and _plain_value(value))


def _plain_name(key: Any) -> bool:
    from ase.outputs import all_outputs

    return (
        type(key) is str
        and bool(_NAME.match(key))
        and key.lower() not in _RESERVED
        and key not in all_outputs
    )


def _plain_value(value: Any) -> bool:
    if type(value) in (np.bool_, np.int64, np.float64):
        value = value.item()
    if type(value) is str:
        return bool(_TEXT.match(value))
    if type(value) is int:
        return abs(value) < 2**53
    return type(value) in (bool, float)


def _plain_array(key: Any, value: Any, n: int) -> bool:
    if not isinstance(value, np.ndarray) or type(value) is not np.ndarray or not n:
        return False
    if value.dtype not in (np.float64, np.int64) or value.shape[:1] != (n,):
        return False
    # Databases and columns have integers of 32 bits.
    small = value.dtype == np.float64 or bool((np.abs(value) < 2**31).all())
    if key in STANDARD:
        # ASE drops the results of a calculator whose atoms are not equal to themselves.
        return small and value.shape[1:] in STANDARD[key] and bool(np.isfinite(value).all())
    return (
        small
        and _plain_name(key)
        and (value.ndim == 1 or (value.ndim == 2 and n > 1 < value.shape[1]))
    )


def _plain_result(key: Any, value: Any, n: int) -> bool:
    if key in ("energy", "free_energy"):
        return type(value) in (float, np.float64) and bool(np.isfinite(value))
    shape = {"forces": (n, 3), "stress": (6,)}.get(key) if isinstance(key, str) else None
    return (
        shape is not None
        and type(value) is np.ndarray
        and value.dtype == np.float64
        and value.shape == shape
        and bool(np.isfinite(value).all())
    )


def _plain_constraint(value: Any, n: int) -> bool:
    from ase.constraints import FixAtoms

    if type(value) is not FixAtoms:
        return False
    index = value.index
    return (
        isinstance(index, np.ndarray)
        and index.dtype.kind == "i"
        and index.ndim == 1
        and bool(((index >= 0) & (index < n)).all())
    )
