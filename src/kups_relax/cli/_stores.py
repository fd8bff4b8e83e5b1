"""Commands for what is in a store."""

import json
import pathlib
from typing import Annotated

import typer

from kups_relax.cli import _print

StorePath = Annotated[pathlib.Path, typer.Argument(metavar="STORE", help="What relax -o wrote.")]
Statuses = Annotated[
    list[str] | None,
    typer.Option(
        "--status",
        help="Only those with this status: converged, max_steps, non_finite, failed, exploded. "
        "May be given several times.",
    ),
]
Overwrite = Annotated[bool, typer.Option(help="Replace an existing output.")]


def info(
    path: StorePath,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
) -> None:
    """Say what is in a store: counts by status, options, versions, sizes, when."""
    from kups_relax import store

    facts = store.summary(store.open(path))
    print(json.dumps(facts, indent=2) if as_json else _print.format_summary(facts))


def export(
    path: StorePath,
    output: Annotated[
        pathlib.Path,
        typer.Option(
            "--output",
            "-o",
            help="Where to write: .extxyz, .xyz, .traj, .sdf, .csv, .db, .cif, .vasp or POSCAR.",
        ),
    ],
    status: Statuses = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the structures of a store, or those of some statuses, to another file."""
    from kups_relax import store

    part = store.open(path)
    if status:
        part = part.select(*status)
    n_written = store.export(part, output, overwrite=overwrite)
    rest = len(part) - n_written
    left = f"; {rest} left out, with nothing to write that {output.name} can hold" if rest else ""
    print(f"{n_written} of {len(part)} structures written to {output}{left}")


def report(
    path: StorePath,
    output: Annotated[
        pathlib.Path | None,
        typer.Option("--output", "-o", help="Where to write; STORE with the ending .html."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write one HTML page about a store: counts, charts, the slowest, the failed ones and why.

    It needs no network. An older report is replaced.
    """
    from kups_relax import store
    from kups_relax.report import write_report

    output = output or path.with_suffix(".html")
    write_report(store.open(path), output, overwrite=overwrite)
    print(f"written to {output}")
