"""Without TorchSim, everything else works, and asking for it says what to install."""

import sys
import types

import pytest

from kups_relax.errors import OptionError
from kups_relax.potentials import TorchSim


@pytest.mark.parametrize("package", ["torch", "torch_sim"])
def test_a_missing_package_is_named_with_the_extra(monkeypatch, package):
    for name in ("torch", "torch_sim"):
        there = None if name == package else types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, there)
    with pytest.raises(OptionError, match=rf"(?s)\b{package}\b.*kups-relax\[torch-sim\]"):
        TorchSim(object())
