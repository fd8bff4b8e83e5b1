"""Potentials by name, as people type them."""

import pytest

from kups_relax import potentials
from kups_relax.errors import OptionError
from kups_relax.potentials import Harmonic, LennardJones, Morse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lennard-jones", LennardJones()),
        ("lennard-jones:", LennardJones()),
        ("lennard-jones:epsilon=0.0104,sigma=3.4", LennardJones(0.0104, 3.4)),
        ("lennard-jones:sigma=3.4,cutoff=9,onset=7e0", LennardJones(1, 3.4, 9.0, 7.0)),
        ("lennard-jones:cutoff=none", LennardJones()),
        ("morse:rho0=5,r0=2.5,", Morse(r0=2.5, rho0=5.0)),
        ("harmonic:well=0,bond=2", Harmonic(well=0.0, bond=2.0)),
    ],
)
def test_a_name_with_options_is_a_potential(text, expected):
    assert potentials.get(text) == expected


def test_a_potential_stands_for_itself():
    potential = Morse()
    assert potentials.get(potential) is potential


def test_every_name_makes_its_potential():
    for name, cls in potentials.NAMED.items():
        assert type(potentials.get(name)) is cls
        assert potentials.get(name).describe()["name"] == name


@pytest.mark.parametrize(
    ("potential", "message"),
    [
        ("lennardjones", "no potential 'lennardjones'; expected one of .*lennard-jones"),
        ("", "no potential ''"),
        ("LennardJones", "no potential 'LennardJones'"),
        ("morse:depth=3", "morse has no option 'depth=3'; expected key=value with one of epsilon"),
        ("morse:epsilon", "morse has no option 'epsilon'"),
        ("morse:epsilon=", "epsilon is ''"),
        ("morse:epsilon=deep", "epsilon is 'deep'"),
        ("morse:epsilon=-1", "epsilon is -1.0"),
        ("lennard-jones:cutoff=far", "lennard-jones: cutoff is 'far'"),
        ("harmonic:well=none", "harmonic: well is 'none'"),
        (3, "3 is no potential; expected a kups_relax potential"),
        (None, "None is no potential"),
        (LennardJones, r"is no potential; .* Make one of the class: LennardJones\(\.\.\.\)"),
        ([Morse()] * 99, r"Morse\(.{60,80}\.\.\. is no potential"),
        (lambda: 3, "is no potential; expected .* a function without arguments that returns one"),
        (lambda x: x, "is the function <function .*, which raised TypeError: .*'x'"),
    ],
)
def test_what_is_no_potential_is_refused(potential, message):
    with pytest.raises(OptionError, match=message):
        potentials.get(potential)
