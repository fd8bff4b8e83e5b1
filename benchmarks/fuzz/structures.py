"""Odd Atoms, Structures, Mols and other objects, read alone and relaxed in company."""

import functools
import random
from collections.abc import Callable
from typing import Any

import ase
import numpy as np
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms

import kups_relax as kr
from benchmarks.fuzz._atoms import odd_atoms, snapshot
from benchmarks.fuzz._objects import odd_object, odd_structure
from benchmarks.fuzz._verdict import WrongError
from kups_relax.data import Structure
from kups_relax.io import structures_from

SIGMA, EPSILON, CUTOFF = 3.4, 0.0104, 8.0
# One case of so many is relaxed, the others are read only.
RELAXED = 5
# Atoms of which all pairs are looked at, and that share a few compiled programs.
_FEW = 8
# Relative precision of the sums of two programs.
_PRECISION = 1e-9


def prepare() -> None:
    """Compile what all cases share."""
    companion()


def case(seed: int, index: int) -> tuple[str, Callable[[], Any]]:
    """Make one case: a description, and a call that reads or relaxes it."""

    def drawn() -> tuple[random.Random, str, Any]:
        draw = random.Random(f"structures {seed} {index}")
        kind = draw.choices((odd_atoms, odd_structure, odd_object), (8, 1, 2))[0]
        relaxed = index % RELAXED == 0
        text, item = kind(draw, _FEW if relaxed or draw.random() < 0.9 else 2000)
        return draw, text, item

    _, text, _ = drawn()

    def call() -> list[str]:
        # Made anew: what is read may be an iterator, or be changed where it must not be.
        draw, _, item = drawn()
        return _relax(draw, item) if index % RELAXED == 0 else _read(item)

    return text, call


def _read(item: Any) -> list[str]:
    """Read an object, and compare what comes back with what was in it."""
    before = snapshot(item)
    entries = structures_from(item)
    if before != snapshot(item):
        raise WrongError("the caller's object was changed")
    reasons = []
    for entry in entries:
        if not isinstance(entry, Structure):
            reasons.append(entry.reason)
            continue
        _check_structure(entry)
        if isinstance(item, ase.Atoms | Structure):
            _check_same(item, entry)
    return reasons


def _check_structure(entry: Structure) -> None:
    """Look for what `Structure.check` promises, by other means."""
    n = entry.n_atoms
    good = (
        n > 0
        and entry.numbers.shape == (n,)
        and entry.numbers.dtype == np.int32
        and entry.positions.shape == (n, 3)
        and entry.positions.dtype == entry.cell.dtype == np.float64
        and entry.cell.shape == (3, 3)
        and entry.pbc.shape == (3,)
        and entry.pbc.dtype == bool
        and bool(np.isfinite(entry.positions).all() and np.isfinite(entry.cell).all())
        and bool(((entry.numbers > 0) & (entry.numbers < 119)).all())
    )
    if not good:
        raise WrongError(f"{entry.id!r}: arrays are not as promised")
    if 1 < n <= 50 and not entry.pbc.any():
        apart = np.linalg.norm(entry.positions[:, None] - entry.positions, axis=-1)
        if apart[~np.eye(n, dtype=bool)].min() < 0.0999:
            raise WrongError(f"{entry.id!r}: atoms on top of each other pass")


def _check_same(item: Any, entry: Structure) -> None:
    arrays = item.arrays if isinstance(item, ase.Atoms) else vars(item)
    cell = item.cell.array if isinstance(item, ase.Atoms) else item.cell
    for name, given, got in (
        ("numbers", arrays["numbers"], entry.numbers),
        ("positions", arrays["positions"], entry.positions),
        ("cell", cell, entry.cell),
        # ASE itself takes one value for three, and None for False.
        ("pbc", np.broadcast_to(np.asarray(item.pbc, bool), (3,)), entry.pbc),
    ):
        # Compared in the promised dtype: float32 is exact in it, and ASE makes numbers of text.
        if not np.array_equal(np.asarray(given).astype(got.dtype), got):
            raise WrongError(f"{entry.id!r}: {name} differ: {given!r} became {got!r}")


def _relax(draw: random.Random, item: Any) -> list[str]:
    """Relax an object between two plain structures, and check all that comes back."""
    plain = _plain()
    options: dict[str, Any] = {"max_steps": draw.choice((0, 1)), "progress": False}
    options["fmax"] = draw.choice((1e-9, 1e-9, 0.05, 1e6))
    if draw.random() < 0.15:
        options["cell"] = "frechet"
    before = snapshot(item)
    result = kr.relax([plain, item, plain], _argon(), n_workers=1, **options)
    if before != snapshot(item):
        raise WrongError("the caller's object was changed")
    want = companion(options["max_steps"], options["fmax"])
    for place in (0, len(result) - 1):
        if result.fingerprint[place] != want:
            raise WrongError(f"a plain structure beside it differs, at {place} of {len(result)}")
    for place in range(1, len(result) - 1):
        _check_result(result, place, item)
    ends = zip(result.status[1:-1].tolist(), result.reason[1:-1].tolist(), strict=True)
    return [reason for status, reason in ends if status != "converged"]


def _check_result(result: Any, place: int, item: Any) -> None:
    """Compare a result's energy with ASE's, and what was fixed or carried with the input."""
    atoms, energy = result.atoms[place], result.energy[place]
    if result.status[place] not in ("converged", "max_steps") or not 0 < len(atoms) <= 50:
        return
    # Of what is not periodic, vectors do not matter; ASE's lists need some that it can invert.
    cell = np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)
    bare = ase.Atoms(atoms.numbers, atoms.positions, cell=cell, pbc=atoms.pbc)
    # ASE's lists lose the digits of what is far away.
    far = np.abs(atoms.positions).max() > 1e5
    if atoms.pbc.any() and (far or _images(atoms) > 2000):
        return
    bare.calc = LennardJones(sigma=SIGMA, epsilon=EPSILON, rc=CUTOFF)
    with np.errstate(all="ignore"):
        want = bare.get_potential_energy()
        scale = abs(bare.calc.results["energies"]).sum()
    if not abs(energy - want) <= _PRECISION * max(scale, 1.0):
        raise WrongError(f"{result.ids[place]!r}: energy {energy!r}, ASE's is {want!r}")
    if isinstance(item, ase.Atoms):
        if set(map(repr, item.arrays)) - set(map(repr, atoms.arrays)):
            raise WrongError(f"{result.ids[place]!r}: arrays are lost")
        for constraint in atoms.constraints:
            if type(constraint) is FixAtoms and "cell" not in result.options:
                index = constraint.index
                if not np.array_equal(item.positions[index], atoms.positions[index]):
                    raise WrongError(f"{result.ids[place]!r}: fixed atoms moved")


def _images(atoms: ase.Atoms) -> float:
    """About how many atoms are within the cutoff of all others, images included."""
    heights = 1 / np.linalg.norm(np.linalg.pinv(atoms.cell.array), axis=0)
    return float(np.prod(np.where(atoms.pbc, 1 + 2 * CUTOFF / heights, 1.0)) * len(atoms))


@functools.cache
def companion(max_steps: int = 0, fmax: float = 1e-9) -> str:
    """The fingerprint of the plain structure, relaxed alone."""
    options = {"max_steps": max_steps, "fmax": fmax, "progress": False}
    return str(kr.relax(_plain(), _argon(), **options).fingerprint[0])


def _plain() -> ase.Atoms:
    return ase.Atoms("Ar3", [[0, 0, 0], [3.7, 0, 0], [0.3, 3.9, 0.2]], info={"id": "plain"})


def _argon() -> Any:
    return kr.potentials.LennardJones(EPSILON, SIGMA, cutoff=CUTOFF)
