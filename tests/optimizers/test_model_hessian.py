"""`preconditioned` through the engine: exact, quick, and at home with odd structures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.emt import EMT

import kups_relax as kr
from helpers import argon, argon_clusters, assert_same_bits, assert_same_result
from kups_relax import optimizers as ko
from kups_relax.errors import OptionError

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


@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
def test_clusters_in_any_company(dtype):
    clusters = loose_clusters([2, 3, 5, 8, 7])
    report = kr.verify(clusters, argon(), draws=3, **QUICK, dtype=dtype, max_steps=60)
    assert report.ok, report


def test_the_host_may_evaluate():
    shaken = [molecule(name) for name in ("H2O", "CH3OH", "C2H2", "NH3")]
    for seed, atoms in enumerate(shaken):
        atoms.rattle(0.1, seed=seed)
    potential = kr.potentials.AseCalculator(EMT)
    batched = kr.relax(shaken, potential, **QUICK, fmax=0.03)
    assert batched.converged.all()
    for i, atoms in enumerate(shaken):
        assert_same_result(batched, i, kr.relax(atoms, potential, **QUICK, fmax=0.03), 0)


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
