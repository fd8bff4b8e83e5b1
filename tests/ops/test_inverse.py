"""Inverses of symmetric matrices, against NumPy, and alone against any company."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import DTYPES, assert_same_bits
from kups_relax.ops import inverse, times
from support.crossing import in_turns

pytestmark = pytest.mark.exact

N_LANES = 4
TRUE = np.array(True)


def matrices(n, dtype, seed=0, n_lanes=N_LANES):
    """Positive definite, of eigenvalues from 0.03 to 100."""
    random = np.random.default_rng([n, seed])
    made = []
    for _ in range(n_lanes):
        q, _ = np.linalg.qr(random.normal(size=(n, n)))
        made.append((q * np.geomspace(0.03, 100, n)) @ q.T)
    a = np.array(made)
    return ((a + a.swapaxes(1, 2)) / 2).astype(dtype)


inverted = jax.jit(inverse)


# 33 is padded; 8 is one block of columns.
@pytest.mark.parametrize(("n", "dtype"), in_turns([8, 24, 33, 96], DTYPES))
def test_inverses_are_those_of_numpy(n, dtype):
    a = matrices(n, dtype)
    with jax.enable_x64(dtype == "float64"):
        got = np.asarray(inverted(a, TRUE))
    assert got.dtype == dtype
    expected = np.linalg.inv(a.astype("f8"))
    # The condition is 3e3.
    assert np.abs(got - expected).max() < 1e4 * np.finfo(dtype).eps * np.abs(expected).max()


@pytest.mark.parametrize(("n", "dtype"), in_turns([24, 33], DTYPES[::-1]))
def test_bits_depend_on_the_matrix_alone(n, dtype):
    a, others = matrices(n, dtype), matrices(n, dtype, seed=1, n_lanes=3)

    @jax.jit
    def program(a, others):
        """Another program, with another number of lanes, which goes on to compute with it."""
        company = jnp.concatenate([others[:1], a[2:3] * 1, others[1:]])
        got = inverse(company, company[0, 0, 0] > 0)
        return got, (got * company).sum()

    with jax.enable_x64(dtype == "float64"):
        together = inverted(a, TRUE)
        for lane in range(N_LANES):
            assert_same_bits(inverted(a[lane : lane + 1], TRUE)[0], together[lane])
        assert_same_bits(inverted(a[::-1], TRUE)[::-1], together)
        assert_same_bits(program(a, others)[0][1], together[2])


@pytest.mark.parametrize(
    "spoilt", [np.zeros((33, 33)), np.full((33, 33), np.nan)], ids=["zero", "nan"]
)
def test_a_singular_matrix_spoils_itself_alone(spoilt):
    a = matrices(33, "f8")
    with jax.enable_x64(True):
        good = np.asarray(inverted(a, TRUE))
        a[1] = spoilt
        got = np.asarray(inverted(a, TRUE))
    assert not np.isfinite(got[1]).all()
    assert_same_bits(got[[0, 2, 3]], good[[0, 2, 3]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lead", [(), (5,), (2, 3)], ids=str)
def test_products_with_vectors_are_those_of_numpy(dtype, lead):
    a = matrices(33, dtype)
    x = np.random.default_rng(0).normal(size=(*lead, 33, N_LANES)).astype(dtype)
    with jax.enable_x64(dtype == "float64"):
        got = np.asarray(jax.jit(times)(a, x))
    assert got.shape == x.shape
    assert got.dtype == dtype
    expected = np.einsum("lij,...jl->...il", a.astype("f8"), x.astype("f8"))
    assert np.abs(got - expected).max() < 1e2 * np.finfo(dtype).eps * np.abs(expected).max()
