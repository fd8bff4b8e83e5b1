"""Without TorchSim, everything else works, and asking for it says what to install."""

import sys
import types

import pytest

from kups_relax import potentials
from kups_relax.errors import OptionError
from kups_relax.potentials import TorchSim, _torch_sim


@pytest.mark.parametrize("package", ["torch", "torch_sim"])
def test_a_missing_package_is_named_with_the_extra(monkeypatch, package):
    for name in ("torch", "torch_sim"):
        there = None if name == package else types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, there)
    with pytest.raises(OptionError, match=rf"(?s)\b{package}\b.*kups-relax\[torch-sim\]"):
        TorchSim(object())


class Model:
    """What a TorchSim model has, without torch."""

    dtype = device = None
    compute_forces = compute_stress = True

    def __call__(self, state):
        return {}


def test_a_model_passed_as_the_potential_is_taken_as_one(monkeypatch):
    monkeypatch.setattr(_torch_sim, "_check_installed", lambda: None)
    model = Model()
    assert potentials.get(model) == TorchSim(model)
    assert potentials.get(lambda: model) == TorchSim(model)


def test_models_that_are_none_are_shown_in_a_line(monkeypatch):
    monkeypatch.setattr(_torch_sim, "_check_installed", lambda: None)
    with pytest.raises(OptionError, match=r"which is no TorchSim model: it has no __call__") as one:
        TorchSim([{"layer": i} for i in range(108)])
    assert len(str(one.value)) < 300
