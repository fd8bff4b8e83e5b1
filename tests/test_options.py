"""Options in one word: what is read, and that messages quote what was given."""

import contextlib
import random
from typing import Any, Literal

import pytest

from kups_relax import _options, coordinates, optimizers, potentials
from kups_relax.errors import OptionError


def made(
    number: float = 1.0,
    whole: int = 1,
    flag: bool = False,
    limit: float | None = None,
    kind: Literal["one", "two"] = "one",
    anything: Any = None,
    either: Any = 0.5,
    text: str = "",
    unset=None,
):
    return dict(locals())


def read(options):
    return _options.build(made, "made", options)


@pytest.mark.parametrize(
    ("option", "key", "value"),
    [
        ("number=1e-3", "number", 1e-3),
        (" number = .5 ", "number", 0.5),
        ("whole=1e3", "whole", 1000),
        (f"whole={2**60 + 1}", "whole", 2**60 + 1),
        ("flag=True", "flag", True),
        ("limit=none", "limit", None),
        ("limit=2", "limit", 2.0),
        ("kind=two", "kind", "two"),
        ("anything=001000", "anything", "001000"),
        ("anything=110001", "anything", "110001"),
        ("anything=1e400", "anything", "1e400"),
        ("anything=true", "anything", "true"),
        ("either=5GPa", "either", "5GPa"),
        ("either=5", "either", 5.0),
        ("text=007", "text", "007"),
        ("text=none", "text", "none"),
        ("text=a=b", "text", "a=b"),
        ("unset=0.9", "unset", 0.9),
        ("unset=true", "unset", True),
        ("unset=none", "unset", None),
    ],
)
def test_a_value_is_read_as_what_the_option_wants(option, key, value):
    got = read(option)[key]
    assert got == value
    assert type(got) is type(value)


ODD = ["nan", "inf", "1e400", "\u0661", "1_0", "", "0x10", "1.5", "True", "None", "\u00bd"]


@pytest.mark.parametrize("option", ["number", "whole", "flag", "kind"])
@pytest.mark.parametrize("text", ODD)
def test_what_it_does_not_want_is_quoted_as_it_was_given(option, text):
    if (option, text) in {("number", "1.5"), ("flag", "True")}:
        return
    with pytest.raises(OptionError) as raised:
        read(f"{option}={text}")
    assert f"made: {option} is {text!r}" in str(raised.value)


@pytest.mark.parametrize("text", ["a number", "nan", "1e400", "-", "Inf"])
def test_an_optional_number_is_no_text(text):
    with pytest.raises(OptionError, match=f"limit is {text!r}"):
        read(f"limit={text}")


def test_an_option_that_comes_twice_is_refused_and_a_near_one_named():
    with pytest.raises(OptionError, match="number is given twice"):
        read("number=1,whole=2,number=3")
    with pytest.raises(OptionError, match="Did you mean 'whole'"):
        read("wole=1")


@pytest.mark.parametrize(
    ("get", "text", "quoted"),
    [
        (coordinates.get, "frechet:mask=001000", "mask is '001000'"),
        (coordinates.get, "frechet:mask=110001", "mask is '110001'"),
        (coordinates.get, "frechet:pressure=nan", "pressure is 'nan'"),
        (coordinates.get, "frechet:pressure=1e400", "pressure is '1e400'"),
        (coordinates.get, "frechet:smax=", "smax is ''"),
        (coordinates.get, "unit:constant-volume=1", "constant-volume is '1'"),
        (optimizers.get, "lbfgs:memory-size=1.5", "memory-size is '1.5'"),
        (optimizers.get, "lbfgs:linesearch=007", "linesearch is '007'"),
        (optimizers.get, "lbfgs:clip-norm=one", "clip-norm is 'one'"),
        (optimizers.get, "lbfgs:learning-rate=1e400", "learning-rate is '1e400'"),
        (optimizers.get, "conjugate-gradient:beta=pr", "beta is 'pr'"),
        (optimizers.get, "adam:b1=nan", "b1 is 'nan'"),
        (optimizers.get, "adam:nesterov=1", "nesterov is '1'"),
        (potentials.get, "lennard-jones:epsilon=1e400", "epsilon is '1e400'"),
        (potentials.get, "lennard-jones:cutoff=5A", "cutoff is '5A'"),
        (potentials.get, "mmff94:variant=mmff94s", "variant is 'mmff94s'"),
        (potentials.get, "tersoff:triplets=007", "'007'"),
    ],
)
def test_every_kind_of_option_quotes_what_was_given(get, text, quoted):
    with pytest.raises(OptionError) as raised:
        get(text)
    assert quoted in str(raised.value)


def test_options_are_spelled_as_they_are_read():
    fire = {"name": "fire", "dt": 0.05, "maxstep": 0.2, "downhill_check": True}
    spelled = _options.spelled(fire, optimizers.Fire)
    assert spelled == "fire:dt=0.05,downhill-check=true"
    assert optimizers.get(spelled) == optimizers.Fire(dt=0.05, downhill_check=True)


TOKENS = [
    "lbfgs", "fire", "adam", "emt", "lennard-jones", "tersoff", "mmff94", "frechet", "unit",
    "memory-size", "memory_size", "linesearch", "dt", "b1", "epsilon", "cutoff", "triplets",
    "variant", "mask", "pressure", "smax", ":", ":", "=", "=", ",", ",", " ", "-1", "0", "1e400",
    "nan", "none", "true", "xx+yy", "5GPa", "\u0661", "\n", "'", "\u00e5", "\x1b", "\ud800", "",
]  # fmt: skip


@pytest.mark.parametrize("get", [coordinates.get, optimizers.get, potentials.get])
def test_odd_text_is_an_option_error_or_makes_something(get):
    rng = random.Random(5)
    for _ in range(400):
        text = "".join(rng.choices(TOKENS, k=rng.randint(0, 9)))
        with contextlib.suppress(OptionError):
            assert get(text) is not None
