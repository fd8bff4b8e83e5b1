"""Single points: what structures have where they stand, from the engine's own tiles."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from kups_relax._platform import compiler_options, make_room
from kups_relax._settings import entry_point, own
from kups_relax.data import Structure
from kups_relax.errors import PotentialError
from kups_relax.potentials import (
    Asked,
    EnergyModel,
    Evaluation,
    HostPotential,
    Potential,
    Session,
    Terms,
)
from kups_relax.potentials._host import given
from kups_relax.relaxation._classes import SizeClass, axis_lengths, size_class
from kups_relax.relaxation._memory import prepare
from kups_relax.relaxation._step import evaluate_tile
from kups_relax.relaxation._tiles import Tile, abstract_terms


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """What one structure has where it stands.

    Attributes:
        energy: eV.
        forces: (n_atoms, 3) float64, eV/Angstrom.
        stress: (3, 3) float64, eV/Angstrom^3, ASE's sign; None where the potential has none.
        energies: (n_atoms,) float64, eV, shares of the atoms; None where there are none.
        free_energy: eV, what the forces are the slope of; None: the energy.
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray | None = None
    energies: np.ndarray | None = None
    free_energy: float | None = None


@entry_point
def evaluate(
    potential: EnergyModel, structures: Sequence[Structure], *, dtype: str = "float64"
) -> list[Evaluated]:
    """Evaluate structures where they stand, in the tiles that a relaxation would put them in.

    Args:
        potential: Energy model.
        structures: Any number of them.
        dtype: "float64" or "float32".

    Returns:
        One result for each structure.

    Raises:
        PotentialError: The potential cannot describe a structure, or fails on it.
        CapacityError: A structure is too large for any size class, or for the memory.
    """
    groups: dict[tuple[EnergyModel, SizeClass, bool], list[tuple[int, Any]]] = {}
    for number, structure in enumerate(structures):
        form = potential.specialize(structure)
        prepared = prepare(form, structure, dtype)
        size = size_class(form, structure.n_atoms, axis_lengths(form, prepared))
        key = (form, size, has_volume(structure))
        groups.setdefault(key, []).append((number, prepared))
    results: dict[int, Evaluated] = {}
    with contextlib.ExitStack() as stack:

        @functools.cache
        def session(form: HostPotential) -> Session:
            return stack.enter_context(contextlib.closing(form.session()))

        for (form, size, solid), members in groups.items():
            make_room("evaluate", form, size, dtype, solid)
            tile = Tile(form, size, np.dtype(dtype))
            for first in range(0, len(members), size.n_lanes):
                part = members[first : first + size.n_lanes]
                for lane in range(size.n_lanes):
                    tile.free(lane)
                for lane, (number, prepared) in enumerate(part):
                    s = structures[number]
                    tile.put(lane, s.positions, prepared, s.cell)
                chosen = [structures[number] for number, _ in part]
                got = _evaluate_chosen(form, tile, chosen, solid, session)
                for (number, _), one in zip(part, got, strict=True):
                    results[number] = one
    return [results[number] for number in range(len(structures))]


def has_volume(structure: Structure) -> bool:
    """Whether a structure has a stress: it is periodic in some direction, in a cell."""
    return bool(structure.pbc.any()) and abs(np.linalg.det(structure.cell)) > 0


def gives_stress(potential: EnergyModel, size: SizeClass, dtype: Any) -> bool:
    """Whether a potential has a stress to give."""
    if isinstance(potential, HostPotential):
        return potential.gives_stress()
    assert isinstance(potential, Potential)
    return _shapes(potential, size, np.dtype(dtype)).stress is not None


@functools.lru_cache(maxsize=256)
def _shapes(potential: Potential, size: SizeClass, dtype: np.dtype) -> Evaluation:
    positions = jax.ShapeDtypeStruct((3, size.n_atoms, size.n_lanes), dtype)
    cell = jax.ShapeDtypeStruct((3, 3, size.n_lanes), dtype)
    with own(dtype):
        return jax.eval_shape(
            potential.evaluate, positions, cell, abstract_terms(potential, size, dtype)
        )


def _evaluate_chosen(
    form: EnergyModel,
    tile: Tile,
    structures: Sequence[Structure],
    solid: bool,
    session: Callable[[HostPotential], Session],
) -> list[Evaluated]:
    """Evaluate the first lanes of a tile."""
    with own(tile.dtype):
        stress = solid and gives_stress(form, tile.size, tile.dtype)
        if isinstance(form, HostPotential):
            empty = [None] * (tile.size.n_lanes - len(structures))
            x, cell = jax.device_put((tile.positions.copy(), tile.cell.copy()))
            fresh = [True] * tile.size.n_lanes
            asked = Asked([*structures, *empty], x, cell, stress, fresh)
            got, failed = session(form).evaluate(asked)
            if failed:
                raise PotentialError(next(iter(failed.values())))
        else:
            got = evaluate_lanes(
                form, np.bool_(True), tile.positions.copy(), tile.cell.copy(), tile.terms(), stress
            )
    return [take_lane(form, got, lane, s.n_atoms) for lane, s in enumerate(structures)]


def take_lane(form: EnergyModel, got: Evaluation, lane: int, n_atoms: int) -> Evaluated:
    """Copy one lane of what a model gave."""
    stress = None if got.stress is None else _rows(np.asarray(got.stress)[..., lane])
    energies = None if got.energies is None else np.asarray(got.energies)[:n_atoms, lane]
    return Evaluated(
        energy=float(np.asarray(got.energy)[lane]),
        forces=_rows(np.asarray(got.forces)[:, :n_atoms, lane].T),
        stress=given(stress) if isinstance(form, HostPotential) else stress,
        energies=None if energies is None else _rows(energies),
        free_energy=None if got.free_energy is None else float(np.asarray(got.free_energy)[lane]),
    )


def _rows(x: np.ndarray) -> np.ndarray:
    return np.array(x, np.float64, order="C")


def evaluate_lanes(
    potential: EnergyModel, needed: Any, positions: Any, cell: Any, terms: Terms, stress: bool
) -> Evaluation:
    """Evaluate a tile once: the part of the relaxation's program that does."""
    run = _compiled(jax.default_backend())
    return run(potential, stress, needed, positions, cell, terms)


@functools.cache
def _compiled(platform: str) -> Any:
    """Compile as the relaxation is: a model that is not rounded has other bits otherwise."""

    def run(potential: EnergyModel, stress: bool, *tile: Any) -> Evaluation:
        return evaluate_tile(potential, *tile, stress=stress, energies=True)

    options = compiler_options(platform)
    return jax.jit(run, static_argnums=(0, 1), compiler_options=options)
