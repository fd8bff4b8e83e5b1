"""FixSymmetry: its operations, checked against the structure that carries it."""

from typing import Any, NoReturn, Protocol

import numpy as np

from kups_relax.data import Structure

# Entries of projections and rotations that are this near to -1, 0 or 1 are meant to be that.
ROUNDING = 1e-12
# Angstrom; what ASE's refine_symmetry checks its own result with.
_SYMPREC = 1e-4

_AGAIN = "Refine the symmetry and make the constraint anew, with FixSymmetry(atoms)."


class Reader(Protocol):
    """What reads the constraints of a structure."""

    structure: Structure

    def refuse(self, what: str) -> NoReturn:
        """Raise, naming the structure."""
        ...

    def invertible(self, cell: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
        """A cell and its inverse; refuses one without."""
        ...


def clean(matrix: np.ndarray) -> np.ndarray:
    """Make entries exact that rounding has moved away from -1, 0 or 1."""
    exact = np.rint(matrix)
    meant = (np.abs(matrix - exact) < ROUNDING) & (np.abs(exact) <= 1)
    return np.where(meant, exact + 0.0, matrix)


def operations(read: Reader, constraint: Any) -> tuple[np.ndarray, np.ndarray]:
    """Check a FixSymmetry against its structure.

    Returns:
        (n_operations, 3, 3) Cartesian rotations, and (n_operations, n_atoms) int32, from which
        atom each operation takes what it brings to an atom.
    """
    structure = read.structure
    cell, inverse = read.invertible(structure.cell, "FixSymmetry")
    try:
        scaled = np.asarray(constraint.rotations, np.float64)
        target = np.asarray(constraint.symm_map, np.int32)
    except (TypeError, ValueError, OverflowError):  # of what somebody put in their places
        read.refuse(f"FixSymmetry has rotations or maps of atoms that are no numbers. {_AGAIN}")
    if not np.isfinite(scaled).all():
        read.refuse(f"FixSymmetry has rotations that are not finite. {_AGAIN}")
    n_operations = len(scaled) if scaled.ndim else 0
    shapes = (n_operations, 3, 3), (n_operations, structure.n_atoms)
    if (scaled.shape, target.shape) != shapes:
        read.refuse(
            f"FixSymmetry is of another structure: its maps of atoms have shape {target.shape}; "
            f"expected ({n_operations}, {structure.n_atoms}), operations and atoms. {_AGAIN}"
        )
    if not n_operations or (np.sort(target) != np.arange(structure.n_atoms)).any():
        read.refuse(
            f"FixSymmetry has {len(target)} operations that do not all map atoms one to one. "
            f"{_AGAIN}"
        )

    # Rotations are those of the cell nearest to this one that has the symmetry to rounding.
    metric = np.mean(scaled.transpose(0, 2, 1) @ (cell @ cell.T) @ scaled, axis=0)
    stretch, axes = np.linalg.eigh(inverse @ metric @ inverse.T)
    symmetric = cell @ (axes * np.sqrt(stretch)) @ axes.T
    off = np.linalg.norm(symmetric - cell, axis=1)
    if not off.max() < _SYMPREC:
        read.refuse(
            f"the cell does not have the symmetry that FixSymmetry keeps: lattice vector "
            f"{off.argmax()} is {off.max():.2g} Angstrom from where it should be, more than "
            f"{_SYMPREC:g}. {_AGAIN}"
        )
    rotation = clean(symmetric.T @ scaled @ np.linalg.inv(symmetric).T)
    _check_places(read, scaled, target, cell, inverse)
    source = np.argsort(target, axis=1).astype(np.int32)
    if not _is_projection(rotation, source):
        read.refuse(f"FixSymmetry has {len(target)} operations that are no group. {_AGAIN}")
    return rotation, source


def means(rotation: np.ndarray, source: np.ndarray) -> dict[str, np.ndarray]:
    """Write the mean over all operations as what each atom takes of its equals.

    Atoms have fewer equals than there are operations: at most all atoms, where a supercell of 64
    has 3072 operations.

    Args:
        rotation: (3, 3, n_operations).
        source: (n_operations, n_atoms) int32, both as in `Held`.

    Returns:
        "share": (3, 3, n_equal, n_atoms) float64 and "source": (n_equal, n_atoms) int32, of
        v'[j] = sum_e v[source[e, j]] @ share[:, :, e, j]; "strain": (3, 3, 3, 3) float64, of
        x'[i, j] = sum_kl strain[i, j, k, l] x[k, l].
    """
    n_operations, n_atoms = source.shape
    pairs = np.arange(n_atoms) * n_atoms + source
    pairs, place = np.unique(pairs.ravel(), return_inverse=True)
    atom, equal = np.divmod(pairs, n_atoms)
    slot = np.arange(len(atom)) - np.searchsorted(atom, atom)
    share = np.zeros((3, 3, slot.max() + 1, n_atoms))
    for k, j in np.ndindex(3, 3):
        turned = np.bincount(place.ravel(), np.repeat(rotation[j, k], n_atoms))
        share[k, j, slot, atom] = turned / n_operations
    equals = np.zeros(share.shape[2:], np.int32)
    equals[slot, atom] = equal
    strain = np.einsum("iko,jlo->ijkl", rotation, rotation) / n_operations
    return {"share": clean(share), "source": equals, "strain": clean(strain)}


def _check_places(
    read: Reader, scaled: np.ndarray, target: np.ndarray, cell: np.ndarray, inverse: np.ndarray
) -> None:
    """Each operation brings each atom to a place of its kind, up to one shift of all atoms."""
    structure = read.structure
    periodic = structure.pbc
    if scaled[:, ~periodic][:, :, periodic].any():
        read.refuse(
            f"FixSymmetry takes all axes for periodic, and turns them into each other; got "
            f"pbc={periodic.tolist()}. Set pbc=True or remove the constraint."
        )
    places = structure.positions @ inverse
    for r, to in zip(scaled, target, strict=True):
        shift = places[to] - places @ r.T
        shift -= shift[0].copy()
        shift[:, periodic] -= np.rint(shift[:, periodic])
        off = np.linalg.norm((shift - shift.mean(axis=0)) @ cell, axis=1)
        other = structure.numbers[to] != structure.numbers
        if other.any() or not off.max() < _SYMPREC:
            atom = int(other.argmax() if other.any() else off.argmax())
            what = "another element" if other.any() else f"{off[atom]:.2g} Angstrom away"
            read.refuse(
                f"the atoms do not have the symmetry that FixSymmetry keeps: it makes atoms {atom} "
                f"and {to[atom]} equal, but what it brings to the latter is {what}; expected the "
                f"same within {_SYMPREC:g} Angstrom. Atoms were reordered, exchanged or moved "
                f"since it was made. {_AGAIN}"
            )


def _is_projection(rotation: np.ndarray, source: np.ndarray) -> bool:
    """Whether the mean over operations is a projection, of vectors of atoms and of strains.

    A mean of orthogonal maps that is idempotent projects onto what the group that they generate
    leaves alone. One random vector tells.
    """
    random = np.random.default_rng(0)
    vectors, strain = random.normal(size=(source.shape[1], 3)), random.normal(size=(3, 3))

    def mean(vectors: np.ndarray, strain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        total = np.zeros_like(vectors)
        for r, atoms in zip(rotation, source, strict=True):
            total += vectors[atoms] @ r.T
        strains = rotation @ strain @ rotation.transpose(0, 2, 1)
        return total / len(source), strains.mean(axis=0)

    once = mean(vectors, strain)
    twice = mean(*once)
    return all(np.abs(a - b).max() < 1e-10 for a, b in zip(once, twice, strict=True))
