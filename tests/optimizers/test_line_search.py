"""Line searches go down, take steps that fulfil their conditions, and always end."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import minimize
from search_cases import FUNCTIONS, IN_JAX, parabola, quartic, rosenbrock, searching, walk

from kups_relax import optimizers as ko
from kups_relax.errors import OptionError

# SciPy goes on until the gradient is small.
TIGHT = {"gtol": 1e-7, "ftol": 0}

SEARCHES = {
    "zoom": ko.ZoomLineSearch(),
    "strict zoom": ko.ZoomLineSearch(curvature=0.1),
    "backtracking": ko.BacktrackingLineSearch(),
    "halving": ko.BacktrackingLineSearch(shrink=0.5),
}


@functools.cache
def walk_of(search, name):
    """What L-BFGS with a search does on a function: several tests look at it."""
    function, start, _ = FUNCTIONS[name]
    return walk(searching(search), function, start)


def measured(walked, line):
    """Value and slope along a line, where it begins and where it was taken."""
    first, last = line[0], line[-1]
    path = walked.x[last] - walked.x[first]
    slopes = [float(walked.gradient[k] @ path) for k in (first, last)]
    return walked.value[first], walked.value[last], *slopes


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("search", SEARCHES)
def test_functions_are_followed_to_their_minimum(search, name):
    function, start, minimum = FUNCTIONS[name]
    walked = walk_of(SEARCHES[search], name)
    np.testing.assert_allclose(walked.x[-1], minimum, atol=1e-6)
    reference = minimize(function, start, jac=True, method="L-BFGS-B", options=TIGHT)
    assert walked.value[-1] <= reference.fun + 1e-12
    # A strict search pays for its steps with trials.
    assert len(walked.x) <= (3 if search == "strict zoom" else 1.5) * reference.nfev + 5


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("curvature", [0.9, 0.1])
def test_every_step_of_zoom_fulfils_the_strong_wolfe_conditions(curvature, name):
    search = ko.ZoomLineSearch(curvature=curvature)
    walked = walk_of(search, name)
    assert any(len(line) > 2 for line in walked.lines)
    for line in walked.lines[:-1]:
        before, after, slope, there = measured(walked, line)
        assert slope < 0
        assert abs(there) <= curvature * abs(slope) * (1 + 1e-9)
        if abs(after - before) > search.resolution * abs(before):
            assert after <= before + search.decrease * slope


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("shrink", [None, 0.5])
def test_every_step_of_backtracking_goes_down_enough(shrink, name):
    search = ko.BacktrackingLineSearch(shrink=shrink)
    walked = walk_of(search, name)
    assert any(len(line) > 2 for line in walked.lines)
    for line in walked.lines[:-1]:
        before, after, slope, _ = measured(walked, line)
        if abs(after - before) > search.resolution * abs(before):
            assert after <= before + search.decrease * slope
        # What was tried before was not good enough.
        for trial in line[1:-1]:
            path = walked.x[trial] - walked.x[line[0]]
            promised = search.decrease * float(walked.gradient[line[0]] @ path)
            assert walked.value[trial] > before + promised


@pytest.mark.parametrize("search", SEARCHES)
def test_trials_of_a_line_are_on_it(search):
    walked = walk_of(SEARCHES[search], "rosenbrock")
    n_trials = 0
    for line in walked.lines:
        path = walked.x[line[1]] - walked.x[line[0]]
        for trial in line[2:]:
            moved = walked.x[trial] - walked.x[line[0]]
            across = moved - path * (moved @ path) / (path @ path)
            assert np.linalg.norm(across) < 1e-12
            n_trials += 1
    assert n_trials > 0


def test_halving_halves():
    walked = walk_of(SEARCHES["halving"], "rosenbrock")
    for line in walked.lines:
        longest = walked.x[line[1]] - walked.x[line[0]]
        for k, trial in enumerate(line[1:]):
            moved = walked.x[trial] - walked.x[line[0]]
            np.testing.assert_allclose(moved, longest * 0.5**k, rtol=1e-9, atol=1e-13)


def test_backtracking_takes_the_steps_of_optax():
    # Steepest descent, so that directions are the same; optax tries 1 again after each step.
    mine = ko.chain(ko.Scale(-1.0), ko.BacktrackingLineSearch(shrink=0.8, max_trials=50))
    function, start, _ = FUNCTIONS["parabola"]
    walked = walk(mine, function, start, n=300, fmax=0.1)
    theirs = optax.scale_by_backtracking_linesearch(
        50, slope_rtol=1e-4, decrease_factor=0.8, increase_factor=1e9, max_learning_rate=1.0
    )
    expected = optax_walk(theirs, "parabola", sum(walked.taken), descending=True)
    got = [x for x, taken in zip(walked.x, walked.taken, strict=True) if taken]
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["rosenbrock", "parabola"])
def test_zoom_goes_where_the_one_of_optax_goes(name):
    function, _, minimum = FUNCTIONS[name]
    walked = walk_of(ko.ZoomLineSearch(), name)
    theirs = optax.chain(
        optax.scale_by_lbfgs(10), optax.scale(-1.0), optax.scale_by_zoom_linesearch(20)
    )
    steps = optax_walk(theirs, name, 250)
    np.testing.assert_allclose(steps[-1], minimum, atol=1e-5)
    n_theirs = next(k for k, x in enumerate(steps) if np.linalg.norm(function(x)[1]) < 1e-4)
    n_mine = sum(
        np.linalg.norm(g) >= 1e-4
        for g, taken in zip(walked.gradient, walked.taken, strict=True)
        if taken
    )
    assert n_mine <= 1.3 * n_theirs + 3


def optax_walk(transformation, name, n_points, *, descending=False):
    """The points that optax takes, whose searches evaluate by themselves.

    Args:
        transformation: What makes steps.
        name: Of a function in `IN_JAX`.
        n_points: How many.
        descending: Whether it takes a direction downhill, and not the gradient.
    """
    value_fn, start = IN_JAX[name], FUNCTIONS[name][1]
    update = optax.with_extra_args_support(transformation).update

    @jax.jit
    def step(x, state):
        value, grad = jax.value_and_grad(value_fn)(x)
        extra = {"value": value, "grad": grad, "value_fn": value_fn}
        updates, state = update(-grad if descending else grad, state, x, **extra)
        return x + updates, state

    with jax.enable_x64(True):
        x = jnp.asarray(start)
        state, points = transformation.init(x), [start]
        for _ in range(n_points - 1):
            x, state = step(x, state)
            points.append(np.asarray(x))
    return points


def wall(x):
    """A parabola that is not defined beyond 1; its minimum is at 0.9."""
    if (x > 1).any():
        return np.nan, np.full(x.shape, np.nan)
    return float(((x - 0.9) ** 2).sum()), 2 * (x - 0.9)


@pytest.mark.parametrize("search", SEARCHES)
def test_trials_that_are_not_finite_are_shortened(search):
    optimizer = ko.chain(ko.Scale(-5.0), SEARCHES[search])
    walked = walk(optimizer, wall, np.tile([0.2, 0.5], 6))
    assert np.isnan(walked.value).any()
    assert not any(np.isnan(v) for v, t in zip(walked.value, walked.taken, strict=True) if t)
    np.testing.assert_allclose(walked.x[-1], 0.9, atol=1e-6)


def lying(x):
    """Values that do not belong to the gradient: it leads uphill."""
    value, gradient = quartic(x)
    return value, -gradient


@pytest.mark.parametrize("search", SEARCHES)
def test_a_line_without_a_good_point_ends_after_its_trials(search):
    x = FUNCTIONS["quartic"][1]
    optimizer = searching(dataclasses.replace(SEARCHES[search], max_trials=4))
    walked = walk(optimizer, lying, x, n=40)
    assert len(walked.lines) >= 7
    # One more is the way back to the best.
    assert max(len(line) - 1 for line in walked.lines) <= 5
    if isinstance(SEARCHES[search], ko.ZoomLineSearch):
        values = [v for v, taken in zip(walked.value, walked.taken, strict=True) if taken]
        assert max(values) == values[0]


def test_a_direction_uphill_is_replaced_by_the_steepest_descent_of_its_length():
    uphill = ko.chain(ko.Scale(0.01), ko.ZoomLineSearch())
    walked = walk(uphill, parabola, np.ones(12), n=2)
    gradient = walked.gradient[0]
    np.testing.assert_allclose(walked.x[1] - walked.x[0], -0.01 * gradient, rtol=1e-12)
    assert walked.value[1] < walked.value[0]


@pytest.mark.parametrize("search", SEARCHES)
def test_searches_go_on_where_values_no_longer_tell_points_apart(search):
    def shifted(x):
        value, gradient = quartic(x)
        return np.float64(np.float32(value + 1e4)), gradient

    walked = walk(searching(SEARCHES[search]), shifted, FUNCTIONS["quartic"][1], fmax=1e-9)
    assert np.linalg.norm(walked.gradient[-1]) < 1e-9
    plain = walk(searching(SEARCHES[search]), quartic, FUNCTIONS["quartic"][1], fmax=1e-9)
    assert len(walked.x) <= 1.5 * len(plain.x)


@pytest.mark.parametrize("search", ["zoom", "backtracking"])
def test_no_trial_is_farther_than_the_longest_step(search):
    limited = dataclasses.replace(SEARCHES[search], max_step_size=0.05)
    walked = walk(searching(limited), rosenbrock, FUNCTIONS["rosenbrock"][1], n=80)
    for line in walked.lines:
        for trial in line[1:]:
            # A vector without an index is rows of one number each.
            longest = np.abs(walked.x[trial] - walked.x[line[0]]).max()
            assert longest <= 0.05 * (1 + 1e-9)


def test_a_learning_rate_is_kept_and_grows():
    optimizer = ko.chain(
        ko.Scale(-1.0), ko.BacktrackingLineSearch(initial="keep", growth=2.0, shrink=0.5)
    )
    walked = walk(optimizer, parabola, FUNCTIONS["parabola"][1], n=400, fmax=1e-3)
    assert np.linalg.norm(walked.gradient[-1]) < 1e-3
    rates = [
        [np.linalg.norm(walked.x[k] - walked.x[line[0]]) for k in line[1:]]
        / np.linalg.norm(walked.gradient[line[0]])
        for line in walked.lines[:-1]
    ]
    for last, this in itertools.pairwise(rates):
        np.testing.assert_allclose(this[0], 2 * last[-1], rtol=1e-6)
    capped = ko.chain(
        ko.Scale(-1.0),
        ko.BacktrackingLineSearch(initial="keep", max_learning_rate=0.01),
    )
    walked = walk(capped, parabola, FUNCTIONS["parabola"][1], n=20)
    for line in walked.lines:
        moved = np.linalg.norm(walked.x[line[-1]] - walked.x[line[0]])
        assert moved <= 0.01 * np.linalg.norm(walked.gradient[line[0]]) * (1 + 1e-9)


def test_history_is_what_it_would_be_without_the_trials():
    """A held system keeps its pairs: the next direction is L-BFGS's of the points taken."""
    function, start, _ = FUNCTIONS["long rosenbrock"]
    for memory in (8, 40):
        optimizer = searching(ko.ZoomLineSearch(), memory)
        walked = walk(optimizer, function, start, n=25)
        taken = [k for k, t in enumerate(walked.taken) if t]
        assert len(taken) < len(walked.x) <= memory or memory == 8
        if memory == 8:
            continue
        alone = ko.ScaleByAseLbfgs(memory, initial_scale="adaptive", curvature_guard=True)
        directions = directions_of(alone, walked, taken)
        for k, direction in zip(taken, directions, strict=True):
            if k + 1 < len(walked.x):
                moved = walked.x[k + 1] - walked.x[k]
                np.testing.assert_allclose(moved, -direction, rtol=1e-7, atol=1e-9)


def directions_of(transform, walked, taken):
    with jax.enable_x64(True):
        state = transform.init(jnp.asarray(walked.x[0]))
        for k in taken:
            direction, state = transform.update(
                jnp.asarray(walked.gradient[k]), state, jnp.asarray(walked.x[k])
            )
            yield np.asarray(direction)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ko.chain(ko.ZoomLineSearch()), "ZoomLineSearch stands alone"),
        (lambda: ko.ZoomLineSearch().update(None, None), "a line search needs a direction"),
        (lambda: ko.chain(ko.ZoomLineSearch(), ko.Scale(-1.0)), "followed by Scale"),
        (lambda: ko.ZoomLineSearch(decrease=0.6), "decrease is 0.6"),
        (lambda: ko.ZoomLineSearch(curvature=1e-5), "curvature is 1e-05"),
        (lambda: ko.ZoomLineSearch(max_trials=0), "max_trials is 0"),
        (lambda: ko.ZoomLineSearch(max_step_size=0), "max_step_size is 0"),
        (lambda: ko.ZoomLineSearch(growth=1.0), "growth is 1.0"),
        (lambda: ko.ZoomLineSearch(resolution=-1.0), "resolution is -1.0"),
        (lambda: ko.BacktrackingLineSearch(shrink=1.0), "shrink is 1.0"),
        (lambda: ko.BacktrackingLineSearch(initial="two"), "initial is 'two'"),
    ],
)
def test_options_that_make_no_sense_are_refused(make, message):
    with pytest.raises(OptionError, match=message):
        make()


def test_a_missing_value_is_asked_for():
    optimizer = ko.lbfgs(linesearch="zoom")
    x = np.ones(3, np.float32)
    with pytest.raises(OptionError, match=r"ZoomLineSearch got no value; call update.*value=value"):
        optimizer.update(x, optimizer.init(x), x)


def test_a_chain_with_a_search_can_stand_in_a_chain():
    inner = ko.chain(ko.Scale(-1.0), ko.ZoomLineSearch())
    assert ko.chain(ko.ClipByValue(1.0), inner) == ko.chain(
        ko.ClipByValue(1.0), ko.Scale(-1.0), ko.ZoomLineSearch()
    )
