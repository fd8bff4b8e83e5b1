import itertools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import folded
from kups_relax.data import Index, Keys, _keys
from kups_relax.errors import KeyMismatchError, KupsRelaxError, OptionError
from kups_relax.ops import _segments

FEW = settings(max_examples=30, deadline=None, database=None)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=4)
INTS = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 5)
LABELS = st.one_of(
    st.lists(INTS), st.lists(TEXT), st.lists(st.tuples(TEXT, INTS)), st.lists(st.tuples(INTS))
)


class Traced:
    """Jit a function and count how often it is traced."""

    def __init__(self, function):
        self.n_traces = 0

        def counted(*args):
            self.n_traces += 1
            return function(*args)

        self.call = jax.jit(counted)

    def __call__(self, *args):
        return self.call(*args)


@FEW
@given(LABELS)
def test_labels_survive_the_round_trip(labels):
    index = Index.new(labels)
    assert index.labels.tolist() == labels
    assert list(index.keys) == sorted(set(labels))
    assert len(index) == len(labels)
    assert np.array_equal(np.asarray(index.counts.data), [labels.count(k) for k in index.keys])


@FEW
@given(LABELS)
def test_labels_survive_flattening(labels):
    index = Index.new(labels)
    leaves, treedef = jax.tree.flatten(index)
    assert len(leaves) == 1
    assert jax.tree.unflatten(treedef, leaves).labels.tolist() == labels
    assert jax.tree.map(lambda x: x, index).labels.tolist() == labels
    assert jax.tree.structure(Index.new(list(labels))) == treedef
    assert hash(jax.tree.structure(Index.new(list(labels)))) == hash(treedef)


@FEW
@given(LABELS, st.data())
def test_keys_are_equal_if_and_only_if_their_labels_are(labels, data):
    kept = data.draw(st.sets(st.sampled_from(labels))) if labels else set()
    one, other = Keys.new(sorted(set(labels))), Keys.new(list(kept))
    assert (one == other) == (set(labels) == kept)
    assert len({one, other}) == (1 if set(labels) == kept else 2)
    assert all(label in one for label in labels)


def test_keys_do_not_depend_on_the_width_of_what_they_came_from():
    wide = Index.new(["a", "b", "longer"])[:2].labels
    assert wide.dtype != np.array(["a", "b"]).dtype
    assert Keys.new(wide) == Keys.new(["b", "a"])
    assert Keys.new(np.array([5, 7], np.uint8)) == Keys.new([7, 5])
    assert Keys.new([("a", 1)]) == Keys.new(np.array([("a", 1)], [("x", "U9"), ("y", "i2")]))
    assert Keys.new([2, 0, 1]) == Keys.arange(3)
    assert Keys.new([1, 2]) != Keys.new(["1", "2"])


def test_strings_of_one_character_are_not_numbers():
    assert "1" not in Keys.arange(3)
    assert 1 in Keys.arange(3)
    assert 3 not in Keys.arange(3)
    assert 1.0 not in Keys.arange(3)


def test_constructors():
    assert Index.arange(3).indices.tolist() == [0, 1, 2]
    assert list(Index.arange(3).keys) == [0, 1, 2]
    assert Index.zeros(3).labels.tolist() == [0, 0, 0]
    assert Index.integer([0, 2]).labels.tolist() == [0, 2]
    assert len(Index.integer([0, 2]).keys) == 3
    assert Index.integer([0, 1, 2], keys=["b", "a"]).decode("-").tolist() == ["b", "a", "-"]
    assert Index.new(["a", "c"], keys=["c", "b", "a"]).indices.tolist() == [0, 2]
    assert Index.new(np.array([["x", "y"], ["y", "x"]])).indices.tolist() == [[0, 1], [1, 0]]
    assert Index.new(name for name in ["a", "b"]).labels.tolist() == ["a", "b"]
    assert Index.new(np.array(["a", "b"], object)).labels.tolist() == ["a", "b"]
    assert len(Index.integer([]).keys) == len(Index.new([]).keys) == 0
    for index in (Index.new(["a"]), Index.zeros(1), Index.integer(np.zeros(1, np.uint8))):
        assert index.indices.dtype == np.int32


@pytest.mark.parametrize(
    ("labels", "fill"),
    [([3, 5, 3], -1), (["a", "bb", "a"], "none"), ([("a", 1), ("b", 2)], ("", 0))],
)
def test_rows_that_belong_to_nothing(labels, fill):
    index = Index.new(labels)
    padded = Index.integer(np.append(index.indices, len(index.keys)), keys=index)
    assert padded.is_valid.tolist() == [True] * len(labels) + [False]
    assert padded.decode(fill).tolist() == [*labels, fill]
    decoded = padded.labels
    assert decoded.tolist() == [*labels, (None, None) if isinstance(fill, tuple) else None]
    again = Index.new(decoded)
    assert again.keys == index.keys
    assert again.indices.tolist() == padded.indices.tolist()
    negative = Index(keys=index.keys, indices=jnp.array([-1, 0]))
    assert negative.is_valid.tolist() == [False, True]
    assert negative.positions.tolist() == [len(index.keys), 0]


def test_a_fill_of_another_type_is_refused():
    with pytest.raises(KeyMismatchError, match="key 'x' is of type str; expected int"):
        Index.integer([1], n=1).decode("x")


@settings(FEW, max_examples=15)
@given(st.lists(TEXT, min_size=1), st.sets(TEXT))
def test_reindex_keeps_labels(labels, more):
    index = Index.new(labels)
    wider = Keys.new(sorted(set(labels) | more))
    assert index.reindex(wider).labels.tolist() == labels
    assert index.reindex(wider).keys == wider
    narrow = Keys.new(sorted(more))
    known = index.reindex(narrow, missing="sentinel").decode("none").tolist()
    assert known == [label if label in more else "none" for label in labels]
    if not set(labels) <= more:
        first = min(set(labels) - more)
        with pytest.raises(KeyMismatchError) as error:
            index.reindex(narrow)
        assert repr(first) in str(error.value)


@settings(FEW, max_examples=10)
@given(st.lists(st.lists(TEXT), min_size=1, max_size=3))
def test_concatenate_keeps_labels(parts):
    joined = Index.concatenate([Index.new(part) for part in parts])
    assert joined.labels.tolist() == list(itertools.chain(*parts))
    assert list(joined.keys) == sorted(set(itertools.chain(*parts)))


def test_concatenate_keeps_sentinel_rows_and_works_traced():
    a, b = Index.integer([0, 1, 2], keys=["x", "z"]), Index.integer([0, 1], keys=["y"])
    assert Index.concatenate([a, b]).decode("-").tolist() == ["x", "z", "-", "y", "-"]
    traced = jax.jit(lambda *parts: Index.concatenate(parts))(a, b)
    assert traced.decode("-").tolist() == ["x", "z", "-", "y", "-"]
    assert Index.concatenate([a, a]).keys is a.keys


def test_rows_are_taken_as_of_an_array():
    index = Index.new(["a", "b", "c", "a"])
    assert index[1:3].labels.tolist() == ["b", "c"]
    assert index[np.array([3, 0])].labels.tolist() == ["a", "a"]
    assert index[np.array([True, False, False, True])].labels.tolist() == ["a", "a"]
    assert index[-1].labels.item() == "a"
    assert index[1:3].keys is index.keys
    assert [row.labels.item() for row in index] == ["a", "b", "c", "a"]
    with pytest.raises(IndexError, match="row 4 of an index with 4 rows"):
        index[4]


def test_repr_is_short():
    assert repr(Index.new(["b", "a", "b"])) == "Index((3,) into Keys(2: 'a', 'b'))"
    assert repr(Index.arange(100_000)) == "Index((100000,) into Keys(100000: 0 .. 99999))"
    assert len(repr(Index.new([f"structure-{i}" for i in range(1000)]))) < 100


REDUCTIONS = {
    "sum_over": (lambda rows: rows.sum(0), 0),
    "max_over": (lambda rows: rows.max(0), -np.inf),
    "min_over": (lambda rows: rows.min(0), np.inf),
    "mean_over": (lambda rows: rows.mean(0), np.nan),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_over_pytrees_masks_and_empty_keys(name):
    numpy, empty = REDUCTIONS[name]
    index = Index.integer([[0, 2, 0], [3, 2, 2]], keys=["a", "b", "c"])
    x = {"scalar": jnp.arange(6.0).reshape(2, 3), "vector": jnp.arange(12.0).reshape(2, 3, 2)}
    where = jnp.array([True, True, False])
    table = getattr(index, name)(x, where=where)
    assert table.keys is index.keys
    for leaf, got in zip(jax.tree.leaves(x), jax.tree.leaves(table.data), strict=True):
        for key in range(3):
            rows = np.asarray(leaf)[(np.asarray(index.indices) == key) & np.asarray(where)]
            expected = numpy(rows) if len(rows) else np.full(rows.shape[1:], empty)
            assert np.array_equal(got[key], expected, equal_nan=True)


def test_reductions_take_their_empty_value_from_the_dtype_or_the_caller():
    index = Index.integer([0], n=2)
    ints, bools = jnp.array([3]), jnp.array([True])
    assert index.max_over(ints).data.tolist() == [3, jnp.iinfo(ints.dtype).min]
    assert index.min_over(ints).data.tolist() == [3, jnp.iinfo(ints.dtype).max]
    assert index.max_over(bools).data.tolist() == [True, False]
    assert index.min_over(bools).data.tolist() == [True, True]
    assert index.max_over(ints, initial=7).data.tolist() == [7, 7]
    assert index.mean_over(ints, empty=0.0).data.tolist() == [3.0, 0.0]
    with jax.debug_nans(True):
        assert index.mean_over(jnp.array([2.0]), empty=0.0).data.tolist() == [2.0, 0.0]


@pytest.mark.exact
@FEW
@given(seed=st.integers(0, 2**32), dtype=st.sampled_from([np.float32, np.float64]))
def test_sums_and_means_of_a_key_do_not_depend_on_other_rows(seed, dtype):
    rng = np.random.default_rng(seed)
    labels = rng.choice(np.array(["a", "b", "c", "d"]), 120)
    x = (rng.normal(size=(120, 3)) * 10.0 ** rng.integers(-5, 5, (120, 1))).astype(dtype)
    with jax.enable_x64(True):
        sums, means = Index.new(labels).sum_over(x), Index.new(labels).mean_over(x)
        mine = labels == "b"
        total = np.zeros(3, dtype)
        for start in range(0, mine.sum(), _segments.BLOCK):
            block = np.zeros((_segments.BLOCK, 3), dtype)
            rows = x[mine][start : start + _segments.BLOCK]
            block[: len(rows)] = rows
            total = total + folded(block)
        assert np.array_equal(sums["b"], total)
        assert np.array_equal(means["b"], total / dtype(mine.sum()))
        # Alone, in a shape of its own; the other rows are empty places.
        alone = Index.integer(np.where(mine, 0, 1), n=1)
        assert np.array_equal(alone.sum_over(x)[0], total)
        assert np.array_equal(alone.mean_over(x)[0], means["b"])


@pytest.mark.exact
def test_means_are_rounded_correctly_in_any_program():
    rng = np.random.default_rng(0)
    for tail in [(), (3, 3)]:
        x = rng.normal(size=(300, *tail)).astype(np.float32)
        index = Index.integer(rng.integers(0, 40, 300), n=40)
        counts = np.asarray(index.counts.data, np.float32).reshape(-1, *(1,) * len(tail))
        expected = np.asarray(index.sum_over(x).data) / counts
        assert np.array_equal(index.mean_over(x).data, expected)
        assert np.array_equal(jax.jit(lambda x, i=index: i.mean_over(x).data)(x), expected)
        assert np.array_equal(jax.jit(lambda i, x: i.mean_over(x).data)(index, x), expected)


def test_transformations_keep_labels():
    index = Index.integer([[0, 1, 2], [1, 1, 0]], keys=["a", "b"])
    expected = [["a", "b", "-"], ["b", "b", "a"]]
    assert jax.jit(lambda i: i)(index).decode("-").tolist() == expected
    assert jax.vmap(lambda i: i)(index).decode("-").tolist() == expected
    last, each = jax.lax.scan(lambda c, i: (c, i), index, index)
    assert last.decode("-").tolist() == each.decode("-").tolist() == expected
    shape = jax.eval_shape(lambda i: i, index)
    assert list(shape.keys) == ["a", "b"]
    assert shape.indices.shape == (2, 3)
    x = jnp.arange(6.0).reshape(2, 3)
    per_row = jax.vmap(lambda i, x: i.sum_over(x).data)(index, x)
    assert per_row.tolist() == [[0.0, 1.0], [5.0, 7.0]]
    assert jax.vmap(lambda i: i.reindex(["z", "b", "a"]))(index).decode("-").tolist() == expected


def test_traced_integers_need_to_be_told_the_number_of_keys():
    traced = jax.jit(lambda i: Index.integer(i, keys=["b", "a"]))(jnp.array([0, 1, 2]))
    assert traced.decode("-").tolist() == ["b", "a", "-"]
    assert len(jax.jit(lambda i: Index.integer(i, n=4))(jnp.array([0])).keys) == 4
    with pytest.raises(OptionError, match="pass n or keys"):
        jax.jit(Index.integer)(jnp.array([0]))


def test_traced_integers_outside_the_keys_belong_to_nothing():
    with jax.enable_x64(True):
        rows = jnp.array([1, 3, -1, -2, 2**32, 2**32 + 1])
        traced = jax.jit(lambda i: Index.integer(i, keys=["b", "a"]))(rows)
        assert traced.decode("-").tolist() == ["a", "-", "-", "-", "-", "-"]
        small = jax.jit(lambda i: Index.integer(i, n=300))(jnp.array([0, 255], jnp.uint8))
        assert small.labels.tolist() == [0, 255]


def test_other_labels_are_another_trace_and_never_wrong():
    identity = Traced(lambda i: i)
    for labels in (["a", "b"], ["c", "d"], ["a", "b"], ["e", "f"], ["c", "d"]):
        assert identity(Index.new(labels)).labels.tolist() == labels
    assert identity.n_traces == 3


def test_anonymous_indices_of_one_size_share_a_trace():
    step = Traced(lambda i, x: (i, i.sum_over(x)))
    for labels in (["a", "b"], ["c", "d"], [7, 9], [("x", 1), ("y", 2)]):
        index = Index.new(labels)
        moved, sums = step(index.anonymous(), jnp.array([1, 2]))
        assert moved.with_keys(index.keys).labels.tolist() == labels
        assert sums.with_keys(index)[labels[1]] == 2
    assert step.n_traces == 1
    step(Index.arange(2), jnp.array([1, 2]))
    assert step.n_traces == 1
    step(Index.new(["a", "b", "c"]).anonymous(), jnp.array([1, 2, 3]))
    assert step.n_traces == 2


def test_labels_never_reach_a_compiler_in_eager_use():
    x = jnp.arange(11.0)

    def use(labels):
        index = Index.new(labels)
        for name in REDUCTIONS:
            getattr(index, name)(x)
        return index.counts

    use([f"a{i % 3}" for i in range(11)])
    compiled = [f._cache_size() for f in (_segments._add, _segments._maximum, _segments._minimum)]
    for letter in "bcdef":
        use([f"{letter}{i % 3}" for i in range(11)])
    assert compiled == [
        f._cache_size() for f in (_segments._add, _segments._maximum, _segments._minimum)
    ]


def test_labels_are_hashed_at_most_once(monkeypatch):
    n_digests = 0
    digest = _keys._digest

    def counted(labels):
        nonlocal n_digests
        n_digests += 1
        return digest(labels)

    monkeypatch.setattr(_keys, "_digest", counted)
    index = Index.new(np.arange(100_000) * 3)
    for _ in range(20):
        leaves, treedef = jax.tree.flatten(index)
        index = jax.tree.map(lambda x: x, jax.tree.unflatten(treedef, leaves))
    assert n_digests == 0
    identity = jax.jit(lambda i: i)
    for _ in range(5):
        index = identity(index)
        assert hash(jax.tree.structure(index)) == hash(jax.tree.structure(index[:5]))
    assert n_digests <= 1
    same = Index.new(np.arange(100_000) * 3)
    for _ in range(5):
        assert jax.tree.structure(identity(same)) == jax.tree.structure(index)
    assert n_digests == 2


@pytest.mark.parametrize("kind", ["ints", "strings"])
def test_no_python_runs_for_each_row(kind):
    def rows(n):
        numbers = (np.arange(n) * 7919) % n * 3
        return numbers if kind == "ints" else np.char.add("label-", numbers.astype(str))

    doubled = jax.jit(lambda i: i)

    def use(labels, x):
        index = Index.new(labels)
        jax.tree.map(lambda x: x, index)
        index = doubled(index.anonymous()).with_keys(index.keys)
        index[: len(index) // 2].reindex(index.keys).is_valid.sum()
        return index.sum_over(x).data, index.decode()

    def count(n):
        labels, x = rows(n), jnp.ones(n)
        use(labels, x)
        calls = 0

        def profile(frame, event, arg):
            nonlocal calls
            calls += event == "call"

        previous = sys.getprofile()
        sys.setprofile(profile)
        try:
            use(labels, x)
        finally:
            sys.setprofile(previous)
        return calls

    # A garbage collection in between may add a few calls.
    assert count(100_000) < count(100) + 300


MISUSES = [
    (lambda: Index.new("abc"), KeyMismatchError, "the one string 'abc'; expected a sequence"),
    (lambda: Index.new([1, "a"]), KeyMismatchError, r"(int \(1\), str \('a'\)|str \('a'\), int)"),
    (lambda: Index.new([1.5]), KeyMismatchError, r"float \(1.5\); expected all integers"),
    (lambda: Index.new([True]), KeyMismatchError, r"bool \(True\)"),
    (lambda: Index.new([None, "a"]), KeyMismatchError, r"NoneType \(None\)"),
    (lambda: Index.new([("a", 1), ("b",)]), KeyMismatchError, "tuples of these of one length"),
    (lambda: Index.new(np.array([0.5])), KeyMismatchError, "dtype float64; expected integers"),
    (lambda: Index.new([2**70]), KeyMismatchError, f"such as {2**70} .* at most 64 bit"),
    (lambda: Index.new(["a\0"]), KeyMismatchError, "ends in a null character"),
    (lambda: Index.new(["z"], keys=["a", "b"]), KeyMismatchError, "'z' is not among the 2 keys"),
    (lambda: Index.new(["a"], keys=["a", "a"]), KeyMismatchError, "'a' occurs twice, at 0 and 1"),
    (lambda: Index.integer([0, 5], n=3), KeyMismatchError, "row 1 has the index 5; .* 0 to 2"),
    (lambda: Index.integer([[0, -1]], n=3), KeyMismatchError, "row 0, 1 has the index -1"),
    (lambda: Index.integer([0], n=1, keys=["a"]), OptionError, "give one of them"),
    (lambda: Index.integer([0.0]), OptionError, "dtype float64; .* use Index.new"),
    (lambda: Index.concatenate([]), KeyMismatchError, "no indices to concatenate"),
    (
        lambda: Index.concatenate([Index.new(["a"]), Index.arange(2)]),
        KeyMismatchError,
        "key 0 is of type int; expected str",
    ),
    (lambda: Index.new(["a"]).reindex([1, 2]), KeyMismatchError, "'a' is of type str; exp.* int"),
    (lambda: Index.arange(1).reindex([1], missing="skip"), OptionError, "missing is 'skip'"),
    (lambda: Index.new(["a"]).with_keys(["b", "c"]), KeyMismatchError, "2 keys .* expected 1"),
    (lambda: Index.arange(2).with_keys(["b", "a"]), KeyMismatchError, "'a' is at 1; .* sorted"),
    (lambda: Index.arange(2).where(jnp.ones(3, bool)), OptionError, r"shape \(3,\)"),
    (lambda: Index.arange(2).where(jnp.ones(2)), OptionError, r"dtype float\d\d; expected bool"),
    (
        lambda: Index.arange(2).sum_over({"x": jnp.ones(3)}),
        KeyMismatchError,
        r"x\['x'\] has shape \(3,\); expected its first axes to be \(2,\)",
    ),
    (
        lambda: Keys.new(np.ma.array([1, 2], mask=[False, True])),
        KeyMismatchError,
        "label 1 is masked",
    ),
]


@pytest.mark.parametrize(("misuse", "error", "message"), MISUSES)
def test_misuse_names_what_was_given(misuse, error, message):
    with pytest.raises(error, match=message) as raised:
        misuse()
    assert isinstance(raised.value, KupsRelaxError)
    assert isinstance(raised.value, ValueError)


def test_rebuilding_checks_nothing():
    treedef = jax.tree.structure(Index.new(["a", "b"]))
    assert jax.tree.unflatten(treedef, ["anything"]).indices == "anything"
