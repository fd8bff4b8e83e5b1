"""Every optimizer that has a name: a system gets the bits that it would get alone."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kups_relax as kr
from helpers import DTYPES, argon, argon_clusters, assert_same_bits
from kups_relax import optimizers as ko
from kups_relax.data import Index
from kups_relax.ops import product

pytestmark = pytest.mark.exact

# All names but of those that need a chart, which the engine alone has, and what options alone
# reach. A new name is tested without being listed here.
NAMED = {name: ko.get(name) for name in ko.NAMED}
OPTIMIZERS = {k: v for k, v in NAMED.items() if not getattr(v, "needs_chart", False)} | {
    "averaged": ko.chain(
        ko.ScaleByAseLbfgs(memory_size=3, initial_scale="averaged", descent_guard=True),
        ko.MaxStepSize(0.2),
        ko.Scale(-1.0),
    ),
    "averaged, textbook": ko.chain(
        ko.ScaleByAseLbfgs(
            memory_size=40, initial_scale="averaged", curvature_guard=True, descent_guard=True
        ),
        ko.MaxStepSize(0.2),
        ko.Scale(-1.0),
    ),
    "polak-ribiere": ko.get("conjugate-gradient:beta=polak-ribiere"),
    "hager-zhang": ko.get("conjugate-gradient:beta=hager-zhang"),
    "no secants": ko.chain(ko.ConjugateGradient(steps="none"), ko.MaxStepSize(0.1), ko.Scale(-1.0)),
    "checked fire": ko.get("fire:downhill-check=true"),
    # What stands before a line search is held while others go on.
    "averaged, backtracking": ko.chain(
        ko.ScaleByAseLbfgs(memory_size=3, initial_scale="averaged", descent_guard=True),
        ko.Scale(-1.0),
        ko.BacktrackingLineSearch(),
    ),
    "no secants, zoom": ko.chain(
        ko.ConjugateGradient(steps="none"), ko.Scale(-1.0), ko.ZoomLineSearch(curvature=0.1)
    ),
    "descent, backtracking": ko.chain(
        ko.GradientDescent(alpha=1.0), ko.Scale(-1.0), ko.BacktrackingLineSearch()
    ),
    "checked fire, backtracking": ko.chain(
        ko.Fire(dt=1.0, downhill_check=True), ko.BacktrackingLineSearch()
    ),
    "fire2, zoom": ko.chain(ko.Fire2(dt=1.0), ko.ZoomLineSearch()),
    "adabelief, all options": ko.get("adabelief:weight-decay=0.01,nesterov=true"),
    "rmsprop, all options": ko.get("rmsprop:momentum=0.9,nesterov=true,centered=true"),
}
EXTENDED = pytest.mark.extended
ROWS = (33, 12, 33)
N_UPDATES = 15


def gradient(x, stiffness):
    """A double well in some coordinates, a stiff well in others, by NumPy."""
    return (stiffness * x + x * x * x - 4 * np.sin(x)).astype(x.dtype)


def value(x, stiffness):
    """What `gradient` is the slope of."""
    x = x.astype("f8")
    return np.sum(stiffness * x**2 / 2 + x**4 / 4 + 4 * np.cos(x))


def rows_of(optimizer, step, x, stiffness, owner=None):
    index = None if owner is None else Index.integer(owner, n=len(ROWS))
    owner = np.zeros(len(x)) if owner is None else owner
    systems = [owner == system for system in np.unique(owner)]
    x = jnp.asarray(x)
    state = optimizer.init(x, index)
    for _ in range(N_UPDATES):
        here = np.asarray(x)
        slope = jnp.asarray(gradient(here, stiffness))
        energies = [value(here[mine], stiffness[mine]) for mine in systems]
        updates, state = step(slope, state, x, value=jnp.asarray(energies, x.dtype))
        x = ko.apply_updates(x, updates)
    return np.asarray(x)


# Each name with one dtype; benchmarks/optimizer_exactness.py has all of it with both.
CASES, OTHERS = (
    list(zip(OPTIMIZERS, itertools.cycle(dtypes))) for dtypes in (DTYPES, DTYPES[::-1])
)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [pytest.param(*case, marks=[] if case[0] in ("fire", "adam") else EXTENDED) for case in CASES],
)
def test_rows_of_a_ragged_interleaved_tree(name, dtype):
    optimizer = OPTIMIZERS[name]
    random = np.random.default_rng(1)
    owner = random.permutation(np.repeat(range(len(ROWS)), ROWS))
    start = random.normal(size=(len(owner), 3)).astype(dtype)
    stiffness = random.uniform(-1, 30, size=start.shape).astype(dtype)
    with jax.enable_x64(dtype == "float64"):
        eager = rows_of(optimizer, optimizer.update, start, stiffness, owner)
        jitted = rows_of(optimizer, jax.jit(optimizer.update), start, stiffness, owner)
        assert_same_bits(jitted, eager)
        assert eager.dtype == dtype
        assert not np.array_equal(eager, start)
        for system in range(len(ROWS)):
            mine = owner == system
            alone = rows_of(optimizer, optimizer.update, start[mine], stiffness[mine])
            assert_same_bits(eager[mine], alone)


@functools.cache
def lane_step(optimizer):
    @jax.jit
    def step(x, state, stiffness):
        # What is subtracted is rounded, or else the compiler contracts it.
        slope = (product(stiffness, x) + product(product(x, x), x)) - x
        square, systems = product(x, x), ko.Systems.of(x, ko.Lanes(n=x.shape[-1]))
        value = (systems.dot(stiffness - 1, square) + systems.dot(square, square) / 2) / 2
        updates, state = optimizer.update(slope, state, x, value=value)
        return ko.apply_updates(x, updates), state

    return step


def lanes_of(dtype, seed):
    random = np.random.default_rng(seed)
    x = random.normal(size=(3, 6, 8)).astype(dtype)
    return x, random.uniform(-1, 30, size=x.shape).astype(dtype)


def down(optimizer, x, stiffness, n_updates, state=None):
    x, stiffness = jnp.asarray(x), jnp.asarray(stiffness)
    state = optimizer.init(x, ko.Lanes(n=x.shape[-1])) if state is None else state
    for _ in range(n_updates):
        x, state = lane_step(optimizer)(x, state, stiffness)
    return x, state


# Two of optax's, which all go through one wrapper, and the variants with code of their own.
LANES = {
    *(n for n in OPTIMIZERS if n in ko.NAMED and not hasattr(optax, n.replace("-", "_"))),
    *("adam", "sgd", "averaged", "no secants, zoom", "checked fire, backtracking"),
}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [pytest.param(*case, marks=[] if case[0] in LANES else EXTENDED) for case in OTHERS],
)
def test_lanes_in_any_company_and_after_a_refill(name, dtype):
    optimizer = OPTIMIZERS[name]
    x, stiffness = lanes_of(dtype, 2)
    new_x, new_stiffness = lanes_of(dtype, 3)
    order = np.random.default_rng(4).permutation(8)
    fresh = np.array([False, True, False, False, True, True, False, False])
    with jax.enable_x64(dtype == "float64"):
        together, _ = down(optimizer, x, stiffness, N_UPDATES)
        shuffled, _ = down(optimizer, x[..., order], stiffness[..., order], N_UPDATES)
        assert_same_bits(shuffled, np.asarray(together)[..., order])
        # The others are empty, as where the engine relaxes a structure alone.
        empty = np.zeros_like(x)
        empty[..., 5] = x[..., 5]
        alone, _ = down(optimizer, empty, stiffness, N_UPDATES)
        assert_same_bits(alone[..., 5], together[..., 5])
        assert np.isfinite(np.asarray(alone)).all()

        old, state = down(optimizer, x, stiffness, 6)
        mixed = jnp.where(fresh, new_x, old)
        state = jax.jit(optimizer.reset)(state, fresh, mixed)
        stiff = np.where(fresh, new_stiffness, stiffness)
        refilled, _ = down(optimizer, mixed, stiff, N_UPDATES - 6, state)
        new, _ = down(optimizer, new_x, new_stiffness, N_UPDATES - 6)
        assert_same_bits(refilled, jnp.where(fresh, new, together))


@pytest.mark.extended
@pytest.mark.parametrize(("name", "dtype"), list(zip(ko.NAMED, itertools.cycle(DTYPES))))
def test_relaxing_in_company_changes_nothing(name, dtype):
    clusters = argon_clusters([3, 8, 5, 2, 7])
    options = {"optimizer": name, "dtype": dtype, "fmax": 0.02, "max_steps": 25}
    report = kr.verify(clusters, argon(), draws=4, **options)
    assert report.ok, report
