"""Line searches in the engine: an evaluation a turn, each of them counted, nobody waits."""

import dataclasses

import jax
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from cliffs import Cliff
from test_checkpoint import LIMITS, assert_same_outcomes, finish, through_a_file
from test_scheduler import jobs_of
from test_step import Run, boron

import kups_relax as kr
from helpers import DTYPES, argon, argon_clusters, assert_same_bits, assert_same_result
from kups_relax import optimizers as ko
from kups_relax.relaxation import Status, _batch
from kups_relax.relaxation._batch import Batch
from support.crossing import first, in_turns

SEARCHES = ("lbfgs-zoom", "lbfgs-backtracking")

# Steps that are too long at first, so that many trials are no good.
RASH = ko.chain(
    ko.ScaleByAseLbfgs(8, alpha=0.05, initial_scale="adaptive", curvature_guard=True),
    ko.Scale(-1.3),
    ko.ZoomLineSearch(curvature=0.5, max_step_size=0.6),
)


def relax(structures, potential, optimizer, **options):
    return kr.relax(structures, potential, optimizer, progress=False, **options)


class Counted(EMT):
    """EMT that counts what it is asked."""

    made: list["Counted"] = []  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.n_calls = 0
        self.made.append(self)

    def calculate(self, *args, **kwargs):
        self.n_calls += 1
        super().calculate(*args, **kwargs)


def rattled_molecules():
    molecules = [molecule(name) for name in ("H2O", "CH3OH", "C2H6", "NH3")]
    for seed, atoms in enumerate(molecules):
        atoms.rattle(0.1, seed=seed)
    return molecules


@pytest.mark.parametrize(
    ("optimizer", "dtype"), in_turns([*SEARCHES, RASH], DTYPES[::-1], exact={"lbfgs-zoom"})
)
def test_batched_equals_alone(optimizer, dtype):
    clusters = argon_clusters([2, 8, 13, 5, 8, 13])
    report = kr.verify(
        clusters, argon(), draws=4, optimizer=optimizer, fmax=1e-3, dtype=dtype, max_steps=300
    )
    assert report.ok, report


def test_no_system_waits_for_the_trials_of_another():
    clusters = argon_clusters([2, 8, 13, 5, 7, 13, 12])
    batched = relax(clusters, argon(), RASH, fmax=1e-4)
    assert (batched.n_evaluations > batched.n_steps + 2).any()
    for i, cluster in enumerate(clusters):
        alone = relax([cluster], argon(), RASH, fmax=1e-4)
        assert_same_result(alone, 0, batched, i)
        assert alone.n_evaluations[0] == batched.n_evaluations[i]


@pytest.mark.parametrize("optimizer", first(SEARCHES))
def test_forces_become_small_beyond_what_energies_resolve(optimizer):
    result = relax(argon_clusters([3, 8, 13]), argon(), optimizer, fmax=1e-9, max_steps=400)
    assert result.converged.all()
    # About one evaluation a step.
    assert (result.n_evaluations <= 1.3 * result.n_steps + 5).all()


def test_single_precision_ends_too():
    result = relax(argon_clusters([3, 8, 13]), argon(), "lbfgs-zoom", fmax=1e-4, dtype="float32")
    assert result.converged.all()


@pytest.mark.parametrize("optimizer", first([RASH, "lbfgs", *SEARCHES], 2))
def test_evaluations_are_those_that_the_calculator_counts(optimizer):
    Counted.made.clear()
    potential = kr.potentials.AseCalculator(Counted)
    result = relax(rattled_molecules(), potential, optimizer, fmax=0.01, max_steps=200)
    assert result.converged.all()
    assert sorted(result.n_evaluations) == sorted(c.n_calls for c in Counted.made)
    if optimizer == "lbfgs":
        assert (result.n_evaluations == result.n_steps + 1).all()
    if optimizer is RASH:
        assert (result.n_evaluations > result.n_steps + 1).any()


def test_steps_that_are_allowed_are_steps_taken():
    clusters = argon_clusters([8, 13])
    whole = relax(clusters, argon(), RASH, fmax=1e-6, trajectory=1)
    for n in (0, 1, 7):
        result = relax(clusters, argon(), RASH, fmax=1e-6, max_steps=n, trajectory=1)
        assert (result.n_steps == n).all()
        assert (result.status == "max_steps").all()
        for i in range(2):
            # What is returned was evaluated, and taken.
            expected = whole.trajectory(i)[n]
            assert_same_bits(result.atoms[i].positions, expected.positions)
            assert_same_bits(result.atoms[i].get_forces(), expected.get_forces())


@pytest.mark.parametrize("every", first([3, 1]))
def test_trajectories_are_of_steps_taken(every):
    result = relax(argon_clusters([8, 13]), argon(), RASH, fmax=1e-6, trajectory=every)
    assert (result.n_evaluations > result.n_steps + 1).all()
    for i, n in enumerate(result.n_steps.tolist()):
        frames = result.trajectory(i)
        steps = [frame.info["step"] for frame in frames]
        assert steps == sorted({*range(0, n + 1, every), n})
        energies = [frame.get_potential_energy() for frame in frames]
        # No step leads up, by more than what is told apart.
        slack = 1e-6 * np.abs(energies[:-1])
        assert (np.diff(energies)[:-1] <= slack[:-1]).all()


@pytest.mark.extended
@pytest.mark.parametrize(
    ("optimizer", "cell"),
    [("lbfgs-zoom", "frechet:pressure=2GPa"), ("lbfgs-backtracking", "unit:mask=xx+yy")],
)
def test_cells_are_searched_along_the_enthalpy(optimizer, cell):
    crystals = []
    for seed in range(3):
        crystal = bulk("Cu", cubic=True)
        crystal.rattle(0.1, seed=seed)
        strain = np.random.default_rng(seed).normal(size=(3, 3)) * 0.03
        crystal.set_cell(crystal.cell.array @ (np.eye(3) * 1.03 + strain), scale_atoms=True)
        crystals.append(crystal)
    options = {"fmax": 1e-5, "cell": cell}
    plain = relax(crystals, "emt", "lbfgs", **options)
    result = relax(crystals, "emt", optimizer, **options)
    assert result.converged.all()
    np.testing.assert_allclose(result.energy, plain.energy, atol=1e-6)
    assert (result.n_evaluations <= 1.5 * plain.n_evaluations + 5).all()
    alone = relax(crystals[1:2], "emt", optimizer, **options)
    assert_same_result(alone, 0, result, 1)


@pytest.mark.parametrize("optimizer", first(SEARCHES))
def test_a_trial_that_is_not_finite_is_no_end(optimizer):
    # Its minimum lies beyond the cliff: without a search it ends as soon as it falls.
    plain = Run([boron(1.3)], Cliff()).advance(max_steps=12)
    assert plain.status[0] == Status.NON_FINITE
    run = Run([boron(1.3)], Cliff(), optimizer=optimizer).advance(max_steps=12)
    positions, energy, _, fmax, status, n_steps = run.lane(0)
    assert (status, n_steps) == (Status.MAX_STEPS, 12)
    assert np.isfinite([energy, fmax]).all()
    assert (np.linalg.norm(positions[:, :2], axis=0) >= 0.5).all()
    assert np.asarray(run.state.n_evaluations)[0] > 13
    assert energy < plain.lane(0)[1]


def test_a_tile_goes_on_in_the_middle_of_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr(_batch, "BUDGET", 3)
    jobs = jobs_of(argon_clusters([12, 9, 16, 11]), optimizer=RASH)
    jobs = [dataclasses.replace(job, every=2) for job in jobs]
    with jax.enable_x64(True):
        batch = Batch(jobs[0].program, jobs[0].size, np.dtype("float64"))
        queue = iter(jobs)
        batch.fill(lambda: next(queue, None))
        for _ in range(40):
            batch.advance(LIMITS["float64"], 3, None)
            taken = np.asarray(batch._state.optimizer[-1].taken)[:4]
            if not taken.all():
                break
        assert not taken.all()
        saved = through_a_file(batch.save(), tmp_path)
        want = finish(batch, [], "float64")
        again = Batch.restored(saved, {job.number: job for job in jobs}, np.dtype("float64"))
        got = finish(again, [], "float64")
    assert_same_outcomes(got, want)
    assert {n: o.n_evaluations for n, o in got.items()} == {
        n: o.n_evaluations for n, o in want.items()
    }
