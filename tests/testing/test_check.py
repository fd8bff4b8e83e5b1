"""`check_potential`: what is right passes, and each fault is caught by the check meant for it."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from faulty import Pairs

import kups_relax as kr
from helpers import argon, argon_clusters
from kups_relax.errors import OptionError, StructureError
from kups_relax.testing import CHECKS, check_potential
from support.crossing import first


def crystal() -> Atoms:
    """Eight atoms in a skewed cell, one of them outside of it."""
    atoms = bulk("Cu", a=3.4, cubic=True) * (2, 1, 1)
    shear = np.array([[0, 0, 0], [0.4, 0, 0], [0.3, -0.5, 0]])
    atoms.set_cell(atoms.cell.array + shear, scale_atoms=True)
    atoms.positions[0] -= 3 * atoms.cell.array[1]
    atoms.info["id"] = "crystal"
    return atoms


def results(report):
    return {check.name: check.result for check in report.checks}


def test_a_potential_that_is_right_passes_every_check():
    cluster = Atoms("Cu5", np.random.default_rng(0).uniform(0, 3.5, (5, 3)), info={"id": "cluster"})
    report = check_potential(Pairs(), [crystal(), cluster])
    assert report.ok, str(report)
    assert results(report) == dict.fromkeys(CHECKS, "passed")
    assert all(check.n_comparisons >= 1 for check in report.checks)


# The check meant for each fault, and others that notice: half of the numbers in single precision,
# for example, are no longer the derivatives of the other half.
FAULTS = {
    "sign": ("forces", {"continuity"}),
    "force of float32": ("precision", {"forces", "rotation", "continuity"}),
    "energy of float32": ("precision", {"continuity", "forces"}),
    "direction": ("rotation", {"stress"}),
    "field": ("translation", {"rotation", "lattice vectors", "supercell", "stress"}),
    "order": ("permutation", set()),
    "few images": ("lattice vectors", {"supercell"}),
    "nearest image": ("supercell", {"continuity", "skin", "lattice vectors", "energies"}),
    "lanes": ("batch invariance", set()),
    "padding": ("padding", {"energies"}),
    "shares": ("energies", set()),
    "jump": ("continuity", set()),
    "stress factor": ("stress", set()),
    "shear": ("stress", {"rotation"}),
    "short list": ("skin", set()),
    "no skin": ("skin", {"lattice vectors"}),
    "not a number": ("outputs", set()),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_caught_by_the_check_meant_for_it(fault):
    meant, _ = FAULTS[fault]
    report = check_potential(Pairs(fault), crystal(), checks=[meant])
    assert [check.name for check in report.failed] == [meant], str(report)


@pytest.mark.extended
@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_caught_by_few_others(fault):
    meant, others = FAULTS[fault]
    report = check_potential(Pairs(fault), crystal())
    assert not report.ok
    assert report[meant].result == "failed", str(report)
    assert {check.name for check in report.failed} <= {meant, *others}, str(report)


@pytest.mark.parametrize("fault", first(["stress factor", "sign", "lanes"]))
def test_faults_are_caught_in_float32_too(fault):
    meant, others = FAULTS[fault]
    report = check_potential(Pairs(fault), crystal(), dtype="float32")
    assert report[meant].result == "failed", str(report)
    assert {check.name for check in report.failed} <= {meant, *others}, str(report)


@pytest.mark.extended
def test_a_potential_that_is_right_passes_in_float32():
    report = check_potential(Pairs(), crystal(), dtype="float32")
    assert report.ok, str(report)
    assert [c.name for c in report.checks if c.result != "passed"] == ["precision"]


def test_what_does_not_apply_is_not_tested_and_says_why():
    report = check_potential(argon(), argon_clusters([3]))
    assert report.ok
    assert report["stress"].result == "not tested"
    assert report["stress"].note == "no structure is periodic along all axes"
    assert report["lattice vectors"].note == "no structure is periodic"
    report = check_potential(kr.potentials.Harmonic(), argon_clusters([3]), checks=["energies"])
    assert report["energies"].note == "the potential gives no energies of atoms"
    report = check_potential(argon(), argon_clusters([3]), dtype="float32", checks=["precision"])
    assert report["precision"].note == "the run is float32"
    assert not report.ok  # nothing was tested


def test_forces_that_are_zero_by_symmetry_prove_nothing():
    atom = bulk("Cu", a=3.4)
    report = check_potential(Pairs("sign"), atom, checks=["forces"])
    assert report["forces"].result == "not tested"
    # Two atoms at their sites have no forces either: that is why structures are rattled.
    assert not check_potential(Pairs("sign"), atom * (2, 1, 1), checks=["forces"]).ok


@pytest.mark.parametrize("checks", first([["precision", "forces", "stress"], None]))
def test_a_potential_of_its_own_coarseness_is_judged_by_that(checks):
    options = {"precision": 1e-6, "checks": checks}
    report = check_potential(Pairs("energy of float32"), crystal(), **options)
    assert report.ok, str(report)
    assert not check_potential(Pairs("stress factor"), crystal(), **options).ok


def test_molecules_keep_their_bonds_while_they_are_moved():
    # An atom that is moved by half an Angstrom has no bonds by distance any more.
    report = check_potential(kr.potentials.MMFF94(), molecule("H2O"))
    assert report.ok, str(report)
    assert report["continuity"].result == "passed"


def test_the_topology_is_permuted_with_the_atoms():
    from rdkit import Chem
    from rdkit.Chem import AllChem

    mol = Chem.AddHs(Chem.MolFromSmiles("C[NH3+]"))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    report = check_potential("mmff94", mol, checks=["permutation", "forces"])
    assert report.ok, str(report)


def test_a_potential_that_depends_on_the_order_is_told_so():
    report = check_potential("harmonic:well=0,bond=2", argon_clusters([5]))
    assert [check.name for check in report.failed] == ["permutation"]
    assert check_potential("harmonic:bond=2", argon_clusters([5]), checks=["forces", "rotation"]).ok


def test_structures_that_cannot_be_described_are_left_out_with_the_reason():
    report = check_potential(argon(), [*argon_clusters([3]), crystal()], checks=["forces"])
    assert report.structures == ("Ar3-0",)
    ((label, reason),) = report.left_out
    assert label == "crystal"
    assert "non-periodic" in reason
    assert "crystal left out: 'crystal': pbc is" in str(report)


def test_outputs_without_sense_are_told_whatever_was_asked_for():
    report = check_potential(Pairs("not a number"), crystal(), checks=["forces"])
    assert [check.name for check in report.failed] == ["outputs"]
    assert report["outputs"].where == "crystal, energy not finite"


def test_nothing_to_check_is_refused_with_the_reasons():
    with pytest.raises(StructureError, match="no structure to check: 'crystal': pbc is"):
        check_potential(argon(), crystal())


def test_the_same_seed_gives_the_same_report():
    def report(seed):
        return check_potential(argon(), argon_clusters([4, 5]), seed=seed)

    assert repr(report(1)) == repr(report(1))  # NaN equals no NaN
    assert str(report(1)) != str(report(2))


def test_inputs_are_left_as_they_were():
    atoms = crystal()
    before = atoms.copy()
    check_potential(Pairs(), atoms, checks=["forces", "stress", "permutation"])
    assert atoms == before


def test_options_without_sense_are_refused():
    def check(**options):
        check_potential(argon(), argon_clusters([2]), **options)

    for options, message in [
        ({"dtype": "half"}, "dtype is 'half'"),
        ({"precision": 0.0}, "precision is 0.0"),
        ({"precision": np.nan}, "precision is nan"),
        ({"rattle": -0.1}, "rattle is -0.1"),
        ({"draws": 0}, "draws is 0"),
        ({"n_coordinates": 1.5}, "n_coordinates is 1.5"),
        ({"checks": ["force"]}, "no check 'force'; expected of outputs, "),
    ]:
        with pytest.raises(OptionError, match=message):
            check(**options)
    with pytest.raises(OptionError, match="no potential 'eam'"):
        check_potential("eam", argon_clusters([2]))
