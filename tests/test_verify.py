"""`verify`: it counts what it compared, and it would notice."""

import dataclasses

import numpy as np
import pytest
from ase import Atoms

import kups_relax as kr
from helpers import argon, argon_clusters
from kups_relax import _verify
from kups_relax.errors import OptionError, StructureError

QUICK = {"fmax": 0.05, "max_steps": 20}


def test_batching_changes_nothing():
    clusters = argon_clusters([3, 8, 5, 2, 7, 13])
    report = kr.verify(clusters, argon(), draws=6, **QUICK)
    assert report.ok
    assert report.n_mismatches == 0
    assert report.n_structures == 6
    assert report.n_draws == 6
    # Every draw holds at least two structures and one again.
    assert report.n_comparisons >= 6 * 3
    assert str(report) == (
        f"6 structures alone and in 6 random batches: {report.n_comparisons} comparisons, "
        "0 mismatches"
    )


@pytest.mark.parametrize("options", [{"dtype": "float32"}, {"optimizer": "ase-lbfgs"}])
def test_options_of_relax_are_passed_on(options, monkeypatch):
    seen = []

    def relax(structures, potential, **given):
        seen.append(given)
        return kr.relax(structures, potential, **given)

    monkeypatch.setattr(_verify, "relax", relax)
    assert kr.verify(argon_clusters([3, 8]), argon(), draws=1, **QUICK, **options).ok
    assert len(seen) == 3
    for given in seen:
        assert given == {"progress": False, **QUICK, **options}


def test_batches_are_drawn_from_the_seed(monkeypatch):
    def drawn(seed):
        batches = []

        def relax(structures, potential, **options):
            batches.append([entry.id for entry in structures])
            return kr.relax(structures, potential, **options)

        monkeypatch.setattr(_verify, "relax", relax)
        kr.verify(argon_clusters([3, 8, 5, 2]), argon(), draws=4, seed=seed, **QUICK)
        return batches[4:]

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)
    for batch in drawn(0):
        assert len(set(batch)) >= 2
        assert len(batch) > len(set(batch))


@pytest.mark.parametrize("what", ["positions", "energy", "n_steps", "status"])
def test_a_single_bit_in_a_batch_is_noticed(what, monkeypatch):
    def relax(structures, potential, **options):
        result = kr.relax(structures, potential, **options)
        for i, label in enumerate(result.ids):
            if len(result) > 1 and label.startswith("Ar8"):
                if what == "positions":
                    result.atoms[i].positions[3, 1] *= 1 + 2**-52
                elif what == "energy":
                    result.energy[i] = np.nextafter(result.energy[i], 1)
                elif what == "n_steps":
                    result.n_steps[i] += 1
                else:
                    result.status[i] = "max_steps "
        return result

    monkeypatch.setattr(_verify, "relax", relax)
    report = kr.verify(argon_clusters([3, 8, 5]), argon(), draws=4, **QUICK)
    assert not report.ok
    assert report.n_mismatches >= 1
    assert {label for _, label in report.mismatches} == {"Ar8-1"}
    assert all(0 <= draw < 4 for draw, _ in report.mismatches)
    assert f"{report.n_mismatches} mismatches" in str(report)


def test_one_structure_is_compared_with_copies_of_itself():
    report = kr.verify(argon_clusters([5]), argon(), draws=2, **QUICK)
    assert report.ok
    assert report.n_comparisons == 4


def test_structures_that_fail_fail_alike():
    bad = Atoms("Ar2", [[0, 0, 0], [0, 0, 0]])
    assert kr.verify([*argon_clusters([5, 3]), bad], argon(), draws=3, **QUICK).ok


def test_nothing_compared_is_not_ok():
    report = kr.verify(argon_clusters([2]), argon(), draws=1, **QUICK)
    assert not dataclasses.replace(report, n_comparisons=0).ok


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 0}, "draws is 0; it must be a whole number"),
        ({"draws": 1.5}, "draws is 1.5"),
        ({"output": "out.extxyz"}, "leave output out"),
        ({"fmax": 0}, "fmax is 0"),
    ],
)
def test_options_without_sense_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        kr.verify(argon_clusters([2]), argon(), **{**QUICK, **options})


def test_nothing_to_verify_is_refused():
    with pytest.raises(StructureError, match="no structures"):
        kr.verify([], argon())
