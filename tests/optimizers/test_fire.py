"""FIRE, FIRE2 and ABC-FIRE are ASE's, evaluation by evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.calculators.lj import LennardJones
from ase.optimize import FIRE, FIRE2

import kups_relax as kr
from helpers import ARGON, argon, argon_clusters
from kups_relax import optimizers as ko
from kups_relax.errors import OptionError
from support.crossing import first, in_turns

# Both do the same in float64, and round the same sums differently. Over 100 steps, in Angstrom.
PARITY = 1e-9
N_STEPS = 100


class Recorded(LennardJones):
    """ASE's potential, which remembers what it was asked, and what it said."""

    def __init__(self):
        super().__init__(**ARGON, rc=1000.0)
        self.seen = []

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        found = self.results["forces"].copy(), self.results["energy"]
        self.seen.append((self.atoms.positions.copy(), *found))


def walk_of_ase(atoms, cls, **options):
    """Every geometry that ASE's optimizer evaluates, with forces and energies; and its steps."""
    atoms = atoms.copy()
    atoms.calc = Recorded()
    run = cls(atoms, logfile=None, **options)
    run.run(fmax=1e-8, steps=N_STEPS)
    return atoms.calc.seen, run.nsteps


CASES = {
    "fire": (FIRE, {}, ko.Fire()),
    "fire, other options": (
        FIRE,
        {"dt": 0.2, "maxstep": 0.5, "dtmax": 2.0, "Nmin": 2, "finc": 1.2, "astart": 0.2, "a": 0.2},
        ko.Fire(dt=0.2, maxstep=0.5, dtmax=2.0, nmin=2, finc=1.2, astart=0.2),
    ),
    "fire2": (FIRE2, {}, ko.Fire2()),
    "fire2, other options": (
        FIRE2,
        {"dt": 0.3, "Nmin": 3, "dtmax": 2.0, "dtmin": 0.2, "fdec": 0.3},
        ko.Fire2(dt=0.3, nmin=3, dtmax=2.0, dtmin=0.2, fdec=0.3),
    ),
    "abc-fire": (FIRE2, {"use_abc": True}, ko.get("abc-fire")),
    "abc-fire, clipped": (
        FIRE2,
        {"use_abc": True, "dt": 0.5, "maxstep": 0.02, "Nmin": 3},
        ko.Fire2(dt=0.5, maxstep=0.02, nmin=3, use_abc=True),
    ),
}


@pytest.mark.parametrize("case", in_turns(CASES, leave={"fire", "fire2", "abc-fire"}))
def test_every_evaluation_is_where_ase_makes_it(case, x64):
    cls, options, ours = CASES[case]
    n_uphill = 0
    for atoms in argon_clusters([5, 8, 13]):
        walk, n_steps = walk_of_ase(atoms, cls, **options)
        x, state = jnp.asarray(atoms.positions), ours.init(jnp.asarray(atoms.positions))
        for positions, forces, _ in walk:
            np.testing.assert_allclose(x, positions, rtol=0, atol=PARITY)
            step, state = ours.update(jnp.asarray(-forces), state, x)
            x = x + step
        # ASE's FIRE2 evaluates twice in a step that begins uphill.
        n_uphill += len(walk) - 1 - n_steps
    assert n_uphill > 0 if cls is FIRE2 else n_uphill == 0


@pytest.mark.parametrize("name", first(["fire2", "fire", "abc-fire"]))
def test_relaxations_end_where_those_of_ase_do(name):
    cls, options, _ = CASES[name]
    clusters = argon_clusters([5, 8, 13], seed=2)
    walks = [walk_of_ase(atoms, cls, **options)[0] for atoms in clusters]
    # Half the way; beyond, the engine's forces, which add in another order, may turn a step round.
    result = kr.relax(clusters, argon(), name, fmax=1e-8, max_steps=50)
    for atoms, walk in zip(result.atoms, walks, strict=True):
        np.testing.assert_allclose(atoms.positions, walk[50][0], rtol=0, atol=PARITY)


def test_a_step_that_raised_the_energy_is_taken_back_as_in_ase(x64):
    ours, n_back = ko.Fire(dtmax=3.0, downhill_check=True), 0
    for atoms in argon_clusters([5, 8, 13]):
        atoms.positions *= 0.97
        walk, _ = walk_of_ase(atoms, FIRE, dtmax=3.0, downhill_check=True)
        x, state, seen = jnp.asarray(atoms.positions), None, []
        state = ours.init(x)
        for positions, forces, energy in walk:
            # Back where it was, ASE asks again; the state remembers.
            if any(np.array_equal(positions, old) for old in seen):
                n_back += 1
                continue
            seen.append(positions)
            np.testing.assert_allclose(x, positions, rtol=0, atol=PARITY)
            step, state = ours.update(jnp.asarray(-forces), state, x, value=jnp.array([energy]))
            x = x + step
    assert n_back > 0


def test_energies_are_asked_for_where_they_are_needed():
    x = jnp.ones((2, 3))
    fire = ko.Fire(downhill_check=True)
    with pytest.raises(OptionError, match="compares energies, and got none"):
        fire.update(x, fire.init(x), x)


def test_nothing_moves_without_forces():
    x = jnp.zeros((3, 3))
    for name in ("fire", "fire2", "abc-fire"):
        optimizer = ko.get(name)
        state = optimizer.init(x)
        for _ in range(3):
            step, state = optimizer.update(jnp.zeros_like(x), state, x)
            assert not np.asarray(step).any()


def test_a_long_way_downhill_stays_finite_in_float32():
    """ABC-FIRE's share decays to where float32 cannot tell it from 0."""
    optimizer, x = ko.get("abc-fire:nmin=0,fa=0.5"), jnp.zeros((1, 3), jnp.float32)
    state = optimizer.init(x)
    update = jax.jit(optimizer.update)
    for _ in range(60):
        step, state = update(jnp.ones_like(x), state, x)
    assert np.isfinite(np.asarray(step)).all()


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda: ko.Fire(dt=0), "dt is 0; it must be a number greater than 0"),
        (lambda: ko.Fire2(maxstep=-1), "maxstep is -1; it must be a number greater than 0"),
        (lambda: ko.Fire(fa=float("nan")), "fa is nan"),
    ],
)
def test_options_without_sense_are_refused(misuse, message):
    with pytest.raises(OptionError, match=message):
        misuse()
