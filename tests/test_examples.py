"""The examples run, and do what they say."""

import pathlib
import re
import subprocess
import sys

import ase.io
import numpy as np
import pytest

# A process each, with all of its compiling: no behaviour that is not tested elsewhere.
pytestmark = pytest.mark.extended

ROOT = pathlib.Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


def run(tmp_path, *arguments):
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_argon_relaxes_all_clusters(tmp_path):
    assert "32 structures: 32 converged" in run(tmp_path, EXAMPLES / "argon.py")


def test_own_optimizer_finds_booths_minimum(tmp_path):
    out = run(tmp_path, EXAMPLES / "own_optimizer.py")
    assert out.count("[1. 3.]") == 4


def test_crystals_relax_from_a_folder_of_cif_files(tmp_path):
    out = run(tmp_path, EXAMPLES / "crystals.py")
    assert "12 structures: 12 converged" in out
    # Copper is cubic again, its lattice constant that of EMT.
    [copper] = [line for line in out.splitlines() if line.startswith("Cu ")]
    after = [float(x) for x in copper.split()[8:14]]
    np.testing.assert_allclose(after[:3], 3.59, atol=0.01)
    # Degrees: shear is soft, and the threshold 0.01 eV/Angstrom.
    np.testing.assert_allclose(after[3:], 90.0, atol=0.1)
    assert len(list((tmp_path / "out" / "crystals").glob("*.cif"))) == 12
    assert (tmp_path / "out" / "energy.png").stat().st_size > 10_000
    assert len(ase.io.read(tmp_path / "out" / "crystals.extxyz", ":")) == 12


def test_own_model_learns_and_relaxes(tmp_path):
    # A third of the structures and of the epochs.
    out = run(tmp_path, EXAMPLES / "own_model.py", 96, 20)
    error, size = map(float, re.findall(r"forces +([0-9.]+) .* forces are ([0-9.]+)", out)[0])
    assert error < size / 2
    assert "32 structures: 32 converged" in out


def test_demo_relaxes_and_verifies(tmp_path):
    lines = (EXAMPLES / "molecules.smi").read_text().splitlines()
    (tmp_path / "few.smi").write_text("\n".join(lines[:12]) + "\n")
    out = run(tmp_path, EXAMPLES / "demo.py", "few.smi", 2)
    assert " comparisons, 0 mismatches" in out
    assert len(out.splitlines()) < 30
    [rdkit] = re.findall(r"energies of \d+ differ by (\S+) eV at most", out)
    assert float(rdkit) < 1e-8
    assert len(re.findall(r"6 conformers, .* steps", out)) == 2
    for name in ("relaxed.sdf", "relaxed.html", "relaxed.h5"):
        assert (tmp_path / "out" / name).stat().st_size > 1000


def test_xtb_relaxes_molecules_with_gfn2(tmp_path):
    pytest.importorskip("tblite", reason="the example's calculator is tblite's")
    out = run(tmp_path, EXAMPLES / "xtb.py")
    assert "8 structures: 8 converged" in out
