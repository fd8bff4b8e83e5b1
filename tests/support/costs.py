"""What tests cost: programs built, seconds of compiling, processor time, memory; and their budget.

`--costs` prints the dearest files and tests at the end, `--costs=FILE` writes all figures as JSON.
Each file has a budget of programs that its tests may build (budgets.toml): programs are what tests
cost most for, and their number is the same on a loaded machine. A run in which a file builds more
fails and says so.
"""

import collections
import dataclasses
import functools
import json
import resource
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest

BUDGETS = Path(__file__).parents[1] / "budgets.toml"
# Of a file that has no entry.
DEFAULT_BUDGET = {"programs": 8, "seconds": 1.0}

_EVENTS = {
    "/jax/core/compile/jaxpr_trace_duration": "tracing",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lowering",
    "/jax/core/compile/backend_compile_duration": "compiling",
}
_LOADED = "/jax/compilation_cache/cache_hits"


@dataclasses.dataclass
class Cost:
    """What a test costs, or several.

    Attributes:
        programs: Built: compiled, or loaded from disk.
        loaded: Of them, those that were loaded.
        tracing: Seconds of all threads; so are `lowering` and `compiling`.
        lowering: To the compiler's input.
        compiling: Or loading.
        cpu: Processor seconds of the worker.
        children: Processor seconds of other processes that have ended.
        wall: Seconds on the clock.
        peak: Largest memory of the worker so far, MiB.
    """

    programs: int = 0
    loaded: int = 0
    tracing: float = 0.0
    lowering: float = 0.0
    compiling: float = 0.0
    cpu: float = 0.0
    children: float = 0.0
    wall: float = 0.0
    peak: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        """Add up all but the peak, of which the larger counts."""
        sums = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in _FIELDS}
        return Cost(**{**sums, "peak": max(self.peak, other.peak)})


_FIELDS = dataclasses.fields(Cost)


class Meter:
    """Listens to JAX in a worker, and reads the clocks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: collections.Counter[str] = collections.Counter()
        jax.monitoring.register_event_duration_secs_listener(self._on_duration)
        jax.monitoring.register_event_listener(self._on_event)

    def _on_duration(self, event: str, seconds: float, **_: Any) -> None:
        name = _EVENTS.get(event)
        if name:
            with self._lock:
                self._counts[name] += seconds
                self._counts["programs"] += name == "compiling"

    def _on_event(self, event: str, **_: Any) -> None:
        if event == _LOADED:
            with self._lock:
                self._counts["loaded"] += 1

    def read(self) -> Cost:
        """Return all costs since the worker began, the clock's seconds from elsewhere."""
        own = resource.getrusage(resource.RUSAGE_SELF)
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        with self._lock:
            counts = dict(self._counts)
        return Cost(
            **counts,  # pyright: ignore[reportArgumentType]
            cpu=own.ru_utime + own.ru_stime,
            children=children.ru_utime + children.ru_stime,
            peak=peak(),
        )


def peak() -> float:
    """Return the largest memory that this process had so far, MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


@functools.cache
def budgets() -> dict[str, dict[str, float]]:
    """Return each file's budget, as it is committed."""
    return tomllib.loads(BUDGETS.read_text()) if BUDGETS.exists() else {}


def budget(file: str) -> dict[str, float]:
    """Return the budget of a test file, by its path from the root."""
    return {**DEFAULT_BUDGET, **budgets().get(file, {})}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("costs of tests")
    group.addoption(
        "--costs", nargs="?", const="-", metavar="FILE", help="tell the dearest, or write all"
    )
    group.addoption(
        "--write-budgets", action="store_true", help="let budgets.toml say what this run took"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Costs(config), "costs")


class Costs:
    """The plugin: measures where tests run, adds up where they are reported."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._meter = Meter()
        self._tests: dict[str, Cost] = {}
        # Those that `make test` leaves out have no budget.
        self._extended: set[str] = set()
        self._peaks: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[Any]:
        item.stash[_BEFORE] = self._meter.read()
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: Any) -> Iterator[Any]:
        report = yield
        if report.when == "teardown":
            before, after = item.stash[_BEFORE], self._meter.read()
            spent = {f.name: getattr(after, f.name) - getattr(before, f.name) for f in _FIELDS}
            extended = item.get_closest_marker("extended") is not None
            report.costs = {**spent, "peak": after.peak, "extended": extended}
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: Any) -> None:
        cost = Cost(wall=report.duration)
        if hasattr(report, "costs"):
            given = dict(report.costs)
            if given.pop("extended"):
                self._extended.add(report.nodeid)
            cost += Cost(**{**given, "wall": 0.0})
        self._tests[report.nodeid] = self._tests.get(report.nodeid, Cost()) + cost

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput["peak"] = peak()  # pyright: ignore
            return
        if not self._peaks:
            self._peaks["main"] = peak()
        if self._config.getoption("--write-budgets"):
            self._write_budgets()
        elif self._over() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: Any) -> None:
        output = getattr(node, "workeroutput", None) or {}
        if "peak" in output:
            self._peaks[node.gateway.id] = output["peak"]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        total = sum(self._tests.values(), Cost())
        peaks = ", ".join(f"{name} {p / 1024:.2f}" for name, p in sorted(self._peaks.items()))
        terminalreporter.section("costs")
        terminalreporter.line(
            f"{total.programs} programs, {total.loaded} of them from disk; tracing "
            f"{total.tracing + total.lowering:.0f} s, compiling {total.compiling:.0f} s; processor "
            f"{total.cpu + total.children:.0f} s; largest memory, GiB: {peaks}"
        )
        for file, n, allowed in self._over():
            terminalreporter.line(
                f"{file} built {n} programs, and may build {allowed}: let its tests share them, "
                "move crossings to `make test-all`, or raise its budget (docs/testing.md)",
                red=True,
            )
        where = self._config.getoption("--costs")
        if where == "-":
            _tell(terminalreporter, "file", self._files(), 25)
            _tell(terminalreporter, "test", self._tests, 25)
        elif where:
            rows = {name: dataclasses.asdict(cost) for name, cost in self._tests.items()}
            Path(where).write_text(json.dumps({"tests": rows, "peaks": self._peaks}, indent=1))

    def _files(self, *, all_of_them: bool = True) -> dict[str, Cost]:
        files: dict[str, Cost] = {}
        for nodeid, cost in self._tests.items():
            if all_of_them or nodeid not in self._extended:
                file = nodeid.split("::")[0]
                files[file] = files.get(file, Cost()) + cost
        return files

    def _over(self) -> list[tuple[str, int, int]]:
        found = []
        for file, cost in sorted(self._files(all_of_them=False).items()):
            allowed = int(budget(file)["programs"])
            if cost.programs > allowed:
                found.append((file, cost.programs, allowed))
        return found

    def _write_budgets(self) -> None:
        lines = [
            "# What the tests of each file may cost in `make test`: programs that they may build,",
            "# which is checked; processor seconds, by which files are handed to workers. Written",
            "# by `make budgets`. Files without an entry have",
            f"# {DEFAULT_BUDGET['programs']} programs and {DEFAULT_BUDGET['seconds']} seconds.",
        ]
        for file, cost in sorted(self._files(all_of_them=False).items()):
            seconds = round(cost.cpu + cost.children, 1)
            # A tenth more: JAX's versions differ in what they build for an operation.
            programs = max(cost.programs + 2, round(1.1 * cost.programs))
            if programs > DEFAULT_BUDGET["programs"] or seconds > DEFAULT_BUDGET["seconds"]:
                lines.append(f'"{file}" = {{ programs = {programs}, seconds = {seconds} }}')
        BUDGETS.write_text("\n".join(lines) + "\n")


_BEFORE = pytest.StashKey[Cost]()


def _tell(reporter: Any, what: str, costs: dict[str, Cost], n: int) -> None:
    reporter.line("    cpu  other    wall progr. compil.  " + what)
    dearest = sorted(costs.items(), key=lambda pair: -pair[1].cpu - pair[1].children)
    for name, c in dearest[:n]:
        reporter.line(
            f"{c.cpu:7.1f} {c.children:6.1f} {c.wall:7.1f} {c.programs:6d} {c.compiling:7.1f}"
            f"  {name}"
        )
