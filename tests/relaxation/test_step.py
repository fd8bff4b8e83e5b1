"""Evaluate, judge, move: what one tile does to its lanes."""

import jax
import numpy as np
import pytest
from ase import Atoms
from cliffs import Cliff

import kups_relax as kr
from helpers import DTYPES, argon, argon_clusters, assert_same_bits, evaluate
from kups_relax import optimizers as ko
from kups_relax.relaxation import Program, Status, size_class
from kups_relax.relaxation._step import advance
from kups_relax.relaxation._tiles import Tile

FMAX, MAX_STEPS = 0.01, 200


class Run:
    """One tile of 8-atom capacity, driven by hand."""

    def __init__(self, structures, potential=None, dtype="float64", optimizer="lbfgs"):
        self.dtype = np.dtype(dtype)
        self.program = Program(potential or argon(), ko.get(optimizer))
        self.tile = Tile(self.program.potential, size_class(argon(), 8, {}), self.dtype)
        with self.x64():
            self.state = self.program.empty(self.tile.positions.shape, self.dtype, {})
        for lane, atoms in enumerate(structures):
            self.put(lane, atoms)

    def x64(self):
        return jax.enable_x64(self.dtype == np.float64)

    def put(self, lane, atoms):
        if atoms is not None:
            [entry] = kr.io.structures_from(atoms)
            self.tile.put(lane, entry.positions, self.program.potential.prepare(entry))

    def advance(self, budget=10**6, keep_running=0, max_steps=MAX_STEPS, fmax=FMAX):
        with self.x64():
            self.state = advance(
                self.program,
                self.state,
                self.tile.terms(),
                self.tile.start(),
                self.dtype.type(fmax),
                np.int32(max_steps),
                np.int32(budget),
                np.int32(keep_running),
            )
        self.tile.fresh[:] = False
        return self

    @property
    def status(self):
        return np.asarray(self.state.status)

    def lane(self, lane):
        """What a user gets of a lane."""
        s = self.state
        whole = (s.seen.positions, s.energy, s.forces, s.fmax, s.status, s.n_steps)
        return [np.asarray(x)[..., lane] for x in whole]


@pytest.mark.parametrize("dtype", DTYPES)
def test_frozen_lane_does_not_move(dtype):
    run = Run(argon_clusters([2, 8, 7, 8]), dtype=dtype).advance(budget=1)
    frozen: dict[int, list] = {}
    while (run.status == Status.RUNNING).any():
        run.advance(budget=1)
        for lane in np.flatnonzero(run.status == Status.CONVERGED):
            held = [*run.lane(lane), np.asarray(run.state.x)[..., lane]]
            frozen.setdefault(int(lane), held)
            assert_same_bits(held, frozen[int(lane)])
    assert len(frozen) == 4
    n_steps = np.asarray(run.state.n_steps)[:4]
    assert len(set(n_steps.tolist())) > 2
    run.advance(budget=5)
    for lane, held in frozen.items():
        assert_same_bits([*run.lane(lane), np.asarray(run.state.x)[..., lane]], held)


def test_energy_and_forces_belong_to_the_positions_beside_them():
    run = Run(argon_clusters([3, 8]))
    for _ in range(4):
        run.advance(budget=3)
        positions = np.asarray(run.state.seen.positions)
        structures = [Atoms(f"Ar{n}", positions[:, :n, i].T) for i, n in enumerate((3, 8))]
        energy, forces = evaluate(argon(), structures)
        # Another program around the same arithmetic.
        np.testing.assert_allclose(np.asarray(run.state.energy)[:2], energy, rtol=1e-13)
        for lane, expected in enumerate(forces):
            got = np.asarray(run.state.forces)[:, : len(expected), lane].T
            np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-14)
            longest = np.linalg.norm(got, axis=1).max()
            np.testing.assert_allclose(np.asarray(run.state.fmax)[lane], longest, rtol=1e-14)


@pytest.mark.parametrize("optimizer", ["lbfgs", "ase-lbfgs"])
def test_when_the_host_looks_changes_no_bit(optimizer):
    clusters = argon_clusters([2, 5, 8, 8, 6])
    once = Run(clusters, optimizer=optimizer).advance()
    often = Run(clusters, optimizer=optimizer)
    for budget in [1, 2, 3, 50, 1, 7] * 40:
        often.advance(budget=budget)
    for lane in range(5):
        assert_same_bits(often.lane(lane), once.lane(lane))


def test_a_refilled_lane_is_a_new_lane():
    first, second = argon_clusters([8, 2, 8, 5]), argon_clusters([8, 7, 4, 8], seed=1)
    alone = Run([None, second[1], None, second[3]]).advance()
    run = Run(first).advance(budget=9)
    kept = Run(first).advance()
    for lane in (1, 3):
        run.tile.free(lane)
        run.put(lane, second[lane])
    run.advance()
    for lane in (1, 3):
        assert_same_bits(run.lane(lane), alone.lane(lane))
    for lane in (0, 2):
        assert_same_bits(run.lane(lane), kept.lane(lane))


def test_a_tile_returns_when_few_lanes_are_running():
    clusters = argon_clusters([8, 2, 8, 7, 6, 8])
    for keep_running in (5, 3, 1):
        run = Run(clusters).advance(keep_running=keep_running)
        n_running = int((run.status == Status.RUNNING).sum())
        assert n_running <= keep_running
        # One evaluation earlier there were more.
        before = Run(clusters).advance(budget=int(np.asarray(run.state.n_steps).max()) - 1)
        assert int((before.status == Status.RUNNING).sum()) > keep_running


def test_an_empty_tile_returns_at_once():
    run = Run([]).advance()
    assert (run.status == Status.EMPTY).all()
    assert not np.asarray(run.state.n_steps).any()


def test_each_lane_has_its_own_budget_of_steps():
    run = Run(argon_clusters([8, 8])).advance(max_steps=5)
    assert np.asarray(run.state.n_steps)[:2].tolist() == [5, 5]
    assert run.status[:2].tolist() == [Status.MAX_STEPS] * 2
    run.tile.free(1)
    [atoms] = argon_clusters([8], seed=2)
    run.put(1, atoms)
    run.advance(max_steps=5)
    assert np.asarray(run.state.n_steps)[:2].tolist() == [5, 5]


def boron(x):
    return Atoms("B2", [[x, 0, 0], [0, 1.5, 0]])


def test_a_lane_that_is_not_finite_keeps_its_last_finite_geometry():
    run = Run([boron(1.3)], Cliff()).advance()
    positions, energy, forces, fmax, status, n_steps = run.lane(0)
    assert status == Status.NON_FINITE
    assert n_steps > 1
    assert np.isfinite([energy, fmax]).all()
    assert np.isfinite(positions).all()
    # It is on the cliff's edge: one step short of falling.
    lengths = np.linalg.norm(positions[:, :2], axis=0)
    assert (lengths >= 0.5).all()
    assert (lengths < 0.5 + 0.2).any()
    assert_same_bits(forces[:, :2], -positions[:, :2])
    np.testing.assert_allclose(energy, np.sum(lengths**2) / 2, rtol=1e-14)


@pytest.mark.parametrize("optimizer", ["lbfgs", "ase-lbfgs"])
def test_a_lane_that_is_not_finite_harms_nobody(optimizer):
    carbon = [Atoms("C3", np.random.default_rng(i).normal(size=(3, 3))) for i in range(3)]
    without = Run([carbon[0], None, carbon[1], carbon[2]], Cliff(), optimizer=optimizer).advance()
    with_it = Run([carbon[0], boron(0.9), carbon[1]], Cliff(), optimizer=optimizer).advance(12)
    assert with_it.status[1] == Status.NON_FINITE
    # The lane goes to the next structure, and takes nothing over.
    with_it.tile.free(1)
    with_it.put(1, carbon[2])
    with_it.advance()
    for lane, same in ((0, 0), (2, 2), (1, 3)):
        assert_same_bits(with_it.lane(lane), without.lane(same))
        assert with_it.status[lane] == Status.CONVERGED


def test_a_start_that_is_not_finite_is_returned_as_it_is():
    run = Run([boron(0.1)], Cliff()).advance()
    positions, energy, forces, fmax, status, n_steps = run.lane(0)
    assert status == Status.NON_FINITE
    assert n_steps == 0
    assert_same_bits(positions[:, :2].T, boron(0.1).positions)
    assert np.isnan([energy, fmax]).all()
    assert not forces.any()
