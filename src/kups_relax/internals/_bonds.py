"""Which atoms are bonded, perceived from distances and radii. No force field, no bond orders."""

import dataclasses

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from kups_relax.data import Structure
from kups_relax.neighbors import neighbor_list

# Atoms are bonded that are closer than so many times the sum of their radii (Cordero et al., Dalton
# Trans. 2008, 2832, doi:10.1039/b801115j).
BONDED = 1.3

# Up to this it is a bond that is stretched, if there is no other way between two fragments.
STRETCHED = 1.7

# An atom with more neighbours than this holds them by no directed bonds.
MOST_BONDS = 6

# Contacts of fragments: no longer than this, Angstrom, no more than so much longer than the
# shortest one, and no more of them.
_CONTACT, _MARGIN, _MOST_CONTACTS = 5.0, 0.7, 6


@dataclasses.dataclass(frozen=True)
class Bonds:
    """The bonds of a structure; each is listed from both of its ends.

    Attributes:
        i, j: (n,) int, the atoms.
        shifts: (n, 3) int: from i to j it is positions[j] - positions[i] + shifts @ cell.
        vectors: (n, 3), that way, Angstrom.
    """

    i: np.ndarray
    j: np.ndarray
    shifts: np.ndarray
    vectors: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """(n,), Angstrom."""
        return np.linalg.norm(self.vectors, axis=1)

    def take(self, which: np.ndarray) -> "Bonds":
        """Some of them."""
        return Bonds(self.i[which], self.j[which], self.shifts[which], self.vectors[which])

    @property
    def once(self) -> np.ndarray:
        """(n,) bool: each from one of its ends only."""
        later = np.zeros(len(self.i), bool)
        for k in (2, 1, 0):
            later = (self.shifts[:, k] > 0) | ((self.shifts[:, k] == 0) & later)
        return (self.i < self.j) | ((self.i == self.j) & later)


def pairs_within(structure: Structure, cutoff: float, most: int | None = None) -> Bonds:
    """All pairs of atoms closer than a cutoff; `TooManyPairs` where there are more than `most`."""
    s = structure
    i, j, shifts = neighbor_list(s.positions, s.cell, s.pbc, cutoff, label=s.id, most=most)
    vectors = s.positions[j] - s.positions[i] + shifts @ s.cell
    return Bonds(i, j, shifts, vectors)


def bonds_of(structure: Structure) -> Bonds:
    """Perceive the bonds of a structure.

    Where most atoms have some, fragments that a stretched bond would join are joined by the
    shortest one.
    """
    from ase.data import covalent_radii

    radii = covalent_radii[structure.numbers]
    near = pairs_within(structure, 2 * STRETCHED * float(radii.max()))
    ratio = near.lengths / (radii[near.i] + radii[near.j])
    chosen = ratio < BONDED
    return near.take(_joined(structure.n_atoms, near, ratio, chosen))


def _joined(n_atoms: int, near: Bonds, ratio: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Add the shortest stretched bonds that join fragments, until none does (Kruskal).

    Args:
        n_atoms: Of the structure.
        near: Pairs that may be bonds.
        ratio: (n,), how long each is for a bond.
        chosen: (n,) bool, those that are.

    Returns:
        (n,) bool.
    """
    chosen = chosen.copy()
    count = np.bincount(near.i[chosen], minlength=n_atoms)
    most, n_lone = int(count.max(initial=0)), int((count == 0).sum())
    part = fragments(n_atoms, near.take(chosen))
    # A fragment points to one that it has been joined with.
    joined = np.arange(part.max(initial=-1) + 1)

    def fragment(atom: int) -> int:
        k = part[atom]
        while joined[k] != k:
            joined[k] = k = joined[joined[k]]
        return int(k)

    open_ = np.flatnonzero(~chosen & (ratio < STRETCHED) & (part[near.i] != part[near.j]))
    open_ = open_[np.argsort(ratio[open_], kind="stable")]
    # What is equally short joins at once: a bond stands here from both of its ends.
    for group in np.split(open_, np.flatnonzero(np.diff(ratio[open_])) + 1):
        if most > MOST_BONDS or n_lone >= 0.5 * n_atoms:
            break
        ends = [(k, int(near.i[k]), int(near.j[k])) for k in group.tolist()]
        new = [(k, i, j) for k, i, j in ends if fragment(i) != fragment(j)]
        for k, i, j in new:
            chosen[k] = True
            n_lone -= count[i] == 0
            count[i] += 1
            most = max(most, int(count[i]))
            joined[fragment(i)] = fragment(j)
    return chosen


def has_directed_bonds(structure: Structure, bonds: Bonds) -> bool:
    """Whether bonds and angles describe it: no close packing, and not mostly lone atoms."""
    count = np.bincount(bonds.i, minlength=structure.n_atoms)
    return bool(count.max() <= MOST_BONDS and np.mean(count == 0) < 0.5)


def fragments(n_atoms: int, bonds: Bonds) -> np.ndarray:
    """(n_atoms,) the number of each atom's fragment."""
    ones = np.ones(len(bonds.i), bool)
    return connected_components(coo_array((ones, (bonds.i, bonds.j)), (n_atoms, n_atoms)))[1]


def endless(n_atoms: int, bonds: Bonds) -> np.ndarray:
    """(n_atoms,) bool: whose bonds lead to their own images: chains, layers, networks."""
    neighbors: list[list[tuple[int, np.ndarray]]] = [[] for _ in range(n_atoms)]
    for i, j, shift in zip(bonds.i.tolist(), bonds.j.tolist(), bonds.shifts, strict=True):
        neighbors[i].append((j, shift))
    where: list[np.ndarray | None] = [None] * n_atoms
    result = np.zeros(n_atoms, bool)
    for start in range(n_atoms):
        if where[start] is not None:
            continue
        where[start] = np.zeros(3, int)
        seen, found = [start], False
        for i in seen:
            here = where[i]
            assert here is not None
            for j, shift in neighbors[i]:
                there = here + shift
                known = where[j]
                if known is None:
                    where[j] = there
                    seen.append(j)
                elif (known != there).any():
                    found = True
        result[seen] = found
    return result


def contacts(structure: Structure, bonds: Bonds) -> Bonds:
    """The shortest ways between fragments that are near each other, each from one end only."""
    parts = fragments(structure.n_atoms, bonds)
    near = pairs_within(structure, _CONTACT) if parts.max() else bonds.take(np.zeros(0, int))
    near = near.take(near.once & (parts[near.i] != parts[near.j]))
    first, last = parts[near.i], parts[near.j]
    pair = np.minimum(first, last) * (parts.max() + 1) + np.maximum(first, last)
    lengths = near.lengths
    order = np.lexsort((lengths, pair))
    chosen, rank, shortest = [], 0, 0.0
    for n, k in enumerate(order.tolist()):
        if n == 0 or pair[k] != pair[order[n - 1]]:
            rank, shortest = 0, lengths[k]
        if rank < _MOST_CONTACTS and lengths[k] < shortest + _MARGIN:
            chosen.append(k)
        rank += 1
    return near.take(np.array(sorted(chosen), int))
