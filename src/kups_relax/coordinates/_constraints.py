"""What ASE constraints keep in place: read on the host, as linear maps of steps and forces."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from kups_relax.coordinates._fix_symmetry import ROUNDING, clean, operations
from kups_relax.data import Structure
from kups_relax.errors import StructureError

# Singular values below this belong to directions that are free.
_PARALLEL = 1e-8
# How far projections may be from those that the operations of a FixSymmetry make of them.
_COMMUTES = 1e-6


@dataclasses.dataclass(frozen=True, eq=False)
class Held:
    """What the constraints of a structure keep in place.

    Coordinates are u, the positions in the undeformed cell: x = u @ F.T, where F is the
    deformation; u = x where the cell does not move.

    Attributes:
        kinds: Sorted; which of "cartesian", "com", "scaled", "symmetry" there are.
        arrays: What these need:

            * "scaled": (3, 3, n_atoms) float64, P of step'_j = sum_k step_k P[k, j] and
              force'_k = sum_j P[k, j] force_j, in u. Free atoms have the identity, fixed ones 0.
            * "cartesian": (3, 3, n_atoms) float64, the same, in x. Only where the cell moves.
            * "mass": (n_atoms,) float64, amu, of "com".
            * "rotation": (3, 3, n_operations) float64, R of "symmetry", Cartesian, in the frame of
              the undeformed cell; "source": (n_operations, n_atoms) int32. What is symmetric has
              v[j] = mean over operations of R @ v[source[operation, j]].
    """

    kinds: tuple[str, ...]
    arrays: Mapping[str, np.ndarray]


_NOTHING = Held((), MappingProxyType({}))


def held_by(structure: Structure, moving_cell: bool) -> Held:
    """Read the constraints of `structure.atoms`: honour each, or refuse it by name.

    ASE's rules, with one exception. The forces of FixScaled are the adjoint of its steps, so that
    they vanish where the energy is least along the directions that are left. ASE's do not in cells
    whose matrix is not symmetric.

    Several constraints on one atom leave what all of them leave. `adjust_positions` and
    `adjust_cell` of FixSymmetry make no difference: with symmetric forces and stress, steps are
    symmetric without being adjusted. No spglib is needed.

    Args:
        structure: With the `atoms` that it came from, or None.
        moving_cell: Whether the cell moves as well. FixAtoms and FixScaled then hold an atom in
            the cell and move with it; FixCartesian (unless it fixes all three directions),
            FixedLine and FixedPlane act on Cartesian steps, as the cell is at the time.

    Returns:
        The maps; `kinds` is empty where nothing is held. Takes less than 1 us without constraints.

    Raises:
        StructureError: A constraint that is not honoured, refers to atoms that do not exist, is
            of another structure, or contradicts another one.
    """
    constraints = getattr(structure.atoms, "constraints", None)
    if not constraints:
        return _NOTHING
    import ase.constraints

    read = _Reader(structure, moving_cell)
    for constraint in constraints:
        name = type(constraint).__name__
        # A subclass may do anything, so it is none of them.
        if name not in _HONOURED or type(constraint) is not getattr(ase.constraints, name):
            read.refuse(
                f"the constraint {_name(constraint)} is not honoured; expected one of ASE's own "
                f"{', '.join(_HONOURED)}. Remove it from atoms.constraints, or relax this "
                "structure with kups_relax.ase.Optimizer, which honours all that ASE does."
            )
        try:
            _HONOURED[name](read, constraint)
        except StructureError:
            raise
        except Exception as error:  # ASE keeps whatever a constraint was made with
            read.refuse(
                f"the constraint {name} cannot be understood ({type(error).__name__}: {error}). "
                "Make it anew, from this structure."
            )
    return read.held()


def _name(constraint: Any) -> str:
    kind = type(constraint)
    if kind.__module__.startswith("ase."):
        return kind.__name__
    return f"{kind.__module__}.{kind.__qualname__}"


def _shown(array: np.ndarray) -> str:
    text = " ".join(repr(array.tolist()).split())
    return text if len(text) <= 80 else f"{text[:80]}..."


def _names(projections: Iterable["_Projection"]) -> str:
    return ", ".join(sorted({p.name for p in projections}))


@dataclasses.dataclass(eq=False)
class _Projection:
    """One projection of steps, the constraints that ask for it, and the atoms it acts on."""

    name: str
    frame: str
    matrix: np.ndarray
    atoms: np.ndarray


class _Reader:
    """Collects what the constraints of one structure hold."""

    def __init__(self, structure: Structure, moving_cell: bool) -> None:
        self.structure = structure
        self.cartesian = "cartesian" if moving_cell else "scaled"
        # By kind and parameters: many files give a constraint of its own to each atom.
        self.projections: dict[tuple[str, bytes], _Projection] = {}
        self.mass: np.ndarray | None = None
        self.symmetry: tuple[np.ndarray, np.ndarray] | None = None

    def refuse(self, what: str) -> NoReturn:
        raise StructureError(f"{self.structure.id!r}: {what}")

    def fix_atoms(self, constraint: Any) -> None:
        self.project("scaled", constraint, np.ones(3), lambda mask: np.diag(1.0 - mask))

    def fix_cartesian(self, constraint: Any) -> None:
        mask = self.mask(constraint)
        self.project(self.cartesian, constraint, mask, lambda mask: np.diag(1.0 - mask))

    def fix_scaled(self, constraint: Any) -> None:
        cell, inverse = self.lattice
        mask = self.mask(constraint)
        self.project("scaled", constraint, mask, lambda m: inverse @ np.diag(1.0 - m) @ cell)

    def fixed_line(self, constraint: Any) -> None:
        direction = self.direction(constraint)
        self.project(self.cartesian, constraint, direction, lambda d: np.outer(d, d))

    def fixed_plane(self, constraint: Any) -> None:
        direction = self.direction(constraint)
        self.project(self.cartesian, constraint, direction, lambda d: np.eye(3) - np.outer(d, d))

    def fix_com(self, constraint: Any) -> None:
        mass = np.array(self.structure.atoms.get_masses(), np.float64)
        bad = np.flatnonzero(~(np.isfinite(mass) & (mass > 0)))
        if len(bad):
            self.refuse(
                f"FixCom needs masses that are positive and finite; got {mass[bad[0]]} for atom "
                f"{bad[0]}. Set it with atoms.set_masses, or remove FixCom."
            )
        self.mass = mass

    def fix_symmetry(self, constraint: Any) -> None:
        if self.symmetry is not None:
            self.refuse(
                "got more than one FixSymmetry; expected one. Make one of the symmetry that is to "
                "be kept."
            )
        self.symmetry = operations(self, constraint)

    def project(
        self,
        frame: str,
        constraint: Any,
        parameters: np.ndarray,
        matrix: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        """Add a projection of some atoms; `frame` is "scaled" or "cartesian"."""
        atoms = self.indices(constraint)
        key = (_name(constraint), parameters.tobytes())
        if key not in self.projections:
            projection = clean(matrix(parameters))
            if not projection.any():
                frame = "scaled"
            nobody = np.zeros(self.structure.n_atoms, bool)
            self.projections[key] = _Projection(key[0], frame, projection, nobody)
        self.projections[key].atoms[atoms] = True

    def indices(self, constraint: Any) -> np.ndarray:
        name, n_atoms = _name(constraint), self.structure.n_atoms
        index = np.asarray(constraint.index)
        index = index[None] if index.ndim == 0 else index
        again = "Make the constraint anew, from this structure."
        if index.ndim != 1 or (index.dtype.kind not in "biu" and len(index)):
            got = f"got {_shown(index)}"
            if index.ndim != 1:
                got += f" of shape {index.shape}"
            self.refuse(
                f"{name} has indices that are no whole numbers; {got}; expected one list of "
                f"numbers of atoms, or a mask of {n_atoms}. {again}"
            )
        if index.dtype == bool:
            if len(index) != n_atoms:
                self.refuse(
                    f"{name} has a mask of {len(index)} atoms; expected {n_atoms}, one for each. "
                    f"{again}"
                )
            return np.flatnonzero(index)
        bad = index[(index >= n_atoms) | (index < -n_atoms)]
        if len(bad):
            self.refuse(
                f"{name} holds atom {bad[0]}, which does not exist; expected indices from "
                f"{-n_atoms} to {n_atoms - 1} for {n_atoms} atoms. {again}"
            )
        return index.astype(int)

    def mask(self, constraint: Any) -> np.ndarray:
        mask = np.asarray(constraint.mask)
        if mask.shape != (3,):
            self.refuse(
                f"{_name(constraint)} has a mask of shape {mask.shape}; expected (3,), one "
                "value for each direction. Make one constraint for each mask."
            )
        if mask.dtype.kind not in "biuf" or not np.isin(mask, (0, 1)).all():
            self.refuse(
                f"{_name(constraint)} has the mask {_shown(mask)}; expected True or False for each "
                "direction. Make the constraint anew."
            )
        return mask.astype(bool)

    def direction(self, constraint: Any) -> np.ndarray:
        given = np.asarray(constraint.dir)
        plain = given.shape == (3,) and given.dtype.kind in "biuf"
        direction = given.astype(np.float64) if plain else np.zeros(3)
        if not abs(np.linalg.norm(direction) - 1.0) < _PARALLEL:
            self.refuse(
                f"{_name(constraint)} has the direction {_shown(given)}; expected a vector of "
                "three numbers and length 1. Make it anew, with a direction that is not zero."
            )
        return direction

    @functools.cached_property
    def lattice(self) -> tuple[np.ndarray, np.ndarray]:
        """The cell, zero vectors replaced as ASE does for FixScaled, and its inverse."""
        from ase.geometry.cell import complete_cell

        return self.invertible(complete_cell(self.structure.cell), "FixScaled")

    def invertible(self, cell: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
        """A cell and its inverse."""
        volume, bound = np.linalg.det(cell), np.linalg.norm(cell, axis=1).prod()
        if not abs(volume) > 1e-10 * bound:
            self.refuse(
                f"{name} needs three independent lattice vectors; got {cell.tolist()}. Repair the "
                "cell or remove the constraint."
            )
        return cell, np.linalg.inv(cell)

    def held(self) -> Held:
        """Bring what was collected together, and refuse what contradicts itself."""
        projections = [
            p
            for p in self.projections.values()
            if p.atoms.any() and not np.array_equal(p.matrix, np.eye(3))
        ]
        if projections and self.mass is not None:
            self.refuse(
                f"FixCom and {_names(projections)} cannot be kept together: shifting all atoms "
                "moves those that are held. Remove one of them."
            )
        arrays = self.projected(projections)
        kinds = {*arrays}
        if self.symmetry is not None:
            rotation, source = self.symmetry
            self.check_symmetric(arrays, _names(projections), rotation, source)
            arrays["rotation"] = np.ascontiguousarray(rotation.transpose(1, 2, 0))
            arrays["source"] = source
            kinds.add("symmetry")
        if self.mass is not None:
            arrays["mass"] = self.mass
            kinds.add("com")
        return Held(tuple(sorted(kinds)), MappingProxyType(arrays))

    def projected(self, projections: Sequence[_Projection]) -> dict[str, np.ndarray]:
        """One projection for each atom and frame."""
        free = np.tile(np.eye(3)[:, :, None], self.structure.n_atoms)
        arrays = {frame: free.copy() for frame in sorted({p.frame for p in projections})}
        acts = np.array([p.atoms for p in projections]).reshape(-1, self.structure.n_atoms)
        several = acts.sum(axis=0) > 1
        for p in projections:
            arrays[p.frame][:, :, p.atoms & ~several] = p.matrix[:, :, None]
        for pattern in np.unique(acts[:, several], axis=1).T if several.any() else ():
            atoms = (acts == pattern[:, None]).all(axis=0)
            here = [p for p, does in zip(projections, pattern, strict=True) if does]
            frame, matrix = self.together(here, int(atoms.argmax()))
            arrays.setdefault(frame, free.copy())[:, :, atoms] = matrix[:, :, None]
        return {frame: array for frame, array in arrays.items() if (array != free).any()}

    def together(self, here: Sequence[_Projection], atom: int) -> tuple[str, np.ndarray]:
        """The frame and the projection that several ones on one atom make."""
        frames = {p.frame for p in here}
        joint = {f: _intersection([p.matrix for p in here if p.frame == f]) for f in frames}
        if not all(matrix.any() for matrix in joint.values()):
            return "scaled", np.zeros((3, 3))
        if len(joint) > 1:
            self.refuse(
                f"{_names(here)} on atom {atom} cannot be kept together while the cell moves: one "
                "holds it in the cell, the other in space. Keep one of them, or the cell."
            )
        return joint.popitem()

    def check_symmetric(
        self,
        arrays: Mapping[str, np.ndarray],
        names: str,
        rotation: np.ndarray,
        source: np.ndarray,
    ) -> None:
        """Refuse what the operations would not leave as it is."""
        if self.mass is not None and (self.mass[source] != self.mass).any():
            self.refuse(
                "FixCom cannot be kept together with FixSymmetry: atoms that the symmetry makes "
                "equal have different masses. Remove one of the two."
            )
        for projection in arrays.values():
            projection = projection.transpose(2, 0, 1)
            for r, atoms in zip(rotation, source, strict=True):
                off = np.abs(r @ projection[atoms] @ r.T - projection).max(axis=(1, 2))
                if off.max() > _COMMUTES:
                    atom = int(off.argmax())
                    self.refuse(
                        f"FixSymmetry and {names} cannot be kept together: the symmetry makes "
                        f"atoms {atom} and {atoms[atom]} equal, but they are not held in equal "
                        f"ways (off by {off[atom]:.1g}). Hold all equal atoms in equal ways, or "
                        "remove one of the constraints."
                    )


_HONOURED: dict[str, Callable[[_Reader, Any], None]] = {
    "FixAtoms": _Reader.fix_atoms,
    "FixCartesian": _Reader.fix_cartesian,
    "FixScaled": _Reader.fix_scaled,
    "FixedLine": _Reader.fixed_line,
    "FixedPlane": _Reader.fixed_plane,
    "FixCom": _Reader.fix_com,
    "FixSymmetry": _Reader.fix_symmetry,
}


def _intersection(projections: Sequence[np.ndarray]) -> np.ndarray:
    """Project rows onto what all projections leave."""
    product = clean(functools.reduce(np.matmul, projections))
    if all(np.abs(product @ p - product).max() < ROUNDING for p in projections):
        return product
    # They do not commute: rows v with v @ P = v for all P.
    _, size, basis = np.linalg.svd(np.hstack([p - np.eye(3) for p in projections]).T)
    free = basis[size < _PARALLEL]
    return clean(free.T @ free)
