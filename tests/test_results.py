"""A `Result` and a `Store` are indexed, selected, shown and written in the same ways."""

import json
import re

import ase.io
import numpy as np
import pytest
from ase import Atoms

import kups_relax as kr
from helpers import argon, argon_clusters, assert_same_bits, assert_same_result
from kups_relax import errors
from kups_relax.errors import OptionError, StoreError, UnknownStructureError

QUICK = {"max_steps": 8}
KINDS = ("memory", "store")


def inputs():
    """Some that converge, some that do not, one without atoms, one that is not finite."""
    same = [Atoms("Ar2", [[0, 0, 0], [0, 0, 3.8164]], info={"id": "pair"}) for _ in range(2)]
    odd = [Atoms(info={"id": "nothing"}), Atoms("Ar2", [[0, 0, 0], [0, 0, np.nan]])]
    return [same[0], *argon_clusters([3, 8]), *odd, same[1]]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    path = tmp_path_factory.mktemp("results") / "all.h5"
    options = {**QUICK, "trajectory": 4, "trajectory_of": ["Ar8-1"]}
    memory = kr.relax(inputs(), argon(), **options)
    return {"memory": memory, "store": kr.relax(inputs(), argon(), output=path, **options)}


@pytest.fixture(params=KINDS)
def results(request, both):
    return both[request.param]


def places(results, item):
    """What NumPy makes of an item, on the positions."""
    return np.arange(len(results))[item].tolist()


def test_an_item_is_the_atoms_with_results_attached(results):
    for place, name in enumerate(results.ids):
        for item in (place, place - len(results), np.int32(place), np.array(place)):
            assert results[item].info["id"] == name
            assert_same_bits(results[item].positions, results.atoms[place].positions)
            assert results[item].info["status"] == results.status[place]
        assert_same_bits(results[name].positions, results[place].positions)
    one = results["Ar3-0"]
    assert isinstance(one, Atoms)
    assert one.get_potential_energy() == results.energy[1]
    assert np.linalg.norm(one.get_forces(), axis=1).max() == pytest.approx(results.fmax[1])


@pytest.mark.parametrize(
    "item",
    [
        slice(2, 5),
        slice(None, None, -2),
        slice(5, 2),
        [4, 0, -1, 0],
        np.array([2, 2], np.uint8),
        np.array([True, False, True, False, False, True]),
        [False] * 6,
        [],
    ],
    ids=str,
)
def test_several_are_results_of_that_part(results, item):
    part = results[item]
    expected = places(
        results, np.asarray(item, int) if isinstance(item, list) and not item else item
    )
    assert type(part) is type(results)
    assert part.options == results.options
    assert part.ids == [results.ids[i] for i in expected]
    assert part.status.tolist() == [results.status[i] for i in expected]
    for here, there in enumerate(expected):
        if results.n_atoms[there] and part.status[here] != "failed":
            assert_same_result(part, here, results, there)
    assert len(list(part)) == len(part) == len(expected)
    assert_same_bits(part.energy, results.energy[expected])
    if isinstance(item, slice):
        assert [len(a) for a in results.atoms[item]] == part.n_atoms.tolist()


def test_ids_in_a_list_are_results_of_these(results):
    assert results[["Ar8-1", "pair"]].ids == ["Ar8-1", "pair"]
    assert results[np.array(["Ar8-1"])].n_atoms.tolist() == [8]
    assert results[["Ar8-1", 0]].ids == ["Ar8-1", "pair"]


def test_a_column_is_a_mask(results):
    assert results[results.converged].counts == {"converged": int(results.converged.sum())}
    assert set(results[results.n_atoms == 8].ids) == {"Ar8-1"}


def test_iteration_gives_the_atoms_in_order(results):
    assert [len(a) for a in results] == results.n_atoms.tolist()
    assert [a.info["id"] for a in results] == list(results.ids)
    assert [len(a) for a in reversed(results)] == results.n_atoms.tolist()[::-1]


def test_an_id_is_in_the_results(results):
    assert "Ar8-1" in results
    assert "Ar8" not in results
    assert results[1] in results
    assert Atoms("H") not in results


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("Ar8-2", "there is no structure 'Ar8-2'. Near: 'Ar8-1', 'Ar3-0'"),
        ("zzzzzz", "there is no structure 'zzzzzz'. Ids are 'pair', 'Ar3-0', 'Ar8-1', ..."),
        (6, "there is no structure 6; positions are 0 to 5"),
        (-7, "there is no structure -7"),
        ([0, 99], "there is no structure 99"),
        (["pair", "pear"], "there is no structure 'pear'. Near: 'pair'"),
    ],
    ids=str,
)
def test_one_that_is_not_there_is_said_with_those_near(results, item, message):
    with pytest.raises(UnknownStructureError, match=f"^{re.escape(message)}"):
        results[item]


def test_one_that_is_not_there_is_caught_as_python_names_it(results):
    for error in (KeyError, IndexError, errors.KupsRelaxError):
        with pytest.raises(error):
            results["other"]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (True, "got a bool True; expected a position"),
        (1.0, "got a float 1.0; expected a position"),
        (None, "got a NoneType None; expected a position"),
        ([True, False], "the mask has 2 entries; expected 6"),
        (np.array([0.0, 1.0]), "got a ndarray of shape (2,) and dtype float64"),
        ([0, None], "got None in a list"),
        ([[0, 1]], "got a list of shape (1, 2)"),
        ([[0], [1, 2]], "got a list of uneven rows"),
        (slice("a", None), "slice('a', None, None): expected integers"),
        (slice(0, 4, 0), "slice(0, 4, 0): expected integers, and a step other than 0"),
        ({"pair"}, "got a set {'pair'}"),
    ],
    ids=str,
)
def test_what_is_no_item_is_refused_in_words(results, item, message):
    with pytest.raises(OptionError, match=f"^{re.escape(message)}"):
        results[item]


def test_parts_of_parts_and_by_status(results):
    failed = results.select("failed")
    assert set(failed.status) == {"failed"}
    assert set(failed.ids) >= {"nothing"}
    assert results.select("failed", "converged")[::-1].select("failed").ids == failed.ids[::-1]
    assert len(results.select()) == 0
    with pytest.raises(OptionError, match="no status 'done'; expected converged, max_steps"):
        results.select("done")


def test_trajectories_are_found_by_place_and_id(results):
    assert len(results.trajectory("Ar8-1")) == len(results.trajectory(2)) > 1
    assert len(results[1:].trajectory(1)) == len(results.trajectory(2))
    with pytest.raises(UnknownStructureError, match="no structure 'Ar8'"):
        results.trajectory("Ar8")
    with pytest.raises(OptionError, match="one structure"):
        results.trajectory([0, 1])  # pyright: ignore


# How results show themselves


def test_its_text_counts_and_gives_the_first_reason_of_each_status(results):
    lines = repr(results).splitlines()
    name = type(results).__name__
    assert lines[0] == f"{name}(6 structures: 3 converged, 2 failed, 1 max_steps)"
    assert lines[1].startswith("  max_steps: 'Ar8-1': fmax not reached; raise max_steps")
    assert lines[2].startswith("  failed, the first of 2: 'nothing': ")
    assert len(lines) == 3
    assert repr(results[:1]) == f"{name}(1 structure: 1 converged)"
    assert repr(results[:0]) == f"{name}(0 structures)"


def test_what_is_wrong_for_all_is_said_once_and_first():
    result = kr.relax(argon_clusters([3, 3]), kr.potentials.MMFF94())
    lines = repr(result).splitlines()
    assert lines[0] == "Result(2 structures: 2 failed)"
    assert len(lines) == 2
    assert lines[1].startswith("  all: ")
    assert "'Ar3-0'" not in lines[1]


def test_ids_cannot_write_to_the_terminal():
    bad = Atoms(info={"id": "\x1b]52;c;x\x07\nb: converged"})
    shown = repr(kr.relax([bad, *argon_clusters([2])], argon(), **QUICK))
    assert shown.replace("\n", "").isprintable()
    assert "failed: '" in shown.splitlines()[1]


def test_a_notebook_shows_a_table(results):
    page = results._repr_html_()
    assert page.count("<tr>") == 7
    assert "3 converged, 2 failed, 1 max_steps" in page
    assert "<td>Ar8-1</td><td>8</td><td>8</td>" in page
    assert "nan" not in page
    many = results[[0] * 40]._repr_html_()
    assert many.count("<tr>") == 12
    assert "<td>...</td>" in many


def test_a_notebook_obeys_no_id():
    bad = Atoms("Ar", info={"id": "<script>alert(1)</script>"})
    assert "<script>" not in kr.relax(bad, argon(), **QUICK)._repr_html_()


# Writing


def test_results_in_memory_become_the_store_that_the_run_would_have_written(both, tmp_path):
    memory, there = both["memory"], both["store"]
    assert memory.write(tmp_path / "saved.h5") == 6
    saved = kr.open(tmp_path / "saved.h5")
    assert saved.complete
    assert saved.options == there.options == json.loads(json.dumps(memory.options))
    assert saved.versions == there.versions
    for name in ("ids", "status", "reason", "fingerprint", "n_steps", "n_evaluations"):
        assert list(getattr(saved, name)) == list(getattr(there, name))
    assert saved.done == there.done
    assert [a == b for a, b in zip(saved, there, strict=True)].count(True) == 5  # one is NaN
    assert len(saved.trajectory("Ar8-1")) == len(memory.trajectory("Ar8-1"))


def test_a_run_resumes_from_results_that_were_saved(tmp_path):
    structures = argon_clusters([3, 8])
    kr.relax(structures, argon(), **QUICK).write(tmp_path / "x.h5")
    again = kr.relax(structures, argon(), output=tmp_path / "x.h5", resume=True, **QUICK)
    assert again.ids == ["Ar3-0", "Ar8-1"]


def test_a_part_is_saved_with_places_of_its_own(both, tmp_path):
    both["memory"][[2, 1]].write(tmp_path / "part.h5")
    part = kr.open(tmp_path / "part.h5")
    assert part.ids == ["Ar8-1", "Ar3-0"]
    assert part.input_index.tolist() == [0, 1]


@pytest.mark.parametrize("ending", [".extxyz", ".traj", ".db", ".csv"])
def test_both_write_the_same_file(both, ending, tmp_path):
    paths = [tmp_path / f"{kind}{ending}" for kind in KINDS]
    wanted = [1, 2, 0, 3]
    counts = [both[kind][wanted].write(path) for kind, path in zip(KINDS, paths, strict=True)]
    assert counts == ([4, 4] if ending == ".csv" else [3, 3])
    if ending == ".csv":
        assert paths[0].read_text() == paths[1].read_text()
        return
    one, other = (ase.io.read(path, ":") for path in paths)
    assert [a.get_potential_energy() for a in one] == both["memory"].energy[wanted[:3]].tolist()
    assert one == other


def test_an_sdf_keeps_the_bonds(tmp_path):
    pytest.importorskip("rdkit", reason="bonds are RDKit's")
    from rdkit import Chem

    (tmp_path / "m.smi").write_text("C methane\nO water\nbad(\n")
    wells = kr.potentials.Harmonic(0.5, 1.0)
    result = kr.relax(tmp_path / "m.smi", wells, **QUICK)
    assert result.write(tmp_path / "m.sdf") == 2
    assert [
        m.GetNumBonds() for m in Chem.SDMolSupplier(str(tmp_path / "m.sdf"), removeHs=False)
    ] == [4, 2]


def test_what_exists_is_not_lost(results, tmp_path):
    path = tmp_path / "out.extxyz"
    results.select("max_steps").write(path)
    with pytest.raises(StoreError, match="exists"):
        results.write(path)
    assert results[:1].write(path, overwrite=True) == 1
    with pytest.raises(OptionError, match="expected one of"):
        results.write(tmp_path / "out.pdf")


def test_a_store_is_not_overwritten_unasked(both, tmp_path):
    both["memory"].write(tmp_path / "x.h5")
    with pytest.raises(StoreError, match="exists"):
        both["memory"].write(tmp_path / "x.h5")
    both["memory"][:2].write(tmp_path / "x.h5", overwrite=True)
    assert len(kr.open(tmp_path / "x.h5")) == 2


def test_changes_in_atoms_are_written(tmp_path):
    result = kr.relax(argon_clusters([3]), argon(), **QUICK)
    result[0].info["label"] = "mine"
    result[:].write(tmp_path / "out.extxyz")
    assert ase.io.read(tmp_path / "out.extxyz").info["label"] == "mine"
