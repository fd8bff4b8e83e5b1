"""Line searches under ASE: a step is a point that was taken, whatever was tried before."""

import numpy as np
import pytest
from ase.filters import FrechetCellFilter
from ase.io import read
from ase.mep import NEB
from ase.optimize import LBFGSLineSearch
from ase_cases import FreshEMT, Function, Springs, gold, hung

from kups_relax import optimizers as ko
from kups_relax.ase import LBFGS, Optimizer
from kups_relax.errors import OptionError

RASH = ko.chain(
    ko.ScaleByAseLbfgs(8, alpha=0.5, curvature_guard=True),
    ko.Scale(-1.3),
    ko.ZoomLineSearch(curvature=0.2),
)


def strained_gold():
    return FrechetCellFilter(gold(), scalar_pressure=0.01)


@pytest.mark.parametrize(
    "make", [gold, pytest.param(strained_gold, marks=pytest.mark.extended), lambda: hung(9)]
)
def test_the_minimum_is_that_of_ase(make):
    ours, theirs = make(), make()
    mine = LBFGS(ours, logfile=None, use_line_search=True)
    assert mine.run(fmax=1e-6)
    assert LBFGSLineSearch(theirs, logfile=None).run(fmax=1e-6, steps=300)
    np.testing.assert_allclose(
        ours.get_potential_energy(), theirs.get_potential_energy(), atol=1e-8
    )


def test_functions_are_searched_too():
    function = Function(5)
    assert LBFGS(function, logfile=None, use_line_search=True).run(fmax=1e-7)
    np.testing.assert_allclose(function.x, 1, atol=1e-6)


def test_options_reach_the_search():
    run = LBFGS(hung(2), logfile=None, use_line_search=True, maxstep=0.1, optimizer="lbfgs")
    assert run.transform.search == ko.ZoomLineSearch(0.23, curvature=0.46, max_step_size=0.1)
    assert run.transform.transforms[0].memory_size == 16


def test_trials_are_no_steps_and_not_in_the_trajectory(tmp_path):
    atoms = hung(9)
    run = Optimizer(atoms, RASH, logfile=None, trajectory=tmp_path / "run.traj")
    assert run.run(fmax=1e-4)
    images = read(tmp_path / "run.traj", ":")
    assert len(images) == run.nsteps + 1 < atoms.calc.n_calls
    energies = [image.get_potential_energy() for image in images]
    assert (np.diff(energies) < 1e-6 * np.abs(energies[:-1])).all()


def test_steps_can_be_taken_one_by_one():
    """Without `run` there is no fmax: `step` ends with a point that is taken."""
    atoms, other = hung(4), hung(4)
    run = Optimizer(atoms, RASH, logfile=None)
    for _ in range(5):
        run.step()
    Optimizer(other, RASH, logfile=None).run(fmax=0, steps=5)
    assert np.array_equal(atoms.positions, other.positions)


@pytest.mark.parametrize("optimizer", [RASH, "lbfgs-zoom", "lbfgs-backtracking"])
def test_a_restarted_run_goes_on_bit_for_bit(optimizer, tmp_path):
    def run(atoms, n_steps, **options):
        atoms.calc = FreshEMT()
        Optimizer(atoms, optimizer, logfile=None, **options).run(fmax=1e-9, steps=n_steps)

    whole = gold()
    run(whole, 12)
    files = {"restart": tmp_path / "state.json", "trajectory": tmp_path / "run.traj"}
    run(gold(), 5, **files)
    parts = read(files["trajectory"])
    run(parts, 7, append_trajectory=True, **files)
    assert np.array_equal(parts.positions, whole.positions)


def test_what_forces_are_no_slope_of_is_refused():
    images = [hung(3), hung(3), hung(3)]
    for image in images:
        image.calc = Springs()
    with pytest.raises(OptionError, match="NEB: the forces of a band are not the slope"):
        LBFGS(NEB(images, method="improvedtangent"), logfile=None, use_line_search=True).run(
            fmax=0.01
        )

    class NoValue(Function):
        def get_value(self):
            return np.nan

    with pytest.raises(OptionError, match="NoValue: its value is nan"):
        LBFGS(NoValue(3), logfile=None, use_line_search=True).run(fmax=0.01)
    # Without a line search nobody asks.
    assert LBFGS(NoValue(3), logfile=None).run(fmax=0.01)


def test_runs_with_a_search_are_not_replayed():
    with pytest.raises(OptionError, match="a line search cannot be replayed"):
        LBFGS(gold(), logfile=None, use_line_search=True).replay_trajectory([])
