"""`relax`: from what users have to what they want."""

import contextlib
import dataclasses
import hashlib
import math
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import jax
import numpy as np

from kups_relax import coordinates, io, optimizers, potentials
from kups_relax._checks import DTYPE, FLAG, SEED, FileName, Flag, Number, Whole, refuse_loops
from kups_relax._keep import Keeper
from kups_relax._keeper import keeper
from kups_relax._log import log
from kups_relax._progress import Progress
from kups_relax._record import Record
from kups_relax._result import Results
from kups_relax._settings import entry_point, theirs
from kups_relax._threads import noting_interrupts
from kups_relax.data import Structure
from kups_relax.errors import (
    CapacityError,
    OptionError,
    PotentialError,
    StructureError,
    described,
    shown,
)
from kups_relax.internals import guide_of
from kups_relax.relaxation import (
    Job,
    Outcome,
    Program,
    Refused,
    Scheduler,
    axis_lengths,
    fitted,
    gives_stress,
    has_volume,
    max_workers,
    prepare,
    size_class,
)

# What runs within `one_caution` have warned of.
_said: ContextVar[set[str] | None] = ContextVar("said", default=None)

# How structures end that did not go wrong.
_ORDERLY = ("converged", "max_steps")


@entry_point
def relax(
    structures: Any,
    potential: Any,
    optimizer: Any = "lbfgs",
    *,
    fmax: float = 0.01,
    max_steps: int = 1000,
    cell: Any = None,
    dtype: str = "float64",
    output: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
    n_workers: int | None = None,
    n_conformers: int = 1,
    seed: int = 0,
    resume: bool = False,
    strict: bool = False,
    trajectory: int = 0,
    trajectory_of: Any = None,
    checkpoint: float | None = None,
) -> Results:
    """Relax structures, all at once, each to the last bit as it would relax alone.

    A structure is evaluated, judged, and moved, until its longest force is below `fmax`; one
    that starts there is returned unmoved. Structures that cannot be used, or that go wrong,
    get a status and a reason of their own and change nothing for the others. Constraints of Atoms
    are kept: FixAtoms, FixCartesian, FixScaled, FixedLine, FixedPlane, FixCom, FixSymmetry;
    a structure with any other fails by name.

    Args:
        structures: An `ase.Atoms`, an RDKit Mol (each conformer is a structure), a path to
            whatever `ase.io.read` reads or to an SDF, MOL or SMILES file, a folder of such files,
            a pattern such as "*.cif", or an iterable of these; or an `io.Stream` of them. It is
            read while others relax, as far as is needed: with a store as `output` it may be of
            any size.
        potential: A potential, or its name: `kups_relax.potentials`.
        optimizer: A name, with options if you like ("lbfgs", "lbfgs-zoom", "fire:dt=0.05",
            "adam:learning-rate=0.02"; the command `kups-relax optimizers` lists all), or where one
            is defined ("my.py:make"), or one built with `kups_relax.optimizers` or optax.
        fmax: Convergence threshold, eV/Angstrom, for the longest force on an atom after
            constraints and, where cells change, the longest row of the forces on the cell.
        max_steps: Moves allowed to each structure.
        cell: How cells change: a `FrechetCell` or `UnitCell`, or text such as "frechet" or
            "unit:pressure=5GPa". None: they do not. Structures that are periodic along no axis keep
            theirs.
        dtype: "float64" or "float32", whatever JAX's global setting. In float32 the returned
            coordinates are those that were evaluated, rounded to float32, moved or not.
        output: Where to write the relaxed structures. A store (.h5, .hdf5) has each of them
            within seconds, and is whole at any moment. Other files (.extxyz, .xyz, .traj, .sdf,
            .db, .cif, .csv; .vasp or POSCAR for one structure) are written at the end; until they
            are whole, a store beside them (`out.extxyz.h5`) has what is finished. What a format
            cannot hold is left out, with a `LeftOutWarning`: `kups_relax.io.write`.
        overwrite: Whether `output` may exist.
        progress: Show a bar, or lines where stderr is no terminal; None: a bar where it is one.
        n_workers: Tiles in flight; None: one for each CPU core.
        n_conformers: Conformers made of each SMILES, or of a Mol without coordinates.
        seed: For making them.
        resume: Go on with the store that a run with the same input, options, and output left, if
            there is one: what is in it is not relaxed again.
        strict: Raise at the first structure that cannot be used or goes wrong, and not only
            record it.
        trajectory: Steps between two geometries that are kept of each structure; 0: none is. They
            go to the store, or to the result: `trajectory`.
        trajectory_of: For which structures: ids, or places in the input. None: for all.
        checkpoint: Seconds between two times that structures on the way are saved beside the
            store, so that `resume` goes on with them where they were and need not begin them anew.
            None: they are not. Worth it where one structure takes minutes. Structures that the
            host evaluates always begin anew.

    Returns:
        Results in the order of the input: the `Store` that is the output, else a `Result` in
        memory.

    Raises:
        StructureError: There is nothing to relax, no input can be read, or an object is no
            structure at all; with `strict`, at the first that goes wrong.
        OptionError: An option has a value that makes no sense, or does not exist.
        StoreError: The output cannot be written, or does not fit what is to be resumed.

    Example:
        >>> from ase.build import molecule
        >>> import kups_relax as kr
        >>> result = kr.relax([molecule("H2O"), molecule("CH4")], kr.potentials.MMFF94())
        >>> result.converged.tolist()
        [True, True]
    """
    potential = potentials.get(potential)
    optimizer = optimizers.get(optimizer)
    optimizers.check_batched(optimizer)
    cell = coordinates.get(cell)
    fmax = Number(above=0, otherwise=", in eV/Angstrom")("fmax", fmax)
    max_steps = Whole()("max_steps", max_steps)
    dtype = DTYPE("dtype", dtype)
    n_workers = Whole(least=1, none=True)("n_workers", n_workers)
    seconds = Number(above=0, none=True, otherwise=", in seconds")
    checkpoint = seconds("checkpoint", checkpoint)
    n_conformers, seed = Whole(least=1)("n_conformers", n_conformers), SEED("seed", seed)
    flags = {"overwrite": overwrite, "resume": resume, "strict": strict}
    overwrite, resume, strict = (FLAG(name, value) for name, value in flags.items())
    progress = Flag(none=True)("progress", progress)
    output = FileName(none=True)("output", output)
    refuse_loops("structures", structures)
    trajectories = _Trajectories(trajectory, trajectory_of)
    entries = structures
    if not isinstance(structures, io.Stream):
        entries = io.Stream(structures, seed=seed, n_conformers=n_conformers)
    if strict:
        entries.check_paths()
    options = {
        "potential": _described(potential),
        "optimizer": optimizers.describe(optimizer),
        "fmax": fmax,
        "max_steps": max_steps,
        "cell": None if cell is None else {"name": cell.name, **dataclasses.asdict(cell)},
        "dtype": dtype,
        "seed": seed,
        "n_conformers": n_conformers,
        "trajectory": trajectories.described,
    }
    keep = keeper(
        output,
        options,
        overwrite=overwrite,
        resume=resume,
        checkpoint=checkpoint is not None,
    )
    scheduler = Scheduler(
        dtype=dtype,
        fmax=fmax,
        max_steps=max_steps,
        n_workers=n_workers,
        checkpoint=None if checkpoint is None else keep.checkpoint,
        every=checkpoint or math.inf,
    )

    said = _said.get()
    said = set() if said is None else said

    def job(number: int, entry: io.Entry) -> Job | Refused:
        every = trajectories.every(number, entry)
        made = _job(number, entry, potential, optimizer, cell, dtype, every, n_workers)
        if isinstance(made, Job):
            text = potential.caution(made.structure)
            if text is not None and text not in said:
                said.add(text)
                log.warning("%s: %s", made.structure.id, text)
        return made

    try:
        with noting_interrupts():
            return _run(entries, scheduler, keep, job, progress=progress, strict=strict)
    finally:
        keep.close()


def _run(
    entries: io.Stream,
    scheduler: Scheduler,
    keep: Keeper,
    job: Callable[[int, io.Entry], Job | Refused],
    *,
    progress: bool | None,
    strict: bool,
) -> Results:
    """Read, relax and keep, each in a thread of its own."""
    n_before = keep.n_kept
    known = _read_outside(iter(keep.ahead(entries)))
    n_read = n_new = 0

    def items() -> Iterator[Job | Refused]:
        nonlocal n_read, n_new
        for number, entry in enumerate(known):
            n_read = number + 1
            if not keep.has(number, entry):
                n_new += 1
                yield job(number, entry)

    shown = Progress(
        progress,
        run=scheduler,
        n_before=n_before,
        n_read=lambda: n_new,
        total=lambda: entries.total,
    )

    def finish(item: Outcome | Refused | None) -> None:
        if item is None:
            keep.idle()
            shown.show()
            return
        record = Record.of(item)
        keep.add(record)
        shown.add(record.status == "converged")
        if record.status not in _ORDERLY:
            log.info("%s: %s: %s", record.entry.id, record.status, record.reason)
            if strict:
                raise StructureError(f"{record.entry.id!r} {record.status}: {record.reason}")

    try:
        scheduler.run(items(), finish, keep.saved())
    except BaseException:
        keep.interrupted()
        raise
    finally:
        shown.close()
    return keep.result(n_read)


def _read_outside(entries: Iterator[io.Entry]) -> Iterator[io.Entry]:
    """Read the input, which may be the user's own code, under the user's settings."""
    while True:
        with theirs():
            entry = next(entries, None)
        if entry is None:
            return
        yield entry


@contextlib.contextmanager
def one_caution() -> Iterator[None]:
    """Have several runs log each caution of a potential once, as if they were one."""
    token = _said.set(set())
    try:
        yield
    finally:
        _said.reset(token)


def _job(
    number: int,
    entry: Any,
    potential: potentials.EnergyModel,
    optimizer: optimizers.Transform[Any],
    cell: coordinates.VariableCell | None,
    dtype: str,
    every: int,
    n_workers: int | None,
) -> Job | Refused:
    """Make a structure ready to run, or say why it cannot be."""
    if not isinstance(entry, Structure):
        return Refused(number, entry, entry.reason)
    try:
        entry.check_resolution(dtype)
        moving, moves = coordinates.coordinates_of(entry, cell)
        form = potential.specialize(entry)
        n_tiles = max_workers(form, n_workers)
        prepared = prepare(form, entry, dtype, n_tiles)
        lengths = axis_lengths(form, prepared) | axis_lengths(moving, moves)
        size = size_class(form, entry.n_atoms, lengths)
        guide, hints = None, None
        if optimizer.needs_chart:
            guide, hints = guide_of(entry, moving, moves)
            size = size.joined(guide.capacities(size.n_atoms, axis_lengths(guide, hints)))
        stress = has_volume(entry) and gives_stress(form, size, dtype)
        if moving.cell and not stress:
            raise PotentialError(
                f"the potential {form.name!r} has no stress, which a variable cell "
                "needs. Relax with cell=None, or with another potential."
            )
        program = Program(form, optimizer, moving, stress=stress, guide=guide)
        size = fitted(program, size, np.dtype(dtype), n_tiles)
    except (StructureError, PotentialError, CapacityError) as error:
        return Refused(number, entry, str(error))
    except Exception as error:  # whatever a potential of the user's own may raise
        log.info("%s raised", potential.name, exc_info=True)
        reason = f"{potential.name} raised {described(error)}"
        return Refused(number, entry, reason)
    return Job(
        number=number,
        structure=entry,
        program=program,
        prepared=prepared,
        moves=moves,
        size=size,
        every=every,
        guide=hints,
    )


class _Trajectories:
    """Which structures' trajectories are kept."""

    def __init__(self, every: int, chosen: Any) -> None:
        every = Whole()("trajectory", every)
        chosen = [chosen] if isinstance(chosen, str | int | np.integer) else chosen
        self._every = every
        self._chosen = None if chosen is None else _places(chosen)
        if self._chosen is not None and not self._every:
            raise OptionError(
                "trajectory_of says whose trajectories are kept, and trajectory is 0: none is. "
                "Give the steps between two geometries, such as trajectory=10."
            )
        names = None if self._chosen is None else sorted(map(str, self._chosen))
        self.described = [self._every, names]

    def every(self, number: int, entry: io.Entry) -> int:
        """Steps between two of its frames; 0: none are kept."""
        if self._chosen is None or number in self._chosen or entry.id in self._chosen:
            return self._every
        return 0


def _places(chosen: Any) -> set[str | int]:
    """Return ids and places of structures, as `trajectory_of` gives them.

    Raises:
        OptionError: They are something else.
    """
    try:
        found: list[Any] = [*chosen]
    except Exception:  # no collection, or one of the user's own that raises
        found = [None]
    if not all(isinstance(one, str | int | np.integer) and one is not True for one in found):
        raise OptionError(
            f"trajectory_of is {shown(chosen)}; expected ids, or places in the input, as whole "
            "numbers: one or a list of them, or None for all."
        )
    return {one if isinstance(one, str) else int(one) for one in found}


def _described(potential: potentials.EnergyModel) -> dict[str, Any]:
    """What a potential is, with a digest of what it was fitted to be."""
    described = potential.describe()
    if isinstance(potential, potentials.Potential):
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(potential.parameters())]
        digest = hashlib.sha256()
        for leaf in leaves:
            digest.update(f"{leaf.shape} {leaf.dtype}".encode() + leaf.tobytes())
        if leaves:
            described = {**described, "parameters": digest.hexdigest()}
    return described
