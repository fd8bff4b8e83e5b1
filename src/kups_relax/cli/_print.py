"""What the commands print."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Structures of a table that somebody still reads, and failures.
MOST_ROWS = 50
MOST_FAILURES = 20


def format_table(result: Any) -> str:
    """Lay a result out as text: one line a structure."""
    width = max([len("structure"), *(len(i) for i in result.ids)])
    head = (
        f"{'structure':{width}s} {'atoms':>6s} {'steps':>6s} {'energy/eV':>14s} {'fmax':>9s} status"
    )
    rows = [
        f"{result.ids[i]:{width}s} {result.n_atoms[i]:6d} {result.n_steps[i]:6d} "
        f"{result.energy[i]:14.6f} {result.fmax[i]:9.2e} {result.status[i]}"
        for i in range(len(result))
    ]
    return "\n".join([head, *rows])


def print_failures(result: Any, store: Path | None) -> None:
    """Print why structures did not converge, as far as somebody reads it."""
    places = (~result.converged).nonzero()[0].tolist()
    for i in places[:MOST_FAILURES]:
        print(f"{result.ids[i]}: {result.status[i]}: {result.reason[i]}", file=sys.stderr)
    if len(places) > MOST_FAILURES:
        where = "" if store is None else f": kups-relax report {store}"
        print(f"... and {len(places) - MOST_FAILURES} more{where}", file=sys.stderr)


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
    file = f"{store.stem}-again.{ending}"
    return (
        f"to relax these again: kups-relax export {store} {statuses} -o {file}; "
        f"kups-relax relax {file} ..."
    )


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning as users of the command read it: without the line of code that gave it."""
    print(f"kups-relax: {message}", file=sys.stderr)


def format_counts(counts: Mapping[str, int]) -> str:
    """How many did not converge, by status; "" where all did."""
    rest = [f"{count} {status}" for status, count in counts.items() if status != "converged"]
    return ", ".join(rest)


def format_summary(facts: Mapping[str, Any]) -> str:
    """Lay out what `store.summary` says."""
    from kups_relax.store import when

    n, lines = facts["n_structures"], []

    def add(name: str, text: str) -> None:
        lines.append(f"{name:14s} {text}".rstrip())

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
            add(f"  {name}", format_option(value))
    return "\n".join(lines)


def format_option(value: Any) -> str:
    """Write an option of a run as one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {format_option(one)}" for key, one in value.items())
    return str(value)


def _size(n_bytes: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} GB"
