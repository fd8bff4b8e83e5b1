"""A part of a program whose results are computed once and stored."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import assert_same_bits
from kups_relax.ops import apart

pytestmark = pytest.mark.exact


def parts(x, y):
    return {"sum": x + y, "n": jnp.arange(3), "large": (x > 0, jnp.stack([x, y]))}


def test_results_are_those_of_the_function():
    x = jnp.arange(5.0)
    for call in (apart, jax.jit(apart, static_argnums=1)):
        assert_same_bits(call(x[1] > 0, parts, x, 2 * x), parts(x, 2 * x))


def test_results_are_zero_where_they_do_not_matter():
    x = jnp.arange(5.0) + jnp.nan
    got = jax.jit(apart, static_argnums=1)(jnp.array(False), parts, x, x)
    assert_same_bits(got, jax.tree.map(jnp.zeros_like, parts(x, x)))


def test_the_compiler_keeps_it_apart():
    def program(x):
        return apart(x[0] > 0, lambda x: (x * x).sum(), x) + x

    text = jax.jit(program).lower(jnp.ones(8)).compile().as_text()
    assert "conditional" in text


def test_it_maps_and_scans():
    x = np.arange(12.0, dtype=np.float32).reshape(3, 4)

    def step(carry, row):
        return carry + apart(row[0] >= 0, jnp.sin, row), None

    expected = sum(np.asarray(jnp.sin(row)) for row in x)
    assert_same_bits(jax.lax.scan(step, jnp.zeros(4), x)[0], expected)
    mapped = jax.vmap(lambda row: apart(row[0] >= 0, jnp.sin, row))(x)
    np.testing.assert_array_equal(mapped, jnp.sin(x))
