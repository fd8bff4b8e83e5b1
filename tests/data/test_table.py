import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kups_relax.data import Index, Table, _keys
from kups_relax.errors import KeyMismatchError, KupsRelaxError, OptionError
from kups_relax.ops import _segments

FEW = settings(max_examples=25, deadline=None, database=None)
NAMES = ["argon", "benzene", "copper", "diamond", "ethane"]


def elements():
    """A table of two arrays in unsorted order of its keys: a row's values tell its label."""
    x = np.arange(4.0, dtype=np.float32)
    return Table.new(["b", "d", "a", "c"], {"x": x, "xyz": np.stack([x, x + 10, x + 20], 1)})


def same(a, b):
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        np.array_equal(p, q) for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def test_new_sorts_rows_with_their_keys():
    table = elements()
    assert list(table.keys) == ["a", "b", "c", "d"]
    assert table.data["x"].tolist() == [2.0, 0.0, 3.0, 1.0]
    assert table["d"]["xyz"].tolist() == [1.0, 11.0, 21.0]
    assert {key: row["x"].item() for key, row in table} == {"b": 0, "d": 1, "a": 2, "c": 3}
    assert len(table) == 4
    assert "c" in table
    assert "z" not in table


@FEW
@given(st.permutations(NAMES), st.lists(st.sampled_from(NAMES), max_size=4))
def test_join_equals_numpy_take_by_label(keys, wanted):
    rows = np.arange(10.0).reshape(5, 2)
    table = Table.new(keys, rows)
    expected = np.array([rows[keys.index(name)] for name in wanted]).reshape(-1, 2)
    # Keys of the index: those that occur, numbered in their own way.
    assert np.array_equal(table[Index.new(wanted)], expected)
    assert np.array_equal(table[table.index(wanted)], expected)
    for name in wanted:
        assert np.array_equal(table[name], rows[keys.index(name)])


def test_join_of_any_shape_and_with_rows_that_belong_to_nothing():
    table = elements()
    index = Index.integer([[0, 4], [3, 1]], keys=["a", "b", "c", "d"])
    assert table[index]["x"].tolist() == [[2.0, 0.0], [1.0, 0.0]]
    assert table[index]["xyz"].shape == (2, 2, 3)
    assert table.take(index, fill=-1)["xyz"][0, 1].tolist() == [-1.0, -1.0, -1.0]
    negative = Index(keys=table.keys, indices=jnp.array([-1]))
    assert table.take(negative, fill=np.nan)["x"][0] != table["d"]["x"]
    flags = Table.arange(jnp.array([True, True]))
    assert flags[Index.integer([0, 2], n=2)].tolist() == [True, False]
    empty = Table.arange(jnp.ones((0, 3)))
    assert empty.take(Index.integer([0, 0], n=0), fill=5.0).tolist() == [[5.0] * 3] * 2
    loose = table.index(["a", "z"], missing="sentinel")
    assert table[loose]["x"].tolist() == [2.0, 0.0]


def test_integer_keys_are_labels_and_not_positions():
    table = Table.new([30, 10, 20], jnp.array([3, 1, 2]))
    assert table[10] == 1
    assert table[np.int32(30)] == 3
    assert table[Index.new([20, 20])].tolist() == [2, 2]
    with pytest.raises(KeyMismatchError, match="key 0 is not among the 3 keys 10, 20, 30"):
        table[0]
    # Keys 0 and 1 of three: fewer keys than the table has are a join like any other.
    assert Table.arange(jnp.array([5, 6, 7]))[Index.arange(2)].tolist() == [5, 6]


def test_tuples_as_keys():
    table = Table.new([("b", 1), ("a", 2)], jnp.array([1, 2]))
    assert table["a", 2] == 2
    assert dict(iter(table)) == {("a", 2): 2, ("b", 1): 1}


def test_data_is_replaced_only_by_as_many_rows():
    table = elements()
    assert table.map_data(lambda d: d["x"] * 2)["c"] == 6.0
    assert table.set_data(jnp.arange(4)).keys is table.keys
    with pytest.raises(KeyMismatchError, match=r"data has shape \(3, 4\); expected 4 rows"):
        table.map_data(lambda d: d["xyz"].T)


@FEW
@given(st.lists(st.tuples(st.sampled_from([*NAMES, "-"]), st.integers(0, 99)), max_size=5))
def test_update_leaves_the_last_row_of_each_key(changes):
    table = Table.new(NAMES, np.arange(-5, 0))
    expected = dict(zip(NAMES, range(-5, 0), strict=True))
    expected.update({name: value for name, value in changes if name != "-"})
    index = table.index([name for name, _ in changes], missing="sentinel")
    updated = table.update(index, np.array([value for _, value in changes], int))
    assert {key: row.item() for key, row in updated} == expected


def test_update_keeps_dtype_and_works_traced():
    table = elements()
    index = Index.new(["d", "a"])
    updated = jax.jit(Table.update)(table, index, {"x": 7, "xyz": jnp.array([1, 2, 3])})
    assert updated.data["x"].tolist() == [7.0, 0.0, 3.0, 7.0]
    assert updated["d"]["xyz"].tolist() == [1.0, 2.0, 3.0]
    assert updated.data["xyz"].dtype == np.float32
    assert table.update(index, 0)["a"]["xyz"].tolist() == [0.0, 0.0, 0.0]
    assert same(table.update(index[:0], 5), table)
    counts = Table.arange(jnp.arange(2))
    with pytest.raises(KeyMismatchError, match=r"values has dtype float32; expected .* int"):
        counts.update(Index.arange(2), jnp.ones(2, jnp.float32))
    with pytest.raises(KeyMismatchError, match=r"values has shape \(3,\); expected .* \(2,\)"):
        counts.update(Index.arange(2), jnp.arange(3))
    with pytest.raises(KeyMismatchError, match="values is PyTreeDef"):
        table.update(index, {"x": 1})


def test_subset_and_concatenate_are_inverse():
    table = elements()
    parts = [table.subset(["d", "b"]), table.subset(["a"]), table.subset(["c"])]
    assert list(parts[0].keys) == ["b", "d"]
    assert same(Table.concatenate(parts), table)
    assert same(table.subset(table), table)
    assert same(Table.concatenate([table, table.subset([])]), table)
    assert len(Table.concatenate([table.subset([])])) == 0


@pytest.mark.parametrize("op", [operator.add, operator.sub, operator.mul, operator.truediv])
def test_arithmetic_equals_numpy(op):
    table = elements() + 1
    other = table.map_data(lambda d: d["x"] + 3)
    got = op(table, other)
    assert np.array_equal(got.data["x"], op(table.data["x"], other.data))
    assert np.array_equal(got.data["xyz"], op(table.data["xyz"], other.data[:, None]))
    assert np.array_equal(op(other, table).data["xyz"], op(other.data[:, None], table.data["xyz"]))
    for scalar in (3, 3.0, np.float32(3), jnp.float32(3)):
        assert np.array_equal(op(table, scalar).data["x"], op(table.data["x"], np.float32(3)))
        assert np.array_equal(op(scalar, table).data["x"], op(np.float32(3), table.data["x"]))
    tree = {"x": np.float32(2), "xyz": np.arange(1, 4, dtype=np.float32)}
    assert np.array_equal(op(table, tree).data["xyz"], op(table.data["xyz"], tree["xyz"]))
    assert np.array_equal(op(tree, table).data["xyz"], op(tree["xyz"], table.data["xyz"]))
    vector = np.arange(1, 4, dtype=np.float32)
    rows = table.map_data(lambda d: d["xyz"])
    assert np.array_equal(op(vector, rows).data, op(vector, table.data["xyz"]))
    assert np.array_equal((-table).data["x"], -table.data["x"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_division_is_rounded_correctly_in_any_program(dtype):
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        x, n = rng.normal(size=(100, 3)).astype(dtype), rng.normal(size=100).astype(dtype)
        rows, divisors = Table.arange(jnp.asarray(x)), Table.arange(jnp.asarray(n))
        for divide in (operator.truediv, jax.jit(operator.truediv)):
            assert np.array_equal(divide(rows, divisors).data, x / n[:, None])
        for program in (lambda t: t / 3.0, jax.jit(lambda t: t / 3.0)):
            assert np.array_equal(program(rows).data, x / dtype(3))
            assert program(rows).data.dtype == dtype


def test_tables_with_other_keys_do_not_combine():
    one, other = Table.new(["a", "b"], jnp.ones(2)), Table.new(["a", "c"], jnp.ones(2))
    with pytest.raises(KeyMismatchError, match="key 'b' belongs to one side only"):
        one + other
    with pytest.raises(KeyMismatchError, match="key 0 is of type int; expected str"):
        one * Table.arange(jnp.ones(2))
    with pytest.raises(KeyMismatchError, match=r"shape \(3, 2\); expected 2 rows"):
        one + np.ones((3, 2))
    with pytest.raises(KeyMismatchError, match="the other operand is PyTreeDef"):
        one + {"x": 1}


def test_transformations_keep_labels():
    table = elements()
    assert same(jax.jit(lambda t: t)(table), table)
    assert same(jax.vmap(lambda t: t)(table), table)
    carried, _ = jax.lax.scan(lambda t, _: (t + 1, None), table, None, length=3)
    assert same(carried, table + 3)
    shape = jax.eval_shape(lambda t: t, table)
    assert list(shape.keys) == ["a", "b", "c", "d"]
    assert shape.data["xyz"].shape == (4, 3)
    stacked = jax.vmap(lambda s: table * s)(jnp.array([1.0, 2.0]))
    assert stacked.data["xyz"].shape == (2, 4, 3)
    joined = jax.vmap(lambda t: t[Index.new(["d"])]["x"])(stacked)
    assert joined.tolist() == [[1.0], [2.0]]
    gradient = jax.grad(lambda t: (t[Index.new(["d", "d"])]["x"] / 2).sum())(table)
    assert gradient.data["x"].tolist() == [0.0, 0.0, 0.0, 1.0]


def test_a_table_made_in_a_loop_takes_the_keys_of_an_index():
    index = Index.new(["b", "a", "b", "c"])

    @jax.jit
    def run(index, x):
        memory = Table(keys=index.keys, data=jnp.zeros((len(index.keys), 5)))

        def body(memory, step):
            sums = index.sum_over(x * step)
            data = memory.data.at[:, step].set(sums.data)
            return Table(keys=index.keys, data=data), memory[index][:, step]

        return jax.lax.scan(body, memory, jnp.arange(5))

    memory, before = run(index, jnp.array([1.0, 2.0, 4.0, 8.0]))
    assert memory["b"].tolist() == [0.0, 5.0, 10.0, 15.0, 20.0]
    assert memory["c"].tolist() == [0.0, 8.0, 16.0, 24.0, 32.0]
    assert not before.any()


def test_other_labels_are_another_trace_and_anonymous_ones_are_not():
    n_traces = 0

    @jax.jit
    def double(table):
        nonlocal n_traces
        n_traces += 1
        return table * 2

    for keys in (["a", "b"], ["c", "d"], ["a", "b"]):
        assert list(double(Table.new(keys, jnp.ones(2))).keys) == keys
    assert n_traces == 2
    for keys in (["a", "b"], ["c", "d"], [3, 4], [5, 9]):
        table = Table.new(keys, jnp.ones(2))
        out = double(table.anonymous()).with_keys(table.keys)
        assert list(out.keys) == keys
        assert out[keys[1]] == 2.0
    assert n_traces == 3


def test_making_a_table_of_known_keys_hashes_nothing(monkeypatch):
    n_digests = 0
    digest = _keys._digest

    def counted(labels):
        nonlocal n_digests
        n_digests += 1
        return digest(labels)

    monkeypatch.setattr(_keys, "_digest", counted)
    index = Index.new(np.arange(100_000) * 2)
    x = jnp.ones(100_000)
    for _ in range(10):
        table = Table(keys=index.keys, data=x)
        leaves, treedef = jax.tree.flatten(table + index.sum_over(x))
        assert jax.tree.unflatten(treedef, leaves)[index].shape == (100_000,)
    assert n_digests == 0


def test_eager_use_with_other_labels_compiles_nothing():
    def use(a, b):
        table = Table.new([a, b], jnp.ones((2, 3)))
        table.update(Index.new([b, b]), 3.0)
        return (table * 2)[Index.new([a])]

    use("a", "b")
    compiled = _segments._add._cache_size()
    for a, b in zip("cdef", "ghij", strict=True):
        use(a, b)
    assert _segments._add._cache_size() == compiled


def test_repr_is_short():
    assert repr(elements()) == (
        "Table(Keys(4: 'a', 'b', 'c' .. 'd'), data['x'] float32[4], data['xyz'] float32[4,3])"
    )
    large = Table.arange({f"array{i}": np.zeros((1000, 3)) for i in range(9)})
    assert "5 more arrays" in repr(large)
    assert len(repr(large)) < 250
    assert "object" in repr(jax.tree.map(lambda _: object(), large))


def test_host_arrays_keep_their_bits():
    table = Table.new(["b", "a"], np.array([1 / 3, 2 / 3]))
    assert table.data.dtype == np.float64
    assert table["b"] == 1 / 3


MISUSES = [
    (lambda: Table.new(["a", "b", "a"], np.ones(3)), KeyMismatchError, "'a' .* at 0 and 2"),
    (lambda: Table.new([1, 1], np.ones(2)), KeyMismatchError, "key 1 occurs twice"),
    (
        lambda: Table.new(["a", "b"], {"q": [np.ones(3)]}),
        KeyMismatchError,
        r"data\['q'\]\[0\] has shape \(3,\); expected 2 rows, one for each of Keys\(2: 'a', 'b'\)",
    ),
    (lambda: Table.new(["a"], 1.0), KeyMismatchError, r"data has shape \(\); expected 1 rows"),
    (lambda: Table.arange({}), KeyMismatchError, "no array with a leading axis"),
    (
        lambda: Table.arange({"x": np.ones(2), "y": np.ones(3)}),
        KeyMismatchError,
        r"data\['y'\] has shape \(3,\); expected 2 rows",
    ),
    (lambda: elements()["z"], KeyMismatchError, "key 'z' is not among the 4 keys 'a', 'b', 'c'"),
    (lambda: elements()[0], KeyMismatchError, "key 0 is of type int; expected str"),
    (lambda: elements()[1:3], KeyMismatchError, r"got a slice; expected .* table.subset\(labels\)"),
    (lambda: elements()[["a", "b"]], KeyMismatchError, "got a list; expected an Index or one"),
    (lambda: elements()[Index.new(["a", "y", "z"])], KeyMismatchError, "key 'y' is not among"),
    (lambda: elements()[Index.arange(4)], KeyMismatchError, "key 0 is of type int; expected str"),
    (lambda: elements().index(["a", "q"]), KeyMismatchError, "key 'q' is not among the 4 keys"),
    (lambda: elements().subset(["a", "q"]), KeyMismatchError, "key 'q' is not among the 4 keys"),
    (lambda: elements().subset(["a", "a"]), KeyMismatchError, "'a' occurs twice"),
    (lambda: elements().update(Index.new(["q"]), 0), KeyMismatchError, "key 'q' is not among"),
    (lambda: elements().with_keys(["a"]), KeyMismatchError, "1 keys .* expected 4"),
    (
        lambda: Table.arange(jnp.arange(2)).take(Index.arange(2), fill=0.5),
        OptionError,
        "fill 0.5 does not fit an array of int",
    ),
    (lambda: Table.concatenate([]), KeyMismatchError, "no tables to concatenate"),
    (
        lambda: Table.concatenate([elements(), elements()]),
        KeyMismatchError,
        "key 'a' occurs twice",
    ),
    (
        lambda: Table.concatenate([elements(), Table.arange({"x": np.ones(1), "xyz": np.ones(1)})]),
        KeyMismatchError,
        "key 0 is of type int; expected str",
    ),
    (
        lambda: Table.concatenate([elements(), Table.new(["z"], np.ones(1))]),
        KeyMismatchError,
        "data of table 1 is PyTreeDef",
    ),
]


@pytest.mark.parametrize(("misuse", "error", "message"), MISUSES)
def test_misuse_names_what_was_given(misuse, error, message):
    with pytest.raises(error, match=message) as raised:
        misuse()
    assert isinstance(raised.value, KupsRelaxError)
    assert isinstance(raised.value, ValueError)


def test_rebuilding_checks_nothing():
    treedef = jax.tree.structure(Table.new(["a", "b"], np.ones(2)))
    assert jax.tree.unflatten(treedef, ["anything"]).data == "anything"
