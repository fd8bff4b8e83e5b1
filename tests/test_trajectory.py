"""Geometries on the way: which ones are kept, and that their bits depend on nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones as AseLennardJones

import kups_relax as kr
from helpers import ARGON, argon, argon_cluster, argon_clusters, bits
from kups_relax.errors import OptionError

CLUSTERS = argon_clusters([5, 13, 1, 8, 4, 12, 7, 3, 2, 8], seed=3)


def relax(structures: Any, potential: Any = None, **options: Any) -> Any:
    options = {"progress": False, "trajectory": 1, **options}
    return kr.relax(structures, potential or argon(), **options)


def steps(frames: Sequence[Atoms]) -> list[int]:
    return [atoms.info["step"] for atoms in frames]


def assert_same_frames(got: Sequence[Atoms], expected: Sequence[Atoms]) -> None:
    assert steps(got) == steps(expected)
    for one, other in zip(got, expected, strict=True):
        for a, b in (
            (one.positions, other.positions),
            (one.cell.array, other.cell.array),
            (one.get_forces(apply_constraint=False), other.get_forces(apply_constraint=False)),
            (one.get_potential_energy(), other.get_potential_energy()),
        ):
            assert np.array_equal(bits(a), bits(b))


@pytest.mark.parametrize("every", [1, 2, 5, 1000])
def test_steps_are_multiples_and_the_last(every: int) -> None:
    result = relax(CLUSTERS, trajectory=every)
    for i, n_steps in enumerate(result.n_steps.tolist()):
        expected = list(range(0, n_steps + 1, every))
        expected += [n_steps] if expected[-1] != n_steps else []
        assert steps(result.trajectory(i)) == expected


def test_it_begins_with_the_input_and_ends_with_the_result() -> None:
    result = relax(CLUSTERS, trajectory=3)
    for i, atoms in enumerate(result.atoms):
        first, last = result.trajectory(i)[0], result.trajectory(i)[-1]
        assert np.array_equal(first.positions, CLUSTERS[i].positions)
        assert np.array_equal(last.positions, atoms.positions)
        assert np.array_equal(last.get_forces(), atoms.get_forces())
        assert last.get_potential_energy() == atoms.get_potential_energy()
        assert last.info == {**atoms.info, "step": result.n_steps[i]}


def test_a_frame_is_what_a_run_that_stops_there_returns() -> None:
    atoms = argon_cluster(8)
    frames = relax(atoms, max_steps=12).trajectory(0)
    for n in (0, 1, 5, 12):
        short = relax(atoms, max_steps=n, trajectory=0)
        assert np.array_equal(bits(frames[n].positions), bits(short.atoms[0].positions))
        assert np.array_equal(bits(frames[n].get_forces()), bits(short.atoms[0].get_forces()))
        assert frames[n].get_potential_energy() == short.energy[0]


def test_results_are_those_of_a_run_without() -> None:
    assert (
        relax(CLUSTERS, trajectory=2).fingerprint.tolist()
        == relax(CLUSTERS, trajectory=0).fingerprint.tolist()
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_frames_do_not_depend_on_the_company(dtype: str) -> None:
    """Alone, in another order, and in lanes that are filled again."""
    company = argon_clusters([8, 3, 5, 7, 2] * 40, seed=9)
    mixed = [*company[:90], *CLUSTERS[::-1], *company[90:]]
    labels = [atoms.info["id"] for atoms in CLUSTERS]
    together = relax(mixed, trajectory=3, dtype=dtype, trajectory_of=labels)
    for label, atoms in zip(labels, CLUSTERS, strict=True):
        alone = relax(atoms, trajectory=3, dtype=dtype)
        assert_same_frames(together.trajectory(label), alone.trajectory(0))
        assert together.fingerprint[together.ids.index(label)] == alone.fingerprint[0]


def test_a_store_has_the_same_frames(tmp_path: Path) -> None:
    memory = relax(CLUSTERS, trajectory=2)
    store = relax(CLUSTERS, trajectory=2, output=tmp_path / "run.h5")
    assert store.with_trajectory == memory.ids
    for i, label in enumerate(memory.ids):
        assert_same_frames(store.trajectory(i), memory.trajectory(i))
        assert_same_frames(store.trajectory(label), memory.trajectory(label))
        assert_same_frames(store[::-1].trajectory(label), memory.trajectory(label))


def test_frames_survive_a_resume(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    relax(CLUSTERS[:4], trajectory=2, output=path)
    store = relax(CLUSTERS, trajectory=2, output=path, resume=True)
    memory = relax(CLUSTERS, trajectory=2)
    for i in range(len(CLUSTERS)):
        assert_same_frames(store.trajectory(i), memory.trajectory(i))


def test_cells_that_change(tmp_path: Path) -> None:
    crystals = [bulk("Ar", a=a, cubic=True) for a in (5.0, 5.3)]
    crystals[0].rattle(0.05, seed=1)
    solid = kr.potentials.LennardJones(**ARGON, cutoff=6.0)
    options = {"cell": "frechet", "trajectory": 2, "max_steps": 15}
    memory = relax(crystals, solid, **options)
    store = relax(crystals, solid, output=tmp_path / "run.h5", **options)
    for i in range(2):
        frames = memory.trajectory(i)
        assert np.array_equal(frames[0].cell.array, crystals[i].cell.array)
        assert not np.array_equal(frames[1].cell.array, crystals[i].cell.array)
        assert np.array_equal(frames[-1].cell.array, memory.atoms[i].cell.array)
        assert_same_frames(store.trajectory(i), frames)
        assert_same_frames(relax(crystals[i], solid, **options).trajectory(0), frames)


def test_potentials_of_the_host(tmp_path: Path) -> None:
    def calculator() -> Any:
        return AseLennardJones(epsilon=0.0104, sigma=3.4, rc=12.0)

    host = kr.potentials.AseCalculator(calculator)
    clusters = argon_clusters([3, 4, 3])
    memory = relax(clusters, host, trajectory=2, max_steps=9)
    store = relax(clusters, host, trajectory=2, max_steps=9, output=tmp_path / "run.h5")
    for i, atoms in enumerate(clusters):
        n = memory.n_steps[i]
        assert steps(memory.trajectory(i)) == sorted({*range(0, n + 1, 2), n})
        assert_same_frames(store.trajectory(i), memory.trajectory(i))
        assert_same_frames(relax(atoms, host, trajectory=2, max_steps=9).trajectory(0),
                           memory.trajectory(i))  # fmt: skip


@pytest.mark.parametrize("chosen", [["Ar8-3003", "Ar5-3000"], [3, 0], (np.int64(0), "Ar8-3003")])
def test_chosen_structures_only(tmp_path: Path, chosen: Any) -> None:
    for output in (None, tmp_path / "run.h5"):
        result = relax(CLUSTERS, trajectory_of=chosen, output=output)
        for i in range(len(CLUSTERS)):
            if i in (0, 3):
                assert len(result.trajectory(i)) == result.n_steps[i] + 1
            else:
                with pytest.raises(OptionError, match=r"there is no trajectory of 'Ar"):
                    result.trajectory(i)


def test_a_failed_structure_has_none(tmp_path: Path) -> None:
    for output in (None, tmp_path / "run.h5"):
        result = relax([Atoms(), argon_cluster(3)], output=output)
        with pytest.raises(OptionError, match="no trajectory of 'structure 0'"):
            result.trajectory(0)


@pytest.mark.parametrize("every", [-1, 1.5, "2", None])
def test_odd_intervals_are_refused(every: Any) -> None:
    with pytest.raises(OptionError, match=r"trajectory is .*; it must be a whole number"):
        relax(argon_cluster(2), trajectory=every)
