"""Internal coordinates on the device against finite differences and plain NumPy."""

import dataclasses
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.constraints import FixAtoms, FixedPlane, FixScaled

from kups_relax import coordinates, internals
from kups_relax.internals import Chart
from kups_relax.io import structures_from
from kups_relax.optimizers._solver import Solver
from kups_relax.relaxation import axis_lengths
from kups_relax.relaxation._classes import SizeClass
from kups_relax.relaxation._tiles import Block

MOLECULES = (
    *("CH3CH2OH", "C3H4_C3v", "isobutane", "C6H6", "NF3", "BF3", "C2H2", "bicyclobutane", "H2O"),
    *("CO2", "C3H4_D2d"),
)


def rattled(name, seed=0):
    atoms = molecule(name)
    atoms.rattle(0.1, rng=np.random.default_rng(seed))
    return atoms


def crystal(symbol, seed, hold=None):
    atoms = bulk(symbol, cubic=True)
    atoms.rattle(0.05, seed=seed)
    shear = 0.03 * np.random.default_rng(seed).normal(size=(3, 3))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + shear), scale_atoms=True)
    atoms.set_constraint(hold)
    return atoms


def held(atoms):
    atoms.set_constraint([FixAtoms([0]), FixedPlane(1, (1, 2, 2))])
    return atoms


# Each is a program: structures in its lanes, and how the cell changes.
FORMS = {
    "molecules": ([rattled(name) for name in MOLECULES], None),
    "held molecules": ([held(rattled(name)) for name in MOLECULES], None),
    "network": ([crystal("Si", seed) for seed in range(2)], None),
    "moving network": ([crystal("Si", seed) for seed in range(2)], "frechet"),
    "packed": ([crystal("Cu", seed) for seed in range(2)], None),
    "moving, packed": ([crystal("Cu", seed) for seed in range(2)], "unit"),
    "scaled, moving, packed": (
        [crystal("Cu", seed, FixScaled([0, 2], (True, False, False))) for seed in range(2)],
        "frechet",
    ),
    "held, moving network": (
        [crystal("Si", seed, FixedPlane(1, (1, 2, 2))) for seed in range(2)],
        "frechet",
    ),
}


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a chart made of the structures of a form; `atoms` each, lanes last."""

    n_atoms: list[int]
    free: np.ndarray | None
    change: np.ndarray
    slope: np.ndarray
    units: np.ndarray
    weights: np.ndarray
    ridge: np.ndarray
    hessian: np.ndarray
    times: np.ndarray
    diagonal: np.ndarray
    pulled: np.ndarray


def tile_of(images, cell):
    """A chart with a lane for each structure and one that is empty, and x."""
    structures = structures_from(images)
    made = []
    for structure in structures:
        moving, moves = coordinates.coordinates_of(structure, coordinates.get(cell))
        made.append((*internals.guide_of(structure, moving, moves), moves))
    [guide] = {guide for guide, *_ in made}
    lengths = [axis_lengths(guide, arrays) for _, arrays, _ in made]
    n_atoms = max(s.n_atoms for s in structures)
    axes = {a: max(own[a] for own in lengths) + 1 for a in lengths[0] if a != "atoms"}
    size = SizeClass(n_atoms, len(made) + 1, tuple(axes.items()))
    block = Block(guide.fields(), size, np.dtype("f8"))
    rows = n_atoms + (3 if cell else 0)
    x, factor, mask = np.zeros((3, rows, size.n_lanes)), np.ones(size.n_lanes), np.zeros((3, 3, 1))
    mask = np.repeat(mask, size.n_lanes, axis=2)
    for lane, (structure, (_, arrays, moves)) in enumerate(zip(structures, made, strict=True)):
        block.put(lane, structure.n_atoms, arrays)
        x[:, : structure.n_atoms, lane] = structure.positions.T
        if cell:
            factor[lane], mask[..., lane] = moves["factor"], moves["mask"]
    given = (jnp.asarray(factor), jnp.asarray(mask)) if cell else (None, None)
    return Chart(guide=guide, terms=block.on_device(), factor=given[0], mask=given[1]), x


@jax.jit
def look(chart: Chart, x: Any, step: Any, units: Any):
    reading = chart.read(x)
    # To first order of the strain, rotations aside, the rows of the cell are F - 1.
    change = chart.difference(chart.read(x + step).values, chart.read(x - step).values) / 2
    return {
        "change": change,
        "slope": chart.along(reading, step),
        "units": chart.along(reading, units),
        "weights": reading.weights,
        "ridge": chart.ridge(reading),
        "hessian": chart.hessian(reading),
        "times": chart.times(reading, units),
        "diagonal": chart.diagonal(reading),
        "pulled": chart.pull(reading, reading.weights),
    }


@pytest.fixture(
    params=[
        pytest.param(f, marks=pytest.mark.extended if f in ("network", "packed") else [])
        for f in FORMS
    ]
)
def seen(request):
    return seen_in(request.param)


@functools.cache
def seen_in(form):
    images, cell = FORMS[form]
    with jax.enable_x64(True):
        chart, x = tile_of(images, cell)
        step = 1e-5 * np.random.default_rng(0).normal(size=x.shape)
        if cell:
            step[:, -3:] += step[:, -3:].swapaxes(0, 1)
        n = x.shape[0] * x.shape[1]
        units = np.eye(n).reshape(n, *x.shape[:2], 1) * np.ones(x.shape[-1])
        got = jax.tree.map(np.asarray, look(chart, x, step, units))
    assert chart.guide.held == any(atoms.constraints for atoms in images)
    free = np.asarray(chart.terms["free"]) if chart.guide.held else None
    return Seen(n_atoms=[len(a) for a in images], free=free, **got)


def test_slopes_are_those_of_the_values(seen):
    longest = np.abs(seen.slope).max(axis=0)
    assert (longest[: len(seen.n_atoms)] > 1e-6).all()
    assert (np.abs(seen.change - seen.slope) < 1e-8 * np.maximum(1, longest / 1e-5)).all()


def projection(seen, lane, n):
    """What forces on all of x are turned into where atoms are held."""
    whole = np.eye(n).reshape(3, n // 3, 3, n // 3)
    if seen.free is not None:
        for atom in range(seen.free.shape[2]):
            whole[:, atom, :, atom] = seen.free[..., atom, lane]
    return whole.reshape(n, n)


def test_the_hessian_is_that_of_all_rows(seen):
    for lane in range(len(seen.n_atoms)):
        b, weights = seen.units[..., lane].T, seen.weights[:, lane]
        ridge = seen.ridge[..., lane].reshape(-1)
        p = projection(seen, lane, len(ridge))
        expected = p @ b.T @ (weights[:, None] * b) @ p.T + np.diag(ridge)
        got = seen.hessian[lane]
        assert np.abs(got - expected).max() < 1e-10 * np.abs(expected).max()
        assert np.linalg.eigvalsh(got).min() > 0
        product = seen.times[..., lane].reshape(len(ridge), -1).T
        assert np.abs(product - expected).max() < 1e-10 * np.abs(expected).max()
        pulled = seen.pulled[..., lane].reshape(-1)
        assert np.allclose(pulled, p @ b.T @ weights, rtol=1e-10, atol=1e-10)


def test_the_diagonal_is_that_of_all_rows_but_for_an_atom_and_its_own_image(seen):
    for lane in range(len(seen.n_atoms)):
        b = seen.units[..., lane].T
        expected = (b * b * seen.weights[:, lane, None]).sum(axis=0) + seen.ridge[..., lane].ravel()
        got = seen.diagonal[..., lane].reshape(-1)
        assert (got > expected * (1 - 1e-10)).all()
        if len(seen.n_atoms) == len(MOLECULES):
            assert np.allclose(got, expected, rtol=1e-10)


@pytest.mark.parametrize("form", ["held molecules", "scaled, moving, packed"])
def test_conjugate_gradients_solve_for_the_hessian(form):
    with jax.enable_x64(True):
        chart, x = tile_of(*FORMS[form])
        right = np.random.default_rng(0).normal(size=(2, *x.shape))
        right, matrix, diagonal = (np.array(part) for part in problem(chart, x, right))
        right[..., -1] = 0.0
        without = dataclasses.replace(chart, guide=dataclasses.replace(chart.guide, dense=False))
        got = np.asarray(solved(without, x, right))
    for lane, k in itertools.product(range(x.shape[-1] - 1), range(2)):
        b, scale = right[k, ..., lane].ravel(), np.sqrt(diagonal[..., lane].ravel())
        left = b - matrix[lane] @ got[k, ..., lane].ravel()
        assert 0 < np.linalg.norm(left / scale) < 3.1e-3 * np.linalg.norm(b / scale)
    assert (got[..., -1] == 0).all()


@jax.jit
def problem(chart, x, right):
    reading = chart.read(x)
    if chart.guide.held:
        # What is held is not asked to move, and an empty lane moves nothing.
        right = chart.pull(reading, reading.weights * chart.along(reading, right))
    return right, chart.hessian(reading), chart.diagonal(reading)


@jax.jit
def solved(chart, x, right):
    solver = Solver.at(chart, chart.read(x), jnp.array(True))
    return solver.solve(right)


def test_an_empty_lane_and_rows_that_pad_have_no_stiffness(seen):
    empty = len(seen.n_atoms)
    assert (seen.weights[:, empty] == 0).all()
    assert (seen.weights >= 0).all()
    assert (seen.weights[-1] == 0).all()
    assert np.isfinite(seen.hessian).all()
