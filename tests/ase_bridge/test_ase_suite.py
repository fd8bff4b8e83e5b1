"""ASE's own tests pass with our LBFGS swapped in. All of them: benchmarks/ase_suite.py."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
from benchmarks import ase_suite

QUICK = (
    "ase.test.optimize.test_nsteps",
    "ase.test.optimize.test_optimize_stepwise",
    "ase.test.optimize.test_optimizer_restart",
    "ase.test.optimize.test_pure",
    "ase.test.optimize.test_replay",
    "ase.test.filter.test_filter",
    "ase.test.constraints.test_fixcom",
    "ase.test.neb.test_neb",
)


@pytest.mark.extended
@pytest.mark.parametrize("swap", ["ours", "ours-lbfgs"])
def test_quick_ones_pass(swap):
    tests = ase_suite.outcomes(QUICK, swap)
    used = {name: test for name, test in tests.items() if test["swapped"]}
    assert len(used) >= 11
    assert {name for name, test in used.items() if test["outcome"] != "passed"} == set()
    assert {name.split("::")[0] for name in used} == {
        q.removeprefix("ase.test.").replace(".", "/") + ".py" for q in QUICK
    }


@pytest.mark.extended
def test_nothing_is_swapped_unasked():
    tests = ase_suite.outcomes(["ase.test.optimize.test_replay"], None)
    assert len(tests) == 4
    assert not any(test["swapped"] for test in tests.values())


def test_causes_are_of_tests_that_exist():
    folder = ase_suite.find_tests()
    for name in ase_suite.CAUSES:
        file, test = name.split("::")
        assert f"def {test.split('[')[0]}(" in (folder / file).read_text()
    for file in ase_suite.SWAPS:
        assert (folder / file.removeprefix("test/")).exists()
