"""The settings of JAX and NumPy under which the engine traces and runs.

Users set JAX's options for their own code: to find NaNs, promotions or transfers, to do without
`jit`. The engine must give the same bits whatever they are, so it traces and runs under values of
its own, in each of its threads, and leaves the user's as they are. One option differs between runs:
`enable_x64`, by the run's dtype. The device is the user's choice, and is carried into the threads.
"""

import contextlib
import contextvars
import dataclasses
import functools
import operator
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np

from kups_relax._platform import check_platform, fast_math
from kups_relax.errors import KupsRelaxError

P = ParamSpec("P")
T = TypeVar("T")

# JAX's options that change bits, raise or trace endlessly, with the engine's values: JAX's defaults
# but for the precision of matrix products, which on accelerators keeps 11 bits by default.
# An option that the installed JAX does not have is passed over.
_OWN: dict[str, Any] = {
    "numpy_dtype_promotion": "standard",
    "numpy_rank_promotion": "allow",
    "default_matmul_precision": "highest",
    "debug_nans": False,
    "debug_infs": False,
    "debug_key_reuse": False,
    "disable_jit": False,
    "check_tracer_leaks": False,
    "enable_checks": False,
    "no_tracing": False,
    "no_execution": False,
    "transfer_guard_host_to_device": "allow",
    "transfer_guard_device_to_device": "allow",
    "transfer_guard_device_to_host": "allow",
    "array_garbage_collection_guard": "allow",
    "legacy_prng_key": "allow",
    "default_prng_impl": "threefry2x32",
    "threefry_partitionable": True,
    "enable_custom_prng": False,
    "allow_f16_reductions": True,
}
# Options with which the engine's programs cannot be traced, and that JAX lets nobody set for a
# thread alone: the values that they must have.
_NEEDED = {
    "scan3": False,
    "error_checking_behavior_nan": "ignore",
    "error_checking_behavior_divide": "ignore",
    "error_checking_behavior_oob": "ignore",
}
_present = tuple(
    name
    for name in (*_OWN, "default_device", "enable_x64")
    if hasattr(jax, name) and hasattr(jax.config, f"jax_{name}")
)
_read = operator.attrgetter(*(f"jax_{name}" for name in _present))

# Set in a process that was forked from one in which the engine had run.
_forked = False


@dataclasses.dataclass(frozen=True)
class Settings:
    """Values of JAX's options, in the order of `_present`, and NumPy's error state."""

    values: tuple[Any, ...]
    errstate: Mapping[str, Any]

    @classmethod
    def current(cls) -> "Settings":
        """Return the user's settings: those in force, or outside of the engine within it."""
        return _outside.get() or cls(_read(jax.config), np.geterr())


# The user's settings, while the engine is at work in a thread.
_outside: contextvars.ContextVar[Settings | None] = contextvars.ContextVar("outside", default=None)


@contextlib.contextmanager
def own(dtype: Any = None, outside: Settings | None = None) -> Iterator[None]:
    """Trace and run under the engine's settings, in this thread.

    Args:
        dtype: Of the run: JAX makes 64-bit arrays for float64. None: as it does already.
        outside: The user's settings, for a thread that the engine started.

    Raises:
        KupsRelaxError: The process was forked after the engine had run.
    """
    _refuse_fork()
    outside = outside or Settings.current()
    x64 = jax.config.jax_enable_x64 if dtype is None else np.dtype(dtype) == np.float64  # pyright: ignore
    chosen = {**_OWN, "enable_x64": x64}
    values = [
        chosen.get(name, theirs) for name, theirs in zip(_present, outside.values, strict=True)
    ]
    with _in_force(values, outside), np.errstate(all="ignore"):
        yield


@contextlib.contextmanager
def theirs() -> Iterator[None]:
    """Put the user's settings back while the engine calls what is theirs: input, calculators."""
    outside = _outside.get()
    if outside is None:
        yield
        return
    with _in_force(outside.values, None), np.errstate(**outside.errstate):
        yield


@contextlib.contextmanager
def _in_force(values: Sequence[Any], outside: Settings | None) -> Iterator[None]:
    token = _outside.set(outside)
    try:
        with contextlib.ExitStack() as stack:
            # Looking costs less than entering, and a step of the ASE bridge takes 100 us. A guard
            # that nobody has set is None, and allows.
            for name, there, value in zip(_present, _read(jax.config), values, strict=True):
                if there != value and (there, value) != (None, "allow"):
                    stack.enter_context(getattr(jax, name)(value))
            yield
    finally:
        _outside.reset(token)


def entry_point(function: Callable[P, T]) -> Callable[P, T]:
    """Have a function that users call check the environment and run under the engine's settings.

    The function raises KupsRelaxError where it cannot run: see `check_environment`.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        check_environment()
        with own():
            return function(*args, **kwargs)

    return run


def check_environment() -> None:
    """Refuse an environment in which the engine cannot run, or not with the right bits.

    Raises:
        KupsRelaxError: JAX computes wrong sums, has no device, or an option under which nothing can
            be traced; or the process was forked after the engine had run.
    """
    check_platform()
    _refuse_fork()
    for name, needed in _NEEDED.items():
        value = getattr(jax.config, f"jax_{name}", needed)
        if value != needed:
            raise KupsRelaxError(
                f"jax_{name} is {value!r}, with which JAX cannot trace the engine's programs; set "
                f'it to {needed!r}: jax.config.update("jax_{name}", {needed!r}).'
            )
    if fast_math():
        raise KupsRelaxError(
            "XLA_FLAGS has --xla_cpu_enable_fast_math, with which XLA computes other numbers than "
            "those that were written down. Remove it from XLA_FLAGS (or from the file that it "
            "names) and start Python again: XLA reads them once."
        )
    try:
        jax.local_devices()
    except Exception as error:  # whatever a backend raises
        raise KupsRelaxError(
            f"JAX finds no device to run on: {str(error).strip()} JAX_PLATFORMS or jax_platforms "
            f"is {jax.config.jax_platforms!r}; give a platform that is installed, such as 'cpu', "  # pyright: ignore
            "or none."
        ) from error


def _refuse_fork() -> None:
    _watch_forks()
    if _forked:
        raise KupsRelaxError(
            "this process was forked from one in which kups_relax had run, and JAX's threads are "
            "not in it: it would wait for them for ever. Start processes with spawn: "
            'multiprocessing.get_context("spawn"), or mp_context= of a ProcessPoolExecutor. One '
            "call of relax with all structures uses all cores by itself."
        )


@functools.cache
def _watch_forks() -> None:
    """Take note of forks from now on; not on import, which changes nothing."""

    def forked() -> None:
        global _forked
        _forked = True

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=forked)
