"""Programs that JAX compiles for tests: kept on disk between runs, released between files.

Compiling is what tests spend their time on, so all workers and runs share JAX's disk cache, in a
folder for each set of versions and kind of processor. What is loaded is the machine code
that was compiled, so bits are the same (test_suite.py). `--no-kept-programs` does without.

An entry that is cut short is never run: JAX compresses entries, with a checksum, and compiles
anew. What a process leaves that was killed is removed all the same. Processes that tests start
read the cache and do not write: some are killed on purpose.

`--quickly-compiled` has XLA generate plain code in a third of the time. Tests with the mark `exact`
are left out then: they compare bits that a compiler decides, and so are compiled as for users.

Within a process, programs are released between files when they take much memory.
"""

import contextlib
import ctypes
import gc
import hashlib
import os
import platform
import sys
from pathlib import Path

import jax
import jaxlib
import pytest

# Largest size of all that is kept, bytes. The oldest goes first.
MOST_KEPT = 2 << 30
# Memory of a worker, MiB, above which programs are released when a file ends; and before it does.
MOST_KEPT_MEMORY, MOST_MEMORY = 800.0, 1500.0


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("compiled programs")
    group.addoption(
        "--no-kept-programs", action="store_true", help="compile all, load and keep nothing"
    )
    group.addoption(
        "--quickly-compiled", action="store_true", help="without optimization, and no exact tests"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--quickly-compiled"):
        # Read by XLA when it is first used; processes that tests start have them, too.
        os.environ["XLA_FLAGS"] = quick_flags()
    cache = getattr(config, "cache", None)
    # Tests of other packages, which some of ours run, have no cache.
    if cache is None or config.getoption("--no-kept-programs"):
        return
    top = Path(cache.mkdir("programs"))
    folder = top / _key()
    folder.mkdir(exist_ok=True)
    if not hasattr(config, "workerinput"):
        _remove_remains(folder)
        _remove_oldest(top)
    mark = folder / f"running-{os.getpid()}"
    mark.touch()
    config.add_cleanup(lambda: mark.unlink(missing_ok=True))
    keep_programs(folder)


def keep_programs(folder: Path) -> None:
    """Let this process load programs from a folder and keep them there, and its children load."""
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "1e9"
    # They compile what another process is just writing, and need not say so on standard error.
    os.environ["PYTHONWARNINGS"] = "ignore:Error reading persistent compilation cache entry"


def quick_flags() -> str:
    """Return flags of XLA that generate code quickly, which runs slowly."""
    flags = ["--xla_backend_optimization_level=0"]
    if jax.version.__version_info__ < (0, 11):
        # Later versions know no other emitters, nor this flag.
        flags.append("--xla_cpu_use_fusion_emitters=false")
    return " ".join(flags)


def _key() -> str:
    """Name what machine code depends on that JAX's own keys leave out."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        wanted = ("model name", "flags", "Features", "CPU part")
        processor = sorted({line for line in lines if line.startswith(wanted)})
    except OSError:
        processor = [platform.processor(), platform.machine()]
    parts = [*processor, platform.platform(), sys.version]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
    return f"jax-{jax.__version__}-{jaxlib.__version__}-{digest}"


def _remove_remains(folder: Path) -> None:
    """Remove what processes may have left half written, which were killed."""
    for mark in folder.glob("running-*"):
        if _is_there(int(mark.name.rpartition("-")[2])):
            continue
        since = mark.stat().st_mtime
        for entry in folder.glob("*-cache"):
            if entry.stat().st_mtime >= since:
                entry.unlink(missing_ok=True)
        mark.unlink(missing_ok=True)


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove_oldest(top: Path) -> None:
    entries = [(e.stat().st_mtime, e.stat().st_size, e) for e in top.glob("*/*-cache")]
    size = sum(size for _, size, _ in entries)
    for _, n, entry in sorted(entries):
        if size <= MOST_KEPT:
            break
        entry.unlink(missing_ok=True)
        size -= n


def pytest_collection_finish() -> None:
    # Tracing makes objects by the million. Where the garbage collector leaves out what is there by
    # now, and comes seldom, tests that trace much take a fifth less processor time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    memory = _memory()
    last = nextitem is not None and nextitem.path != item.path
    # A file's budget is what it takes by itself.
    counting = item.config.getoption("--write-budgets")
    if memory > MOST_MEMORY or (last and (counting or memory > MOST_KEPT_MEMORY)):
        release_programs()


def release_programs() -> None:
    """Release all compiled programs of this process, and give their memory back."""
    jax.clear_caches()
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        # Of glibc, which else keeps what LLVM has freed: 0.2 of 0.3 GiB for 12 programs.
        ctypes.CDLL(None).malloc_trim(0)


def _memory() -> float:
    """Return the memory of this process now, MiB; 0 where that is not known."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    except (OSError, ValueError):
        return 0.0
