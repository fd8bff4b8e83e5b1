"""Commands for what is in a store."""

import json
import pathlib
import shlex
import sys
from typing import Annotated

import typer

from kups_relax.cli import _print
from kups_relax.cli._stopping import begin
from kups_relax.errors import printable

_OUTPUT = "Where to write: .extxyz, .xyz, .traj, .sdf, .csv, .db, .cif, .vasp or POSCAR."
StorePath = Annotated[pathlib.Path, typer.Argument(metavar="STORE", help="What relax -o wrote.")]
Statuses = Annotated[
    list[str] | None,
    typer.Option(
        "--status",
        metavar="STATUS",
        help="Only those with this status: converged, max_steps, non_finite, failed, exploded. "
        "May be given several times.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]


def info(
    path: StorePath,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
) -> None:
    """Say what is in a store: counts, options, versions, when.

    \b
    Examples:
      kups-relax info out.h5
      kups-relax info out.h5 --json | jq .counts
    """
    from kups_relax import store

    facts = store.summary(store.open(path))
    print(json.dumps(facts, indent=2) if as_json else _print.format_summary(facts))


def export(
    path: StorePath,
    output: Annotated[
        pathlib.Path,
        typer.Option("--output", "-o", metavar="OUT", help=_OUTPUT),
    ],
    status: Statuses = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the structures of a store to another file.

    \b
    Examples:
      kups-relax export out.h5 -o relaxed.sdf
      kups-relax export out.h5 --status max_steps --status failed -o again.extxyz
    """
    from kups_relax import store

    begin()
    part = store.open(path)
    if status:
        part = part.select(*status)
    n_written = store.export(part, output, overwrite=overwrite)
    rest = len(part) - n_written
    left = f"; {rest} left out, with nothing to write that {output.name} can hold" if rest else ""
    print(printable(f"{n_written} of {len(part)} structures written to {output}{left}"))


def report(
    path: StorePath,
    output: Annotated[
        pathlib.Path | None,
        typer.Option("--output", "-o", metavar="OUT", help="STORE with the ending .html."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write one HTML page about a store, with charts.

    It counts structures by status, says which took most steps and why others failed. It needs no
    network. An older report is replaced.

    \b
    Example:
      kups-relax report out.h5 -o out.html
    """
    from kups_relax import store
    from kups_relax.report import write_report

    begin()
    results = store.open(path)
    output = output or path.with_suffix(".html")
    write_report(results, output, overwrite=overwrite)
    print(printable(f"written to {output}"))


def check(
    path: StorePath,
    output: Annotated[
        pathlib.Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Where to write the structures that are whole: OUT.h5, with which the run can go "
            "on, or another format.",
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Verify a store: every checksum, and every structure against its fingerprint.

    \b
    Examples:
      kups-relax check out.h5
      kups-relax check out.h5 -o whole.h5

    \b
    Exit status:
      0    every structure is whole
      1    some are damaged; each is named
      2    it is no store, or nothing of it can be read
    """
    from kups_relax import store

    found = store.check(path)
    n_whole = len(found.whole)
    print(printable(f"{path}: {n_whole} of {found.n_structures} structures are whole"))
    for line in _print.damages(found):
        print(line, file=sys.stderr)
    if output is not None:
        n_written = found.save(output, overwrite=overwrite)
        print(printable(f"{n_written} of {n_whole} written to {output}"))
    elif not found.ok and n_whole:
        new = shlex.quote(str(path.with_name(f"{path.stem}-whole{path.suffix}")))
        print(f"to save them: kups-relax check {shlex.quote(str(path))} -o {new}", file=sys.stderr)
    raise typer.Exit(0 if found.ok else 1)
