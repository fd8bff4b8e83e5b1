"""What the tests of line searches share: functions with known minima, and a recorded walk."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import rosen, rosen_der

from kups_relax import optimizers as ko

Function = Callable[[np.ndarray], tuple[float, np.ndarray]]


def rosenbrock(x: np.ndarray) -> tuple[float, np.ndarray]:
    """A bent valley for each pair; the least value is 0, where every coordinate is 1."""
    pairs = x.reshape(-1, 2)
    return sum(float(rosen(p)) for p in pairs), np.concatenate([rosen_der(p) for p in pairs])


def long_rosenbrock(x: np.ndarray) -> tuple[float, np.ndarray]:
    """One valley through all coordinates; its least value is 0, where every one is 1."""
    return float(rosen(x)), rosen_der(x)


def quartic(x: np.ndarray) -> tuple[float, np.ndarray]:
    """Stiff and soft wells, not parabolic; the least value is -3, at 0.5."""
    k, y = np.geomspace(1.0, 300.0, x.size), x - 0.5
    return float((k * y**2 / 2 + y**4).sum()) - 3.0, k * y + 4 * y**3


def parabola(x: np.ndarray) -> tuple[float, np.ndarray]:
    """Different curvatures; the least value is 0, at 0."""
    k = np.geomspace(1.0, 50.0, x.size)
    return float((k * x**2).sum() / 2), k * x


# By name: the function, a start and the minimum. All of 12 coordinates, for which an optimizer is
# compiled once.
FUNCTIONS: dict[str, tuple[Function, np.ndarray, float]] = {
    "rosenbrock": (rosenbrock, np.tile([-1.2, 1.0], 6), 1.0),
    "long rosenbrock": (long_rosenbrock, np.tile([-1.2, 1.0, 0.7], 4), 1.0),
    "quartic": (quartic, np.linspace(-3.0, 4.0, 12), 0.5),
    "parabola": (parabola, np.linspace(-2.0, 3.0, 12), 0.0),
}


# Some of them for JAX to differentiate.
IN_JAX: dict[str, Callable[[jax.Array], jax.Array]] = {
    "rosenbrock": lambda x: jnp.sum(100 * (x[1::2] - x[::2] ** 2) ** 2 + (1 - x[::2]) ** 2),
    "parabola": lambda x: jnp.sum(jnp.asarray(np.geomspace(1.0, 50.0, x.size)) * x**2) / 2,
}


@dataclasses.dataclass
class Walk:
    """What was evaluated, in order: where, value, gradient, and whether the point was taken."""

    x: list[np.ndarray] = dataclasses.field(default_factory=list)
    value: list[float] = dataclasses.field(default_factory=list)
    gradient: list[np.ndarray] = dataclasses.field(default_factory=list)
    taken: list[bool] = dataclasses.field(default_factory=list)

    @property
    def lines(self) -> list[list[int]]:
        """Of each line that ended: where it began, its trials, the one that was taken last."""
        lines, line = [], [0]
        for k in range(1, len(self.taken)):
            line.append(k)
            if self.taken[k]:
                lines.append(line)
                line = [k]
        return lines


def walk(
    optimizer: Any, function: Function, x: np.ndarray, *, fmax: float = 1e-6, n: int = 300
) -> Walk:
    """Follow an optimizer down a function, in float64, until no gradient is longer than `fmax`."""
    walked = Walk()
    with jax.enable_x64(True):
        state = optimizer.init(jnp.asarray(x))
        for _ in range(n):
            value, gradient = function(x)
            updates, state = optimizer.update(
                jnp.asarray(gradient), state, jnp.asarray(x), value=jnp.asarray(value)
            )
            walked.x.append(x)
            walked.value.append(value)
            walked.gradient.append(gradient)
            walked.taken.append(bool(optimizer.accepted(state)[0]))
            if np.linalg.norm(gradient) < fmax:
                break
            x = x + np.asarray(updates)
    return walked


def searching(search: ko.LineSearch, memory_size: int = 10) -> ko.Chain:
    """L-BFGS with a line search and no other bound."""
    scale = ko.ScaleByAseLbfgs(memory_size, initial_scale="adaptive", curvature_guard=True)
    return ko.chain(scale, ko.Scale(-1.0), search)
