"""What the installed JAX must be fit for, and what it needs of the system."""

import gc
import os
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import jax

from kups_relax._log import log
from kups_relax.errors import KupsRelaxError

# Share of the memory maps that Linux allows a process, from which on programs are given up.
FULL = 0.6

# A level below XLA's default: on CPU it compiles in three quarters of the time and runs as fast.
COMPILER_OPTIONS: dict[str, dict[str, Any]] = {"cpu": {"xla_backend_optimization_level": 2}}

# One flag at the start of a text, as tsl's parser takes it.
_FLAG = re.compile(
    r"""(?P<name>-[-\w]*)(?:=(?P<quote>['"])(?P<quoted>.*?)(?:(?P=quote)|\Z)|=?(?P<plain>\S*))""",
    re.ASCII | re.DOTALL,
)

# Hashes of the programs for which there was room.
_known: set[int] = set()


def check_platform() -> None:
    """Refuse a JAX that computes wrong sums.

    Raises:
        KupsRelaxError: JAX 0.10.2, whose CPU reductions after a vmapped product are wrong
            (jax issue 39103).
    """
    if jax.__version__.startswith("0.10.2"):
        raise KupsRelaxError(
            f"jax {jax.__version__} silently computes wrong sums on CPU (jax issue 39103). "
            "Install another one: pip install 'jax!=0.10.2'."
        )


def xla_flags() -> dict[str, str]:
    """Read XLA_FLAGS as XLA does: flags, or the name of a file that holds them.

    Returns:
        Values by name without dashes, "" where a flag has none; of a flag given twice the last.
    """
    text = os.environ.get("XLA_FLAGS", "")
    if text and not text.lstrip().startswith("-"):
        try:
            text = Path(text).read_text(errors="replace")
        except OSError:
            return {}
    flags, text = {}, text.lstrip()
    while (found := _FLAG.match(text)) is not None:
        value = found["quoted"] if found["quote"] else found["plain"]
        flags[found["name"].lstrip("-")] = value or ""
        text = text[found.end() :].lstrip()
    return flags


def fast_math() -> bool:
    """Return whether XLA may compute other numbers than those that are written down.

    Looks at the flags that it has read, which the environment may have lost since, and at those
    that it may have yet to read.
    """
    told = xla_flags().get("xla_cpu_enable_fast_math", "false").lower() not in ("false", "0")
    return told or bool(getattr(_debug_options(), "xla_cpu_enable_fast_math", False))


def optimization_level(platform: str) -> int:
    """Return XLA's optimization level for the engine's programs.

    Args:
        platform: JAX's name of it, "cpu" for example.
    """
    name = "xla_backend_optimization_level"
    ours = compiler_options(platform).get(name)
    told = xla_flags().get(name, "3")
    told = int(told) if told.isdecimal() else 3
    return int(getattr(_debug_options(), name, told) if ours is None else ours)


def _debug_options() -> Any:
    """Return the options that XLA has read from its flags; None where jaxlib does not tell."""
    try:
        from jaxlib import xla_client

        return xla_client.CompileOptions().executable_build_options.debug_options
    except Exception:  # no part of what jaxlib promises
        return None


def compiler_options(platform: str) -> dict[str, Any]:
    """Return XLA's options for the engine's programs; what XLA_FLAGS says has precedence.

    Args:
        platform: JAX's name of it, "cpu" for example.
    """
    flags, options = xla_flags(), COMPILER_OPTIONS.get(platform, {})
    return {name: value for name, value in options.items() if name not in flags}


def make_room(*program: Hashable) -> None:
    """Give up compiled programs before one more would be one too many. To be called before it.

    On CPU a compiled program takes 250 to 550 memory maps with jax 0.10, 50 to 80 with 0.12. Linux
    allows a process 65530 as a rule, and XLA dies of a segmentation fault when there are none left.
    What is given up is compiled again when it is needed.

    Args:
        program: What it depends on.
    """
    key = hash(program)
    if key in _known:
        return
    used, allowed = n_maps()
    if used > FULL * allowed:
        log.info("%d of %d memory maps are in use: giving up compiled programs", used, allowed)
        jax.clear_caches()
        gc.collect()
        _known.clear()
    _known.add(key)


def n_maps() -> tuple[int, float]:
    """How many memory maps the process has, and how many it may have; 0 where that is not known."""
    try:
        allowed = int(Path("/proc/sys/vm/max_map_count").read_text())
        return Path("/proc/self/maps").read_bytes().count(b"\n"), allowed
    except (OSError, ValueError):
        return 0, float("inf")
