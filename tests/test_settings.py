"""What users set for their own JAX, NumPy and threads changes no bit, and is theirs afterwards."""

import contextlib
import dataclasses
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

import kups_relax as kr
import kups_relax.ase
from helpers import ARGON, argon, argon_clusters, assert_same_result
from kups_relax import _platform, _settings
from kups_relax.errors import KupsRelaxError

HOSTILE: dict[str, Any] = {
    "numpy_dtype_promotion": "strict",
    "numpy_rank_promotion": "raise",
    "default_matmul_precision": "bfloat16",
    "debug_nans": True,
    "debug_infs": True,
    "debug_key_reuse": True,
    "disable_jit": True,
    "check_tracer_leaks": True,
    "enable_checks": True,
    "no_tracing": True,
    "no_execution": True,
    "transfer_guard": "disallow",
    "array_garbage_collection_guard": "log",
    "legacy_prng_key": "error",
    "default_prng_impl": "rbg",
    "threefry_partitionable": False,
    "enable_custom_prng": True,
    "allow_f16_reductions": False,
}
GUARDS = [
    f"transfer_guard_{way}" for way in ("host_to_device", "device_to_device", "device_to_host")
]


@contextlib.contextmanager
def config(**options: Any) -> Any:
    """Set options of JAX for all threads, and put them back."""
    names = [*options, *(GUARDS if "transfer_guard" in options else ())]
    before = {name: getattr(jax.config, f"jax_{name}") for name in names}
    try:
        for name, value in options.items():
            jax.config.update(f"jax_{name}", value)
        yield
    finally:
        for name, value in before.items():
            jax.config.update(f"jax_{name}", value)


@dataclasses.dataclass(frozen=True)
class Fresh(kr.potentials.LennardJones):
    """Argon whose programs are traced anew, and what was in force then."""

    number: int = dataclasses.field(default=0, kw_only=True)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        seen.append((threading.current_thread().name, in_force(), np.geterr()))
        return super().evaluate(*args, **kwargs)


seen: list[Any] = []


def in_force() -> dict[str, Any]:
    """Options that the engine sets. A guard that nobody has set is None, and allows."""
    values = {name: getattr(jax.config, f"jax_{name}") for name in _settings._OWN}
    guards = [name for name in values if "guard" in name]
    return {**values, **{name: values[name] or "allow" for name in guards}}


def relaxed(number: int, **options: Any) -> Any:
    seen.clear()
    options = {"max_steps": 25, "progress": False, **options}
    return kr.relax(argon_clusters([3, 5, 8]), Fresh(**ARGON, number=number), **options)


def test_all_of_them_at_once_change_no_bit() -> None:
    expected = relaxed(1)
    before = np.geterr()
    with config(**HOSTILE), np.errstate(all="raise"):
        theirs = in_force()
        got = relaxed(2)
        assert in_force() == theirs
        assert set(np.geterr().values()) == {"raise"}
    assert np.geterr() == before
    for i in range(3):
        assert_same_result(got, i, expected, i)
    traced = {name for name, _, _ in seen}
    assert "kups_relax" in traced
    for _, options, errstate in seen:
        assert options == _settings._OWN
        assert set(errstate.values()) == {"ignore"}


@pytest.mark.parametrize("name", HOSTILE)
def test_each_is_the_engines_within_and_the_users_again_afterwards(name: str) -> None:
    with config(**{name: HOSTILE[name]}):
        theirs = in_force()
        assert theirs != _settings._OWN
        for dtype in ("float64", "float32", None):
            with _settings.own(dtype):
                assert in_force() == _settings._OWN
                with _settings.theirs():
                    assert in_force() == theirs
                assert in_force() == _settings._OWN
        assert in_force() == theirs


def test_settings_of_one_thread_are_put_back_there() -> None:
    with jax.numpy_dtype_promotion("strict"), jax.default_device(jax.devices()[0]):
        with _settings.own("float64"):
            assert jax.config.jax_numpy_dtype_promotion == "standard"
            assert jax.config.jax_enable_x64
            assert jax.config.jax_default_device is jax.devices()[0]
        assert jax.config.jax_numpy_dtype_promotion == "strict"


def test_a_moving_cell_does_not_mind_a_search_for_nans() -> None:
    # Lanes without a cell divide by zero, and forget it.
    crystal = bulk("Cu", a=3.7)
    options = {"cell": "frechet", "max_steps": 5, "progress": False}
    expected = kr.relax([crystal], kr.potentials.EMT(), **options)
    with config(debug_nans=True, debug_infs=True, numpy_rank_promotion="raise"):
        got = kr.relax([crystal], kr.potentials.EMT(), **options)
    assert_same_result(got, 0, expected, 0)


def test_calculators_and_optimizers_of_ase_are_the_same_under_them() -> None:
    def run() -> tuple[np.ndarray, float]:
        [cluster] = argon_clusters([5])
        cluster.calc = kr.ase.JaxCalculator(argon())
        kr.ase.Optimizer(cluster, "fire", logfile=None).run(fmax=0.01, steps=5)
        return cluster.positions, cluster.get_potential_energy()

    expected = run()
    with config(**HOSTILE), np.errstate(all="raise"):
        got = run()
    assert np.array_equal(got[0], expected[0])
    assert got[1] == expected[1]


def test_verify_and_check_run_under_them() -> None:
    with config(**HOSTILE):
        assert kr.verify(argon_clusters([3, 5]), argon(), draws=1, max_steps=3).ok
        checks = ["forces", "padding"]
        assert kr.testing.check_potential(argon(), argon_clusters([5]), checks=checks).ok


def test_calculators_and_input_of_users_run_under_their_settings() -> None:
    inside: list[Any] = []

    class Watching(EMT):
        def calculate(self, *args: Any) -> None:
            inside.append((in_force(), jax.config.jax_enable_x64, np.geterr()["over"]))
            super().calculate(*args)

    def structures() -> Any:
        inside.append((in_force(), jax.config.jax_enable_x64, np.geterr()["over"]))
        yield molecule("H2O")

    potential = kr.potentials.AseCalculator(Watching)
    with config(numpy_dtype_promotion="strict"), np.errstate(over="raise"):
        theirs = in_force()
        kr.relax(structures(), potential, max_steps=2, progress=False)
    assert len(inside) > 2
    assert all(one == (theirs, False, "raise") for one in inside)


def test_random_numbers_of_the_user_are_left_alone() -> None:
    before = np.random.get_state(legacy=False)  # noqa: NPY002
    relaxed(1)
    after = np.random.get_state(legacy=False)  # noqa: NPY002
    assert repr(after) == repr(before)


def test_options_that_cannot_be_had_are_refused() -> None:
    if not hasattr(jax.config, "jax_scan3"):
        pytest.skip("this JAX has no such option")
    with config(scan3=True), pytest.raises(KupsRelaxError, match=r"jax_scan3 is True, .*set it"):
        relaxed(1)


@pytest.mark.parametrize(
    ("flags", "refused"),
    [
        ("--xla_cpu_enable_fast_math=true", True),
        ("--xla_cpu_use_x=1 --xla_cpu_enable_fast_math", True),
        ("--xla_cpu_enable_fast_math='TRUE'", True),
        ("\t--xla_cpu_enable_fast_math=1", True),
        ("--xla_cpu_enable_fast_math=0 --xla_cpu_enable_fast_math", True),
        ("--xla_cpu_enable_fast_math=true --xla_cpu_enable_fast_math=false", False),
        ("--xla_cpu_enable_fast_math=false", False),
        ('--xla_cpu_enable_fast_math="0"', False),
        ("--xla_dump_to=--xla_cpu_enable_fast_math", False),
        ("--xla_cpu_enable_fast_min_max=true", False),
    ],
)
def test_flags_that_change_bits_are_refused(
    flags: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # JAX has read them long ago; the engine looks each time.
    monkeypatch.setenv("XLA_FLAGS", flags)
    if refused:
        with pytest.raises(KupsRelaxError, match="Remove it from XLA_FLAGS"):
            _settings.check_environment()
    else:
        _settings.check_environment()


def test_flags_in_a_file_are_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "flags"
    file.write_text("\n--xla_cpu_multi_thread_eigen=true\n--xla_cpu_enable_fast_math\n")
    monkeypatch.setenv("XLA_FLAGS", str(file))
    with pytest.raises(KupsRelaxError, match="or from the file that it names"):
        _settings.check_environment()


def test_flags_that_xla_has_read_are_refused_after_the_environment_lost_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Read:
        xla_cpu_enable_fast_math = True

    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr(_platform, "_debug_options", Read)
    with pytest.raises(KupsRelaxError, match="start Python again: XLA reads them once"):
        _settings.check_environment()
    monkeypatch.undo()
    assert _platform._debug_options() is not None, "jaxlib tells no more: find another way"


def test_a_small_stack_of_threads_is_the_users_alone() -> None:
    before = threading.stack_size(64 << 10)
    try:
        expected = relaxed(1)
        # What is compiled anew is compiled in a thread of the engine.
        got = relaxed(3)
        assert threading.stack_size() == 64 << 10
    finally:
        threading.stack_size(before)
    assert_same_result(got, 2, expected, 2)


FORK = """
import os, sys
import kups_relax as kr, numpy as np, ase
pair = ase.Atoms("Ar2", [[0, 0, 0], [0, 0, 3.7]])
argon = kr.potentials.LennardJones(0.0104, 3.4)
pair.calc = kr.ase.JaxCalculator(argon)
assert kr.relax(pair, argon, progress=False).converged.all()
pair.get_potential_energy()
from kups_relax.errors import KupsRelaxError
child = os.fork()
if not child:
    moved = pair.copy()
    moved.calc = pair.calc
    moved.rattle(0.1)
    entries = (
        lambda: kr.relax(pair, argon, progress=False),
        lambda: kr.verify(pair, argon),
        lambda: kr.testing.check_potential(argon, pair),
        lambda: kr.ase.JaxCalculator(argon),
        lambda: kr.ase.Optimizer(pair, logfile=None),
        moved.get_forces,
    )
    n = 0
    for entry in entries:
        try:
            entry()
        except KupsRelaxError as error:
            n += "spawn" in str(error)
    os._exit(n)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_fork_after_a_run_is_told_to_spawn() -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORK]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.stdout == "6\n", done.stderr


def test_a_platform_that_is_not_there_is_refused_in_words() -> None:
    program = (
        "import kups_relax as kr, ase\n"
        "kr.relax(ase.Atoms('Ar'), kr.potentials.LennardJones(0.0104, 3.4))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "nowhere"},
        timeout=240,
        check=False,
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("kups_relax.errors.KupsRelaxError: JAX finds no device"), done.stderr
    assert "'nowhere'" in last
