"""Lennard-Jones and Morse are ASE's, whatever the cutoff; elements mix as documented."""

import itertools

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones as AseLennardJones
from ase.calculators.morse import MorsePotential

from helpers import ARGON, argon, argon_clusters, assert_same_bits, central_differences, evaluate
from kups_relax.errors import OptionError, PotentialError
from kups_relax.potentials import LennardJones, Morse

# Sums of a few hundred pairs in another order, relative to the largest number.
ROUNDING = {"float64": 1e-13, "float32": 1e-5}
# Differences of fourth order with steps of 1e-4 A: rounding of the energy over the step.
DIFFERENCES = 1e-9

NICKEL = {"epsilon": 0.4205, "r0": 2.78, "rho0": 3.95}

LJ = {
    "all pairs": (LennardJones(**ARGON), AseLennardJones(**ARGON, rc=1000.0)),
    "cutoff": (LennardJones(**ARGON, cutoff=6.1), AseLennardJones(**ARGON, rc=6.1)),
    "smooth": (
        LennardJones(**ARGON, cutoff=7.0, onset=4.5),
        AseLennardJones(**ARGON, rc=7.0, ro=4.5, smooth=True),
    ),
}
MORSE = {
    "all pairs": (Morse(**NICKEL), MorsePotential(**NICKEL, rcut1=300.0, rcut2=400.0)),
    "smooth": (
        Morse(**NICKEL, cutoff=2.7 * 2.78, onset=1.9 * 2.78),
        MorsePotential(**NICKEL, rcut1=1.9, rcut2=2.7),
    ),
}
PAIRS = [
    pytest.param(*pair, id=f"{name} {kind}")
    for name, kinds in (("lennard-jones", LJ), ("morse", MORSE))
    for kind, pair in kinds.items()
]


def compressed(clusters):
    """Every distance from repulsion to beyond the cutoffs."""
    for atoms, factor in zip(clusters, itertools.cycle([0.9, 1.0, 1.2]), strict=False):
        atoms.positions *= factor
    return clusters


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("ours", "ase"), PAIRS)
def test_energy_and_forces_are_those_of_ase(ours, ase, dtype):
    clusters = compressed(argon_clusters([2, 5, 12, 13, 16]))
    energy, forces = evaluate(ours, clusters, dtype)
    for i, atoms in enumerate(clusters):
        atoms.calc = ase
        size = np.abs(atoms.get_forces()).max()
        np.testing.assert_allclose(
            energy[i], atoms.get_potential_energy(), rtol=10 * ROUNDING[dtype]
        )
        np.testing.assert_allclose(
            forces[i], atoms.get_forces(), rtol=0, atol=size * ROUNDING[dtype]
        )


@pytest.mark.parametrize(("ours", "ase"), PAIRS)
def test_forces_are_the_slope_of_the_energy(ours, ase):
    [atoms] = argon_clusters([6])
    _, [forces] = evaluate(ours, [atoms])
    size = np.abs(forces).max()
    np.testing.assert_allclose(
        forces, central_differences(ours, atoms), rtol=0, atol=DIFFERENCES * max(1, size)
    )
    # Nothing pushes the cluster as a whole.
    np.testing.assert_allclose(forces.sum(axis=0), 0, atol=1e-13 * size)


@pytest.mark.parametrize("potential", [LJ["cutoff"][0], LJ["smooth"][0], MORSE["smooth"][0]])
def test_energy_and_forces_vanish_beyond_the_cutoff(potential):
    far = Atoms("Ar2", [[0, 0, 0], [0, 0, potential.cutoff * (1 + 1e-12)]])
    near = Atoms("Ar2", [[0, 0, 0], [0, 0, potential.cutoff * (1 - 1e-6)]])
    energy, forces = evaluate(potential, [far, near])
    assert energy[0] == 0
    assert not forces[0].any()
    assert abs(energy[1]) < 1e-8


def test_a_smooth_cutoff_changes_nothing_before_its_onset():
    atoms = Atoms("Ar3", [[0, 0, 0], [0, 0, 3.9], [0, 3.6, 0.5]])
    for bare, cut in [
        (LennardJones(**ARGON), LennardJones(**ARGON, cutoff=9.0, onset=6.0)),
        (Morse(**NICKEL), Morse(**NICKEL, cutoff=9.0, onset=6.0)),
    ]:
        energy, [forces] = evaluate(bare, [atoms])
        cut_energy, [cut_forces] = evaluate(cut, [atoms])
        np.testing.assert_allclose(cut_energy, energy, rtol=1e-15)
        np.testing.assert_allclose(cut_forces, forces, rtol=1e-13, atol=1e-18)


def mixture():
    [atoms] = argon_clusters([9])
    atoms.symbols = ["Ar", "Ne", "Kr"] * 3
    return atoms


def by_hand(atoms, pair):
    """Energy, one pair after the other."""
    total = 0.0
    for i, j in itertools.combinations(range(len(atoms)), 2):
        total += pair(atoms.symbols[i], atoms.symbols[j], atoms.get_distance(i, j))
    return total


def test_lennard_jones_mixes_by_lorentz_and_berthelot():
    epsilon = {"Ar": 0.0104, "Ne": 0.0031, "Kr": 0.0140}
    sigma = {"Ar": 3.40, "Ne": 2.75, "Kr": 3.65}

    def pair(a, b, r):
        x6 = ((sigma[a] + sigma[b]) / 2 / r) ** 6
        return 4 * np.sqrt(epsilon[a] * epsilon[b]) * (x6**2 - x6)

    potential = LennardJones(epsilon=epsilon, sigma=sigma)
    energy, [forces] = evaluate(potential, [mixture()])
    np.testing.assert_allclose(energy[0], by_hand(mixture(), pair), rtol=1e-13)
    differences = central_differences(potential, mixture())
    np.testing.assert_allclose(forces, differences, rtol=0, atol=1e-8)


def test_morse_mixes_by_means():
    epsilon = {"Ar": 0.3, "Ne": 0.1, "Kr": 0.5}
    r0 = {"Ar": 3.8, "Ne": 3.1, "Kr": 4.0}

    def pair(a, b, r):
        x = np.exp(-5.0 * (r / ((r0[a] + r0[b]) / 2) - 1))
        return np.sqrt(epsilon[a] * epsilon[b]) * (x**2 - 2 * x)

    potential = Morse(epsilon=epsilon, r0=r0, rho0=5.0)
    energy, [forces] = evaluate(potential, [mixture()])
    np.testing.assert_allclose(energy[0], by_hand(mixture(), pair), rtol=1e-13)
    differences = central_differences(potential, mixture())
    np.testing.assert_allclose(forces, differences, rtol=0, atol=1e-8)


def test_parameters_for_each_element_are_those_for_all_where_they_are_equal():
    clusters = argon_clusters([5, 13])
    one = evaluate(argon(), clusters)
    other = evaluate(LennardJones(epsilon={"Ar": 0.0104}, sigma={"Ar": 3.40, "Ne": 2}), clusters)
    assert_same_bits(other, one)


def test_a_single_atom_has_no_energy_and_no_forces():
    for potential in (argon(), Morse(**NICKEL), LJ["smooth"][0]):
        energy, [forces] = evaluate(potential, [Atoms("Ar", [[1, 2, 3]])])
        assert energy[0] == 0
        assert not forces.any()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("ours", "ase"), PAIRS[:1] + PAIRS[3:4])
def test_a_lane_does_not_see_its_neighbours(ours, ase, dtype):
    clusters = argon_clusters([13, 16, 2, 9])
    energy, forces = evaluate(ours, clusters, dtype)
    for order in ([3, 0, 1, 2], [1, 1, 2, 0]):
        again, again_forces = evaluate(ours, [clusters[i] for i in order], dtype)
        assert_same_bits(again, energy[order])
        for got, i in zip(again_forces, order, strict=True):
            assert_same_bits(got, forces[i])


def test_potentials_are_values():
    """Equal options are the same program, in whatever order they were given."""
    one = LennardJones(epsilon={"Ar": 1, "Ne": 2}, sigma=3)
    other = LennardJones(epsilon={"Ne": 2.0, "Ar": 1.0}, sigma=np.float64(3.0))
    assert one == other
    assert hash(one) == hash(other)
    assert one != LennardJones(epsilon={"Ar": 1, "Ne": 2}, sigma=3.1)
    assert LennardJones() != Morse()
    assert LennardJones(0.0104, 3.4) == LennardJones(epsilon=0.0104, sigma=3.4)
    assert argon().describe() == {
        "name": "lennard-jones", "epsilon": 0.0104, "sigma": 3.4, "cutoff": None,
        "onset": None, "skin": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize("cls", [LennardJones, Morse])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": 0}, "epsilon is 0; it must be a number greater than 0"),
        ({"epsilon": -1.0}, "epsilon is -1.0"),
        ({"epsilon": float("nan")}, "epsilon is nan"),
        ({"epsilon": float("inf")}, "epsilon is inf"),
        ({"epsilon": None}, "epsilon is None"),
        ({"epsilon": "0.1"}, "epsilon is '0.1'"),
        ({"epsilon": {"Ar": "much"}}, "epsilon is 'much'"),
        ({"epsilon": {"Argon": 1.0}}, "epsilon is given for 'Argon', which is no chemical symbol"),
        ({"epsilon": {18: 1.0}}, "epsilon is given for 18"),
        ({"cutoff": 0.0}, "cutoff is 0.0"),
        ({"cutoff": -3.0, "onset": 1.0}, "cutoff is -3.0"),
        ({"cutoff": float("nan"), "onset": 1.0}, "cutoff is nan"),
        ({"cutoff": 3.0, "skin": -0.1}, "skin is -0.1"),
        ({"skin": float("nan")}, "skin is nan"),
        ({"onset": 2.0}, "onset is 2.0 without a cutoff"),
        ({"cutoff": 3.0, "onset": 3.0}, "onset is 3.0; it must be between 0 and the cutoff, 3.0"),
        ({"cutoff": 3.0, "onset": 0.0}, "onset is 0.0"),
    ],
)
def test_options_without_sense_are_refused(cls, options, message):
    with pytest.raises(OptionError, match=message):
        cls(**options)


@pytest.mark.parametrize(
    ("potential", "name"),
    [
        (LennardJones(epsilon={"Ar": 1.0}, sigma=1.0), "LennardJones has no epsilon for Kr, Ne"),
        (
            LennardJones(epsilon=1.0, sigma={"Ne": 1.0, "Kr": 2.0}),
            "LennardJones has no sigma for Ar; it has Kr, Ne",
        ),
        (Morse(rho0={"Ar": 1.0, "Ne": 2.0}), "Morse has no rho0 for Kr; it has Ar, Ne"),
    ],
)
def test_a_missing_element_is_named_with_the_structure(potential, name):
    with pytest.raises(PotentialError, match=f"'Ar9-0': {name}.*Add the element"):
        evaluate(potential, [mixture()])
