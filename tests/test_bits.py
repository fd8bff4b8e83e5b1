"""The environment of bits: what is recorded of it, and how two of them differ."""

from pathlib import Path

import pytest

from kups_relax import _bits


@pytest.mark.parametrize(
    ("flags", "what", "value"),
    [
        ("--xla_cpu_max_isa=AVX", "instructions", "x86-64 without FMA"),
        ("--xla_cpu_max_isa='sse4_2'", "instructions", "x86-64 without FMA"),
        ("--xla_cpu_max_isa=AVX2", "instructions", "x86-64 with FMA"),
        ("", "instructions", "x86-64 with FMA"),
        ("--xla_backend_optimization_level=0", "optimization", "off"),
        ("--xla_backend_optimization_level=1", "optimization", "on"),
        ("--xla_dump_to=x --xla_cpu_multi_thread_eigen", "XLA flags", "none"),
        ("--xla_b=2 --xla_a", "XLA flags", "--xla_a --xla_b=2"),
    ],
)
def test_flags_that_decide_bits_are_recorded(
    flags: str, what: str, value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "AMD64")
    monkeypatch.setattr(_bits, "_has_fma", lambda: True)
    # What this process's XLA has read must not tell: the tests may have it generate plain code.
    monkeypatch.setattr("kups_relax._platform._debug_options", lambda: None)
    monkeypatch.setenv("XLA_FLAGS", flags)
    assert _bits.environment()[what] == value
    (tmp_path / "flags").write_text(flags)
    monkeypatch.setenv("XLA_FLAGS", str(tmp_path / "flags"))
    assert _bits.environment()[what] == value


def test_optimization_is_read_where_xla_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Read:
        xla_backend_optimization_level = 0

    monkeypatch.setattr("kups_relax._platform._debug_options", Read)
    monkeypatch.setattr("kups_relax._platform.COMPILER_OPTIONS", {})
    assert _bits.environment()["optimization"] == "off"


def test_the_processor_and_other_architectures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    for text, name in (("flags : sse avx", "without"), ("flags : sse avx fma", "with")):
        monkeypatch.setattr(Path, "read_text", lambda *_, text=text: f"processor: 0\n{text}\n")
        assert _bits.instructions() == f"x86-64 {name} FMA"
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert _bits.instructions() == "aarch64"


def test_every_earlier_run_counts() -> None:
    first = {"python": "3.11", "jaxlib": "1", "bits": {"device": "a", "optimization": "on"}}
    second = {"python": "3.12", "jaxlib": "2", "bits": {"device": "b", "optimization": "on"}}
    assert _bits.differences(first, first) == []
    assert _bits.differences(first, {**first, "python": "3.13", "numpy": "3"}) == []
    both = _bits.continued(first, second)
    assert _bits.continued(both, first) == both
    assert _bits.continued(first, first) == first
    expected = ["jaxlib 1 (earlier 2)", "device a (earlier b)"]
    assert _bits.differences(both, first) == expected
    third = {"jaxlib": "3", "bits": {"device": "a", "optimization": "on"}}
    assert _bits.differences(both, third)[0] == "jaxlib 3 (earlier 1, 2)"


def test_a_store_that_recorded_none_of_it_differs() -> None:
    now = {"jax": "1", "bits": {"device": "cpu"}}
    assert _bits.differences({"jax": "1"}, now) == ["device cpu (earlier not recorded)"]
