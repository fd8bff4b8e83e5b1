"""EMT: ASE's numbers for whatever it has parameters for, whatever was listed."""

import dataclasses

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc111, molecule
from ase.calculators.emt import EMT as AseEMT
from ase.calculators.emt import parameters as ase_parameters
from ase.collections import g2
from ase.optimize import LBFGS
from emt_cases import cases, icosahedron

import kups_relax as kr
from helpers import (
    DTYPES,
    assert_same_bits,
    assert_same_result,
    central_differences,
    singles,
    stress_by_strain,
)
from kups_relax.ase import JaxCalculator
from kups_relax.errors import OptionError, PotentialError
from kups_relax.potentials import EMT, Sum
from support.crossing import first

# Of the largest number, or of 1 eV where all are small: energies of single atoms are added to.
RELATIVE = {"float64": 1e-10, "float32": 2e-4}

CASES = cases()
# A shape each, so that not every test has to compile for all of them.
SHAPES = {name: CASES[name] for name in ("sheared", "slab", "cluster")}


def assert_close(got, expected, dtype):
    largest = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(got, expected, rtol=0, atol=RELATIVE[dtype] * largest)


def assert_is_that_of_ase(got, atoms, asap, dtype="float64"):
    atoms = atoms.copy()
    atoms.calc = AseEMT(asap_cutoff=asap)
    assert_close(got.energy, atoms.get_potential_energy(), dtype)
    assert_close(got.forces, atoms.get_forces(), dtype)
    assert_close(got.energies, atoms.get_potential_energies(), dtype)
    if atoms.pbc.any() and atoms.cell.rank == 3:
        expected = atoms.get_stress(voigt=False)
        worst = np.abs(expected).max()
        np.testing.assert_allclose(got.stress, expected, rtol=0, atol=RELATIVE[dtype] * worst)
        assert_same_bits(got.stress, got.stress.T)
    else:
        assert got.stress is None


@pytest.mark.parametrize(
    ("asap", "dtype", "chosen"),
    [
        pytest.param(False, "float64", CASES, marks=pytest.mark.extended),
        (False, "float64", SHAPES),
        (False, "float32", {"slab": CASES["slab"]}),
        (True, "float64", {"sheared": CASES["sheared"]}),
        pytest.param(False, "float32", SHAPES, marks=pytest.mark.extended),
        pytest.param(True, "float64", SHAPES, marks=pytest.mark.extended),
    ],
)
def test_energy_forces_stress_and_shares_are_those_of_ase(asap, dtype, chosen):
    structures = list(chosen.values())
    results = singles(EMT(asap_cutoff=asap), structures, dtype)
    for atoms, got in zip(structures, results, strict=True):
        assert_is_that_of_ase(got, atoms, asap, dtype)


@pytest.mark.parametrize("asap", [False, True])
def test_every_pair_of_elements_is_that_of_ase(asap):
    symbols = list(ase_parameters)
    structures = []
    for k, one in enumerate(symbols):
        for other in symbols[k:]:
            atoms = Atoms([one, other, one], [[0, 0, 0], [0, 0, 2.5], [0, 3.0, 1]])
            atoms.rattle(0.05, seed=k)
            structures.append(atoms)
    results = singles(EMT(asap_cutoff=asap), structures)
    for atoms, got in zip(structures, results, strict=True):
        assert_is_that_of_ase(got, atoms, asap)


@pytest.mark.extended
def test_molecules_of_the_g2_set_are_those_of_ase():
    known = [g2[name] for name in g2.names if set(g2[name].symbols) <= set(ase_parameters)]
    assert len(known) > 70
    for atoms, got in zip(known, singles(EMT(), known), strict=True):
        assert_is_that_of_ase(got, atoms, asap=False)


@pytest.mark.parametrize("name", first(["sheared", "molecule", "slab"], 2))
def test_forces_and_stress_are_slopes_of_the_energy(name):
    [got] = singles(EMT(), [CASES[name]])
    # Pairs that leave at the cutoff do so with 7e-6 of their energy; none does here.
    differences = central_differences(EMT(), CASES[name])
    worst = max(1.0, np.abs(got.forces).max())
    np.testing.assert_allclose(got.forces, differences, rtol=0, atol=1e-8 * worst)
    if got.stress is not None:
        worst = np.abs(got.stress).max()
        strained = stress_by_strain(EMT(), CASES[name])
        np.testing.assert_allclose(got.stress, strained, rtol=0, atol=1e-6 * worst)


def test_an_atom_is_not_pushed_by_its_own_images():
    [got] = singles(EMT(), [CASES["one atom"]])
    assert_same_bits(got.forces, np.zeros((1, 3)))
    assert np.abs(got.stress).max() > 1e-3


def test_a_crystal_at_rest_has_no_energy():
    # The nearest neighbours of an element in its metal are beta * s0 apart.
    [got] = singles(EMT(), [bulk("Cu", a=1.809 * 2.67 * 0.5291772105638411 * np.sqrt(2))])
    # Neighbours beyond the third shell are not in the sums that define it.
    assert abs(got.energy) < 0.01


@pytest.mark.parametrize(
    ("dtype", "skins", "chosen"),
    [
        ("float64", (0.8, 2.0), {"sheared": CASES["sheared"]}),
        ("float32", (0.8, 2.0), {"slab": CASES["slab"]}),
        pytest.param("float64", (0.8, 2.0), SHAPES, marks=pytest.mark.extended),
        pytest.param("float32", (0.8, 2.0), SHAPES, marks=pytest.mark.extended),
    ],
)
def test_no_bit_depends_on_the_skin(dtype, skins, chosen):
    # Another skin lists other edges, in arrays of another length.
    expected, *others = (singles(EMT(skin=s), list(chosen.values()), dtype) for s in skins)
    for other in others:
        for one, reference in zip(other, expected, strict=True):
            assert_same_bits(dataclasses.astuple(one), dataclasses.astuple(reference))


@pytest.mark.exact
@pytest.mark.extended
@pytest.mark.parametrize("dtype", DTYPES)
def test_lists_made_anew_on_the_way_change_no_bit(dtype):
    atoms = [icosahedron(2, seed) for seed in range(3)]
    for seed, structure in enumerate(atoms):
        structure.rattle(0.3, seed=seed)
    options = {"fmax": 1e-3, "max_steps": 60, "dtype": dtype, "progress": False}
    long, short = (kr.relax(atoms, EMT(skin=skin), **options) for skin in (2.0, 0.1))
    for i in range(len(atoms)):
        moved = np.linalg.norm(long.atoms[i].positions - atoms[i].positions, axis=1).max()
        assert moved > 0.2  # more than the slack of the short skin
        assert long.n_steps[i] == short.n_steps[i]
        for get in ("get_positions", "get_forces", "get_potential_energy"):
            assert_same_bits(*(getattr(result.atoms[i], get)() for result in (long, short)))


@pytest.mark.exact
@pytest.mark.parametrize(
    ("names", "dtype"),
    [
        (("far apart", "barely", "lone", "wire"), "float64"),
        pytest.param(("sheared", "wire"), "float64", marks=pytest.mark.extended),
        pytest.param(tuple(CASES), "float32", marks=pytest.mark.extended),
    ],
)
def test_structures_get_in_a_batch_what_they_get_alone(names, dtype):
    structures = [CASES[name] for name in names] + [icosahedron(2, seed) for seed in range(3)]
    # So short a skin is used up on the way.
    report = kr.verify(structures, EMT(skin=0.1), draws=5, dtype=dtype, max_steps=25, fmax=1e-3)
    assert report.ok, report


@pytest.mark.exact
@pytest.mark.extended
def test_a_list_that_outgrows_its_arrays_starts_again_the_same():
    # Squeezed from a gas into a drop: many more pairs than at the start.
    atoms = icosahedron(2, 1)
    atoms.positions *= 1.6
    options = {"fmax": 1e-2, "max_steps": 80, "progress": False}
    alone = kr.relax([atoms], EMT(skin=0.1), **options)
    roomy = kr.relax([atoms], EMT(skin=2.0), **options)
    assert_same_bits(alone.atoms[0].positions, roomy.atoms[0].positions)
    company = kr.relax([icosahedron(2, 2), atoms, icosahedron(2, 3)], EMT(skin=0.1), **options)
    assert_same_result(company, 1, alone, 0)


@pytest.mark.exact
@pytest.mark.extended
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_calculator_has_the_bits_of_a_relaxation(dtype):
    result = kr.relax([CASES["sheared"]], EMT(skin=0.1), max_steps=4, dtype=dtype, progress=False)
    atoms = result.atoms[0].copy()
    atoms.calc = JaxCalculator(EMT(skin=0.1), dtype=dtype)
    for get in ("get_forces", "get_potential_energy", "get_stress"):
        assert_same_bits(getattr(atoms, get)(), getattr(result.atoms[0], get)())


@pytest.mark.extended
def test_relaxed_clusters_have_the_energies_of_ase():
    atoms = [icosahedron(3, seed) for seed in range(2)]
    result = kr.relax(atoms, EMT(), "ase-lbfgs", fmax=1e-3, progress=False)
    assert result.converged.all()
    for i, start in enumerate(atoms):
        start.calc = AseEMT()
        optimizer = LBFGS(start, logfile=None)
        optimizer.run(fmax=1e-3, steps=500)
        assert result.n_steps[i] == optimizer.nsteps
        np.testing.assert_allclose(result.energy[i], start.get_potential_energy(), atol=1e-9)
        np.testing.assert_allclose(result.atoms[i].positions, start.positions, atol=1e-6)


@pytest.mark.extended
def test_every_check_of_a_potential_but_one_passes():
    structures = [bulk("Cu", a=3.5) * (2, 1, 1), CASES["slab"], CASES["lone"]]
    # It is not continuous at the cutoff, and neither is ASE's: see its docstring.
    chosen = set(kr.testing.CHECKS) - {"continuity"}
    report = kr.testing.check_potential(EMT(), structures, checks=chosen)
    assert report.ok, report


def test_elements_without_parameters_are_refused_by_name():
    salt = Atoms("NaClCu", np.eye(3) * 3, info={"id": "salt"})
    with pytest.raises(PotentialError, match=r"'salt': EMT has no parameters for Cl, Na; it has"):
        singles(EMT(), [salt])
    # The program of the batch above.
    result = kr.relax([salt, CASES["lone"]], EMT(skin=0.1), max_steps=1, progress=False)
    assert result.status[0] == "failed"
    assert "no parameters for Cl, Na" in result.reason[0]


@pytest.mark.parametrize("skin", [-0.1, float("nan"), float("inf")])
def test_a_skin_that_makes_no_sense_is_refused(skin):
    with pytest.raises(OptionError, match="skin is"):
        EMT(skin=skin)


def test_its_name_and_options_are_its_own():
    assert kr.potentials.get("emt") == EMT()
    assert kr.potentials.get("emt:skin=0.3") == EMT(skin=0.3)
    assert EMT().describe() == {"name": "emt", "asap_cutoff": False, "skin": 0.8}


def test_structures_of_toys_alone_are_warned_of_once_a_run(caplog):
    start = [molecule(name) for name in ("CO", "N2", "H2O")]
    options = {"fmax": 10.0, "max_steps": 0, "progress": False}
    kr.relax(start, EMT(), **options)
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert ": EMT is for metals; its parameters of H, C, N and O are toys" in record.message
    assert "EMT(toy_elements=True)" in record.message
    caplog.clear()
    kr.verify(start, Sum(EMT()), draws=2, **options)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("potential", [EMT(toy_elements=True), "emt:toy-elements=true"])
def test_who_insists_on_toys_is_not_warned(potential, caplog):
    result = kr.relax(molecule("CO"), potential, fmax=10.0, progress=False)
    assert result.converged[0]
    assert not caplog.records


def test_adsorbates_on_metals_are_not_warned_of(caplog):
    slab = fcc111("Cu", (1, 1, 2), vacuum=5.0)
    add_adsorbate(slab, molecule("CO"), 2.0, "ontop")
    assert EMT().caution(kr.io.structures_from([slab])[0]) is None


def test_insisting_compiles_nothing_anew():
    assert EMT(toy_elements=True) == EMT()
    assert hash(EMT(toy_elements=True)) == hash(EMT())


def test_a_calculator_warns_once(caplog):
    atoms = molecule("CO")
    atoms.calc = kr.ase.JaxCalculator(EMT())
    for _ in range(2):
        atoms.rattle(0.01)
        atoms.get_potential_energy()
        atoms.calc.reset()
    assert len(caplog.records) == 1
