"""Force fields of mlip give here what they give there."""

import sys

import jax
import numpy as np
import pytest
from foreign_models import (
    assert_batching_changes_no_bit,
    assert_same_numbers,
    importorskip,
    structures,
)

from helpers import DTYPES
from kups_relax.errors import OptionError, PotentialError
from kups_relax.potentials import Mlip

CUTOFF = 3.0
NETWORKS = {
    "Mace": {
        "num_channels": 4,
        "l_max": 1,
        "node_symmetry": 1,
        "correlation": 2,
        "readout_irreps": ["4x0e", "0e"],
        "num_layers": 2,
        "radial_mlp_hidden": [8, 8],
    },
    "Nequip": {"num_layers": 2, "num_channels": 4, "l_max": 1},
    "Visnet": {"num_layers": 2, "num_channels": 16, "num_heads": 4, "l_max": 1},
}


def force_field(name: str, **info):
    """A small one with random weights."""
    models, data = importorskip("mlip.models"), importorskip("mlip.data")
    properties = importorskip("mlip.typing.properties").Properties(stress=True)
    dataset = data.DatasetInfo(
        atomic_energies_map={1: -1.0, 6: -5.0, 8: -9.0, 14: -3.0},
        graph_cutoff_angstrom=CUTOFF,
        avg_num_neighbors=12.0,
        avg_r_min_angstrom=1.0,
        scaling_stdev=1.3,
        **info,
    )
    network = getattr(models, name)
    network = network(network.Config(**NETWORKS[name]), dataset)
    return models.ForceField.from_mlip_network(network, properties, seed=1)


def numbers_of(model) -> list[tuple]:
    """Energy, forces and stress of `structures` by mlip's own graphs and derivatives."""
    data, graphs = importorskip("mlip.data"), importorskip("mlip.graph")
    batching = importorskip("mlip.data.helpers.dynamically_batch")
    calculate, out = jax.jit(model.calculate), []
    for atoms in structures():
        system = data.ChemicalSystem.from_ase_atoms(atoms, get_property_fields=False)
        graph = graphs.Graph.from_chemical_system(system, CUTOFF)
        # One size, so that it compiles once.
        graph = next(batching.dynamically_batch([graph], n_node=10, n_edge=200, n_graph=2))
        got = calculate(graph).to_prediction()
        stress = np.asarray(got.stress[0]) if atoms.pbc.any() else None
        out.append((float(got.energy[0]), np.asarray(got.forces)[: len(atoms)], stress))
    return out


@pytest.mark.extended
@pytest.mark.parametrize("name", NETWORKS)
def test_numbers_are_those_of_its_force_field(name):
    model = force_field(name)
    expected = numbers_of(model)
    assert_same_numbers(Mlip(model), expected, "float32")
    assert_same_numbers(Mlip(model), expected, "float64")
    assert_same_numbers(Mlip(model, batching="together"), expected, "float32")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NETWORKS)
def test_batching_changes_no_bit(name, dtype):
    assert_batching_changes_no_bit(Mlip(force_field(name)), dtype)


def test_what_is_not_supported_is_refused():
    with pytest.raises(PotentialError, match="long-range interactions"):
        Mlip(force_field("Visnet", long_range_cutoff_angstrom=8.0))
    with pytest.raises(OptionError, match=r"no mlip ForceField\. Load it"):
        Mlip("model.zip")


def test_without_mlip_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlip.graph", None)
    with pytest.raises(PotentialError, match=r"pip install 'kups-relax\[mlip\]'"):
        Mlip(None)
