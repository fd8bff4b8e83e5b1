"""Coordinates come from a process that can be stopped, and are RDKit's to the bit."""

import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rdkit import Chem

import kups_relax as kr
from kups_relax.errors import OptionError
from kups_relax.io import Unreadable, _embedder, _embedding, _molecules, structures_from, too_slow

SMILES = ("CCO", "C[C@H](O)[C@@H](N)C(=O)O", "F/C=C/F", "[Na+].[Cl-]", "c1ccccc1", "CC(=O)[O-]")
ENDLESS = "C1" + "C" * 400 + "1"


def with_hydrogens(smiles: str) -> Chem.Mol:
    return Chem.AddHs(Chem.MolFromSmiles(smiles))


@pytest.mark.parametrize("smiles", SMILES)
def test_coordinates_are_those_that_rdkit_gives_in_this_process(smiles: str) -> None:
    got = _embedding.embed(with_hydrogens(smiles), 2, 10_000, 60.0)
    assert np.array_equal(got, _embedder.embed(with_hydrogens(smiles), 2, 10_000))


def test_a_process_embeds_one_molecule_after_the_other() -> None:
    _embedding.embed(with_hydrogens("CCO"), 1, 0, 60.0)
    [process] = _embedding._workers._idle[-1:]
    _embedding.embed(with_hydrogens("CCN"), 1, 0, 60.0)
    assert _embedding._workers._idle[-1] is process


def test_a_process_that_was_killed_is_replaced() -> None:
    expected = _embedding.embed(with_hydrogens("CCO"), 1, 0, 60.0)
    process = _embedding._workers._idle[-1]._process
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert np.array_equal(_embedding.embed(with_hydrogens("CCO"), 1, 0, 60.0), expected)


def test_a_molecule_that_takes_too_long_fails_alone_with_all_its_conformers() -> None:
    mols = [Chem.MolFromSmiles(smiles) for smiles in ("CCO", ENDLESS, "CCN")]
    for mol, name in zip(mols, "abc", strict=True):
        mol.SetProp("_Name", name)
    # The process is there already, and these molecules take milliseconds.
    got = structures_from(mols, n_conformers=2, timeout=2.0)
    assert [one.id for one in got] == ["a/0", "a/1", "b/0", "b/1", "c/0", "c/1"]
    for one in got[2:4]:
        assert isinstance(one, Unreadable)
        assert "no coordinates for it within the time limit. Give coordinates in an SDF" in (
            one.reason
        )
    others = structures_from([mols[0], mols[2]], n_conformers=2)
    for one, other in zip([*got[:2], *got[4:]], others, strict=True):
        assert np.array_equal(one.positions, other.positions)  # pyright: ignore


def test_a_store_holds_whether_a_molecule_was_made_in_time_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "in.smi"
    path.write_text("CCO a\nCCN b\n")
    potential = kr.potentials.LennardJones(epsilon=0.01, sigma=1.2)
    options: dict[str, Any] = {"fmax": 1e9, "progress": False, "resume": True}
    real = _molecules.embed

    def late(mol: Chem.Mol, *args: Any) -> Any:
        if mol.GetNumAtoms() == 10:
            raise _embedding.TooSlow
        return real(mol, *args)

    for first, second, status in ((late, real, "failed"), (real, late, "converged")):
        output = tmp_path / f"{status}.h5"
        monkeypatch.setattr(_molecules, "embed", first)
        before = kr.relax(path, potential, output=output, **options)
        assert before.status.tolist() == ["converged", status]
        monkeypatch.setattr(_molecules, "embed", second)
        after = kr.relax(path, potential, output=output, **options)
        assert list(after.fingerprint) == list(before.fingerprint)


def test_the_reason_is_the_same_on_every_machine() -> None:
    assert too_slow("a") == too_slow("a")


@pytest.mark.parametrize("timeout", [0, -1.0, math.nan, math.inf, "60", None])
def test_a_time_limit_is_a_number_of_seconds(timeout: Any) -> None:
    with pytest.raises(OptionError, match=r"timeout is .*; expected seconds, more than 0"):
        structures_from([Chem.MolFromSmiles("CCO")], timeout=timeout)


def test_whatever_rdkit_raises_is_the_reason_of_that_entry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def raising(*_: Any) -> Any:
        raise OverflowError("bad numeric conversion\n\n\tin file Some.cpp")

    monkeypatch.setattr(_molecules, "_sanitized", raising)
    [entry] = structures_from([Chem.MolFromSmiles("CCO")])
    assert isinstance(entry, Unreadable)
    assert entry.reason.startswith("RDKit fails on it: OverflowError: bad numeric conversion; in")
