"""What rows add up to: totals of halves, failures, other minima."""

from typing import Any

import numpy as np

# End energies further apart than this are other minima, eV.
SAME = 1e-3

_COLUMNS = (
    "evaluations", "even half", "odd half", "mean", "median", "largest", "failed", "lower",
    "higher",
)  # fmt: skip


def summary(rows: list[dict[str, Any]], reference: list[dict[str, Any]] | None) -> dict[str, Any]:
    """Add up one optimizer's rows.

    Failed structures are in all totals with the evaluations that they took.

    Args:
        rows: One for each structure.
        reference: Whose end energies "lower" and "higher" refer to; where either failed, neither
            is counted.
    """
    n = np.array([row["evaluations"] for row in rows])
    failed = np.array([bool(row["failure"]) for row in rows])
    figures: dict[str, Any] = {
        "structures": len(rows),
        "evaluations": int(n.sum()),
        "even half": int(n[::2].sum()),
        "odd half": int(n[1::2].sum()),
        "mean": round(float(n.mean()), 2),
        "median": float(np.median(n)),
        "largest": int(n.max()),
        "failed": int(failed.sum()),
        "failed, even half": int(failed[::2].sum()),
    }
    if reference is not None:
        usable = ~failed & ~np.array([bool(row["failure"]) for row in reference])
        energies = np.array(
            [[a["energy"], b["energy"]] for a, b in zip(rows, reference, strict=True)]
        )
        above = np.where(usable, energies[:, 0] - energies[:, 1], 0.0)
        figures["compared"] = int(usable.sum())
        figures["lower"] = int((above < -SAME).sum())
        figures["higher"] = int((above > SAME).sum())
        figures["mean energy above the reference, eV"] = (
            float(above[usable].mean()) if usable.any() else None
        )
    return figures


def failures(rows: list[dict[str, Any]], labels: list[str]) -> dict[str, str]:
    """Say of each failed structure why."""
    return {
        label: f"{row['failure']}; fmax {row['fmax']:.3g} after {row['evaluations']}"
        for label, row in zip(labels, rows, strict=True)
        if row["failure"]
    }


def markdown(figures: dict[str, dict[str, Any]]) -> str:
    """Make a table of one set, an optimizer a line."""
    lines = ["| optimizer | " + " | ".join(_COLUMNS) + " |", "| --- " * (len(_COLUMNS) + 1) + "|"]
    for name, row in figures.items():
        cells = [f"{row[c]:g}" if c in row else "" for c in _COLUMNS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
