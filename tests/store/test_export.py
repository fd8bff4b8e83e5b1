"""Exporting a store: the same files as a run that writes them itself, and nothing held."""

import csv
import tracemalloc

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.constraints import FixAtoms
from ase.db import connect

import kups_relax as kr
from helpers import argon_clusters, bits
from kups_relax.errors import OptionError, StoreError, StructureError
from kups_relax.store import _store
from made_stores import made_record, made_records, made_store
from support.crossing import first


@pytest.fixture(scope="module")
def clusters():
    """Of all kinds: converged, out of steps, refused, held atoms, a crystal, ids like numbers."""
    structures = argon_clusters([3, 8, 5, 13])
    structures[0].info["id"] = "7"
    structures[1].set_constraint(FixAtoms([0]))
    structures[2].positions[1] = structures[2].positions[0]
    structures[3].info["note"] = "C\\C=C\\C"
    return [*structures, bulk("Ar", "fcc", a=5.3, cubic=True)]


@pytest.fixture(scope="module")
def potential():
    return kr.potentials.LennardJones(epsilon=0.0104, sigma=3.4, cutoff=8.5)


@pytest.fixture(scope="module")
def stored(clusters, potential, tmp_path_factory):
    path = tmp_path_factory.mktemp("stored") / "run.h5"
    return kr.relax(clusters, potential, output=path, max_steps=20)


@pytest.mark.parametrize("ending", ["extxyz", "traj", "csv"])
def test_files_are_those_that_relax_writes(ending, clusters, potential, stored, tmp_path):
    got, expected = tmp_path / f"got.{ending}", tmp_path / f"expected.{ending}"
    result = kr.relax(clusters, potential, output=expected, max_steps=20)
    assert result.counts == stored.counts
    assert len(stored.counts) == 3
    assert kr.store.export(stored, got) == 5
    if ending == "csv":
        assert got.read_bytes() == expected.read_bytes()
        return
    for one, other in zip(ase.io.read(got, ":"), ase.io.read(expected, ":"), strict=True):
        assert one == other
        # As text: NaN is not equal to itself.
        assert {k: repr(v) for k, v in one.info.items()} == {
            k: repr(v) for k, v in other.info.items()
        }
        assert [c.todict() for c in one.constraints] == [c.todict() for c in other.constraints]
        results = other.calc.results if other.calc else {}
        assert (one.calc.results if one.calc else {}).keys() == results.keys()
        for name, value in results.items():
            assert np.array_equal(bits(one.calc.results[name]), bits(value))


def test_sdf_is_that_of_relax_and_leaves_out_what_was_refused(tmp_path):
    pytest.importorskip("rdkit", reason="reads SMILES")
    (tmp_path / "in.smi").write_text("CCO\tethanol\nC1CC(\tbroken\n[NH4+]\tammonium\n")
    run = {"max_steps": 20, "potential": "mmff94"}
    stored = kr.relax(tmp_path / "in.smi", output=tmp_path / "run.h5", **run)
    kr.relax(tmp_path / "in.smi", output=tmp_path / "expected.sdf", **run)
    assert kr.store.export(stored, tmp_path / "got.sdf") == 2
    assert (tmp_path / "got.sdf").read_bytes() == (tmp_path / "expected.sdf").read_bytes()


def test_a_refused_molecule_does_not_cost_an_sdf_file(tmp_path):
    Chem = pytest.importorskip("rdkit.Chem", reason="makes molecules")
    from rdkit.Chem import AllChem

    mols = [Chem.AddHs(Chem.MolFromSmiles(smiles)) for smiles in ("CCO", "CO")]
    for mol in mols:
        AllChem.EmbedMolecule(mol, randomSeed=1)
    conformer = mols[1].GetConformer()
    conformer.SetAtomPosition(1, conformer.GetAtomPosition(0))
    path = tmp_path / "out.sdf"
    result = kr.relax(mols, "mmff94", output=path, max_steps=2)
    assert result.status.tolist() == ["max_steps", "failed"]
    assert len(ase.io.read(path, ":")) == 1
    store = kr.relax(mols, "mmff94", output=tmp_path / "run.h5", max_steps=2)
    assert kr.store.export(store, tmp_path / "got.sdf") == 1
    assert (tmp_path / "got.sdf").read_bytes() == path.read_bytes()


def test_a_database_has_the_bits_and_can_be_searched(stored, tmp_path):
    path = tmp_path / "out.db"
    assert kr.store.export(stored, path) == 5
    with connect(path) as database:
        rows = list(database.select())
        assert [r.id for r in database.select(status="max_steps")] == [
            i + 1 for i in (stored.status == "max_steps").nonzero()[0]
        ]
    for i, row in enumerate(rows):
        atoms = stored[i]
        assert np.array_equal(bits(row.positions), bits(atoms.positions))
        assert row.key_value_pairs["n_steps"] == stored.n_steps[i]
        assert row.fingerprint == stored.fingerprint[i]
        label = row.data["id"] if i == 0 else row.structure_id
        assert label == stored.ids[i]
        if atoms.calc is not None:
            assert row.energy == stored.energy[i]
            assert row.judged_fmax == stored.fmax[i]
            assert np.array_equal(bits(row.forces), bits(atoms.calc.results["forces"]))
    assert "judged_fmax" not in rows[2].key_value_pairs
    assert rows[2].reason == stored.reason[2]
    assert rows[3].data["note"] == "C\\C=C\\C"
    assert np.array_equal(rows[1].toatoms().constraints[0].index, [0])


def test_parts_are_exported_in_their_order(stored, tmp_path):
    path = tmp_path / "out.csv"
    assert kr.store.export(stored.select("converged", "failed")[::-1], path) > 1
    with path.open() as file:
        ids = [row["id"] for row in csv.DictReader(file)]
    assert (
        ids == [i for i, s in zip(stored.ids, stored.status, strict=True) if s != "max_steps"][::-1]
    )


def test_nothing_is_written_over_or_half(stored, tmp_path, monkeypatch):
    path = tmp_path / "out.extxyz"
    path.write_text("mine")
    with pytest.raises(StoreError, match="exists"):
        kr.store.export(stored, path)
    monkeypatch.setattr("kups_relax.io._extxyz._frame", lambda shown: 1 / 0)
    with pytest.raises(StructureError, match="cannot be given back by extended XYZ"):
        kr.store.export(stored, path, overwrite=True)
    assert path.read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["out.extxyz"]


def test_a_format_that_does_not_fit_is_refused(stored, tmp_path):
    with pytest.raises(StructureError, match="came without bonds"):
        kr.store.export(stored, tmp_path / "out.sdf")
    with pytest.raises(OptionError, match="would be a store again"):
        kr.store.export(stored, tmp_path / "out.h5")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("usual_garbage_collection")
@pytest.mark.parametrize("ending", first(["extxyz", "traj"]))
def test_structures_are_not_held_in_memory(ending, tmp_path, monkeypatch):
    monkeypatch.setattr(_store, "_BYTES", 100_000)
    peaks = []
    for n in (300, 900):
        store = made_store(tmp_path / f"{n}.h5", made_records(n))
        tracemalloc.start()
        assert kr.store.export(store, tmp_path / f"{n}.{ending}") == n
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Columns and the table take 1 kB; a structure of 12 atoms as Atoms, with results, 5 kB.
    assert peaks[1] - peaks[0] < 600 * 1500


def test_an_export_of_nothing_is_a_file_of_nothing(tmp_path):
    store = made_store(tmp_path / "none.h5", [])
    for ending in ("extxyz", "csv", "db"):
        assert kr.store.export(store, tmp_path / f"out.{ending}") == 0
        assert (tmp_path / f"out.{ending}").exists()


def test_a_summary_counts_parts(tmp_path):
    rng = np.random.default_rng(0)
    records = [made_record(i, rng, n_frames=3 * (i == 1)) for i in range(3)]
    store = made_store(tmp_path / "run.h5", records)
    facts = kr.store.summary(store[1:])
    assert facts["n_structures"] == 2
    assert facts["with_trajectory"] == ["made-1"]
    assert facts["first_finished"] == records[1].finished
    assert facts["n_steps"]["most"] == max(r.n_steps for r in records[1:])
