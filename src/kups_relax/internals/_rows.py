"""From bonds to internal coordinates: one row each, of up to four atoms, with its stiffness."""

import dataclasses
from itertools import combinations

import numpy as np

from kups_relax.data import Structure
from kups_relax.errors import CapacityError
from kups_relax.internals._bonds import Bonds, contacts, endless, pairs_within
from kups_relax.neighbors import TooManyPairs, nearest_distances

# eV and Angstrom, as ASE has them (CODATA 2014).
Hartree, Bohr = 27.211386024367243, 0.5291772105638411

# Kinds of rows; 0 is padding.
STRETCH, BEND, LINEAR, TORSION, PYRAMID = range(1, 6)

# How many atoms a row of each kind has.
N_ATOMS = np.array([0, 2, 3, 3, 4, 4])

# Angles above the first also get rows that hold them straight, which take over between the second
# and the third, in degrees: an angle as such has no direction at 180.
BENT, FADING, STRAIGHT = 130.0, 150.0, 172.0

# Angles above this are straight to torsions, degrees.
_LINE = 167.0

# Lindh, Bernhardsson, Karlstroem and Malmqvist, Chem. Phys. Lett. 1995, 241, 423,
# doi:10.1016/0009-2614(95)00646-L: k = K exp(alpha (R^2 - r^2)) of each bond involved, in atomic
# units, by rows of the periodic table. Theirs is 0.005 for each torsion; here all torsions about a
# bond share 0.015. Theirs has no pyramids: planar atoms without torsions (BF3) need them.
_STRETCH, _BEND, _TORSION, _PYRAMID = 0.45, 0.15, 0.015, 0.03
_ALPHA = np.array([[1.0, 0.3949, 0.3949], [0.3949, 0.28, 0.28], [0.3949, 0.28, 0.28]])
_LENGTH = np.array([[1.35, 2.10, 2.53], [2.10, 2.87, 3.40], [2.53, 3.40, 3.40]])

# Bends at atoms from sodium on have this share of the exponents: with theirs the bends of silicon
# are fifty times too soft beside its stretches (Stillinger and Weber's, Tersoff's), and fourteen
# crystals need 370 evaluations in place of 71.
_HEAVY, _SHARE = 2, 0.25

# Between fragments, eV/Angstrom^2.
_CONTACT = 0.2

# Without directed bonds: exp(-_STEEPNESS (r / r0 - 1)) near the distance r0 of neighbours, as in
# Packwood et al., J. Chem. Phys. 2016, 144, 164109, doi:10.1063/1.4947024, with a Gaussian's tail.
# In units of the stiffness of a pair at r0, which is learnt on the way.
_STEEPNESS, _REACH = 10.0, 2.0

# Rows of an atom that are held, on average: 54 are usual. And what one takes, bytes: the row, its
# slopes, and what programs need on the way.
_MOST_PAIRS, _ROW_BYTES = 1024, 1000

# Up to so many atoms all pairs are listed, so that none that come together are missed.
_ALL_PAIRS = 64


@dataclasses.dataclass(frozen=True)
class Rows:
    """Internal coordinates of a structure.

    Attributes:
        kind: (n,) int.
        index: (n, 4) int, atoms; those that a kind does not have repeat the second one.
        shift: (n, 4, 3), Angstrom: in which image of the cell at the start each is.
        strength: (n,), eV per squared unit: stiffness but for the factors of its bonds.
        decay: (n, 3, 2): a, c of each bond's factor exp(c - a r^2).
        axis: (n, 3): unit vectors, for rows that hold an angle straight.
        bent: (n,) -1, 0 or 1: fades as its angle opens; does not care; comes as it opens.
    """

    kind: np.ndarray
    index: np.ndarray
    shift: np.ndarray
    strength: np.ndarray
    decay: np.ndarray
    axis: np.ndarray
    bent: np.ndarray


def bonded_rows(structure: Structure, bonds: Bonds) -> Rows:
    """Stretches, bends, torsions and pyramids, and contacts of fragments."""
    return _Bonded(structure, bonds).rows()


def packed_rows(structure: Structure) -> tuple[Rows, float]:
    """Stretches of all near pairs, whatever they are.

    Returns:
        The rows, and the distance of nearest neighbours, Angstrom.

    Raises:
        CapacityError: Atoms stand so unevenly that far too many pairs are near.
    """
    s = structure
    r0 = _spacing(s)
    everything = not s.pbc.any() and s.n_atoms <= _ALL_PAIRS
    span = float(np.ptp(s.positions, axis=0).max()) if s.n_atoms else 0.0
    cutoff = 2 * span + 1.0 if everything else _REACH * r0
    try:
        near = pairs_within(s, cutoff, most=_MOST_PAIRS * s.n_atoms)
    except TooManyPairs as error:
        raise CapacityError(
            f"{s.id!r}: the guess of the Hessian has a row for each two atoms within {cutoff:.3g} "
            f"Angstrom, twice the usual distance of neighbours; that are {error.n:.2g} of "
            f"{s.n_atoms} atoms, about {error.n * _ROW_BYTES / 2**30:.2g} GiB, and at most "
            f"{_MOST_PAIRS} an atom are held: they stand too unevenly for it. Use another "
            "optimizer, such as 'lbfgs'."
        ) from error
    near = near.take(near.once)
    n = len(near.i)
    image, decay = np.zeros((n, 4, 3)), np.zeros((n, 3, 2))
    image[:, 1:] = near.shifts[:, None]
    a = _STEEPNESS / (2 * r0**2)
    decay[:, 0] = a, a * r0**2
    rows = Rows(
        kind=np.full(n, STRETCH),
        index=np.stack([near.i, near.j, near.j, near.j], axis=1).astype(int),
        shift=image @ s.cell,
        strength=np.ones(n),
        decay=decay,
        axis=np.zeros((n, 3)),
        bent=np.zeros(n, int),
    )
    return rows, r0


def _spacing(structure: Structure) -> float:
    """The median distance of nearest neighbours."""
    s = structure
    if s.n_atoms == 1 and not s.pbc.any():
        return 1.0
    cutoff = 4.0
    near = pairs_within(s, cutoff)
    nearest = np.full(s.n_atoms, np.inf)
    np.minimum.at(nearest, near.i, near.lengths)
    while not np.isfinite(nearest).mean() > 0.5:
        # Where atoms are few in places and many in others, all pairs would be too many.
        cutoff *= 2
        nearest = nearest_distances(s.positions, s.cell, s.pbc, cutoff, label=s.id)
    return float(np.median(nearest[np.isfinite(nearest)]))


_HERE = np.zeros(3, int)
_End = tuple[int, np.ndarray]


class _Builder:
    """Collect rows, one after the other."""

    def __init__(self, structure: Structure) -> None:
        self._cell = structure.cell
        self._found: list[tuple[int, list[_End], float, list[tuple[float, float]], np.ndarray, int]]
        self._found = []

    def add(
        self,
        kind: int,
        ends: list[_End],
        strength: float,
        decay: list[tuple[float, float]],
        axis: np.ndarray | None = None,
        bent: int = 0,
    ) -> None:
        decay = decay + [(0.0, 0.0)] * (3 - len(decay))
        axis = np.zeros(3) if axis is None else axis
        self._found.append((kind, ends, strength, decay, axis, bent))

    def rows(self) -> Rows:
        n = len(self._found)
        index, image = np.zeros((n, 4), int), np.zeros((n, 4, 3))
        for k, (_, ends, *_rest) in enumerate(self._found):
            for slot in range(4):
                index[k, slot], image[k, slot] = ends[slot] if slot < len(ends) else ends[1]
        columns = list(zip(*self._found, strict=True)) if n else [()] * 6
        return Rows(
            kind=np.array(columns[0], int),
            index=index,
            shift=image @ self._cell,
            strength=np.array(columns[2], np.float64),
            decay=np.array(columns[3], np.float64).reshape(n, 3, 2),
            axis=np.array(columns[4], np.float64).reshape(n, 3),
            bent=np.array(columns[5], int),
        )


class _Bonded:
    """Make the rows of a structure with directed bonds."""

    def __init__(self, structure: Structure, bonds: Bonds) -> None:
        self._structure, self._bonds = structure, bonds
        self._build = _Builder(structure)
        self._period = np.digitize(structure.numbers, [3, 11])
        self._near: list[list[tuple[int, np.ndarray, np.ndarray]]]
        self._near = [[] for _ in range(structure.n_atoms)]
        for i, j, shift, v in zip(
            bonds.i.tolist(), bonds.j.tolist(), bonds.shifts, bonds.vectors, strict=True
        ):
            self._near[i].append((j, shift, v))
        self._straight: list[tuple[int, _End, _End]] = []

    def rows(self) -> Rows:
        first = self._bonds.take(self._bonds.once)
        for i, j, shift in zip(first.i.tolist(), first.j.tolist(), first.shifts, strict=True):
            factor = [self._factor(i, j)]
            strength = _STRETCH * Hartree / Bohr**2
            self._build.add(STRETCH, [(i, _HERE), (j, shift)], strength, factor)
        near = contacts(self._structure, self._bonds)
        for i, j, shift in zip(near.i.tolist(), near.j.tolist(), near.shifts, strict=True):
            self._build.add(STRETCH, [(i, _HERE), (j, shift)], _CONTACT, [])
        for j in range(self._structure.n_atoms):
            self._around(j)
        # The torsions of a network would be many, and its bends hold it.
        network = endless(self._structure.n_atoms, self._bonds)
        lines = [
            ((i, _HERE), (j, shift), {(j, *shift)}, {(i, *(-shift))})
            for i, j, shift in zip(first.i.tolist(), first.j.tolist(), first.shifts, strict=True)
        ]
        # What turns about a straight angle turns about the line of its ends.
        lines += [(a, b, {(j, *(-a[1]))}, {(j, *(-b[1]))}) for j, a, b in self._straight]
        for n, line in enumerate(lines):
            if not network[line[0][0]]:
                self._torsions(*line, bonded=n < len(first.i))
        return self._build.rows()

    def _around(self, j: int) -> None:
        """Bends at an atom, and its pyramid."""
        near = self._near[j]
        for (i, to_i, u), (k, to_k, v) in combinations(near, 2):
            ends, strength = [(i, to_i), (j, _HERE), (k, to_k)], _BEND * Hartree
            factors = [self._factor(i, j), self._factor(k, j)]
            if self._period[j] == _HEAVY:
                factors = [(_SHARE * a, _SHARE * c) for a, c in factors]
            angle = _angle(u, v)
            straight = angle > BENT
            self._build.add(BEND, ends, strength, factors, bent=-int(straight))
            if straight:
                for axis in np.eye(3):
                    self._build.add(LINEAR, ends, strength, factors, axis=axis, bent=1)
            if angle > _LINE:
                self._straight.append((j, (i, to_i), (k, to_k)))
        if len(near) == 3:
            ends = [(near[0][0], near[0][1]), (j, _HERE), *((m, to_m) for m, to_m, _ in near[1:])]
            factors = [self._factor(j, m) for m, *_ in near]
            self._build.add(PYRAMID, ends, _PYRAMID * Hartree, factors)

    def _torsions(self, a: _End, b: _End, not_a: set, not_b: set, *, bonded: bool) -> None:
        """Torsions about the line from a to b, which share one stiffness."""
        (j, to_j), (k, to_k) = a, b
        line = self._place(b) - self._place(a)
        middle = self._factor(j, k) if bonded else (0.0, 0.0)
        rows = []
        for i, from_j, u in self._near[j]:
            if (i, *from_j) in not_a or _angle(u, line) > _LINE:
                continue
            for m, from_k, v in self._near[k]:
                if (m, *from_k) in not_b or _angle(v, -line) > _LINE:
                    continue
                ends = [(i, to_j + from_j), a, b, (m, to_k + from_k)]
                if i == m and (ends[0][1] == ends[3][1]).all():
                    continue
                factors = [self._factor(i, j), middle, self._factor(k, m)]
                rows.append((ends, factors))
        for ends, factors in rows:
            self._build.add(TORSION, ends, _TORSION * Hartree / len(rows), factors)

    def _place(self, end: _End) -> np.ndarray:
        return self._structure.positions[end[0]] + end[1] @ self._structure.cell

    def _factor(self, i: int, j: int) -> tuple[float, float]:
        """a, c of a bond's factor exp(c - a r^2), r in Angstrom."""
        p, q = self._period[i], self._period[j]
        alpha, length = float(_ALPHA[p, q]), float(_LENGTH[p, q])
        return alpha / Bohr**2, alpha * length**2


def _angle(u: np.ndarray, v: np.ndarray) -> float:
    cosine = float(u @ v) / float(np.linalg.norm(u) * np.linalg.norm(v))
    return float(np.degrees(np.arccos(min(1.0, max(-1.0, cosine)))))
