"""What the tests of the command share."""

import os
import sys

import ase.io
import pytest
from ase import Atoms

from helpers import argon_clusters
from kups_relax import cli


@pytest.fixture
def command(monkeypatch, capsys):
    """Run the command in this process; return (exit status, stdout, stderr)."""

    def run(*args):
        # The command ends its process so.
        monkeypatch.setattr(os, "_exit", sys.exit)
        monkeypatch.setattr(sys, "argv", ["kups-relax", *map(str, args)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out = capsys.readouterr()
        return stopped.value.code, out.out, out.err

    return run


@pytest.fixture
def clusters(tmp_path):
    path = tmp_path / "clusters.extxyz"
    ase.io.write(path, argon_clusters([3, 8, 5]))
    return path


@pytest.fixture
def mixed(tmp_path):
    """One structure that converges, one that needs many steps, one that is broken."""
    path = tmp_path / "mixed.extxyz"
    pair = Atoms("Ar2", [[0, 0, 0], [0, 0, 3.8164]], info={"id": "pair"})
    broken = Atoms("Ar2", [[0, 0, 0], [0, 0, 0]], info={"id": "broken"})
    ase.io.write(path, [pair, *argon_clusters([8]), broken])
    return path
