"""What optax transformations do, found by running them: nothing in them says it."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kups_relax.ops import rounded

# Rows of one system among those of another; what the other's gradients are multiplied by, because
# bounds and guards act only beyond some size; updates made.
_OWN, _ALL = (1, 3, 4, 8), 11
_SIZES = (1.0, 0.0, 1e-9, 1e9, np.nan)
_UPDATES = 3


@functools.lru_cache(maxsize=256)
def asks_for_value(transformation: Any) -> bool:
    """Whether an optax transformation's `update` cannot do without `value`."""

    def update(x: jax.Array) -> Any:
        return transformation.update(x, transformation.init(x), x)

    try:
        jax.eval_shape(update, jax.ShapeDtypeStruct((1, 3), jnp.float32))
    except Exception as error:
        # Whatever else it dislikes it will say where it is used.
        return isinstance(error, TypeError) and "'value'" in str(error)
    return False


@functools.lru_cache(maxsize=256)
def mixes_rows(transformation: Any) -> bool:
    """Whether what some rows get depends on the other rows of a tree, or on where they stand.

    It is so for norms over the tree, for statistics of rows and columns, and for random noise. Two
    trees of `float32` are run through a few updates, one of which holds the rows of the other
    among further ones.

    Args:
        transformation: An `optax.GradientTransformation` whose `update` asks for no more than
            gradients, state and parameters.
    """
    random = np.random.default_rng(20)
    start = random.normal(size=(_ALL, 3)).astype(np.float32)
    gradients = random.normal(size=(_UPDATES, _ALL, 3)).astype(np.float32)
    own = np.array(_OWN)
    # Whoever asks may be tracing.
    with jax.ensure_compile_time_eval():
        update = jax.jit(rounded(transformation.update, ordered=True))
        alone = _run(transformation, update, start[own], gradients[:, own])
        for size in _SIZES:
            others = gradients * np.float32(size)
            others[:, own] = gradients[:, own]
            if not np.array_equal(_run(transformation, update, start, others)[:, own], alone):
                return True
    return False


def _run(transformation: Any, update: Any, x: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    params = jnp.asarray(x)
    state, out = transformation.init(params), []
    for gradient in gradients:
        step, state = update(jnp.asarray(gradient), state, params)
        out.append(np.asarray(step))
    return np.stack(out)
