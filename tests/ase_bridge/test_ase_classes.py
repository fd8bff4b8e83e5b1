"""Optimizers by the names that ASE gives them."""

import importlib
import inspect

import ase.optimize
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.cluster import Octahedron
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter
from ase.io import read
from ase.optimize.optimize import Optimizer as AseOptimizer
from ase_cases import FreshEMT, gold, hung

import kups_relax.ase
from kups_relax.ase import (
    BFGS,
    FIRE,
    FIRE2,
    LBFGS,
    ConjugateGradient,
    GradientDescent,
    LBFGSLineSearch,
    Optimizer,
    Preconditioned,
    RestartFileError,
)
from kups_relax.errors import OptionError

# Sums in another order; so many steps down a stiff slope let rounding grow to this, Angstrom.
PARITY = 1e-9
N_STEPS = 40

HOMES = (
    "ase.optimize",
    "ase.optimize.sciopt",
    "ase.optimize.climbfixinternals",
    "ase.optimize.precon",
)
OURS = {
    "BFGS": BFGS,
    "FIRE": FIRE,
    "FIRE2": FIRE2,
    "LBFGS": LBFGS,
    "LBFGSLineSearch": LBFGSLineSearch,
    "ConjugateGradient": ConjugateGradient,
    "GradientDescent": GradientDescent,
    "Preconditioned": Preconditioned,
}


class Recorded(FreshEMT):
    """Remembers every geometry that it is asked for."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        if not (self.seen and np.array_equal(self.seen[-1], atoms.positions)):
            self.seen.append(atoms.positions.copy())


def cluster():
    """A shaken octahedron of 6 copper atoms, one of them held."""
    atoms = Atoms(Octahedron("Cu", 2))
    atoms.rattle(0.15, seed=1)
    atoms.set_constraint(FixAtoms([0]))
    atoms.calc = EMT()
    return atoms


def walk(optimizer, n_steps=N_STEPS):
    """Coordinates after 0, 1, ... steps."""
    target = optimizer.atoms.__ase_optimizable__()
    return [target.get_x().copy() for _ in optimizer.irun(fmax=1e-12, steps=n_steps)]


FIRE_OPTIONS = {
    "defaults": {},
    "options": {"dt": 0.2, "maxstep": 0.5, "dtmax": 2.0, "Nmin": 2, "astart": 0.2, "a": 0.2},
    "downhill": {"downhill_check": True, "dtmax": 3.0},
}


@pytest.mark.parametrize("make", [gold, cluster])
@pytest.mark.parametrize("options", FIRE_OPTIONS)
def test_fire_takes_the_steps_of_ase(make, options):
    options = FIRE_OPTIONS[options]
    ours = walk(FIRE(make(), logfile=None, **options))
    theirs = walk(ase.optimize.FIRE(make(), logfile=None, **options))
    assert len(ours) == len(theirs) == N_STEPS + 1
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=PARITY)


def test_fire_moves_cells_as_ase_does():
    ours, theirs = gold(), gold()
    a = walk(FIRE(FrechetCellFilter(ours), logfile=None))
    b = walk(ase.optimize.FIRE(FrechetCellFilter(theirs), logfile=None))
    np.testing.assert_allclose(a, b, rtol=0, atol=PARITY)
    np.testing.assert_allclose(ours.cell.array, theirs.cell.array, rtol=0, atol=PARITY)


@pytest.mark.parametrize(
    "options",
    [{}, {"use_abc": True}, {"dt": 0.3, "Nmin": 3, "dtmax": 2.0, "dtmin": 0.2, "fdec": 0.3}],
    ids=["defaults", "abc", "options"],
)
def test_fire2_asks_for_the_geometries_of_ase(options):
    seen, steps = [], []
    for cls in (FIRE2, ase.optimize.FIRE2):
        atoms = cluster()
        atoms.calc = Recorded()
        run = cls(atoms, logfile=None, **options)
        run.run(fmax=1e-12, steps=60)
        seen.append(atoms.calc.seen)
        steps.append(run.nsteps)
    n = min(map(len, seen))
    assert n > 50
    np.testing.assert_allclose(seen[0][:n], seen[1][:n], rtol=0, atol=PARITY)
    # A step of ASE's that begins uphill is two of ours.
    assert len(seen[0]) - 1 == steps[0] <= len(seen[1]) - 1


@pytest.mark.parametrize("name", ["BFGS", "FIRE", "FIRE2", "LBFGS"])
def test_arguments_are_those_of_ase(name):
    theirs = inspect.signature(getattr(ase.optimize, name)).parameters
    ours = inspect.signature(OURS[name]).parameters
    shared = [p for p in ours if p not in ("optimizer",)]
    assert shared == list(theirs)
    # LBFGS takes None for what its two kinds have different defaults of.
    for p in set(shared) - ({"memory", "alpha"} if name == "LBFGS" else set()):
        assert ours[p].default == theirs[p].default


def test_a_search_along_lines_is_lbfgs_with_one():
    a, b = cluster(), cluster()
    run = LBFGSLineSearch(a, logfile=None)
    assert run.run(fmax=0.01)
    assert LBFGS(b, logfile=None, use_line_search=True).run(fmax=0.01)
    assert np.array_equal(a.positions, b.positions)


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (ConjugateGradient, "conjugate-gradient"),
        (GradientDescent, "gradient-descent"),
        (Preconditioned, "preconditioned"),
        (FIRE, "fire"),
    ],
)
def test_a_class_is_the_optimizer_by_name(cls, name):
    one, other = cluster(), cluster()
    a, b = cls(one, logfile=None), Optimizer(other, name, logfile=None)
    assert a.transform == b.transform
    for run in (a, b):
        run.run(fmax=0.02, steps=60)
    assert a.nsteps == b.nsteps > 3
    assert np.array_equal(one.positions, other.positions)


@pytest.mark.parametrize("name", OURS)
def test_every_class_goes_on_logs_and_keeps_a_trajectory(name, tmp_path):
    cls = OURS[name]
    whole, parts = cluster(), cluster()
    whole.calc = FreshEMT()
    cls(whole, logfile=None).run(fmax=1e-9, steps=6)
    files = {"restart": tmp_path / "s.json", "logfile": tmp_path / "log", "trajectory": "t.traj"}
    files["trajectory"] = tmp_path / files["trajectory"]
    for n_steps in (4, 2):
        parts.calc = FreshEMT()
        with cls(parts, append_trajectory=True, **files) as run:
            run.run(fmax=1e-9, steps=n_steps)
    assert np.array_equal(parts.positions, whole.positions)
    assert len(read(files["trajectory"], ":")) >= 7
    assert files["logfile"].read_text().count(f"{name}:") == 8
    assert run.todict()["optimizer"] == name
    with pytest.raises(RestartFileError, match="Use that one, or delete the file"):
        FIRE2(parts, restart=files["restart"], logfile=None, dt=0.3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda a: FIRE(a, maxmove=0.1), "maxmove is maxstep's former name. Pass maxstep=0.1"),
        (lambda a: FIRE(a, astart=0.3), "a is 0.1 and astart is 0.3"),
        (lambda a: FIRE(a, position_reset_callback=print), "FIRE: position_reset_callback"),
        (lambda a: FIRE2(a, position_reset_callback=print), "FIRE2: position_reset_callback"),
        (lambda a: FIRE(a, dt=-1.0), "dt is -1.0; it must be a number greater than 0"),
        (lambda a: FIRE2(a, maxstep=0.0), "maxstep is 0.0; it must be a number greater than 0"),
        (lambda a: GradientDescent(a, alpha=0.0), "alpha"),
        (lambda a: ConjugateGradient(a, beta="best"), "beta"),
        (lambda a: ConjugateGradient(a, maxstep=-0.1), "maxstep is -0.1; it must"),
        (lambda a: Preconditioned(a, memory=-1), "memory_size"),
    ],
)
def test_options_that_make_no_sense_are_refused(make, message):
    with pytest.raises(OptionError, match=message):
        make(hung(2))


def of_ase():
    """Names of all optimizers of ASE for atoms."""
    for home in HOMES:
        for name, cls in vars(importlib.import_module(home)).items():
            inner = inspect.isclass(cls) and issubclass(cls, AseOptimizer)
            if inner and cls is not AseOptimizer and not name.startswith("SciPy"):
                yield name
    yield from ("SciPyFminCG", "SciPyFminBFGS", "SciPyFmin", "SciPyFminPowell")


@pytest.mark.parametrize("name", sorted(set(of_ase())))
def test_an_optimizer_of_ase_is_here_or_says_what_is(name):
    if name in OURS:
        assert getattr(kups_relax.ase, name) is OURS[name]
        return
    with pytest.raises(ImportError, match=f"kups_relax.ase has no {name}: ") as error:
        exec(f"from kups_relax.ase import {name}")
    assert any(ours in str(error.value) for ours in [*OURS, "Optimizer"])


def test_bfgs_takes_the_steps_of_bfgs_where_curvature_is_positive():
    ours = walk(BFGS(cluster(), logfile=None))
    theirs = walk(ase.optimize.BFGS(cluster(), logfile=None))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=PARITY)


def test_a_name_that_nobody_knows_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'FastestOfAll'"):
        _ = kups_relax.ase.FastestOfAll
    assert not hasattr(kups_relax.ase, "FastestOfAll")
    assert set(OURS) < set(dir(kups_relax.ase))
