"""`relax`: what goes in, what comes out, and what one bad structure does to the others."""

import csv
import re

import ase.io
import jax
import numpy as np
import optax
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones as AseLennardJones
from ase.constraints import FixAtoms, Hookean

import kups_relax as kr
from helpers import (
    ARGON,
    DTYPES,
    argon,
    argon_cluster,
    argon_clusters,
    assert_same_bits,
    assert_same_result,
)
from kups_relax.errors import KupsRelaxError, OptionError, StoreError, StructureError
from support.crossing import crossed

# Loose and short, where a test does not look at the physics.
QUICK = {"fmax": 0.05, "max_steps": 30, "progress": False}


def relax(structures, potential=None, **options):
    return kr.relax(structures, potential or argon(), **{**QUICK, **options})


# What comes out


def test_a_cluster_relaxes_to_a_minimum_of_ases_potential():
    result = kr.relax(argon_clusters([13, 5, 2]), argon(), fmax=1e-6)
    assert result.converged.all()
    for atoms, energy, fmax in zip(result.atoms, result.energy, result.fmax, strict=True):
        assert fmax < 1e-6
        assert atoms.get_potential_energy() == energy
        assert atoms.get_potential_energy(force_consistent=True) == energy
        again = atoms.copy()
        again.calc = AseLennardJones(**ARGON, rc=1000.0)
        np.testing.assert_allclose(again.get_potential_energy(), energy, rtol=1e-12)
        np.testing.assert_allclose(again.get_forces(), atoms.get_forces(), atol=1e-12)
        assert np.linalg.norm(atoms.get_forces(), axis=1).max() == pytest.approx(fmax, rel=1e-12)
    assert result.energy[2] == pytest.approx(-ARGON["epsilon"], rel=1e-9)
    assert result.atoms[2].get_distance(0, 1) == pytest.approx(2 ** (1 / 6) * 3.4, abs=1e-3)


def test_results_come_in_the_callers_order():
    sizes = [16, 2, 9, 3, 16, 1, 8, 5]
    clusters = argon_clusters(sizes)
    result = relax(clusters)
    assert [len(a) for a in result.atoms] == result.n_atoms.tolist() == sizes
    assert result.ids == [atoms.info["id"] for atoms in clusters]
    for i, atoms in enumerate(clusters):
        # Each moved a little from its own start, and not from another's.
        assert np.abs(result.atoms[i].positions - atoms.positions).max() < 0.2 * 30


def test_every_column_has_a_row_for_each_structure():
    result = relax([*argon_clusters([3, 9, 4]), Atoms()])
    for name in ("n_atoms", "energy", "fmax", "n_steps", "n_evaluations", "status", "reason"):
        assert getattr(result, name).shape == (4,), name
    assert result.energy.dtype == result.fmax.dtype == np.float64
    assert result.n_steps.dtype == result.n_evaluations.dtype == np.int64
    assert (result.n_evaluations[:3] == result.n_steps[:3] + 1).all()
    assert result.n_evaluations[3] == 0
    assert len(result) == len(result.ids) == len(result.structures) == 4


def test_what_the_input_carries_survives():
    atoms = argon_cluster(5)
    atoms.set_tags([1, 2, 3, 4, 5])
    atoms.set_initial_charges([0.1, 0, 0, 0, -0.1])
    atoms.set_masses(np.full(5, 36.0))
    atoms.set_array("site", np.arange(5))
    atoms.info.update(charge=0, source="test", nested={"a": [1, 2]})
    atoms.set_cell([20, 21, 22])
    before = atoms.copy()
    [got] = relax(atoms).atoms
    for name in ("numbers", "tags", "initial_charges", "masses", "site"):
        assert np.array_equal(got.get_array(name, copy=True), before.get_array(name)), name
    for key, value in before.info.items():
        assert got.info[key] == value
    assert got.info["status"] in ("converged", "max_steps")
    assert np.array_equal(got.cell.array, before.cell.array)
    assert not got.pbc.any()
    # What the caller holds is left alone, and shared with nothing.
    assert atoms == before
    assert atoms.calc is None
    assert atoms.info == before.info
    got.positions += 1
    got.info["nested"]["a"].append(3)
    assert atoms == before


def test_the_callers_calculator_is_neither_used_nor_kept():
    atoms = argon_cluster(3)
    atoms.calc = AseLennardJones(epsilon=5.0)
    [got] = relax(atoms).atoms
    assert not isinstance(got.calc, AseLennardJones)
    assert isinstance(atoms.calc, AseLennardJones)


def test_all_kinds_of_input_can_be_mixed(tmp_path):
    chem = pytest.importorskip("rdkit.Chem")
    rdkit = pytest.importorskip("rdkit.Chem.AllChem")
    mol = chem.AddHs(chem.MolFromSmiles("CO"))
    rdkit.EmbedMultipleConfs(mol, 2, randomSeed=1)
    mol.SetProp("_Name", "methanol")
    ase.io.write(tmp_path / "two.extxyz", argon_clusters([3, 4]))
    inputs = [argon_cluster(2), mol, tmp_path / "two.extxyz", [argon_cluster(5)]]
    wells = kr.potentials.Harmonic()
    result = kr.relax(inputs, wells, **QUICK)
    assert result.n_atoms.tolist() == [2, 6, 6, 3, 4, 5]
    assert result.ids == ["Ar2-0", "methanol/0", "methanol/1", "Ar3-0", "Ar4-1", "Ar5-0"]
    assert (result.status != "failed").all()
    single = kr.relax(str(tmp_path / "two.extxyz"), wells, **QUICK)
    assert_same_bits(single.energy, result.energy[3:5])
    generated = kr.relax((a for a in argon_clusters([3, 4])), wells, **QUICK)
    assert len(generated) == 2


def test_the_table_has_one_row_for_each_structure():
    result = relax([*argon_clusters([3, 9]), Atoms(info={"id": "nothing"})])
    table = result.table()
    assert list(table) == [
        "id", "n_atoms", "n_steps", "n_evaluations", "energy", "fmax", "status", "reason",
        "fingerprint",
    ]  # fmt: skip
    assert {len(column) for column in table.values()} == {3}
    assert table["id"] == ["Ar3-0", "Ar9-1", "nothing"]
    assert table["fingerprint"] == result.fingerprint.tolist()
    assert all(isinstance(x, int) for x in table["n_steps"])
    assert all(isinstance(x, float) for x in table["energy"])


def test_max_steps_is_said_with_what_to_do():
    result = relax(argon_cluster(13), max_steps=2)
    assert result.status.tolist() == ["max_steps"]
    assert "raise max_steps" in result.reason[0]
    assert not result.converged.any()
    converged = relax(argon_cluster(2))
    assert converged.reason.tolist() == [""]


def test_continuing_from_max_steps_gets_there():
    result = relax(argon_cluster(13), max_steps=5)
    again = kr.relax(result.atoms, argon(), fmax=0.01)
    assert again.converged.all()
    assert again.energy[0] < result.energy[0]


# Fingerprints


def test_fingerprints_tell_bits_apart():
    clusters = argon_clusters([5, 5, 3])
    result = relax(clusters)
    assert result.fingerprint.tolist() == relax(clusters).fingerprint.tolist()
    assert len(set(result.fingerprint)) == 3
    assert all(len(f) == 64 for f in result.fingerprint)


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.atoms[0].positions.__imul__(1 + 2**-52),
        lambda r: r.atoms[0].cell.__setitem__((0, 0), 1e-300),
        lambda r: r.atoms[0].calc.results["forces"].__imul__(1 + 2**-52),
        lambda r: r.energy.__setitem__(0, np.nextafter(r.energy[0], 9)),
        lambda r: r.fmax.__setitem__(0, np.nextafter(r.fmax[0], 9)),
        lambda r: r.n_steps.__setitem__(0, r.n_steps[0] + 1),
        lambda r: r.status.__setitem__(0, "non_finite"),
    ],
    ids=["positions", "cell", "forces", "energy", "fmax", "n_steps", "status"],
)  # fmt: skip
def test_the_fingerprint_covers_everything_that_a_structure_got(change):
    result = relax(argon_cluster(5))
    before = result.fingerprint[0]
    change(result)
    assert result.fingerprint[0] != before


# Exactness

# Two size classes, one of them with more structures than it has lanes.
COMPANY = [2, 5, 8, 3, 7, 33, 40, 47, 48, 36, 33, 38, 44, 45, 41, 39, 35, 42, 46, 34, 37]

POTENTIALS = {
    "lennard-jones": argon(),
    "morse": kr.potentials.Morse(epsilon=0.0104, r0=3.8, rho0=5.5),
}
OPTIONS = {"fmax": 0.01, "max_steps": 60, "progress": False}


def check_exactness(potential, optimizer, dtype):
    """Each structure alone, then in two batches with duplicates, by one worker and by two."""
    clusters = argon_clusters(COMPANY)
    options = {**OPTIONS, "optimizer": optimizer, "dtype": dtype}
    potential = POTENTIALS[potential]
    alone = [kr.relax(atoms, potential, **options) for atoms in clusters]
    assert any(r.converged[0] for r in alone)
    random = np.random.default_rng(0)
    n_comparisons = 0
    for n_workers in (1, 2):
        again = random.choice(len(clusters), size=7)
        order = random.permutation([*range(len(clusters)), *again])
        batch = kr.relax([clusters[i] for i in order], potential, n_workers=n_workers, **options)
        for place, i in enumerate(order):
            assert_same_result(batch, place, alone[i], 0)
            n_comparisons += 1
    assert n_comparisons == 2 * (len(clusters) + 7)


@pytest.mark.exact
@pytest.mark.parametrize(
    ("potential", "optimizer", "dtype"), crossed(POTENTIALS, ["lbfgs", "ase-lbfgs"], DTYPES)
)
def test_a_structure_in_a_batch_gets_the_bits_that_it_gets_alone(potential, optimizer, dtype):
    check_exactness(potential, optimizer, dtype)


@pytest.mark.exact
def test_an_optax_optimizer_is_exact_too():
    optimizer = kr.optimizers.chain(optax.adam(0.05), kr.optimizers.MaxStepSize(0.1))
    clusters = argon_clusters([2, 5, 8, 7, 8, 3])
    batch = relax(clusters, optimizer=optimizer)
    for i in (0, 2, 4):
        assert_same_result(relax(clusters[i], optimizer=optimizer), 0, batch, i)


@pytest.mark.exact
def test_a_copy_in_the_same_batch_gets_the_same_bits():
    atoms = argon_cluster(8)
    result = relax([atoms, *argon_clusters([8, 8, 5]), atoms, atoms])
    for i in (4, 5):
        assert_same_result(result, i, result, 0)
    assert result.ids == ["Ar8-0", "Ar8-0#2", "Ar8-1", "Ar5-2", "Ar8-0#3", "Ar8-0#4"]


def test_float32_runs_in_float32():
    result = relax(argon_cluster(8), dtype="float32")
    positions = result.atoms[0].positions
    assert np.array_equal(positions, positions.astype(np.float32))
    exact = relax(argon_cluster(8))
    # The same steps with seven digits.
    np.testing.assert_allclose(result.energy, exact.energy, rtol=1e-3)


# Bad input: one structure

GOOD = (3, 8, 5)

BAD = {
    "no atoms": (Atoms(info={"id": "bad"}), "no atoms", "Leave it out"),
    "nan": (
        Atoms("Ar2", [[0, 0, 0], [0, 0, np.nan]], info={"id": "bad"}),
        "position of atom 1 is .*nan",
        "Repair",
    ),
    "infinity": (
        Atoms("Ar2", [[np.inf, 0, 0], [0, 0, 4]], info={"id": "bad"}),
        "position of atom 0 is .*inf",
        "Repair",
    ),
    "too close": (
        Atoms("Ar3", [[0, 0, 0], [0, 0, 4], [0, 0, 0.09]], info={"id": "bad"}),
        "atoms 0 and 2 are 0.09 Angstrom apart",
        "move them apart",
    ),
    "too close through a face": (
        Atoms("Ar2", [[0, 0, 0], [0, 0.04, 9.97]], cell=[9, 9, 5], pbc=True, info={"id": "bad"}),
        "atoms 0 and 1 are 0.05 Angstrom apart",
        "move them apart",
    ),
    "thin cell": (
        Atoms("Ar", cell=[9, 0.09, 5], pbc=True, info={"id": "bad"}),
        "planes of the cell are 0.09 Angstrom apart",
        "Look at the cell",
    ),
    "zero vector": (
        Atoms("Ar", cell=[9, 0, 5], pbc=True, info={"id": "bad"}),
        "vector 1 is zero",
        "Set pbc=False or fix the cell",
    ),
    "flat cell": (
        Atoms("Ar", cell=[[9, 0, 0], [0, 5, 0], [9, 5, 0]], pbc=True, info={"id": "bad"}),
        "cell has zero volume",
        "Set pbc=False or fix the cell",
    ),
    "cell with NaN": (
        Atoms("Ar", cell=[9, np.nan, 5], pbc=True, info={"id": "bad"}),
        "the cell holds values that are not finite",
        "Repair",
    ),
    "element": (
        Atoms("ArXe", [[0, 0, 0], [0, 0, 4]], info={"id": "bad"}),
        "LennardJones has no epsilon for Xe",
        "Add the element",
    ),
    "periodic": (
        Atoms("Ar", cell=[5, 5, 5], pbc=True, info={"id": "bad"}),
        "pbc is",
        "set pbc=False",
    ),
    "constraint of no atom": (
        Atoms("Ar2", [[0, 0, 0], [0, 0, 4]], constraint=FixAtoms([7]), info={"id": "bad"}),
        "FixAtoms.* 7",
        "",
    ),
    "constraint that is not kept": (
        Atoms("Ar2", [[0, 0, 0], [0, 0, 4]], constraint=Hookean(0, 1, 5.0), info={"id": "bad"}),
        "Hookean",
        "atoms.constraints",
    ),
    "charge": (
        Atoms("Ar", info={"id": "bad", "charge": "many"}),
        "info..charge.. is 'many'",
        "Correct it",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def good():
    return relax(argon_clusters(GOOD), per_element())


def per_element():
    return kr.potentials.LennardJones(epsilon={"Ar": 0.0104}, sigma={"Ar": 3.4})


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_structure_fails_by_name_and_changes_no_bit_of_the_others(kind, good):
    bad, reason, way_out = BAD[kind]
    first, *others = argon_clusters(GOOD)
    before = bad.copy()
    result = relax([first, bad, *others], per_element())
    assert result.status[1] == "failed"
    assert result.ids[1] == "bad"
    assert "'bad'" not in result.reason[1]
    assert way_out in result.reason[1]
    assert re.search(reason, result.reason[1])
    assert np.isnan([result.energy[1], result.fmax[1]]).all()
    assert result.n_steps[1] == 0
    assert len(result.atoms[1]) == len(bad)
    assert np.array_equal(result.atoms[1].positions, before.positions, equal_nan=True)
    assert result.atoms[1].calc is None
    assert result.atoms[1].info["status"] == "failed"
    for i, j in ((0, 0), (2, 1), (3, 2)):
        assert_same_result(result, i, good, j)


def test_a_batch_of_nothing_but_bad_structures_has_their_reasons():
    result = relax([bad for bad, _, _ in BAD.values()], per_element())
    assert result.status.tolist() == ["failed"] * len(BAD)
    assert all(result.reason)


def test_atoms_that_nearly_touch_become_non_finite_alone(good):
    touching = Atoms("Xe2", [[0, 0, 0], [0, 0, 0.2]], info={"id": "touching"})
    huge = kr.potentials.LennardJones(
        epsilon={"Ar": 0.0104, "Xe": 1.0}, sigma={"Ar": 3.4, "Xe": 1e30}
    )
    first, *others = argon_clusters(GOOD)
    result = relax([first, touching, *others], huge)
    assert result.status[1] == "non_finite"
    assert "overlapping atoms" in result.reason[1]
    assert np.array_equal(result.atoms[1].positions, touching.positions)
    for i, j in ((0, 0), (2, 1), (3, 2)):
        assert_same_result(result, i, good, j)


def test_a_bad_frame_in_a_file_fails_alone(tmp_path, good):
    frames = argon_clusters(GOOD)
    path = tmp_path / "frames.extxyz"
    ase.io.write(path, [*frames[:1], Atoms("Ar2", [[0, 0, 0], [0, 0, np.nan]]), *frames[1:]])
    result = relax(path, per_element())
    assert result.status[1] == "failed"
    assert result.ids[1] == "frames:1"
    # Written with eight digits, so these are other structures than those of the fixture.
    assert (result.status[[0, 2, 3]] != "failed").all()


# Bad input: all of it


@pytest.mark.parametrize("empty", [[], (), [[]], iter([])])
def test_nothing_to_relax_is_refused(empty):
    with pytest.raises(StructureError, match="no structures"):
        relax(empty)


@pytest.mark.parametrize(
    ("structures", "message"),
    [
        (3, "cannot make a structure from int 3"),
        ([argon_cluster(2), 3.5], r"input\[1\]: cannot make a structure from float 3.5"),
        ("no/such/file.xyz", "no/such/file.xyz'?: there is no such file"),
        ({"a": argon_cluster(2)}, r"Pass list\(mapping.values\(\)\)"),
    ],
)
def test_what_is_no_structure_is_refused(structures, message):
    with pytest.raises(StructureError, match=message):
        relax(structures)


def test_a_file_that_is_no_structure_file_is_named(tmp_path):
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam,\n")
    with pytest.raises(StructureError, match=r"letter\.txt.*cannot read it as a structure file"):
        relax(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fmax": 0}, "fmax is 0; it must be a number greater than 0"),
        ({"fmax": -0.01}, "fmax is -0.01"),
        ({"fmax": float("nan")}, "fmax is nan"),
        ({"fmax": float("inf")}, "fmax is inf"),
        ({"fmax": "0.01"}, "fmax is '0.01'"),
        ({"fmax": None}, "fmax is None"),
        ({"max_steps": -1}, "max_steps is -1"),
        ({"max_steps": 10.5}, "max_steps is 10.5"),
        ({"max_steps": 2**31}, "max_steps is 2147483648"),
        ({"dtype": "float16"}, "dtype is 'float16'; it must be 'float64' or 'float32'"),
        ({"dtype": np.float64}, "dtype is .*float64"),
        ({"n_workers": 0}, "n_workers is 0"),
        ({"n_workers": 1.5}, "n_workers is 1.5"),
        ({"n_workers": "2"}, "n_workers is '2'"),
        ({"optimizer": "bfgs"}, "no optimizer 'bfgs'; expected one of lbfgs, "),
        ({"potential": "eam"}, "no potential 'eam'"),
        ({"output": "out.pdb"}, "'.pdb'; expected one of"),
        ({"n_conformers": 0}, "n_conformers"),
        ({"seed": -1}, "seed"),
    ],
)
def test_options_without_sense_are_refused_before_anything_runs(options, message):
    with pytest.raises(OptionError, match=message):
        relax(argon_cluster(2), **options)


def test_an_option_that_does_not_exist_is_refused():
    with pytest.raises(TypeError, match="fmx"):
        relax(argon_cluster(2), fmx=0.01)


def test_whole_numpy_numbers_are_numbers():
    result = relax(argon_cluster(2), fmax=np.float32(0.5), max_steps=np.int64(3))
    assert len(result) == 1


def test_all_errors_are_of_one_family():
    for error in (StructureError, OptionError, StoreError):
        assert issubclass(error, KupsRelaxError)


# Output


@pytest.mark.parametrize("ending", [".extxyz", ".traj"])
def test_relaxed_structures_are_written_in_order(ending, tmp_path):
    path = tmp_path / f"out{ending}"
    clusters = [*argon_clusters([3, 9, 4]), Atoms("Ar", [[np.nan, 0, 0]], info={"id": "bad"})]
    result = relax(clusters, output=path)
    read = ase.io.read(path, ":")
    assert [atoms.info["id"] for atoms in read] == result.ids
    assert [atoms.info["status"] for atoms in read] == result.status.tolist()
    for i in range(3):
        np.testing.assert_allclose(read[i].positions, result.atoms[i].positions, atol=1e-7)
        assert read[i].get_potential_energy() == pytest.approx(result.energy[i], rel=1e-7)
        np.testing.assert_allclose(read[i].get_forces(), result.atoms[i].get_forces(), atol=1e-7)
        assert read[i].info["fingerprint"] == result.fingerprint[i]


def test_a_table_is_written(tmp_path):
    path = tmp_path / "out.csv"
    result = relax([*argon_clusters([3, 9]), Atoms()], output=path)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == result.ids
    assert [float(row["energy"]) for row in rows[:2]] == result.energy[:2].tolist()
    assert rows[2]["status"] == "failed"
    assert "no atoms" in rows[2]["reason"]


def test_an_existing_output_is_kept_unless_told(tmp_path):
    path = tmp_path / "out.extxyz"
    path.write_text("precious")
    with pytest.raises(StoreError, match="exists and would be lost"):
        relax(argon_cluster(2), output=path)
    assert path.read_text() == "precious"
    relax(argon_cluster(2), output=path, overwrite=True)
    assert len(ase.io.read(path, ":")) == 1


def test_an_output_that_cannot_be_written_is_refused_before_anything_runs(tmp_path, monkeypatch):
    def run(*args):
        raise AssertionError("it ran")

    monkeypatch.setattr("kups_relax.relaxation._scheduler.Scheduler.run", run)
    with pytest.raises(StoreError, match="no directory"):
        relax(argon_cluster(2), output=tmp_path / "missing" / "out.csv")
    with pytest.raises(StructureError, match="'Ar2-0' came without bonds"):
        relax(argon_cluster(2), output=tmp_path / "out.sdf")


# Surroundings


@pytest.mark.parametrize("flag", [False, True])
def test_the_64_bit_flag_stays_as_it_was_and_does_not_matter(flag):
    expected = relax(argon_cluster(5))
    with jax.enable_x64(flag):
        result = relax(argon_cluster(5))
        assert jax.config.jax_enable_x64 == flag
    assert_same_result(result, 0, expected, 0)


def test_a_bar_is_shown_where_it_is_asked_for(capsys):
    relax(argon_clusters([2, 3]), progress=False)
    assert capsys.readouterr().err == ""
    relax(argon_clusters([2, 3]), progress=None)
    assert capsys.readouterr().err == ""
    relax([*argon_clusters([2, 3]), Atoms()], progress=True)
    # No terminal: a line.
    [line] = capsys.readouterr().err.splitlines()
    assert "3 of 3 done, 1 not converged" in line


def test_a_jax_that_adds_wrongly_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "__version__", "0.10.2")
    with pytest.raises(KupsRelaxError, match=r"jax 0\.10\.2 .* wrong sums.*pip install"):
        relax(argon_cluster(2))
