"""What all tests share."""

import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

import jax
import pytest

# The engine's own threads share the cores with pytest's workers.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

# Workers of one run share what they compile: most of the time of most tests.
_RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID")
if _RUN:
    jax.config.update(
        "jax_compilation_cache_dir", str(pathlib.Path(tempfile.gettempdir()) / f"kups-relax-{_RUN}")
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Remove what the workers compiled, when all of them are done."""
    manager = getattr(session.config.pluginmanager.get_plugin("dsession"), "nodemanager", None)
    uid = getattr(manager, "testrunuid", None)
    if uid and not _RUN:
        shutil.rmtree(pathlib.Path(tempfile.gettempdir()) / f"kups-relax-{uid}", ignore_errors=True)


@pytest.fixture
def x64() -> Iterator[None]:
    """Let JAX make 64-bit arrays, in this test alone."""
    with jax.enable_x64(True):
        yield
