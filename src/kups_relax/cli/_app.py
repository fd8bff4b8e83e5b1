"""Commands, their options, and what they print."""

import dataclasses
import pathlib
import sys
import time
import warnings
from typing import Annotated, NoReturn

import typer

from kups_relax import errors
from kups_relax.cli import _print, _stores
from kups_relax.cli._stopping import Stoppable, Terminated, leave, listening, say_stopped, was_asked

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Relax many structures at once, each to the last bit as it would relax alone.",
)

for command in (_stores.info, _stores.export, _stores.report):
    app.command()(command)

# Exit status: every structure converged, some did not, input that cannot be used; 128 and the
# number of the signal.
OK, NOT_ALL, UNUSABLE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143

Inputs = Annotated[
    list[pathlib.Path],
    typer.Argument(help="Files: whatever ASE reads (extxyz, cif, ...), SDF, MOL, SMILES."),
]
PotentialName = Annotated[
    str | None,
    typer.Option(
        "--potential",
        "-p",
        help="name, or name:key=value,... (see the command potentials), or that of your own: "
        "package.module:factory, model.py:factory.",
    ),
]
OptimizerName = Annotated[
    str, typer.Option(help="name, or name:key=value,... (see kups-relax optimizers).")
]
Fmax = Annotated[float, typer.Option(help="Longest force allowed, eV/Angstrom.")]
MaxSteps = Annotated[int, typer.Option(help="Moves allowed to each structure.")]
Cell = Annotated[
    str | None,
    typer.Option(
        help="Relax cells too: frechet or unit, or with options, frechet:pressure=5GPa,mask=xx+yy."
    ),
]
Dtype = Annotated[str, typer.Option(help="float64 or float32.")]
Conformers = Annotated[int, typer.Option(help="Conformers made of each SMILES.")]
Seed = Annotated[int, typer.Option(help="For conformers and random batches.")]


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
            help="Where to write: .h5, a store that has each structure within seconds; or, at the "
            "end, .extxyz, .xyz, .sdf, .traj, .csv, .db, .cif, .vasp or POSCAR.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing output.")] = False,
    resume: Annotated[
        bool, typer.Option(help="Go on with what a run with the same options and output left.")
    ] = False,
    strict: Annotated[
        bool, typer.Option(help="Stop at the first structure that goes wrong, with status 2.")
    ] = False,
    trajectory: Annotated[
        int, typer.Option(metavar="K", help="Keep every K-th geometry, in the store; 0: none.")
    ] = 0,
    trajectory_of: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Only of this structure. May be given several times."),
    ] = None,
    checkpoint: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Save structures on the way so often too, for --resume to go on with them.",
        ),
    ] = None,
    n_conformers: Conformers = 1,
    seed: Seed = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No table, no progress.")] = False,
) -> None:
    """Relax the structures of files, and say what became of them.

    Exit status: 0 if all converged, 1 if not, 2 if input or output cannot be used, 130 and 143
    after Ctrl-C and SIGTERM: what is finished is then in the store, or in one beside the output.
    """
    from kups_relax._relax import relax
    from kups_relax.io import STORES

    store = output if output is not None and output.suffix.lower() in STORES else None
    if trajectory and store is None:
        raise errors.OptionError("--trajectory needs a store to keep geometries in: -o OUT.h5.")
    start = time.perf_counter()
    try:
        chosen = _need(potential, inputs)
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
            n_conformers=n_conformers,
            seed=seed,
            resume=resume,
            strict=strict,
            trajectory=trajectory,
            trajectory_of=trajectory_of,
            checkpoint=checkpoint,
        )
    except (KeyboardInterrupt, Terminated) as stop:
        say_stopped(output)
        raise typer.Exit(TERMINATED if isinstance(stop, Terminated) else INTERRUPTED) from None
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
        print(f"written to {output}")
    if not quiet and (hint := _print.how_to_rerun(result, store)):
        print(hint, file=sys.stderr)
    for label in sorted(set(trajectory_of or []) - set(result.ids)):
        print(f"{label}: no structure has this id; no trajectory was kept", file=sys.stderr)
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
    draws: Annotated[int, typer.Option(help="Random batches.")] = 20,
    n_conformers: Conformers = 1,
    seed: Seed = 0,
) -> None:
    """Relax structures alone and in random batches, and compare all bits."""
    from kups_relax import io
    from kups_relax._verify import verify

    report = verify(
        io.structures_from(list(inputs), seed=seed, n_conformers=n_conformers),
        _need(potential, inputs),
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
        print(f"draw {draw}: {structure} differs from itself alone", file=sys.stderr)
    raise typer.Exit(OK if report.ok else NOT_ALL)


@app.command()
def check(
    inputs: Inputs,
    potential: PotentialName = None,
    dtype: Dtype = "float64",
    precision: Annotated[
        float | None,
        typer.Option(help="Relative precision that the potential has by intention, e.g. 1e-9."),
    ] = None,
    checks: Annotated[
        str | None, typer.Option(help="Those to run, by name, separated by commas; all.")
    ] = None,
    draws: Annotated[int, typer.Option(help="Random batches.")] = 8,
    n_conformers: Conformers = 1,
    seed: Seed = 0,
) -> None:
    """Check a potential: derivatives, symmetries, padding, and that batching changes nothing."""
    from kups_relax import io
    from kups_relax.testing import check_potential

    report = check_potential(
        _need(potential, inputs),
        io.structures_from(list(inputs), seed=seed, n_conformers=n_conformers),
        dtype=dtype,
        precision=precision,
        checks=None if checks is None else [name.strip() for name in checks.split(",")],
        draws=draws,
        seed=seed,
    )
    print(report)
    raise typer.Exit(OK if report.ok else NOT_ALL)


@app.command()
def potentials() -> None:
    """List the potentials and their options, with defaults."""
    from kups_relax.potentials import NAMED

    for name, cls in NAMED.items():
        print(f"{name:15s} {(cls.__doc__ or '').splitlines()[0]}")
        for field in dataclasses.fields(cls):  # pyright: ignore[reportArgumentType]
            print(f"    {field.name.replace('_', '-')}={field.default}")


@app.command()
def optimizers() -> None:
    """List the optimizers and their options, with defaults."""
    from kups_relax._options import defaults_of
    from kups_relax.optimizers import NAMED

    for name, maker in NAMED.items():
        print(f"{name:20s} {(maker.__doc__ or '').splitlines()[0]}")
        for option, default in defaults_of(maker).items():
            print(f"    {option}={default}")


def main() -> NoReturn:
    """Run the command; errors that users can mend become one line and exit status 2."""
    warnings.showwarning = _print.show_warning
    with listening():
        try:
            app()
        except SystemExit as end:
            if end.code in (INTERRUPTED, TERMINATED):
                leave(int(end.code))
            raise
        except (Exception, KeyboardInterrupt, Terminated) as error:
            # While it is imported, a library makes errors of its own of an interrupt.
            stop = was_asked() or error
            if isinstance(stop, KeyboardInterrupt | Terminated):
                print("kups-relax: stopped", file=sys.stderr)
                leave(TERMINATED if isinstance(stop, Terminated) else INTERRUPTED)
            if not isinstance(error, errors.KupsRelaxError):
                raise
            print(f"kups-relax: {error}", file=sys.stderr)
    sys.exit(UNUSABLE)


def _need(potential: str | None, inputs: list[pathlib.Path]) -> str:
    """Insist on a potential, and say which ones fit the input."""
    if potential is not None:
        return potential
    from kups_relax import io
    from kups_relax.data import Structure
    from kups_relax.potentials import NAMED

    entries = [e for e in io.structures_from(list(inputs)) if isinstance(e, Structure)]
    fits = []
    for name, cls in NAMED.items():
        try:
            for entry in entries[:20]:
                cls().prepare(entry)
        except errors.KupsRelaxError:
            continue
        fits.append(name)
    raise errors.OptionError(
        f"choose a potential with --potential; these can describe the input: {', '.join(fits)}."
    )
