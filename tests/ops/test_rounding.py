"""Rewritten functions give NumPy's bits, in whatever program they stand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from helpers import DTYPES, assert_same_bits
from kups_relax.ops import keep, product, quotient, root, rounded
from support.crossing import first, in_turns

pytestmark = pytest.mark.exact

SHAPES = (1, 2, 3, 5, 8, 13, 33, 100)


def numbers(n, dtype, seed=0):
    """Three arrays of numbers of mixed sizes, the last of them positive."""
    random = np.random.default_rng([seed, n])
    a, b = random.normal(size=(2, n)) * 10.0 ** random.integers(-3, 4, size=(2, n))
    c = random.uniform(0.1, 10, n)
    return tuple(x.astype(dtype) for x in (a, b, c))


def powers(x):
    """By squaring, as `rounded` writes integer powers."""
    x2 = x * x
    return {2: x2, 3: x * x2, 5: x * (x2 * x2), 7: (x * x2) * (x2 * x2), -2: 1 / x2}


def arithmetic(xp, a, b, c):
    """Whatever a compiler may contract, invert or strength-reduce."""
    three = np.asarray(3, a.dtype)
    power = powers if xp is np else lambda x: {n: lax.integer_pow(x, n) for n in (2, 3, 5, 7, -2)}
    p = power(c)
    return {
        "product and sum": a * b + c,
        "product and difference": c - a * b,
        "two products": a * b + a * c,
        "squares": a * a - b * b,
        "chain": ((a * b + c) * a + b) * c - a,
        "by a constant": a / three + b,
        "by a broadcast": a / c[0] + b,
        "by a row of one": a / c[:1],
        "by a product": a / (c[0] * c[0]),
        "by a power": a / c[0] ** 2 if xp is jnp else a / (c[0] * c[0]),
        "by a root": a / xp.sqrt(c),
        "by a broadcast root": a / xp.sqrt(c[0]) - b,
        "reciprocal of a root": 1 / xp.sqrt(c),
        "root of products": xp.sqrt(a * a + b * b),
        "powers": a * p[2] + b,
        "power alone": p[3] - c,
        "high powers": p[5] + p[7] * a,
        "negative power": p[-2] + a,
        "lennard-jones": 4 * (p[3] * p[3] - p[3]) * a + b * p[-2],
    }


def algebra(xp, a, b, c):
    """Whatever is simplified before code is generated."""
    d = b * b + 1
    full = xp.full(a.shape, 3.3, a.dtype)
    return {
        "quotient by a number": a / c / d,
        "divided by a quotient": a / (c / d),
        "quotient of quotients": (a / c) / (d / b),
        "reciprocal of a reciprocal": 1 / (1 / c),
        "reciprocals": 2.5 / (c * 4) + 3 / (c / 7),
        "by two broadcasts": a / c[0] / d[0],
        "by a sum of few": a / (c[0] + d[0]),
        "few by many": c[0] / (a / d[0]),
        "standardised": (a - c[0]) / d[0],
        "same divisor": a / c[0] + b / c[0],
        "outer": a[:, None] / c + b[:, None] * d,
        "constants added": (a + 3.3) + 1.7,
        "constant subtracted": (a - 3.3) + 1.7,
        "constants multiplied": a * 3.3 * 1.7 / 1.3,
        "arrays of constants": (a + full) - 1.7,
        "by an array of constants": a / full,
        "by an array from outside": a / np.full(a.shape, 7, a.dtype),
        "quotient behind a choice": xp.where(a > 0, a / c, -(a / c)) / d,
        "quotient turned round": (a / c)[::-1] / d,
        "sum of sums with constants": (a + 3.3) + (b - 1.7),
        "constant after a sum": ((a + 3.3) + b) - 1.7,
        "constant turned round": (a + 3.3)[::-1] - 1.7,
        "distributed": a * 3 + b * 3,
        "there and back": (a + b) - b + (a * c) / c,
        "square of a root": xp.sqrt(c) * xp.sqrt(c) - c,
        "root of a square": xp.sqrt(c * c) - c,
        "where": xp.where(a > 0, a * b, a / c) + d,
    }


def on_device(a, b, c):
    return arithmetic(jnp, a, b, c), algebra(jnp, a, b, c)


def in_numpy(a, b, c):
    return arithmetic(np, a, b, c), algebra(np, a, b, c)


@pytest.mark.parametrize(("n", "dtype"), in_turns(SHAPES, DTYPES))
def test_arithmetic_of_any_length_has_numpys_bits_in_jit(n, dtype):
    values = numbers(n, dtype)
    function = rounded(partial(arithmetic, jnp))
    with jax.enable_x64(dtype == "float64"):
        assert_same_bits(jax.jit(function)(*values), arithmetic(np, *values))


@pytest.mark.parametrize(("n", "dtype"), in_turns([5, 33], DTYPES))
def test_what_could_be_simplified_has_numpys_bits_in_jit(n, dtype):
    values = numbers(n, dtype)
    function = rounded(partial(algebra, jnp))
    with jax.enable_x64(dtype == "float64"):
        assert_same_bits(jax.jit(function)(*values), algebra(np, *values))


def test_arithmetic_has_numpys_bits_eagerly():
    values = numbers(33, "float32")
    assert_same_bits(rounded(on_device)(*values), in_numpy(*values))


@pytest.mark.parametrize("dtype", DTYPES)
def test_plain_jit_differs_from_numpy(dtype):
    """Without it this machine's compiler contracts or inverts: the tests here can fail."""
    values = numbers(100, dtype)
    with jax.enable_x64(dtype == "float64"):
        got = jax.jit(on_device)(*values)
    for part, expected in zip(got, in_numpy(*values), strict=True):
        assert any(not np.array_equal(part[name], expected[name]) for name in expected)


# Each runs x -> a*x + b some times over, in a construct that `rounded` must enter.


def in_while(a, b, x):
    return lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, a * s[1] + b), (0, x))[1]


def in_while_with_a_product_in_the_condition(a, b, x):
    def go_on(state):
        return (state[0] < 3) & (jnp.max(a * state[1] * 0 + 1) > 0)

    return lax.while_loop(go_on, lambda s: (s[0] + 1, a * s[1] + b), (0, x))[1]


def in_fori(a, b, x):
    return lax.fori_loop(0, 3, lambda i, x: a * x + b, x)


def in_scan(a, b, x):
    return lax.scan(lambda x, _: (a * x + b, a * x - b), x, length=3)[0]


def in_cond(a, b, x):
    for _ in range(3):
        x = lax.cond(jnp.max(x) > -1e30, lambda x: a * x + b, lambda x: a * x - b, x)
    return x


def in_switch(a, b, x):
    number = jnp.argmax(a) * 0 + 1
    branches = [lambda x: x, lambda x: a * x + b, lambda x: a * x - b]
    for _ in range(3):
        x = lax.switch(number, branches, x)
    return x


def in_nested_jit(a, b, x):
    step = jax.jit(lambda a, b, x: jax.jit(lambda p: p + b)(a * x))
    for _ in range(3):
        x = step(a, b, x)
    return x


def in_custom_jvp(a, b, x):
    @jax.custom_jvp
    def step(a, b, x):
        return a * x + b

    step.defjvp(lambda primals, tangents: (step(*primals), tangents[2]))
    for _ in range(3):
        x = step(a, b, x)
    return x


def in_custom_vjp(a, b, x):
    @jax.custom_vjp
    def step(a, b, x):
        return a * x + b

    step.defvjp(lambda a, b, x: (step(a, b, x), None), lambda _, out: (out, out, out))
    for _ in range(3):
        x = step(a, b, x)
    return x


def in_linear_call(a, b, x):
    for _ in range(3):
        scaled = jax.custom_derivatives.linear_call(
            lambda residual, x: residual * x, lambda residual, out: residual * out, a, x
        )
        x = scaled + b
    return x


def in_checkpoint(a, b, x):
    step = jax.checkpoint(lambda x: a * x + b)
    for _ in range(3):
        x = step(x)
    return x


def in_vmap(a, b, x):
    step = jax.vmap(lambda a, b, x: a * x + b)
    for _ in range(3):
        x = step(a, b, x)
    return x


def in_a_loop_in_a_branch_in_a_jit(a, b, x):
    return jax.jit(lambda x: lax.cond(a[0] == a[0], lambda x: in_while(a, b, x), lambda x: x, x))(x)


def in_a_gradient(a, b, x):
    def energy(x):
        return (a * x * x / 2 + b * x).sum()

    for _ in range(3):
        x = jax.grad(energy)(x)
    return x


CONSTRUCTS = [
    in_while,
    in_while_with_a_product_in_the_condition,
    in_fori,
    in_scan,
    in_cond,
    in_switch,
    in_nested_jit,
    in_custom_jvp,
    in_custom_vjp,
    in_linear_call,
    in_checkpoint,
    in_vmap,
    in_a_loop_in_a_branch_in_a_jit,
]


@pytest.mark.parametrize(("construct", "dtype"), in_turns(CONSTRUCTS, DTYPES))
def test_products_are_rounded_inside(construct, dtype):
    a, b, x = numbers(33, dtype)
    expected = x
    for _ in range(3):
        expected = a * expected + b
    with jax.enable_x64(dtype == "float64"):
        assert_same_bits(jax.jit(rounded(construct))(a, b, x), expected)
        if dtype == "float32":
            assert_same_bits(rounded(construct)(a, b, x), expected)


CONSTANTS = {
    "a number": lambda x: np.asarray(3.3, x.dtype),
    "an array": lambda x: jnp.full(x.shape, 3.3, x.dtype),
    "a broadcast": lambda x: jnp.broadcast_to(jnp.abs(x[0]) + 1, x.shape),
}
LOOPS = {
    "while": lambda step, x: lax.while_loop(
        lambda s: s[0] < 3, lambda s: (s[0] + 1, step(s[1])), (0, x)
    )[1],
    "fori": lambda step, x: lax.fori_loop(0, 3, lambda i, x: step(x), x),
    "scan": lambda step, x: lax.scan(lambda x, _: (step(x), None), x, length=3)[0],
    "cond": lambda step, x: step(step(lax.cond(x[0] == x[0], step, lambda x: x, x))),
    "jit": lambda step, x: jax.jit(step)(step(step(x))),
}


@pytest.mark.parametrize(("loop", "dtype"), in_turns(LOOPS, DTYPES))
def test_constants_from_outside_a_loop_do_not_change_what_is_inside(loop, dtype):
    a, b, _ = numbers(33, dtype)

    def one(kind, a, b):
        t = CONSTANTS[kind](a)
        return LOOPS[loop](lambda x: (x / t + t) + 1.7 + b, a)

    def in_numpy(t):
        x = a
        for _ in range(3):
            x = (x / t + t) + np.asarray(1.7, dtype) + b
        return x

    with jax.enable_x64(dtype == "float64"):
        got = jax.jit(rounded(lambda a, b: {kind: one(kind, a, b) for kind in CONSTANTS}))(a, b)
        expected = {kind: in_numpy(np.asarray(t(a))) for kind, t in CONSTANTS.items()}
    assert_same_bits(got, expected)


@pytest.mark.parametrize("dtype", first(DTYPES))
def test_the_product_of_exponentials_is_a_product(dtype):
    a, b, c = numbers(33, dtype)
    a, b = a / 100, b / 100
    with jax.enable_x64(dtype == "float64"):
        alone = [np.asarray(jax.jit(jnp.exp)(x)) for x in (a, b)]
        got = jax.jit(rounded(lambda a, b, c: jnp.exp(a) * jnp.exp(b) + c))(a, b, c)
    assert_same_bits(got, alone[0] * alone[1] + c)


@pytest.mark.parametrize("dtype", first(DTYPES))
def test_a_derivative_has_the_same_bits_in_any_program(dtype):
    a, b, x = numbers(33, dtype)
    with jax.enable_x64(dtype == "float64"):
        eager = rounded(in_a_gradient)(a, b, x)
        alone = jax.jit(rounded(in_a_gradient))(a, b, x)
        beside = jax.jit(lambda a, b, x: (rounded(in_a_gradient)(a, b, x), a * x, jnp.sum(a * b)))
        assert_same_bits(alone, eager)
        assert_same_bits(beside(a, b, x)[0], eager)


@pytest.mark.parametrize("dtype", first(DTYPES[::-1]))
def test_bits_do_not_depend_on_what_surrounds_the_function(dtype):
    values = numbers(33, dtype)
    expected = in_numpy(*values)

    def program(a, b, c):
        out = rounded(on_device)(a, b, c)
        # Sums with the results, which a compiler would like to contract with their last product.
        return out, jax.tree.map(lambda x: x + a, out), sum(x.sum() for x in out[0].values())

    with jax.enable_x64(dtype == "float64"):
        got, shifted, _ = jax.jit(program)(*values)
    assert_same_bits(got, expected)
    assert_same_bits(shifted, jax.tree.map(lambda x: x + values[0], expected))


@pytest.mark.parametrize("dtype", first(DTYPES))
def test_a_function_that_is_mapped_and_then_rounded_has_numpys_bits(dtype):
    columns = [numbers(33, dtype, seed) for seed in range(3)]
    values = [np.stack(x) for x in zip(*columns, strict=True)]
    expected = [in_numpy(*column) for column in columns]
    with jax.enable_x64(dtype == "float64"):
        got = jax.jit(rounded(jax.vmap(on_device)))(*values)
    assert_same_bits(got, jax.tree.map(lambda *x: np.stack(x), *expected))


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_infinity_and_signed_zero_survive(dtype):
    tiny = np.finfo(dtype).tiny
    x = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, tiny, -tiny, np.finfo(dtype).max], dtype)
    with jax.enable_x64(dtype == "float64"):
        kept = np.asarray(jax.jit(keep)(x))
        times_one = np.asarray(jax.jit(rounded(lambda x, y: x * y))(x, np.ones_like(x)))
        times_zero = np.asarray(jax.jit(rounded(lambda x, y: x * y))(x, np.zeros_like(x)))
    with np.errstate(invalid="ignore"):
        expected = x * np.zeros_like(x)
    assert_same_bits(kept[1:], x[1:])
    assert_same_bits(times_one[1:], x[1:])
    assert np.isnan(kept[0])
    assert np.isnan(times_one[0])
    assert np.array_equal(np.isnan(times_zero), np.isnan(expected))
    finite = ~np.isnan(expected)
    assert_same_bits(times_zero[finite], expected[finite])


def test_integers_booleans_and_nested_results_pass_through():
    def function(tree):
        return {"n": tree["n"] * 3 + 1, "flag": ~tree["flag"], "same": (tree["x"], None)}

    tree = {"n": jnp.arange(4), "flag": jnp.array([True, False]), "x": jnp.array([1.5, -0.0])}
    got = jax.jit(rounded(function))(tree)
    assert got["n"].tolist() == [1, 4, 7, 10]
    assert got["flag"].tolist() == [False, True]
    assert got["same"][1] is None
    assert_same_bits(got["same"][0], np.array([1.5, -0.0], np.float32))


@pytest.mark.parametrize("dtype", DTYPES)
def test_product_quotient_and_root_stand_alone(dtype):
    a, b, c = numbers(33, dtype)

    def function(a, b, c):
        return {
            "product": product(a, b) + c,
            "quotient": quotient(a, c[0]) + b,
            "by a number": quotient(a, 3.0),
            "of a number": quotient(1.0, c),
            "root": a / root(c),
        }

    expected = {
        "product": a * b + c,
        "quotient": a / c[0] + b,
        "by a number": a / np.asarray(3, dtype),
        "of a number": np.asarray(1, dtype) / c,
        "root": a / np.sqrt(c),
    }
    with jax.enable_x64(dtype == "float64"):
        assert_same_bits(jax.jit(function)(a, b, c), expected)
    assert quotient(1, 4) == 0.25


def test_a_loop_that_fills_an_array_rounds_what_it_writes_and_not_the_array():
    def fill(x, n):
        def body(k, out):
            part = lax.dynamic_slice_in_dim(x, k * 4, 4)
            return lax.dynamic_update_slice_in_dim(out, part / (part + 1.0), k * 4, axis=0)

        return lax.fori_loop(0, n, body, jnp.zeros_like(x))

    x = jnp.asarray(numbers(32, np.float64)[2])
    assert_same_bits(jax.jit(rounded(fill))(x, 8), np.asarray(x) / (np.asarray(x) + 1.0))
    [loop] = [e for e in jax.make_jaxpr(rounded(fill))(x, 8).eqns if e.primitive.name == "while"]
    body = loop.params["body_jaxpr"].jaxpr
    sizes = {e.outvars[0].aval.shape for e in body.eqns if e.primitive.name == "xor"}
    assert sizes == {(4,)}
