"""Settings of JAX, NumPy, Python and the environment that change no bit, or are refused in words.

Two change bits and are let go, instruction sets and XLA's optimization level 0; stores record them.

Twenty structures are relaxed without any of them, and once under each: options of JAX and of Python
in one process, which traces and compiles anew each time, what is read at the start in one each. All
share a cache of compiled programs on disk: what decides a program's code is a part of its key.
"""

import collections
import concurrent.futures
import contextlib
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ase
import jax
import numpy as np
from ase.build import bulk, molecule

import kups_relax as kr
from benchmarks.cases import ARGON, argon_clusters

JAX_OPTIONS: Mapping[str, tuple[Any, ...]] = {
    "numpy_dtype_promotion": ("strict",),
    "numpy_rank_promotion": ("raise", "warn"),
    "default_matmul_precision": ("bfloat16", "highest"),
    "transfer_guard": ("disallow", "disallow_explicit"),
    "debug_nans": (True,),
    "debug_infs": (True,),
    "debug_key_reuse": (True,),
    "disable_jit": (True,),
    "check_tracer_leaks": (True,),
    "enable_checks": (True,),
    "no_tracing": (True,),
    "no_execution": (True,),
    "enable_x64": (True,),
    "explicit_x64_dtypes": ("error",),
    "legacy_prng_key": ("error",),
    "default_prng_impl": ("rbg",),
    "threefry_partitionable": (False,),
    "enable_custom_prng": (True,),
    "softmax_custom_jvp": (True,),
    "thread_guard": (True,),
    "array_garbage_collection_guard": ("fatal",),
    "use_direct_linearize": (False,),
    "custom_vjp3": (True,),
    "scan3": (True,),
    "error_checking_behavior_nan": ("raise",),
    "use_simplified_jaxpr_constants": (True,),
    "embedded_constants_max_bytes": (0,),
    "use_shardy_partitioner": (False,),
    "optimization_level": ("O0",),
    "disable_most_optimizations": (True,),
    "log_compiles": (True,),
    "explain_cache_misses": (True,),
    "traceback_filtering": ("off",),
    "include_full_tracebacks_in_locations": (False,),
    "cpu_enable_async_dispatch": (False,),
    "raise_persistent_cache_errors": (True,),
}

# Variables with which a process of its own begins.
ENVIRONMENTS: tuple[Mapping[str, str], ...] = (
    {"PYTHONOPTIMIZE": "2"},
    {"PYTHONWARNINGS": "error"},
    {"PYTHONHASHSEED": "7"},
    {"PYTHONDEVMODE": "1"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"OMP_NUM_THREADS": "1"},
    {"OMP_NUM_THREADS": "16", "OPENBLAS_NUM_THREADS": "16", "MKL_NUM_THREADS": "16"},
    {"OPENBLAS_CORETYPE": "Prescott"},
    {"MALLOC_PERTURB_": "85"},
    {"JAX_ENABLE_X64": "1"},
    {"JAX_DISABLE_JIT": "1"},
    {"JAX_DEBUG_NANS": "1"},
    {"JAX_NUM_CPU_DEVICES": "4"},
    {"JAX_PLATFORMS": "cpu"},
    {"JAX_PLATFORMS": "nowhere"},
    {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"},
    {"XLA_FLAGS": "--xla_cpu_enable_fast_math=true"},
    {"XLA_FLAGS": "--xla_cpu_enable_fast_min_max=true"},
    {"XLA_FLAGS": "--xla_allow_excess_precision=false"},
    {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"},
    {"XLA_FLAGS": "--xla_cpu_enable_fast_math='TRUE'"},
    # Those that `kups_relax._bits` records, because they differ: a resumed run is told.
    {"XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2"},
    {"XLA_FLAGS": "--xla_cpu_max_isa=AVX"},
    {"XLA_FLAGS": "--xla_cpu_max_isa=AVX2"},
    {"XLA_FLAGS": "--xla_backend_optimization_level=0"},
    {"XLA_FLAGS": "--xla_backend_optimization_level=1"},
    {"XLA_FLAGS": "--xla_backend_optimization_level=3"},
    {"XLA_FLAGS": "--xla_cpu_prefer_vector_width=128"},
    {"XLA_FLAGS": "--xla_llvm_disable_expensive_passes=true"},
    {"NPY_DISABLE_CPU_FEATURES": "AVX512_SKX AVX512F AVX512CD FMA3 AVX2 F16C"},
    {"XLA_FLAGS": "--xla_cpu_parallel_codegen_split_count=1"},
)


def main() -> dict[str, Any]:
    """Relax under each setting, and compare all bits with those without."""
    with tempfile.TemporaryDirectory() as folder:
        cache = {
            "JAX_COMPILATION_CACHE_DIR": folder,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        expected = json.loads(_child("alone", cache))
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            inside = pool.submit(_child, "inside", cache)
            outputs = list(pool.map(lambda one: _child("alone", {**cache, **one}), ENVIRONMENTS))
        found = json.loads(inside.result())
        for variables, output in zip(ENVIRONMENTS, outputs, strict=True):
            name = " ".join(f"{key}={value}" for key, value in variables.items())
            found[name] = json.loads(output) if output.startswith("[") else output
    kinds = {name: _kind(got, expected) for name, got in found.items()}
    counts = collections.Counter(kind.partition(":")[0] for kind in kinds.values())
    return {
        "structures": len(expected),
        "that end in order without": sum(status in _ORDERLY for _, status, _ in expected),
        "settings": len(kinds),
        **counts,
        "not equal": {name: kind for name, kind in kinds.items() if kind != "equal"},
        "names": list(kinds),
    }


_ORDERLY = ("converged", "max_steps")


def _kind(got: Any, expected: list[Any]) -> str:
    if got == expected:
        return "equal"
    if isinstance(got, str):
        return got
    differing = sum(one != other for one, other in zip(got, expected, strict=True))
    reasons = sorted({reason[:100] for _, _, reason in got} - {reason for *_, reason in expected})
    return f"different: {differing} structures {reasons}"


def _child(what: str, variables: Mapping[str, str]) -> str:
    """Return what a process of its own printed; or the error of ours that it ended with."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.settings", what],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    if not done.returncode:
        return done.stdout.strip().splitlines()[-1]
    last = (done.stderr.strip().splitlines() or [""])[-1]
    kind = "refused" if last.startswith("kups_relax.errors.") else "raised"
    return f"{kind}: {last} (status {done.returncode})"


def structures() -> list[tuple[list[ase.Atoms], Any, dict[str, Any]]]:
    """Twenty structures, with potentials and options."""
    crystals = []
    for seed, metal in enumerate(("Cu", "Au", "Ni", "Pd", "Pt")):
        crystals.append(bulk(metal, cubic=True))
        crystals[-1].rattle(0.05, seed=seed)
        crystals[-1].set_cell(crystals[-1].cell.array * 1.02, scale_atoms=True)
    slabs = [bulk(metal, cubic=True) for metal in ("Ag", "Al", "Cu")]
    for seed, slab in enumerate(slabs):
        slab.rattle(0.1, seed=seed)
    molecules = [molecule(n) for n in ("H2O", "CH4", "NH3", "C2H2", "HCN", "H2CO")]
    return [
        (argon_clusters(6, [3, 5, 8], seed=1), kr.potentials.LennardJones(**ARGON), {}),
        (crystals, kr.potentials.EMT(), {"cell": "frechet"}),
        (slabs, kr.potentials.EMT(), {"optimizer": "fire"}),
        (molecules, kr.potentials.MMFF94(), {}),
    ]


def relaxed() -> list[tuple[str, str, str]]:
    """Fingerprint, status and reason of each."""
    found = []
    for atoms, potential, options in structures():
        result = kr.relax(atoms, potential, max_steps=60, progress=False, **options)
        found += zip(result.fingerprint, result.status, result.reason, strict=True)
    return [tuple(map(str, one)) for one in found]  # pyright: ignore


def _inside() -> dict[str, Any]:
    """Relax under each setting of this process, which is put back afterwards."""
    found: dict[str, Any] = {}
    for name, setting in [*_jax_options(), *_python_settings().items()]:
        jax.clear_caches()
        try:
            with setting():
                found[name] = relaxed()
        except kr.errors.KupsRelaxError as error:
            found[name] = f"refused: {error}"
        except Exception as error:
            found[name] = f"raised: {type(error).__name__}: {error}"
    return found


def _jax_options() -> Iterator[tuple[str, Callable[[], Any]]]:
    for option, values in JAX_OPTIONS.items():
        name = f"jax_{option}"
        for value in values:
            if hasattr(jax.config, name):
                yield f"{name}={value}", lambda name=name, value=value: _option(name, value)


@contextlib.contextmanager
def _option(name: str, value: Any) -> Iterator[None]:
    before = {n: v for n, v in jax.config.values.items() if n.startswith(name)}
    jax.config.update(name, value)
    try:
        yield
    finally:
        for one, old in before.items():
            jax.config.update(one, old)


@contextlib.contextmanager
def _set(setter: Callable[[Any], Any], value: Any, before: Any) -> Iterator[None]:
    setter(value)
    try:
        yield
    finally:
        setter(before)


def _python_settings() -> dict[str, Callable[[], Any]]:
    first = jax.devices()[0]

    @contextlib.contextmanager
    def strict_warnings() -> Iterator[None]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield

    @contextlib.contextmanager
    def seeded() -> Iterator[None]:
        np.random.seed(5)  # noqa: NPY002
        before = repr(np.random.get_state(legacy=False))  # noqa: NPY002
        yield
        assert repr(np.random.get_state(legacy=False)) == before  # noqa: NPY002

    @contextlib.contextmanager
    def traced() -> Iterator[None]:
        threading.settrace(lambda *_: None)
        sys.setprofile(lambda *_: None)
        try:
            yield
        finally:
            threading.settrace(None)  # pyright: ignore
            sys.setprofile(None)

    return {
        "np.errstate(all=raise)": lambda: np.errstate(all="raise"),
        "np.errstate(all=call)": lambda: np.errstate(all="call", call=print),
        "np.printoptions(precision=2)": lambda: np.printoptions(precision=2, legacy="1.13"),
        "np.random.seed": seeded,
        "warnings.simplefilter(error)": strict_warnings,
        "threading.stack_size(64 KiB)": lambda: _set(threading.stack_size, 64 << 10, 0),
        "sys.setrecursionlimit(300)": lambda: _set(
            sys.setrecursionlimit, 300, sys.getrecursionlimit()
        ),
        "sys.setswitchinterval(1e-6)": lambda: _set(
            sys.setswitchinterval, 1e-6, sys.getswitchinterval()
        ),
        "gc.set_threshold(1)": lambda: _set(
            lambda x: gc.set_threshold(*x), (200, 2, 2), gc.get_threshold()
        ),
        "threading.settrace": traced,
        "jax.default_device": lambda: jax.default_device(first),
        "jax.set_mesh": lambda: jax.set_mesh(jax.make_mesh((1,), ("x",))),
        "jax.numpy_dtype_promotion(strict)": lambda: jax.numpy_dtype_promotion("strict"),
        "jax.transfer_guard(disallow)": lambda: jax.transfer_guard("disallow"),
        "jax.disable_jit": jax.disable_jit,
        "jax.checking_leaks": jax.checking_leaks,
        "jax.ensure_compile_time_eval": jax.ensure_compile_time_eval,
        "jax.named_scope": lambda: jax.named_scope("outer"),
    }


if __name__ == "__main__":
    print(json.dumps(relaxed() if sys.argv[1] == "alone" else _inside()))
