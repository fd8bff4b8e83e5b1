"""Odd inputs end in words: a short run of benchmarks/fuzz, and how it tells how a case ended."""

from pathlib import Path
from typing import Any

import pytest
from ase import Atoms
from benchmarks.fuzz import _pool
from benchmarks.fuzz._bytes import damage
from benchmarks.fuzz._verdict import UserError, WrongError, judge
from benchmarks.fuzz._worker import case

from kups_relax import io
from kups_relax.errors import StructureError

# Seeds and cases, which take a minute in all, start included. These commands have no pipe for a
# store: opening one waits for whoever writes into it.
SHORT = {
    "structures": (5, 400),
    "files": (5, 900),
    "smiles": (5, 300),
    "commands": (5, 200),
    "options": (5, 800),
    "stores": (5, 120),
}


def _raises(error: BaseException) -> Any:
    def call() -> None:
        raise error

    return call


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda: ["it has no atoms. Leave it out."], "clear"),
        (lambda: 3, "clear"),
        (_raises(StructureError("'x' has no atoms.")), "clear"),
        (_raises(UserError("half way")), "clear"),
        (_raises(KeyError("x")), "raw"),
        (_raises(RecursionError()), "raw"),
        (_raises(WrongError("energy 1, expected 2")), "wrong"),
        (lambda: [" "], "raw"),
    ],
)
def test_the_end_of_a_case_is_told(call: Any, kind: str) -> None:
    assert judge(call).kind == kind


def test_a_reason_is_raw_where_it_quotes_an_exception_of_our_own_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def call() -> list[str]:
        entries = io.structures_from([Atoms("Ar", info={"charge": 1.5}), Atoms("Kr")])
        return [entry.reason for entry in entries if isinstance(entry, io.Unreadable)]

    assert judge(call).kind == "clear"
    # A fault as it might be: what checks charges breaks.
    monkeypatch.setattr("kups_relax.io._entries.math", None)
    assert judge(call).kind == "raw"


def test_a_process_that_hangs_or_dies_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made/ends.py").write_text(
        "import os, time\n"
        "def case(seed, index):\n"
        "    ends = {1: lambda: os._exit(3), 3: lambda: time.sleep(100), 4: lambda: 1 / 0}\n"
        "    return f'case {index}', ends.get(index, lambda: None)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    tally = _pool.run("made.ends", 6, limit=2.0)
    assert dict(tally.counts) == {"clear": 3, "crash": 1, "hang": 1, "raw": 1}
    assert [(e["kind"], e["index"]) for e in tally.examples] == [
        ("crash", 1),
        ("hang", 3),
        ("raw", 4),
    ]


def test_a_case_is_made_of_seed_and_index_alone() -> None:
    assert case("smiles", 0, 7)[0] == case("smiles", 0, 7)[0]
    assert case("smiles", 0, 7)[0] != case("smiles", 1, 7)[0]


def test_damage_is_repeated_by_its_seed(tmp_path: Path) -> None:
    import random

    path = tmp_path / "x.h5"
    found = []
    for _ in range(2):
        path.write_bytes(bytes(range(256)) * 64)
        found.append((damage(path, random.Random("5")), path.read_bytes()))
    assert found[0] == found[1]
    assert found[0][1] != bytes(range(256)) * 64


@pytest.mark.extended
@pytest.mark.parametrize("generator", SHORT)
def test_odd_inputs_end_in_words(generator: str) -> None:
    if generator != "commands":
        pytest.importorskip("rdkit", reason="SMILES and Mols need RDKit")
    seed, n = SHORT[generator]
    figures = _pool.run(generator, n, seed=seed, limit=60.0).figures()
    kinds = ("raw", "hang", "crash", "wrong")
    assert {kind: figures[kind] for kind in kinds} == dict.fromkeys(kinds, 0), figures["examples"]
