"""What all tests share."""

import os
from collections.abc import Iterator

import jax
import pytest

# The engine's own threads share the cores with pytest's workers.
os.environ.setdefault("JAX_PLATFORMS", "cpu")


@pytest.fixture
def x64() -> Iterator[None]:
    """Let JAX make 64-bit arrays, in this test alone."""
    with jax.enable_x64(True):
        yield
