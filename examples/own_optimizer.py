"""Build an optimizer from pieces, for many systems of a flat ragged tree, without atoms at all."""

import jax
import jax.numpy as jnp
import numpy as np

import kups_relax as kr
from kups_relax import optimizers as ko


def booth(xy: jax.Array) -> jax.Array:
    """Booth's function of each row; its minimum is 0 at (1, 3)."""
    x, y = xy[:, 0], xy[:, 1]
    return (x + 2 * y - 7) ** 2 + (2 * x + y - 5) ** 2


optimizer = ko.chain(
    ko.ScaleByAseLbfgs(memory_size=10, initial_scale="adaptive", curvature_guard=True),
    ko.MaxStepSize(1.0),
    ko.Scale(-1.0),
)

# Three systems; the third has two rows.
params = jnp.asarray(np.random.default_rng(0).uniform(-10, 10, (4, 2)))
system = kr.Index.new(["left", "middle", "right", "right"])
state = optimizer.init(params, system)
gradient = jax.jit(jax.grad(lambda p: booth(p).sum()))

for _ in range(60):
    updates, state = optimizer.update(gradient(params), state, params)
    params = ko.apply_updates(params, updates)

print(np.round(np.asarray(params), 4))
energy = system.sum_over(booth(params))
for name, value in energy:
    print(f"{name:7s} {float(value):.2e}")
