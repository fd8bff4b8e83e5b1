"""`relax`: from what users have to what they want."""

import math
import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from kups_relax import coordinates, io, optimizers, potentials
from kups_relax._platform import check_platform
from kups_relax._result import Result
from kups_relax.data import Structure
from kups_relax.errors import CapacityError, OptionError, PotentialError, StructureError
from kups_relax.relaxation import (
    Job,
    Outcome,
    Program,
    Scheduler,
    Status,
    axis_lengths,
    gives_stress,
    has_volume,
    size_class,
)


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
) -> Result:
    """Relax structures, all at once, each to the last bit as it would relax alone.

    A structure is evaluated, judged, and moved, until its longest force is below `fmax`; one
    that starts there is returned unmoved. Structures that cannot be used, or that go wrong,
    get a status and a reason of their own and change nothing for the others. Constraints of Atoms
    are kept: FixAtoms, FixCartesian, FixScaled, FixedLine, FixedPlane, FixCom, FixSymmetry;
    a structure with any other fails by name.

    Args:
        structures: An `ase.Atoms`, an RDKit Mol (each conformer is a structure), a path to
            whatever `ase.io.read` reads or to an SDF, MOL or SMILES file, or an iterable of
            these.
        potential: A potential, or its name: `kups_relax.potentials`.
        optimizer: "lbfgs", "ase-lbfgs" (ASE's to the letter), or an optimizer built with
            `kups_relax.optimizers` or optax.
        fmax: Convergence threshold, eV/Angstrom, for the longest force on an atom after
            constraints and, where cells change, the longest row of the forces on the cell.
        max_steps: Moves allowed to each structure.
        cell: How cells change: a `FrechetCell` or `UnitCell`, or text such as "frechet" or
            "unit:pressure=5GPa". None: they do not. Structures that are periodic along no axis keep
            theirs.
        dtype: "float64" or "float32", whatever JAX's global setting. In float32 the returned
            coordinates are those that were evaluated, rounded to float32, moved or not.
        output: Where to write the relaxed structures: .extxyz, .sdf, .traj or .csv.
        overwrite: Whether `output` may exist.
        progress: Show a bar; None: where stderr is a terminal.
        n_workers: Tiles in flight; None: one for each CPU core.
        n_conformers: Conformers made of each SMILES, or of a Mol without coordinates.
        seed: For making them.

    Returns:
        Results in the order of the input.

    Raises:
        StructureError: There is nothing to relax, or an input is no structure at all.
        OptionError: An option has a value that makes no sense, or does not exist.

    Example:
        >>> from ase.build import molecule
        >>> import kups_relax as kr
        >>> result = kr.relax([molecule("H2O"), molecule("CH4")], kr.potentials.MMFF94())
        >>> result.converged.tolist()
        [True, True]
    """
    check_platform()
    potential = potentials.get(potential)
    optimizer = optimizers.get(optimizer)
    _check_options(fmax, max_steps, dtype, n_workers)
    cell = coordinates.get(cell)
    if output is not None:
        io.check_output(output, overwrite=overwrite)
    entries = io.structures_from(structures, seed=seed, n_conformers=n_conformers)
    if output is not None:
        io.check_output(output, structures=entries, overwrite=overwrite)

    jobs: list[Job] = []
    outcomes: dict[int, Outcome] = {}
    reasons: dict[int, str] = {}
    for number, entry in enumerate(entries):
        job = _job(number, entry, potential, optimizer, cell, dtype)
        if isinstance(job, Job):
            jobs.append(job)
        else:
            reasons[number] = job
    scheduler = Scheduler(dtype=dtype, fmax=fmax, max_steps=max_steps, n_workers=n_workers)
    with _bar(len(entries), progress) as bar:
        bar.update(len(reasons))
        for outcome in scheduler.run(jobs):
            outcomes[outcome.number] = outcome
            bar.update()
    result = _result(entries, outcomes, reasons)
    if output is not None:
        written = [a if len(a) else None for a in result.atoms]
        io.write(output, written, entries, result.table())
    return result


def _check_options(fmax: float, max_steps: int, dtype: str, n_workers: int | None) -> None:
    if not (isinstance(fmax, int | float | np.number) and 0 < fmax < math.inf):
        raise OptionError(f"fmax is {fmax!r}; it must be a number greater than 0, in eV/Angstrom.")
    if not (isinstance(max_steps, int | np.integer) and 0 <= max_steps < 2**31):
        raise OptionError(f"max_steps is {max_steps!r}; it must be a whole number, at least 0.")
    if dtype not in ("float64", "float32"):
        raise OptionError(f"dtype is {dtype!r}; it must be 'float64' or 'float32'.")
    if n_workers is not None and not (isinstance(n_workers, int | np.integer) and n_workers >= 1):
        raise OptionError(f"n_workers is {n_workers!r}; it must be a whole number, at least 1.")


def _job(
    number: int,
    entry: Any,
    potential: potentials.EnergyModel,
    optimizer: optimizers.Transform[Any],
    cell: coordinates.VariableCell | None,
    dtype: str,
) -> Job | str:
    """Make a structure ready to run, or say why it cannot be."""
    if not isinstance(entry, Structure):
        return str(entry)
    try:
        moving, moves = coordinates.coordinates_of(entry, cell)
        form = potential.specialize(entry)
        prepared: Mapping[str, np.ndarray] = form.prepare(entry)
        lengths = axis_lengths(form, prepared) | axis_lengths(moving, moves)
        size = size_class(form, entry.n_atoms, lengths)
        stress = has_volume(entry) and gives_stress(form, size, dtype)
        if moving.cell and not stress:
            raise PotentialError(
                f"{entry.id!r}: the potential {form.name!r} has no stress, which a variable cell "
                "needs. Relax with cell=None, or with another potential."
            )
    except (StructureError, PotentialError, CapacityError) as error:
        return str(error)
    return Job(
        number=number,
        structure=entry,
        program=Program(form, optimizer, moving, stress=stress),
        prepared=prepared,
        moves=moves,
        size=size,
    )


def _result(entries: list[Any], outcomes: dict[int, Outcome], reasons: dict[int, str]) -> Result:
    n = len(entries)
    energy, fmax = np.full(n, np.nan), np.full(n, np.nan)
    n_steps, n_evaluations = np.zeros(n, np.int64), np.zeros(n, np.int64)
    status = np.full(n, Status.FAILED.label, object)
    reason = np.full(n, "", object)
    atoms = []
    for i, entry in enumerate(entries):
        outcome = outcomes.get(i)
        if outcome is None:
            reason[i] = reasons[i]
            atoms.append(_unmoved(entry))
        else:
            energy[i], fmax[i] = outcome.energy, outcome.fmax
            n_steps[i], n_evaluations[i] = outcome.n_steps, outcome.n_steps + 1
            status[i], reason[i] = outcome.status.label, outcome.reason
            atoms.append(_atoms(entry, outcome))
        atoms[i].info["status"] = status[i]
    return Result(
        atoms=atoms,
        ids=[entry.id for entry in entries],
        n_atoms=np.array([len(a) for a in atoms], np.int64),
        energy=energy,
        fmax=fmax,
        n_steps=n_steps,
        n_evaluations=n_evaluations,
        status=status,
        reason=reason,
        structures=[e if isinstance(e, Structure) else None for e in entries],
    )


def _atoms(structure: Structure, outcome: Outcome) -> Any:
    known = math.isfinite(outcome.energy)
    return io.to_atoms(
        structure,
        outcome.positions,
        outcome.cell,
        energy=outcome.energy if known else None,
        forces=outcome.forces if known else None,
        stress=outcome.stress if known else None,
    )


def _unmoved(entry: Any) -> Any:
    if isinstance(entry, Structure):
        return io.to_atoms(entry, entry.positions)
    from ase import Atoms

    atoms = Atoms() if entry.atoms is None else entry.atoms.copy()
    atoms.info["id"] = entry.id
    return atoms


def _bar(total: int, progress: bool | None) -> Any:
    from tqdm import tqdm

    hidden = not (sys.stderr.isatty() if progress is None else progress)
    return tqdm(total=total, unit="structure", desc="relax", disable=hidden)
