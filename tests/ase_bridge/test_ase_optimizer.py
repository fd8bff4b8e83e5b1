"""Our optimizers behave as ASE's own do."""

import io
import json

import numpy as np
import optax
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms, FixBondLength
from ase.filters import FrechetCellFilter, StrainFilter, UnitCellFilter
from ase.io import read
from ase.io.trajectory import Trajectory
from ase.mep import NEB
from ase.optimize import LBFGS as AseLBFGS
from ase_cases import FreshEMT, Function, Springs, gold, hung

import kups_relax as kr
from helpers import ARGON, argon_cluster
from kups_relax import optimizers as ko
from kups_relax.ase import LBFGS, Optimizer

# Sums in another order; 30 steps down a stiff slope let rounding grow to this, Angstrom.
PARITY = 1e-9


def lj_cluster(n_atoms=13, seed=1):
    atoms = argon_cluster(n_atoms, seed=seed)
    atoms.calc = LennardJones(**ARGON, rc=1e3)
    return atoms


def anchored_gold():
    atoms = gold()
    atoms.set_constraint(FixAtoms([0, 2]))
    return atoms


def fixed_bond():
    atoms = lj_cluster(6)
    atoms.set_constraint(FixBondLength(0, 1))
    return atoms


def walk(optimizer, n_steps=30):
    """Coordinates after 0, 1, ... steps."""
    target = optimizer.atoms.__ase_optimizable__()
    return [target.get_x().copy() for _ in optimizer.irun(fmax=1e-12, steps=n_steps)]


@pytest.mark.parametrize("make", [gold, lj_cluster, anchored_gold, fixed_bond])
@pytest.mark.parametrize(
    "options",
    [{}, {"memory": 4, "alpha": 40.0, "maxstep": 0.07, "damping": 0.8}],
    ids=["defaults", "options"],
)
def test_steps_are_those_of_ase(make, options):
    ours = walk(LBFGS(make(), logfile=None, **options))
    theirs = walk(AseLBFGS(make(), logfile=None, **options))
    assert len(ours) == len(theirs) == 31
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=PARITY)


@pytest.mark.parametrize("cell_filter", [FrechetCellFilter, UnitCellFilter, StrainFilter])
def test_cells_move_as_with_ase(cell_filter):
    ours, theirs = gold(), gold()
    a = walk(LBFGS(cell_filter(ours), logfile=None))
    b = walk(AseLBFGS(cell_filter(theirs), logfile=None))
    np.testing.assert_allclose(a, b, rtol=0, atol=PARITY)
    np.testing.assert_allclose(ours.cell.array, theirs.cell.array, rtol=0, atol=PARITY)


@pytest.mark.parametrize("n", [1, 2, 5, 6, 20])
def test_functions_that_are_no_atoms_are_followed_as_with_ase(n):
    ours = walk(LBFGS(Function(n), logfile=None), 12)
    theirs = walk(AseLBFGS(Function(n), logfile=None), 12)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=PARITY)
    function = Function(n)
    assert Optimizer(function, logfile=None).run(fmax=1e-6)
    np.testing.assert_allclose(function.x, 1, atol=1e-5)


def test_a_band_is_followed_as_with_ase():
    def band():
        ends = [lj_cluster(5), lj_cluster(5)]
        ends[1].positions[4] += [0.3, 0.6, 0.0]
        images = [ends[0], *(ends[0].copy() for _ in range(3)), ends[1]]
        for image in images:
            image.calc = LennardJones(**ARGON, rc=1e3)
        neb = NEB(images, method="improvedtangent")
        neb.interpolate()
        return neb

    ours = walk(LBFGS(band(), logfile=None), 10)
    theirs = walk(AseLBFGS(band(), logfile=None), 10)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=PARITY)


@pytest.mark.parametrize("optimizer", ["lbfgs", "ase-lbfgs"])
def test_one_evaluation_makes_one_step(optimizer, tmp_path):
    atoms = hung(9)
    options = {"logfile": io.StringIO(), "trajectory": tmp_path / "run.traj"}
    with LBFGS(atoms, optimizer=optimizer, restart=tmp_path / "state.json", **options) as run:
        assert run.run(fmax=0.001)
        assert run.nsteps > 5
        assert atoms.calc.n_calls == run.nsteps + 1


def test_a_structure_below_fmax_is_not_moved():
    atoms = Atoms("H3", np.zeros((3, 3)), calculator=Springs())
    run = LBFGS(atoms, logfile=None)
    assert run.run(fmax=0.01)
    assert run.nsteps == 0
    assert atoms.calc.n_calls == 1


def test_irun_yields_before_the_first_step_and_after_each():
    atoms = hung(4)
    start = atoms.positions.copy()
    run = LBFGS(atoms, logfile=None).irun(fmax=1e-9, steps=2)
    assert next(run) is np.False_
    assert np.array_equal(atoms.positions, start)
    assert [bool(converged) for converged in run] == [False, False]
    assert not np.array_equal(atoms.positions, start)


def test_a_second_run_goes_on():
    once, twice = hung(4), hung(4)
    LBFGS(once, logfile=None).run(fmax=1e-9, steps=8)
    run = LBFGS(twice, logfile=None)
    run.run(fmax=1e-9, steps=3)
    run.run(fmax=1e-9, steps=5)
    assert run.nsteps == run.max_steps == 8
    assert np.array_equal(once.positions, twice.positions)


def test_the_log_is_that_of_ase():
    logs = []
    for cls in (LBFGS, AseLBFGS):
        log = io.StringIO()
        cls(gold(), logfile=log).run(fmax=1e-9, steps=5)
        # Without the times of day.
        logs.append([[*line.split()[:2], *line.split()[3:]] for line in log.getvalue().split("\n")])
    assert logs[0] == logs[1]
    assert len(logs[0]) == 8


def test_the_log_goes_to_stdout_unless_told_otherwise(capsys):
    LBFGS(hung(2)).run(fmax=1e-9, steps=1)
    assert capsys.readouterr().out.count("LBFGS:") == 2


def test_trajectories_hold_every_geometry_with_its_forces(tmp_path):
    file, atoms = tmp_path / "run.traj", gold()
    run = LBFGS(atoms, logfile=None, trajectory=str(file))
    seen = [atoms.positions.copy() for _ in run.irun(fmax=1e-9, steps=4)]
    images = read(file, ":")
    assert np.array_equal([image.positions for image in images], seen)
    assert np.array_equal(images[-1].get_forces(), atoms.get_forces())
    with Trajectory(file) as trajectory:
        description = trajectory.description
    assert description["optimizer"] == "LBFGS"
    assert "memory_size=100" in description["transform"]
    LBFGS(atoms, logfile=None, trajectory=file, append_trajectory=True).run(fmax=1e-9, steps=2)
    assert len(read(file, ":")) > len(images)
    LBFGS(atoms, logfile=None, trajectory=file).run(fmax=1e-9, steps=2)
    assert len(read(file, ":")) == 3


def test_todict_says_what_ase_says_and_the_transform():
    ours, theirs = LBFGS(gold(), logfile=None, maxstep=0.1), AseLBFGS(gold(), maxstep=0.1)
    for run in (ours, theirs):
        run.fmax = 0.02
    description = ours.todict()
    assert {key: description[key] for key in theirs.todict()} == theirs.todict()
    assert set(description) == {*theirs.todict(), "alpha", "transform"}
    assert json.loads(json.dumps(description)) == description


@pytest.mark.parametrize("as_file", [True, False])
def test_replaying_a_run_and_going_on_is_the_run(as_file, tmp_path):
    file, atoms = tmp_path / "run.traj", gold()
    atoms.calc = FreshEMT()
    run = LBFGS(atoms, logfile=None, trajectory=file)
    run.run(fmax=1e-9, steps=6)
    run.run(fmax=1e-9, steps=6)
    images = read(file, ":")

    again = images[6]
    again.calc = FreshEMT()
    replayed = LBFGS(again, logfile=None)
    if as_file:
        with Trajectory(tmp_path / "first.traj", "w") as first:
            for image in images[:7]:
                first.write(image)
        replayed.replay_trajectory(str(tmp_path / "first.traj"))
    else:
        replayed.replay_trajectory(images[:7])
    replayed.run(fmax=1e-9, steps=6)
    assert np.array_equal(again.positions, atoms.positions)


def test_observers_are_called():
    atoms, seen = hung(3), []
    run = LBFGS(atoms, logfile=None)
    run.attach(lambda: seen.append(run.nsteps), interval=2)
    run.run(fmax=1e-9, steps=5)
    assert seen == [0, 2, 4]


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.adam(0.1),
        ko.chain(ko.ScaleByAseLbfgs(memory_size=5), ko.MaxStepSize(0.1), ko.Scale(-1.0)),
        ko.chain(ko.ClipByGlobalNorm(0.5), optax.sgd(0.1, momentum=0.5)),
    ],
    ids=["adam", "chain", "mixed"],
)
def test_any_optimizer_runs_and_goes_where_relax_goes(optimizer):
    atoms, cluster = lj_cluster(7), argon_cluster(7, seed=1)
    Optimizer(atoms, optimizer, logfile=None).run(fmax=1e-9, steps=12)
    batched = kr.relax(
        cluster, kr.potentials.LennardJones(**ARGON), optimizer, fmax=1e-9, max_steps=12
    )
    np.testing.assert_allclose(atoms.positions, batched.atoms[0].positions, rtol=0, atol=PARITY)


def test_options_override_those_of_a_name():
    run = LBFGS(hung(2), logfile=None, optimizer="lbfgs", memory=7, maxstep=0.1, alpha=50.0)
    scale, bound, last = run.transform.transforms
    assert (scale.memory_size, scale.alpha, scale.initial_scale) == (7, 50.0, "adaptive")
    assert scale.curvature_guard
    assert (bound.max_step_size, last.factor) == (0.1, -1.0)


def test_maxstep_follows_the_defaults_of_the_class():
    class Careful(LBFGS):
        defaults = {"maxstep": 0.05}  # noqa: RUF012

    atoms = hung(3)
    start = atoms.positions.copy()
    Careful(atoms, logfile=None, alpha=1e-3).run(fmax=1e-9, steps=1)
    longest = np.linalg.norm(atoms.positions - start, axis=1).max()
    np.testing.assert_allclose(longest, 0.05, rtol=1e-12)
