"""The host's part: every job has one outcome, and nothing is left running."""

import dataclasses
import threading
import time

import jax
import numpy as np
import pytest
from cliffs import Cliff

import kups_relax as kr
from helpers import argon, argon_clusters
from kups_relax import optimizers as ko
from kups_relax.relaxation import (
    Job,
    Program,
    Refused,
    Scheduler,
    SizeClass,
    Status,
    axis_lengths,
    size_class,
)
from kups_relax.relaxation._batch import steps_of_a_call
from kups_relax.testing import count_programs


def jobs_of(structures, potential=None, optimizer="lbfgs"):
    potential = potential or argon()
    program = Program(potential, ko.get(optimizer))
    jobs = []
    for number, entry in enumerate(kr.io.structures_from(structures)):
        terms = potential.prepare(entry)
        size = size_class(potential, entry.n_atoms, axis_lengths(potential, terms))
        jobs.append(Job(number, entry, program, terms, {}, size))
    return jobs


def scheduler(max_steps=200, n_workers=2):
    return Scheduler(dtype="float64", fmax=0.01, max_steps=max_steps, n_workers=n_workers)


def outcomes_of(jobs, **options):
    got = []
    scheduler(**options).run(jobs, lambda item: got.append(item) if item else None)
    return got


def wait_for_threads(before):
    deadline = time.monotonic() + 30
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


@pytest.mark.parametrize("n_workers", [1, 2, 5])
def test_every_job_has_one_outcome(n_workers):
    # More than fit into the lanes, so that some are refilled.
    structures = argon_clusters([8, 2, 16, 5] * 25)
    outcomes = outcomes_of(jobs_of(structures), n_workers=n_workers, max_steps=20)
    assert sorted(o.number for o in outcomes) == list(range(100))
    for outcome in outcomes:
        n_atoms = len(structures[outcome.number])
        assert outcome.positions.shape == outcome.forces.shape == (n_atoms, 3)
        assert outcome.positions.dtype == outcome.forces.dtype == np.float64
        assert outcome.status in (Status.CONVERGED, Status.MAX_STEPS)


def test_nothing_to_do_ends_at_once():
    assert outcomes_of([]) == []


def test_outcomes_come_as_structures_finish():
    [slow] = argon_clusters([8])
    quick = kr.relax(slow, argon()).atoms[0]
    jobs = jobs_of([slow, *[quick] * 100])
    numbers = [o.number for o in outcomes_of(jobs, n_workers=1)]
    assert numbers.index(0) > 50


def test_an_exception_in_the_sink_stops_the_workers():
    before = threading.active_count()
    jobs = jobs_of(argon_clusters([8, 16] * 100))
    seen = []

    def sink(item):
        if item is not None:
            seen.append(item)
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        scheduler(max_steps=50).run(jobs, sink)
    assert len(seen) == 1
    wait_for_threads(before)


def test_an_exception_in_the_input_comes_after_what_is_done():
    before = threading.active_count()
    got = []

    def items():
        yield from jobs_of(argon_clusters([8] * 64))
        while not got:
            time.sleep(0.01)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        scheduler(max_steps=50).run(items(), lambda item: got.append(item) if item else None)
    assert got
    wait_for_threads(before)


class Broken(Cliff):
    """A potential whose author made a mistake."""

    def evaluate(self, positions, cell, terms):
        raise ZeroDivisionError("a mistake")


def test_structures_whose_potential_raises_end_alone():
    before = threading.active_count()
    good = jobs_of(argon_clusters([5, 3]))
    bad = [dataclasses.replace(j, number=2) for j in jobs_of(argon_clusters([3]), Broken())]
    by_number = {o.number: o for o in outcomes_of([*good, *bad])}
    assert by_number[2].status is Status.FAILED
    assert "raised ZeroDivisionError: a mistake" in by_number[2].reason
    alone = {o.number: o for o in outcomes_of(good)}
    for number in (0, 1):
        assert np.array_equal(by_number[number].positions, alone[number].positions)
    wait_for_threads(before)


def test_refused_structures_are_passed_on():
    jobs = [Refused(7, None, "no good"), *jobs_of(argon_clusters([3]))]
    by_number = {item.number: item for item in outcomes_of(jobs)}
    assert by_number[7].reason == "no good"
    assert by_number[0].status is Status.CONVERGED


def test_the_sink_is_told_when_nothing_is_finished():
    idle = []

    def items():
        deadline = time.monotonic() + 20
        while not idle and time.monotonic() < deadline:
            time.sleep(0.01)
        yield from ()

    scheduler().run(items(), lambda item: idle.append(item))
    assert idle == [None]


def test_other_structures_of_the_same_classes_make_no_new_trace():
    # A potential of this test's own, so that the first batch is the first.
    potential = kr.potentials.LennardJones(epsilon=0.0123, sigma=3.4)

    def relax(sizes, seed, **options):
        with count_programs() as programs:
            kr.relax(argon_clusters(sizes, seed), potential, max_steps=5, n_workers=1, **options)
        return programs.n_traced("_advance")

    # Two size classes.
    assert relax([3, 8, 13], 0) == 2
    assert relax([2, 4, 9, 16, 16, 5], 1) == 0
    assert relax([7] * 70 + [12], 2, fmax=0.3) == 0
    assert relax([1], 3) == 0
    # Another dtype is another program.
    assert relax([3], 4, dtype="float32") == 1


def test_workers_make_64_bit_numbers_whatever_the_flag_is():
    jobs = jobs_of(argon_clusters([5]))
    for flag in (False, True):
        with jax.enable_x64(flag):
            [outcome] = outcomes_of(jobs, n_workers=1)
            assert not np.array_equal(outcome.positions, outcome.positions.astype(np.float32))
            assert jax.config.jax_enable_x64 == flag


def test_a_slow_input_does_not_keep_structures_waiting_for_ever(monkeypatch):
    monkeypatch.setattr("kups_relax.relaxation._queues.PATIENCE", 0.2)
    got = []

    def items():
        # Fewer than there are lanes, in no class.
        yield from jobs_of(argon_clusters([8, 20, 3]))
        deadline = time.monotonic() + 60
        while len(got) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(got) == 3

    scheduler().run(items(), lambda item: got.append(item) if item else None)


@pytest.mark.parametrize(
    ("n_atoms", "n_lanes", "n_steps"),
    [(8, 64, 200), (1024, 1, 200), (131072, 1, 7), (1 << 22, 1, 1)],
)
def test_the_host_looks_often_at_structures_whose_steps_take_long(n_atoms, n_lanes, n_steps):
    assert steps_of_a_call(SizeClass(n_atoms, n_lanes)) == n_steps
