"""ASE calculators and functions passed as the potential: each structure gets one of its own."""

import pickle
import threading

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase_calculator_cases import QUICK, molecules, rattled
from faulty_calculators import Remembering

import kups_relax as kr
from helpers import assert_same_result
from kups_relax import potentials
from kups_relax.errors import OptionError
from kups_relax.potentials import AseCalculator, Morse


class Grown(EMT):
    """One that cannot be copied once it was used, as those that hold a library's memory."""

    def calculate(self, *arguments, **options):
        super().calculate(*arguments, **options)
        self.handle = threading.Lock()


class Closed(EMT):
    """One that cannot be copied, and is not made of its parameters."""

    def __init__(self, handle=None):
        super().__init__()
        self.handle = handle or threading.Lock()


class Verbose(Calculator):
    implemented_properties = ("energy", "forces")

    def __init__(self):
        super().__init__()
        self.handle = threading.Lock()

    def __repr__(self):
        return "\n".join(f"layer {i}" for i in range(108))


def relax(potential, structures=None, **options):
    return kr.relax(molecules()[:3] if structures is None else structures, potential, **QUICK)


def used(calculator):
    atoms = rattled("H2O", 5)
    atoms.calc = calculator
    atoms.get_forces()
    return calculator


@pytest.fixture(scope="module")
def expected():
    return relax(AseCalculator(EMT))


@pytest.mark.parametrize(
    "potential",
    [EMT(), EMT, lambda: EMT(), used(EMT()), used(Grown()), AseCalculator(EMT())],
    ids=["instance", "class", "function", "used", "made again", "wrapped"],
)
def test_a_calculator_is_taken_as_a_potential(potential, expected):
    result = relax(potential)
    for i in range(3):
        assert_same_result(result, i, expected, i)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_of_copies_do_not_depend_on_workers(workers):
    # It would answer otherwise if structures shared it, or if it brought what it remembers.
    remembering = Remembering()
    result = relax(AseCalculator(remembering, workers=workers))
    alone = relax(AseCalculator(Remembering))
    assert remembering.n_calls == 0
    for i in range(3):
        assert_same_result(result, i, alone, i)


def test_copies_are_of_the_calculator_as_it_was():
    calculator = LennardJones(epsilon=0.0104, sigma=3.4, rc=9.0)
    potential = potentials.get(calculator)
    calculator.parameters.epsilon = 9.0
    copy = potential.factory()
    assert copy is not potential.factory()
    assert copy.parameters.epsilon == 0.0104
    assert potential.name == "LennardJones"
    assert "LennardJones(epsilon=0.0104, sigma=3.4, rc=9.0" in potential.describe()["factory"]


def test_copies_bring_no_results():
    calculator = used(EMT())
    copy = potentials.get(calculator).factory()
    assert calculator.results
    assert not copy.results
    assert copy.atoms is None


def test_what_workers_get_needs_nothing_of_this_package():
    factory = potentials.get(EMT()).factory
    assert b"kups_relax" not in pickle.dumps(factory)
    assert isinstance(pickle.loads(pickle.dumps(factory))(), EMT)


@pytest.mark.parametrize(("calculator", "name"), [(Closed(), "Closed"), (Verbose(), "Verbose")])
def test_one_that_cannot_be_copied_is_refused_with_the_way_out(calculator, name):
    with pytest.raises(OptionError) as caught:
        relax(calculator)
    text = str(caught.value)
    assert f"AseCalculator(lambda: {name}(...))" in text
    assert "cannot pickle" in text
    assert len(text) < 600
    assert "\n" not in text


def test_a_function_may_make_any_potential():
    made = Morse(r0=2.0)
    assert potentials.get(lambda: made) is made


def test_a_calculator_over_jax_takes_a_calculator():
    atoms = rattled("H2O")
    atoms.calc = kr.ase.JaxCalculator(EMT())
    forces = atoms.get_forces()
    atoms.calc = EMT()
    np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-12)


def test_an_element_that_a_calculator_does_not_know_is_told_in_its_words():
    silane = rattled("SiH4")
    # Of a crystal the stress is asked for first, which leaves this calculator half made.
    for start in (silane, bulk("Si")):
        [reason] = relax(EMT(), [start]).reason
        assert "EMT raised NotImplementedError: No EMT-potential for Si" in reason
        assert "gives no forces" not in reason
    silane.calc = EMT()
    with pytest.raises(kr.errors.CalculatorError, match=r"No EMT-potential for Si.*what it cannot"):
        kr.ase.LBFGS(silane, logfile=None).run(steps=1)
