"""What a guess of the Hessian needs of one structure: a program's part, and data."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from kups_relax.coordinates import Coordinates
from kups_relax.coordinates._cells import VariableCell
from kups_relax.data import Field, Structure
from kups_relax.internals._bonds import bonds_of, has_directed_bonds
from kups_relax.internals._rows import N_ATOMS, PYRAMID, Rows, bonded_rows, packed_rows

# For how many rows and couples an atom, uses of an atom, and shares of a couple the smallest class
# has room: of bonded or packed atoms, in molecules or in cells. What is usual fits.
_ROOM = {
    (True, False): (6, 6, 64, 32),
    (True, True): (8, 8, 64, 32),
    (False, False): (12, 12, 64, 1),
    (False, True): (28, 28, 64, 32),
}

# Ridge of the Hessian, eV/Angstrom^2, where stiffness is known; else a share of its diagonal.
_RIDGE, _SHARE = 0.03, 0.02

# The longest step, Angstrom; of packed atoms, in distances of neighbours, up to so many Angstrom.
_STEP, _PACKED_STEP, _MOST_SPACING = 0.3, 0.13, 6.0

# With more atoms than this, bonded or not, the Hessian is not written down: its inverse would cost
# more than solving for each step, which packed atoms make easier. And the square of the room.
MOST_DENSE = {True: 512, False: 192}

# What holds a cell that no bonds hold, as a bulk modulus, eV/Angstrom^3.
_MODULUS = 0.05


@dataclasses.dataclass(frozen=True)
class Guide:
    """What a program depends on. A value.

    Attributes:
        bonded: Whether bonds, bends and torsions describe the structure, and their stiffness is
            known; else near pairs do, and it is learnt.
        periodic: Whether rows reach into images of the cell.
        cell: How the cell changes; None: it does not.
        held: Whether constraints say which atoms move how.
        com: Whether the centre of mass is held.
    """

    bonded: bool
    dense: bool
    periodic: bool
    cell: VariableCell | None = None
    held: bool = False
    com: bool = False

    @property
    def n_slots(self) -> int:
        """Atoms of a row."""
        return 4 if self.bonded else 2

    def fields(self) -> Mapping[str, Field]:
        """Say how the arrays of `guide_of` are laid out."""
        n, rows = self.n_slots, "internals"
        fields = {
            "index": Field((rows, n), "int"),
            "strength": Field((rows,)),
            "decay": Field((n - 1, 2, rows)),
            "uses": Field(("atoms", "uses"), "int", fill=-1),
            "ridge": Field(()),
            "longest": Field(()),
        }
        if self.dense:
            fields["couples"] = Field(("couples", "shares"), "int", fill=-1)
            fields["couple"] = Field(("atoms", "atoms"), "int", fill=-1)
        if self.bonded:
            fields |= {
                "kind": Field((rows,), "int"),
                "axis": Field((3, rows)),
                "bent": Field((rows,)),
            }
        if self.periodic:
            fields["shift"] = Field((3, rows, n))
        if self.cell is not None:
            fields["modulus"] = Field(())
        if self.held:
            fields["free"] = Field((3, 3, "atoms"))
        if self.com:
            fields["mass"] = Field(("atoms",))
        return fields

    def capacities(self, n_atoms: int, lengths: Mapping[str, int]) -> dict[str, int]:
        """Room for the arrays of a structure in a class of so many atoms.

        All at one level, the least one times a power of two, so that there are few programs; but
        never more couples than there are pairs of atoms.

        Args:
            n_atoms: Atom capacity.
            lengths: Of the structure's axes.
        """
        rows, couples, uses, shares = _ROOM[self.bonded, self.periodic]
        pairs = max(1, n_atoms * (n_atoms - 1) // 2)
        level = 1
        while True:
            room = {
                "internals": rows * n_atoms * level,
                "couples": min(couples * n_atoms * level, pairs),
                "uses": uses * level,
                "shares": shares * level,
            }
            if not self.bonded and not self.periodic:
                # Each pair is a row, and its own couple.
                room |= {"internals": room["couples"], "uses": min(uses * level, n_atoms)}
                room["shares"] = 1
            if all(room[axis] >= length for axis, length in lengths.items() if axis in room):
                return {axis: room[axis] for axis in lengths if axis in room}
            level *= 2

    def n_internals(self, capacities: Mapping[str, int]) -> int:
        """Length of the history's rows, in a class of these capacities."""
        return capacities["internals"] if self.bonded else 0


def guide_of(
    structure: Structure, coordinates: Coordinates, moves: Mapping[str, np.ndarray]
) -> tuple[Guide, Mapping[str, np.ndarray]]:
    """Perceive a structure.

    Args:
        structure: Any.
        coordinates: What of it moves.
        moves: The arrays of these.

    Returns:
        The guide, and the arrays that are this structure's.
    """
    bonds = bonds_of(structure)
    bonded = has_directed_bonds(structure, bonds)
    if bonded:
        rows, spacing = bonded_rows(structure, bonds), 0.0
    else:
        rows, spacing = packed_rows(structure)
    held = [moves[kind] for kind in ("scaled", "cartesian") if kind in coordinates.held]
    dense = structure.n_atoms <= MOST_DENSE[bonded]
    guide = Guide(
        bonded,
        dense,
        bool(rows.shift.any()),
        coordinates.cell,
        held=bool(held),
        com="com" in coordinates.held,
    )
    n = guide.n_slots
    arrays = {
        "index": rows.index[:, :n],
        "strength": rows.strength,
        "decay": np.moveaxis(rows.decay[:, : n - 1], 0, -1),
        "uses": _uses(rows, structure.n_atoms, n),
        "ridge": np.array(_RIDGE if bonded else _SHARE),
        "longest": np.array(_STEP if bonded else _PACKED_STEP * min(spacing, _MOST_SPACING)),
    }
    if guide.dense:
        arrays["couples"], arrays["couple"] = _couples(rows, structure.n_atoms, n)
    if guide.bonded:
        arrays |= {"kind": rows.kind, "axis": rows.axis.T, "bent": rows.bent}
    if guide.periodic:
        arrays["shift"] = np.moveaxis(rows.shift[:, :n], -1, 0)
    if guide.cell is not None:
        arrays["modulus"] = np.array(_MODULUS * abs(np.linalg.det(structure.cell)))
    if held:
        arrays["free"] = _free(held)
    if guide.com:
        arrays["mass"] = moves["mass"]
    return guide, arrays


def _free(held: list[np.ndarray]) -> np.ndarray:
    """(3, 3, n_atoms) how each atom may move: as the first says that does not leave it free."""
    free = held[0]
    for other in held[1:]:
        untouched = (free == np.eye(3)[:, :, None]).all(axis=(0, 1))
        free = np.where(untouched, other, free)
    return free


def _uses(rows: Rows, n_atoms: int, n_slots: int) -> np.ndarray:
    """(n_atoms, width): in which slots each atom stands, row * n_slots + slot; padded with -1."""
    slots = np.arange(n_slots)
    real = slots < N_ATOMS[rows.kind][:, None]
    flat = np.arange(len(rows.kind))[:, None] * n_slots + slots
    return _listed(rows.index[:, :n_slots][real], flat[real], n_atoms)


def _couples(rows: Rows, n_atoms: int, n_slots: int) -> tuple[np.ndarray, np.ndarray]:
    """Which products of slots add up to which block of the Hessian.

    A row has n products of two slots, first by second, and then the n of second by first.

    Returns:
        (n_couples, width): row * 2 n + product, padded with -1; (n_atoms, n_atoms): the number of
        the couple below the diagonal, else -1.
    """
    products = [(a, b) for a in range(n_slots) for b in range(a + 1, n_slots)]
    n = len(products)
    keys, flats = [], []
    number = np.arange(len(rows.kind))
    for p, (a, b) in enumerate(products):
        first, second = rows.index[:, a], rows.index[:, b]
        real = (b < N_ATOMS[rows.kind]) & (first != second)
        swapped = first < second
        low, high = np.minimum(first, second), np.maximum(first, second)
        keys.append((high * n_atoms + low)[real])
        flats.append((number * 2 * n + p + n * swapped)[real])
    key, flat = np.concatenate(keys), np.concatenate(flats)
    names, which = np.unique(key, return_inverse=True)
    couple = np.full((n_atoms, n_atoms), -1)
    couple.reshape(-1)[names] = np.arange(len(names))
    order = np.argsort(flat, kind="stable")
    return _listed(which[order], flat[order], len(names)), couple


def _listed(owner: np.ndarray, item: np.ndarray, n_owners: int) -> np.ndarray:
    """(n_owners, width) the items of each owner, in order, padded with -1."""
    order = np.argsort(owner, kind="stable")
    count = np.bincount(owner, minlength=n_owners)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    out = np.full((n_owners, max(1, int(count.max(initial=0)))), -1)
    out[owner[order], place] = item[order]
    return out


assert len(N_ATOMS) == PYRAMID + 1
