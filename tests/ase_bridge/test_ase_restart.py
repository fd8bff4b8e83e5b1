"""A run that is taken up again goes on to the bit, or says why it cannot."""

import json

import numpy as np
import optax
import pytest
from ase.filters import ExpCellFilter, FrechetCellFilter, StrainFilter, UnitCellFilter
from ase.io import read
from ase.optimize import BFGS, RestartError
from ase.optimize import LBFGS as AseLBFGS
from ase_cases import FreshEMT, Function, gold, hung

import kups_relax as kr
from kups_relax.ase import LBFGS, Optimizer, RestartFileError
from support.crossing import in_turns

FILTERS = {
    "atoms": lambda atoms: atoms,
    "frechet": FrechetCellFilter,
    "exp": ExpCellFilter,
    "unitcell": UnitCellFilter,
    "strain": StrainFilter,
}


@pytest.mark.filterwarnings("ignore:Use FrechetCellFilter")
@pytest.mark.parametrize(
    ("target", "optimizer"), in_turns(FILTERS, ["ase-lbfgs", "lbfgs", optax.adam(0.02)])
)
def test_a_restarted_run_goes_on_bit_for_bit(target, optimizer, tmp_path):
    def make(atoms, **options):
        atoms.calc = FreshEMT()
        return Optimizer(FILTERS[target](atoms), optimizer, logfile=None, **options)

    whole = gold()
    make(whole).run(fmax=1e-9, steps=25)

    files = {"restart": tmp_path / "state.json", "trajectory": tmp_path / "run.traj"}
    make(gold(), **files).run(fmax=1e-9, steps=5)
    for n_steps in (13, 7):
        atoms = read(files["trajectory"])
        make(atoms, append_trajectory=True, **files).run(fmax=1e-9, steps=n_steps)
    assert np.array_equal(atoms.positions, whole.positions)
    assert np.array_equal(atoms.cell.array, whole.cell.array)
    assert not np.array_equal(whole.positions, gold().positions)


def test_functions_restart_too(tmp_path):
    whole, parts = Function(5), Function(5)
    LBFGS(whole, logfile=None).run(fmax=1e-9, steps=9)
    for n_steps in (4, 5):
        LBFGS(parts, tmp_path / "state.json", logfile=None).run(fmax=1e-9, steps=n_steps)
    assert np.array_equal(whole.x, parts.x)


def test_nothing_is_written_without_being_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    LBFGS(hung(3), logfile=None).run(fmax=1e-9, steps=3)
    assert not list(tmp_path.iterdir())


def state(path, atoms, cls=LBFGS, **options):
    cls(atoms, restart=str(path), logfile=None, **options).run(fmax=1e-9, steps=3)
    return path


@pytest.mark.parametrize("other", [BFGS, AseLBFGS])
def test_a_file_of_another_class_is_refused(other, tmp_path):
    file = state(tmp_path / "state.json", hung(3), other)
    with pytest.raises(RestartFileError, match=r"state\.json' is no restart file of LBFGS"):
        LBFGS(hung(3), restart=file)


@pytest.mark.parametrize("text", ["hello world", "", '{"transform": ', "[1, 2]", "{}"])
def test_a_file_that_is_none_is_refused(text, tmp_path):
    file = tmp_path / "state.json"
    file.write_text(text)
    with pytest.raises(RestartError, match=r"state\.json'"):
        LBFGS(hung(3), restart=file)


def test_a_file_of_other_options_is_refused(tmp_path):
    file = state(tmp_path / "state.json", hung(3), memory=30)
    with pytest.raises(RestartFileError, match=r"memory_size=30.*and this is.*memory_size=100"):
        LBFGS(hung(3), restart=file)


def test_a_file_of_another_size_is_refused(tmp_path):
    file = state(tmp_path / "state.json", hung(3))
    with pytest.raises(RestartFileError, match="of 9 coordinates, and this one has 12"):
        LBFGS(hung(4), restart=file)
    with pytest.raises(RestartFileError, match="of 9 coordinates, and this one has 21"):
        LBFGS(FrechetCellFilter(gold()), restart=file)


def test_a_file_with_arrays_missing_is_refused(tmp_path):
    file = state(tmp_path / "state.json", hung(3))
    data = json.loads(file.read_text())
    data["arrays"].pop()
    file.write_text(json.dumps(data))
    with pytest.raises(RestartFileError, match=r"state\.json' does not fit .*expected arrays"):
        LBFGS(hung(3), restart=file)


def test_restart_errors_are_ours_and_those_of_ase():
    assert issubclass(RestartFileError, RestartError)
    assert issubclass(RestartFileError, kr.errors.StoreError)
