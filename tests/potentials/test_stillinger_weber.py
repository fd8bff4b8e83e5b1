"""Stillinger-Weber: a loop's numbers, published ones, and bits that depend on no list."""

import itertools

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list
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
from helpers import DTYPES, assert_same_bits, singles
from kups_relax import potentials
from kups_relax.errors import OptionError, PotentialError
from kups_relax.potentials import StillingerWeber, StillingerWeberParameters
from support.crossing import first

# Sums of some hundred terms in another order, relative to the largest number.
ROUNDING = {"float64": 1e-12, "float32": 1e-5}

SILICON = cases("Si", 5.431)
ALLOY = cases("SiC", 4.5)
SI = dict(StillingerWeber().triplets)["Si", "Si", "Si"]


# Without a skin lists are short, and most cases run through one program.
SW = StillingerWeber(skin=0.0)


def all_different() -> StillingerWeber:
    """Every pair and every angle with parameters of its own, C, Si."""
    random = np.random.default_rng(5)
    pairs = {}
    for pair in itertools.combinations_with_replacement(("C", "Si"), 2):
        x = SI._replace(q=float(random.integers(0, 2)), p=float(random.uniform(3.5, 4.5)))
        names = ("sigma", "a", "gamma", "A", "B")
        pairs[pair] = x._replace(**{n: getattr(x, n) * random.uniform(0.9, 1.1) for n in names})
    triplets = {}
    for i, j, k in itertools.product(("C", "Si"), repeat=3):
        mirror = triplets.get((i, k, j))
        triplets[i, j, k] = pairs[min(i, j), max(i, j)]._replace(
            lambda_=mirror.lambda_ if mirror else random.uniform(15, 25),
            costheta0=mirror.costheta0 if mirror else random.uniform(-0.5, 0.0),
        )
        # Of a pair only the product of epsilon and A counts; gamma may differ from each side.
    si, c = triplets["Si", "C", "C"], triplets["C", "Si", "Si"]
    triplets["Si", "C", "C"] = si._replace(epsilon=2 * si.epsilon, A=si.A / 2)
    triplets["C", "Si", "Si"] = c._replace(gamma=1.1 * c.gamma)
    return StillingerWeber(triplets, skin=0.0)


def looped(potential: StillingerWeber, atoms: Atoms) -> np.ndarray:
    """Energies of atoms, term by term: half of each pair, and the angles at the atom."""
    table = dict(potential.triplets)
    first, second, vectors = neighbor_list("ijD", atoms, 6.0)
    energies = np.zeros(len(atoms))

    def leg(i, j, d):
        x = table[atoms.symbols[i], atoms.symbols[j], atoms.symbols[j]]
        r = np.linalg.norm(d)
        return x, r, r < x.a * x.sigma

    for i in range(len(atoms)):
        around = [(j, d) for j, d in zip(second[first == i], vectors[first == i], strict=True)]
        for j, d in around:
            x, r, inside = leg(i, j, d)
            if inside:
                radial = x.B * (x.sigma / r) ** x.p - (x.sigma / r) ** x.q
                fade = np.exp(x.sigma / (r - x.a * x.sigma))
                energies[i] += x.A * x.epsilon * radial * fade / 2
        for (j, d), (k, e) in itertools.combinations(around, 2):
            (x, r, one), (y, s, other) = leg(i, j, d), leg(i, k, e)
            if one and other:
                z = table[atoms.symbols[i], atoms.symbols[j], atoms.symbols[k]]
                fades = x.gamma * x.sigma / (r - x.a * x.sigma)
                fades += y.gamma * y.sigma / (s - y.a * y.sigma)
                off = d @ e / (r * s) - z.costheta0
                energies[i] += z.lambda_ * z.epsilon * off**2 * np.exp(fades)
    return energies


def assert_numbers_of_the_loop(potential, structures, dtype="float64"):
    for atoms, got in zip(structures, singles(potential, structures, dtype), strict=True):
        expected = looped(potential, atoms)
        rounding = ROUNDING[dtype] * max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(got.energies, expected, rtol=0, atol=rounding)
        np.testing.assert_allclose(got.energy, expected.sum(), rtol=0, atol=rounding * len(atoms))


def test_energies_are_those_of_a_loop_over_pairs_and_angles():
    assert_numbers_of_the_loop(SW, list(SILICON.values()))


def test_energies_are_those_of_a_loop_in_float32():
    structures = [SILICON[name] for name in ("sheared", "unwrapped")]
    assert_numbers_of_the_loop(SW, structures, "float32")


def test_every_triplet_may_have_parameters_of_its_own():
    potential = all_different()
    assert_numbers_of_the_loop(potential, [ALLOY["sheared"], ALLOY["crystal"]])
    assert_slopes(potential, ALLOY["crystal"])


@pytest.mark.parametrize("case", ["sheared", "one atom", "two atoms"])
def test_forces_and_stress_are_slopes_of_the_energy(case):
    assert_slopes(SW, SILICON[case])


def test_silicon_has_its_published_constants():
    """Elastic ones: Balamane, Halicioglu, Tiller, Phys. Rev. B 46, 2250 (1992), C44 relaxed.

    An atom has half of each of four bonds, which are epsilon = 2.1683 eV deep.
    """
    a, energy = lattice(SW, "Si", 5.43)
    assert_printed((a, energy), ("5.431", "-4.3366"))
    got = elastic_constants(SW, diamond("Si", a))
    assert_printed([got[name] for name in ("C11", "C12", "C44")], ("151.4", "76.4", "56.4"))


def test_tetrahedral_angles_cost_nothing():
    [got] = singles(SW, [diamond("Si", 5.5)])
    [pairs] = singles(
        StillingerWeber({("Si",) * 3: SI._replace(lambda_=0.0)}, skin=0.0), [diamond("Si", 5.5)]
    )
    np.testing.assert_allclose(got.energy, pairs.energy, rtol=1e-15)


def test_an_atom_is_not_pushed_by_its_own_images():
    [got] = singles(SW, [SILICON["one atom"]])
    assert_same_bits(got.forces, np.zeros((1, 3)))
    assert np.abs(got.stress).max() > 1e-2


def test_what_is_beyond_the_reach_adds_nothing():
    reach = SI.a * SI.sigma
    pair = Atoms("Si2", [[0, 0, 0], [0, 0, reach * (1 + 1e-12)]])
    for got in singles(SW, [pair, SILICON["far apart"]]):
        assert got.energy == 0.0
        assert_same_bits(got.forces, np.zeros((2, 3)))


@pytest.mark.parametrize("dtype", first(DTYPES))
def test_no_bit_depends_on_the_skin(dtype):
    assert_no_bit_depends_on_the_skin(StillingerWeber(), SILICON["sheared"], dtype)


@pytest.mark.exact
@pytest.mark.extended
@pytest.mark.parametrize("dtype", ["float64"])
def test_relaxations_have_one_end_whenever_lists_are_made_and_calculators_agree(dtype):
    assert_bits_of_relaxations(StillingerWeber(), SILICON["crystal"], dtype)


@pytest.mark.exact
@pytest.mark.parametrize(
    ("names", "draws"),
    [
        (("sheared", "unwrapped"), 3),
        pytest.param(tuple(SILICON), 8, marks=pytest.mark.extended),
    ],
)
def test_crystals_and_clusters_get_in_a_batch_what_they_get_alone(names, draws):
    options = {"dtype": "float32", "max_steps": 20, "fmax": 1e-4}
    structures = [SILICON[name] for name in names]
    report = kr.verify(structures, StillingerWeber(skin=0.2), draws=draws, **options)
    assert report.ok, report


@pytest.mark.extended
def test_every_check_of_potentials_passes():
    structures = [SILICON[key] for key in ("sheared", "trimer")]
    report = kr.testing.check_potential(StillingerWeber(), structures)
    assert report.ok, report


def test_there_is_no_scatter():
    assert_gathers_alone(SW, SILICON["two atoms"])


def test_names_and_files_say_the_same_parameters(tmp_path):
    path = tmp_path / "SiC.sw"
    expected = all_different()
    lines = ["# element 1, element 2, element 3, epsilon, sigma, ...", ""]
    for triplet, x in expected.triplets:
        words = [*triplet, *map(repr, x)]
        lines += [" ".join(words[:8]) + "  # the first half", "    " + " ".join(words[8:])]
    path.write_text("\n".join(lines))
    assert StillingerWeber.from_lammps(path, skin=0.0) == expected
    assert StillingerWeber({k: x._asdict() for k, x in expected.triplets}, skin=0.0) == expected
    assert potentials.get("stillinger-weber:skin=0.4") == StillingerWeber(skin=0.4)


def test_parts_of_a_file_that_say_nothing_may_be_zero():
    """As in the files of LAMMPS: C and Si do not see each other, and nothing bends between them."""
    none = StillingerWeberParameters(*[0.0] * 11)
    triplets = {key: none for key in itertools.product(("C", "Si"), repeat=3)}
    potential = StillingerWeber({**triplets, ("Si", "Si", "Si"): SI})
    atoms = SILICON["cube"].copy()
    expected, _ = (singles(p, [atoms])[0] for p in (StillingerWeber(), potential))
    more = atoms + Atoms("C", [[1.2, 1.1, 1.3]])
    [got] = singles(potential, [more])
    np.testing.assert_allclose(got.energy, expected.energy, rtol=1e-14)
    assert_same_bits(got.forces[-1], np.zeros(3))


def test_elements_without_parameters_are_refused_by_name():
    atoms = Atoms("SiGe", [[0, 0, 0], [0, 0, 2.4]], info={"id": "alloy"})
    message = (
        r"'alloy': StillingerWeber has no parameters for Ge; it has Si\. .*from_lammps\(path\)"
    )
    with pytest.raises(PotentialError, match=message):
        singles(StillingerWeber(), [atoms])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({("Si", "C", "C"): {"B": 0.7}}, "say different energies of one pair: epsilon A, B"),
        ({("Si", "C", "Si"): {"lambda_": 7.0}}, "say different energies of one angle: epsilon"),
        ({("Si", "Si", "Si"): {"sigma": -1.0}}, r"sigma of .* is -1.0; it must be at least 0"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(changes, message):
    triplets = {key: SI for key in itertools.product(("C", "Si"), repeat=3)}
    triplets.update({key: SI._replace(**values) for key, values in changes.items()})
    with pytest.raises(OptionError, match=message):
        StillingerWeber(triplets)
