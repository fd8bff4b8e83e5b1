"""A tile at work: the structures in its lanes, and what the device knows of them."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kups_relax._log import log
from kups_relax._platform import make_room
from kups_relax.data import Terms
from kups_relax.errors import CapacityError, PotentialError, StructureError, described
from kups_relax.potentials import Asked, EnergyModel, Evaluation, HostPotential, Session
from kups_relax.potentials._host import given
from kups_relax.relaxation._checkpoint import Saved
from kups_relax.relaxation._classes import SizeClass, axis_capacity, axis_lengths
from kups_relax.relaxation._jobs import Frame, Job, Outcome
from kups_relax.relaxation._pace import Pace
from kups_relax.relaxation._results import TileResults, rows
from kups_relax.relaxation._status import ADVICE, Status
from kups_relax.relaxation._step import Program, TileState, advance, load, settle
from kups_relax.relaxation._tiles import Tile

# Steps between two looks at the clock and at Ctrl-C, and steps times atoms, as those of large
# structures take long. A tile returns earlier when it has lanes to refill.
BUDGET, WORK = 200, 1_000_000


def steps_of_a_call(size: SizeClass) -> int:
    """Return after how many steps of a tile the host looks again; no result depends on it."""
    return max(1, min(BUDGET, WORK // (size.n_atoms * size.n_lanes)))


@dataclasses.dataclass(frozen=True)
class Limits:
    """When structures are done.

    Attributes:
        fmax: Convergence threshold, eV/Angstrom, in the run's dtype.
        max_steps: Moves allowed to each structure, int32.
    """

    fmax: np.floating
    max_steps: np.integer


class Batch:
    """Structures of one program and size class, side by side.

    Attributes:
        program: What they run through.
        size: Their size class.
        steps: Steps that all lanes have taken together so far, idle ones included.
        busy: Of these, those of lanes that were running.
        pace: Told when programs are compiled.
        compile_seconds: Time that compiling took; the caller that adds it up sets it to 0.
    """

    def __init__(self, program: Program, size: SizeClass, dtype: np.dtype) -> None:
        make_room(program, size, dtype)
        self.program, self.size = program, size
        self.steps = self.busy = 0
        self.pace, self.compile_seconds = Pace(), 0.0
        self._called = False
        self._dtype = dtype
        self._tile = Tile(program.potential, size, dtype, program.coordinates, program.guide)
        self._state = self._empty()
        self._jobs: list[Job | None] = [None] * size.n_lanes
        self._frames: dict[int, list[Frame]] = {}
        self._terms: Terms | None = None
        self._moves: Terms | None = None
        self._guide: Terms | None = None

    @classmethod
    def restored(cls, saved: Saved, jobs: Mapping[int, Job], dtype: np.dtype) -> "Batch":
        """Go on with a tile that was saved.

        Args:
            saved: What `save` gave.
            jobs: By number, those of its structures that are still to be relaxed.
            dtype: Of the run.

        Raises:
            ValueError: It does not fit the jobs.
        """
        batch = cls(next(iter(jobs.values())).program, saved.size, dtype)
        if any(job.program != batch.program for job in jobs.values()):
            raise ValueError("the structures of a tile have different programs")
        batch._tile.set_arrays(saved.arrays)
        leaves, structure = jax.tree.flatten(batch._state)
        new = [saved.arrays.get(f"state {k}") for k in range(len(leaves))]
        for old, leaf in zip(leaves, new, strict=True):
            if leaf is None or leaf.shape != old.shape or leaf.dtype != old.dtype:
                raise ValueError("the state is of another program")
        batch._state = jax.tree.unflatten(structure, [jnp.array(leaf) for leaf in new])
        for lane, number in enumerate(saved.numbers):
            if number in jobs:
                job = dataclasses.replace(jobs[number], size=saved.size)
                batch._jobs[lane] = job
                if job.every:
                    batch._frames[lane] = list(saved.frames.get(lane, ()))
            else:
                batch._tile.free(lane)
        return batch

    def save(self) -> Saved:
        """Copy all that the next step depends on."""
        leaves = jax.tree.leaves(self._state)
        arrays = {name: array.copy() for name, array in self._tile.arrays().items()}
        # The device may reuse what it holds.
        arrays |= {f"state {k}": np.array(leaf) for k, leaf in enumerate(leaves)}
        numbers = tuple(-1 if job is None else job.number for job in self._jobs)
        frames = {lane: list(frames) for lane, frames in self._frames.items()}
        return Saved(self.size, numbers, arrays, frames)

    @property
    def n_running(self) -> int:
        """Lanes that hold a structure."""
        return int(self._tile.occupied.sum())

    def fill(self, take: Callable[[], Job | None]) -> None:
        """Put structures into the free lanes, as long as there are any."""
        filled = False
        for lane in np.flatnonzero(~self._tile.occupied).tolist():
            job = take()
            if job is None:
                break
            s = job.structure
            put = self._tile.put
            put(lane, s.positions, job.prepared, s.cell, job.moves, job.every, job.guide)
            self._jobs[lane] = job
            if job.every:
                self._frames[lane] = []
            filled = True
        if filled:
            self._terms = self._moves = self._guide = None

    def advance(self, limits: Limits, keep_running: int, session: Session | None) -> list[Outcome]:
        """Step until the host is needed, and hand out what is done.

        Args:
            limits: When structures are done.
            keep_running: Return once at most so many lanes are running.
            session: What evaluates, for a potential of the host.
        """
        self._put_on_device()
        failed: Mapping[int, str] = {}
        try:
            if session is not None:
                failed = self._step_on_host(session, limits)
            else:
                assert self._terms is not None
                with self._compiling():
                    self._state = advance(
                        self.program,
                        self._state,
                        self._terms,
                        self._tile.start(self._moves, self._guide),
                        limits.fmax,
                        limits.max_steps,
                        np.int32(steps_of_a_call(self.size)),
                        np.int32(keep_running),
                    )
                # Raises what the device raised.
                self.steps += int(self._state.n_calls) * self.size.n_lanes
                self.busy += int(self._state.busy)
        except Exception as error:  # whatever a potential may raise
            if session is not None:
                raise
            log.info("%s raised", self.program.potential.name, exc_info=True)
            return self._give_up(error)
        self._tile.fresh[:] = False
        self._keep_frames()
        return self._collect(failed)

    def renew(self) -> tuple[list[Outcome], list[Job]]:
        """Prepare anew the structures that have moved too far.

        Returns:
            Outcomes of those for which that failed, and those that need a larger class.
        """
        outcomes: list[Outcome] = []
        grown: list[Job] = []
        stale = np.flatnonzero(np.asarray(self._state.stale) & self._tile.occupied)
        for lane in stale.tolist():
            job = self._jobs[lane]
            assert job is not None
            n = job.structure.n_atoms
            trial = rows(np.asarray(self._state.trial.positions)[:, :n, lane].T)
            cell, potential = job.structure.cell, job.program.potential
            if job.program.coordinates.cell is not None:
                cell = rows(np.asarray(self._state.trial.cell)[..., lane])
            moved = dataclasses.replace(job.structure, positions=trial, cell=cell)
            try:
                prepared = potential.prepare(moved)
                lengths = axis_lengths(potential, prepared)
                room = {"atoms": self.size.n_atoms, **dict(self.size.capacities)}
                if all(length <= room[axis] for axis, length in lengths.items()):
                    self._tile.prepare(lane, trial, prepared, cell)
                    continue
                # It starts again where it has room: what it gets stays a function of itself.
                room |= {
                    a: axis_capacity(potential, self.size.n_atoms, a, n)
                    for a, n in lengths.items()
                    if n > room[a]
                }
                axes = tuple(sorted((a, n) for a, n in room.items() if a != "atoms"))
                size = dataclasses.replace(self.size, capacities=axes)
                grown.append(dataclasses.replace(job, size=size))
                self._free(lane)
            except (PotentialError, StructureError, CapacityError) as error:
                outcomes.append(
                    self._end(lane, TileResults(self._state), Status.FAILED, str(error))
                )
        if len(stale):
            self._terms = None
        return outcomes, grown

    def _put_on_device(self) -> None:
        if self._terms is None and not self.program.on_host:
            self._terms = self._tile.terms()
        if self._moves is None and self._guide is None:
            self._moves, self._guide = self._tile.moves(), self._tile.guide()

    def _step_on_host(self, session: Session, limits: Limits) -> Mapping[int, str]:
        """Load what is fresh, have the session evaluate, judge and move."""
        program, start = self.program, self._tile.start(self._moves, self._guide)
        if self._tile.fresh.any():
            self._state = load(program, self._state, start)
        structures = [None if job is None else job.structure for job in self._jobs]
        trial = self._state.trial
        fresh = self._tile.fresh.tolist()
        asked = Asked(structures, trial.positions, trial.cell, program.stress, fresh)
        evaluation, failed = session.evaluate(asked)
        energy: Any = evaluation.energy
        if program.coordinates.cell is not None:
            failed = {**_without_stress(asked, evaluation, program.potential), **failed}
        if failed:
            # They end with their last good geometry, as those do whose energy is NaN.
            energy = np.array(energy)
            energy[list(failed)] = np.nan
        free_energy: Any = energy if evaluation.free_energy is None else evaluation.free_energy
        stress = evaluation.stress if program.stress else None
        evaluation = Evaluation(energy, evaluation.forces, stress, free_energy=free_energy)
        limit, most = limits.fmax, limits.max_steps
        with self._compiling():
            self._state = settle(program, self._state, evaluation, start, limit, most)
        return failed

    @contextlib.contextmanager
    def _compiling(self) -> Iterator[None]:
        """Count the first call as a compilation: it returns before the device is done."""
        if self._called:
            yield
            return
        start = time.monotonic()
        with self.pace.compiling():
            yield
        self._called = True
        self.compile_seconds += time.monotonic() - start

    def _keep_frames(self) -> None:
        """Copy the geometries that belong into trajectories."""
        lanes = [lane for lane in self._frames if bool(self._state.due[lane])]
        if not lanes:
            return
        arrays = TileResults(self._state)
        for lane in lanes:
            self._frames[lane].append(self._frame(lane, arrays))

    def _frame(self, lane: int, arrays: TileResults) -> Frame:
        job = self._jobs[lane]
        assert job is not None
        n, moves = job.structure.n_atoms, job.program.coordinates.cell is not None
        return Frame(
            step=int(arrays.n_steps[lane]),
            positions=rows(arrays.positions[:, :n, lane].T),
            cell=rows(arrays.cell[..., lane]) if moves else None,
            energy=float(arrays.energy[lane]),
            forces=rows(arrays.forces[:, :n, lane].T),
            fmax=float(arrays.fmax[lane]),
            free_energy=arrays.other_energy(lane),
        )

    def _collect(self, failed: Mapping[int, str]) -> list[Outcome]:
        """Take out what is done."""
        status = np.asarray(self._state.status)
        over = status != Status.RUNNING
        over[list(failed)] = True
        done = np.flatnonzero(self._tile.occupied & over)
        if not len(done):
            return []
        arrays = TileResults(self._state)
        outcomes = []
        for lane in done.tolist():
            if lane in failed:
                outcomes.append(self._end(lane, arrays, Status.FAILED, failed[lane]))
            else:
                job, ended = self._jobs[lane], Status(int(status[lane]))
                assert job is not None
                outcomes.append(self._end(lane, arrays, ended, _reason(job, ended)))
        return outcomes

    def _end(self, lane: int, arrays: TileResults, status: Status, reason: str) -> Outcome:
        """Say what a structure got, and give its lane up."""
        job = self._jobs[lane]
        assert job is not None
        last = self._frame(lane, arrays)
        frames = self._frames.get(lane)
        if frames is not None and np.isfinite(last.energy):
            known = frames and frames[-1].step == last.step
            frames = frames if known else [*frames, last]
        stress = None if arrays.stress is None else rows(arrays.stress[..., lane])
        if self.program.on_host:
            stress = given(stress)
        self._free(lane)
        return Outcome(
            number=job.number,
            structure=job.structure,
            positions=last.positions,
            cell=last.cell,
            energy=last.energy,
            forces=last.forces,
            stress=stress,
            fmax=last.fmax,
            n_steps=last.step,
            n_evaluations=int(arrays.n_evaluations[lane]),
            status=status,
            reason=reason,
            frames=tuple(frames or ()),
            free_energy=last.free_energy,
        )

    def _give_up(self, error: Exception) -> list[Outcome]:
        """End all structures, after the potential raised; what the device knew is lost."""
        outcomes = []
        for lane in np.flatnonzero(self._tile.occupied).tolist():
            job = self._jobs[lane]
            assert job is not None
            s = job.structure
            outcomes.append(
                Outcome(
                    number=job.number,
                    structure=s,
                    positions=s.positions,
                    cell=None,
                    energy=np.nan,
                    forces=np.full(s.positions.shape, np.nan),
                    stress=None,
                    fmax=np.nan,
                    n_steps=0,
                    n_evaluations=1,
                    status=Status.FAILED,
                    reason=f"{job.program.potential.name} raised {described(error)}",
                )
            )
            self._free(lane)
        self._state = self._empty()
        return outcomes

    def _empty(self) -> TileState:
        shape, capacities = self._tile.positions.shape, dict(self.size.capacities)
        return self.program.empty(shape, self._dtype, capacities)

    def _free(self, lane: int) -> None:
        self._jobs[lane] = None
        self._frames.pop(lane, None)
        self._tile.free(lane)


def _without_stress(asked: Asked, evaluation: Evaluation, potential: EnergyModel) -> dict[int, str]:
    """Say which lanes got no stress, though their cells are to change."""
    stress = np.asarray(evaluation.stress)
    none = np.isnan(stress).all(axis=(0, 1)).reshape(stress.shape[-1])
    return {
        lane: f"{potential.name} gave no stress, which a variable cell needs. "
        "Relax with cell=None, or with another calculator."
        for lane, s in enumerate(asked.structures)
        if s is not None and none[lane]
    }


def _reason(job: Job, ended: Status) -> str:
    """Say why a structure did not converge; and which model gave numbers that are none."""
    potential = job.program.potential
    if ended is Status.NON_FINITE and isinstance(potential, HostPotential):
        return f"{potential.name}: {ADVICE[ended]}"
    return ADVICE[ended]
