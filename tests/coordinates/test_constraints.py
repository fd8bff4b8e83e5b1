"""What constraints hold, against what ASE's own do to forces and positions."""

from typing import Any

import numpy as np
import pytest
from ase import constraints
from ase.constraints import (
    FixAtoms,
    FixCartesian,
    FixCom,
    FixConstraint,
    FixedLine,
    FixedPlane,
    FixScaled,
)
from held_cases import (
    ROUNDING,
    assert_like_ase,
    held,
    on_forces,
    on_steps,
    random_atoms,
    structure_of,
)

from kups_relax.coordinates._constraints import held_by
from kups_relax.data import Structure
from kups_relax.errors import StructureError


def random_constraint(kind: str, random: np.random.Generator, n_atoms: int) -> FixConstraint:
    if kind == "FixCom":
        return FixCom()
    some = random.permutation(n_atoms)[: random.integers(1, n_atoms + 1)]
    some = np.where(random.random(len(some)) < 0.5, some, some - n_atoms)
    if kind == "FixAtoms":
        return FixAtoms(some)
    if kind in ("FixedLine", "FixedPlane"):
        return getattr(constraints, kind)(some, random.normal(size=3))
    return getattr(constraints, kind)(some, random.random(3) < 0.5)


@pytest.mark.parametrize("cell", ["sheared", "left-handed", "none", "one", "two"])
@pytest.mark.parametrize("kind", ["FixAtoms", "FixCartesian", "FixedLine", "FixedPlane", "FixCom"])
def test_one_constraint_does_what_ases_does(kind: str, cell: str) -> None:
    for seed in range(10):
        random = np.random.default_rng(seed)
        atoms = random_atoms(int(random.integers(1, 9)), seed, cell)
        atoms.set_constraint(random_constraint(kind, random, len(atoms)))
        assert_like_ase(atoms, seed)


@pytest.mark.parametrize("cell", ["sheared", "left-handed", "symmetric", "none", "one", "two"])
def test_fix_scaled_moves_atoms_as_ases_does(cell: str) -> None:
    for seed in range(10):
        random = np.random.default_rng(seed)
        atoms = random_atoms(int(random.integers(1, 9)), seed, cell)
        atoms.set_constraint(random_constraint("FixScaled", random, len(atoms)))
        # ASE multiplies forces with the cell where its transpose belongs.
        symmetric = np.array_equal(atoms.cell.complete()[:], atoms.cell.complete()[:].T)
        assert_like_ase(atoms, seed, forces=symmetric)


@pytest.mark.parametrize("moving_cell", [False, True])
@pytest.mark.parametrize("kind", ["FixAtoms", "FixCartesian", "FixScaled", "FixedLine"])
def test_forces_do_the_work_that_steps_can_do(kind: str, moving_cell: bool) -> None:
    for seed in range(10):
        random = np.random.default_rng(seed)
        atoms = random_atoms(5, seed)
        steps, forces = random.normal(size=(2, 5, 3))
        what = held(atoms, random_constraint(kind, random, 5), moving_cell=moving_cell)
        work = (on_forces(what, forces) * steps).sum()
        assert work == pytest.approx((forces * on_steps(what, steps)).sum(), abs=ROUNDING)


def test_fix_scaled_leaves_scaled_coordinates() -> None:
    atoms = random_atoms(4, 0)
    what = held(atoms, FixScaled([1, 2], (True, False, True)))
    steps = np.random.default_rng(0).normal(size=(4, 3))
    scaled = atoms.cell.scaled_positions(on_steps(what, steps))
    assert np.abs(scaled[1:3, [0, 2]]).max() < ROUNDING
    assert np.abs(scaled[1:3, 1]).min() > 0.01


@pytest.mark.parametrize("seed", range(20))
def test_constraints_that_commute_act_one_after_the_other(seed: int) -> None:
    random = np.random.default_rng(seed)
    atoms = random_atoms(6, seed)
    axes = np.eye(3)[random.integers(0, 3, 2)]
    atoms.set_constraint(
        [
            FixedPlane(random.permutation(6)[:4], axes[0]),
            FixCartesian(random.permutation(6)[:4], random.random(3) < 0.5),
            FixedLine(random.permutation(6)[:2], axes[1]),
            FixAtoms(random.permutation(6)[:1]),
        ]
    )
    assert_like_ase(atoms, seed)


def test_scaled_coordinates_are_fixed_one_after_the_other() -> None:
    atoms = random_atoms(3, 0)
    atoms.set_constraint([FixScaled([0, 1], (1, 0, 0)), FixScaled([1, 2], (0, 0, 1))])
    assert_like_ase(atoms, forces=False)


def test_constraints_that_do_not_commute_leave_what_both_allow() -> None:
    oblique = np.array([1.0, 2.0, 3.0])
    what = held(random_atoms(2, 0), FixedPlane(0, oblique), FixedPlane(0, [0, 0, 1]))
    along = np.array([2.0, -1.0, 0.0]) / np.sqrt(5)
    np.testing.assert_allclose(what.arrays["scaled"][:, :, 0], np.outer(along, along), atol=1e-14)
    assert np.array_equal(what.arrays["scaled"][:, :, 1], np.eye(3))
    assert np.array_equal(what.arrays["scaled"][2, :, 0], np.zeros(3))


def test_scaled_and_cartesian_constraints_leave_what_both_allow() -> None:
    for seed in range(10):
        atoms = random_atoms(1, seed)
        both = [FixScaled([0], (False, True, False)), FixCartesian([0], (False, False, True))]
        p = held(atoms, *both).arrays["scaled"][:, :, 0]
        # In the plane of the first and third lattice vector, and in the plane of x and y.
        a, _, c = atoms.cell[:]
        along = a * c[2] - c * a[2]
        np.testing.assert_allclose(along @ p, along, atol=1e-11)
        assert np.linalg.matrix_rank(p, 1e-9) == 1


def test_lines_that_differ_hold_an_atom() -> None:
    what = held(random_atoms(2, 0), FixedLine([0], [1, 2, 3]), FixedLine([0, 1], [1, 2, 3.1]))
    assert np.array_equal(what.arrays["scaled"][:, :, 0], np.zeros((3, 3)))
    assert what.arrays["scaled"][:, :, 1].any()


@pytest.mark.parametrize("moving_cell", [False, True])
def test_what_is_fixed_is_exactly_zero(moving_cell: bool) -> None:
    atoms = random_atoms(9, 3)
    atoms.set_constraint(
        [
            FixAtoms([0]),
            FixScaled([1]),
            FixCartesian([2]),
            FixedLine([3], [1, 2, 2]),
            FixedPlane([3], [1, 2, 2]),
            FixCartesian([4, 5], (1, 0, 0)),
            FixedPlane([5], [0, 0, 1]),
            FixedLine([6], [0, 1, 0]),
            FixScaled([7], (False, False, False)),
        ]
    )
    what = held_by(structure_of(atoms), moving_cell)
    p = what.arrays["scaled"]
    assert not p[:, :, :4].any()
    assert np.array_equal(p[:, :, 7:], np.stack([np.eye(3)] * 2, axis=-1))
    q = what.arrays["cartesian" if moving_cell else "scaled"]
    for atom, free in ((4, (0, 1, 1)), (5, (0, 1, 0)), (6, (0, 1, 0))):
        assert np.array_equal(q[:, :, atom], np.diag(free))


def test_an_orthorhombic_cell_gives_exact_scaled_projections() -> None:
    atoms = random_atoms(2, 0)
    atoms.cell = [0.1 * 3, 1 / 3, 7.7]
    what = held(atoms, FixScaled([0], (True, False, True)))
    assert np.array_equal(what.arrays["scaled"][:, :, 0], np.diag([0, 1, 0]))


def test_a_moving_cell_takes_scaled_constraints_along_and_leaves_cartesian_ones_in_space() -> None:
    atoms = random_atoms(5, 0)
    atoms.set_constraint(
        [FixAtoms([0]), FixScaled([1], (1, 0, 0)), FixCartesian([2], (1, 0, 0)), FixCartesian([3])]
    )
    what = held_by(structure_of(atoms), True)
    assert what.kinds == ("cartesian", "scaled")
    moves = {
        kind: [not np.array_equal(p, np.eye(3)) for p in what.arrays[kind].T] for kind in what.kinds
    }
    assert moves["scaled"] == [True, True, False, True, False]
    assert moves["cartesian"] == [False, False, True, False, False]
    assert held_by(structure_of(atoms), False).kinds == ("scaled",)


def test_an_atom_fixed_in_either_frame_is_fixed() -> None:
    both = FixAtoms([0]), FixCartesian([0], (1, 0, 0))
    for these in (both, both[::-1], (FixScaled([0], (1, 0, 0)), *both)):
        what = held(random_atoms(2, 0), *these, moving_cell=True)
        assert what.kinds == ("scaled",)
        assert not what.arrays["scaled"][:, :, 0].any()


def test_no_constraints_hold_nothing() -> None:
    atoms = random_atoms(3, 0)
    empty = FixAtoms([]), FixCartesian([]), FixedLine([], [1, 0, 0]), FixScaled([0], (0, 0, 0))
    alone = Structure(id="x", numbers=np.array([1], np.int32), positions=np.zeros((1, 3)))
    for moving_cell in (False, True):
        for what in (
            held_by(alone, moving_cell),
            held(random_atoms(3, 0), moving_cell=moving_cell),
            held(atoms, *empty, moving_cell=moving_cell),
            held(atoms, FixAtoms(mask=[False] * 3), moving_cell=moving_cell),
        ):
            assert what.kinds == ()
            assert not what.arrays


def test_arrays_are_of_the_promised_kinds() -> None:
    what = held(random_atoms(3, 0), FixAtoms([0]), FixCartesian([1], (1, 0, 0)), moving_cell=True)
    assert {k: (a.dtype, a.shape) for k, a in what.arrays.items()} == {
        "scaled": (np.float64, (3, 3, 3)),
        "cartesian": (np.float64, (3, 3, 3)),
    }
    assert held(random_atoms(3, 0), FixCom(), FixCom()).arrays["mass"].shape == (3,)


def test_reading_changes_neither_atoms_nor_constraints() -> None:
    atoms = random_atoms(3, 0)
    atoms.set_constraint([FixAtoms([-1]), FixScaled([0], (1, 0, 0))])
    before = repr(atoms), repr(atoms.constraints), atoms.positions.copy()
    held_by(structure_of(atoms), True)
    assert (repr(atoms), repr(atoms.constraints)) == before[:2]
    assert np.array_equal(atoms.positions, before[2])


class MyFixAtoms(FixAtoms):
    """Might do anything."""


class FixEnergy(FixConstraint):
    """Of a class that nobody knows."""


def impostor() -> FixConstraint:
    return type("FixAtoms", (FixConstraint,), {"index": np.array([0])})()


def nan_direction() -> FixConstraint:
    with np.errstate(all="ignore"):
        return FixedLine([0], [0, 0, 0])


def masked(index: Any) -> FixConstraint:
    constraint = FixAtoms([0])
    constraint.index = np.asarray(index)
    return constraint


def odd(constraint: FixConstraint, **attributes: Any) -> FixConstraint:
    for name, value in attributes.items():
        setattr(constraint, name, value)
    return constraint


SHEET = [[3.0, 0, 0], [0, 3.0, 0], [3.0, 3.0, 0]]

REFUSED = {
    "bond length": ([constraints.FixBondLength(0, 1)], "FixBondLengths is not honoured"),
    "bond lengths": ([constraints.FixBondLengths([[0, 1]])], "FixBondLengths is not honoured"),
    "internals": ([constraints.FixInternals(bonds=[[1.0, [0, 1]]])], "FixInternals is not"),
    "spring": ([constraints.Hookean(0, 1, 1.0, 1.0)], "Hookean is not honoured"),
    "triatomic": ([constraints.FixLinearTriatomic([(0, 1, 2)])], "FixLinearTriatomic is not"),
    "mode": ([constraints.FixedMode(np.ones((3, 3)))], "FixedMode is not honoured"),
    "subset": ([constraints.FixSubsetCom([0, 1])], "FixSubsetCom is not honoured"),
    "parametric": (
        [constraints.FixScaledParametricRelations([0], np.eye(3), np.zeros(3))],
        "FixScaledParametricRelations is not honoured",
    ),
    "external force": ([constraints.ExternalForce(0, 1, 1.0)], "ExternalForce is not honoured"),
    "mirror force": ([constraints.MirrorForce(0, 1)], "MirrorForce is not honoured"),
    "mirror torque": ([constraints.MirrorTorque(0, 1, 2, 0)], "MirrorTorque is not honoured"),
    "unknown": ([FixEnergy()], "FixEnergy is not honoured; expected one of ASE's own FixAtoms, "),
    "subclass": ([MyFixAtoms([0])], r"test_constraints\.MyFixAtoms is not honoured"),
    "same name": ([impostor()], r"test_constraints\.FixAtoms is not honoured"),
    "too many": ([FixAtoms([0, 7])], "FixAtoms holds atom 7, which does not exist; .* for 3 atoms"),
    "negative": ([FixCartesian([-4])], "FixCartesian holds atom -4, .* from -3 to 2 for 3 atoms"),
    "long mask": ([FixAtoms(mask=[False] * 4 + [True])], "FixAtoms holds atom 4, which does not"),
    "mask": ([masked([True, False])], "FixAtoms has a mask of 2 atoms; expected 3"),
    "floats": ([masked([0.5])], r"FixAtoms has indices that are no whole numbers; got \[0.5\]"),
    "texts": ([masked(["a"])], r"FixAtoms has indices that are no whole numbers; got \['a'\]"),
    "two axes": ([masked([[0, 1]])], r"no whole numbers; got \[\[0, 1\]\] of shape \(1, 2\)"),
    "mask of two axes": ([masked([[True] * 3])], r"no whole numbers; .* of shape \(1, 3\)"),
    "huge": ([masked([10**30])], "FixAtoms has indices that are no whole numbers"),
    "objects": ([masked([None])], r"no whole numbers; got \[None\]"),
    "texts for directions": (
        [odd(FixCartesian([0]), mask=np.array(["a", "b", "c"]))],
        r"FixCartesian has the mask \['a', 'b', 'c'\]; expected True or False",
    ),
    "numbers for directions": ([odd(FixScaled([0]), mask=np.array([2, 0, 0]))], "mask \\[2, 0, 0"),
    "short direction": (
        [odd(FixedLine([0], [1, 0, 0]), dir=np.array([1.0, 0.0]))],
        r"FixedLine has the direction \[1.0, 0.0\]; expected a vector of three",
    ),
    "text for a direction": (
        [odd(FixedPlane([0], [1, 0, 0]), dir="x")],
        "FixedPlane has the direction 'x'; expected a vector of three",
    ),
    "complex direction": (
        [odd(FixedLine([0], [1, 0, 0]), dir=np.array([1j, 0, 0]))],
        r"FixedLine has the direction \[1j, 0j, 0j\]",
    ),
    "no indices": ([odd(FixAtoms([0]), index=None)], r"no whole numbers; got \[None\]"),
    "directions": ([FixScaled([0], (True,))], r"FixScaled has a mask of shape \(1,\)"),
    "no direction": ([nan_direction()], r"FixedLine has the direction \[nan, nan, nan\]"),
    "com and atoms": ([FixCom(), FixAtoms([0])], "FixCom and FixAtoms cannot be kept together"),
    "com and others": (
        [FixedLine([0], [1, 0, 0]), FixCom(), FixCartesian([1], (1, 0, 0))],
        "FixCom and FixCartesian, FixedLine cannot be kept together",
    ),
    "frames": (
        [FixCartesian([1], (1, 0, 0)), FixScaled([0, 1], (1, 0, 0))],
        "FixCartesian, FixScaled on atom 1 cannot be kept together while the cell moves",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_honoured_is_refused_by_name(case: str) -> None:
    these, message = REFUSED[case]
    with pytest.raises(StructureError, match=f"^'mine': .*{message}"):
        held(random_atoms(3, 0), *these, moving_cell=True)


def test_fix_scaled_needs_independent_lattice_vectors() -> None:
    atoms = random_atoms(3, 0)
    atoms.cell = SHEET
    with pytest.raises(StructureError, match="FixScaled needs three independent lattice vectors"):
        held(atoms, FixScaled([0]))


def test_fix_com_needs_masses() -> None:
    atoms = random_atoms(3, 0)
    atoms.set_masses([1.0, 0.0, 1.0])
    with pytest.raises(StructureError, match=r"masses .* got 0\.0 for atom 1"):
        held(atoms, FixCom())
