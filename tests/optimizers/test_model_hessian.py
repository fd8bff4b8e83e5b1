"""`preconditioned` through the engine: exact, quick, and at home with odd structures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.cluster import Icosahedron
from ase.constraints import FixAtoms

import kups_relax as kr
from helpers import DTYPES, argon, argon_clusters, assert_same_bits, assert_same_result
from kups_relax import _keep
from kups_relax import optimizers as ko
from kups_relax.errors import OptionError
from kups_relax.internals import _guide
from kups_relax.relaxation import _batch, _scheduler
from support.crossing import first

# All of one size class: straight ones, rings that are planar, a dimer.
SMALL = "O C CO C#N C=O CC C#C OO O=C=O N CN C=C CC#N C=C=C CC=O O.O NC=O OC=O CS"
QUICK = {"optimizer": "preconditioned", "progress": False}


def molecules(folder):
    path = folder / "small.smi"
    path.write_text("\n".join(f"{smiles} {smiles}" for smiles in SMALL.split()))
    return kr.io.structures_from(str(path), seed=3)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return molecules(tmp_path_factory.mktemp("molecules"))


@pytest.fixture(scope="module")
def together(small):
    return kr.relax(small, kr.potentials.MMFF94(), **QUICK)


def crystal(symbol, seed, hold=None):
    atoms = bulk(symbol, cubic=True)
    atoms.rattle(0.12, seed=seed)
    shear = 0.03 * np.random.default_rng(seed).normal(size=(3, 3))
    atoms.set_cell(atoms.cell.array @ (1.02 * np.eye(3) + shear), scale_atoms=True)
    atoms.set_constraint(hold)
    return atoms


def loose_clusters(sizes):
    """Clusters whose atoms are too far apart to count as bonded."""
    clusters = argon_clusters(sizes)
    for atoms in clusters:
        atoms.positions *= 1.4
    return clusters


def test_molecules_get_the_bits_that_they_get_alone(small, together):
    assert together.converged.all()
    for i in range(0, len(small), 2):
        alone = kr.relax([small[i]], kr.potentials.MMFF94(), **QUICK)
        assert_same_result(together, i, alone, 0)
    order = np.random.default_rng(0).permutation(len(small))[:11]
    others = kr.relax([small[i] for i in order], kr.potentials.MMFF94(), **QUICK)
    for place, i in enumerate(order):
        assert_same_result(others, place, together, i)


@pytest.mark.exact
@pytest.mark.extended
@pytest.mark.parametrize("dtype", DTYPES)
def test_molecules_in_any_company(small, dtype):
    options = {**QUICK, "dtype": dtype, "fmax": 0.05, "max_steps": 100}
    report = kr.verify(small, kr.potentials.MMFF94(), draws=6, **options)
    assert report.ok, report


@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.extended)])
def test_clusters_in_any_company(dtype):
    clusters = loose_clusters([2, 3, 5, 8, 7])
    report = kr.verify(clusters, argon(), draws=3, **QUICK, dtype=dtype, max_steps=60)
    assert report.ok, report


@pytest.mark.exact
@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.extended)])
def test_crystals_with_moving_cells_in_any_company(dtype):
    crystals = [crystal("Cu", seed) for seed in range(4)]
    options = {**QUICK, "cell": "frechet", "dtype": dtype, "max_steps": 60}
    report = kr.verify(crystals, "emt", draws=3, **options)
    assert report.ok, report
    assert kr.relax(crystals, "emt", **options).converged.all()


@pytest.mark.exact
@pytest.mark.extended
@pytest.mark.parametrize("cell", [None, "frechet"])
def test_crystals_with_atoms_held_in_any_company(cell):
    crystals = [crystal("Cu", seed, FixAtoms([0, seed % 2 + 1])) for seed in range(4)]
    options = {**QUICK, "cell": cell, "max_steps": 100}
    report = kr.verify(crystals, "emt", draws=3, **options)
    assert report.ok, report
    result = kr.relax(crystals, "emt", **options)
    assert result.converged.all()
    if cell is None:
        for before, after in zip(crystals, result.atoms, strict=True):
            held = before.constraints[0].index
            assert_same_bits(after.positions[held], before.positions[held])


def test_fewer_evaluations_lead_to_the_minima_of_lbfgs(small, together):
    plain = kr.relax(small, kr.potentials.MMFF94(), "lbfgs", progress=False)
    assert plain.converged.all()
    # Two end lower: an aldehyde leaves a saddle, and two waters find each other.
    assert (together.energy < plain.energy + 1e-4).all()
    for smiles in ("CO", "CC", "CN", "C=C=C"):
        i = SMALL.split().index(smiles)
        assert together.n_evaluations[i] < plain.n_evaluations[i], smiles
        assert abs(together.energy[i] - plain.energy[i]) < 1e-4, smiles
    assert together.n_evaluations.sum() < 0.8 * plain.n_evaluations.sum()


@pytest.mark.exact
@pytest.mark.parametrize("every", first([6, 3]))
def test_large_structures_are_solved_for_by_conjugate_gradients(
    every, small, together, monkeypatch
):
    monkeypatch.setattr(_guide, "MOST_DENSE", {True: 2})
    chosen = [i for i in range(0, len(small), every) if len(together.atoms[i]) > 2]
    few = [small[i] for i in chosen]
    got = kr.relax(few, kr.potentials.MMFF94(), **QUICK)
    assert got.converged.all()
    for place in range(0, len(few), 2):
        alone = kr.relax([few[place]], kr.potentials.MMFF94(), **QUICK)
        assert_same_result(got, place, alone, 0)
    assert got.n_evaluations.sum() < 1.2 * together.n_evaluations[chosen].sum()
    assert (np.abs(got.energy - together.energy[chosen]) < 1e-3).mean() > 0.8


@pytest.mark.extended
def test_a_cluster_that_is_too_large_for_a_matrix_converges_in_few_evaluations():
    cluster = Icosahedron("Cu", 5)
    assert len(cluster) > _guide.MOST_DENSE[False]
    cluster.rattle(0.1, seed=0)
    result = kr.relax(cluster, "emt", **QUICK)
    assert result.converged.all()
    assert result.n_evaluations[0] < 20


def test_the_host_may_evaluate():
    shaken = [molecule(name) for name in ("H2O", "CH3OH", "C2H2", "NH3")]
    for seed, atoms in enumerate(shaken):
        atoms.rattle(0.1, seed=seed)
    potential = kr.potentials.AseCalculator(EMT)
    batched = kr.relax(shaken, potential, **QUICK, fmax=0.03)
    assert batched.converged.all()
    for i, atoms in enumerate(shaken):
        assert_same_result(batched, i, kr.relax(atoms, potential, **QUICK, fmax=0.03), 0)


class Stopped(Exception):
    pass


@pytest.mark.exact
def test_a_run_goes_on_from_its_checkpoint_bit_for_bit(tmp_path, monkeypatch):
    # The class, and so the program, of the crystals above.
    monkeypatch.setattr(_batch, "BUDGET", 4)
    monkeypatch.setattr(_scheduler, "_IDLE", 1e-3)
    crystals = [crystal("Cu", seed) for seed in range(4)]
    options = {**QUICK, "cell": "frechet", "fmax": 1e-6, "n_workers": 1}
    want = kr.relax(crystals, "emt", **options)
    path, write = tmp_path / "out.h5", _keep.write_checkpoint

    def writing(*args):
        write(*args)
        if args[2]:
            raise Stopped

    monkeypatch.setattr(_keep, "write_checkpoint", writing)
    with pytest.raises(Stopped):
        kr.relax(crystals, "emt", output=path, checkpoint=1e-9, **options)
    monkeypatch.setattr(_keep, "write_checkpoint", write)
    assert path.with_name("out.h5.checkpoint").exists()
    got = kr.relax(crystals, "emt", output=path, resume=True, **options)
    assert got.fingerprint.tolist() == want.fingerprint.tolist()


@pytest.mark.extended
def test_odd_molecules_converge():
    """In a line, and planar where they need not be."""
    ammonia = molecule("NH3")
    ammonia.positions[0, 2] = ammonia.positions[1:, 2].mean()
    odd = [molecule("CO2"), molecule("C2H2"), ammonia, molecule("CO")]
    for atoms in odd:
        atoms.positions *= 1.05
    result = kr.relax(odd, "emt", **QUICK)
    assert result.converged.all(), result.status


def test_atoms_that_are_alone_or_far_apart_converge():
    odd = [Atoms("Cu"), Atoms("H2", [[0, 0, 0], [0, 0, 2.0]]), Atoms("Cu2", [[0, 0, 0], [0, 0, 3]])]
    result = kr.relax(odd, "emt", **QUICK)
    assert result.converged.all(), result.status
    assert result.n_steps[0] == 0
    bond = result.atoms[1].get_distance(0, 1)
    assert bond < 1.2 or bond > 2.0, bond


@pytest.mark.extended
def test_a_planar_start_converges():
    planar = molecule("BF3")
    planar.positions *= 1.1
    result = kr.relax(planar, kr.potentials.Morse(epsilon=1.0, r0=1.4, rho0=6.0), **QUICK)
    assert result.converged.all(), result.status


def test_the_flat_layout_and_a_missing_chart_are_refused():
    for optimizer in (ko.get("preconditioned"), ko.ScaleByModelHessian()):
        with pytest.raises(OptionError, match=r"needs to know what atoms.*kups_relax\.relax"):
            optimizer.init(jnp.zeros((5, 3)))
        x = jnp.zeros((3, 5, 2))
        with pytest.raises(OptionError, match="needs to know what atoms"):
            optimizer.init(x, ko.Lanes(n=2))
        state = optimizer.init(x, ko.Lanes(n=2), n_internals=7)
        with pytest.raises(OptionError, match="needs to know what atoms"):
            optimizer.update(x, state, x, value=jnp.zeros(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"memory_size": 0}, "memory_size is 0"), ({"step": 0.0}, "step is 0.0")],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        ko.ScaleByModelHessian(**options)


def test_a_fresh_lane_has_learnt_nothing():
    optimizer = ko.ScaleByModelHessian(memory_size=2)
    x = jnp.ones((3, 5, 2))
    start = optimizer.init(x, ko.Lanes(n=2), n_internals=7)
    used = jax.tree.map(jnp.ones_like, start)
    fresh = optimizer.reset(used, jnp.array([True, False]), x)
    assert not fresh.started[0]
    assert not fresh.kept[:, 0].any()
    assert_same_bits(
        jax.tree.map(lambda a: a[..., 1], fresh), jax.tree.map(lambda a: a[..., 1], used)
    )
    forgetful = optimizer.forget(used, jnp.array([False, True]), x)
    assert forgetful.kept[:, 0].all()
    assert not forgetful.kept[:, 1].any()
