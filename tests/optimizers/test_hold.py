"""What a line search asks of those before it: to take an update back, and to forget."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import assert_same_bits
from kups_relax import optimizers as ko
from kups_relax.data import Index

# Rows of two systems, interleaved.
OWNER = np.array([0, 1, 1, 0, 1])
PREFIXES = {"rows": Index.integer(OWNER, n=2), "lanes": ko.Lanes(n=2)}
SHAPES = {"rows": (5, 3), "lanes": (3, 4, 2)}

LEARNING = {
    "conjugate gradient": ko.ConjugateGradient(),
    "descent": ko.GradientDescent(alpha=1e6),
    "fire": ko.Fire(dt=0.2),
    "checked fire": ko.Fire(dt=0.2, downhill_check=True),
    "fire2": ko.Fire2(dt=0.2),
    "learning rate": ko.ScaleByLearningRate(lambda n: 0.1 / (1 + n)),
}


def mine(x, layout, system):
    return np.asarray(x)[system == OWNER if layout == "rows" else (..., system)]


def evaluations(layout, n=6, seed=3):
    """Gradients and values of a stiff well at points that come nearer."""
    random = np.random.default_rng(seed)
    stiffness, start = random.uniform(1, 30, SHAPES[layout]), random.normal(size=SHAPES[layout])
    points = [start * random.uniform(0.5, 1, SHAPES[layout]) ** k for k in range(n)]
    return [(stiffness * x, x, np.linspace(n - k, 0, 2)) for k, x in enumerate(points)]


def told(transform, state, evaluation):
    gradient, x, value = map(jnp.asarray, evaluation)
    return transform.update(gradient, state, x, value=value)


@pytest.mark.parametrize("layout", PREFIXES)
@pytest.mark.parametrize("name", LEARNING)
def test_a_held_system_goes_on_as_if_never_updated(name, layout, x64):
    transform, (start, *others) = LEARNING[name], evaluations(layout)
    state = transform.init(jnp.asarray(start[1]), PREFIXES[layout])
    for evaluation in (start, *others[:2]):
        _, state = told(transform, state, evaluation)
    _, new = told(transform, state, others[2])
    held = transform.hold(new, state, jnp.array([True, False]))
    skipped, updated, both = [told(transform, s, others[3])[0] for s in (state, new, held)]
    assert not np.array_equal(skipped, updated)
    assert_same_bits(mine(both, layout, 0), mine(skipped, layout, 0))
    assert_same_bits(mine(both, layout, 1), mine(updated, layout, 1))


@pytest.mark.parametrize("layout", PREFIXES)
@pytest.mark.parametrize("name", [name for name in LEARNING if name != "learning rate"])
def test_a_system_that_forgets_leaves_the_others_what_they_know(name, layout, x64):
    transform, (start, *others) = LEARNING[name], evaluations(layout)
    state = transform.init(jnp.asarray(start[1]), PREFIXES[layout])
    for evaluation in (start, *others[:3]):
        _, state = told(transform, state, evaluation)
    state_of_one = transform.forget(state, jnp.array([True, False]), jnp.asarray(others[2][1]))
    known, forgotten = [told(transform, s, others[3])[0] for s in (state, state_of_one)]
    assert_same_bits(mine(forgotten, layout, 1), mine(known, layout, 1))
    assert not np.array_equal(mine(forgotten, layout, 0), mine(known, layout, 0))
    # The next step is along the gradient.
    step, gradient = mine(forgotten, layout, 0).ravel(), mine(others[3][0], layout, 0).ravel()
    cosine = step @ gradient / np.linalg.norm(step) / np.linalg.norm(gradient)
    assert abs(cosine) == pytest.approx(1.0)


@pytest.mark.parametrize("initial_scale", ["fixed", "adaptive", "averaged"])
def test_lbfgs_that_forgets_starts_from_the_scale_of_its_next_pair(initial_scale, x64):
    options = {"memory_size": 3, "initial_scale": initial_scale, "curvature_guard": True}
    transform, x = ko.ScaleByAseLbfgs(**options), jnp.ones((2, 3))
    stiffness = jnp.array([[1.0, 4.0, 9.0], [2.0, 3.0, 30.0]])
    state = transform.init(x)
    points = [x * f for f in (1.0, 0.7, 0.4)]
    for point in points:
        _, state = transform.update(stiffness * point, state, point)
    state = transform.forget(state, jnp.array([True]), points[-1])
    fresh = transform.init(points[-1])
    _, fresh = transform.update(stiffness * points[-1], fresh, points[-1])
    for factors in (0.3, 0.2, 0.1):
        point = x * jnp.array([[factors, 0.5, 0.1], [factors**2, 0.3, factors]])
        got, state = transform.update(stiffness * point, state, point)
        expected, fresh = transform.update(stiffness * point, fresh, point)
        # Slots differ, and with them the order of sums within the history.
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_a_descent_guard_keeps_the_history_of_who_is_only_trying(x64):
    transform = ko.ScaleByAseLbfgs(memory_size=4, descent_guard=True, initial_scale="averaged")
    lanes, random = ko.Lanes(n=2), np.random.default_rng(0)
    x = jnp.asarray(random.normal(size=(3, 4, 2)))
    state = transform.init(x, lanes)
    for _ in range(3):
        _, state = transform.update(x * x * x, state, x)
        x = x * 0.8
    # Uphill for both, and only the second one takes the point.
    uphill = -1e3 * x
    _, after = transform.update(uphill, state, x, accepted=jnp.array([False, True]))
    known = np.asarray(after.weights_memory.data) != 0
    assert known[0].sum() == 2
    assert (np.asarray(after.ratios) != 0)[0].sum() == 2
    assert_same_bits(jax.tree.leaves(after.params)[0][..., 0], state.params[..., 0])
