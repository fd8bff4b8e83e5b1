"""Sums have the order that is written down, wherever they stand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import DTYPES, assert_same_bits, folded
from kups_relax.ops import fold, fold_max

pytestmark = pytest.mark.exact


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 3, 13, 64, 100])
def test_fold_has_the_written_out_order(n, dtype):
    x = np.random.default_rng(n).normal(size=(n, 3)).astype(dtype)
    with jax.enable_x64(dtype == "float64"):
        assert_same_bits(jax.jit(fold)(x), folded(x))


def test_fold_has_the_same_order_eagerly():
    x = np.random.default_rng(0).normal(size=(33, 3)).astype(np.float32)
    assert_same_bits(fold(jnp.asarray(x)), folded(x))


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_fold_sums_any_axis(axis):
    x = np.random.default_rng(0).normal(size=(5, 13, 6)).astype(np.float32)
    moved = np.moveaxis(x, axis, 0)
    expected = folded(moved.reshape(len(moved), -1)).reshape(moved.shape[1:])
    assert_same_bits(jax.jit(fold, static_argnames="axis")(x, axis=axis), expected)


def test_a_column_sums_alike_wherever_it_stands():
    random = np.random.default_rng(1)
    column = random.normal(size=33).astype(np.float32)
    alone = np.asarray(jax.jit(fold)(column[:, None]))
    for width in (2, 7, 64):
        x = random.normal(size=(33, width)).astype(np.float32)
        place = random.integers(width)
        x[:, place] = column
        assert_same_bits(np.asarray(jax.jit(fold)(x))[place : place + 1], alone)


def test_the_sum_of_nothing_is_zero():
    assert fold(jnp.zeros((0, 3))).tolist() == [0.0, 0.0, 0.0]
    assert fold(jnp.zeros((2, 0)), axis=1).tolist() == [0.0, 0.0]


def test_integers_and_a_single_row_are_exact():
    assert fold(jnp.arange(11)).item() == 55
    assert_same_bits(fold(jnp.array([[-0.0, 2.5]])), np.array([-0.0, 2.5], np.float32))


def test_the_derivative_of_a_sum_is_one_for_every_row():
    gradient = jax.grad(lambda x: fold(x * jnp.arange(13.0)))(jnp.ones(13))
    assert gradient.tolist() == list(range(13))


def test_maximum_is_nan_where_a_value_is():
    x = jnp.array([[1.0, jnp.nan, -jnp.inf], [2.0, 5.0, -jnp.inf]])
    assert np.array_equal(fold_max(x), [2.0, np.nan, -np.inf], equal_nan=True)
    assert np.array_equal(fold_max(x, axis=1), [np.nan, 5.0], equal_nan=True)
