"""One structure, evaluated again and again where its atoms move to."""

import dataclasses

import jax
import numpy as np

from kups_relax._platform import make_room
from kups_relax._settings import own
from kups_relax.data import Structure
from kups_relax.errors import PotentialError
from kups_relax.potentials import Asked, EnergyModel, Evaluation, HostPotential, Potential, Session
from kups_relax.relaxation._classes import SizeClass, axis_lengths, size_class
from kups_relax.relaxation._evaluate import (
    Evaluated,
    evaluate_lanes,
    gives_stress,
    has_volume,
    take_lane,
)
from kups_relax.relaxation._memory import prepare
from kups_relax.relaxation._tiles import Tile


class SinglePoints:
    """Evaluate one structure at a time, and prepare only what has changed since the last one.

    Numbers are those of a relaxation that is at the same geometry: the program is the part of
    the relaxation's that evaluates, kept apart from the rest by `ops.apart`.

    Args:
        potential: Energy model.
        dtype: "float64" or "float32".
    """

    def __init__(self, potential: EnergyModel, dtype: str) -> None:
        self._potential, self._dtype = potential, np.dtype(dtype)
        self._last: Structure | None = None
        self._form: EnergyModel | None = None
        self._tile: Tile | None = None
        self._session: Session | None = None

    @property
    def atom_capacity(self) -> int | None:
        """That of the size class of the last structure; None before there was one."""
        return None if self._tile is None else self._tile.size.n_atoms

    def evaluate(self, structure: Structure, *, moved: bool) -> Evaluated:
        """Evaluate a structure.

        Args:
            structure: Any.
            moved: It is the last one, its atoms somewhere else. What the potential saw at first,
                such as its bonds, is then not looked for again.

        Raises:
            PotentialError: The potential cannot describe the structure, or failed.
            CapacityError: It is too large for any size class, or for the memory.
        """
        with own(self._dtype):
            held = self._holds(structure, moved)
            # Where it fails, nothing is held.
            self._last = None
            if held:
                assert self._tile is not None
                self._tile.positions[:, : structure.n_atoms, 0] = structure.positions.T
                self._tile.cell[..., 0] = structure.cell
            else:
                self._prepare(structure)
            got = self._evaluate(structure, fresh=not held)
            self._last = structure
            assert self._form is not None
            return take_lane(self._form, got, 0, structure.n_atoms)

    def close(self) -> None:
        """Give up what a host potential holds."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _holds(self, structure: Structure, moved: bool) -> bool:
        """Whether what was prepared is right for a structure."""
        last, form, tile = self._last, self._form, self._tile
        if last is None or form is None or tile is None:
            return False
        if not (
            np.array_equal(structure.numbers, last.numbers)
            and np.array_equal(structure.pbc, last.pbc)
            and structure.charge == last.charge
        ):
            return False
        if form.slack is None:
            return moved
        # As the engine asks after each step.
        reference = tile.reference[:, : last.n_atoms, 0].T
        way, used = structure.positions.astype(self._dtype) - reference, 0.0
        cell = tile.reference_cell[..., 0]
        if not np.array_equal(structure.cell.astype(self._dtype), cell):
            if form.reach is None or np.linalg.det(cell) == 0:
                return False
            strain = np.linalg.solve(cell, structure.cell - cell)
            way = way - reference @ strain
            shortest = np.linalg.svd(np.eye(3) + strain, compute_uv=False)[-1]
            used = max(0.0, 1 - shortest) * form.reach / 2
        farthest = np.sqrt(np.max(np.sum(way * way, axis=1), initial=0))
        return bool(farthest + used <= form.slack)

    def _prepare(self, structure: Structure) -> None:
        form = self._potential.specialize(structure)
        prepared = prepare(form, structure, self._dtype)
        # Atoms are an axis of no array in potentials of all pairs.
        lengths = {"atoms": structure.n_atoms, **axis_lengths(form, prepared)}
        if self._tile is None or form != self._form or not _fits(self._tile.size, lengths):
            if form != self._form:
                self.close()
            size = size_class(form, structure.n_atoms, lengths)
            # In float32, XLA's exp and its like may differ with the length of arrays.
            if isinstance(form, Potential) and form.rounds and self._dtype == np.float64:
                size = dataclasses.replace(size, n_lanes=1)
            make_room("single", form, size, self._dtype)
            self._tile = Tile(form, size, self._dtype)
        self._form = form
        self._tile.put(0, structure.positions, prepared, structure.cell)
        self._terms = self._tile.terms() if isinstance(form, Potential) else None

    def _evaluate(self, structure: Structure, *, fresh: bool) -> Evaluation:
        tile, form = self._tile, self._form
        assert tile is not None
        assert form is not None
        stress = has_volume(structure) and gives_stress(form, tile.size, tile.dtype)
        x, cell = tile.positions.copy(), tile.cell.copy()
        if not isinstance(form, HostPotential):
            assert self._terms is not None
            return evaluate_lanes(form, np.bool_(True), x, cell, self._terms, stress)
        if self._session is None:
            self._session = form.session()
        others = [None] * (tile.size.n_lanes - 1)
        x, cell = jax.device_put((x, cell))
        asked = Asked([structure, *others], x, cell, stress, [fresh] * tile.size.n_lanes)
        evaluation, failed = self._session.evaluate(asked)
        if failed:
            raise PotentialError(failed[0])
        return evaluation


def _fits(size: SizeClass, lengths: dict[str, int]) -> bool:
    room = {"atoms": size.n_atoms, **dict(size.capacities)}
    return all(length <= room[axis] for axis, length in lengths.items())
