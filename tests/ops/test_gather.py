"""Rows taken by index, and derivatives that are gathered too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import DTYPES, assert_same_bits
from kups_relax.ops import fold, gather, inverse_list, take_rows


def case(seed=0, n_rows=9, shape=(7, 2), lanes=3, dtype="float64"):
    """Values, an index that takes some rows often and some never, and its padded inverse."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(3, n_rows, lanes)).astype(dtype)
    index = random.integers(0, max(1, n_rows - 2), size=(*shape, lanes)).astype(np.int32)
    lists = [inverse_list(index[..., lane], n_rows) for lane in range(lanes)]
    inverse = np.full((n_rows, max(i.shape[1] for i in lists), lanes), -1, np.int32)
    for lane, one in enumerate(lists):
        inverse[:, : one.shape[1], lane] = one
    return x, index, inverse


def scattered(x, index, out):
    """What a gather's derivative is: each slot's part added to the row that it took."""
    total = np.zeros_like(x)
    for lane in range(x.shape[-1]):
        flat = out[..., lane].reshape(x.shape[0], -1)
        for component in range(x.shape[0]):
            np.add.at(total[component, :, lane], index[..., lane].reshape(-1), flat[component])
    return total


def test_rows_are_taken_for_each_lane_on_its_own():
    x, index, inverse = case()
    expected = np.stack([x[:, index[..., lane], lane] for lane in range(3)], axis=-1)
    with jax.enable_x64(True):
        assert_same_bits(take_rows(jnp.asarray(x), jnp.asarray(index)), expected)
        assert_same_bits(jax.jit(gather)(x, index, inverse), expected)


@pytest.mark.parametrize("n_rows", [1, 9])
@pytest.mark.parametrize("shape", [(0, 2), (1, 1), (7, 2), (11, 4)])
def test_the_derivative_is_the_scattered_sum(n_rows, shape):
    # Whole numbers, so that every order of addition gives the same sum.
    x, index, inverse = case(0, n_rows, shape)
    out = np.random.default_rng(1).integers(-99, 99, size=(3, *index.shape)).astype(float)
    with jax.enable_x64(True):
        _, transpose = jax.vjp(lambda x: gather(x, index, inverse), jnp.asarray(x))
        (got,) = transpose(jnp.asarray(out))
    assert_same_bits(got, scattered(x, index, out))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_derivative_is_added_in_the_order_of_the_list(dtype):
    x, index, inverse = case(n_rows=4, shape=(40, 2), dtype=dtype)
    out = np.random.default_rng(1).normal(size=(3, *index.shape)).astype(dtype)
    with jax.enable_x64(dtype == "float64"):
        _, transpose = jax.vjp(lambda x: gather(x, index, inverse), jnp.asarray(x))
        (got,) = transpose(jnp.asarray(out))
        flat = out.reshape(3, -1, 3)
        taken = np.zeros((3, inverse.shape[1], 4, 3), dtype)
        for lane in range(3):
            for row in range(4):
                mine = inverse[row, :, lane]
                taken[:, :, row, lane] = np.where(mine >= 0, flat[:, np.maximum(mine, 0), lane], 0)
        expected = jax.jit(fold, static_argnums=1)(taken, 1)
    assert_same_bits(got, expected)


def test_the_derivative_holds_no_scatter():
    x, index, inverse = case()

    def energy(x):
        return jnp.sum(gather(x, index, inverse) ** 2)

    text = jax.jit(jax.grad(energy)).lower(jnp.asarray(x)).as_text()
    assert "gather" in text
    assert "scatter" not in text


def quartic(index, inverse):
    """An energy with second derivatives, by our gather and by plain indexing."""

    def by_gather(x):
        ends = gather(x, index, inverse)
        d = ends[:, :, 1] - ends[:, :, 0]
        return jnp.sum(d**4) + jnp.sum(x**3)

    def by_indexing(x):
        ends = jnp.stack([x[:, index[..., lane], lane] for lane in range(3)], axis=-1)
        d = ends[:, :, 1] - ends[:, :, 0]
        return jnp.sum(d**4) + jnp.sum(x**3)

    return by_gather, by_indexing


# The same sums in another order: a few units in the last place of terms of order 100.
ORDER = {"rtol": 1e-12, "atol": 1e-12}


def test_forward_over_reverse_gives_hessian_products():
    x, index, inverse = case()
    v = np.random.default_rng(2).normal(size=x.shape)
    with jax.enable_x64(True):
        got, expected = (
            jax.jit(lambda x, v, f=energy: jax.jvp(jax.grad(f), (x,), (v,)))(x, v)
            for energy in quartic(index, inverse)
        )
    np.testing.assert_allclose(got[0], expected[0], **ORDER)
    np.testing.assert_allclose(got[1], expected[1], **ORDER)


def test_reverse_over_reverse_and_forward_give_the_same_hessian_products():
    x, index, inverse = case()
    v = np.random.default_rng(2).normal(size=x.shape)
    by_gather, by_indexing = quartic(index, inverse)
    with jax.enable_x64(True):
        got, expected = (
            jax.jit(jax.grad(lambda x, f=energy: jnp.vdot(jax.grad(f)(x), v)))(x)
            for energy in (by_gather, by_indexing)
        )
        slope = jax.jit(lambda x: jax.jvp(by_gather, (x,), (v,))[1])(x)
        same = jax.jit(lambda x: jnp.vdot(jax.grad(by_indexing)(x), v))(x)
    np.testing.assert_allclose(got, expected, **ORDER)
    np.testing.assert_allclose(slope, same, **ORDER)


@settings(max_examples=30, deadline=None, database=None)
@given(st.integers(1, 12), st.lists(st.integers(0, 11), max_size=40), st.integers(1, 4))
def test_inverse_list_names_every_slot_once_in_the_row_that_it_took(n_rows, labels, width):
    index = np.array([label % n_rows for label in labels], np.int32)
    index = index[: len(index) // width * width].reshape(-1, width)
    inverse = inverse_list(index, n_rows)
    flat = index.reshape(-1)
    assert inverse.dtype == np.int32
    counts = np.bincount(flat, minlength=n_rows)
    assert inverse.shape == (n_rows, max(1, counts.max()))
    for row, slots in enumerate(inverse):
        real = slots[: counts[row]]
        assert np.array_equal(real, np.flatnonzero(flat == row))
        assert (slots[counts[row] :] == -1).all()
