"""3 x 3 matrices of many lanes, against NumPy and SciPy."""

import jax
import numpy as np
import pytest
import scipy.linalg

from helpers import assert_same_bits
from kups_relax.coordinates import shrinkage
from kups_relax.ops import matrices as m
from kups_relax.ops import rounded

pytestmark = pytest.mark.exact


def lanes(scale, n=12, seed=0):
    return scale * np.random.default_rng(seed).standard_normal((3, 3, n))


def each(function, *matrices):
    """What a function of one matrix gives, lane by lane."""
    return np.stack([function(*(x[..., i] for x in matrices)) for i in range(12)], axis=-1)


def run(function, *args):
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, jax.jit(rounded(function))(*args))


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 0.1, 1.0])
def test_exponential_and_its_derivative_are_scipys(scale):
    a, b = lanes(scale), lanes(1.0, seed=1)
    value, slope = run(m.expm1_and_derivative, a, b)
    expected = each(lambda x: scipy.linalg.expm(x) - np.eye(3), a)
    np.testing.assert_allclose(value, expected, rtol=1e-13, atol=3e-16)
    expected = each(lambda x, y: scipy.linalg.expm_frechet(x, y, compute_expm=False), a, b)
    np.testing.assert_allclose(slope, expected, rtol=1e-12, atol=1e-14 * np.exp(scale * 4))


def test_small_matrices_keep_their_digits():
    a = lanes(1e-12)
    np.testing.assert_allclose(run(m.expm1, a), a, rtol=1e-13, atol=2e-23)


def test_the_derivative_of_a_transpose_is_the_adjoint():
    a, b, c = lanes(0.3), lanes(1.0, seed=1), lanes(1.0, seed=2)
    there = run(m.expm1_and_derivative, a, b)[1]
    back = run(m.expm1_and_derivative, np.swapaxes(a, 0, 1), c)[1]
    np.testing.assert_allclose((there * c).sum((0, 1)), (b * back).sum((0, 1)), rtol=1e-12)


def test_products_inverses_and_volumes_are_numpys():
    a, b = lanes(1.0), lanes(1.0, seed=1)
    np.testing.assert_allclose(run(m.multiply, a, b), each(np.matmul, a, b), rtol=1e-12)
    np.testing.assert_allclose(run(m.inverse, a), each(np.linalg.inv, a), rtol=1e-10)
    np.testing.assert_allclose(run(m.determinant, a), each(np.linalg.det, a), rtol=1e-12)
    np.testing.assert_allclose(run(m.norm, a), each(np.linalg.norm, a), rtol=1e-14)
    expected = each(lambda x: np.linalg.norm(x, axis=1), a)
    np.testing.assert_allclose(run(m.row_norms, a), expected, rtol=1e-14)


def test_no_lane_sees_the_others():
    a, b = lanes(0.5), lanes(1.0, seed=1)
    together = run(m.expm1_and_derivative, a, b)
    for i in (0, 7):
        alone = run(m.expm1_and_derivative, a[..., i : i + 1], b[..., i : i + 1])
        assert_same_bits(alone, tuple(x[..., i : i + 1] for x in together))


def test_no_vector_shrinks_by_more_than_the_bound():
    for scale in (0.01, 0.1, 0.3):
        strain = lanes(scale)
        bound = run(shrinkage, strain)
        shortest = [
            np.linalg.svd(np.eye(3) + strain[..., i], compute_uv=False)[-1] for i in range(12)
        ]
        assert (1 - np.array(shortest) <= bound + 1e-12).all()
    # It is tight where a cell shrinks along its axes, and 0 where it grows or turns a little.
    along = np.diag([-0.1, 0.02, 0.0])[..., None]
    assert run(shrinkage, along)[0] == pytest.approx(1 - np.sqrt(0.8))
    assert run(shrinkage, np.diag([0.1, 0.0, 0.3])[..., None])[0] == 0
    turned = np.array([[0.0, 0.1, 0], [-0.1, 0, 0], [0, 0, 0]])[..., None]
    assert run(shrinkage, turned)[0] == 0
