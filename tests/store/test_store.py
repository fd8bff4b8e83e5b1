"""What a store says is what the same run says in memory, to the bit."""

import datetime
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms, constraints
from ase.build import bulk, molecule
from ase.spacegroup import crystal
from store_cases import assert_same_atoms, assert_same_results, poisoned_clusters, same

import kups_relax as kr
from helpers import ARGON, argon, argon_cluster, argon_clusters
from kups_relax import _bits
from kups_relax.errors import LeftOutWarning, OptionError, StoreError
from kups_relax.store import _writer
from support.crossing import first


def both(path: Path, structures: Any, potential: Any = None, **options: Any) -> Any:
    """The same run, in memory and in a store."""
    potential = potential or argon()
    memory = kr.relax(structures, potential, progress=False, **options)
    store = kr.relax(structures, potential, output=path, progress=False, **options)
    return memory, store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.h5"


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write every structure as soon as it is finished."""
    monkeypatch.setattr(_writer, "_MOST", 1)


def relaxed(path: Path, structures: Any, **options: Any) -> kr.Store:
    options = {"potential": argon(), "progress": False, **options}
    return kr.relax(structures, output=path, **options)  # pyright: ignore


# All that a structure gets and carries


def test_clusters_and_what_cannot_be_relaxed(path: Path) -> None:
    memory, store = both(path, poisoned_clusters())
    assert memory.counts == {"converged": 7, "failed": 4}
    assert_same_results(store, memory)
    assert_same_results(kr.open(path), memory)


@pytest.mark.usefixtures("one_by_one")
def test_widths_may_grow_from_batch_to_batch(path: Path) -> None:
    clusters = [*argon_clusters([1, 2, 3, 5, 8]), Atoms(), *argon_clusters([13, 34, 4], seed=2)]
    memory, store = both(path, clusters, max_steps=5, n_workers=1)
    assert_same_results(store, memory)


def test_float32(path: Path) -> None:
    memory, store = both(path, poisoned_clusters(), dtype="float32")
    assert_same_results(store, memory)
    assert store.options["dtype"] == "float32"


def test_nothing_but_unreadable_entries(path: Path) -> None:
    memory, store = both(path, [Atoms(), None, Atoms()])
    assert store.counts == {"failed": 3}
    assert_same_results(store, memory)


@pytest.mark.parametrize("constants", first([(5.2, 5.4), (5.2, 5.4, 5.6)]))
def test_crystals_whose_cells_change(path: Path, constants: tuple[float, ...]) -> None:
    crystals = [bulk("Ar", a=a, cubic=True) for a in constants]
    crystals[0].rattle(0.05, seed=1)
    crystals[1].pbc = [True, True, False]
    crystals[1].center(vacuum=4.0, axis=2)
    solid = kr.potentials.LennardJones(**ARGON, cutoff=6.0)
    mixed = [*crystals, argon_cluster(4)]
    memory, store = both(path, mixed, solid, cell="frechet", max_steps=20)
    assert "stress" in store.atoms[0].calc.results
    assert "stress" not in store.atoms[-1].calc.results
    for i in {0, *range(2, len(crystals))}:
        assert not np.array_equal(store.atoms[i].cell.array, crystals[i].cell.array)
    assert_same_results(store, memory)


@pytest.mark.parametrize(
    "constraint",
    [
        constraints.FixAtoms([0, -1]),
        constraints.FixCartesian([1], [True, False, True]),
        constraints.FixScaled([0, 2], [False, True, True]),
        constraints.FixedLine([1, 2], [0.1, 0.2, 0.3]),
        constraints.FixedPlane(3, [1, 0, 7]),
        constraints.FixCom(),
        constraints.Hookean(0, 1, 3.0, rt=4.0),
    ],
    ids=lambda c: type(c).__name__,
)
def test_constraints_are_kept(path: Path, constraint: Any) -> None:
    crystal = bulk("Cu", cubic=True)
    crystal.rattle(0.05, seed=1)
    crystal.set_constraint([constraint, constraints.FixAtoms([2])])
    memory, store = both(path, crystal, kr.potentials.EMT(), max_steps=3)
    assert_same_results(store, memory)


def test_fix_symmetry_keeps_its_operations(path: Path) -> None:
    pytest.importorskip("spglib", reason="FixSymmetry needs spglib")
    salt = bulk("CuAu", "rocksalt", a=5.1)
    salt.set_constraint(constraints.FixSymmetry(salt))
    memory, store = both(path, salt, kr.potentials.EMT(), max_steps=2)
    [got], [expected] = store.atoms[0].constraints, memory.atoms[0].constraints
    for name in ("rotations", "translations", "symm_map"):
        assert same(getattr(got, name), getattr(expected, name)), name
    assert np.array_equal(got.atoms.positions, expected.atoms.positions)
    assert got.symprec == expected.symprec
    assert store.fingerprint.tolist() == memory.fingerprint.tolist()
    again = [kr.relax(a, kr.potentials.EMT(), progress=False) for a in (store[0], memory.atoms[0])]
    assert again[0].fingerprint.tolist() == again[1].fingerprint.tolist()


class _Own(constraints.FixConstraint):
    """A constraint that ASE does not know."""

    def todict(self) -> dict[str, Any]:
        return {"name": "Own", "kwargs": {}}


def test_a_constraint_that_cannot_be_made_again_is_named(path: Path) -> None:
    atoms = argon_cluster(3)
    atoms.set_constraint([_Own(), constraints.FixAtoms([0])])
    with pytest.warns(LeftOutWarning, match="'Ar3-0': left out constraint 0, _Own: "):
        store = relaxed(path, atoms)
    assert store.status.tolist() == ["failed"]
    [atoms] = store.atoms
    assert [type(c) for c in atoms.constraints] == [constraints.FixAtoms]


def test_info_and_arrays_keep_types_and_bits(path: Path) -> None:
    atoms = argon_cluster(3)
    atoms.set_tags([1, 2, 3])
    atoms.set_initial_magnetic_moments([0.1, -0.2, 0.3])
    atoms.set_initial_charges([0.5, 0.0, -0.5])
    atoms.set_masses([1.0, 2.0, 3.0])
    atoms.set_celldisp([0.1, 0.2, 0.3])
    atoms.set_array("names", np.array(["CA", "β", ""]))
    atoms.set_array("singles", np.arange(3, dtype=np.float32) / 3)
    atoms.set_array("flags", np.array([True, False, True]))
    atoms.set_array("tensors", np.random.default_rng(0).normal(size=(3, 3, 3)))
    atoms.set_array("odd", np.array([np.nan, -0.0, np.inf]))
    atoms.set_array("none", np.array([None, "x", 1.5], object))
    atoms.info |= {
        "levels": [1, 2, 3],
        "pair": (1, 2.5),
        "nested": {"1": [0.1, {"deep": np.arange(3)}], 2: "two"},
        "array": np.array([0.1, np.nan]),
        "matrices": [np.eye(2), np.eye(3)],
        "NaN": float("nan"),
        "flag": True,
        "none": None,
        "numpy": np.float64(0.1),
        "whole": np.int64(3),
        "single": np.float32(0.1),
        "truth": np.bool_(True),
        "large": 2**70,
        "digits": [10**5000, -(10**5000)],
        "text": 'quotes ", newline \n, NUL \0, ünïcode 🎉, surrogate \ud800',
        "bytes": b"\x00\xff",
        "complex": 1 - 2j,
        "look-alike": {"__ndarray__": 1},
        "another": {"array": [1, 2]},
        7: "key that is no text",
        "when": datetime.date(2020, 1, 1).isoformat(),
        "cell": bulk("Cu").cell,
        "atoms": molecule("H2O"),
        "": "",
    }
    memory, store = both(path, atoms)
    assert_same_results(store, memory)


def test_info_that_cannot_be_stored_is_named_and_left_out(path: Path) -> None:
    atoms = argon_cluster(3)
    loop: list[Any] = []
    loop.append(loop)
    atoms.info |= {"function": len, "set": {1}, "good": 1, "loop": loop, "deep": {"a": print}}
    with pytest.warns(LeftOutWarning) as caught:
        store = relaxed(path, atoms)
    assert store[0].info["good"] == 1
    assert not {"function", "set", "loop", "deep"} & store[0].info.keys()
    told = "".join(str(warning.message) for warning in caught)
    for name in ("function", "set", "loop", "deep"):
        assert f"'Ar3-0': left out info['{name}'] (" in told


def test_a_cif_keeps_its_space_group(path: Path, tmp_path: Path) -> None:
    structure = crystal("Cu", [(0, 0, 0)], spacegroup=225, cellpar=[3.7, 3.7, 3.7, 90, 90, 90])
    ase.io.write(tmp_path / "copper.cif", structure)
    memory, store = both(path, [tmp_path / "copper.cif", structure], kr.potentials.EMT())
    assert store[0].info["spacegroup"].no == 1 or store[0].info["spacegroup"].no == 225
    assert_same_results(store, memory)


def test_molecules_keep_charges_isotopes_properties_and_topology(
    path: Path, tmp_path: Path
) -> None:
    pytest.importorskip("rdkit", reason="reading SMILES and SDF needs RDKit")
    from rdkit import Chem
    from rdkit.Chem import AllChem

    mol = Chem.AddHs(Chem.MolFromSmiles("[2H]C([2H])O"))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    mol.SetProp("_Name", "heavy")
    mol.SetProp("IC50", "7.5")
    mol.SetProp("note", "ünïcode")
    with Chem.SDWriter(str(tmp_path / "in.sdf")) as writer:
        writer.write(mol)
    (tmp_path / "in.smi").write_text("C[NH3+] ammonium\nthis-is-none bad\n[O-]C=O\n")
    memory, store = both(
        path,
        [tmp_path / "in.sdf", tmp_path / "in.smi", Chem.MolFromSmiles("CO")],
        kr.potentials.MMFF94(),
        n_conformers=2,
        max_steps=3,
    )
    assert len(store) == 1 + 2 + 1 + 2 + 2
    assert_same_results(store, memory)
    topology = store.topology(0)
    assert topology.GetNumConformers() == 0
    assert [a.GetIsotope() for a in topology.GetAtoms()][:2] == [2, 0]
    assert topology.GetProp("IC50") == "7.5"
    assert store.topology(3) is None


@pytest.mark.parametrize(
    "label", ["ünïcode 🎉", "a/b:c#2", "17", '"quoted"', "x" * 5000, " line\n"]
)
def test_odd_ids(path: Path, label: str) -> None:
    atoms = argon_cluster(3)
    atoms.info["id"] = label
    memory, store = both(path, [atoms, atoms])
    assert_same_results(store, memory)
    assert_same_atoms(store[memory.ids[1]], memory.atoms[1])


def test_what_hdf5_cannot_hold_in_ids_is_replaced(path: Path) -> None:
    nul, lone = argon_cluster(3), argon_cluster(2)
    nul.info["id"], lone.info["id"] = "a\0b", "a\ud800"
    store = relaxed(path, [nul, lone])
    assert store.ids == ["ab", "a?"]
    assert store["ab"].info["id"] == "ab"


def test_very_long_reasons(path: Path) -> None:
    entries = [kr.io.Unreadable(id="bad", reason="ü" * 100_000)]
    memory, store = both(path, entries)
    assert_same_results(store, memory)


def test_structures_without_atoms_objects_keep_their_charge(path: Path) -> None:
    plain = kr.Structure(
        id="plain",
        numbers=np.array([18, 18], np.int32),
        positions=np.array([[0.0, 0, 0], [0, 0, 3.8]]),
        charge=1,
    )
    memory, store = both(path, [plain])
    assert_same_results(store, memory)


# Order and access


@pytest.mark.usefixtures("one_by_one")
def test_order_is_the_callers_whatever_finishes_first(path: Path) -> None:
    clusters = argon_clusters([13, 2, 8, 1, 5, 3])
    memory, store = both(path, clusters, n_workers=2)
    assert_same_results(store, memory)
    assert store.input_index.tolist() == list(range(6))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> kr.Store:
    return relaxed(tmp_path_factory.mktemp("mixed") / "mixed.h5", poisoned_clusters(), max_steps=8)


def test_items_by_place_and_by_id(mixed: kr.Store) -> None:
    for i, label in enumerate(mixed.ids):
        assert_same_atoms(mixed[i], mixed[label])
        assert_same_atoms(mixed[i], mixed[i - len(mixed)])
        assert_same_atoms(mixed[np.int64(i)], mixed.atoms[i])  # pyright: ignore
    for place in (len(mixed), -len(mixed) - 1):
        with pytest.raises(IndexError, match=f"no structure {place}"):
            mixed[place]
    with pytest.raises(KeyError, match="no structure 'missing'"):
        mixed["missing"]


@pytest.mark.parametrize(
    "part", [slice(2, 5), slice(None, None, -1), slice(-3, None), slice(1, 9, 3), slice(5, 2)]
)
def test_slices_are_stores(mixed: kr.Store, part: slice) -> None:
    got = mixed[part]
    assert isinstance(got, kr.Store)
    assert got.ids == mixed.ids[part]
    assert got.status.tolist() == mixed.status[part].tolist()
    assert got.input_index.tolist() == list(range(len(mixed)))[part]
    for one, other in zip(got, list(mixed)[part], strict=True):
        assert_same_atoms(one, other)
    for one, other in zip(mixed.atoms[part], got, strict=True):
        assert_same_atoms(one, other)
    assert got.counts == {} or sum(got.counts.values()) == len(got)


def test_parts_by_status(mixed: kr.Store) -> None:
    failed = mixed.select("failed")
    assert failed.ids == [i for i, s in zip(mixed.ids, mixed.status, strict=True) if s == "failed"]
    assert all(failed.reason)
    both = mixed.select("failed", "converged")
    assert set(both.status) == {"failed", "converged"}
    assert len(failed.select("converged")) == 0
    assert list(failed.select("converged")) == []
    assert failed.select("converged").counts == {}
    with pytest.raises(OptionError, match="no status 'done'; expected converged, max_steps"):
        mixed.select("done")


def test_a_store_says_how_it_was_made(mixed: kr.Store) -> None:
    assert mixed.complete
    assert mixed.n_input == len(mixed)
    assert mixed.options["fmax"] == 0.01
    assert mixed.options["max_steps"] == 8
    assert mixed.options["potential"] == json.loads(json.dumps(argon().describe()))
    packages = {"python", "kups-relax", "jax", "jaxlib", "numpy", "ase"}
    assert set(mixed.versions) == {*packages, "bits"}
    assert mixed.versions["bits"] == _bits.environment()
    assert repr(mixed).startswith("Store(11 structures: ")
    assert (mixed.finished > 1.7e9).all()


def test_results_can_be_read_while_they_are_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From another process, again and again, with a reader that keeps the file open, too."""
    monkeypatch.setattr(_writer, "_MOST", 4)
    clusters = argon_clusters([3, 5, 4, 6, 2] * 20)
    reader = subprocess.Popen(
        [sys.executable, "-c", _READER, str(path)], stdout=subprocess.PIPE, text=True
    )
    memory = kr.relax(clusters, argon(), progress=False)
    store = relaxed(path, clusters)
    out, _ = reader.communicate(timeout=60)
    assert reader.returncode == 0, out
    *_, last = out.split()
    assert last == "complete"
    assert_same_results(store, memory)


_READER = """
import sys, time, h5py, numpy as np
from pathlib import Path
import kups_relax as kr
path, held = Path(sys.argv[1]), None
for _ in range(4000):
    if not path.exists():
        time.sleep(0.01)
        continue
    if held is None:
        held = h5py.File(path, "r")
    store = kr.open(path)
    assert len(store.energy) == len(store.ids) == len(store)
    for atoms in store.atoms[:3]:
        assert np.isfinite(atoms.get_potential_energy())
    if store.complete:
        print("complete")
        break
    time.sleep(0.01)
"""


def test_finished_structures_are_there_while_others_run(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_writer, "_INTERVAL", 0.0)
    seen = threading.Event()

    def clusters() -> Any:
        yield from argon_clusters([3] * 400)
        deadline = time.monotonic() + 60
        while not (path.exists() and len(kr.open(path))) and time.monotonic() < deadline:
            yield argon_cluster(3)
            time.sleep(0.01)
        seen.set() if len(kr.open(path)) else None
        assert not kr.open(path).complete
        assert kr.open(path).n_input is None

    relaxed(path, clusters())
    assert seen.is_set()


@pytest.mark.parametrize("content", [b"", b"no HDF5", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_what_is_no_store_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreError, match="cannot be read as HDF5"):
        kr.open(path)
    assert path.read_bytes() == content


def test_a_missing_store_is_named(path: Path) -> None:
    with pytest.raises(StoreError, match=r"no file '.*run.h5'"):
        kr.open(path)
