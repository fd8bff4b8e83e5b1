"""What all tests share. docs/testing.md says where a test goes and what it may cost."""

import gc
import os
import signal
from collections.abc import Iterator

# The engine's own threads share the processors with pytest's workers.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# XLA takes tuning hints of a program from disk for features that the processor lacks, and says so
# at length for each program, on standard error, which some tests read.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import pytest

pytest_plugins = ("support.costs", "support.programs", "support.selection")


def pytest_configure() -> None:
    # Started by nohup or in the background of a script, a process ignores SIGINT, and so do all
    # that it starts. Tests send it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def usual_garbage_collection() -> Iterator[None]:
    """Collect as often as Python does by itself, for tests of memory: see support/programs.py."""
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


@pytest.fixture
def x64() -> Iterator[None]:
    """Let JAX make 64-bit arrays, in this test alone."""
    with jax.enable_x64(True):
        yield
