"""The report of a potential's checks: a line each, plain values, and what to do."""

import json
import math

import pytest

from kups_relax.testing import Check, PotentialReport
from kups_relax.testing._report import Finding, judge


def report(*checks, left_out=()):
    return PotentialReport(
        potential={"name": "pairs", "cutoff": 3.0},
        dtype="float64",
        structures=("a", "b"),
        left_out=left_out,
        checks=checks,
    )


GOOD = judge(
    "forces",
    [Finding(1e-12, 1e-9, "eV/Å", "a, atom 1"), Finding(2e-12, 1e-8, "eV/Å", "a, atom 2")],
    hint="a sign",
    otherwise="",
)
BAD = judge(
    "stress",
    [Finding(1e-12, 1e-9, "eV/Å^3", "a"), Finding(0.2, 1e-8, "eV/Å^3", "b, component xy")],
    hint="a factor",
    otherwise="",
)
SKIPPED = judge("energies", [], hint="", otherwise="there are none")


def test_the_worst_is_judged_by_its_tolerance():
    assert (GOOD.result, GOOD.value, GOOD.where) == ("passed", 1e-12, "a, atom 1")
    assert (BAD.result, BAD.value, BAD.where) == ("failed", 0.2, "b, component xy")
    assert (BAD.n_comparisons, BAD.note, GOOD.note) == (2, "a factor", "")
    assert (SKIPPED.result, SKIPPED.note) == ("not tested", "there are none")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_fails(value):
    findings = [Finding(1.0, 2.0, "eV", "a"), Finding(value, 2.0, "eV", "b")]
    check = judge("forces", findings, hint="", otherwise="")
    assert (check.result, check.where) == ("failed", "b")


def test_ok_needs_a_pass_and_no_failure():
    assert report(GOOD, SKIPPED).ok
    assert not report(GOOD, BAD).ok
    assert not report(SKIPPED).ok
    assert not report().ok
    assert report(GOOD, BAD).failed == (BAD,)


def test_checks_are_found_by_name():
    assert report(GOOD, BAD)["stress"] is BAD
    with pytest.raises(KeyError, match="no check 'skin'; there are forces"):
        report(GOOD)["skin"]


def test_it_prints_a_line_for_each_and_what_to_do():
    lines = str(report(GOOD, BAD, SKIPPED, left_out=(("c", "no atoms"),))).splitlines()
    assert lines[0] == "pairs, float64, 2 structures, 1 left out"
    assert lines[1].split() == ["check", "result", "worst", "tolerance", "unit", "of", "where"]
    assert " ".join(lines[2].split()) == "forces passed 1.0e-12 1.0e-09 eV/Å 2 a, atom 1"
    assert lines[3].startswith("stress ")
    assert lines[3].endswith(" 2.0e-01   1.0e-08   eV/Å^3    2      b, component xy")
    assert lines[4].split() == ["energies", "not", "tested", "there", "are", "none"]
    assert lines[5:] == ["stress failed: a factor", "c left out: no atoms"]


def test_several_failures_may_be_one_fault():
    assert str(report(BAD, GOOD, BAD)).splitlines()[-1].endswith("begin with the first.")
    assert "begin with" not in str(report(BAD, GOOD))


def test_it_is_plain_values_for_records():
    values = report(GOOD, BAD, SKIPPED).to_dict()
    assert values["ok"] is False
    assert values["checks"][1]["name"] == "stress"
    assert json.loads(json.dumps(values))["potential"] == {"name": "pairs", "cutoff": 3.0}
    assert isinstance(GOOD, Check)
