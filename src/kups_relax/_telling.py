"""Format results: as text for a terminal, as a table for a notebook."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from kups_relax.errors import printable

# Rows of a table in a notebook: as many, from the start and from the end.
_ROWS = 5


def headline(name: str, counts: Mapping[str, int]) -> str:
    """Write how many structures ended in which way.

    Args:
        name: Of the class.
        counts: By status.
    """
    n = sum(counts.values())
    summary = ", ".join(f"{count} {label}" for label, count in counts.items())
    return f"{name}({n} {'structure' if n == 1 else 'structures'}{': ' if n else ''}{summary})"


def problems_of(ids: Sequence[str], status: Sequence[str], reason: Sequence[str]) -> list[str]:
    """Say what went wrong: what all structures share once, else the first of each status."""
    own = [_without_id(r, i) for r, i in zip(reason, ids, strict=True)]
    if len(own) > 1 and own[0] and len(set(own)) == 1:
        return [f"all: {_line(own[0])}"]
    first: dict[str, int] = {}
    shared: dict[str, set[str]] = {}
    for place, (label, text) in enumerate(zip(status, own, strict=True)):
        if text:
            first.setdefault(label, place)
            shared.setdefault(label, set()).add(text)
    lines = []
    for label, place in first.items():
        n = sum(one == label for one in status)
        if n > 1 and len(shared[label]) == 1:
            lines.append(f"{label}, all {n}: {_line(own[place])}")
        else:
            of = f", the first of {n}" if n > 1 else ""
            lines.append(f"{label}{of}: {_line(repr(ids[place]))}: {_line(own[place])}")
    return lines


def html_of(title: str, problems: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> str:
    """Write the same for a notebook, with a table of the first and the last structures.

    Args:
        title: From `headline`.
        problems: From `problems_of`.
        columns: Those in `SHOWN`.
    """
    n = len(columns["id"])
    rows = [*range(n)] if n <= 2 * _ROWS + 1 else [*range(_ROWS), None, *range(n - _ROWS, n)]
    lines = [f"<p>{html.escape(title)}</p>"]
    lines += [f"<p>{html.escape(problem)}</p>" for problem in problems]
    head = "".join(f"<th>{title}</th>" for title, _ in SHOWN.values())
    lines.append(f"<table><thead><tr>{head}</tr></thead><tbody>")
    for row in rows:
        cells = ["..." if row is None else SHOWN[k][1](v[row]) for k, v in columns.items()]
        lines.append("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in cells) + "</tr>")
    lines.append("</tbody></table>")
    return "\n".join(lines)


def _line(text: str) -> str:
    """Write text in one line, without what a terminal would obey."""
    return printable(" ".join(text.split()))


def _without_id(reason: str, label: str) -> str:
    return reason.removeprefix(f"{label!r}: ")


def _number(form: str) -> Any:
    return lambda value: "" if value != value else format(value, form)


# Columns of the table in a notebook: their titles, and how values are written.
SHOWN: dict[str, tuple[str, Any]] = {
    "id": ("id", _line),
    "n_atoms": ("atoms", str),
    "n_steps": ("steps", str),
    "energy": ("energy (eV)", _number(".6f")),
    "fmax": ("fmax (eV/Å)", _number(".2e")),
    "status": ("status", str),
}
