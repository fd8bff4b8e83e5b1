"""Every potential by name, and structures that it may not know: run, or refused in words."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT

import kups_relax as kr
from kups_relax import potentials
from kups_relax.data import Structure
from kups_relax.errors import PotentialError, StructureError
from kups_relax.neighbors import _list
from kups_relax.potentials import AseCalculator, GraphModel, LennardJones, Sum
from kups_relax.relaxation import axis_lengths, size_class

CUBE = np.eye(3)
WATER = ([8, 1, 1], [[0, 0, 0], [0, 0.96, 0], [0.9, -0.3, 0]])
PAIR = [[0, 0, 0], [0, 0, 2.5]]


def odd(numbers, positions, cell=None, pbc=False, **options):
    return Structure(
        id="odd",
        numbers=np.array(numbers, np.int64).astype(np.int32),
        positions=np.array(positions, float).reshape(-1, 3),
        cell=np.zeros((3, 3)) if cell is None else np.array(cell, float),
        pbc=np.broadcast_to(np.array(pbc, bool), 3),
        **options,
    )


def scattered(number, pbc):
    positions = np.random.default_rng(4).uniform(-5e3, 5e3, (40, 3))
    return odd([number] * 40, positions, CUBE * 12.5, pbc)


STRUCTURES = {
    "no atoms": odd([], []),
    "one hydrogen": odd([1], [0, 0, 0]),
    "one copper": odd([29], [0, 0, 0]),
    "one carbon": odd([6], [0, 0, 0]),
    "two copper": odd([29, 29], PAIR),
    "two silicon": odd([14, 14], PAIR),
    "two hydrogen": odd([1, 1], [[0, 0, 0], [0, 0, 0.74]]),
    "one silicon, periodic": odd([14], [0, 0, 0], CUBE * 2.4, True),
    "charged": odd(*WATER, charge=3),
    "half a charge": odd(*WATER, charge=0.5),
    "huge charge": odd(*WATER, charge=10**30),
    "charge in letters": odd(*WATER, charge="one"),
    "periodic molecule": odd(*WATER, CUBE * 8, True),
    "chain": odd(*WATER, CUBE * 8, [1, 0, 0]),
    "slab": odd([29], [0, 0, 0], CUBE * 2.5, [1, 1, 0]),
    "topology of another kind": odd(*WATER, topology="HOH"),
    "no element": odd([0, 29], PAIR),
    "119": odd([119, 29], PAIR),
    "minus three": odd([-3, 29], PAIR),
    "2^31 - 1": odd([2**31 - 1, 29], PAIR),
    "oganesson": odd([118, 118], PAIR),
    "mercury": odd([80, 6], PAIR),
    "atoms on each other": odd([29, 29], np.zeros((2, 3))),
    "hydrogens on each other": odd([1, 1], np.zeros((2, 3))),
    "overlapping images": odd([29], [0, 0, 0], CUBE * 0.5, True),
    "collapsed": odd([29], [0, 0, 0], CUBE * 1e-3, True),
    "no cell": odd([29], [0, 0, 0], None, True),
    "flat cell": odd([29], [0, 0, 0], [[1, 0, 0], [0, 1, 0], [1, 1, 0]], True),
    "left-handed": odd([29], [0, 0, 0], np.diag([2.5, 2.5, -2.5]), True),
    "skewed": odd([29], [0, 0, 0], [[3, 0, 0], [3e6, 3, 0], [0, 9e5, 3]], True),
    "huge cell": odd([29, 29], PAIR, CUBE * 1e9, True),
    "huge thin cell": odd([29, 29], PAIR, np.diag([3.0, 1e9, 40.0]), [1, 1, 0]),
    "cell of 1e300": odd([29, 29], PAIR, CUBE * 1e300, True),
    "coordinate of 1e300": odd([29, 29], [[0, 0, 0], [1e300, 0, 0]]),
    "coordinate of 1e15": odd([29, 29], [[0, 0, 0], [1e15, 0, 0]]),
    "nan": odd([29, 29], [[0, 0, 0], [np.nan, 0, 0]]),
    "nan in the cell": odd([29, 29], PAIR, CUBE * np.nan, True),
    "far outside": odd([29, 29], [[0, 0, 0], [1e9, 0, 2.5]], CUBE * 4, True),
    "too far outside": odd([29, 29], [[0, 0, 0], [4e12, 0, 2.5]], CUBE, True),
    **{f"scattered, {n}, pbc {p}": scattered(n, p) for n in (29, 14) for p in ([1, 0, 0], [0] * 3)},
}

POTENTIALS = {
    **{name: cls() for name, cls in potentials.NAMED.items()},
    "lennard-jones with a cutoff": LennardJones(0.01, 3.4, cutoff=8.0),
    "lennard-jones of argon": LennardJones({"Ar": 0.01}, {"Ar": 3.4}),
    "an ase calculator": AseCalculator(EMT),
    "a graph": GraphModel(lambda p, g: p, np.zeros(1), 5.0, elements=("Cu", "H", "O")),
    "a sum": Sum(potentials.EMT(), potentials.Harmonic()),
}


@pytest.mark.parametrize("name", POTENTIALS)
@pytest.mark.parametrize("kind", STRUCTURES)
def test_a_structure_is_prepared_or_refused_in_words(name, kind, monkeypatch):
    monkeypatch.setattr(_list, "MAX_IMAGES", 10**6)
    potential, structure = POTENTIALS[name], STRUCTURES[kind]
    try:
        form = potential.specialize(structure)
        arrays = form.prepare(structure)
        size_class(form, structure.n_atoms, axis_lengths(form, arrays))
    except (PotentialError, StructureError) as error:
        text = str(error)
        assert text.startswith("'odd'"), text
        assert len(text) < 500
        assert text.rstrip().endswith(".")


@pytest.mark.parametrize("name", ["mmff94", "emt", "stillinger-weber", "tersoff", "a graph"])
@pytest.mark.parametrize("kind", ["119", "minus three", "2^31 - 1"])
def test_numbers_of_no_element_are_told_with_their_atom(name, kind):
    structure = STRUCTURES[kind]
    message = f"the atomic number of atom 0 is {structure.numbers[0]}, which is no element"
    with pytest.raises(PotentialError, match=message):
        POTENTIALS[name].specialize(structure).prepare(structure)


def test_the_other_direction_of_an_edge_is_found_however_far_the_images():
    positions = np.random.default_rng(1).uniform(0, 8, (30, 3))
    near = odd([29] * 30, positions, CUBE * 8, True)
    wraps = np.random.default_rng(2).integers(-(10**7), 10**7, (30, 3))
    far = odd([29] * 30, positions + wraps * 8.0, CUBE * 8, True)
    graph = POTENTIALS["a graph"]
    for structure in (near, far):
        arrays = graph.prepare(structure)
        n = int(arrays["n_edges"])
        i, j = arrays["receivers"][:n], arrays["senders"][:n]
        reverse, shifts = arrays["reverse"][:n], arrays["shifts"][:n]
        assert n > 500
        assert np.array_equal(i[reverse], j)
        assert np.array_equal(j[reverse], i)
        assert np.array_equal(shifts[reverse], -shifts)


def test_parameters_that_float32_cannot_hold_are_refused_there():
    pair = Atoms("Ar2", [[0, 0, 0], [0, 0, 3.6]])
    strong = LennardJones(epsilon=1e38, sigma=3.4)
    options = {"max_steps": 0, "progress": False}
    [reason] = kr.relax(pair, strong, dtype="float32", **options).reason
    assert "lennard-jones has epsilon4 of up to 4e+38" in reason
    assert "Use dtype='float64'" in reason
    assert kr.relax(pair, strong, **options).status != ["failed"]
    pair.calc = kr.ase.JaxCalculator(strong, dtype="float32")
    with pytest.raises(PotentialError, match="float32 holds numbers up to"):
        pair.get_potential_energy()


def test_what_a_potential_raises_is_told_on_one_line():
    class Broken(potentials.EMT):
        def prepare(self, structure):
            raise KeyError("\n".join(f"line {i}" for i in range(200)))

    [reason] = kr.relax(Atoms("Cu"), Broken(), progress=False).reason
    assert "emt raised KeyError" in reason
    assert len(reason) < 400
    assert "\n" not in reason
