"""What an optimizer is called, and with which options: in results, stores and reports."""

import json
import subprocess
import sys

import optax
import pytest

from kups_relax import optimizers as ko
from kups_relax.errors import OptionError


@pytest.mark.parametrize("name", ko.NAMED)
def test_a_name_is_shown_as_it_was_given_with_all_options_in_effect(name):
    described = ko.describe(ko.get(name))
    assert described["name"] == name
    assert ko.named(described) == name
    assert json.loads(json.dumps(described)) == described
    signature = {key.replace("-", "_") for key in described} - {"name"}
    assert ko.get(ko.named(described)) == ko.get(name)
    assert signature or name == "ase-lbfgs"


@pytest.mark.parametrize(
    "text",
    [
        "lbfgs:memory-size=8",
        "lbfgs:scale-init-precond=false,max-step-size=none",
        "lbfgs:linesearch=zoom,clip-norm=2.0",
        "preconditioned:step=0.5",
        "fire:dt=0.05,downhill-check=true",
        "conjugate-gradient:beta=polak-ribiere",
        "gradient-descent:alpha=50.0",
        "adam:learning-rate=0.05,nesterov=true",
        "sgd:momentum=0.5,max-step-size=0.1",
    ],
)
def test_options_are_shown_as_they_were_given(text):
    described = ko.describe(ko.get(text))
    assert ko.named(described) == text
    assert ko.get(ko.named(described)) == ko.get(text)


def test_text_and_object_of_the_same_options_are_described_alike():
    assert ko.describe(ko.get("lbfgs:memory-size=8")) == ko.describe(ko.lbfgs(8))
    assert ko.describe(ko.get("fire")) == ko.describe(ko.Fire())
    assert ko.lbfgs() == ko.get("lbfgs")
    assert hash(ko.lbfgs()) == hash(ko.get("lbfgs"))


def test_an_optimizer_of_ones_own_is_shown_as_code():
    own = ko.chain(ko.ScaleByAseLbfgs(), ko.MaxStepSize(0.1), ko.Scale(-1.0))
    assert ko.named(ko.describe(own)).startswith("chain(ScaleByAseLbfgs(")
    assert "Chain(transforms" not in repr(own)


SAME = """
import json, optax
from kups_relax import optimizers as ko
print(json.dumps(ko.describe(ko.get(optax.adam(0.02)))))
"""


def test_one_of_optax_is_the_same_in_every_process_and_another_rate_another():
    here = ko.describe(ko.get(optax.adam(0.02)))
    done = subprocess.run([sys.executable, "-c", SAME], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == here
    assert ko.describe(ko.get(optax.adam(0.03))) != here


# Optimizers of one's own, by where they are defined


OWN = """
import optax
from kups_relax import optimizers as ko
def make(): return ko.lbfgs(memory_size=5)
def from_optax(): return optax.sgd(0.01)
ready = ko.Fire(dt=0.05)
def nothing(): return 1
def bad(): raise ValueError("no luck")
"""


def test_an_optimizer_is_loaded_by_where_it_is_defined(tmp_path):
    path = tmp_path / "my.py"
    path.write_text(OWN)
    assert ko.get(f"{path}:make") == ko.lbfgs(memory_size=5)
    assert ko.get(f"{path}:ready") == ko.Fire(dt=0.05)
    assert isinstance(ko.get(f"{path}:from_optax"), ko.PerSystem)
    for name, message in (
        ("nothing", "1 is no optimizer"),
        ("bad", r"bad\(\) raised ValueError: no luck"),
        ("absent", "has no 'absent'; it has bad, from_optax, make"),
    ):
        with pytest.raises(OptionError, match=message):
            ko.get(f"{path}:{name}")
    with pytest.raises(OptionError, match="no optimizer and no module 'no_module'"):
        ko.get("no_module:make")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("bfgs", "lbfgs"), ("LBFGS-Zoom", "lbfgs-zoom"), ("fire_2", "fire2"), ("precond", "precond")],
)
def test_a_near_name_is_suggested(wrong, right):
    with pytest.raises(OptionError, match=f"Did you mean '{right}"):
        ko.get(wrong)
