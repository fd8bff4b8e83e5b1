"""Parts of a program that the compiler may not merge with what surrounds them."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

T = TypeVar("T")


def apart(needed: jax.Array, function: Callable[..., T], *args: Any) -> T:
    """Run a function as a part of its own, whose results are computed once and stored.

    A fusing compiler likes to recompute a cheap-looking value in each place that reads it, and a
    folded sum looks cheap to it. A branch stops that: its results are memory. Its code is also
    compiled without its surroundings.

    Args:
        needed: () bool that is true whenever the results matter, and that the compiler cannot
            know. Where it is false the results are zeros.
        function: Takes and returns pytrees of arrays.
        args: Its arguments.
    """
    function = jax.jit(function)  # so that it is traced once for its shapes and its branch
    shapes = jax.eval_shape(function, *args)

    def zeros(*args: Any) -> Any:
        del args
        return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    return lax.cond(needed, function, zeros, *args)
