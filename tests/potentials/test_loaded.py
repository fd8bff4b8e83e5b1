"""Potentials named by where they are defined: found, or refused with the reason."""

import sys
import textwrap

import pytest

from kups_relax import potentials
from kups_relax.errors import OptionError
from kups_relax.potentials import LennardJones, Morse

MODEL = """
    from __future__ import annotations

    import dataclasses
    import os

    from kups_relax.potentials import LennardJones, Morse
    from own_parts import SIGMA

    @dataclasses.dataclass
    class Settings:
        sigma: float = SIGMA

    def make():
        return LennardJones(0.0104, Settings().sigma)

    ready = Morse(r0=2.0)

    class Shelf:
        @staticmethod
        def make():
            return ready

    def broken():
        raise KeyError("weights.npz")

    def needs(path):
        return ready

    def nothing():
        pass

    number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A directory with a model, its parts, and modules that cannot be imported."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    (tmp_path / "own_model.py").write_text(textwrap.dedent(MODEL))
    (tmp_path / "own_parts.py").write_text("SIGMA = 3.4\n")
    (tmp_path / "own_broken.py").write_text("import json\n\n1 / 0\n")
    (tmp_path / "own_import.py").write_text("import no_such_library\n")
    package = tmp_path / "own_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "models.py").write_text("from own_model import make\n")
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("own_"):
            del sys.modules[name]


@pytest.fixture
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("own_model:make", LennardJones(0.0104, 3.4)),
        ("own_package.models:make", LennardJones(0.0104, 3.4)),
        ("own_model:ready", Morse(r0=2.0)),
        ("own_model:Shelf.make", Morse(r0=2.0)),
        ("own_model:Morse", Morse()),
        ("own_model.py:make", LennardJones(0.0104, 3.4)),
        ("./own_model.py:ready", Morse(r0=2.0)),
    ],
)
def test_a_location_is_the_potential_that_stands_or_is_made_there(text, expected, inside):
    assert potentials.get(text) == expected


def test_a_file_is_found_from_anywhere_with_its_neighbours(folder):
    assert potentials.get(f"{folder}/own_model.py:make") == LennardJones(0.0104, 3.4)


def test_a_file_is_imported_once(folder):
    text = f"{folder}/own_model.py:ready"
    assert potentials.get(text) is potentials.get(text)


def test_files_of_one_name_are_told_apart(tmp_path, folder):
    for sigma in (2.0, 3.0):
        (tmp_path / str(sigma)).mkdir()
        (tmp_path / str(sigma) / "own_copy.py").write_text(
            "from kups_relax.potentials import LennardJones\n"
            f"def make(): return LennardJones(1.0, {sigma})\n"
        )
    for sigma in (2.0, 3.0):
        assert potentials.get(f"{tmp_path}/{sigma}/own_copy.py:make").sigma == sigma


def test_installed_modules_are_not_hidden_by_the_current_directory(inside):
    import json

    (inside / "json.py").write_text("1 / 0\n")
    potentials.get("own_model:make")
    assert sys.path[-1] == str(inside)
    assert sys.modules["json"] is json


def test_our_names_come_first(inside):
    (inside / "morse.py").write_text("def make(): raise SystemExit\n")
    with pytest.raises(OptionError, match="morse has no option 'make'"):
        potentials.get("morse:make")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("own_nothing:make", "no potential and no module 'own_nothing'. Install it, or run in"),
        ("own_package.nothing:make", "no module 'own_package.nothing'"),
        ("own_nothing.py:make", "there is no file /.*own_nothing.py"),
        ("own_model:mke", r"own_model has no 'mke'; it has .*broken, make, "),
        ("own_model:Shelf.mke", "has no 'Shelf.mke'"),
        ("own_model:broken", r"broken\(\) raised KeyError: 'weights.npz'"),
        ("own_model:needs", r"needs\(\) raised TypeError: .*path"),
        ("own_model:nothing", r"gives None \(NoneType\), which is no kups_relax potential"),
        ("own_model:number", r"gives 3 \(int\), which is no"),
        ("own_broken:make", "importing own_broken raised ZeroDivisionError: division by zero"),
        ("own_broken.py:make", "importing own_broken.py raised ZeroDivisionError"),
        ("own_import:make", "importing own_import raised ModuleNotFoundError: .*no_such_library"),
        ("lennardjones:epsilon=1", "there is no potential 'lennardjones'; expected one of .*"
         "package.module:factory or model.py:factory"),
        ("lennardjones:1x", "there is no potential 'lennardjones'"),
        ("own_model.py", "there is no potential 'own_model.py'"),
    ],
)  # fmt: skip
def test_what_gives_no_potential_is_refused_with_the_reason(text, message, inside):
    with pytest.raises(OptionError, match=message) as raised:
        potentials.get(text)
    assert "\n" not in str(raised.value)


def test_a_broken_file_can_be_mended(folder):
    path = folder / "own_broken.py"
    with pytest.raises(OptionError):
        potentials.get(f"{path}:make")
    path.write_text("from kups_relax.potentials import Morse\nmake = Morse\n")
    assert potentials.get(f"{path}:make") == Morse()
