"""An index without rows or keys, and arrays without elements, are no special case."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kups_relax import Index, Table
from kups_relax.ops import Segments, fold, rounded

INDICES = {
    "of no labels": Index.new([]),
    "of no keys": Index.arange(0),
    "without rows": Index.integer(np.zeros(0, int), n=3),
    "without rows, of rank 2": Index.integer(np.zeros((0, 2), int), n=3),
    "of padding alone": Index.integer(np.array([0, 0]), n=0),
    "with rows": Index.integer(np.array([0, 2]), n=3),
}
# Where nothing is added, and what is then left of a key.
BLANK = {"sum_over": 0.0, "mean_over": np.nan, "max_over": -np.inf, "min_over": np.inf}


@pytest.mark.parametrize("reduction", BLANK)
@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
@pytest.mark.parametrize("tail", [(), (0, 2)], ids=str)
def test_every_key_gets_what_nothing_adds_up_to(index, reduction, tail):
    x = np.zeros((*index.shape, *tail))
    got = getattr(index, reduction)(x)
    assert got.keys == index.keys
    assert got.data.shape == (len(index.keys), *tail)
    if not index.is_valid.any():
        assert np.array_equal(got.data, np.full(got.data.shape, BLANK[reduction]), equal_nan=True)


def test_reductions_are_the_same_when_compiled():
    index = INDICES["without rows"]
    x = np.zeros((*index.shape, 0))
    for reduction in BLANK:
        got = jax.jit(lambda i, x, name: getattr(i, name)(x), static_argnums=2)(index, x, reduction)
        assert got.data.shape == (len(index.keys), 0)


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_an_index_without_rows_can_be_taken_apart_and_joined(index):
    assert int(index.counts.data.sum()) == int(index.is_valid.sum())
    assert len(Index.concatenate([index, index])) == 2 * len(index)
    assert len(index[:0]) == 0
    assert Index.new(index.labels).shape == index.shape
    assert index.where(True).shape == index.anonymous().shape == index.shape
    assert not index.reindex([], missing="sentinel").is_valid.any()


@pytest.mark.parametrize("data", [jnp.zeros((0, 3)), {"a": jnp.zeros(0)}, {}], ids=str)
def test_a_table_without_rows_can_be_reckoned_with(data):
    table = Table.new([], data)
    for other in (table + table, table / table, 2 / table, -table, table.subset([])):
        assert len(other) == 0
    assert len(Table.concatenate([table, table])) == 0
    assert len(table.update(Index.new([]), 1.0)) == 0
    assert len(table.update(Index.integer([0, 0], n=0), 1.0)) == 0
    assert list(table) == []
    assert "Keys(0)" in repr(table)


def test_padding_takes_the_fill_from_a_table_without_rows():
    table = Table.new([], jnp.zeros((0, 3)))
    assert np.array_equal(table.take(Index.integer([0, 0], n=0), 7.0), np.full((2, 3), 7.0))


@pytest.mark.parametrize("n_segments", [0, 2])
@pytest.mark.parametrize("n_rows", [0, 3])
def test_segments_without_rows_or_elements(n_segments, n_rows):
    segments = Segments.of(np.full(n_rows, n_segments), n_segments)
    for tail in ((), (0,), (2, 0)):
        x = np.ones((n_rows, *tail))
        for got in (segments.sum(x), segments.max(x, 0.0), segments.min(x, 0.0)):
            assert np.array_equal(got, np.zeros((n_segments, *tail)))


def test_sums_that_are_rewritten_may_have_no_elements():
    x = jnp.ones((2, 3, 0))
    assert rounded(lambda x: x.sum((0, 1)), ordered=True)(x).shape == (0,)


def test_folding_nothing_is_zero():
    assert fold(jnp.ones((0, 3))).tolist() == [0.0, 0.0, 0.0]
    assert fold(jnp.ones((0, 3)), axis=1).shape == (0,)
