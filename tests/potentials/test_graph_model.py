"""Models of graphs as potentials, against the same model without a graph; and misuse."""

import ase
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk
from graph_models import CUTOFF, messages, parameters, segment_sums, without_graph
from test_graph import cases

import kups_relax as kr
from helpers import central_differences, singles, stress_by_strain
from kups_relax.errors import OptionError, PotentialError
from kups_relax.potentials import GraphModel
from kups_relax.testing import count_programs
from support.crossing import first

PARAMS = parameters()
FUNCTIONS = {"per atom": messages, "per graph": segment_sums}
BATCHING = ("one-by-one", "together")

# Sums of some hundred float32 numbers of order one, in two orders.
FLOAT32 = 2e-5


def potential(function=messages, **options) -> GraphModel:
    return GraphModel(function, PARAMS, CUTOFF, **options)


EVERY = tuple(cases())
SOME = ("slab", "two molecules")


@pytest.mark.parametrize(
    ("kind", "batching", "names"),
    [
        ("per atom", "one-by-one", (*SOME, "sheared")),
        ("per graph", "one-by-one", SOME[:1]),
        ("per atom", "together", SOME),
        pytest.param("per atom", "one-by-one", EVERY, marks=pytest.mark.extended),
        pytest.param("per graph", "one-by-one", EVERY, marks=pytest.mark.extended),
        pytest.param("per atom", "together", EVERY, marks=pytest.mark.extended),
    ],
)
def test_energy_forces_and_stress_are_those_of_the_model_without_a_graph(
    kind, batching, names, x64
):
    model = potential(FUNCTIONS[kind], batching=batching)
    structures = [cases()[name] for name in names]
    for atoms, got in zip(structures, singles(model, structures), strict=True):
        energy, forces, virial = without_graph(PARAMS, atoms)
        np.testing.assert_allclose(got.energy, energy, rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(got.forces, forces, rtol=0, atol=1e-13)
        volume = abs(np.linalg.det(atoms.cell))
        if volume:
            np.testing.assert_allclose(got.stress * volume, virial, rtol=0, atol=1e-12)
            assert np.array_equal(got.stress, got.stress.T)
        else:
            assert not np.any(got.stress)
        if kind == "per atom":
            np.testing.assert_allclose(np.sum(got.energies), got.energy, rtol=1e-13)
        else:
            assert got.energies is None


@pytest.mark.parametrize("dtype", first([None, "float32"]))
def test_a_float32_model_is_within_float32_of_the_float64_one(dtype):
    structures = [cases()[name] for name in ("slab", "sheared")]
    exact = singles(potential(), structures)
    got = singles(
        potential(dtype=dtype), structures, dtype="float32" if dtype is None else "float64"
    )
    for a, b in zip(got, exact, strict=True):
        np.testing.assert_allclose(a.energy, b.energy, rtol=0, atol=FLOAT32)
        np.testing.assert_allclose(a.forces, b.forces, rtol=0, atol=FLOAT32)


def test_forces_are_the_slope_of_the_energy():
    atoms = cases()["slab"]
    got = singles(potential(), [atoms])[0].forces
    np.testing.assert_allclose(got, central_differences(potential(), atoms), rtol=0, atol=1e-9)


def test_stress_is_the_slope_of_the_energy_in_the_strain():
    atoms = cases()["sheared"]
    got = singles(potential(), [atoms])[0].stress
    np.testing.assert_allclose(got, stress_by_strain(potential(), atoms), rtol=0, atol=1e-9)


def count_edges(params, graph):
    """No model: as much for a long edge as for a short one, and masks ignored."""
    return graph.sum_at_receivers(jnp.ones(len(graph.senders), graph.dtype) * params)


@pytest.mark.parametrize("batching", BATCHING)
def test_edges_beyond_the_cutoff_have_no_say(batching):
    model = GraphModel(count_edges, np.ones(()), 3.0, skin=2.0, batching=batching)
    atoms = bulk("Cu", a=3.6, cubic=True)
    # 12 neighbours at 2.55, 6 at 3.6, 24 at 4.41 Angstrom.
    got = singles(model, [atoms, ase.Atoms("H2", [[0, 0, 0], [0, 0, 2.9]])])
    assert [e.energy for e in got] == [48, 2]
    assert not any(np.any(e.forces) for e in got)


@pytest.mark.parametrize(
    ("kind", "batching", "dtype", "n"),
    [
        pytest.param("per atom", "together", "float64", 8, marks=pytest.mark.exact),
        ("per graph", "one-by-one", "float32", 8),
        pytest.param("per atom", "together", "float64", 12, marks=pytest.mark.extended),
        pytest.param("per atom", "one-by-one", "float32", 12, marks=pytest.mark.extended),
        pytest.param("per graph", "together", "float32", 12, marks=pytest.mark.extended),
        pytest.param("per graph", "one-by-one", "float64", 12, marks=pytest.mark.extended),
    ],
)
def test_batching_changes_no_bit(kind, batching, dtype, n):
    random = np.random.default_rng(0)
    structures = []
    for k in range(n):
        atoms = bulk("Cu", a=3.6, cubic=True) if k % 3 == 0 else bulk("Cu", a=3.7).repeat((3, 1, 1))
        atoms.pbc = k % 3 != 1
        atoms.symbols[: k % 4] = "Au"
        atoms.positions += random.normal(0, 0.1, atoms.positions.shape)
        structures.append(atoms)
    model = potential(FUNCTIONS[kind], batching=batching, skin=0.2)
    report = kr.verify(structures, model, draws=n - 2, dtype=dtype, max_steps=12, fmax=1e-3)
    assert report.ok, report


def test_weights_are_arguments_of_the_program_and_no_constants():
    def traced(params, graph):
        assert isinstance(params, jax.core.Tracer)
        return graph.numbers * params[0]

    got = singles(GraphModel(traced, np.full(1000, 2.0), CUTOFF), [cases()["two molecules"]])
    assert got[0].energy == 60


def test_one_program_serves_structures_of_one_size():
    model = potential()
    random = np.random.default_rng(1)
    atoms = [cases()["sheared"] for _ in range(2)]
    kr.relax(atoms[0], model, max_steps=2)
    atoms[1].positions += random.normal(0, 0.01, atoms[1].positions.shape)
    with count_programs() as programs:
        kr.relax(atoms[1], model, max_steps=2)
    assert programs.n_traced("_advance") == 0


def test_models_are_equal_where_function_parameters_and_options_are_the_same():
    assert potential() == potential()
    assert hash(potential()) == hash(potential())
    others = [potential(segment_sums), potential(skin=0.1), potential(batching="together")]
    others.append(GraphModel(messages, parameters(), CUTOFF))
    assert all(potential() != other for other in others)


def test_describe_counts_parameters_and_keeps_none():
    described = potential(elements=["Cu"], name="mine").describe()
    assert described["name"] == "mine"
    assert described["function"] == "messages"
    assert described["n_parameters"] == sum(np.size(p) for p in jax.tree.leaves(PARAMS))
    assert described["elements"] == ["Cu"]


def test_an_unknown_element_names_structure_and_element():
    model = potential(elements=("Cu", "Au"), name="mine")
    with pytest.raises(PotentialError, match="mine has no parameters for Al; it has Cu, Au"):
        singles(model, [cases()["slab"]])


@pytest.mark.parametrize(
    "function", [lambda p, graph: graph.numbers[:, None] * 1.0, lambda p, graph: 0.0]
)
def test_a_wrong_shape_says_what_was_expected(function):
    with pytest.raises(PotentialError, match=r"expected \(n_graphs,\) or \(n_nodes,\)"):
        singles(GraphModel(function, (), CUTOFF), [cases()["molecule"]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cutoff": 0.0}, "cutoff is 0.0"),
        ({"cutoff": 3.0, "skin": -1.0}, "skin is -1.0"),
        ({"cutoff": 3.0, "dtype": "float16"}, "dtype is 'float16'"),
        ({"cutoff": 3.0, "batching": "all"}, "batching is 'all'"),
        ({"cutoff": 3.0, "elements": ["Xx"]}, "'Xx', which is no chemical symbol"),
        ({"cutoff": 3.0, "function": 3}, "function is 3"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(OptionError, match=message):
        GraphModel(**{"function": messages, "params": PARAMS, **options})
