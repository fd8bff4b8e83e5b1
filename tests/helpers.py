"""Cases and measures that tests of several packages share."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from ase import Atoms

import kups_relax as kr
from kups_relax import relaxation
from kups_relax.relaxation import Evaluated

DTYPES = ("float64", "float32")

# speed.md, W1. One value, so that tests in one process share its compiled programs.
ARGON = {"epsilon": 0.0104, "sigma": 3.40}


def argon() -> Any:
    """Lennard-Jones argon over all pairs."""
    return kr.potentials.LennardJones(**ARGON)


def argon_cluster(n_atoms: int, seed: int = 0) -> Atoms:
    """A random cluster, compact, whose closest atoms are at least 0.85 sigma apart."""
    random = np.random.default_rng([seed, n_atoms])
    sigma = ARGON["sigma"]
    length = sigma * n_atoms ** (1 / 3) * 1.05
    points: list[np.ndarray] = []
    while len(points) < n_atoms:
        point = random.uniform(0, length, 3)
        if all(np.linalg.norm(point - other) >= 0.85 * sigma for other in points):
            points.append(point)
        else:
            # A box that is full grows.
            length *= 1.0005
    return Atoms(f"Ar{n_atoms}", points, info={"id": f"Ar{n_atoms}-{seed}"})


def argon_clusters(sizes: Sequence[int], seed: int = 0) -> list[Atoms]:
    """One random cluster of each size; equal sizes give different clusters."""
    return [argon_cluster(n, 1000 * seed + i) for i, n in enumerate(sizes)]


def bits(x: Any) -> np.ndarray:
    """The bits of a floating array, so that NaN equals itself and -0 differs from 0."""
    x = np.asarray(x)
    return x.view({2: np.int16, 4: np.int32, 8: np.int64}[x.dtype.itemsize])


def assert_same_bits(got: Any, expected: Any) -> None:
    """Two pytrees of arrays agree in dtype, shape and every bit."""
    got_leaves, got_tree = jax.tree_util.tree_flatten_with_path(got)
    expected_leaves, expected_tree = jax.tree.flatten(expected)
    assert got_tree == expected_tree
    for (path, a), b in zip(got_leaves, expected_leaves, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.dtype, a.shape) == (b.dtype, b.shape), jax.tree_util.keystr(path)
        same = bits(a) == bits(b) if np.issubdtype(a.dtype, np.inexact) else a == b
        assert same.all(), f"{jax.tree_util.keystr(path)}: {a[~same][:3]} and not {b[~same][:3]}"


def assert_same_result(got: Any, i: int, expected: Any, j: int) -> None:
    """Structure i of one result got the bits that structure j of another got."""
    one, other = got.atoms[i], expected.atoms[j]
    for a, b in [
        (one.positions, other.positions),
        (one.cell.array, other.cell.array),
        (one.get_forces(), other.get_forces()),
        (got.energy[i], expected.energy[j]),
        (got.fmax[i], expected.fmax[j]),
    ]:
        assert np.array_equal(bits(a), bits(b))
    assert one.get_potential_energy() == other.get_potential_energy()
    assert got.n_steps[i] == expected.n_steps[j]
    assert got.status[i] == expected.status[j]
    assert got.fingerprint[i] == expected.fingerprint[j]


class Traced:
    """Jit a function, and count how often it is traced."""

    def __init__(self, function: Any) -> None:
        self.n_traces = 0

        def counted(*args: Any) -> Any:
            self.n_traces += 1
            return function(*args)

        self.call = jax.jit(counted)

    def __call__(self, *args: Any) -> Any:
        return self.call(*args)


def singles(potential: Any, structures: Sequence[Any], dtype: str = "float64") -> list[Evaluated]:
    """What the engine says of structures where they stand; of `ase.Atoms`, too."""
    return relaxation.evaluate(potential, kr.io.structures_from(list(structures)), dtype=dtype)


def evaluate(potential: Any, structures: Sequence[Any], dtype: str = "float64") -> Any:
    """Energy (n,) and forces [(n_atoms, 3)] of structures."""
    got = singles(potential, structures, dtype)
    return np.array([one.energy for one in got]), [one.forces for one in got]


def central_differences(potential: Any, atoms: Atoms, step: float = 1e-4) -> np.ndarray:
    """(n_atoms, 3) forces by differences of the energy, of fourth order."""
    shifted = []
    for k in range(3 * len(atoms)):
        for multiple in (-2, -1, 1, 2):
            other = atoms.copy()
            other.positions.reshape(-1)[k] += multiple * step
            shifted.append(other)
    energy = evaluate(potential, shifted)[0].reshape(-1, 4)
    slope = energy @ np.array([1, -8, 8, -1]) / (12 * step)
    return -slope.reshape(-1, 3)


def stress_by_strain(potential: Any, atoms: Atoms, step: float = 1e-4) -> np.ndarray:
    """(3, 3) stress by differences of the energy by the strain, of fourth order."""
    stress, strained = np.zeros((3, 3)), []
    corners = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]
    for a, b in corners:
        for multiple in (-2, -1, 1, 2):
            deformation = np.eye(3)
            deformation[a, b] += multiple * step / 2
            deformation[b, a] += multiple * step / 2
            strained.append(atoms.copy())
            strained[-1].set_cell(atoms.cell.array @ deformation, scale_atoms=True)
    energy = evaluate(potential, strained)[0].reshape(-1, 4)
    slope = energy @ np.array([1, -8, 8, -1]) / (12 * step * atoms.get_volume())
    for (a, b), value in zip(corners, slope, strict=True):
        stress[a, b] = stress[b, a] = value
    return stress


def folded(x: np.ndarray) -> np.ndarray:
    """The written-out order of `ops.fold` along the first axis, in NumPy."""
    while len(x) > 1:
        parts = min(8, len(x))
        size = -(-len(x) // parts)
        padding = np.zeros((parts * size - len(x), *x.shape[1:]), x.dtype)
        terms = list(np.concatenate([x, padding]).reshape(parts, size, *x.shape[1:]))
        while len(terms) > 1:
            last = [terms[-1]] if len(terms) % 2 else []
            terms = [a + b for a, b in zip(terms[::2], terms[1::2], strict=False)] + last
        x = terms[0]
    return x[0]
