"""Constraints on the device: what they promise, ASE's steps, what stays put, the same bits."""

import dataclasses
import functools
import re

import ase.io
import jax
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import (
    FixAtoms,
    FixCartesian,
    FixCom,
    FixedLine,
    FixedPlane,
    FixScaled,
    FixSymmetry,
)
from ase.filters import FrechetCellFilter, UnitCellFilter
from ase.optimize import LBFGS
from ase.spacegroup import crystal as spacegroup_crystal

import kups_relax as kr
from coordinates.crystals import CUTOFF, crystal, lennard_jones
from coordinates.held_cases import on_forces, on_steps, structure_of
from coordinates.symmetric_structures import symmetric_crystals
from helpers import argon_cluster, assert_same_result
from kups_relax.coordinates import Geometry, coordinates_of
from kups_relax.coordinates._constraints import held_by
from kups_relax.ops import rounded
from kups_relax.relaxation import size_class
from kups_relax.relaxation._classes import axis_lengths
from kups_relax.relaxation._tiles import Tile

# Sums in another order.
ROUNDING = 1e-12
# What 20 steps make of rounding.
ALIKE = 1e-7
# How many steps are compared with ASE's.
STEPS = (1, 2, 3, 5, 8, 13, 20)

FILTERS = {"fixed cell": None, "frechet": FrechetCellFilter, "unit": UnitCellFilter}
# Steps as long as ASE's.
CELLS = {
    "fixed cell": None,
    "frechet": kr.FrechetCell(max_strain=1.0),
    "unit": kr.UnitCell(max_strain=1.0),
}
CELL_CASES = [
    pytest.param(name, marks=[] if name is None or name == "fixed cell" else [pytest.mark.extended])
    for name in CELLS
]

CONSTRAINTS = {
    "atoms": lambda: FixAtoms([0, 3]),
    "cartesian": lambda: FixCartesian([1, 2], (True, False, True)),
    "scaled": lambda: FixScaled([0, 1, 4], (True, True, False)),
    "line": lambda: FixedLine([0, 5], [1, 1, 0]),
    "plane": lambda: FixedPlane([2, 3], [1, 2, -1]),
    "several": lambda: [FixAtoms([0]), FixedPlane([1, 2], [0, 1, 1]), FixedPlane(2, [1, 0, 0])],
    "com": FixCom,
}


def argon(seed: int = 7) -> Atoms:
    """Eight atoms whose cell's matrix is symmetric: in others, ASE's FixScaled has no minimum."""
    atoms = crystal(seed)
    cell = atoms.cell.array
    u, size, vt = np.linalg.svd(cell)
    atoms.set_cell(u @ np.diag(size) @ u.T, scale_atoms=True)
    # A cell of reflections would be one of negative eigenvalues.
    assert np.linalg.det(u @ vt) > 0
    atoms.info["id"] = f"argon {seed}"
    return atoms


def held_argon(name: str, seed: int = 7) -> Atoms:
    atoms = argon(seed)
    atoms.set_constraint(CONSTRAINTS[name]())
    atoms.info["id"] = f"argon, {name}"
    return atoms


# Space group and sites of fcc crystals whose atoms and axes are pulled away from their places, as
# far as the group lets them. Pc is polar.
GROUPS = {
    "P212121": (19, [(0.02, 0.03, -0.015)], [5.15, 5.3, 5.45, 90, 90, 90]),
    "Pc": (7, [(0.0, 0.27, 0.0), (0.51, 0.74, 0.03)], [5.2, 5.4, 5.3, 90, 93, 90]),
}


def symmetric_argon(group: str) -> Atoms:
    number, sites, cell = GROUPS[group]
    made = spacegroup_crystal(["Ar"] * len(sites), sites, spacegroup=number, cellpar=cell)
    atoms = Atoms(made.numbers, made.positions, cell=made.cell.array, pbc=True)
    atoms.set_constraint(FixSymmetry(atoms))
    atoms.info.update(id=group, number=number)
    return atoms


def ase_path(atoms: Atoms, filter_of, calculator) -> tuple[list[Atoms], int]:
    """Where ASE is after each step, and after how many it stops."""
    atoms = atoms.copy()
    atoms.calc = calculator
    path = []
    optimizer = LBFGS(filter_of(atoms) if filter_of else atoms, logfile=None)
    optimizer.attach(lambda: path.append(atoms.copy()))
    optimizer.run(fmax=1e-3, steps=max(STEPS))
    return path, optimizer.nsteps


def assert_steps_are_ases(starts, cell, filter_of, potential, calculator):
    paths = [ase_path(start, filter_of, calculator()) for start in starts]
    for n_steps in STEPS:
        result = kr.relax(starts, potential, "ase-lbfgs", fmax=1e-3, max_steps=n_steps, cell=cell)
        for got, taken, (path, all_taken) in zip(result.atoms, result.n_steps, paths, strict=True):
            name, expected = f"{got.info['id']}, {n_steps} steps", path[min(n_steps, all_taken)]
            assert taken == min(n_steps, all_taken), name
            for a, b in (
                (got.cell.array, expected.cell.array),
                (got.positions, expected.positions),
            ):
                np.testing.assert_allclose(a, b, rtol=0, atol=ALIKE, err_msg=name)
    moved = [
        np.abs(a.positions - b.positions).max() for a, b in zip(result.atoms, starts, strict=True)
    ]
    assert min(moved) > 1e-3


# What is promised in NumPy


def projected(coordinates, structures, steps, forces, dtype):
    """Steps and forces of structures in the lanes of one tile, as the device projects them."""
    kind, arrays = coordinates[0][0], [arrays for _, arrays in coordinates]
    lengths = {
        axis: max(axis_lengths(kind, a)[axis] for a in arrays)
        for axis in axis_lengths(kind, arrays[0])
    }
    size = size_class(kr.potentials.Harmonic(), max(s.n_atoms for s in structures), lengths)
    tile = Tile(kr.potentials.Harmonic(), size, np.dtype(dtype), kind)
    n_lanes = min(size.n_lanes, 16)
    lanes = np.linspace(1, n_lanes - 1, len(structures)).astype(int)
    put = np.zeros((2, 3, size.n_atoms, size.n_lanes), dtype)
    for lane, structure, arrays_here, step, force in zip(
        lanes, structures, arrays, steps, forces, strict=True
    ):
        tile._moves.put(lane, structure.n_atoms, arrays_here)
        put[0, :, : structure.n_atoms, lane] = step.T
        put[1, :, : structure.n_atoms, lane] = force.T
    terms = tile.moves()
    nowhere = np.zeros((3, 3, size.n_lanes), dtype)

    @jax.jit
    @rounded
    def both(step, force):
        x = jax.numpy.zeros_like(step)
        here = Geometry(positions=x, cell=nowhere)
        there, _, _ = kind.move(x, step, here, nowhere, terms)
        return there, kind.pull(x, here, nowhere, force[0, 0], force, None, terms).forces

    got = np.asarray(both(put[0], put[1]))
    for lane, structure in zip(lanes, structures, strict=True):
        assert not got[..., structure.n_atoms :, lane].any()
    empty = np.setdiff1d(np.arange(size.n_lanes), lanes)
    assert not got[..., empty].any()
    return [
        (got[0, :, : s.n_atoms, lane].T, got[1, :, : s.n_atoms, lane].T)
        for lane, s in zip(lanes, structures, strict=True)
    ]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", ["scaled", "com", "symmetry"])
def test_lanes_are_projected_as_numpy_does(kind):
    if kind == "symmetry":
        pytest.importorskip("spglib", reason="FixSymmetry finds its operations with spglib")
        names = ("fcc Cu", "BC8 Si", "quartz PdNi", "triclinic AgNi", "orthorhombic CuAu")
        starts = [c.atoms for c in symmetric_crystals() if c.atoms.info["id"] in names]
        for atoms in starts:
            atoms.set_constraint(FixSymmetry(atoms))
    elif kind == "com":
        starts = [crystal(seed) for seed in (2, 3, 7)]
        for atoms in starts:
            atoms.set_masses(1 + np.arange(len(atoms)))
            atoms.set_constraint(FixCom())
    else:
        starts = [held_argon(name) for name in CONSTRAINTS if name != "com"]
    structures = [structure_of(atoms) for atoms in starts]
    random = np.random.default_rng(0)
    steps, forces = ([random.normal(size=(len(atoms), 3)) for atoms in starts] for _ in range(2))
    coordinates = [coordinates_of(s, None) for s in structures]
    got = projected(coordinates, structures, steps, forces, "float64")
    for structure, step, force, (on_step, on_force) in zip(
        structures, steps, forces, got, strict=True
    ):
        what = held_by(structure, False)
        assert what.kinds == (kind,)
        np.testing.assert_allclose(on_step, on_steps(what, step), rtol=0, atol=ROUNDING)
        np.testing.assert_allclose(on_force, on_forces(what, force), rtol=0, atol=ROUNDING)


# ASE's steps


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("fixed cell", tuple(CONSTRAINTS)),
        ("frechet", ("several",)),
        *(
            # ASE's forces of FixScaled are no gradient once the cell's matrix is not symmetric.
            pytest.param(
                cell, tuple(n for n in CONSTRAINTS if n != "scaled"), marks=pytest.mark.extended
            )
            for cell in ("frechet", "unit")
        ),
    ],
)
def test_steps_are_ases_with_the_same_constraints(cell, names):
    starts = [held_argon(name) for name in names]
    assert_steps_are_ases(starts, CELLS[cell], FILTERS[cell], lennard_jones(), argon_calculator)


@pytest.mark.extended
@pytest.mark.parametrize("cell", ["frechet", "unit"])
def test_steps_of_scaled_coordinates_are_ases_in_a_box(cell):
    atoms = held_argon("scaled")
    atoms.set_cell(np.diag(np.diag(atoms.cell.array)), scale_atoms=True)
    mask = [1, 1, 1, 0, 0, 0]
    mine = dataclasses.replace(CELLS[cell], mask=mask)
    theirs = functools.partial(FILTERS[cell], mask=mask)
    assert_steps_are_ases([atoms], mine, theirs, lennard_jones(), argon_calculator)


@pytest.mark.parametrize("cell", CELL_CASES)
def test_steps_are_ases_with_the_same_symmetry(cell):
    pytest.importorskip("spglib", reason="FixSymmetry finds its operations with spglib")
    starts = [symmetric_argon(name) for name in GROUPS]
    assert_steps_are_ases(starts, CELLS[cell], FILTERS[cell], lennard_jones(), argon_calculator)


def argon_calculator():
    return LennardJones(epsilon=0.0104, sigma=3.40, rc=CUTOFF)


def slab() -> Atoms:
    """Copper whose two lowest layers are fixed, far from where they would like to be."""
    atoms = fcc111("Cu", (2, 2, 4), a=3.55, vacuum=6.0)
    atoms.rattle(0.05, seed=1)
    atoms.positions[:4, 2] += 0.3
    atoms.set_constraint(FixAtoms(mask=atoms.get_tags() > 2))
    atoms.info["id"] = "slab"
    return atoms


@pytest.mark.extended
def test_steps_of_a_slab_are_ases():
    assert_steps_are_ases([slab()], None, None, kr.potentials.EMT(), EMT)


# What stays put


@pytest.fixture(params=CELL_CASES)
def relaxed(request):
    """Every constraint, relaxed: the cell, the starts, the result."""
    return relaxed_in(request.param)


@functools.cache
def relaxed_in(name_of_cell):
    starts = [held_argon(name) for name in CONSTRAINTS]
    cell = CELLS[name_of_cell]
    # The optimizer and the potential of the comparison with ASE: nothing is compiled for it.
    result = kr.relax(starts, lennard_jones(), "ase-lbfgs", fmax=2e-3, cell=cell)
    assert result.converged.all()
    return name_of_cell, dict(zip(CONSTRAINTS, zip(starts, result.atoms, strict=True), strict=True))


def test_what_is_fixed_does_not_move(relaxed):
    cell, pairs = relaxed
    before, after = pairs["atoms"]
    assert len(np.unique(np.abs(after.positions - before.positions).max(axis=1) > 1e-3)) == 2
    fixed = [0, 3]
    if cell == "fixed cell":
        assert np.array_equal(after.positions[fixed], before.positions[fixed])
        # Along axes, coordinates are kept as they are; along others, to rounding.
        before, after = pairs["cartesian"]
        assert np.array_equal(after.positions[1:3, [0, 2]], before.positions[1:3, [0, 2]])
        assert (after.positions[1:3, 1] != before.positions[1:3, 1]).all()
        for name, atoms, normals in (
            ("line", [0, 5], [[1, -1, 0], [0, 0, 1]]),
            ("plane", [2, 3], [[1, 2, -1]]),
            ("several", [1, 2], [[0, 1, 1]]),
            ("several", [2], [[1, 0, 0]]),
        ):
            before, after = pairs[name]
            moved = (after.positions - before.positions)[atoms]
            assert np.abs(moved).max() > 1e-4, name
            np.testing.assert_allclose(moved @ np.transpose(normals), 0, atol=1e-13, err_msg=name)
    else:
        assert np.abs(after.cell.array - before.cell.array).max() > 1e-2
    scaled = [a.get_scaled_positions(wrap=False)[fixed] for a in (before, after)]
    if cell != "fixed cell":
        np.testing.assert_allclose(*scaled, rtol=0, atol=1e-12)
    before, after = pairs["scaled"]
    scaled = [a.get_scaled_positions(wrap=False)[[0, 1, 4]] for a in (before, after)]
    np.testing.assert_allclose(scaled[1][:, :2], scaled[0][:, :2], rtol=0, atol=1e-12)
    assert np.abs(scaled[1][:, 2] - scaled[0][:, 2]).min() > 1e-5
    # And the energy is least along the lattice vector that is left, whatever the cell became.
    along = after.cell.array[2] / after.cell.lengths()[2]
    assert np.abs(after.get_forces(apply_constraint=False)[[0, 1, 4]] @ along).max() < 2.5e-3


def test_the_centre_of_mass_stays(relaxed):
    before, after = relaxed[1]["com"]
    centres = [a.get_center_of_mass(scaled=True) for a in (before, after)]
    np.testing.assert_allclose(*centres, rtol=0, atol=1e-11)
    assert np.abs(before.get_center_of_mass() - after.get_center_of_mass()).max() < (
        1e-10 if relaxed[0] == "fixed cell" else np.inf
    )


def test_a_slab_is_judged_by_the_atoms_that_may_move(tmp_path):
    atoms = slab()
    result = kr.relax(
        atoms, kr.potentials.EMT(), "ase-lbfgs", fmax=0.02, output=tmp_path / "out.traj"
    )
    [got] = result.atoms
    assert result.converged[0]
    fixed = atoms.constraints[0].index
    assert np.array_equal(got.positions[fixed], atoms.positions[fixed])
    raw = np.linalg.norm(got.get_forces(apply_constraint=False), axis=1)
    assert raw[fixed].max() > 0.5
    assert np.linalg.norm(got.get_forces(), axis=1).max() == pytest.approx(result.fmax[0])
    assert result.fmax[0] < 0.02
    again = got.copy()
    again.calc = EMT()
    np.testing.assert_allclose(
        again.get_forces(apply_constraint=False), got.get_forces(apply_constraint=False), atol=1e-9
    )
    for kept in (got, ase.io.read(tmp_path / "out.traj")):
        assert np.array_equal(kept.constraints[0].index, fixed)


def test_constraints_in_files_are_honoured_and_written(tmp_path):
    poscar, extxyz = argon(), argon()
    # What POSCAR says is along lattice vectors.
    poscar.set_constraint([FixScaled([1, 2], (True, False, True)), FixAtoms([0])])
    ase.io.write(tmp_path / "POSCAR", poscar, format="vasp", direct=True)
    extxyz.set_constraint([FixCartesian([1, 2], (True, False, True)), FixAtoms([0])])
    ase.io.write(tmp_path / "in.extxyz", extxyz)
    files = [tmp_path / "POSCAR", tmp_path / "in.extxyz"]
    out = tmp_path / "out.extxyz"
    with pytest.warns(UserWarning, match="FixScaled"):
        result = kr.relax(files, lennard_jones(), "ase-lbfgs", fmax=2e-3, output=out)
    assert result.converged.all()
    starts = [ase.io.read(file) for file in files]
    for before, after in zip(starts, result.atoms, strict=True):
        assert [type(c) for c in after.constraints] == [type(c) for c in before.constraints]
        assert np.array_equal(after.positions[0], before.positions[0])
        assert np.abs(after.positions - before.positions)[3:].min(axis=0).all()
        assert np.linalg.norm(after.get_forces(apply_constraint=False), axis=1).max() > 2e-3
    moved = result.atoms[1].positions - starts[1].positions
    assert not moved[1:3, [0, 2]].any()
    assert moved[1:3, 1].all()
    scaled = [a.get_scaled_positions(wrap=False) for a in (starts[0], result.atoms[0])]
    np.testing.assert_allclose(scaled[0][1:3, [0, 2]], scaled[1][1:3, [0, 2]], rtol=0, atol=1e-12)
    assert (scaled[0][1:3, 1] != scaled[1][1:3, 1]).all()
    fixed = np.zeros((8, 3), bool)
    for constraint in ase.io.read(out, index=1).constraints:
        fixed[constraint.index] |= constraint.mask
    assert fixed.tolist() == [[True] * 3, *[[True, False, True]] * 2, *[[False] * 3] * 5]


# Symmetry


@pytest.mark.parametrize("cell", CELL_CASES)
def test_the_space_group_stays(cell):
    spglib = pytest.importorskip("spglib", reason="FixSymmetry finds its operations with spglib")
    starts = [symmetric_argon(name) for name in GROUPS]
    result = kr.relax(starts, lennard_jones(), "ase-lbfgs", fmax=1e-3, cell=CELLS[cell])
    assert result.converged.all()
    assert result.n_steps.min() > 5
    for before, after in zip(starts, result.atoms, strict=True):
        assert space_group(spglib, before) == before.info["number"]
        assert space_group(spglib, after) == before.info["number"]
        if cell == "fixed cell":
            assert np.array_equal(before.cell.array, after.cell.array)


@pytest.mark.extended
@pytest.mark.parametrize("cell", ["frechet"])
def test_the_space_groups_of_crystals_stay(cell):
    spglib = pytest.importorskip("spglib", reason="FixSymmetry finds its operations with spglib")
    # Of three size classes.
    names = ("hcp Ag", "caesium chloride NiAl", "CuAu CuAu", "Cu3Au AlNi", "anatase PdCu")
    crystals = [c for c in symmetric_crystals() if c.atoms.info["id"] in names]
    for one in crystals:
        one.atoms.set_constraint(FixSymmetry(one.atoms))
    starts = [one.atoms for one in crystals]
    result = kr.relax(starts, kr.potentials.EMT(), fmax=0.01, max_steps=60, cell=CELLS[cell])
    assert result.converged.any()
    for one, after in zip(crystals, result.atoms, strict=True):
        assert space_group(spglib, after) == one.number, one.atoms.info["id"]


def space_group(spglib, atoms):
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    return spglib.get_symmetry_dataset(cell, symprec=1e-5).number


def test_a_mask_without_the_symmetry_is_refused():
    pytest.importorskip("spglib", reason="FixSymmetry finds its operations with spglib")
    refused, kept = bulk("Ar", a=5.3), symmetric_argon("P212121")
    refused.set_constraint(FixSymmetry(refused))
    refused.info["id"] = "fcc"
    cell = kr.FrechetCell(mask=[1, 1, 0, 0, 0, 0], max_strain=1.0)
    result = kr.relax([refused, kept], lennard_jones(), "ase-lbfgs", fmax=1e-3, cell=cell)
    assert result.status[0] == "failed"
    assert re.search("mask.*FixSymmetry cannot be kept together", result.reason[0])
    assert result.converged[1]
    change = result.atoms[1].cell.array - kept.cell.array
    assert np.abs(np.diag(change)[:2]).min() > 1e-3
    np.testing.assert_allclose(change - np.diag([*np.diag(change)[:2], 0]), 0, atol=1e-13)


# The same bits


def mixed() -> list[Atoms]:
    """Held and free, crystals, clusters and slabs."""
    cluster = argon_cluster(7)
    cluster.set_constraint([FixAtoms([2]), FixedLine([4], [0, 1, 2])])
    film = fcc111("Ar", (1, 1, 4), a=5.4, vacuum=8.0)
    film.rattle(0.1, seed=2)
    film.set_constraint(FixAtoms([0]))
    film.info["id"] = "film"
    held = [held_argon(name, seed) for name in CONSTRAINTS for seed in (3, 7)[name != "atoms" :]]
    return [*held, argon(7), argon_cluster(5), cluster, film]


@pytest.mark.parametrize(
    ("cell", "dtype", "names"),
    [
        # A kind of map is a program; several constraints are one map.
        (None, "float32", ("com",)),
        pytest.param("frechet", "float64", ("several",), marks=pytest.mark.exact),
        pytest.param(None, "float32", None, marks=pytest.mark.extended),
        pytest.param("frechet", "float64", None, marks=pytest.mark.extended),
    ],
)
def test_held_structures_relax_together_as_they_do_alone(cell, dtype, names):
    if names:
        starts = [held_argon(name, seed) for name in names for seed in (3, 7, 11)]
        starts.append(argon(7))
    else:
        pytest.importorskip("spglib", reason="FixSymmetry finds its operations with spglib")
        starts = [*mixed(), *(symmetric_argon(name) for name in GROUPS)]
    report = kr.verify(
        starts, lennard_jones(skin=0.5), draws=4, cell=cell, dtype=dtype, fmax=2e-3, max_steps=40
    )
    assert report.ok, report


@pytest.mark.exact
@pytest.mark.extended
def test_a_free_structure_gets_the_bits_that_it_gets_beside_held_ones():
    free = [argon(7), argon_cluster(5)]
    options = {"optimizer": "ase-lbfgs", "cell": CELLS["frechet"]}
    alone = kr.relax(free, lennard_jones(), **options)
    beside = kr.relax(
        [held_argon("line"), free[0], held_argon("com"), free[1]], lennard_jones(), **options
    )
    for i, j in ((1, 0), (3, 1)):
        assert_same_result(beside, i, alone, j)
