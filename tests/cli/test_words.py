"""Messages name options as somebody met them: Python's in Python, the command's in the shell."""

import ast
import os
import pathlib
import re

import ase.io
import pytest
from ase import Atoms
from command_cases import command

import kups_relax
from kups_relax.cli._words import _flags, for_shell

__all__ = ["command"]  # fixture

ROOT = pathlib.Path(kups_relax.__file__).parent

# Rooms and modules whose messages only those meet who call them from Python.
PYTHON_ALONE = (
    "ase/", "cli/", "data/_index", "data/_keys", "data/_table", "ops/", "report/", "testing/_run",
    "optimizers/_chain", "optimizers/_conjugate", "optimizers/_descent", "optimizers/_fire",
    "optimizers/_lbfgs", "optimizers/_base", "_tree",
)  # fmt: skip
# What a person's own Python file says for the command: calculators and models are made there.
OF_OWN_FILES = {"workers=0", "workers=1", "compute_forces=True", "rounds=False"}


def messages():
    """All text of the package that is no docstring, with what is filled in as 'X'."""
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if name.startswith(PYTHON_ALONE):
            continue
        tree = ast.parse(path.read_text())
        skipped = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                skipped |= {id(part) for part in node.values}
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                skipped.add(id(node.value))
        for node in ast.walk(tree):
            if id(node) in skipped:
                continue
            if isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else "'X'" for p in node.values]
                text = "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            else:
                continue
            if re.search(r"[a-z]{2,} [a-z]", text):
                yield f"{name}:{node.lineno}", text


def test_there_are_messages_that_name_options():
    found = [text for _, text in messages() if for_shell(text) != text]
    assert len(found) >= 15, found


@pytest.mark.parametrize(
    ("where", "text"), [pytest.param(*m, id=m[0]) for m in messages() if "=" in m[1] or "_" in m[1]]
)
def test_no_message_tells_the_shell_an_option_of_python(where, text):
    said = for_shell(text)
    for found in re.findall(r"(?<![\w.'-])([a-z_]+=(?:True|False|None|\w*))", said):
        name, _, value = found.partition("=")
        pythonic = name in _flags() or value in ("True", "False", "None")
        assert found in OF_OWN_FILES or not pythonic, (found, said)
    for name in _flags():
        if "_" in name:
            assert not re.search(rf"(?<![\w.'-]){name}\b", said), said


@pytest.mark.parametrize(
    ("said", "shell"),
    [
        ("allow it with overwrite=True.", "allow it with --overwrite."),
        ("Relax with cell=None, or", "Relax without --cell, or"),
        ("use dtype='float32', or n_workers=1.", "use --dtype float32, or --workers 1."),
        ("fmax is 0.0; it must be", "--fmax is 0.0; it must be"),
        ("fmax not reached; raise max_steps, or", "fmax not reached; raise --max-steps, or"),
        ("relax(..., trajectory=10).", "kups-relax relax ... --trajectory 10."),
        ("Give it one, Morse(..., cutoff=...), or", "Give it one, morse:cutoff=..., or"),
        ("say EMT(toy_elements=True) if", "say emt:toy-elements=true if"),
        ("FrechetCell: mask is '1'; x", "frechet: mask is '1'; x"),
        ("Set pbc=False or", 'Set pbc="F F F" in extended XYZ or'),
        ("n_conformers is 0", "--n-conformers is 0"),
        ("'seed=3 max_steps' is no id", "'seed=3 max_steps' is no id"),
        ("pbc is [True], cell is [[1, 0]]", "pbc is [True], cell is [[1, 0]]"),
        ("optax's seed of a user's seed", "optax's seed of a user's seed"),
    ],
)
def test_options_are_translated_and_nothing_else(said, shell):
    assert for_shell(said) == shell


def test_a_file_whose_name_is_no_text_is_named_all_the_same(command, tmp_path):
    path = tmp_path / os.fsdecode(b"odd\xff.extxyz")
    ase.io.write(tmp_path / "in.xyz", Atoms("Ar2", [[0, 0, 0], [0, 0, 3.8164]]))
    argon = ["-p", "lennard-jones:epsilon=0.0104,sigma=3.4"]
    status, out, _ = command("relax", tmp_path / "in.xyz", *argon, "-o", path)
    assert status == 0
    assert r"odd\udcff.extxyz" in out
