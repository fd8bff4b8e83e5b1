"""Count the programs that JAX traces and compiles."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import jax

# JAX's names of what it reports, with the name of the function and the seconds that it took.
TRACED = "/jax/core/compile/jaxpr_trace_duration"
BUILT = "/jax/core/compile/backend_compile_duration"


class Programs:
    """The programs of a process, counted while they are made.

    Attributes:
        traced: Names of the functions that were traced, one for each time.
        built: Names of the programs that were compiled, or loaded from JAX's disk cache.
    """

    def __init__(self) -> None:
        self.traced: list[str] = []
        self.built: list[str] = []
        self._lock = threading.Lock()

    def n_traced(self, name: str) -> int:
        """Return how often the function of a name was traced.

        Args:
            name: For the engine, "_advance"; for `kups_relax.ase`, "step".
        """
        with self._lock:
            return self.traced.count(name)

    def __call__(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        """Take note of an event of `jax.monitoring`."""
        into = {TRACED: self.traced, BUILT: self.built}.get(event)
        if into is not None:
            with self._lock:
                into.append(str(kwargs.get("fun_name")))


@contextmanager
def count_programs() -> Iterator[Programs]:
    """Count the programs that JAX makes in this block, in all threads.

    To test that data which should not cause a compilation causes none. Costs nothing measurable.

    Yields:
        The counts so far; they stay readable after the block.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def double(x):
        ...     return 2 * x
        >>> jitted = jax.jit(double)
        >>> with count_programs() as programs:
        ...     for n in (3, 3, 4):
        ...         _ = jitted(jnp.ones(n))
        >>> programs.n_traced("double")
        2
    """
    programs = Programs()
    jax.monitoring.register_event_duration_secs_listener(programs)
    try:
        yield programs
    finally:
        jax.monitoring.unregister_event_duration_listener(programs)
