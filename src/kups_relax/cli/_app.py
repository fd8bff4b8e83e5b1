"""Commands, their options, and what they print."""

import contextlib
import pathlib
import sys
import time
import warnings
from typing import Annotated

import typer

from kups_relax import errors
from kups_relax.cli import _lists, _print, _stores, _words
from kups_relax.cli._stoppable import Stoppable, what_is_left
from kups_relax.cli._stopping import begin, was_asked
from kups_relax.cli._suggest import need_potential
from kups_relax.errors import printable

app = typer.Typer(
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

# Exit status: every structure converged, some did not, input that cannot be used, Ctrl-C.
OK, NOT_ALL, UNUSABLE, INTERRUPTED = 0, 1, 2, 130

Inputs = Annotated[
    list[pathlib.Path],
    typer.Argument(
        metavar="INPUT",
        help="Files: SDF, MOL, SMILES (.smi), or whatever ASE reads: extxyz, cif, POSCAR, ...",
        show_default=False,
    ),
]
PotentialName = Annotated[
    str | None,
    typer.Option(
        "--potential",
        "-p",
        metavar="NAME",
        help="NAME or NAME:key=value,..., see kups-relax potentials; or FILE.py:FUNCTION, one of "
        "your own. Left out: which ones suit the input is said.",
    ),
]
OptimizerName = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="NAME or NAME:key=value,..., see kups-relax optimizers; or FILE.py:FUNCTION, one of "
        "your own.",
    ),
]
Fmax = Annotated[float, typer.Option(metavar="F", help="Longest force allowed, eV/Angstrom.")]
MaxSteps = Annotated[
    int, typer.Option(metavar="N", help="Moves allowed to each structure; 0: evaluate only.")
]
Cell = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Relax cells too: frechet or unit, with options frechet:pressure=5GPa,mask=xx+yy.",
    ),
]
Dtype = Annotated[str, typer.Option(metavar="TYPE", help="float64 or float32 (7 digits; faster).")]
Conformers = Annotated[int, typer.Option(metavar="N", help="Conformers made of each SMILES.")]
Seed = Annotated[int, typer.Option(metavar="N", help="For conformers and random batches.")]
Draws = Annotated[int, typer.Option(metavar="N", help="Random batches.")]


def _say_versions(asked: bool) -> None:
    if asked:
        print(_lists.format_versions())
        raise typer.Exit


@app.callback()
def top(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            "-V",
            is_eager=True,
            callback=_say_versions,
            help="Show the versions of this command, JAX and what else it uses.",
        ),
    ] = False,
) -> None:
    """Relax many structures at once, each to the last bit as it would relax alone.

    \b
    Examples:
      kups-relax relax molecules.sdf --potential mmff94 -o relaxed.sdf
      kups-relax relax crystals.extxyz --potential emt --cell frechet -o out.h5
      kups-relax info out.h5

    \b
    Exit status:
      0    all is well: every structure converged, every check passed
      1    some structures did not converge, or a check failed
      2    input, output or an option cannot be used
      130  stopped by Ctrl-C; what is finished is in the store
      143  stopped by SIGTERM; likewise
    """
    del version


@app.command()
def relax(
    inputs: Inputs,
    potential: PotentialName = None,
    optimizer: OptimizerName = "lbfgs",
    fmax: Fmax = 0.01,
    max_steps: MaxSteps = 1000,
    cell: Cell = None,
    dtype: Dtype = "float64",
    output: Annotated[
        pathlib.Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Where to write: OUT.h5, a store that has each structure within seconds; or, at "
            "the end, .extxyz, .xyz, .sdf, .traj, .csv, .db, .cif, .vasp or POSCAR.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing output.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with what a run with the same options and output left."
        ),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Stop at the first structure that goes wrong, status 2."),
    ] = False,
    trajectory: Annotated[
        int,
        typer.Option(metavar="K", help="Keep every K-th geometry in the store; 0: none."),
    ] = 0,
    trajectory_of: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Only of this structure. May be given several times."),
    ] = None,
    checkpoint: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Save structures on the way too, every so many seconds, so that --resume goes on "
            "with them where they were.",
        ),
    ] = None,
    n_workers: Annotated[
        int | None,
        typer.Option(
            "--workers", metavar="N", help="Batches at work at once; left out: one a CPU core."
        ),
    ] = None,
    n_conformers: Conformers = 1,
    seed: Seed = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No table, no progress.")] = False,
) -> None:
    """Relax structures, and say what became of each.

    \b
    Examples:
      kups-relax relax molecules.sdf -p mmff94 -o relaxed.sdf
      kups-relax relax many.smi -p mmff94 --n-conformers 10 -o out.h5
      kups-relax relax POSCAR -p emt --cell frechet:pressure=5GPa
      kups-relax relax *.cif -p my_model.py:make --optimizer preconditioned

    \b
    Exit status:
      0    every structure converged
      1    some did not; each is listed with its reason
      2    input, output or an option cannot be used
      130  stopped by Ctrl-C; what is finished is in OUT, or in OUT.h5 beside it
      143  stopped by SIGTERM; likewise
    """
    from kups_relax._relax import relax
    from kups_relax.io import STORES

    begin(lambda: what_is_left(output))
    store = output if output is not None and output.suffix.lower() in STORES else None
    if trajectory and store is None:
        raise errors.OptionError(
            f"trajectory={trajectory} needs a store to keep geometries in: -o OUT.h5."
        )
    start = time.perf_counter()
    chosen = need_potential(potential, inputs)
    structures = Stoppable(list(inputs), seed=seed, n_conformers=n_conformers)
    result = relax(
        structures,
        chosen,
        optimizer,
        fmax=fmax,
        max_steps=max_steps,
        cell=cell,
        dtype=dtype,
        output=output,
        overwrite=overwrite,
        progress=not quiet,
        n_workers=n_workers,
        n_conformers=n_conformers,
        seed=seed,
        resume=resume,
        strict=strict,
        trajectory=trajectory,
        trajectory_of=trajectory_of,
        checkpoint=checkpoint,
    )
    seconds = time.perf_counter() - start
    if not quiet and len(result) <= _print.MOST_ROWS:
        print(_print.format_table(result))
    _print.print_failures(result, store)
    n_converged = int(result.converged.sum())
    rest = _print.format_counts(result.counts)
    print(
        f"{n_converged} of {len(result)} structures converged in {seconds:.1f} s"
        + (f"; {rest}" if rest else "")
    )
    if output is not None:
        print(printable(f"written to {output}"))
    if not quiet and (hint := _print.how_to_rerun(result, store)):
        print(hint, file=sys.stderr)
    for label in sorted(set(trajectory_of or []) - set(result.ids)):
        line = f"{label}: no structure has this id; no trajectory was kept"
        print(printable(line), file=sys.stderr)
    raise typer.Exit(OK if n_converged == len(result) else NOT_ALL)


@app.command()
def verify(
    inputs: Inputs,
    potential: PotentialName = None,
    optimizer: OptimizerName = "lbfgs",
    fmax: Fmax = 0.01,
    max_steps: MaxSteps = 1000,
    cell: Cell = None,
    dtype: Dtype = "float64",
    draws: Draws = 20,
    n_conformers: Conformers = 1,
    seed: Seed = 0,
) -> None:
    """Relax structures alone and in batches; compare all bits.

    \b
    Example:
      kups-relax verify molecules.sdf -p mmff94 --draws 5

    \b
    Exit status:
      0    every structure got the same bits in every batch
      1    some did not; each is named
      2    input or an option cannot be used
    """
    from kups_relax import io
    from kups_relax._verify import verify

    begin()
    report = verify(
        io.structures_from(list(inputs), seed=seed, n_conformers=n_conformers),
        need_potential(potential, inputs),
        draws=draws,
        seed=seed,
        optimizer=optimizer,
        fmax=fmax,
        max_steps=max_steps,
        cell=cell,
        dtype=dtype,
    )
    print(report)
    for draw, structure in report.mismatches:
        line = f"draw {draw}: {structure} differs from itself alone"
        print(printable(line), file=sys.stderr)
    raise typer.Exit(OK if report.ok else NOT_ALL)


@app.command("audit-model")
def audit_model(
    inputs: Inputs,
    potential: PotentialName = None,
    dtype: Dtype = "float64",
    precision: Annotated[
        float | None,
        typer.Option(
            metavar="P", help="Relative precision that the potential is meant to have, e.g. 1e-9."
        ),
    ] = None,
    checks: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Those to run, separated by commas."),
    ] = None,
    draws: Draws = 8,
    n_conformers: Conformers = 1,
    seed: Seed = 0,
) -> None:
    """Check a potential: derivatives, symmetries, batching.

    \b
    Example:
      kups-relax audit-model crystals.extxyz -p my_model.py:make --dtype float32

    \b
    Exit status:
      0    every check passed
      1    some failed; what that means is said
      2    input or an option cannot be used
    """
    from kups_relax import io
    from kups_relax.testing import check_potential

    begin()
    report = check_potential(
        need_potential(potential, inputs),
        io.structures_from(list(inputs), seed=seed, n_conformers=n_conformers),
        dtype=dtype,
        precision=precision,
        checks=None if checks is None else [name.strip() for name in checks.split(",")],
        draws=draws,
        seed=seed,
    )
    print(report)
    raise typer.Exit(OK if report.ok else NOT_ALL)


for command in (
    _lists.potentials, _lists.optimizers,
    _stores.info, _stores.export, _stores.report, _stores.check,
):  # fmt: skip
    app.command()(command)


def run(words: list[str] | None = None) -> int:
    """Run the command; errors that users can mend become one line and exit status 2.

    Args:
        words: What follows the command's name; None: what the process was given.

    Returns:
        The exit status.

    Raises:
        BaseException: What a signal asked for, whatever libraries have made of it.
    """
    warnings.showwarning = _print.show_warning
    with contextlib.suppress(AttributeError):
        # Where a terminal cannot show a letter, its number is better than an error.
        sys.stdout.reconfigure(errors="backslashreplace")  # pyright: ignore
    try:
        app(words, prog_name="kups-relax")
    except SystemExit as end:
        stop = was_asked()
        if stop is not None and end.code == INTERRUPTED:
            raise stop from None
        return end.code if isinstance(end.code, int) else OK if end.code is None else UNUSABLE
    except errors.KupsRelaxError as error:
        if (stop := was_asked()) is not None:
            raise stop from None
        text = "\n".join(map(printable, str(error).split("\n")))
        print(f"kups-relax: {_words.for_shell(text)}", file=sys.stderr)
        return UNUSABLE
    except OSError as error:
        # A full disk, or standard output that is closed.
        print(f"kups-relax: {printable(errors.described(error))}", file=sys.stderr)
        return UNUSABLE
    return OK
