import collections
import dataclasses

import jax
import numpy as np
import pytest
from ase.build import bulk
from test_scheduler import jobs_of

import kups_relax as kr
from helpers import DTYPES, argon, argon_clusters, assert_same_bits
from kups_relax import _keep
from kups_relax.relaxation import Scheduler, _batch, _scheduler, read_checkpoint, write_checkpoint
from kups_relax.relaxation._batch import Batch, Limits
from support.crossing import first

LIMITS = {dtype: Limits(np.dtype(dtype).type(1e-5), np.int32(300)) for dtype in DTYPES}


class Stopped(Exception):
    pass


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Tiles that return to the host after a few steps."""
    monkeypatch.setattr(_batch, "BUDGET", 4)


def trajectories(jobs):
    return [dataclasses.replace(job, every=7) for job in jobs]


def jobs_of_one_class():
    # More than there are lanes, so that some have just been filled.
    return trajectories(jobs_of(argon_clusters([12, 9, 16, 11, 13] * 14)))


def finish(batch, queue, dtype):
    outcomes = {}
    while batch.n_running:
        for outcome in batch.advance(LIMITS[dtype], batch.n_running - 1, None):
            outcomes[outcome.number] = outcome
        batch.fill(lambda: queue.popleft() if queue else None)
    return outcomes


def on_the_way(jobs, dtype, n_calls=6):
    """A tile after some steps, what still waits, and what is done."""
    queue = collections.deque(jobs)
    batch = Batch(jobs[0].program, jobs[0].size, np.dtype(dtype))
    batch.fill(lambda: queue.popleft() if queue else None)
    done = {}
    for _ in range(n_calls):
        done |= {o.number: o for o in batch.advance(LIMITS[dtype], batch.n_running - 1, None)}
        batch.fill(lambda: queue.popleft() if queue else None)
    return batch, queue, done


def through_a_file(saved, folder):
    write_checkpoint(folder / "c", "this run", [saved])
    [read] = read_checkpoint(folder / "c", "this run")
    return read


def assert_same_outcomes(got, want):
    assert set(got) == set(want)
    for number, outcome in want.items():
        assert got[number].status is outcome.status
        assert got[number].n_steps == outcome.n_steps
        for name in ("positions", "forces", "energy", "fmax"):
            assert_same_bits(getattr(got[number], name), getattr(outcome, name))
        for one, other in zip(got[number].frames, outcome.frames, strict=True):
            assert one.step == other.step
            assert_same_bits(one.positions, other.positions)
            assert_same_bits(one.forces, other.forces)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tile_goes_on_from_a_checkpoint_bit_for_bit(dtype, tmp_path):
    jobs = jobs_of_one_class()
    with jax.enable_x64(dtype == "float64"):
        batch, queue, done = on_the_way(jobs, dtype)
        assert batch.n_running == jobs[0].size.n_lanes
        saved = through_a_file(batch.save(), tmp_path)
        # Some have gone far, and have frames by now.
        assert max(len(frames) for frames in saved.frames.values()) > 2
        waiting = collections.deque(queue)
        want = finish(batch, queue, dtype)
        known = {n: job for n, job in enumerate(jobs) if n not in done}
        again = Batch.restored(saved, known, np.dtype(dtype))
        got = finish(again, waiting, dtype)
    assert_same_outcomes(got, want)
    assert not set(got) & set(done)


def test_a_run_takes_up_its_tiles(tmp_path):
    jobs = jobs_of_one_class()
    with jax.enable_x64(True):
        batch, queue, done = on_the_way(jobs, "float64")
        saved = through_a_file(batch.save(), tmp_path)
        want = finish(batch, queue, "float64")
    got = {}
    scheduler = Scheduler(dtype="float64", fmax=1e-5, max_steps=300, n_workers=1)
    left = [job for job in jobs if job.number not in done]
    scheduler.run(left, lambda o: got.setdefault(o.number, o) if o else None, [saved])
    assert_same_outcomes(got, want)


def test_a_tile_of_another_program_begins_anew(caplog):
    jobs = jobs_of(argon_clusters([12, 9]))
    with jax.enable_x64(True):
        batch, queue, _ = on_the_way(jobs, "float64", 2)
        saved = batch.save()
        want = finish(batch, queue, "float64")
    wrong = {name: a for name, a in saved.arrays.items() if name != "state 3"}
    got = {}
    Scheduler(dtype="float64", fmax=1e-5, max_steps=300).run(
        jobs,
        lambda o: got.setdefault(o.number, o) if o else None,
        [dataclasses.replace(saved, arrays=wrong)],
    )
    assert "a checkpoint is of no use" in caplog.text
    for number, outcome in want.items():
        assert_same_bits(got[number].positions, outcome.positions)


@pytest.mark.parametrize("damage", ["cut off", "garbage", "another run", "missing"])
def test_a_checkpoint_that_is_of_no_use_is_left_alone(damage, tmp_path):
    jobs = jobs_of(argon_clusters([8]))
    path = tmp_path / "c"
    with jax.enable_x64(True):
        through_a_file(on_the_way(jobs, "float64", 1)[0].save(), tmp_path)
    whole = path.read_bytes()
    if damage == "cut off":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "garbage":
        path.write_bytes(b"garbage" * 1000)
    elif damage == "missing":
        path.unlink()
    run_name = "other run" if damage == "another run" else "this run"
    assert read_checkpoint(path, run_name) == []


@pytest.mark.parametrize("n_sizes", first([1, 2]))
def test_relax_resumes_cells_and_lists_from_a_checkpoint(n_sizes, tmp_path, monkeypatch):
    monkeypatch.setattr(_scheduler, "_IDLE", 1e-3)
    crystals = []
    for seed in range(4):
        crystal = bulk("Cu", cubic=True) * (1, 1, 1 + seed % n_sizes)
        crystal.rattle(0.15, seed=seed)
        crystal.set_cell(crystal.cell.array * 1.03, scale_atoms=True)
        crystals.append(crystal)
    options = {"fmax": 1e-6, "cell": "frechet", "trajectory": 3, "n_workers": 1}
    want = kr.relax(crystals, "emt", **options)
    path = tmp_path / "out.h5"
    write = _keep.write_checkpoint

    def writing(*args):
        write(*args)
        if args[2]:
            raise Stopped

    monkeypatch.setattr(_keep, "write_checkpoint", writing)
    with pytest.raises(Stopped):
        kr.relax(crystals, "emt", output=path, checkpoint=1e-9, **options)
    monkeypatch.setattr(_keep, "write_checkpoint", write)
    assert path.with_name("out.h5.checkpoint").exists()
    got = kr.relax(crystals, "emt", output=path, resume=True, **options)
    assert got.fingerprint.tolist() == want.fingerprint.tolist()
    assert not path.with_name("out.h5.checkpoint").exists()
    for i in range(4):
        steps = [frame.info["step"] for frame in got.trajectory(i)]
        assert steps == [frame.info["step"] for frame in want.trajectory(i)]
        for one, other in zip(got.trajectory(i), want.trajectory(i), strict=True):
            assert_same_bits(one.positions, other.positions)
            assert_same_bits(one.cell.array, other.cell.array)


def test_seconds_that_make_no_sense_are_refused():
    with pytest.raises(kr.errors.OptionError, match="checkpoint is 0"):
        kr.relax(argon_clusters([3]), argon(), checkpoint=0)
