import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import folded
from kups_relax.ops import _segments
from kups_relax.ops._segments import BLOCK, Segments
from support.crossing import in_turns

pytestmark = pytest.mark.exact

FEW = settings(max_examples=20, deadline=None, database=None)
DTYPES = [np.float32, np.float64]


def written_out(x, indices, n_segments):
    """Add the rows of each segment in NumPy, one block after the other, each folded."""
    sums = np.zeros((n_segments, *x.shape[1:]), x.dtype)
    for segment in range(n_segments):
        rows = x[indices == segment]
        for start in range(0, len(rows), BLOCK):
            block = np.zeros((BLOCK, *x.shape[1:]), x.dtype)
            block[: len(rows[start : start + BLOCK])] = rows[start : start + BLOCK]
            sums[segment] += folded(block)
    return sums


@jax.jit
def traced_sum(indices, x, like):
    return Segments.of(indices, len(like)).sum(x)


@jax.jit
def jitted_product_sum(segments, x, y):
    return segments.sum(x * y), jnp.sin(x) + y


def draw(seed, n_rows, n_segments, tail, dtype):
    rng = np.random.default_rng(seed)
    # Sizes that differ by orders of magnitude, so that another order gives other bits.
    x = rng.normal(size=(n_rows, *tail)) * 10.0 ** rng.integers(-6, 6, (n_rows, *tail))
    weights = rng.dirichlet(np.ones(n_segments + 1))
    return rng.choice(n_segments + 1, n_rows, p=weights), x.astype(dtype)


@FEW
@given(
    seed=st.integers(0, 2**32),
    shape=st.sampled_from([(31, 1), (200, 5)]),
    tail=st.sampled_from([(), (3,)]),
    dtype=st.sampled_from(DTYPES),
)
def test_sum_has_the_written_out_order_eager_and_traced(seed, shape, tail, dtype):
    n_rows, n_segments = shape
    indices, x = draw(seed, n_rows, n_segments, tail, dtype)
    expected = written_out(x, indices, n_segments)
    with jax.enable_x64(True):
        eager = Segments.of(indices, n_segments).sum(x)
        traced = traced_sum(indices, x, np.zeros(n_segments))
    assert eager.dtype == dtype
    assert np.array_equal(eager, expected)
    assert np.array_equal(traced, expected)


@FEW
@given(seed=st.integers(0, 2**32), dtype=st.sampled_from(DTYPES))
def test_interleaved_rows_sum_as_they_do_alone(seed, dtype):
    indices, x = draw(seed, 150, 4, (2,), dtype)
    with jax.enable_x64(True):
        together = Segments.of(indices, 4).sum(x)
        for segment in range(4):
            rows = x[indices == segment]
            # Empty places behind the rows, so that few shapes are compiled.
            padded = np.concatenate([rows, np.full((-len(rows) % 50, 2), np.nan, dtype)])
            number = np.where(np.arange(len(padded)) < len(rows), 0, 1)
            alone = Segments.of(number, 1).sum(padded)
            assert np.array_equal(together[segment], alone[0])


@pytest.mark.parametrize(("shape", "dtype"), in_turns([(3, 1), (20, 1), (33, 2), (100, 3)], DTYPES))
def test_products_around_the_sum_do_not_fuse_into_it(shape, dtype):
    n_rows, n_segments = shape
    with jax.enable_x64(True):
        for seed in range(3):
            indices, x = draw(seed, n_rows, n_segments, (), dtype)
            y = draw(seed + 10, n_rows, n_segments, (), dtype)[1]
            segments = Segments.of(indices, n_segments)
            expected = written_out(x * y, indices, n_segments)
            assert np.array_equal(jitted_product_sum(segments, x, y)[0], expected)
            # The rows known to the compiler, down to the number of blocks.
            assert np.array_equal(jax.jit(lambda x, y, s=segments: s.sum(x * y))(x, y), expected)


def test_the_loop_stays_a_loop_when_the_rows_are_known():
    segments = Segments.of(np.zeros(10, int), 1)
    program = jax.jit(segments.sum).lower(jnp.ones(10)).compile().as_text()
    assert program.count(" while(") == 1


def test_of_is_the_same_traced_and_concrete():
    indices = np.array([4, 0, -1, 2, 0, 3, 2, 2**31 - 1], np.int32)
    concrete = Segments.of(indices, 3)
    traced = jax.jit(lambda i: Segments.of(i, 3))(indices)
    assert concrete.order.tolist() == [1, 4, 3, 6, 0, 2, 5, 7]
    assert concrete.starts.tolist() == [0, 2, 2]
    assert concrete.counts.tolist() == [2, 0, 2]
    for a, b in zip(jax.tree.leaves(concrete), jax.tree.leaves(traced), strict=True):
        assert a.dtype == b.dtype == np.int32
        assert np.array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int64, np.uint64])
def test_numbers_of_any_integer_dtype(dtype):
    with jax.enable_x64(True):
        top = np.iinfo(dtype).max
        indices = np.array([2, top, 0, 2], dtype)
        for segments in (
            Segments.of(indices, 300),
            jax.jit(lambda i: Segments.of(i, 300))(indices),
        ):
            assert segments.counts[:3].tolist() == [1, 0, 2]
            assert segments.counts.sum() == (4 if top < 300 else 3)


def test_large_numbers_do_not_wrap_into_a_segment():
    assert Segments.of(np.array([2**32, 0, -(2**32)]), 1).counts.tolist() == [1]


def test_max_and_min_equal_numpy():
    indices, x = draw(0, 100, 3, (2,), np.float32)
    segments = Segments.of(indices, 3)
    for segment in range(3):
        rows = x[indices == segment]
        assert np.array_equal(segments.max(x, -np.inf)[segment], rows.max(0))
        assert np.array_equal(segments.min(x, np.inf)[segment], rows.min(0))


def test_extremes_of_empty_nan_zero_and_bool():
    segments = Segments.of(np.array([0, 0, 1]), 3)
    x = jnp.array([-0.0, -0.0, np.nan])
    assert np.array_equal(segments.max(x, -1.0), [0.0, np.nan, -1.0], equal_nan=True)
    assert not np.signbit(segments.min(x, 1.0)[0])
    assert segments.max(jnp.array([True, False, False]), False).tolist() == [True, False, False]
    assert segments.min(jnp.array([3, -2, 5]), 4).tolist() == [-2, 4, 4]


def test_bools_are_counted():
    total = Segments.of(np.array([0, 1, 0]), 2).sum(np.array([True, False, True]))
    assert total.dtype == np.int32
    assert total.tolist() == [2, 0]


def test_rows_of_others_cannot_leak():
    x = np.array([1.0, np.nan, np.inf, 2.0], np.float32)
    assert Segments.of(np.array([0, 1, 7, 0]), 2).sum(x)[0] == 3.0


@pytest.mark.parametrize(("n_rows", "n_segments"), [(0, 3), (4, 0), (0, 0)])
def test_nothing_to_add(n_rows, n_segments):
    segments = Segments.of(np.zeros(n_rows, int), n_segments)
    assert np.array_equal(segments.sum(jnp.ones((n_rows, 2))), np.zeros((n_segments, 2)))
    assert np.array_equal(segments.max(jnp.ones(n_rows), 5.0), np.full(n_segments, 5.0))


def test_vmap_and_scan_sum_as_single_calls():
    drawn = [draw(seed, 70, 3, (), np.float32) for seed in range(4)]
    indices, x = (np.stack(parts) for parts in zip(*drawn, strict=True))
    expected = np.stack([written_out(b, a, 3) for a, b in drawn])

    def total(indices, x):
        return Segments.of(indices, 3).sum(x)

    assert np.array_equal(jax.vmap(total)(jnp.asarray(indices), x), expected)
    scanned = jax.lax.scan(lambda c, xs: (c, total(*xs)), 0, (jnp.asarray(indices), x))[1]
    assert np.array_equal(scanned, expected)
    one = Segments.of(indices[0], 3)
    assert np.array_equal(jax.vmap(one.sum)(x)[0], expected[0])


def test_eager_sums_are_compiled_once_for_each_shape():
    x = jnp.arange(9.0)
    Segments.of(np.arange(9) % 2, 2).sum(x)
    before = _segments._add._cache_size()
    for shift in range(5):
        Segments.of((np.arange(9) + shift) % 2, 2).sum(x)
    assert _segments._add._cache_size() == before


def test_misuse_names_what_was_given():
    with pytest.raises(ValueError, match=r"shape \(2,\) and dtype float"):
        Segments.of(jnp.ones(2), 2)
    with pytest.raises(ValueError, match=r"shape \(1, 2\) and dtype"):
        Segments.of(np.zeros((1, 2), int), 2)
    with pytest.raises(ValueError, match=r"shape \(3,\); expected 2 rows"):
        Segments.of(np.zeros(2, int), 2).sum(jnp.ones(3))
