"""An optimizer for one system of the host, in the layout of the engine's tiles."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kups_relax._settings import own
from kups_relax.ase._guess import Guess
from kups_relax.optimizers import Lanes, Transform
from kups_relax.relaxation._classes import atom_capacities


class OneSystem:
    """Take one system's steps with a transform that is compiled once for each size.

    The system is the only lane of a tile, padded to an atom capacity, and every transform of ours
    rounds each operation as IEEE says, so its steps are those that the engine takes among other
    lanes. They are computed on the CPU, beside the calculator, in float64 whatever JAX's setting.

    Args:
        transform: What makes the steps.
        n: Number of coordinates.
        rows: Whether three coordinates in turn are one row (an atom). If not, all are one row.
            Transforms that look at rows (`MaxStepSize`) look at the length of each.
        capacity: Padded number of atoms, or of coordinates where there are no rows. None, or one
            that is too small: the smallest atom capacity that holds the system.
        cell_rows: How many rows, the last ones, are of a cell that moves. They stand after the
            padding of the atoms, as in the engine.
        guess: For a transform that needs a chart.

    Attributes:
        n: As given.
        rows: As given.
        capacity: What was chosen.
    """

    def __init__(
        self,
        transform: Transform[Any],
        n: int,
        *,
        rows: bool = True,
        capacity: int | None = None,
        cell_rows: int = 0,
        guess: Guess | None = None,
    ) -> None:
        self.n, self.rows = n, rows
        needed = n // 3 - cell_rows if rows else n
        if capacity is None or capacity < needed:
            capacity = next(c for c in atom_capacities() if c >= needed)
        self.capacity = capacity
        self.guess = guess
        self._places = np.concatenate([np.arange(needed), capacity + np.arange(cell_rows)])
        # Shifted, a coordinate of the cell has other bits; atoms are left as they are.
        self._origin = None if guess is None or not guess.origin.any() else guess.origin
        self._shape = (3, capacity + cell_rows, 1)
        if not rows:
            self._shape = (capacity, 1, 1)
        n_internals = None if guess is None else guess.n_internals
        self._chart = None if guess is None else guess.chart
        self._init, self._step, self._judge = _programs(
            transform, self._shape, cell_rows, n_internals
        )
        self._leaves: list[jax.Array] | None = None

    def step(self, x: np.ndarray, gradient: np.ndarray, value: float = np.nan) -> np.ndarray:
        """Learn from a gradient, and return where to go.

        Args:
            x: (n,) float64, where the system is.
            gradient: (n,) float64, the gradient there.
            value: What is minimised, there; for transforms that need it.

        Returns:
            (n,) float64, where it should be next.
        """
        here, slope = self._here(x), self._padded(gradient)
        with own("float64"):
            if self._leaves is None:
                self._leaves = self._init(jax.device_put(here, _cpu()))
            there, self._leaves = self._step(
                self._leaves, here, self._chart, slope, np.array([value])
            )
        there = np.asarray(there)
        if self.rows:
            rows = np.array(there[:, self._places, 0].T, order="C")
            return (rows if self._origin is None else rows + self._origin).reshape(-1)
        return there[: self.n, 0, 0].copy()

    def takes(self, x: np.ndarray, gradient: np.ndarray, value: float) -> bool:
        """Say whether a line search takes a trial as its next point; nothing is learnt.

        Args:
            x: As for `step`, where its last call led.
            gradient: As for `step`.
            value: As for `step`.
        """
        here, slope = self._here(x), self._padded(gradient)
        with own("float64"):
            return bool(self._judge(self._leaves, here, self._chart, slope, np.array([value])))

    def save(self) -> list[np.ndarray] | None:
        """Return the state's arrays; None before the first step."""
        return None if self._leaves is None else [np.array(leaf) for leaf in self._leaves]

    def load(self, arrays: Sequence[Any]) -> None:
        """Put a state back.

        Raises:
            ValueError: The arrays are not those of a state of this transform and size.
        """
        with own("float64"):
            expected = jax.eval_shape(self._init, np.zeros(self._shape))
            got = [np.asarray(array) for array in arrays]
            layouts = [[(x.shape, np.dtype(x.dtype)) for x in leaves] for leaves in (got, expected)]
            if layouts[0] != layouts[1]:
                raise ValueError(f"expected arrays {layouts[1]}, got {layouts[0]}")
            self._leaves = jax.device_put(got, _cpu())

    def _here(self, x: np.ndarray) -> np.ndarray:
        if self._origin is not None:
            x = (x.reshape(-1, 3) - self._origin).reshape(-1)
        return self._padded(x)

    def _padded(self, x: np.ndarray) -> np.ndarray:
        # A new array every time: on a CPU, JAX may read this memory later without copying it.
        padded = np.zeros(self._shape)
        if self.rows:
            padded[:, self._places, 0] = x.reshape(-1, 3).T
        else:
            padded[: self.n, 0, 0] = x
        return padded


@functools.lru_cache(maxsize=256)
def _programs(
    transform: Transform[Any],
    shape: tuple[int, int, int],
    cell_rows: int,
    n_internals: int | None = None,
) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """Compile a transform. The state travels as a list of its arrays, which is quick to dispatch.

    Returns:
        x -> arrays; and arrays, x, chart, gradient, value -> new x, arrays, where the given
        arrays are given up; and of the same, whether x is taken as the next point.
    """
    lanes = Lanes(n=shape[-1])
    known: dict[str, Any] = {} if n_internals is None else {"n_internals": n_internals}

    def start(x: Any) -> Any:
        return transform.init(x, lanes, **known)

    def init(x: jax.Array) -> list[Any]:
        return jax.tree.leaves(start(x))

    def update(
        arrays: list[Any], x: jax.Array, chart: Any, gradient: jax.Array, value: jax.Array
    ) -> Any:
        like = jax.ShapeDtypeStruct(x.shape, x.dtype)
        treedef = jax.tree.structure(jax.eval_shape(start, like))
        state = jax.tree.unflatten(treedef, arrays)
        extra: dict[str, Any] = {"value": value} if transform.needs_value else {}
        if cell_rows:
            extra["cell_rows"] = cell_rows
        if chart is not None:
            extra["chart"] = chart
        return transform.update(gradient, state, x, **extra)

    def step(arrays: list[Any], x: jax.Array, *pull: Any) -> tuple[jax.Array, list[Any]]:
        steps, state = update(arrays, x, *pull)
        return x + steps, jax.tree.leaves(state)

    def judge(arrays: list[Any], x: jax.Array, *pull: Any) -> jax.Array:
        accepted = transform.accepted(update(arrays, x, *pull)[1])
        return jnp.ones((), bool) if accepted is None else accepted[0]

    return jax.jit(init), jax.jit(step, donate_argnums=0), jax.jit(judge)


@functools.cache
def _cpu() -> Any:
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None  # JAX was told to know accelerators only
