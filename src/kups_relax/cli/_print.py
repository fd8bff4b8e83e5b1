"""What the commands print."""

import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kups_relax.cli._words import for_shell
from kups_relax.errors import printable, shell_word

# Structures of a table that somebody still reads, and failures.
MOST_ROWS = 50
MOST_FAILURES = 20
# Ids that a line names, and columns of an id: a table fits a terminal of 80.
_NAMED = 3
_WIDEST = 28


def format_table(result: Any) -> str:
    """Lay a result out as text: one line a structure."""
    ids = [printable(i) for i in result.ids]
    width = min(_WIDEST, max([len("structure"), *map(len, ids)]))
    head = (
        f"{'structure':{width}s} {'atoms':>6s} {'steps':>6s} {'energy/eV':>14s} {'fmax':>9s} status"
    )
    rows = [
        f"{ids[i]:{width}s} {result.n_atoms[i]:6d} {result.n_steps[i]:6d} "
        f"{result.energy[i]:14.6f} {result.fmax[i]:9.2e} {result.status[i]}"
        for i in range(len(result))
    ]
    return "\n".join([head, *rows])


def print_failures(result: Any, store: Path | None) -> None:
    """Print why structures did not converge, as far as somebody reads it."""
    groups = failures(result)
    for line in groups[:MOST_FAILURES]:
        print(line, file=sys.stderr)
    if len(groups) > MOST_FAILURES:
        where = "" if store is None else f": kups-relax report {shell_word(str(store))}"
        print(f"... and {len(groups) - MOST_FAILURES} more{where}", file=sys.stderr)


def failures(result: Any) -> list[str]:
    """Say why structures did not converge: what many have in common once, and first."""
    groups: dict[tuple[str, str], list[int]] = {}
    for i in (~result.converged).nonzero()[0].tolist():
        groups.setdefault((str(result.status[i]), str(result.reason[i])), []).append(i)
    lines = []
    for (status, reason), members in sorted(groups.items(), key=lambda item: -len(item[1])):
        n, ids = len(members), [str(result.ids[i]) for i in members]
        if n == 1:
            whose, which = ids[0], ""
        else:
            whose = f"all {n} structures" if n == len(result) else f"{n} structures"
            more = f" and {n - _NAMED} more" if n > _NAMED else ""
            which = f" ({', '.join(ids[:_NAMED])}{more})"
        lines.append(printable(f"{whose}: {status}: {for_shell(reason)}{which}"))
    return lines


def damages(found: Any) -> list[str]:
    """Name the structures that are not whole, as far as somebody reads it.

    Args:
        found: A `store.Check`.
    """
    groups: dict[str, list[int]] = {}
    for row, reason in found.damaged.items():
        groups.setdefault(reason, []).append(row)
    lines = []
    for reason, rows in sorted(groups.items(), key=lambda item: -len(item[1])):
        more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
        which = ", ".join(map(str, rows[:_NAMED]))
        lines.append(printable(f"row {which}{more}: {for_shell(reason)}"))
    if len(lines) > MOST_FAILURES:
        lines[MOST_FAILURES:] = [f"... and {len(lines) - MOST_FAILURES} more"]
    return lines


def how_to_rerun(result: Any, store: Path | None) -> str:
    """Say how what did not converge is relaxed again; "" where nothing of it can be."""
    again = (~result.converged & (result.n_atoms > 0)).nonzero()[0]
    if not len(again):
        return ""
    if store is None:
        return "to relax only these again, write to a store: -o OUT.h5"
    statuses = " ".join(f"--status {status}" for status in sorted(set(result.status[again])))
    # Bonds are lost in extended XYZ, and some potentials need them.
    ending = "extxyz" if result.topology(int(again[0])) is None else "sdf"
    file = shell_word(f"{store.stem}-again.{ending}")
    return (
        f"to relax these again: kups-relax export {shell_word(str(store))} {statuses} -o {file}; "
        f"kups-relax relax {file} ..."
    )


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning as users of the command read it: without the line of code that gave it."""
    print(f"kups-relax: {for_shell(printable(str(message)))}", file=sys.stderr)


def format_counts(counts: Mapping[str, int]) -> str:
    """How many did not converge, by status; "" where all did."""
    rest = [f"{count} {status}" for status, count in counts.items() if status != "converged"]
    return ", ".join(rest)


def format_summary(facts: Mapping[str, Any]) -> str:
    """Lay out what `store.summary` says."""
    from kups_relax.store import when

    n, lines = facts["n_structures"], []

    def add(name: str, text: str) -> None:
        lines.append(printable(f"{name:14s} {text}".rstrip()))

    add("store", f"{facts['path']}, {_size(facts['bytes'])}")
    if facts["complete"]:
        add("structures", f"{n}, complete")
    else:
        add("structures", f"{n} finished; the run goes on, or was stopped: relax with --resume")
    for status, count in facts["counts"].items():
        add(f"  {status}", f"{count} ({count / n:.1%})")
    for name, label in (("n_atoms", "atoms"), ("n_steps", "steps")):
        if (spread := facts[name]) is not None:
            add(label, f"{spread['least']} to {spread['most']}, median {spread['median']:g}")
    if n:
        add("finished", f"{when(facts['first_finished'])} to {when(facts['last_finished'])}")
    ids = facts["with_trajectory"]
    more = ", ..." if len(ids) > 5 else ""
    add("trajectories", f"{len(ids)}: {', '.join(ids[:5])}{more}" if ids else "none")
    for title in ("options", "versions"):
        lines.append(title)
        for name, value in facts[title].items():
            text = printable(f"  {name:12s} {format_option(value)}".rstrip())
            lines.append(
                textwrap.fill(
                    text, 80, subsequent_indent=" " * 15, break_long_words=False,
                    break_on_hyphens=False, drop_whitespace=True,
                )
            )  # fmt: skip
    return "\n".join(lines)


def format_option(value: Any) -> str:
    """Write an option of a run as one line."""
    if isinstance(value, Mapping):
        items = [f"{key} {format_option(one)}" for key, one in value.items() if key != "name"]
        name = str(value.get("name", ""))
        return f"{name}{': ' if name and items else ''}{', '.join(items)}"
    if isinstance(value, list) and all(isinstance(one, Mapping) for one in value):
        return "; ".join(map(format_option, value))
    return str(value)


def _size(n_bytes: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} GB"
