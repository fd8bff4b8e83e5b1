"""Gradient descent and conjugate gradients: known minima, bounded steps, no energies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kups_relax as kr
from helpers import argon, argon_clusters, assert_same_bits
from kups_relax import optimizers as ko
from kups_relax.errors import OptionError

NAMES = ("gradient-descent", "conjugate-gradient", "conjugate-gradient:beta=hager-zhang")


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        *((name, (3, 8, 5, 7, 8)) for name in NAMES),
        *(pytest.param(name, (3, 8, 13, 13, 20), marks=pytest.mark.extended) for name in NAMES),
    ],
)
def test_clusters_relax_to_minima_by_bounded_steps(name, sizes):
    clusters = argon_clusters(sizes)
    result = kr.relax(clusters, argon(), name, fmax=1e-4, trajectory=1)
    assert result.converged.all()
    again = kr.relax(result.atoms, argon(), "ase-lbfgs", fmax=1e-6, max_steps=200)
    assert again.converged.all()
    # They were in the basin of a minimum: ASE's L-BFGS goes nowhere else from there.
    np.testing.assert_allclose(again.energy, result.energy, rtol=0, atol=1e-5)
    for i in range(len(clusters)):
        steps = np.diff([frame.positions for frame in result.trajectory(i)], axis=0)
        assert np.linalg.norm(steps, axis=-1).max() <= 0.2 + 1e-12


def beta_of(formula, g, state):
    """The textbooks' numbers, for directions downhill."""
    d, before = -np.asarray(state.direction), np.asarray(state.origin)
    y = g - before
    dy = np.vdot(d, y)
    if formula == "polak-ribiere":
        return max(0.0, np.vdot(g, y) / np.vdot(before, before))
    if dy <= 0:
        return 0.0
    if formula == "hybrid":
        return max(0.0, min(np.vdot(g, y), np.vdot(g, g)) / dy)
    least = -1 / (np.linalg.norm(d) * min(0.01, np.linalg.norm(before)))
    return max(least, np.vdot(y - 2 * d * np.vdot(y, y) / dy, g) / dy)


@pytest.mark.parametrize("beta", ["hybrid", "polak-ribiere", "hager-zhang"])
def test_directions_are_those_of_the_textbook(beta, x64):
    random = np.random.default_rng(5)
    stiffness, x = random.uniform(0.5, 40, size=(5, 3)), random.normal(size=(5, 3))
    transform = ko.ConjugateGradient(beta=beta)
    state, sizes, n_secants = transform.init(jnp.asarray(x)), [], 0
    for update in range(60):
        g, old = stiffness * x, state
        step, state = transform.update(jnp.asarray(g), state, jnp.asarray(x))
        if int(state.steps[0]):
            # Along the same line.
            assert_same_bits(state.direction, old.direction)
            n_secants += 1
        elif update:
            expected = g - beta_of(beta, g, old) * -np.asarray(old.direction)
            if np.vdot(expected, g) < 2e-3 * np.linalg.norm(expected) * np.linalg.norm(g):
                expected = g
            np.testing.assert_allclose(state.direction, expected, rtol=1e-9, atol=1e-12)
        sizes.append(np.linalg.norm(g))
        x = x - np.asarray(step)
    assert n_secants > 0
    assert sizes[-1] < 1e-3 * sizes[0]


@pytest.mark.parametrize("transform", [ko.GradientDescent(), ko.ConjugateGradient()])
def test_directions_lead_downhill_on_a_concave_slope(transform, x64):
    """Where every curvature is negative the steps grow, and never turn round."""
    x = jnp.array([[0.1, 0.0, 0.0], [0.0, 0.2, 0.0]])
    state, lengths = transform.init(x), []
    for _ in range(6):
        slope = -2 * x
        step, state = transform.update(slope, state, x)
        assert float(jnp.vdot(step, slope)) > 0
        lengths.append(float(jnp.linalg.norm(step)))
        x = x - step
    assert lengths[-1] > 2 * lengths[0]


def test_without_secants_every_direction_is_new(x64):
    random = np.random.default_rng(6)
    stiffness = jnp.asarray(random.uniform(1, 40, size=(5, 3)))
    x = jnp.asarray(random.normal(size=(5, 3)))
    transform = ko.ConjugateGradient(steps="none")
    state = transform.init(x)
    for _ in range(8):
        slope = stiffness * x
        step, state = transform.update(slope, state, x)
        assert int(state.steps[0]) == 0
        assert float(jnp.vdot(step, slope)) > 0
        np.testing.assert_array_equal(state.origin, slope)
        x = x - 0.5 * step


@pytest.mark.parametrize("transform", [ko.GradientDescent(), ko.ConjugateGradient()])
def test_parameters_are_required(transform):
    x = jnp.ones((2, 3))
    with pytest.raises(ValueError, match="got params=None"):
        transform.update(x, transform.init(x))


@pytest.mark.parametrize("transform", [ko.GradientDescent(), ko.ConjugateGradient()])
def test_nothing_moves_without_gradients(transform):
    x = jnp.ones((2, 3))
    state = transform.init(x)
    for _ in range(3):
        step, state = jax.jit(transform.update)(jnp.zeros_like(x), state, x)
        assert not np.asarray(step).any()


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (
            lambda: ko.ConjugateGradient(beta="fletcher"),
            "beta is 'fletcher'; it must be 'hybrid', ",
        ),
        (lambda: ko.ConjugateGradient(steps="exact"), "steps is 'exact'"),
        (lambda: ko.ConjugateGradient(alpha=0), "alpha is 0"),
        (lambda: ko.GradientDescent(alpha=-1), "alpha is -1"),
    ],
)
def test_options_without_sense_are_refused(misuse, message):
    with pytest.raises(OptionError, match=message):
        misuse()
