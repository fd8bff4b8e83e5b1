"""The direction that L-BFGS gives, and the problems that it solves."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from lbfgs_walks import run, walk

from helpers import assert_same_bits
from kups_relax import optimizers as ko
from kups_relax.data import Index
from kups_relax.ops import product
from support.crossing import in_turns

# The direction as far as rounding in the working precision goes, relative to its norm: measured
# 2e-14 and 5e-6 after 100 pairs.
ROUNDING = {"float64": 1e-12, "float32": 5e-5}


def quadratic(n_rows, condition, dtype, seed=0):
    """A gradient with a full Hessian of given condition number, and a little more than it."""
    random = np.random.default_rng(seed)
    n = 3 * n_rows
    basis = np.linalg.qr(random.normal(size=(n, n)))[0]
    hessian = basis @ np.diag(np.geomspace(0.1, 0.1 * condition, n)) @ basis.T
    start = random.normal(size=(n_rows, 3)).astype(dtype)

    def gradient(x):
        g = hessian @ x.astype(float).ravel() + 0.1 * x.astype(float).ravel() ** 3
        return g.reshape(x.shape).astype(dtype)

    return gradient, start


def two_loop(pairs, g, alpha=70.0, adaptive=False):
    """The textbook, in extended precision."""
    pairs = [(s.astype(np.longdouble), y.astype(np.longdouble)) for s, y in pairs]
    q, coefficients = g.astype(np.longdouble), []
    for s, y in reversed(pairs):
        rho = 1 / np.sum(y * s)
        coefficients.append((rho * np.sum(s * q), rho))
        q = q - coefficients[-1][0] * y
    scale = 1 / np.longdouble(alpha)
    if adaptive and pairs:
        s, y = pairs[-1]
        scale = np.sum(s * y) / np.sum(y * y)
    q = q * scale
    for (s, y), (a, rho) in zip(pairs, reversed(coefficients), strict=True):
        q = q + s * (a - rho * np.sum(y * q))
    return q


# Direction


@pytest.mark.parametrize(
    ("case", "initial_scale"),
    in_turns(
        [(1, "float64"), (5, "float64"), (20, "float64"), (100, "float64"), (100, "float32")],
        ["fixed", "adaptive"],
    ),
)
def test_direction_is_that_of_the_two_loop_recursion(case, initial_scale):
    memory_size, dtype = case
    gradient, x = quadratic(n_rows=20, condition=5000, dtype=dtype)
    n_updates = {1: 40, 5: 40, 20: 60, 100: 130}[memory_size]
    adaptive = initial_scale == "adaptive"
    optimizer = ko.ScaleByAseLbfgs(memory_size=memory_size, initial_scale=initial_scale)
    pairs, last, worst, n_compared = [], None, 0.0, 0
    with jax.enable_x64(dtype == "float64"):
        state = optimizer.init(jnp.asarray(x))
        for _ in range(n_updates):
            g = gradient(x)
            # Where the gradient is no more than rounding, its differences are noise.
            if np.abs(g).max() < 1e3 * np.finfo(dtype).eps:
                break
            if last is not None:
                pairs = [*pairs, (x - last[0], g - last[1])][-memory_size:]
            direction, state = optimizer.update(jnp.asarray(g), state, x)
            expected = two_loop(pairs, g, adaptive=adaptive)
            error = np.linalg.norm(np.asarray(direction) - expected) / np.linalg.norm(expected)
            worst, last, n_compared = max(worst, float(error)), (x, g), n_compared + 1
            # A short memory overshoots; bounded steps keep it where it converges.
            x = (x - np.clip(np.asarray(direction), -0.3, 0.3)).astype(dtype)
    assert n_compared >= 40
    assert worst < ROUNDING[dtype]


def concave(x):
    """Positive curvature in the first column, negative in the others."""
    return x * np.array([2.0, -1.0, -1.0])


def test_the_guard_skips_pairs_of_negative_curvature():
    x = np.array([[0.1, 1.0, 1.0], [0.2, 1.0, -2.0]])
    optimizer = ko.ScaleByAseLbfgs(memory_size=5, curvature_guard=True)
    plain = ko.ScaleByAseLbfgs(memory_size=5)
    with jax.enable_x64(True):
        for _, g, direction, state in walk(optimizer, concave, x, 5):
            weights = np.asarray(state.weights_memory.data)
            assert (weights >= 0).all()
            assert np.sum(g * np.asarray(direction)) > 0
        assert not weights.any()
        *_, (_, _, _, state) = walk(plain, concave, x, 5)
        assert (np.asarray(state.weights_memory.data) < 0).any()


def test_the_guard_judges_each_system_on_its_own():
    def gradient(x):
        return np.concatenate([3 * x[:2], concave(x[2:])])

    x = np.array([[0.1, 1.0, 1.0], [0.5, 1.0, -2.0], [0.2, 1.0, -2.0]])
    optimizer = ko.ScaleByAseLbfgs(memory_size=3, curvature_guard=True)
    with jax.enable_x64(True):
        got, _, state = run(optimizer, gradient, x, Index.integer([0, 0, 1], n=2), 4)
        alone, _, _ = run(optimizer, lambda x: 3 * x, x[:2], None, 4)
    weights = np.asarray(state.weights_memory.data)
    assert (weights[0] > 0).all()
    assert (weights[1] == 0).all()
    assert_same_bits(got[:2], alone)


def test_the_guard_changes_nothing_where_curvature_is_positive():
    gradient, x = quadratic(n_rows=5, condition=100, dtype="float64")
    with jax.enable_x64(True):
        guarded = ko.ScaleByAseLbfgs(memory_size=5, curvature_guard=True)
        assert_same_bits(
            run(guarded, gradient, x)[1],
            run(ko.ScaleByAseLbfgs(memory_size=5), gradient, x)[1],
        )


def test_the_adaptive_scale_is_that_of_each_systems_newest_pair():
    random = np.random.default_rng(4)
    stiffness = np.repeat([0.5, 50.0, 5.0], 2)[:, None]
    x = random.normal(size=(6, 3))
    index = Index.integer(np.repeat(np.arange(3), 2), n=3)
    optimizer = ko.ScaleByAseLbfgs(memory_size=1, initial_scale="adaptive")
    with jax.enable_x64(True):
        _, direction, state = run(optimizer, lambda x: stiffness * x, x, index, n_updates=2)
        # Each system is an isotropic well: one pair tells all of it.
        np.testing.assert_allclose(state.scale, [2.0, 0.02, 0.2], rtol=1e-14)
        np.testing.assert_allclose(direction, state.params, rtol=1e-13)


# Problems without atoms


def booth(p):
    return (p["x"] + 2 * p["y"] - 7) ** 2 + (2 * p["x"] + p["y"] - 5) ** 2


def rosenbrock(p):
    return jnp.sum(100 * (p[1:] - p[:-1] ** 2) ** 2 + (1 - p[:-1]) ** 2)


def minimise(optimizer, function, x, n_updates):
    """As in the README: gradients of any function, any pytree, a carried state."""

    def step(carry, _):
        x, state = carry
        updates, state = optimizer.update(jax.grad(function)(x), state, x)
        return (optax.apply_updates(x, updates), state), function(x)

    return jax.jit(lambda x: jax.lax.scan(step, (x, optimizer.init(x)), length=n_updates))(x)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["lbfgs", "ase-lbfgs"])
def test_booths_function_of_scalars_is_minimised(name):
    x = {"x": jnp.array(-3.0), "y": jnp.array(8.0)}
    (x, _), _ = minimise(ko.get(name), booth, x, 200)
    assert abs(x["x"] - 1) < 1e-9
    assert abs(x["y"] - 3) < 1e-9


@pytest.mark.parametrize("scale", ["fixed", "adaptive"])
def test_an_ill_conditioned_quadratic_is_minimised(scale):
    with jax.enable_x64(True):
        basis = np.linalg.qr(np.random.default_rng(0).normal(size=(12, 12)))[0]
        hessian = jnp.asarray(basis @ np.diag(np.geomspace(1e-1, 1e3, 12)) @ basis.T)
        optimizer = ko.chain(ko.ScaleByAseLbfgs(initial_scale=scale), ko.Scale(-1.0))
        x = jnp.asarray(np.random.default_rng(1).normal(size=12))
        (x, _), values = minimise(optimizer, lambda x: x @ hessian @ x / 2, x, 150)
        assert x @ hessian @ x / 2 < 1e-14 * values[0]


def test_rosenbrocks_valley_is_followed_in_bounded_steps():
    with jax.enable_x64(True):
        optimizer = ko.chain(
            ko.ScaleByAseLbfgs(initial_scale="adaptive", curvature_guard=True),
            ko.MaxStepSize(0.1),
            ko.Scale(-1.0),
        )
        (x, _), _ = minimise(optimizer, rosenbrock, jnp.array([-1.2, 1.0]), 400)
    np.testing.assert_allclose(x, 1, atol=1e-8)


@pytest.mark.exact
def test_one_problem_of_a_vmap_gets_the_bits_that_it_gets_alone():
    optimizer = ko.lbfgs()
    random = np.random.default_rng(5)
    stiffness = jnp.asarray(random.uniform(0.5, 20, size=(4, 6)), jnp.float32)
    x = jnp.asarray(random.normal(size=(4, 6)), jnp.float32)

    def step(x, state, stiffness):
        updates, state = optimizer.update(product(stiffness, x), state, x)
        return ko.apply_updates(x, updates), state

    batch, state = x, jax.vmap(optimizer.init)(x)
    update = jax.jit(jax.vmap(step))
    for _ in range(6):
        batch, state = update(batch, state, stiffness)
    for i in range(4):
        alone, state = x[i], optimizer.init(x[i])
        for _ in range(6):
            alone, state = jax.jit(step)(alone, state, stiffness[i])
        assert_same_bits(batch[i], alone)


# As one of optax's


def test_it_stands_in_an_optax_chain():
    gradient, x = quadratic(n_rows=4, condition=50, dtype="float64")
    with jax.enable_x64(True):
        ours = ko.chain(ko.ScaleByAseLbfgs(memory_size=4, alpha=10.0), ko.Scale(-1.0))
        theirs = optax.chain(ko.scale_by_ase_lbfgs(memory_size=4, alpha=10.0), optax.scale(-1.0))
        a = b = jnp.asarray(x)
        one, other = ours.init(a), theirs.init(b)
        for _ in range(10):
            step, one = ours.update(jnp.asarray(gradient(np.asarray(a))), one, a)
            a = ko.apply_updates(a, step)
            step, other = theirs.update(jnp.asarray(gradient(np.asarray(b))), other, b)
            b = optax.apply_updates(b, step)
        assert_same_bits(a, b)
        assert isinstance(other[0], ko.ScaleByAseLbfgsState)


@pytest.mark.parametrize(
    "make",
    [
        lambda: optax.chain(ko.scale_by_ase_lbfgs(20, 10.0), optax.clip_by_global_norm(0.5)),
        lambda: optax.chain(optax.zero_nans(), ko.scale_by_ase_lbfgs(alpha=10.0), optax.clip(0.3)),
        lambda: optax.masked(ko.scale_by_ase_lbfgs(alpha=10.0), {"x": True, "y": True}),
    ],
)
@pytest.mark.usefixtures("x64")
def test_it_composes_with_optax_transforms(make):
    optimizer = optax.chain(make(), optax.scale(-1.0))
    x = {"x": jnp.array(-3.0), "y": jnp.array(8.0)}
    (x, _), _ = minimise(optimizer, booth, x, 200)
    assert abs(x["x"] - 1) < 1e-6
    assert abs(x["y"] - 3) < 1e-6
