"""Tersoff: ASE's numbers, published ones, and bits that depend on no list."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.tersoff import Tersoff as AseTersoff
from ase.calculators.tersoff import TersoffParameters as AseParameters
from three_body_cases import (
    assert_bits_of_relaxations,
    assert_gathers_alone,
    assert_no_bit_depends_on_the_skin,
    assert_printed,
    assert_slopes,
    cases,
    diamond,
    elastic_constants,
    lattice,
)

import kups_relax as kr
from helpers import DTYPES, assert_same_bits, central_differences, singles
from kups_relax import potentials
from kups_relax.errors import OptionError, PotentialError
from kups_relax.potentials import Tersoff, TersoffParameters
from kups_relax.potentials._tersoff_parameters import SETS
from support.crossing import first

# ASE's angular function is a difference of numbers that are up to 1e8 times larger.
PARITY = {"float64": 1e-10, "float32": 1e-4}

SYSTEMS = {
    "si-t2": ("Si", 5.431),
    "si-t3": ("Si", 5.432),
    "c": ("C", 3.566),
    "sic-1989": ("SiC", 4.321),
    "sic-1994": ("SiC", 4.280),
}
# Without a skin lists are short, and most cases run through one program.
SIC = Tersoff(skin=0.0)

CASES = {name: cases(*system) for name, system in SYSTEMS.items()}


def all_different() -> Tersoff:
    """Every triplet with parameters of its own, reaches and stretches too."""
    random = np.random.default_rng(3)
    triplets = {}
    for triplet, x in Tersoff("sic-1989").triplets:
        values = np.array(x) * random.uniform(0.95, 1.05, len(x))
        own = TersoffParameters(*values.tolist())
        triplets[triplet] = own._replace(
            m=float(random.choice([1, 3])), lambda3=float(random.uniform(0.5, 1.5))
        )
    return Tersoff(triplets, skin=0.0)


def ase_numbers(potential, atoms):
    """Energy, forces and stress that ASE gives."""
    atoms = atoms.copy()
    atoms.calc = AseTersoff({key: AseParameters(*values) for key, values in potential.triplets})
    stress = atoms.get_stress(voigt=False) if atoms.cell.rank == 3 and atoms.pbc.any() else None
    return atoms.get_potential_energy(), atoms.get_forces(), stress


def assert_numbers_of_ase(potential, structures, dtype="float64"):
    for atoms, got in zip(structures, singles(potential, structures, dtype), strict=True):
        energy, forces, stress = ase_numbers(potential, atoms)
        tolerance = PARITY[dtype] * max(1.0, np.abs(forces).max())
        np.testing.assert_allclose(got.energy, energy, rtol=PARITY[dtype])
        np.testing.assert_allclose(got.forces, forces, rtol=0, atol=tolerance)
        assert (got.stress is None) == (stress is None)
        if stress is not None:
            np.testing.assert_allclose(got.stress, stress, rtol=0, atol=tolerance)
            assert_same_bits(got.stress, got.stress.T)
        np.testing.assert_allclose(got.energies.sum(), got.energy, rtol=1e-6, atol=1e-12)


# ASE divides by zero where a bond has no other bond beside it.
WITH_ANGLES = [name for name in CASES["c"] if name != "far apart"]


def test_energy_forces_and_stress_are_those_of_ase():
    assert_numbers_of_ase(SIC, [CASES["sic-1989"][name] for name in WITH_ANGLES])


def test_energy_forces_and_stress_are_those_of_ase_in_float32():
    structures = [CASES["sic-1989"][name] for name in ("sheared", "unwrapped")]
    assert_numbers_of_ase(SIC, structures, "float32")


# The others have published constants, below.
@pytest.mark.parametrize("name", first(["sic-1994", "si-t2", "si-t3", "c"]))
def test_other_sets_have_the_numbers_of_ase(name):
    assert_numbers_of_ase(Tersoff(name, skin=0.0), [CASES[name]["two atoms"]])


def test_every_triplet_may_have_parameters_of_its_own():
    potential = all_different()
    assert_numbers_of_ase(potential, [CASES["sic-1989"]["sheared"]])
    assert_slopes(potential, CASES["sic-1989"]["crystal"])


@pytest.mark.parametrize("case", ["sheared", "one atom", "two atoms"])
def test_forces_and_stress_are_slopes_of_the_energy(case):
    assert_slopes(SIC, CASES["sic-1989"][case])


def test_stretches_have_slopes():
    assert_slopes(Tersoff("si-t2", skin=0.0), CASES["si-t2"]["two atoms"])


def test_a_bond_alone_is_a_pair_of_exponentials():
    x = dict(Tersoff("c").triplets)["C", "C", "C"]
    pair = Atoms("C2", [[0, 0, 0], [0, 0, 1.4]])
    [got] = singles(Tersoff("c"), [pair])
    expected = x.A * np.exp(-x.lambda1 * 1.4) - x.B * np.exp(-x.lambda2 * 1.4)
    np.testing.assert_allclose(got.energy, expected, rtol=1e-14)
    np.testing.assert_allclose(got.forces, central_differences(Tersoff("c"), pair), atol=1e-8)


def test_what_is_beyond_the_reach_adds_nothing():
    got, alone = singles(
        Tersoff("c"), [Atoms("C2", [[0, 0, 0], [0, 0, 2.1000001]]), CASES["c"]["far apart"]]
    )
    for one in (got, alone):
        assert one.energy == 0.0
        assert_same_bits(one.forces, np.zeros((2, 3)))


def test_an_atom_is_not_pushed_by_its_own_images():
    [got] = singles(Tersoff("c"), [CASES["c"]["one atom"]])
    assert_same_bits(got.forces, np.zeros((1, 3)))
    assert np.abs(got.stress).max() > 1e-2


# Lattice constant (Angstrom), energy of an atom (eV), C11, C12, C44 and C44 without relaxation
# (GPa). Silicon: Balamane, Halicioglu, Tiller, Phys. Rev. B 46, 2250 (1992),
# doi:10.1103/PhysRevB.46.2250. Diamond: Tersoff, Phys. Rev. Lett. 61, 2879 (1988). SiC: Tersoff,
# Phys. Rev. B 39, 5566 (1989), in Mbar.
PUBLISHED = {
    "si-t2": (("5.431", "-4.63"), ("121.7", "85.8", "10.3", "92.3")),
    "si-t3": (("5.432", "-4.63"), ("142.5", "75.4", "69.0", "118.8")),
    "c": (("3.566", "-7.37"), ()),
    "sic-1989": (("4.32", "-6.16"), ("4.4", "1.2", "2.6", "3.1")),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_crystals_have_their_published_constants(name):
    (expected, elastic), (symbols, start) = PUBLISHED[name], SYSTEMS[name]
    potential = Tersoff(name, skin=0.0)
    a, energy = lattice(potential, symbols, start)
    assert_printed((a, energy), expected)
    if elastic:
        got = elastic_constants(potential, diamond(symbols, a))
        assert_printed(got.values(), elastic, unit=100.0 if "4.4" in elastic else 1.0)


@pytest.mark.parametrize("dtype", first(DTYPES))
def test_no_bit_depends_on_the_skin(dtype):
    assert_no_bit_depends_on_the_skin(Tersoff(), CASES["sic-1989"]["sheared"], dtype)


@pytest.mark.exact
@pytest.mark.extended
@pytest.mark.parametrize("dtype", ["float32"])
def test_relaxations_have_one_end_whenever_lists_are_made_and_calculators_agree(dtype):
    assert_bits_of_relaxations(Tersoff("c"), CASES["c"]["crystal"], dtype)


@pytest.mark.exact
@pytest.mark.parametrize(
    ("names", "draws"),
    [
        (("sheared", "unwrapped"), 3),
        pytest.param(tuple(CASES["sic-1989"]), 8, marks=pytest.mark.extended),
    ],
)
def test_crystals_and_clusters_get_in_a_batch_what_they_get_alone(names, draws):
    structures = [CASES["sic-1989"][name] for name in names]
    report = kr.verify(structures, Tersoff(skin=0.2), draws=draws, max_steps=20, fmax=1e-4)
    assert report.ok, report


@pytest.mark.extended
def test_every_check_of_potentials_passes():
    structures = [CASES["sic-1989"][key] for key in ("sheared", "trimer")]
    report = kr.testing.check_potential(Tersoff(), structures)
    assert report.ok, report


def test_there_is_no_scatter():
    assert_gathers_alone(SIC, CASES["sic-1989"]["two atoms"])


def test_a_crystal_of_one_element_runs_through_the_form_for_it():
    entries = kr.io.structures_from([diamond("Si", 5.4), diamond("SiC", 4.3)])
    silicon, both = (Tersoff().specialize(entry) for entry in entries)
    assert silicon == Tersoff({key: x for key, x in Tersoff().triplets if set(key) == {"Si"}})
    assert both == Tersoff()
    assert silicon.describe()["name"] == "tersoff"


def test_names_files_and_ase_say_the_same_parameters(tmp_path):
    path = tmp_path / "SiC.tersoff"
    lines = ["# element 1, element 2, element 3, m, gamma, ...", ""]
    for triplet, x in Tersoff("sic-1994").triplets:
        words = [*triplet, *map(repr, x)]
        lines += [" ".join(words[:10]) + "  # the first half", "    " + " ".join(words[10:])]
    path.write_text("\n".join(lines))
    expected = Tersoff("sic-1994", skin=0.4)
    assert Tersoff.from_lammps(path, skin=0.4) == expected
    assert Tersoff({k: AseParameters(*x) for k, x in expected.triplets}, skin=0.4) == expected
    assert Tersoff({k: x._asdict() for k, x in expected.triplets}, skin=0.4) == expected
    assert potentials.get("tersoff:triplets=sic-1994,skin=0.4") == expected


@pytest.mark.parametrize("name", SETS)
def test_sets_are_of_the_elements_in_their_names(name):
    assert set(Tersoff(name).elements) <= {"Si", "C"}
    assert all(x.D > 0 for _, x in Tersoff(name).triplets)


def test_elements_without_parameters_are_refused_by_name():
    atoms = Atoms("SiGe", [[0, 0, 0], [0, 0, 2.4]], info={"id": "alloy"})
    message = r"'alloy': Tersoff has no parameters for Ge; it has C, Si\. .*from_lammps\(path\)"
    with pytest.raises(PotentialError, match=message):
        singles(Tersoff(), [atoms])


CARBON = dict(Tersoff("c").triplets)["C", "C", "C"]


@pytest.mark.parametrize(
    ("triplets", "message"),
    [
        ("si", "there is no set 'si'; expected one of si-t2, si-t3, c, sic-1989, sic-1994"),
        ({}, "expected a dictionary of triplets"),
        (None, "parameters are None"),
        ({"C": CARBON}, "given for 'C'; expected three chemical symbols"),
        ({("C", "C", "Cx"): CARBON}, "'Cx' in .* is no chemical symbol"),
        ({("C", "C", "X"): CARBON}, "'X' in .* is no chemical symbol"),
        ({("C", "C", "C"): CARBON[:-1]}, "expected 14 finite numbers: m, gamma"),
        ({("C", "C", "C"): [*CARBON[:-1], np.nan]}, "expected 14 finite numbers"),
        ({("C", "C", "C"): {**CARBON._asdict(), "chi": 1}}, "have 'chi'; expected m, gamma"),
        ({("C", "C", "C"): {"m": 1}}, "lack 'gamma'"),
        ({("C", "C", "C"): CARBON._replace(D=0.0)}, "D of .* is 0.0; it must be greater than 0"),
        ({("C", "C", "C"): CARBON._replace(m=2)}, "m of .* is 2.0; it must be 1 or 3"),
        ({("C", "C", "C"): CARBON._replace(n=0)}, "n of .* must be greater than 0"),
        ({("C", "C", "Si"): CARBON}, r"no parameters for \('C', 'C', 'C'\); .* all 8 triplets"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(triplets, message):
    with pytest.raises(OptionError, match=message):
        Tersoff(triplets)


def test_a_skin_that_makes_no_sense_is_refused():
    with pytest.raises(OptionError, match="skin is -1; it must be a finite number, at least 0"):
        Tersoff("c", skin=-1)


def test_files_that_are_of_another_form_are_refused(tmp_path):
    with pytest.raises(OptionError, match="cannot be read"):
        Tersoff.from_lammps(tmp_path / "missing.tersoff")
    short = tmp_path / "short.tersoff"
    short.write_text("C C C 3.0 1.0")
    with pytest.raises(OptionError, match=r"entry 0 is 'C C C 3.0 1.0'; .* 14 numbers: m, gamma"):
        Tersoff.from_lammps(short)
