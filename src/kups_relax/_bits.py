"""The environment that decides the last bits of results, and how two of them differ.

The engine fixes the order of sums and the rounding of products. What is left is how XLA computes
elementary functions: with fused multiply-add or without, optimized or not, on which device. Of
XLA's instruction sets for x86-64 SSE4.2 and AVX have none, AVX2 and AVX-512 have it and agree; of
its optimization levels 1, 2 and 3 agree (`python -m benchmarks settings`).
"""

import platform
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from kups_relax._platform import optimization_level, xla_flags

# Key of the environment among the versions of a store, and that of later runs into it.
BITS, LATER = "bits", "resumed with"
# Packages whose version decides bits, too.
_PACKAGES = ("kups-relax", "jax", "jaxlib")
# XLA's names of the instruction sets that have fused multiply-add; it uses the best there is.
_WITHOUT_FMA = ("SSE4_2", "AVX")
# Flags of XLA that change no bit, or that other entries of the environment hold.
_HARMLESS = (
    "xla_backend_optimization_level",
    "xla_cpu_enable_fast_math",
    "xla_cpu_enable_fast_min_max",
    "xla_cpu_max_isa",
    "xla_cpu_multi_thread_eigen",
    "xla_cpu_parallel_codegen_split_count",
    "xla_dump_",
    "xla_force_host_platform_device_count",
    "xla_hlo_profile",
    "xla_log",
)


def environment() -> dict[str, str]:
    """Describe what decides the last bits of results, besides versions.

    Returns:
        `platform` and `device` of JAX; `instructions` that XLA may use (on a CPU);
        `optimization`, whether XLA optimizes; `XLA flags` that may change bits.
    """
    device = jax.config.jax_default_device or jax.local_devices()[0]  # pyright: ignore
    if isinstance(device, str):
        device = jax.local_devices(backend=device)[0]
    found = {"platform": device.platform, "device": device.device_kind}
    if device.platform == "cpu":
        found["instructions"] = instructions()
    found["optimization"] = "on" if optimization_level(device.platform) > 0 else "off"
    flags = {k: v for k, v in sorted(xla_flags().items()) if not k.startswith(_HARMLESS)}
    given = (shlex.quote(f"--{k}={v}" if v else f"--{k}") for k, v in flags.items())
    found["XLA flags"] = " ".join(given) or "none"
    return found


def instructions() -> str:
    """Name the processor's architecture, and whether XLA may use fused multiply-add on it."""
    machine = {"amd64": "x86-64", "x86_64": "x86-64", "arm64": "aarch64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    if machine != "x86-64":
        return machine
    fma = _has_fma() and xla_flags().get("xla_cpu_max_isa", "").upper() not in _WITHOUT_FMA
    return f"{machine} with{'' if fma else 'out'} FMA"


def _has_fma() -> bool:
    """Return whether the processor has fused multiply-add; True where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return True
    flags = next((line for line in lines if line.startswith("flags")), "flags: fma")
    return "fma" in flags.split()


def later(versions: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the versions of a store's runs: of the one that began it, then of those that went on.

    Args:
        versions: Of the store.
    """
    first = {key: value for key, value in versions.items() if key != LATER}
    more = versions.get(LATER)
    return (
        [first, *(run for run in more if isinstance(run, Mapping))]
        if isinstance(more, list)
        else [first]
    )


def continued(versions: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return the versions of a store that a run goes on with.

    Args:
        versions: Of the store so far.
        now: Of this run.
    """
    runs = later(versions)
    if now not in runs:
        runs.append(now)
    return {**runs[0], **({LATER: runs[1:]} if runs[1:] else {})}


def differences(versions: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Tell what may give the same structure other bits in this run than in the earlier ones.

    Args:
        versions: Of the store so far.
        now: Of this run.

    Returns:
        One text for each fact that differs, with its earlier values and today's.

    Example:
        >>> differences({"jax": "0.10.0", "bits": {"device": "cpu"}},
        ...             {"jax": "0.10.1", "bits": {"device": "cpu"}})
        ['jax 0.10.1 (earlier 0.10.0)']
    """
    here, earlier = _facts(now), [_facts(run) for run in later(versions)]
    found = []
    for name, value in here.items():
        values = dict.fromkeys(run.get(name, "not recorded") for run in earlier)
        others = [other for other in values if other != value]
        if others:
            found.append(f"{name} {value} (earlier {', '.join(others)})")
    return found


def _facts(versions: Mapping[str, Any]) -> dict[str, str]:
    packages = {name: versions[name] for name in _PACKAGES if name in versions}
    bits = versions.get(BITS)
    return packages | (dict(bits) if isinstance(bits, Mapping) else {})
