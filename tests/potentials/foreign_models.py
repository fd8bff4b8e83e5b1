"""What the tests of adapters for other packages' models share."""

import warnings
from typing import Any

import ase
import numpy as np
import pytest
from ase.build import bulk, fcc111, molecule

import kups_relax as kr
from helpers import singles
from kups_relax.potentials import GraphModel

# A hundred float32 numbers of the size of the energy, in another order.
ENERGY = 1e-6
# Forces and stresses of order one, through some layers of float32.
SLOPE = 1e-5


def importorskip(name: str) -> Any:
    """Import a package that need not be there; what it deprecates is not ours to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(
            name, reason=f"{name} is not installed: see 'Other models' in CONTRIBUTING.md"
        )


def structures() -> list[ase.Atoms]:
    """Molecules, a crystal and a slab of H, C, O and Si, shaken; of one size class."""
    slab = fcc111("Al", (2, 2, 2), vacuum=4.0)
    slab.symbols[:] = "Si"
    crystal = bulk("SiC", "zincblende", a=4.4, cubic=True)
    out = [*map(molecule, ("CH3OH", "CO2", "H2O", "H")), crystal, slab]
    for seed, atoms in enumerate(out):
        atoms.rattle(0.05, seed=seed)
    return out


def assert_same_numbers(model: GraphModel, expected: list[Any], dtype: str) -> None:
    """Energy, forces and stress of `structures` are those expected; None: nothing is."""
    got = singles(model, structures(), dtype=dtype)
    known = [(g, e) for g, e in zip(got, expected, strict=True) if e is not None]
    assert len(known) >= 5
    for got, (energy, forces, stress) in known:
        np.testing.assert_allclose(got.energy, energy, rtol=ENERGY)
        np.testing.assert_allclose(got.forces, forces, rtol=0, atol=SLOPE)
        if stress is not None:
            np.testing.assert_allclose(got.stress, stress, rtol=0, atol=SLOPE)


def assert_batching_changes_no_bit(model: GraphModel, dtype: str) -> None:
    """Some steps of each structure, alone and in random batches."""
    report = kr.verify(structures(), model, draws=10, dtype=dtype, max_steps=6, fmax=1e-3)
    assert report.ok, report
