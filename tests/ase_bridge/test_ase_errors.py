"""What cannot be optimized is refused, and the message names the structure and the calculator."""

import os
import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.mep import NEB
from ase_cases import Springs, gold, hung

from kups_relax import errors
from kups_relax.ase import LBFGS, Optimizer
from kups_relax.errors import CalculatorError


class Odd(Calculator):
    """Gives the results that it is told to, whatever the atoms."""

    def __init__(self, **results):
        super().__init__()
        self.implemented_properties = list(results)
        self.given = results

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = dict(self.given)


def au4(**results):
    atoms = bulk("Au", cubic=True)
    atoms.calc = Odd(**results)
    return atoms


FORCES = np.full((4, 3), 0.1)
NAN = np.where(np.arange(12).reshape(4, 3) == 7, np.nan, FORCES)


def run(atoms):
    LBFGS(atoms, logfile=None).run(fmax=1e-3, steps=5)


def test_atoms_without_calculator_are_refused_when_the_run_starts():
    atoms = bulk("Au", cubic=True)
    optimizer = LBFGS(atoms, logfile=None)
    with pytest.raises(CalculatorError, match=r"'Au4'.*no calculator. Set atoms.calc"):
        optimizer.run()
    atoms.calc = EMT()
    assert optimizer.run(fmax=0.05)


def test_an_image_without_calculator_is_named():
    images = [gold(), gold().copy(), gold()]
    images[2].positions[0] += 0.2
    with pytest.raises(CalculatorError, match=r"NEB of 3 images of 'Au4' .*EMT, image 1: there is"):
        run(NEB(images, method="improvedtangent"))


@pytest.mark.parametrize("results", [{"energy": 1.0}, {"energy": 1.0, "stress": np.zeros(6)}])
def test_a_calculator_without_forces_is_named(results):
    with pytest.raises(CalculatorError, match=r"'Au4' with calculator Odd.*not forces"):
        run(au4(**results))


def test_a_calculator_without_stress_is_named_when_the_cell_moves():
    atoms = au4(energy=1.0, forces=FORCES)
    LBFGS(atoms, logfile=None).run(fmax=1e-3, steps=1)
    with pytest.raises(
        CalculatorError, match=r"'Au4' in FrechetCellFilter with calculator Odd.*not stress"
    ):
        run(FrechetCellFilter(atoms))


def test_a_calculator_without_energy_is_named():
    with pytest.raises(CalculatorError, match=r"'Au4' with calculator Odd.*not energy"):
        run(au4(forces=FORCES))


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({"energy": 1.0, "forces": NAN}, r"Odd: component 7 of the gradient is nan, and 1 of 12"),
        ({"energy": 1.0, "forces": FORCES * np.inf}, r"Odd: component 0 .* -inf, and 12 of 12"),
        ({"energy": np.nan, "forces": FORCES}, r"Odd: the energy is nan"),
        ({"energy": 1.0, "forces": np.ones((5, 3))}, r"Odd: .*\(15,\), expected \(12,\)"),
        ({"energy": 1.0, "forces": np.ones((3, 4))}, r"Odd: got forces of shape \(3, 4\)"),
        ({"energy": 1.0, "forces": np.ones(12)}, r"Odd: got forces of shape \(12,\)"),
    ],
    ids=["nan", "infinite", "energy", "too many", "transposed", "flat"],
)
def test_results_that_cannot_be_used_are_refused(results, message):
    atoms = au4(**results)
    start = atoms.positions.copy()
    with pytest.raises(CalculatorError, match=f"structure 'Au4' with calculator {message}"):
        run(atoms)
    assert np.array_equal(atoms.positions, start)


def test_a_stress_that_is_not_finite_is_refused():
    with pytest.raises(CalculatorError, match=r"'Au4' in FrechetCellFilter with calculator Odd"):
        run(FrechetCellFilter(au4(energy=1.0, forces=FORCES, stress=np.full(6, np.nan))))


def test_forces_that_become_nan_in_the_last_step_are_refused():
    class Late(Springs):
        def calculate(self, *args, **kwargs):
            super().calculate(*args, **kwargs)
            if self.n_calls == 4:
                self.results["forces"] *= np.nan

    atoms = hung(3)
    atoms.calc = Late()
    with pytest.raises(CalculatorError, match="'H3' with calculator Late"):
        LBFGS(atoms, logfile=None).run(fmax=1e-9, steps=3)


def test_positions_that_are_not_finite_are_not_blamed_on_the_calculator():
    atoms = hung(3)
    atoms.positions[1, 0] = np.nan
    with pytest.raises(CalculatorError, match=r"'H3'.*: coordinate 3 is nan. Repair the positions"):
        run(atoms)


def test_what_a_calculator_raises_keeps_its_type_and_gets_a_note():
    class Broken(Springs):
        def calculate(self, *args, **kwargs):
            raise KeyError("basis set")

    atoms = hung(3)
    atoms.calc = Broken()
    with pytest.raises(KeyError, match="basis set") as raised:
        run(atoms)
    assert "structure 'H3' with calculator Broken" in raised.value.__notes__[0]


def test_an_optimizer_that_leaves_the_numbers_is_named():
    import optax

    with pytest.raises(errors.OptionError, match=r"PerSystem.*not finite"):
        Optimizer(hung(3), optax.sgd(np.inf), logfile=None).run(fmax=1e-9, steps=2)


def test_atoms_that_come_during_a_run_are_refused():
    atoms = hung(3)
    optimizer = LBFGS(atoms, logfile=None)
    optimizer.run(fmax=1e-9, steps=2)
    atoms += Atoms("H", [[3, 3, 3]])
    with pytest.raises(errors.StructureError, match=r"12 coordinates now.* 9 in the last step"):
        optimizer.run(fmax=1e-9, steps=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"maxstep": 1.5}, "maxstep is 1.5; it must be at most 1"),
        ({"maxstep": 0.0}, "maxstep is 0.0"),
        ({"memory": 0}, "memory_size is 0"),
        ({"alpha": -70.0}, "alpha is -70.0"),
        ({"damping": 0.0}, "damping is 0.0"),
        ({"optimizer": "newton"}, "no optimizer 'newton'; expected one of lbfgs, preconditioned, "),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(errors.OptionError, match=message):
        LBFGS(hung(2), **options)


def test_what_is_nothing_to_optimize_is_refused():
    with pytest.raises(errors.StructureError, match="list is nothing that ASE can optimize"):
        LBFGS([hung(2)])
    with pytest.raises(errors.OptionError, match=r"there is no optimizer 'state\.json'"):
        Optimizer(hung(2), "state.json")


def test_only_trajectories_of_the_same_coordinates_are_replayed():
    atoms = gold()
    atoms.get_forces()
    with pytest.raises(errors.StructureError, match=r"image .* 12 coordinates, .* has 21"):
        LBFGS(FrechetCellFilter(atoms), logfile=None).replay_trajectory([atoms, atoms])


def test_the_package_can_be_imported_without_ase():
    code = (
        "import sys; from kups_relax import ase; import kups_relax.ase as again; "
        "assert ase is again; assert 'LBFGS' in dir(ase); "
        "print(sorted({'ase', 'jax'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert done.stdout.strip() == "[]"


def test_a_name_that_does_not_exist_is_an_attribute_error():
    import kups_relax as kr

    with pytest.raises(AttributeError, match=r"kups_relax\.ase.*'FIRE9'"):
        kr.ase.FIRE9  # noqa: B018
