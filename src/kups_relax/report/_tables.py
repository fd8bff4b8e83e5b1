"""Tables of the page: what did not converge, what took longest, and how it was run."""

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from kups_relax import store
from kups_relax.report import _html as html

# How much of a large store is listed.
_SLOWEST = 15
_FAILED = 300
_GROUPS = 30


def failures(results: store.Store) -> list[str]:
    """What did not converge, by reason."""
    places = (~results.converged).nonzero()[0].tolist()
    if not places:
        return []
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i in places:
        groups[(str(results.status[i]), _kind(results.reason[i]))].append(i)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    parts = ["<section>", f"<h2>Not converged <span>{len(places):,}</span></h2>"]
    head = ("structure", "#atoms", "#steps", "#fmax, eV/Å", "reason")
    room = _FAILED
    for k, ((status, kind), members) in enumerate(ordered[:_GROUPS]):
        # Later groups have a share of what is left, so that each is seen.
        most = max(1, room // (min(len(ordered), _GROUPS) - k))
        shown = members[:most]
        room -= len(shown)
        rows = [
            [
                html.name(results, i),
                f"{results.n_atoms[i]:,}",
                f"{results.n_steps[i]:,}",
                html.number(results.fmax[i], ".3g"),
                f"<td>{html.text(results.reason[i])}</td>",
            ]
            for i in shown
        ]
        rest = len(members) - len(shown)
        parts += [
            f"<details{' open' * (k == 0)}>",
            f"<summary><b>{len(members):,}</b> {html.key(status)} {html.text(kind)}</summary>",
            html.table("Not converged", head, rows),
            f'<p class="rest">and {rest:,} more</p>' if rest else "",
            "</details>",
        ]
    if len(ordered) > _GROUPS:
        rest = sum(len(members) for _, members in ordered[_GROUPS:])
        parts.append(f'<p class="rest">and {rest:,} more, for other reasons</p>')
    return [*parts, "</section>"]


def _kind(reason: str) -> str:
    """What reasons of the same kind have in common: not names, formulas and numbers."""
    text = re.sub(r"^(?:[A-Z][a-z]?\d*)+: ", "", str(reason))
    text = re.sub(r"'[^']*'", "'…'", text)
    text = re.sub(r"[-+]?\b\d[\d.]*(?:e[-+]?\d+)?\b", "…", text)
    return text if len(text) < 200 else text[:199] + "…"


def slowest(results: store.Store) -> list[str]:
    if not len(results):
        return []
    order = np.argsort(-results.n_steps, kind="stable")[:_SLOWEST].tolist()
    rows = [
        [
            html.name(results, i),
            f"{results.n_steps[i]:,}",
            f"{results.n_atoms[i]:,}",
            html.number(results.energy[i], ".6f"),
            html.number(results.fmax[i], ".3g"),
            html.status(results, i),
        ]
        for i in order
    ]
    head = ("structure", "#steps", "#atoms", "#energy, eV", "#fmax, eV/Å", "status")
    return ["<section>", "<h2>Most steps</h2>", html.table("Most steps", head, rows), "</section>"]


def run(facts: Mapping[str, Any]) -> list[str]:
    n_input = facts["n_input"]
    when = [facts["first_finished"], facts["last_finished"]]
    run = {
        "store": facts["path"],
        "structures": facts["n_structures"] if n_input is None else f"{n_input:,}, complete",
        "finished": " to ".join(html.when(t) for t in when) if when[0] is not None else "none yet",
        "trajectories": f"{len(facts['with_trajectory']):,}",
    }
    parts = ["<section>", "<h2>Run</h2>", '<div class="cards">']
    for name, entries in (
        ("Run", run),
        ("Options", facts["options"]),
        ("Versions", facts["versions"]),
    ):
        items = "".join(f"<dt>{html.text(k)}</dt><dd>{_lines(v)}</dd>" for k, v in entries.items())
        parts.append(f"<figure><figcaption>{name}</figcaption><dl>{items}</dl></figure>")
    return [*parts, "</div>", "</section>"]


def _lines(value: Any) -> str:
    if isinstance(value, Mapping):
        return "<br>".join(f"{html.text(key)} {_lines(one)}" for key, one in value.items())
    if isinstance(value, list) and all(isinstance(one, Mapping) for one in value):
        return "<br>".join(map(_lines, value))
    return html.text(value)
