"""Sums of potentials: the bits of the parts, added."""

import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT as AseEMT
from ase.calculators.lj import LennardJones as AseLennardJones
from ase.calculators.mixing import SumCalculator
from emt_cases import icosahedron

import kups_relax as kr
from helpers import (
    DTYPES,
    argon,
    argon_clusters,
    assert_same_bits,
    central_differences,
    singles,
    stress_by_strain,
)
from kups_relax.ase import JaxCalculator
from kups_relax.errors import OptionError, PotentialError
from kups_relax.potentials import (
    EMT,
    AseCalculator,
    GraphModel,
    Harmonic,
    LennardJones,
    Morse,
    Sum,
)

# Of another length and with another skin than those of EMT: lists that must not be mixed up.
REPULSION = {"epsilon": 0.02, "sigma": 2.4}
SHORT = LennardJones(**REPULSION, cutoff=4.0, skin=0.1)
BOTH = Sum(EMT(skin=0.4), SHORT)


def crystal(seed: int = 0) -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[seed % 4] = "Au"
    atoms.rattle(0.1, seed=seed)
    return atoms


def springs(params, graph):
    r = jnp.linalg.norm(graph.vectors(), axis=1)
    return graph.sum_at_receivers(params["k"] / 4 * (r - params["length"]) ** 2)


MODEL = GraphModel(springs, {"k": 0.5, "length": 3.6}, cutoff=5.0)


@pytest.mark.parametrize(
    ("dtype", "structures"),
    [
        ("float64", [crystal()]),
        pytest.param("float64", [icosahedron(2, 0)], marks=pytest.mark.extended),
        pytest.param("float32", [crystal(), icosahedron(2, 0)], marks=pytest.mark.extended),
    ],
)
def test_a_sum_has_the_bits_of_its_parts_added(dtype, structures):
    for atoms in structures:
        one, other, both = (singles(p, [atoms], dtype)[0] for p in (*BOTH.parts, BOTH))
        number = np.dtype(dtype).type
        assert_same_bits(number(both.energy), number(one.energy) + number(other.energy))
        for name in ("forces", "energies", "stress"):
            # The all-pairs form of a cluster has no stress, and a cluster has none either.
            if name != "stress" or atoms.pbc.any():
                a, b, c = (np.asarray(getattr(x, name), dtype) for x in (one, other, both))
                assert_same_bits(c, a + b)


def test_a_sum_is_that_of_ase():
    ours = Sum(EMT(), LennardJones(**REPULSION, cutoff=5.0))
    atoms = crystal(1)
    [got] = singles(ours, [atoms])
    atoms.calc = SumCalculator([AseEMT(), AseLennardJones(**REPULSION, rc=5.0)])
    np.testing.assert_allclose(got.energy, atoms.get_potential_energy(), rtol=1e-12)
    np.testing.assert_allclose(got.forces, atoms.get_forces(), rtol=0, atol=1e-11)
    np.testing.assert_allclose(got.stress, atoms.get_stress(voigt=False), rtol=0, atol=1e-12)


def test_forces_and_stress_are_slopes_of_the_energy():
    [got] = singles(BOTH, [crystal()])
    differences = central_differences(BOTH, crystal())
    np.testing.assert_allclose(got.forces, differences, rtol=0, atol=1e-8)
    worst = np.abs(got.stress).max()
    strained = stress_by_strain(BOTH, crystal())
    np.testing.assert_allclose(got.stress, strained, rtol=0, atol=1e-6 * worst)


def test_what_one_part_does_not_give_the_sum_does_not():
    cluster = argon_clusters([6])[0]
    [got] = singles(Sum(argon(), Harmonic(well=0.1)), [cluster])
    assert got.energies is None
    assert singles(Sum(argon(), Morse()), [cluster])[0].energies is not None
    with pytest.raises(PotentialError, match="pbc is"):
        singles(Sum(EMT(), Harmonic()), [crystal()])


@pytest.mark.extended
def test_sums_of_sums_and_of_one_are_sums():
    clusters = argon_clusters([6, 9])
    parts = (argon(), Morse(epsilon=0.01, r0=3.8, rho0=5.0), Harmonic(well=0.01, bond=0.02))
    nested = Sum(Sum(*parts[:2]), parts[2])
    for one, other in zip(singles(nested, clusters), singles(Sum(*parts), clusters), strict=True):
        assert_same_bits(one.energy, other.energy)
        assert_same_bits(one.forces, other.forces)
    [alone], [of_one] = (singles(p, clusters[:1]) for p in (parts[0], Sum(parts[0])))
    assert_same_bits(of_one.forces, alone.forces)


def test_the_same_potential_twice_counts_twice():
    cluster = argon_clusters([6])[0]
    [one], [two] = (singles(p, [cluster]) for p in (argon(), Sum(argon(), argon())))
    assert_same_bits(two.forces, 2 * one.forces)


@pytest.mark.exact
@pytest.mark.extended
@pytest.mark.parametrize("dtype", DTYPES)
def test_structures_get_in_a_batch_what_they_get_alone(dtype):
    structures = [crystal(seed) for seed in range(4)] + [icosahedron(2, seed) for seed in range(3)]
    report = kr.verify(structures, BOTH, draws=5, dtype=dtype, max_steps=25, fmax=1e-3)
    assert report.ok, report


@pytest.mark.exact
@pytest.mark.extended
@pytest.mark.parametrize("dtype", DTYPES)
def test_so_they_do_where_only_one_part_is_rounded(dtype):
    both = Sum(argon(), MODEL)
    assert not both.rounds
    assert Sum(argon(), EMT()).rounds
    clusters = argon_clusters([6, 7, 8, 5])
    report = kr.verify(clusters, both, draws=4, dtype=dtype, max_steps=20, fmax=1e-3)
    assert report.ok, report
    for one, model, sum_ in zip(
        *(singles(p, clusters) for p in (argon(), MODEL, both)), strict=True
    ):
        np.testing.assert_allclose(sum_.forces, one.forces + model.forces, rtol=0, atol=1e-12)
        np.testing.assert_allclose(sum_.energy, one.energy + model.energy, rtol=1e-12)


@pytest.mark.exact
@pytest.mark.extended
def test_a_calculator_has_the_bits_of_a_relaxation():
    result = kr.relax([crystal()], BOTH, max_steps=5, progress=False)
    atoms = result.atoms[0].copy()
    atoms.calc = JaxCalculator(BOTH)
    for get in ("get_forces", "get_potential_energy", "get_stress"):
        assert_same_bits(getattr(atoms, get)(), getattr(result.atoms[0], get)())


def test_the_shortest_list_and_the_fewest_lanes_decide():
    [cell] = kr.io.structures_from([crystal()])
    assert BOTH.specialize(cell).slack == 0.05
    assert BOTH.slack == 0.2  # a cluster takes all pairs of the other part
    assert Sum(argon(), Harmonic()).slack is None
    assert Sum(argon(), EMT(skin=0.4)).slack == 0.2
    assert Sum(argon(), MODEL).n_lanes(16) == 8
    assert BOTH.n_lanes(16) == EMT().n_lanes(16)
    assert Sum(argon(), Harmonic()).n_lanes(16) is None


def test_each_part_takes_the_form_that_a_structure_needs():
    [cell, cluster] = kr.io.structures_from([crystal(), icosahedron(2, 0)])
    assert BOTH.specialize(cell).parts == tuple(p.specialize(cell) for p in BOTH.parts)
    assert BOTH.specialize(cluster) == BOTH


def test_sums_are_values():
    assert Sum(EMT(), SHORT) == Sum(EMT(), LennardJones(**REPULSION, cutoff=4.0, skin=0.1))
    assert hash(Sum(EMT(), SHORT)) == hash(Sum(EMT(), SHORT))
    assert Sum(EMT(), SHORT) != Sum(SHORT, EMT())
    assert Sum(EMT(), SHORT) != Sum(EMT())
    parts = [EMT().describe(), SHORT.describe()]
    assert Sum(EMT(), SHORT).describe() == {"name": "sum", "parts": parts}


@pytest.mark.extended
def test_every_check_of_a_potential_but_one_passes():
    # Of EMT: it is not continuous at its cutoff.
    checks = set(kr.testing.CHECKS) - {"continuity"}
    report = kr.testing.check_potential(BOTH, [crystal(), icosahedron(2, 0)], checks=checks)
    assert report.ok, report


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((), "a Sum needs a potential"),
        ((EMT(), "lennard-jones"), "Sum cannot add 'lennard-jones'"),
        ((AseCalculator(AseEMT), EMT()), "Sum cannot add .*SumCalculator"),
        (([EMT(), SHORT],), r"Sum cannot add \[EMT"),
    ],
)
def test_what_cannot_be_added_is_refused(parts, message):
    with pytest.raises(OptionError, match=message):
        Sum(*parts)


def test_a_part_that_cannot_describe_a_structure_names_it():
    salt = Atoms("NaCl", np.eye(2, 3) * 3, info={"id": "salt"})
    with pytest.raises(PotentialError, match="'salt': EMT has no parameters for Cl, Na"):
        singles(Sum(argon(), EMT()), [salt])
