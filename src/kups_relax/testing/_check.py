"""`check_potential`: whether a potential is what the engine and its users take it for."""

import contextlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from kups_relax import io, potentials
from kups_relax._checks import DTYPE, SEED, Number, Whole, refuse_loops
from kups_relax._settings import entry_point
from kups_relax.data import Structure
from kups_relax.errors import CapacityError, OptionError, PotentialError, StructureError, shown
from kups_relax.relaxation import Evaluated, evaluate
from kups_relax.testing import _derivatives, _symmetries
from kups_relax.testing._report import Check, PotentialReport
from kups_relax.testing._run import Case, Run
from kups_relax.testing._variants import changed, rattled

CHECKS = (
    "outputs",
    "precision",
    "forces",
    "stress",
    "energies",
    "permutation",
    "translation",
    "rotation",
    "lattice vectors",
    "supercell",
    "padding",
    "skin",
    "continuity",
    "batch invariance",
)


@entry_point
def check_potential(
    potential: Any,
    structures: Any,
    *,
    dtype: str = "float64",
    seed: int = 0,
    precision: float | None = None,
    rattle: float = 0.05,
    n_coordinates: int = 12,
    draws: int = 8,
    checks: Iterable[str] | None = None,
) -> PotentialReport:
    """Check a potential on structures: its derivatives, its symmetries, and its bits.

    For those who write potentials. Every structure is rattled first, so that no force is zero by
    symmetry. A check compares numbers that should be equal, and reports the worst:

    * outputs: energy, forces and stress are finite and have their shapes.
    * precision: energies and forces of a float64 run are not rounded as in float32.
    * forces: against differences of the energy, of some coordinates at random. Within
      sqrt(precision) of the largest force, plus what the coarseness of the energy explains.
    * stress: against differences of the energy by the strain, shear included, likewise.
    * energies: those of the atoms add up.
    * permutation, translation, rotation, lattice vectors, supercell: the structure told differently
      has the same energy, forces, stress and energies of atoms, within the rounding of coordinates
      and sums: some hundred times precision.
    * padding: so it has in a tile for more atoms, where sums are folded in another order.
    * skin: and so with arrays that were prepared for positions skin/2 away, or a little way if
      there is no skin.
    * continuity: along paths of single atoms the energy does not jump.
    * batch invariance: in random company and random lanes it has the same bits as alone.

    What does not apply is reported as not tested. Some checks are not for every potential: one
    with springs between an atom and the next does depend on the order of the atoms; leave such
    checks out by `checks`. It costs about 800 evaluations a structure, and a few compilations for
    each size class; small structures will do.

    Args:
        potential: A potential, or its name: `kups_relax.potentials`.
        structures: As for `relax`. Two or three that differ in size and elements, and a periodic
            one where the potential serves these.
        dtype: "float64" or "float32". Energies are differentiated in float64 in any case.
        seed: Of all random choices.
        precision: Relative precision that the potential's numbers have by intention. None: that
            of the dtype. Give 1e-9 or so for a calculator that iterates until then.
        rattle: Standard deviation of what is added to each coordinate first, Angstrom.
        n_coordinates: Coordinates of each structure whose forces are checked.
        draws: Random batches.
        checks: Names of those to run, from `CHECKS`. None: all.

    Returns:
        The report; print it.

    Raises:
        OptionError: An option makes no sense.
        StructureError: There is nothing to check; the reasons are in the message.

    Example:
        >>> import ase, kups_relax as kr
        >>> trimer = ase.Atoms("Ar3", [[0, 0, 0], [0, 0, 3.6], [0, 3.9, 1]])
        >>> argon = kr.potentials.LennardJones(0.0104, 3.4)
        >>> kr.testing.check_potential(argon, trimer, checks=["forces", "rotation"]).ok
        True
    """
    potential = potentials.get(potential)
    chosen = _chosen(checks)
    dtype, seed = DTYPE("dtype", dtype), SEED("seed", seed)
    precision = Number(above=0, below=1, none=True)("precision", precision)
    rattle = Number(least=0, below=1, otherwise=" Angstrom")("rattle", rattle)
    n_coordinates = Whole(least=1)("n_coordinates", n_coordinates)
    draws = Whole(least=1)("draws", draws)
    refuse_loops("structures", structures)
    precision = float(np.finfo(dtype).eps) if precision is None else precision
    random = np.random.default_rng(seed)
    cases: list[Case] = []
    left_out: list[tuple[str, str]] = []
    wrong: list[tuple[str, str]] = []
    for entry in io.structures_from(structures):
        if not isinstance(entry, Structure):
            left_out.append((entry.id, str(entry)))
            continue
        structure = _start(entry, rattle, dtype, random)
        try:
            structure.check()
            (here,) = evaluate(potential, [structure], dtype=dtype)
        except (StructureError, PotentialError, CapacityError) as error:
            left_out.append((structure.id, str(error)))
            continue
        fault = _fault(structure, here)
        if fault:
            wrong.append((structure.id, fault))
        else:
            cases.append(Case(structure, here))
    if not cases and not wrong:
        reasons = "; ".join(reason for _, reason in left_out) or "the input is empty"
        raise StructureError(f"there is no structure to check: {reasons}")
    run = Run(potential, dtype, precision, seed, cases)
    found = {"outputs": _outputs(wrong, len(cases) + len(wrong))}
    if wrong:
        chosen.add("outputs")
    if cases:
        found |= _all(run, chosen, n_coordinates, draws)
        # Compiled programs may keep the potential, and with it what was prepared.
        run.prepared.clear()
    return PotentialReport(
        potential=potential.describe(),
        dtype=dtype,
        structures=tuple(case.id for case in cases) + tuple(label for label, _ in wrong),
        left_out=tuple(left_out),
        checks=tuple(found[name] for name in CHECKS if name in chosen and name in found),
    )


def _all(run: Run, chosen: set[str], n_coordinates: int, draws: int) -> dict[str, Check]:
    found: dict[str, Check] = {}
    if chosen & {"forces", "precision"}:
        both = _derivatives.forces_and_precision(run, n_coordinates)
        found["forces"], found["precision"] = both
    # Whoever is evaluated alone costs what it costs, and cannot see its company.
    company = 2 if run.potential.n_lanes(8) == 1 else 16
    rest = {
        "stress": _derivatives.stress,
        "energies": _symmetries.energies,
        "permutation": _symmetries.permutation,
        "translation": _symmetries.translation,
        "rotation": _symmetries.rotation,
        "lattice vectors": _symmetries.lattice_vectors,
        "supercell": _symmetries.supercell,
        "padding": _symmetries.padding,
        "skin": _symmetries.skin,
        "continuity": _derivatives.continuity,
        "batch invariance": lambda run: _symmetries.batch_invariance(run, draws, company),
    }
    found |= {name: check(run) for name, check in rest.items() if name in chosen}
    return found


def _start(entry: Structure, rattle: float, dtype: str, random: np.random.Generator) -> Structure:
    """Rattle a structure, and round it to what a run of that dtype evaluates."""
    moved = rattled(entry, rattle, random)
    positions = moved.positions.astype(dtype).astype(np.float64)
    return changed(entry, positions, entry.cell.astype(dtype).astype(np.float64))


def _fault(structure: Structure, here: Evaluated) -> str:
    n = structure.n_atoms
    parts = {"energy": (here.energy, ()), "forces": (here.forces, (n, 3))}
    if here.stress is not None:
        parts["stress"] = (here.stress, (3, 3))
    if here.energies is not None:
        parts["energies"] = (here.energies, (n,))
    for name, (value, shape) in parts.items():
        if np.shape(value) != shape:
            return f"{name} of shape {np.shape(value)} instead of {shape}"
        if not np.isfinite(value).all():
            where = np.argwhere(~np.isfinite(value))[0].tolist()
            return f"{name} not finite" + (f" at {where}" if where else "")
    return ""


def _outputs(wrong: list[tuple[str, str]], n: int) -> Check:
    return Check(
        name="outputs",
        result="failed" if wrong else "passed",
        value=len(wrong),
        tolerance=0,
        unit="faults",
        where=", ".join(wrong[0]) if wrong else "",
        n_comparisons=n,
        note=(
            "NaN from a root, a division or a logarithm of padding: select safe values with "
            "where before it, not after; or arrays that do not have the axes of the contract"
        )
        if wrong
        else "",
    )


def _chosen(checks: Iterable[str] | None) -> set[str]:
    if checks is None:
        return set(CHECKS)
    chosen: list[Any] = [checks]
    if not isinstance(checks, str):
        # Where it is no collection, or one of the user's own that raises, it is no check.
        with contextlib.suppress(Exception):
            chosen = [*checks]
    for name in chosen:
        if not isinstance(name, str) or name not in CHECKS:
            raise OptionError(f"there is no check {shown(name)}; expected of {', '.join(CHECKS)}.")
    return set(chosen)
