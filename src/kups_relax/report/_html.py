"""Pieces of HTML: text that comes from data is escaped here."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from kups_relax import store
from kups_relax.errors import printable
from kups_relax.store import when as when

# The order of statuses, in the words of people.
STATUSES = {
    "converged": "converged",
    "max_steps": "out of steps",
    "non_finite": "not finite",
    "exploded": "exploded",
    "failed": "failed",
}


def text(value: Any) -> str:
    """Write text of the data as text of the page; what is not printable is escaped."""
    return escape(printable(str(value)))


def number(value: Any, form: str) -> str:
    """Write a number; a dash where there is none."""
    if not np.isfinite(value):
        return "\N{EN DASH}"
    return f"{value:{form}}".replace("-", "\N{MINUS SIGN}")


def name(results: store.Store, place: int) -> str:
    """The head of a structure's row."""
    return f'<th scope="row">{text(results.ids[place])}</th>'


def status(results: store.Store, place: int) -> str:
    """The cell of its status."""
    return f"<td>{key(str(results.status[place]))}</td>"


def key(label: str) -> str:
    """A status in words, with its colour."""
    return f'<span class="key {label}">{STATUSES[label]}</span>'


def known(counts: Mapping[str, int]) -> list[str]:
    """Statuses that occur, in their order."""
    return [label for label in STATUSES if label in counts]


def card(title: str, svg: str, note: str = "") -> str:
    """Frame a chart, or other HTML."""
    note = f'<p class="under">{note}</p>' if note else ""
    return f"<figure><figcaption>{title}</figcaption>{svg}{note}</figure>"


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out cells that are HTML: whole ones, or the text of numbers, whose columns have a #."""
    cells = "".join(
        f'<th scope="col" class="n">{name[1:]}</th>'
        if name[0] == "#"
        else f'<th scope="col">{name}</th>'
        for name in head
    )
    lines = []
    for row in rows:
        filled = (c if c.startswith("<t") else f'<td class="n">{c}</td>' for c in row)
        lines.append(f"<tr>{''.join(filled)}</tr>")
    body = "\n".join(lines)
    # What scrolls can be reached, and scrolled, by the keyboard.
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title}">'
        f"<table><thead><tr>{cells}</tr></thead><tbody>\n{body}\n</tbody></table></div>"
    )


def percent(share: float) -> str:
    """Write a share."""
    return f"{share:.0%}" if share in (0, 1) else f"{share:.1%}"


def duration(seconds: float) -> str:
    """Write how long something took."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
