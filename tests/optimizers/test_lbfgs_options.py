"""L-BFGS with a scale averaged over its memory, and with a guard on its directions."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from lbfgs_walks import cubic, walk

from helpers import assert_same_bits
from kups_relax import optimizers as ko
from support.crossing import in_turns

# The memory decides which form of the recursion is used.
SIZES = (3, 40)


@pytest.mark.parametrize("size", SIZES)
def test_an_averaged_scale_is_the_mean_over_the_pairs_that_are_kept(size, x64):
    x = np.random.default_rng(0).normal(size=(4, 3))
    transform = ko.ScaleByAseLbfgs(memory_size=size, alpha=20.0, initial_scale="averaged")
    seen, ratios = list(walk(transform, cubic, x, 9)), []
    assert float(seen[0][3].scale[0]) == 1 / 20
    for (x0, g0, *_), (x1, g1, _, state) in itertools.pairwise(seen):
        s, y = x1 - x0, g1 - g0
        ratios.append(np.vdot(s, y) / np.vdot(y, y))
        np.testing.assert_allclose(state.scale[0], np.mean(ratios[-size:]), rtol=1e-13)


def hills(x):
    """The gradient of a landscape whose curvature has either sign."""
    return (6 * np.sin(3 * x) + 0.1 * x).astype(x.dtype)


@pytest.mark.parametrize(("scale", "size"), in_turns(["fixed", "adaptive", "averaged"], SIZES))
def test_a_direction_that_leads_uphill_is_replaced_and_its_history_forgotten(scale, size, x64):
    options = {"memory_size": size, "alpha": 5.0, "initial_scale": scale}
    plain = ko.ScaleByAseLbfgs(**options)
    guarded = ko.ScaleByAseLbfgs(**options, descent_guard=True)
    n_lost = n_forgotten = 0
    for seed in range(6):
        x = np.random.default_rng(seed).normal(size=(3, 3)) * 2
        n_lost += any(np.vdot(g, d) <= 0 for _, g, d, _ in walk(plain, hills, x, 30))
        for _, g, direction, state in walk(guarded, hills, x, 30):
            assert np.vdot(g, direction) > 0
            if int(state.count) > 2 and not np.asarray(state.weights_memory.data).any():
                n_forgotten += 1
                scaled = g * np.asarray(state.scale[0])
                np.testing.assert_allclose(direction, scaled, rtol=1e-15)
    assert n_lost > 0, "the landscape is too easy to show anything"
    assert n_forgotten > 0


@pytest.mark.parametrize("size", SIZES)
def test_a_guard_that_is_not_needed_changes_no_bit(size):
    x = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    plain = ko.ScaleByAseLbfgs(memory_size=size)
    guarded = ko.ScaleByAseLbfgs(memory_size=size, descent_guard=True)
    for a, b in zip(walk(plain, cubic, x, 8), walk(guarded, cubic, x, 8), strict=True):
        assert_same_bits(jnp.asarray(a[2]), b[2])
