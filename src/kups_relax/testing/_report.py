"""What the checks of a potential found, for people and for records."""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any, Literal

from kups_relax.errors import printable

Result = Literal["passed", "failed", "not tested"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """One comparison.

    Attributes:
        value: How far two numbers are apart that should be equal.
        tolerance: How far they may be.
        unit: Of both.
        where: Structure, and the atom or component, if it is about one.
    """

    value: float
    tolerance: float
    unit: str
    where: str

    @property
    def ratio(self) -> float:
        """Value in tolerances; infinite where it is not a number."""
        if not math.isfinite(self.value):
            return math.inf
        return self.value / self.tolerance if self.tolerance else math.inf * bool(self.value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """What one check found.

    Attributes:
        name: Which check.
        result: "passed", "failed", or "not tested", which is not a failure.
        value: The worst deviation; the number of mismatches where bits are compared.
        tolerance: What is allowed to that deviation.
        unit: Of both.
        where: Structure and atom of the worst deviation.
        n_comparisons: How many were made.
        note: Why it was not tested, or what usually causes the failure.
    """

    name: str
    result: Result
    value: float = math.nan
    tolerance: float = math.nan
    unit: str = ""
    where: str = ""
    n_comparisons: int = 0
    note: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PotentialReport:
    """What `check_potential` found. Print it.

    Attributes:
        potential: Its name and options.
        dtype: Of the evaluations.
        structures: Labels of those that were checked.
        left_out: Label and reason of those that could not be.
        checks: One for each check, in order.
    """

    potential: dict[str, Any]
    dtype: str
    structures: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether something passed and nothing failed."""
        return not self.failed and any(check.result == "passed" for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.result == "failed")

    def __getitem__(self, name: str) -> Check:
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(f"no check {name!r}; there are {', '.join(c.name for c in self.checks)}.")

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, e.g. for JSON."""
        return {"ok": self.ok, **dataclasses.asdict(self)}

    def __str__(self) -> str:
        n, out = len(self.structures), len(self.left_out)
        lines = [
            f"{self.potential['name']}, {self.dtype}, {n} structure{'s' * (n != 1)}"
            + (f", {out} left out" if out else ""),
            _line("check", "result", "worst", "tolerance", "unit", "of", "where"),
        ]
        for check in self.checks:
            if check.result == "not tested":
                lines.append(f"{check.name:17s} {check.result:11s} {check.note}")
            else:
                numbers = (_number(check.value), _number(check.tolerance))
                count = str(check.n_comparisons)
                lines.append(
                    _line(check.name, check.result, *numbers, check.unit, count, check.where)
                )
        lines += [f"{check.name} failed: {check.note}" for check in self.failed]
        if len(self.failed) > 1:
            lines.append("One fault may show in several checks: begin with the first.")
        lines += [f"{label} left out: {reason}" for label, reason in self.left_out]
        return "\n".join(map(printable, lines))


def judge(name: str, findings: Iterable[Finding], *, hint: str, otherwise: str) -> Check:
    """Sum findings up by the worst of them.

    Args:
        name: Of the check.
        findings: Its comparisons.
        hint: What usually causes it to fail.
        otherwise: Why it was not tested, if there are no findings.
    """
    findings = list(findings)
    if not findings:
        return Check(name=name, result="not tested", note=otherwise)
    worst = max(findings, key=lambda finding: finding.ratio)
    failed = worst.ratio > 1
    return Check(
        name=name,
        result="failed" if failed else "passed",
        value=worst.value,
        tolerance=worst.tolerance,
        unit=worst.unit,
        where=worst.where,
        n_comparisons=len(findings),
        note=hint if failed else "",
    )


def _line(*cells: str) -> str:
    widths = (17, 11, 9, 9, 9, 6)
    return " ".join(f"{c:{w}s}" for c, w in zip(cells, (*widths, 0), strict=True)).rstrip()


def _number(x: float) -> str:
    return str(int(x)) if math.isfinite(x) and x == int(x) and abs(x) < 1e6 else f"{x:.1e}"
