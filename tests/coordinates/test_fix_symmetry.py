"""FixSymmetry: its operations as ASE applies them, and when they no longer fit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms, FixCom, FixedLine, FixScaled, FixSymmetry
from ase.spacegroup.symmetrize import symmetrize_rank1, symmetrize_rank2
from held_cases import ROUNDING, assert_like_ase, held, random_atoms
from symmetric_structures import symmetric_crystals

from kups_relax.coordinates._fix_symmetry import means
from kups_relax.errors import StructureError

spglib = pytest.importorskip("spglib", reason="FixSymmetry finds its operations with spglib")

CRYSTALS = {crystal.atoms.info["id"]: crystal for crystal in symmetric_crystals()}


def symmetric(atoms: Atoms, **options: Any) -> Atoms:
    """Copied atoms with a FixSymmetry."""
    atoms = atoms.copy()
    atoms.set_constraint(FixSymmetry(atoms, **options))
    return atoms


def crystal(name: str = "quartz PdNi") -> Atoms:
    return symmetric(CRYSTALS[name].atoms)


@pytest.mark.parametrize("name", CRYSTALS)
def test_crystals_are_distorted_within_their_space_group(name: str) -> None:
    atoms, number = CRYSTALS[name].atoms, CRYSTALS[name].number
    cell = (atoms.cell[:], atoms.get_scaled_positions(), atoms.numbers)
    assert spglib.get_symmetry_dataset(cell, symprec=1e-5).number == number


@pytest.mark.parametrize("name", CRYSTALS)
def test_vectors_become_symmetric_as_in_ase(name: str) -> None:
    atoms = crystal(name)
    what = assert_like_ase(atoms)
    assert what.kinds == ("symmetry",)
    constraint = atoms.constraints[0]
    forces = np.random.default_rng(0).normal(size=(len(atoms), 3))
    inverse = atoms.cell.reciprocal().T
    expected = symmetrize_rank1(
        atoms.cell, inverse, forces, constraint.rotations, constraint.translations,
        constraint.symm_map,
    )  # fmt: skip
    rotation, source = what.arrays["rotation"], what.arrays["source"]
    got = np.mean(
        [forces[a] @ r.T for r, a in zip(rotation.transpose(2, 0, 1), source, strict=True)], axis=0
    )
    np.testing.assert_allclose(got, expected, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("name", CRYSTALS)
def test_rotations_make_strains_symmetric_as_in_ase(name: str) -> None:
    atoms = crystal(name)
    strain = np.random.default_rng(0).normal(size=(3, 3))
    rotation = held(atoms).arrays["rotation"]
    got = np.einsum("iko,kl,jlo->ij", rotation, strain, rotation) / rotation.shape[2]
    expected = symmetrize_rank2(
        atoms.cell, atoms.cell.reciprocal().T, strain, atoms.constraints[0].rotations
    )
    np.testing.assert_allclose(got, expected, rtol=0, atol=ROUNDING)


def test_arrays_are_of_the_promised_kinds() -> None:
    what = held(crystal())
    assert {k: (a.dtype, a.shape) for k, a in what.arrays.items()} == {
        "rotation": (np.float64, (3, 3, 6)),
        "source": (np.int32, (6, 9)),
    }


@pytest.mark.parametrize("name", ["rocksalt CuAu", "quartz PdNi", "triclinic AgNi"])
def test_rotations_are_orthogonal_and_free_of_noise(name: str) -> None:
    rotation = held(crystal(name)).arrays["rotation"]
    np.testing.assert_allclose(
        np.einsum("iko,jko->ijo", rotation, rotation),
        np.tile(np.eye(3)[:, :, None], rotation.shape[2]),
        atol=1e-14,
    )
    small = np.abs(rotation) < 1e-6
    assert not rotation[small].any()
    assert (np.abs(np.abs(rotation[np.abs(rotation) > 1 - 1e-6])) == 1.0).all()


@pytest.mark.parametrize("turn", [0.0, 0.7])
def test_noisy_structures_that_ase_refined_are_honoured(turn: float) -> None:
    atoms = bulk("Cu", "hcp", a=2.5, c=4.1) * (2, 2, 1)
    atoms.rotate(np.degrees(turn), (1, 2, 3), rotate_cell=True)
    atoms.rattle(1e-3, seed=0)
    assert_like_ase(symmetric(atoms, symprec=0.05))


@pytest.mark.parametrize("options", [{"adjust_positions": False}, {"adjust_cell": False}])
def test_what_fix_symmetry_adjusts_makes_no_difference(options: dict[str, bool]) -> None:
    atoms, other = crystal(), symmetric(CRYSTALS["quartz PdNi"].atoms, **options)
    for key, array in held(atoms).arrays.items():
        assert np.array_equal(array, held(other).arrays[key])


def test_shifted_and_unwrapped_atoms_keep_their_symmetry() -> None:
    atoms = crystal()
    atoms.positions += [0.3, 0.2, 0.1]
    atoms.positions[3] += atoms.cell[0] - 2 * atoms.cell[2]
    assert_like_ase(atoms)


def test_a_copy_keeps_the_symmetry() -> None:
    assert_like_ase(crystal().copy())


def test_symmetry_goes_with_what_respects_it() -> None:
    atoms = symmetric(bulk("Cu", cubic=True) * (1, 1, 2))
    symmetry = atoms.constraints[0]
    for other in (FixCom(), FixAtoms(range(8)), FixAtoms([])):
        atoms.set_constraint([symmetry, other])
        assert_like_ase(atoms)

    anatase = crystal("anatase PdCu")
    anatase.set_constraint([*anatase.constraints, FixedLine(range(6), [0, 0, 1])])
    assert_like_ase(anatase)
    for moving_cell in (False, True):
        what = held(anatase, moving_cell=moving_cell)
        assert what.kinds == ("cartesian" if moving_cell else "scaled", "symmetry")


def test_symmetry_and_centre_of_mass_need_equal_masses() -> None:
    atoms = crystal()
    atoms.set_constraint([*atoms.constraints, FixCom()])
    assert held(atoms).kinds == ("com", "symmetry")
    masses = atoms.get_masses()
    masses[0] += 1
    atoms.set_masses(masses)
    with pytest.raises(StructureError, match="FixCom cannot be kept together with FixSymmetry"):
        held(atoms)


def also(*others: Any) -> Callable[[Atoms], Atoms]:
    def add(atoms: Atoms) -> Atoms:
        atoms.set_constraint([*atoms.constraints, *others])
        return atoms

    return add


def reordered(atoms: Atoms) -> Atoms:
    atoms.positions[[0, 4]] = atoms.positions[[4, 0]]
    atoms.numbers[[0, 4]] = atoms.numbers[[4, 0]]
    return atoms


def exchanged(atoms: Atoms) -> Atoms:
    atoms.numbers[0] = 79
    return atoms


def moved(atoms: Atoms) -> Atoms:
    atoms.positions[2] += [0.0, 0.3, 0.0]
    return atoms


def strained(atoms: Atoms) -> Atoms:
    atoms.set_cell(atoms.cell[:] @ np.diag([1.01, 1, 1]), scale_atoms=True, apply_constraint=False)
    return atoms


def of_another(atoms: Atoms) -> Atoms:
    atoms.set_constraint(crystal("fluorite AuAl").constraints[0])
    return atoms


def of_equally_many(atoms: Atoms) -> Atoms:
    other = random_atoms(len(atoms), 0)
    other.set_constraint(atoms.constraints[0])
    return other


def incomplete(atoms: Atoms) -> Atoms:
    constraint = atoms.constraints[0]
    constraint.rotations, constraint.symm_map = constraint.rotations[:-1], constraint.symm_map[:-1]
    return atoms


def empty(atoms: Atoms) -> Atoms:
    constraint = atoms.constraints[0]
    constraint.rotations, constraint.symm_map = constraint.rotations[:0], np.zeros((0, len(atoms)))
    return atoms


def not_one_to_one(atoms: Atoms) -> Atoms:
    atoms.constraints[0].symm_map[1] = [0] * len(atoms)
    return atoms


def without_numbers(name: str, value: Any) -> Callable[[Atoms], Atoms]:
    def change(atoms: Atoms) -> Atoms:
        setattr(atoms.constraints[0], name, value)
        return atoms

    return change


def flat(atoms: Atoms) -> Atoms:
    atoms.cell[2] = 0.0
    return atoms


def slab(_: Atoms) -> Atoms:
    atoms = symmetric(bulk("Cu", cubic=True))
    atoms.pbc = (True, True, False)
    return atoms


def isolated(atoms: Atoms) -> Atoms:
    atoms.pbc = False
    return atoms


REFUSED: dict[str, tuple[Callable[[Atoms], Atoms], str]] = {
    "reordered": (reordered, "it makes atoms . and . equal, .* another element; .* FixSymmetry"),
    "exchanged": (exchanged, "it makes atoms . and . equal, .* is another element"),
    "moved": (moved, r"it makes atoms . and . equal, .* is 0\.\d+ Angstrom away; expected"),
    "strained": (strained, r"the cell does not have .* lattice vector . is 0\.\d+ Angstrom from"),
    "of another": (of_another, r"is of another structure: .* \(48, 3\); expected \(48, 9\)"),
    "of as many": (of_equally_many, "the cell does not have the symmetry"),
    "incomplete": (incomplete, "FixSymmetry has 5 operations that are no group"),
    "empty": (empty, "FixSymmetry has 0 operations that do not all map"),
    "not one to one": (not_one_to_one, "6 operations that do not all map atoms one to one"),
    "text": (without_numbers("rotations", "x"), "rotations or maps of atoms that are no numbers"),
    "huge": (without_numbers("symm_map", [[2**40]]), "rotations or maps of atoms that are no"),
    "nothing": (without_numbers("rotations", None), "rotations that are not finite"),
    "one number": (without_numbers("rotations", 1.0), "is of another structure"),
    "flat": (flat, "FixSymmetry needs three independent lattice vectors"),
    "slab": (slab, r"all axes for periodic.*pbc=\[True, True, False\]"),
    "isolated": (isolated, "it makes atoms . and . equal, .* Angstrom away"),
    "twice": (also(*crystal().constraints), "more than one FixSymmetry"),
    "atoms": (also(FixAtoms([3])), "FixSymmetry and FixAtoms cannot be kept together: .* atoms "),
    "line": (also(FixedLine(range(9), [1, 0, 0])), "FixSymmetry and FixedLine cannot be kept"),
    "axis": (also(FixScaled(range(9), (1, 0, 0))), "FixSymmetry and FixScaled cannot be kept"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_symmetry_that_does_not_fit_is_refused(case: str) -> None:
    change, message = REFUSED[case]
    with pytest.raises(StructureError, match=f"^'mine': .*{message}"):
        held(change(crystal()))


@pytest.mark.parametrize("name", ["fcc Cu", "quartz PdNi", "monoclinic AlPt", "supercell"])
def test_shares_of_equal_atoms_are_the_mean_over_operations(name: str) -> None:
    atoms = symmetric(bulk("Cu") * (2, 2, 2)) if name == "supercell" else crystal(name)
    rotation, source = (held(atoms).arrays[key] for key in ("rotation", "source"))
    arrays = means(rotation, source)
    assert arrays["share"].shape[2] == len(arrays["source"]) <= len(atoms)
    random = np.random.default_rng(0)
    vectors, strain = random.normal(size=(len(atoms), 3)), random.normal(size=(3, 3))
    expected = np.einsum("ijo,oaj->ai", rotation, vectors[source]) / len(source)
    got = np.einsum("eak,kjea->aj", vectors[arrays["source"]], arrays["share"])
    np.testing.assert_allclose(got, expected, rtol=0, atol=ROUNDING)
    expected = np.einsum("iko,kl,jlo->ij", rotation, strain, rotation) / len(source)
    got = np.einsum("ijkl,kl->ij", arrays["strain"], strain)
    np.testing.assert_allclose(got, expected, rtol=0, atol=ROUNDING)
