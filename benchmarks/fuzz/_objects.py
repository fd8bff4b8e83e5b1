"""Structures and Mols with odd fields, and objects that are no structures at all."""

import os
import pathlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import ase
import numpy as np
from rdkit import Chem, rdBase

from benchmarks import odd_cases
from benchmarks.fuzz._atoms import number, odd_atoms
from benchmarks.fuzz._verdict import UserError
from kups_relax.data import Structure
from kups_relax.io import Unreadable


class RaisingPath:
    """A path that raises when it is asked for."""

    def __fspath__(self) -> str:
        raise UserError("no such luck")


class OddPath:
    """A path that is none."""

    def __init__(self, path: Any) -> None:
        self._path = path

    def __fspath__(self) -> Any:
        return self._path


def odd_structure(draw: random.Random, most: int) -> tuple[str, Structure]:
    """Draw a `Structure` with fields that are odd, as a program that makes one may give them."""
    n = draw.randint(1, most)
    fields: dict[str, Any] = {
        "id": draw.choice(("s", "", " ", None, 3, "half \ud800", "x\0y", "x" * 10_000, b"b", ())),
        "numbers": np.full(n, 18, np.int32),
        "positions": np.arange(3.0 * n).reshape(n, 3) * 3,
    }
    values: dict[str, Callable[[], Any]] = {
        "numbers": lambda: draw.choice(
            ([18] * n, np.full(n, 18), np.full(n, 18.0), None, "Ar", 18, np.zeros(0), np.zeros(n),
             np.full(n, -3), np.full(n, 2**40), np.full((n, 1), 18), [], [None] * n, [[18]])
        ),
        "positions": lambda: draw.choice(
            (None, np.zeros((n, 3)), np.full((n, 3), number(draw)), np.zeros(3 * n), [[0, 0, 0]],
             fields["positions"].tolist(), fields["positions"].astype("f4"), "x", np.zeros((n, 2)),
             fields["positions"].astype(object), [[0, 0], [1]], fields["positions"] + 0j)
        ),
        "cell": lambda: draw.choice(
            (None, np.eye(3), np.eye(3) * number(draw), [5, 5, 5], np.zeros((2, 3)), "x",
             [[5, 0, 0], [0, 5, 0], [0, 0, 5]], np.full((3, 3), np.nan),
             ase.Atoms(cell=[3] * 3).cell)
        ),
        "pbc": lambda: draw.choice(
            (None, True, [True] * 3, np.ones(3), np.ones(3, bool), "TTT", [1, 0], [2, 0, 0],
             np.full(3, np.nan), [None] * 3)
        ),
        "charge": lambda: draw.choice((None, 1, 1.5, "1", np.nan, 2**70, [], np.array([1]))),
        "topology": lambda: draw.choice((None, "CCO", Chem.MolFromSmiles("C"), Chem.Mol(), 3)),
        "atoms": lambda: draw.choice((None, ase.Atoms("Ar"), "Ar", odd_atoms(draw, most)[1], 3)),
    }  # fmt: skip
    changed = draw.sample(list(values), draw.randint(0, 3))
    fields |= {name: values[name]() for name in changed}
    return f"structure {changed}", Structure(**fields)


def odd_mol(draw: random.Random, most: int) -> tuple[str, Any]:
    """Draw a Mol, with conformers and properties that may be odd."""
    with rdBase.BlockLogs():
        smiles = draw.choice(
            ("C", "CCO", "[H][H]", "[Na+].[Cl-]", "*C", "[2H]O", "", "C#N", "[Fe]")
        )
        mol = Chem.MolFromSmiles(smiles, sanitize=draw.random() < 0.8)
        if draw.random() < 0.6 and mol.NeedsUpdatePropertyCache() is False:
            mol = Chem.AddHs(mol)
        for _ in range(draw.choice((0, 1, 1, 2))):
            conformer = Chem.Conformer(mol.GetNumAtoms() + draw.choice((0, 0, 0, 1)))
            scale = number(draw)
            for i in range(mol.GetNumAtoms()):
                conformer.SetAtomPosition(i, [i * 1.5, scale, scale * i])
            conformer.Set3D(draw.random() < 0.8)
            try:
                mol.AddConformer(conformer, assignId=True)
            except RuntimeError:  # RDKit counts the atoms itself
                break
    for _ in range(draw.choice((0, 0, 1, 2))):
        key = draw.choice(("_Name", "id", "charge", "x", "smiles", "name", "ünï", " "))
        put = draw.choice((mol.SetProp, mol.SetIntProp, mol.SetDoubleProp, mol.SetBoolProp))
        texts = ("x", "nan", "1e999", "", "two\nlines", "9" * 400)
        value = {mol.SetProp: draw.choice(texts), mol.SetDoubleProp: number(draw)}.get(put, 1)
        put(key, value)
    return f"Mol {smiles!r}", mol


def odd_object(draw: random.Random, most: int) -> tuple[str, Any]:
    """Draw something that users pass by mistake, or a nest of it and of Atoms."""
    name, make = draw.choice(_OBJECTS)
    item = make(draw, most)
    if draw.random() < 0.2:
        return f"nested {name}", [[item], _plain(), (_plain(), [[]])]
    return name, item


def _plain() -> ase.Atoms:
    return ase.Atoms("Ar2", [[0, 0, 0], [0, 0, 3.8]])


def _label(draw: random.Random) -> Any:
    return draw.choice(("", "x", 3))


def _raising(draw: random.Random, most: int) -> Iterator[Any]:
    yield _plain()
    raise UserError("half way")


def _unmade(number: int) -> Any:
    raise UserError(number)


def _loop(draw: random.Random, most: int) -> list[Any]:
    loop: list[Any] = [_plain()]
    loop.append(loop)
    return loop


def _deep(draw: random.Random, most: int) -> list[Any]:
    deep: list[Any] = [_plain()]
    for _ in range(draw.choice((50, 900, 5000))):
        deep = [deep]
    return deep


def _path(draw: random.Random, most: int) -> Any:
    text = draw.choice(
        ("", "missing.xyz", ".", "/", "/dev/null", "/dev/zero", "a\0b.xyz", "x" * 5000, "*.cif",
         "[", "**", "\ud800.xyz", "C(=O)O", "https://example.org/a.cif", "postgres://x", "~",
         "POSCAR@0", "missing.db@1", "-", "/proc/self/mem", " ", "con.xyz:stream", "\n", "{}")
    )  # fmt: skip
    makers: tuple[Callable[[], Any], ...] = (
        lambda: text,
        lambda: pathlib.Path(text),
        lambda: OddPath(os.fsencode(text.replace("\ud800", "x"))),
        lambda: OddPath(text),
        lambda: draw.choice((RaisingPath(), OddPath(3), OddPath(None))),
    )
    return draw.choice(makers)()


_OBJECTS: tuple[tuple[str, Callable[[random.Random, int], Any]], ...] = (
    ("value", lambda draw, most: odd_cases.value(draw)),
    ("path", _path),
    ("path", _path),
    ("Mol", lambda draw, most: odd_mol(draw, most)[1]),
    ("Mol", lambda draw, most: odd_mol(draw, most)[1]),
    ("Mol", lambda draw, most: odd_mol(draw, most)[1]),
    ("Atoms in a list", lambda draw, most: [odd_atoms(draw, most)[1] for _ in range(3)]),
    ("generator that raises", _raising),
    ("list in itself", _loop),
    ("deep list", _deep),
    ("dict of Atoms", lambda draw, most: {"a": _plain()}),
    ("array of Atoms", lambda draw, most: np.array([_plain(), None], object)),
    ("atom", lambda draw, most: _plain()[0]),
    ("Unreadable", lambda draw, most: Unreadable(id=_label(draw), reason="was bad")),
    ("class", lambda draw, most: draw.choice((ase.Atoms, Structure, Chem.Mol))),
    ("map", lambda draw, most: map(_unmade, [1])),
    ("strings", lambda draw, most: [draw.choice(odd_cases.TEXTS), _plain()]),
    ("None", lambda draw, most: draw.choice((None, [None], [None, _plain()], [], [[]], ()))),
)  # fmt: skip
