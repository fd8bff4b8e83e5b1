"""Lennard-Jones and Morse by neighbour lists: ASE's numbers in any cell, whatever was listed."""

import dataclasses

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.lj import LennardJones as AseLennardJones
from ase.calculators.morse import MorsePotential

import kups_relax as kr
from helpers import ARGON, DTYPES, assert_same_bits, central_differences, singles, stress_by_strain
from kups_relax.errors import PotentialError
from kups_relax.potentials import LennardJones, Morse, _neighbor_sums
from kups_relax.potentials._pair_potential import NeighborPairs
from support.crossing import first, in_turns

# Sums of some thousand pairs in another order, relative to the largest number.
ROUNDING = {"float64": 1e-12, "float32": 2e-5}

NICKEL = {"epsilon": 0.4205, "r0": 2.78, "rho0": 3.95}
PAIRS = {
    "lj": (LennardJones(**ARGON, cutoff=8.5), AseLennardJones(**ARGON, rc=8.5)),
    "lj smooth": (
        LennardJones(**ARGON, cutoff=7.0, onset=4.5),
        AseLennardJones(**ARGON, rc=7.0, ro=4.5, smooth=True),
    ),
    "morse": (
        Morse(**NICKEL, cutoff=2.7 * 2.78, onset=1.9 * 2.78),
        MorsePotential(**NICKEL, rcut1=1.9, rcut2=2.7),
    ),
}


def cases() -> dict[str, Atoms]:
    """Cells as they come: of one atom, sheared, left-handed, slabs, wires, unwrapped atoms."""
    sheared = bulk("Ar", a=5.3, cubic=True)
    sheared.set_cell(sheared.cell.array @ [[1, 0.1, 0], [0, 0.97, 0.2], [0.05, 0, 1.03]], True)
    handed = bulk("Ar", a=5.2)
    handed.set_cell(handed.cell.array[[1, 0, 2]])
    unwrapped = bulk("Ar", a=5.3).repeat((2, 1, 3))
    unwrapped.positions += unwrapped.cell.array.T @ np.array([3.0, -2.0, 1.0])
    unwrapped.positions[2] -= 4 * unwrapped.cell.array[0]
    wire = Atoms(
        "Ar3", [[0, 0, 0], [0, 0, 3.5], [0, 2, 7]], cell=[0, 0, 11], pbc=(False, False, True)
    )
    boxed = molecule("C60", cell=[40, 40, 40])
    boxed.positions *= 3
    out = {
        "one atom": bulk("Ar", a=5.3),
        "sheared": sheared,
        "left-handed": handed,
        "unwrapped": unwrapped,
        "slab": fcc111("Ar", (2, 2, 3), a=5.4, vacuum=6.0),
        "wire": wire,
        "one periodic atom": Atoms("Ar", cell=[3.3, 30, 30], pbc=(True, False, False)),
        "far apart": Atoms("Ar2", [[0, 0, 0], [20, 0, 0]], cell=[40, 40, 40], pbc=True),
        "boxed": boxed,
    }
    for seed, atoms in enumerate(out.values()):
        atoms.rattle(0.1, seed=seed)
    return out


CASES = cases()


@pytest.mark.parametrize(("kind", "dtype"), in_turns(PAIRS, DTYPES))
def test_energy_forces_stress_and_shares_are_those_of_ase(kind, dtype):
    ours, theirs = PAIRS[kind]
    structures = list(CASES.values())
    for atoms, got in zip(structures, singles(ours, structures, dtype), strict=True):
        atoms.calc = theirs
        rounding = ROUNDING[dtype] * max(1.0, np.abs(atoms.get_forces()).max())
        shares = atoms.get_potential_energies()
        np.testing.assert_allclose(got.energy, shares.sum(), rtol=0, atol=rounding * len(atoms))
        np.testing.assert_allclose(got.forces, atoms.get_forces(), rtol=0, atol=rounding)
        np.testing.assert_allclose(got.energies, shares, rtol=0, atol=rounding)
        if atoms.pbc.any() and atoms.cell.rank == 3:
            expected = atoms.get_stress(voigt=False)
            np.testing.assert_allclose(got.stress, expected, rtol=0, atol=rounding)
            assert_same_bits(got.stress, got.stress.T)
        else:
            assert got.stress is None


@pytest.mark.parametrize("kind", PAIRS)
def test_forces_and_stress_are_slopes_of_the_energy(kind):
    ours, _ = PAIRS[kind]
    for name in ("sheared", "one atom", "left-handed"):
        [got] = singles(ours, [CASES[name]])
        differences = central_differences(ours, CASES[name])
        np.testing.assert_allclose(got.forces, differences, rtol=0, atol=1e-8)
        strained = stress_by_strain(ours, CASES[name])
        worst = np.abs(got.stress).max()
        np.testing.assert_allclose(got.stress, strained, rtol=0, atol=1e-6 * worst)


def test_an_atom_is_not_pushed_by_its_own_images():
    [got] = singles(PAIRS["lj"][0], [CASES["one atom"]])
    assert_same_bits(got.forces, np.zeros((1, 3)))
    assert np.abs(got.stress).max() > 1e-4


@pytest.mark.parametrize(
    ("kind", "dtype", "names"),
    [
        ("lj", "float64", ("slab", "sheared")),
        ("morse", "float32", ("unwrapped",)),
        *(
            pytest.param(*case, tuple(CASES), marks=pytest.mark.extended)
            for case in (("lj", "float64"), ("lj smooth", "float32"), ("morse", "float32"))
        ),
    ],
)
def test_no_bit_depends_on_the_skin(kind, dtype, names):
    ours, _ = PAIRS[kind]
    structures = [CASES[name] for name in names]
    # Another skin lists other neighbours, in rows of another width.
    expected = singles(dataclasses.replace(ours, skin=0.0), structures, dtype)
    for skin in (0.3, 2.5):
        for one, other in zip(
            singles(dataclasses.replace(ours, skin=skin), structures, dtype), expected, strict=True
        ):
            assert_same_bits(dataclasses.astuple(one), dataclasses.astuple(other))


@pytest.mark.parametrize("lengths", first([(1, 2), (1, 2, 3)]))
def test_lists_made_anew_on_the_way_change_no_bit(lengths):
    atoms = [bulk("Ar", a=5.5, cubic=True).repeat((1, 1, n)) for n in lengths]
    for seed, structure in enumerate(atoms):
        structure.rattle(0.35, seed=seed)
    options = {"fmax": 1e-3, "max_steps": 60}
    long, short = (LennardJones(**ARGON, cutoff=7.0, onset=5.0, skin=s) for s in (6.0, 0.2))
    results = [kr.relax(atoms, potential, **options) for potential in (long, short)]
    assert results[0].n_steps.min() > 5
    for i in range(len(atoms)):
        moved = np.linalg.norm(results[0].atoms[i].positions - atoms[i].positions, axis=1).max()
        assert moved > 0.2  # more than the slack of the short skin
        assert results[0].n_steps[i] == results[1].n_steps[i]
        for get in ("get_positions", "get_forces", "get_potential_energy", "get_stress"):
            assert_same_bits(*(getattr(result.atoms[i], get)() for result in results))


@pytest.mark.exact
@pytest.mark.parametrize(
    "names",
    [
        ("sheared", "unwrapped", "far apart"),
        pytest.param(tuple(CASES), marks=pytest.mark.extended),
    ],
)
def test_crystals_and_clusters_get_in_a_batch_what_they_get_alone(names):
    structures = [CASES[name] for name in names]
    potential = LennardJones(**ARGON, cutoff=7.0, onset=5.0, skin=0.3)
    report = kr.verify(structures, potential, draws=8, dtype="float32", max_steps=25, fmax=1e-4)
    assert report.ok, report


# Two whose parameters are equal, and one that differs.
MIXED = {
    "lj": LennardJones(
        {"Ar": 0.0104, "Ne": 0.0031, "Kr": 0.0104},
        {"Ar": 3.4, "Ne": 2.75, "Kr": 3.4},
        cutoff=7.0,
    ),
    "morse": Morse(
        epsilon={"Ar": 0.0104, "Ne": 0.0031, "Kr": 0.014},
        r0={"Ar": 3.8, "Ne": 3.1, "Kr": 4.0},
        rho0=5.0,
        cutoff=7.0,
    ),
}


def alloys() -> list[Atoms]:
    """Crystals and a cluster of three elements, of two, and of one."""
    out = [bulk("Ar", a=5.3, cubic=True).repeat((n, 1, 1)) for n in (1, 2, 3, 2)]
    for seed, (atoms, chosen) in enumerate(
        zip(out, ("ArNeKr", "ArNe", "Ar", "ArNeKr"), strict=True)
    ):
        symbols = [chosen[k : k + 2] for k in range(0, len(chosen), 2)]
        atoms.symbols = [symbols[i % len(symbols)] for i in range(len(atoms))]
        atoms.rattle(0.1, seed=seed)
    out[3].pbc = False
    return out


@pytest.mark.exact
@pytest.mark.parametrize("dtype", DTYPES)
def test_mixtures_get_in_a_batch_what_they_get_alone(dtype):
    """Of 36 atoms, and of 16."""
    mixtures = [alloys()[2].repeat((1, 3, 1)), alloys()[1].repeat((1, 2, 1))]
    mixtures.append(alloys()[0].repeat((3, 3, 1)))
    assert [len(atoms) for atoms in mixtures] == [36, 16, 36]
    report = kr.verify(mixtures, MIXED["lj"], draws=3, max_steps=12, fmax=1e-4, dtype=dtype)
    assert report.ok, report


@pytest.mark.parametrize("kind", MIXED)
def test_mixtures_have_by_lists_what_they_have_by_all_pairs(kind):
    cluster = alloys()[3]
    by_pairs, by_lists = (
        singles(form, [cluster])[0]
        for form in (MIXED[kind], NeighborPairs(MIXED[kind], mixed=True))
    )
    np.testing.assert_allclose(by_lists.energy, by_pairs.energy, rtol=1e-12)
    np.testing.assert_allclose(by_lists.forces, by_pairs.forces, rtol=0, atol=1e-12)


def test_no_bit_depends_on_how_parameters_are_looked_up():
    one_kind = alloys()[2]
    looked_up = singles(NeighborPairs(MIXED["lj"], mixed=True), [one_kind])
    assert_same_bits(*(x.forces for x in (*looked_up, *singles(MIXED["lj"], [one_kind]))))


def test_no_bit_depends_on_the_blocks_in_which_atoms_are_taken(monkeypatch):
    atoms = alloys()[1].repeat((1, 2, 1))
    whole = singles(MIXED["lj"], [atoms])
    monkeypatch.setattr(_neighbor_sums, "_BLOCK", 8)
    # With another skin it is another program.
    in_blocks = singles(dataclasses.replace(MIXED["lj"], skin=0.9), [atoms])
    for name in ("energy", "forces", "stress", "energies"):
        assert_same_bits(*(getattr(got, name) for got in (*whole, *in_blocks)))


def test_parameters_take_no_memory_that_grows_faster_than_the_atoms():
    for potential in MIXED.values():
        for atoms, mixed in zip(alloys()[:3], (True, True, False), strict=True):
            [entry] = kr.io.structures_from(atoms)
            form = potential.specialize(entry)
            assert form == NeighborPairs(potential, mixed=mixed)
            prepared = form.prepare(entry)
            n_kinds = len(np.unique(prepared["kind"])) if mixed else 1
            assert n_kinds == (3 if potential is MIXED["morse"] and len(atoms) == 4 else 1 + mixed)
            for name in potential.parameter_names:
                assert np.size(prepared[name]) == n_kinds**2


def test_periodic_and_large_structures_take_lists_and_others_all_pairs():
    potential = LennardJones(cutoff=2.5)
    large = Atoms("Ar200", np.arange(600).reshape(200, 3))
    entries = kr.io.structures_from([bulk("Ar", a=5.3), Atoms("Ar4", np.eye(4, 3)), large])
    forms = [potential.specialize(entry) for entry in entries]
    assert forms == [NeighborPairs(potential), potential, NeighborPairs(potential)]
    assert forms[0].describe() == potential.describe()
    assert [form.slack for form in forms] == [0.5, None, 0.5]


def test_a_large_cluster_has_the_numbers_of_ase():
    atoms = bulk("Ar", a=5.3).repeat((6, 6, 6))
    atoms.pbc, atoms.calc = False, AseLennardJones(**ARGON, rc=9.0)
    [got] = singles(LennardJones(**ARGON, cutoff=9.0), [atoms])
    np.testing.assert_allclose(got.energy, atoms.get_potential_energy(), rtol=1e-12)
    np.testing.assert_allclose(got.forces, atoms.get_forces(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("potential", [LennardJones(), Morse()])
def test_without_a_cutoff_periodic_structures_are_refused_by_name(potential):
    atoms = Atoms("Ar", cell=[9, 9, 9], pbc=[True, False, False], info={"id": "wire"})
    kind = type(potential).__name__
    with pytest.raises(PotentialError, match=rf"'wire': pbc is \[True, False.*{kind}\(.*cutoff="):
        singles(potential, [atoms])
