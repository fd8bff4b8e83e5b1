"""Rates and schedules count each system's own steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from search_cases import FUNCTIONS, walk

from helpers import DTYPES, assert_same_bits
from kups_relax import optimizers as ko
from kups_relax.data import Index
from kups_relax.errors import OptionError

SCHEDULE = optax.exponential_decay(0.5, 3, 0.7)


@pytest.mark.parametrize("rate", [0.3, SCHEDULE, optax.cosine_decay_schedule(0.5, 6)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rates_are_those_of_optax(rate, dtype):
    with jax.enable_x64(dtype == "float64"):
        updates = {"a": jnp.arange(1.0, 7.0, dtype=dtype).reshape(2, 3), "b": jnp.ones(3, dtype)}
        mine, theirs = ko.ScaleByLearningRate(rate), optax.scale_by_learning_rate(rate)
        state, expected_state = mine.init(updates), theirs.init(updates)
        for _ in range(8):
            got, state = mine.update(updates, state)
            expected, expected_state = theirs.update(updates, expected_state)
            for k in updates:
                assert got[k].dtype == dtype
                np.testing.assert_allclose(got[k], expected[k], rtol=1e-6)


@pytest.mark.parametrize("prefix", ["lanes", "index"])
def test_each_system_has_its_own_count(prefix):
    transform = ko.ScaleByLearningRate(SCHEDULE)
    updates = jnp.ones((2, 3))
    owner = ko.Lanes(n=3) if prefix == "lanes" else Index.integer([1, 0], n=2)
    state = transform.init(updates, owner)
    n = 3 if prefix == "lanes" else 2
    for k in range(4):
        _, new = transform.update(updates, state)
        # The first system takes every second step.
        state = transform.hold(new, state, (jnp.arange(n) == 0) & (k % 2 == 1))
    assert state.count.tolist() == [2, *[4] * (n - 1)]
    got, _ = transform.update(updates, state)
    got = np.asarray(got) if prefix == "lanes" else np.asarray(got)[::-1].T
    np.testing.assert_allclose(got[0], [-SCHEDULE(2), *[-SCHEDULE(4)] * (n - 1)], rtol=1e-6)
    fresh = transform.reset(state, jnp.arange(n) == 1, updates)
    assert fresh.count.tolist()[:2] == [2, 0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_schedule_gives_a_system_the_bits_that_it_has_alone(dtype):
    random = np.random.default_rng(0)
    with jax.enable_x64(dtype == "float64"):
        updates = jnp.asarray(random.normal(size=(37, 3)).astype(dtype))
        transform = ko.ScaleByLearningRate(SCHEDULE)
        state = transform.init(updates, Index.arange(37))
        alone = transform.init(updates[:1])
        for _ in range(5):
            got, state = transform.update(updates, state)
            expected, alone = transform.update(updates[11:12], alone)
            assert_same_bits(got[11:12], expected)


def test_trials_of_a_line_are_no_steps():
    optimizer = ko.lbfgs(learning_rate=SCHEDULE, linesearch="zoom", max_step_size=None)
    function, start, _ = FUNCTIONS["rosenbrock"]
    with jax.enable_x64(True):
        state, x, n_taken = optimizer.init(jnp.asarray(start)), start, 0
        for _ in range(20):
            value, gradient = function(x)
            updates, state = optimizer.update(
                jnp.asarray(gradient), state, jnp.asarray(x), value=jnp.asarray(value)
            )
            n_taken += int(optimizer.accepted(state)[0])
            x = x + np.asarray(updates)
    assert n_taken < 20
    assert state[1].count.tolist() == [n_taken]


def test_options_of_lbfgs_make_its_members():
    assert ko.lbfgs() == ko.get("lbfgs")
    scale = ko.ScaleByAseLbfgs(16, initial_scale="adaptive", curvature_guard=True)
    assert ko.lbfgs() == ko.chain(scale, ko.MaxStepSize(0.2), ko.Scale(-1.0))
    assert ko.get("lbfgs-zoom") == ko.chain(
        *ko.lbfgs().transforms, ko.ZoomLineSearch(max_step_size=0.2)
    )
    assert ko.get("lbfgs-backtracking").search == ko.BacktrackingLineSearch(max_step_size=0.2)
    options = ko.lbfgs(
        5, 0.5, False, ko.ZoomLineSearch(), alpha=10, max_step_size=None, clip_norm=2, clip_value=1
    )
    assert options == ko.chain(
        ko.ClipByValue(1),
        ko.ClipByGlobalNorm(2),
        ko.ScaleByAseLbfgs(5, 10, "fixed", curvature_guard=True),
        ko.ScaleByLearningRate(0.5),
        ko.ZoomLineSearch(),
    )


@pytest.mark.parametrize("clip", [{"clip_norm": 1.0}, {"clip_value": 0.5}])
def test_clipped_gradients_still_lead_to_the_minimum(clip):
    optimizer = ko.lbfgs(linesearch="zoom", max_step_size=None, **clip)
    # Of two coordinates: gradients that are clipped are no slopes of the value.
    function, start, minimum = FUNCTIONS["rosenbrock"]
    np.testing.assert_allclose(walk(optimizer, function, start[:2]).x[-1], minimum, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ko.ScaleByLearningRate(0.0), "learning_rate is 0.0"),
        (lambda: ko.ScaleByLearningRate("fast"), "learning_rate is 'fast'"),
        (lambda: ko.lbfgs(linesearch="brent"), "linesearch is 'brent'; expected None, one of"),
        (lambda: ko.ClipByValue(0.0), "max_delta is 0.0"),
        (lambda: ko.lbfgs(memory_size=0), "memory_size is 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(make, message):
    with pytest.raises(OptionError, match=message):
        make()


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_are_clipped_as_by_optax(dtype):
    random = np.random.default_rng(4)
    with jax.enable_x64(dtype == "float64"):
        updates = jnp.asarray(random.normal(size=(5, 3)).astype(dtype))
        mine, theirs = ko.ClipByValue(0.5), optax.clip(0.5)
        got, _ = mine.update(updates, mine.init(updates))
        expected, _ = theirs.update(updates, theirs.init(updates))
    assert_same_bits(got, expected)
