"""ASE's own tests of optimizers, filters, constraints and bands, with our LBFGS in ASE's place.

`python -m benchmarks ase_suite` runs them four times, each time in a process of its own, and
compares test by test: as they are; with ASE's LBFGS swapped in; with ours, of the same
convention; and with ours by the name "lbfgs". This module is also the pytest plugin that does the
swap; where ASE is installed,

    python -m pytest -c /dev/null -p benchmarks.ase_suite --swap ours --pyargs ase.test.optimize

runs some of them by hand.

What is swapped: `LBFGS` everywhere. Where a test needs an optimizer but is about something else
(a filter, a constraint, restarting), the one that it happens to take, too: `SWAPS` says in which
file. Tests of what another optimizer does itself (FIRE's downhill check, RFO's fallback, the
bulk modulus in CellAwareBFGS) stay with that optimizer, and are not counted for ours. L-BFGS is
not BFGS: where a test is written for what one optimizer needs, ASE's LBFGS in the same place says
what can be expected of ours.

asap3's EMT, which many of these tests ask for, is replaced by ASE's own where asap3 is missing:
the same potential, so that they run at all.
"""

import contextlib
import importlib
import importlib.util
import json
import pkgutil
import subprocess
import sys
import tempfile
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

MODULES = (
    "ase.test.optimize",
    "ase.test.test_linesearch_maxstep",
    "ase.test.filter",
    "ase.test.constraints",
    "ase.test.emt.test_emt1",
    "ase.test.neb.test_neb",
    "ase.test.test_basin",
)

# Optimizers that are not the subject of a file's tests, by the end of its path.
SWAPS: dict[str, tuple[str, ...]] = {
    "optimize/test_cellawarebfgs.py": ("BFGS",),
    "optimize/test_climb_fix_internals.py": ("BFGS",),
    "optimize/test_minimahop.py": ("BFGSLineSearch",),
    "optimize/test_nsteps.py": ("BFGS",),
    "optimize/test_optimize_stepwise.py": ("BFGS",),
    "optimize/test_optimizer_restart.py": ("BFGS",),
    "optimize/test_restart.py": ("BFGS",),
    "test/test_linesearch_maxstep.py": ("BFGS",),
    "filter/test_cellfilter.py": ("MDMin",),
    "filter/test_filter.py": ("BFGSLineSearch",),
    "filter/test_strain.py": ("MDMin",),
    "filter/test_strain_emt.py": ("MDMin",),
    "constraints/test_CO2linear_Au111.py": ("BFGS",),
    "constraints/test_external_force.py": ("FIRE",),
    "constraints/test_fix_bond_length_mic.py": ("FIRE",),
    "constraints/test_fix_symmetry.py": ("PreconLBFGS",),
    "constraints/test_fixbondlength_CO2_Au111.py": ("BFGS",),
    "constraints/test_fixcom.py": ("BFGS",),
    "constraints/test_fixedline_fixedplane.py": ("BFGS",),
    "constraints/test_fixinternals.py": ("BFGS",),
    "constraints/test_fixsubsetcom.py": ("BFGS",),
    "constraints/test_mirror.py": ("FIRE",),
    "emt/test_emt1.py": ("BFGS",),
    "neb/test_neb.py": ("BFGS",),
    "test/test_basin.py": ("FIRE",),
}

# Keywords that only the optimizer which is swapped has; ours is made without them.
FOREIGN = ("dt", "precon")

# ASE's tests take every warning for an error; this one is about what ASE does with NumPy 2.5.
FORGIVEN = "ignore:Setting the shape on a NumPy array:DeprecationWarning"

# What can be swapped in.
CHOICES = ("ase", "ours", "ours-lbfgs")

# Runs that take more steps than this have no end.
MOST_STEPS = 3000

# Tests that end otherwise with an LBFGS than with the optimizer that they are written for.
_BOND = (
    "written for FIRE. Plain L-BFGS, ASE's and ours, climbs out of the well in the fifth step and "
    "lets the third atom go: it has no guard and no line search. 'lbfgs' finds the minimum; its "
    "energy is 1.5e-6 eV below the number in the test, which allows 1e-6 around FIRE's"
)
CAUSES = {
    "constraints/test_fix_bond_length_mic.py::test_fix_bond_length_mic[False]": _BOND,
    "constraints/test_fix_bond_length_mic.py::test_fix_bond_length_mic[True]": _BOND,
    "emt/test_emt1.py::test_emt1": (
        "written for BFGS. Plain L-BFGS, ASE's and ours, starts where the curvature is negative, "
        "climbs, and then cycles for ever. 'lbfgs' skips pairs of negative curvature and converges"
    ),
    "optimize/test_cellawarebfgs.py::test_rattle_supercell_old": (
        "wants a supercell to need another number of steps than its cell; with 'lbfgs' both need 3"
    ),
    "optimize/test_optimizer_restart.py::test_optimizers_restart[BFGS]": (
        "ASE's LBFGS warns that it cannot restart a cell filter; ours saves what the filter needs"
    ),
}


class Swap:
    """Put an LBFGS in the place of ASE's optimizers, for one file's tests at a time.

    Args:
        choice: "ase": ASE's LBFGS; "ours": ours by the same convention; "ours-lbfgs": by our own.
    """

    def __init__(self, choice: str) -> None:
        import ase.optimize

        # Modules that derive from an optimizer must have got ASE's before any is swapped.
        for package in (ase.optimize, importlib.import_module("ase.optimize.precon")):
            for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
                if not module.ispkg and not module.name.endswith("test"):
                    importlib.import_module(module.name)
        self.n_made = 0

        self._base: Any = ase.optimize.LBFGS
        if choice != "ase":
            self._base = importlib.import_module("kups_relax.ase").LBFGS
        self._options = {"optimizer": "lbfgs"} if choice == "ours-lbfgs" else {}

    def stand_in(self, name: str) -> type:
        """Make the LBFGS under another name, so that tests, files and logs keep theirs."""
        swap = self

        class StandIn(self._base):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                swap.n_made += 1
                kwargs = {k: v for k, v in kwargs.items() if k not in FOREIGN}
                super().__init__(*args, **kwargs, **swap._options)

            def step(self, *args: Any) -> None:
                if self.nsteps >= MOST_STEPS:
                    raise RuntimeError(f"no convergence within {MOST_STEPS} steps")
                super().step(*args)

        StandIn.__name__ = StandIn.__qualname__ = name
        return StandIn

    @contextlib.contextmanager
    def collecting(self, path: str) -> Iterator[None]:
        """Swap what a file of tests imports."""
        with self.running(path), pytest.MonkeyPatch.context() as patch:
            for name in _swaps(path):
                self._swap(patch, name)
            yield

    @contextlib.contextmanager
    def running(self, path: str) -> Iterator[None]:
        """Swap what a test looks up when it runs, and what ASE's functions have for a default."""
        from ase.optimize.basin import BasinHopping
        from ase.optimize.climbfixinternals import BFGSClimbFixInternals
        from ase.optimize.minimahopping import MinimaHopping

        with pytest.MonkeyPatch.context() as patch:
            self._swap(patch, "LBFGS")
            for name in _swaps(path):
                for function in (BasinHopping.__init__, BFGSClimbFixInternals.__init__):
                    patch.setattr(function, "__defaults__", self._others(function, name))
                if name == MinimaHopping._default_settings["optimizer"].__name__:
                    new = self.stand_in(name)
                    patch.setitem(MinimaHopping._default_settings, "optimizer", new)
            yield

    def _swap(self, patch: pytest.MonkeyPatch, name: str) -> None:
        new = self.stand_in(name)
        homes = ("bfgs", "fire", "lbfgs", "mdmin", "precon.lbfgs")
        for module in ("ase.optimize", *(f"ase.optimize.{home}" for home in homes)):
            for alias in (name, "QuasiNewton") if name == "BFGSLineSearch" else (name,):
                if hasattr(sys.modules[module], alias):
                    patch.setattr(sys.modules[module], alias, new)

    def _others(self, function: Any, name: str) -> tuple[Any, ...]:
        new = self.stand_in(name)
        return tuple(
            new if getattr(x, "__name__", None) == name else x for x in function.__defaults__
        )


class Recorder:
    """Note how each test ended, and whether it took the swapped optimizer."""

    def __init__(self, report: str | None, swap: Swap | None) -> None:
        self.report, self.swap = report, swap
        self.tests: dict[str, dict[str, Any]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: Any) -> Any:  # noqa: D102
        with self.swap.collecting(str(collector.path)) if self.swap else contextlib.nullcontext():
            report = yield
        if report.skipped:
            message = str(report.longrepr[-1])
            self.tests[_file(collector)] = {
                "outcome": "skipped",
                "swapped": False,
                "message": message,
            }
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Any:  # noqa: D102
        name = f"{_file(item)}::{item.name}"
        self.test = self.tests[name] = {"outcome": "passed", "swapped": False}
        if self.swap is None:
            return (yield)
        before = self.swap.n_made
        with self.swap.running(str(item.path)):
            result = yield
        self.test["swapped"] = self.swap.n_made > before
        return result

    def pytest_runtest_logreport(self, report: Any) -> None:  # noqa: D102
        outcome = "xfailed" if hasattr(report, "wasxfail") and report.skipped else report.outcome
        if outcome != "passed":
            self.test["outcome"] = outcome
            crash = getattr(report.longrepr, "reprcrash", None)
            message = crash.message if crash else str(report.longrepr)
            self.test["message"] = message.strip().splitlines()[0]

    def pytest_sessionfinish(self) -> None:  # noqa: D102
        if self.report:
            Path(self.report).write_text(json.dumps(self.tests))


def pytest_addoption(parser: Any) -> None:
    parser.addoption("--swap", choices=CHOICES, help="the LBFGS to swap in")
    parser.addoption("--outcomes", metavar="FILE", help="write how each test ended, as JSON")


def pytest_configure(config: Any) -> None:
    if importlib.util.find_spec("asap3") is None:
        from ase.calculators.emt import EMT

        asap3: Any = types.ModuleType("asap3")
        asap3.EMT = EMT
        sys.modules["asap3"] = asap3
    choice = config.getoption("swap")
    swap = Swap(choice) if choice else None
    config.pluginmanager.register(Recorder(config.getoption("outcomes"), swap))


def find_tests() -> Path:
    """Return the folder of ASE's tests."""
    import ase

    return Path(ase.__file__).parent / "test"


def outcomes(modules: Sequence[str], swap: str | None) -> dict[str, dict[str, Any]]:
    """Run tests in a new process.

    Args:
        modules: Packages, modules or node ids of ASE's tests.
        swap: One of `CHOICES`, or None for the tests as they are.

    Returns:
        For each test its "outcome", the "message" of one that did not pass, and whether it took
        the "swapped" optimizer.
    """
    root = Path(__file__).parent.parent
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "outcomes.json"
        command = [
            *(sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", folder),
            *("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly"),
            *("-p", "benchmarks.ase_suite"),
            *("-W", FORGIVEN),
            *("--outcomes", str(report), *(["--swap", swap] if swap else []), "--pyargs", *modules),
        ]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        if not report.exists() or done.returncode not in (0, 1):
            raise RuntimeError(f"ASE's tests did not run:\n{done.stdout}\n{done.stderr}")
        return json.loads(report.read_text())


def compare(modules: Sequence[str]) -> dict[str, Any]:
    """Run tests as they are, with ASE's LBFGS, and with ours."""
    asis = outcomes(modules, None)
    runs = {choice: outcomes(modules, choice) for choice in CHOICES}
    assert all(run.keys() == asis.keys() for run in runs.values())
    used = [name for name, test in runs["ours"].items() if test["swapped"]]
    return {
        "tests": len(asis),
        "passed, skipped, xfailed, failed as they are": _counts(asis, list(asis)),
        "tests that take an LBFGS when it is swapped in": len(used),
        "passed, skipped, xfailed, failed of these": {
            "as they are": _counts(asis, used),
            "ASE's LBFGS": _counts(runs["ase"], used),
            "ours": _counts(runs["ours"], used),
            "ours, 'lbfgs'": _counts(runs["ours-lbfgs"], used),
        },
        "end otherwise than as they are": {
            name: {**_ends(name, asis, runs), "cause": CAUSES.get(name, "not known")}
            for name in asis
            if any(run[name]["outcome"] != asis[name]["outcome"] for run in runs.values())
        },
        "skipped": {n: t["message"] for n, t in asis.items() if t["outcome"] == "skipped"},
        "swapped besides LBFGS": {file: ", ".join(names) for file, names in SWAPS.items()},
    }


def main() -> dict[str, Any]:
    """Run all of them."""
    return compare(MODULES)


def _file(node: Any) -> str:
    return node.path.as_posix().rsplit("ase/test/", maxsplit=1)[-1]


def _swaps(path: str) -> tuple[str, ...]:
    return next((names for end, names in SWAPS.items() if path.endswith(end)), ())


def _counts(tests: dict[str, dict[str, Any]], names: Sequence[str]) -> list[int]:
    ends = [tests[name]["outcome"] for name in names]
    return [ends.count(end) for end in ("passed", "skipped", "xfailed", "failed")]


def _ends(name: str, asis: dict[str, Any], runs: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {
        key: " ".join(filter(None, (tests[name]["outcome"], tests[name].get("message"))))
        for key, tests in {"as it is": asis, **runs}.items()
    }
