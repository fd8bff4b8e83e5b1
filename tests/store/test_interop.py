"""Other programs read a store, to the bit."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import h5py
import interop_cases
import numpy as np
import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interop")
    interop_cases.write(folder, 60)
    return folder


@pytest.mark.parametrize("package", ["znh5md", "MDAnalysis"])
def test_other_programs_read_the_same_bits(folder: Path, package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install znh5md MDAnalysis")
    # In a process of its own: what it warns of when it is imported is not ours.
    command = [sys.executable, interop_cases.__file__, str(folder), package]
    done = subprocess.run(command, capture_output=True, check=True)
    figures = json.loads(done.stdout)
    assert figures
    assert {k: v for k, v in figures.items() if "differ" in k and v} == {}


def test_every_element_is_as_h5md_has_it(folder: Path) -> None:
    """Value, step and time of one length; boundaries; units where they are known."""
    with h5py.File(folder / "mixed.h5") as file:
        assert file["h5md"].attrs["version"].tolist() == [1, 1]
        assert {"name", "version"} <= set(file["h5md/creator"].attrs)
        assert "name" in file["h5md/author"].attrs
        particles = file["particles/relaxed"]
        box = particles["box"]
        assert box.attrs["dimension"] == 3
        assert {str(b) for b in box.attrs["boundary"]} <= {"periodic", "none"}
        elements = [particles[name] for name in ("position", "force", "species")]
        elements += [box["edges"], box["pbc"], *file["observables/relaxed"].values()]
        for element in elements:
            n = len(element["value"])
            assert element["step"][()].tolist() == list(range(n)), element.name
            assert element["time"].shape == (n,)
            assert element["time"].attrs["unit"] == "fs"
            assert element.attrs["ASE_ENTRY_ORIGIN"] in ("atoms", "calc", "info")
        assert particles["position/value"].dtype == np.float64
        assert particles["position/value"].attrs["unit"] == "Angstrom"


def test_values_that_are_not_finite_are_kept_from_other_readers(folder: Path) -> None:
    """They take NaN for padding, and fail for the whole file where it ends an array."""
    with h5py.File(folder / "mixed.h5") as file:
        positions = file["particles/relaxed/position/value"][()]
        species = file["particles/relaxed/species/value"][()]
        assert np.isfinite(file["particles/relaxed/box/edges/value"][()]).all()
    assert np.array_equal(np.isnan(positions).any(axis=2), np.isnan(species))
