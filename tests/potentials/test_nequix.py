"""Nequix models give here what nequix's own calculator gives."""

import sys

import jax
import pytest
from foreign_models import (
    assert_batching_changes_no_bit,
    assert_same_numbers,
    importorskip,
    structures,
)

from helpers import DTYPES
from kups_relax.errors import OptionError, PotentialError
from kups_relax.potentials import Nequix

CONFIG = {
    "atomic_numbers": [1, 6, 8, 14],
    "hidden_irreps": "8x0e+8x1o",
    "lmax": 2,
    "cutoff": 3.0,
    "n_layers": 2,
    "radial_basis_size": 8,
    "radial_mlp_size": 16,
    "radial_mlp_layers": 2,
    "radial_polynomial_p": 6.0,
    "mlp_init_scale": 4.0,
    "index_weights": False,
    "layer_norm": True,
    "shift": -0.3,
    "scale": 1.7,
    "avg_n_neighbors": 12.0,
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A small model with random weights, as a file."""
    precision = jax.config.jax_default_matmul_precision
    nequix = importorskip("nequix.model")
    jax.config.update("jax_default_matmul_precision", precision)
    options = {k: v for k, v in CONFIG.items() if k != "atomic_numbers"}
    energies = [-1.0, -5.0, -9.0, -3.0]
    model = nequix.Nequix(jax.random.key(3), n_species=4, atom_energies=energies, **options)
    file = tmp_path_factory.mktemp("nequix") / "small.nqx"
    nequix.save_model(str(file), model, CONFIG)
    return file


@pytest.fixture(scope="module")
def expected(path):
    """What nequix's calculator gives."""
    calculators = importorskip("nequix.calculator")
    calculator = calculators.NequixCalculator(model_path=str(path), use_kernel=False)
    out = []
    for atoms in structures():
        if atoms.pbc.any() and not atoms.pbc.all():
            # It leaves the shifts of images out where only some directions are periodic.
            out.append(None)
            continue
        atoms.calc = calculator
        stress = atoms.get_stress(voigt=False) if atoms.pbc.all() else None
        out.append((atoms.get_potential_energy(), atoms.get_forces(), stress))
    return out


@pytest.mark.parametrize(
    ("batching", "dtype"),
    [("one-by-one", "float32"), ("one-by-one", "float64"), ("together", "float32")],
)
def test_numbers_are_those_of_its_calculator(path, expected, batching, dtype):
    assert_same_numbers(Nequix(path, batching=batching), expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_batching_changes_no_bit(path, dtype):
    assert_batching_changes_no_bit(Nequix(path), dtype)


def test_a_loaded_model_needs_its_elements(path):
    model, config = importorskip("nequix.model").load_model(str(path))
    assert Nequix(model, config).elements == ("H", "C", "O", "Si")
    with pytest.raises(OptionError, match="which elements"):
        Nequix(model)
    with pytest.raises(OptionError, match="no Nequix model"):
        Nequix(3)


def test_without_nequix_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "nequix.model", None)
    with pytest.raises(PotentialError, match=r"pip install 'kups-relax\[nequix\]'"):
        Nequix("model.nqx")
