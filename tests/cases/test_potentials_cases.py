"""Inputs on which potentials once failed, and what is right for them."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT

import kups_relax as kr
from kups_relax import relaxation
from kups_relax.errors import StructureError
from kups_relax.neighbors import neighbor_list
from kups_relax.relaxation import _memory


@pytest.mark.parametrize("n_atoms", [24, 95, 5000])
def test_case_07_lists_of_scattered_atoms_take_time_in_proportion_to_the_atoms(n_atoms):
    positions = np.random.default_rng(7).uniform(-5e3, 5e3, (n_atoms, 3))
    # A grid over these would have 10^9 cells, and take minutes or all memory.
    i, _, _ = neighbor_list(positions, np.eye(3) * 12.5, [True, False, False], 5.0)
    assert len(i) < n_atoms


def test_case_07_scattered_atoms_relax():
    positions = np.random.default_rng(7).uniform(-5e3, 5e3, (24, 3))
    atoms = Atoms("Ar24", positions, cell=np.eye(3) * 12.5, pbc=[True, False, False])
    argon = kr.potentials.LennardJones(epsilon=0.0104, sigma=3.4, cutoff=5.0)
    assert kr.relax(atoms, argon).status == ["converged"]


def test_case_08_coordinates_of_1e300_are_refused_in_words():
    with pytest.raises(StructureError, match=r"'huge': positions hold values of up to 1e.300"):
        neighbor_list(np.array([[0.0] * 3, [1e300, 0, 0]]), None, False, 5.0, label="huge")


def test_case_34_an_atom_in_a_long_periodic_cell_is_relaxed_at_once():
    atoms = Atoms("Si", cell=[2e4] * 3, pbc=[False, False, True])
    assert kr.relax(atoms, "stillinger-weber", "preconditioned").status == ["converged"]


@pytest.mark.parametrize("n_elements", [1, 2])
def test_case_35_arrays_of_20000_atoms_take_memory_in_proportion_to_the_pairs(n_elements):
    atoms = bulk("Ar", a=5.3, cubic=True) * (17, 17, 17)
    if n_elements == 2:
        atoms.symbols[::2] = "Ne"
    epsilon, sigma = {"Ar": 0.0104, "Ne": 0.0031}, {"Ar": 3.4, "Ne": 2.75}
    potential = kr.potentials.LennardJones(epsilon, sigma, cutoff=4.5)
    [entry] = kr.io.structures_from(atoms)
    form = potential.specialize(entry)
    prepared = relaxation.prepare(form, entry, "float64")
    n_slots = prepared["neighbor"].size
    assert n_slots == 18 * len(atoms)
    assert sum(array.nbytes for array in prepared.values()) < 8 * n_slots + 1e6
    size = relaxation.size_class(form, len(atoms), relaxation.axis_lengths(form, prepared))
    program = relaxation.Program(form, kr.optimizers.get("lbfgs"))
    assert _memory.tile_bytes(program, size, np.dtype("float64")) < 3e8


class FiveBelow(EMT):
    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results["free_energy"] = self.results["energy"] - 5


def test_case_21_results_keep_the_free_energy_of_the_calculator():
    start = bulk("Cu", cubic=True)
    start.rattle(0.05, seed=1)
    result = kr.relax(start, kr.potentials.AseCalculator(FiveBelow), fmax=0.05)
    [atoms], [energy] = result.atoms, result.energy
    assert atoms.get_potential_energy() == energy
    assert atoms.get_potential_energy(force_consistent=True) == energy - 5


def test_case_15_a_calculator_as_the_potential_is_taken_as_one():
    start = bulk("Cu", cubic=True)
    start.rattle(0.05, seed=1)
    result = kr.relax(start, EMT(), fmax=0.05)
    assert result.converged.all()
    wrapped = kr.relax(start, kr.potentials.AseCalculator(EMT), fmax=0.05)
    assert result.fingerprint[0] == wrapped.fingerprint[0]


@pytest.mark.parametrize("number", [119, 200, -3])
@pytest.mark.parametrize("potential", ["emt", "morse:cutoff=5", "lennard-jones:cutoff=5"])
def test_cases_05_and_06_numbers_of_no_element_are_refused_in_words(number, potential):
    atoms = bulk("Cu", cubic=True)
    atoms.numbers[0] = number
    result = kr.relax(atoms, potential, max_steps=0)
    assert result.status[0] == "failed"
    assert f"atomic number {number} of atom 0 is no element" in result.reason[0]
