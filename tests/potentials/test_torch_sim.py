"""TorchSim models relax as any potential: right, and with the same bits alone and batched."""

import dataclasses

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.lj import LennardJones as AseLennardJones
from torch_sim_models import (
    BATCHING,
    EPSILON,
    POTENTIALS,
    SIGMA,
    Images,
    LennardJonesModel,
    MorseModel,
    SoftSphereModel,
    asked,
    mixed,
    single_points,
    small,
    torch,
    torch_sim,
)

import kups_relax as kr
from helpers import argon_clusters, bits
from kups_relax.potentials import TorchSim
from kups_relax.potentials._torch_sim import _abilities, _Arrays
from kups_relax.relaxation import evaluate

# Sums of some thousand pairs in another order, relative to the largest number.
ROUNDING = 1e-12
# The same in float32.
ROUNDING_32 = 2e-5

# TorchSim 0.3, the last for Python 3.11, has one pbc for all axes; and its pair models have forces
# and stress that are twice the derivatives of their energy, and read sheared cells by rows.
needs_axes = pytest.mark.skipif(
    not _abilities()[0], reason="this TorchSim has one pbc for all axes; install a newer one"
)
needs_right_pairs = pytest.mark.skipif(
    not _abilities()[0],
    reason="pair forces of TorchSim 0.3 are twice the slope of its energy; install a newer one",
)


def ase_results(atoms, rc=8.0):
    atoms = atoms.copy()
    atoms.calc = AseLennardJones(epsilon=EPSILON, sigma=SIGMA, rc=rc)
    stress = atoms.get_stress(voigt=False) if atoms.pbc.all() else None
    return atoms.get_potential_energy(), atoms.get_forces(), stress


def close(got, expected, tolerance):
    expected = np.asarray(expected)
    size = max(1e-3, np.abs(expected).max())
    np.testing.assert_allclose(got, expected, rtol=0, atol=size * tolerance)


@pytest.mark.parametrize("batching", BATCHING)
def test_energy_forces_and_stress_are_those_of_ase(batching):
    for atoms, got in zip(mixed(), single_points(POTENTIALS[batching], mixed()), strict=True):
        energy, forces, stress = ase_results(atoms)
        close(got.energy, energy, ROUNDING)
        close(got.forces, forces, ROUNDING)
        assert (got.stress is None) == (stress is None)
        if stress is not None:
            assert np.abs(stress - np.diag(np.diag(stress))).max() > 1e-4
            close(got.stress, stress, ROUNDING)


@needs_right_pairs
def test_torch_sims_lennard_jones_is_that_of_ase():
    model = LennardJonesModel(SIGMA, EPSILON, cutoff=8.0, compute_stress=True)
    ours = kr.potentials.LennardJones(EPSILON, SIGMA, cutoff=8.0)
    for atoms, got in zip(mixed(), single_points(TorchSim(model), mixed()), strict=True):
        _, forces, stress = ase_results(atoms)
        close(got.forces, forces, ROUNDING)
        if stress is not None:
            close(got.stress, stress, ROUNDING)
    clusters = argon_clusters([2, 5, 12])
    for got, same in zip(
        single_points(TorchSim(model), clusters), single_points(ours, clusters), strict=True
    ):
        close(got.forces, same.forces, ROUNDING)
    # The energy of a pair is not shifted to zero at the cutoff.
    far = LennardJonesModel(SIGMA, EPSILON, cutoff=60.0)
    shift = 4 * EPSILON * ((SIGMA / 60) ** 12 - (SIGMA / 60) ** 6)
    for atoms, got in zip(clusters, single_points(TorchSim(far), clusters), strict=True):
        n_pairs = len(atoms) * (len(atoms) - 1) // 2
        close(got.energy, ase_results(atoms, rc=60.0)[0] + n_pairs * shift, ROUNDING)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("model", [LennardJonesModel, MorseModel, SoftSphereModel])
def test_a_model_gives_the_bits_that_it_gives_in_torch_sim(model, dtype):
    floating = getattr(torch, dtype)
    model = model(3.4, 0.0104, dtype=floating, cutoff=8.0, compute_forces=True, compute_stress=True)
    for atoms in mixed():
        if dtype == "float32":
            atoms.set_cell(atoms.cell.array.astype(np.float32))
        state = torch_sim.io.atoms_to_state([atoms], torch.device("cpu"), floating)
        expected = model(state)
        [got] = single_points(TorchSim(model), [atoms], dtype)
        assert got.energy == float(expected["energy"][0])
        assert np.array_equal(got.forces, expected["forces"].double().numpy())
        if atoms.pbc.any():
            assert np.array_equal(got.stress, expected["stress"][0].double().numpy())
        else:
            assert got.stress is None


@needs_axes
def test_slabs_without_a_third_vector_are_those_of_ase():
    slab = fcc111("Ar", (2, 2, 3), a=5.3)
    slab.rattle(0.1, seed=2)
    assert slab.cell.rank == 2
    for model in (Images(), LennardJonesModel(SIGMA, EPSILON, cutoff=8.0, compute_stress=True)):
        [got] = single_points(TorchSim(model), [slab])
        close(got.forces, ase_results(slab)[1], ROUNDING)
        assert got.stress is None


@pytest.mark.skipif(not _abilities()[1], reason="states of this TorchSim know no charge and spin")
@pytest.mark.parametrize("batching", BATCHING)
def test_models_are_told_charge_and_spin_of_structures_that_say_them(batching):
    batch = argon_clusters([3, 4, 2])
    batch[0].info.update(charge=1, spin=2)
    batch[2].info.update(charge=-2, spin=3)
    model = Images()
    single_points(TorchSim(model, batching=batching), batch)
    said = {}
    for state in model.states:
        for k in range(state.n_systems):
            names = [name for name in ("charge", "spin") if state.has_extras(name)]
            n = int((state.system_idx == k).sum())
            said[n] = {name: float(getattr(state, name)[k]) for name in names}
    assert said == {3: {"charge": 1, "spin": 2}, 4: {}, 2: {"charge": -2, "spin": 3}}


def test_a_float32_model_serves_float64_runs_and_a_float64_model_float32_runs():
    for model_dtype, dtype in ((torch.float32, "float64"), (torch.float64, "float32")):
        potential = TorchSim(Images(dtype=model_dtype))
        for atoms, got in zip(mixed(), single_points(potential, mixed(), dtype), strict=True):
            energy, forces, _ = ase_results(atoms)
            close(got.energy, energy, ROUNDING_32)
            close(got.forces, forces, ROUNDING_32)
        assert kr.verify(small()[:4], potential, draws=2, dtype=dtype, max_steps=4).ok


def test_atoms_keep_their_masses_and_structures_without_atoms_have_standard_ones():
    heavy = Atoms("H2", [[0, 0, 0], [0, 0, 3.6]])
    heavy.set_masses([2.014, 3.016])
    model = Images()
    single_points(TorchSim(model), [heavy])
    assert model.states[-1].masses.tolist() == [2.014, 3.016]
    bare = kr.Structure(
        id="bare", numbers=np.array([1, 2], np.int32), positions=heavy.positions.copy()
    )
    evaluate(TorchSim(model), [bare])
    np.testing.assert_allclose(model.states[-1].masses, [1.008, 4.002602], rtol=1e-4)


@pytest.mark.parametrize("batching", BATCHING)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_alone_and_batched_are_the_same_to_the_bit(batching, dtype):
    # Images works on one system after the other, and is exact together too.
    report = kr.verify(small(), POTENTIALS[batching], draws=4, dtype=dtype, max_steps=8)
    assert report.ok, report


@pytest.mark.parametrize("model", [LennardJonesModel, MorseModel, SoftSphereModel])
def test_models_of_torch_sim_are_exact_one_by_one(model):
    model = model(3.4, 0.0104, dtype=torch.float64, compute_forces=True, compute_stress=True)
    report = kr.verify(small(), TorchSim(model), draws=6, max_steps=15)
    assert report.ok, report


def test_together_goes_where_one_by_one_goes():
    model = LennardJonesModel(SIGMA, EPSILON, dtype=torch.float64, compute_stress=True)
    alone, together = (kr.relax(small(), TorchSim(model, batching=b)) for b in BATCHING)
    assert together.converged.all()
    # Where sums are rounded otherwise, ends differ by what fmax leaves open.
    np.testing.assert_allclose(together.energy, alone.energy, rtol=0, atol=1e-6)


def test_together_calls_the_model_once_for_all_of_a_tile():
    batch = argon_clusters([3, 4, 5])
    one, all_ = Images(), Images()
    single_points(TorchSim(one), batch)
    single_points(TorchSim(all_, batching="together"), batch)
    assert [s.n_systems for s in one.states] == [1, 1, 1]
    assert [s.n_systems for s in all_.states] == [3]


class InAse(Calculator):
    """A TorchSim model as an ASE calculator, by TorchSim's own conversion."""

    implemented_properties = ("energy", "forces")

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.n_calls = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.n_calls += 1
        state = torch_sim.io.atoms_to_state([self.atoms], self.model.device, self.model.dtype)
        out = self.model(state)
        self.results = {
            "energy": float(out["energy"][0]),
            "forces": out["forces"].double().numpy(),
        }


@pytest.mark.parametrize("optimizer", ["lbfgs", "ase-lbfgs"])
def test_steps_are_those_of_the_optimizer_in_ase_to_the_bit(optimizer):
    model = LennardJonesModel(SIGMA, EPSILON, dtype=torch.float64)
    batch = argon_clusters([3, 8])
    result = kr.relax(batch, TorchSim(model), optimizer, max_steps=60)
    for i, atoms in enumerate(batch):
        atoms.calc = InAse(model)
        serial = kr.ase.Optimizer(atoms, optimizer, logfile=None)
        serial.run(fmax=0.01, steps=60)
        assert result.n_steps[i] == serial.get_number_of_steps() > 0
        assert result.n_evaluations[i] == atoms.calc.n_calls
        assert np.array_equal(bits(result.atoms[i].positions), bits(atoms.positions))
        assert result.energy[i] == atoms.get_potential_energy()


def test_calls_are_repeatable_with_several_threads():
    before = torch.get_num_threads()
    crystal = bulk("Ar", "fcc", a=5.3, cubic=True).repeat(5)
    crystal.rattle(0.1, seed=1)
    model = LennardJonesModel(SIGMA, EPSILON, dtype=torch.float64, compute_stress=True)
    torch.set_num_threads(2)
    try:
        first, *others = [single_points(TorchSim(model), [crystal])[0] for _ in range(6)]
    finally:
        torch.set_num_threads(before)
    for other in others:
        assert other.energy == first.energy
        assert np.array_equal(other.forces, first.forces)
        assert np.array_equal(other.stress, first.stress)


@pytest.mark.usefixtures("x64")
def test_positions_and_forces_change_hands_without_a_copy():
    a = dataclasses.replace(asked(argon_clusters([3, 5])), stress=True)
    arrays = _Arrays(a, torch.device("cpu"))
    assert arrays.positions.data_ptr() == a.positions.unsafe_buffer_pointer()
    assert arrays.cell.data_ptr() == a.cell.unsafe_buffer_pointer()
    out = arrays.evaluation()
    assert out.stress is not None
    for tensor, array in (
        (arrays.energy, out.energy),
        (arrays.forces, out.forces),
        (arrays.stress, out.stress),
    ):
        assert tensor.data_ptr() == array.unsafe_buffer_pointer()
        assert array.dtype == np.float64


@pytest.mark.usefixtures("x64")
def test_results_are_arrays_like_any_other_so_that_nothing_compiles_twice():
    session = TorchSim(Images(stress=False)).session()
    out, failed = session.evaluate(asked(argon_clusters([3, 5])))
    assert not failed
    assert not out.energy.committed
    assert not out.forces.committed
    assert np.isfinite(out.forces).all()
    session.close()


def test_it_describes_itself_and_equals_itself():
    model = Images(dtype=torch.float32)
    assert TorchSim(model).describe() == {
        "name": "torch-sim",
        "model": "Images",
        "dtype": "float32",
        "device": "cpu",
        "batching": "one-by-one",
    }
    assert TorchSim(model) == TorchSim(model)
    assert hash(TorchSim(model)) == hash(TorchSim(model))
    assert TorchSim(model) != TorchSim(Images())
    assert TorchSim(model) != TorchSim(model, batching="together")
