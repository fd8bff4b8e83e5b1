"""Inputs of the command's part that once came out wrong."""

import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

import kups_relax as kr
from helpers import argon
from kups_relax import cli, io
from kups_relax.cli import _print
from made_stores import made_record, made_store

# They change the clipboard, and pretend that another structure converged.
IDS = ("\x1b]52;c;eA==\x07", "a\nb: converged: fake line", "\x9b31m\u202ered")


def is_plain(text: str) -> bool:
    return "fake line" in text and all(line.isprintable() for line in text.splitlines())


def pretends(text: str) -> bool:
    return any(line.startswith("b: converged") for line in text.splitlines())


def test_case_16_no_total_before_the_lines_are_counted(tmp_path):
    path = tmp_path / "many.smi"
    path.write_text("".join(f"{'C' * (1 + i % 9)} m{i}\n" for i in range(3000)))
    stream = io.Stream(str(path))
    # An exact number, or none; never one that is made of what has been read so far.
    assert stream.total in (None, 3000)
    for _ in range(5):
        next(stream)
    assert stream.total in (None, 3000)


def test_case_36_ids_are_escaped_wherever_they_are_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "odd\x1b[31m.h5"
    records = [
        made_record(i, rng, label=label, status="failed", reason=f"{label}: it is odd", n_frames=2)
        for i, label in enumerate(IDS)
    ]
    store = made_store(path, records)
    for words in (
        ["info", path],
        ["export", path, "-o", tmp_path / "out.extxyz"],
        ["report", path],
        ["info", f"{path} nowhere"],
    ):
        monkeypatch.setattr("os._exit", sys.exit)
        monkeypatch.setattr("sys.argv", ["kups-relax", *map(str, words)])
        with pytest.raises(SystemExit):
            cli.main()
        out, err = capsys.readouterr()
        assert all(line.isprintable() for line in (out + err).splitlines()), words
        assert not pretends(out + err)
    page = path.with_suffix(".html").read_text()
    assert "\x1b" not in page
    assert r"a\nb: converged: fake line" in page
    for text in (_print.format_table(store), "\n".join(_print.failures(store)), repr(store)):
        assert not pretends(text)
        assert all(line.isprintable() for line in text.splitlines())


def test_case_36_ids_are_escaped_while_a_run_goes_on(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    at_one_place = [Atoms("Ar2", np.zeros((2, 3)), info={"id": label}) for label in IDS]
    with caplog.at_level(logging.DEBUG, "kups_relax"):
        result = kr.relax(at_one_place, argon(), progress=True)
        with pytest.raises(kr.errors.StructureError) as error:
            kr.relax(at_one_place, argon(), progress=True, strict=True)
    out, err = capsys.readouterr()
    said = "\n".join([*caplog.messages, out, err, str(error.value), *result.reason, repr(result)])
    assert is_plain(said)
    assert not pretends(said)
