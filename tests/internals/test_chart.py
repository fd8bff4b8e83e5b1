"""Internal coordinates on the device against finite differences and plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk, molecule

from kups_relax import coordinates, internals
from kups_relax.data import Terms
from kups_relax.internals import Chart
from kups_relax.io import structures_from

CASES = ("CH3CH2OH", "C3H4_C3v", "isobutane", "C6H6", "NF3", "BF3", "C2H2", "bicyclobutane", "H2O")


def laid_out(arrays, n_atoms):
    """Arrays of one structure as the only lane, nothing padded."""
    made = {name: jnp.asarray(array)[..., None] for name, array in arrays.items()}
    return Terms(arrays=made, counts={"atoms": jnp.array([n_atoms], jnp.int32)})


def chart_of(atoms, cell=None):
    structure = next(iter(structures_from(atoms)))
    moving, moves = coordinates.coordinates_of(structure, coordinates.get(cell))
    guide, arrays = internals.guide_of(structure, moving, moves)
    inside = cell is not None
    chart = Chart(
        guide=guide,
        terms=laid_out(arrays, len(atoms)),
        factor=jnp.array([float(moves["factor"])]) if inside else None,
        mask=jnp.asarray(moves["mask"])[..., None] if inside else None,
    )
    x = structure.positions.T[..., None]
    if inside:
        x = np.concatenate([x, np.zeros((3, 3, 1))], axis=1)
    return chart, jnp.asarray(x)


def rattled(name, seed=0):
    atoms = molecule(name)
    atoms.rattle(0.1, rng=np.random.default_rng(seed))
    return atoms


def crystal(symbol):
    atoms = bulk(symbol, cubic=True)
    atoms.rattle(0.05, seed=1)
    return atoms


@pytest.mark.parametrize("atoms", [*map(rattled, CASES), crystal("Si"), crystal("Cu")], ids=str)
@pytest.mark.parametrize("cell", [None, "frechet"])
def test_slopes_are_those_of_the_values(atoms, cell):
    if cell and not atoms.pbc.any():
        pytest.skip("a molecule has no cell to change")
    with jax.enable_x64(True):
        chart, x = chart_of(atoms, cell)
        reading = chart.read(x)
        step = 1e-5 * np.random.default_rng(0).normal(size=x.shape)
        if cell:
            # To first order of the strain, rotations aside, the rows of the cell are F - 1.
            step[:, -3:] += step[:, -3:].swapaxes(0, 1)
        ahead, behind = chart.read(x + step).values, chart.read(x - step).values
        change = np.asarray(chart.difference(ahead, behind)) / 2
        slope = np.asarray(chart.along(reading, jnp.asarray(step)))
    assert np.abs(change - slope).max() < 1e-8 * max(1, np.abs(slope).max() / 1e-5)


@pytest.mark.parametrize("atoms", [*map(rattled, CASES), crystal("Si"), crystal("Cu")], ids=str)
@pytest.mark.parametrize("cell", [None, "frechet"])
def test_hessian_is_that_of_all_rows(atoms, cell):
    if cell and not atoms.pbc.any():
        pytest.skip("a molecule has no cell to change")
    with jax.enable_x64(True):
        chart, x = chart_of(atoms, cell)
        reading = chart.read(x)
        n = x.size
        units = jnp.eye(n).reshape(n, *x.shape)
        b = np.asarray(chart.along(reading, units))[..., 0].T
        weights = np.asarray(reading.weights)[:, 0]
        ridge = np.asarray(chart.ridge(reading)).reshape(-1)
        expected = b.T @ (weights[:, None] * b) + np.diag(ridge)
        got = np.asarray(chart.hessian(reading))[0]
        pulled = np.asarray(chart.pull(reading, jnp.asarray(weights)[:, None])).reshape(-1)
    assert np.abs(got - expected).max() < 1e-10 * np.abs(expected).max()
    assert np.allclose(pulled, b.T @ weights, rtol=1e-10, atol=1e-10)
    assert np.linalg.eigvalsh(got).min() > 0
