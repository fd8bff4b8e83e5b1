"""Structures for potentials of three bodies, and what holds for each of these."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np
from ase import Atoms, units
from ase.build import bulk

import kups_relax as kr
from helpers import (
    assert_same_bits,
    assert_same_result,
    central_differences,
    singles,
    stress_by_strain,
)
from kups_relax.ops import rounded
from kups_relax.relaxation._classes import axis_lengths, size_class
from kups_relax.relaxation._tiles import Tile

SHEAR = np.array([[1, 0.1, 0], [0, 0.97, 0.08], [0.05, 0, 1.02]])


def diamond(symbols: str, a: float, **options: object) -> Atoms:
    """A crystal of one element, or zincblende of two."""
    kind = "diamond" if len(Atoms(symbols)) == 1 else "zincblende"
    return bulk(symbols, kind, a=a, **options)


def cases(symbols: str, a: float) -> dict[str, Atoms]:
    """Rattled crystals in hard cells, and what has fewer neighbours; at most 8 atoms."""
    crystal = diamond(symbols, a, cubic=True)
    sheared = crystal.copy()
    sheared.set_cell(sheared.cell.array @ SHEAR, True)
    handed = sheared.copy()
    handed.set_cell(handed.cell.array[[1, 0, 2]])
    unwrapped = crystal.copy()
    unwrapped.positions += unwrapped.cell.array.T @ np.array([3.0, -2.0, 1.0])
    unwrapped.positions[2] -= 4 * unwrapped.cell.array[0]
    slab = crystal.copy()
    slab.center(vacuum=6.0, axis=2)
    slab.pbc = (True, True, False)
    first, last = crystal.symbols[0], crystal.symbols[-1]
    bond = 0.44 * a
    corners = np.array(list(np.ndindex(2, 2, 2)))
    cube = Atoms([(first, last)[k % 2] for k in corners.sum(axis=1)], bond * corners)
    out = {
        "crystal": crystal,
        "sheared": sheared,
        "left-handed": handed,
        "unwrapped": unwrapped,
        "two atoms": diamond(symbols, a),
        "one atom": Atoms(first, cell=bond * SHEAR, pbc=True),
        "slab": slab,
        "cube": cube,
        "chain": Atoms(first, cell=[bond, 30, 30], pbc=(True, False, False)),
        "trimer": Atoms([first, last, first], bond / np.sqrt(2) * np.eye(3)),
        "far apart": Atoms([first] * 2, [[0, 0, 0], [20, 0, 0]], cell=[40, 40, 40], pbc=True),
    }
    for seed, (name, atoms) in enumerate(out.items()):
        atoms.rattle(0.02 * a, seed=seed)
        atoms.info["id"] = name
    return out


def elastic_constants(potential: Any, crystal: Atoms, step: float = 1e-4) -> dict[str, float]:
    """C11, C12, C44 and the clamped C44 of a cubic crystal of two atoms, GPa.

    Differences of stresses by the strain; what the second atom gives way follows from its force
    constants, as if it had been relaxed.
    """
    strains = []
    for a, b in ((0, 0), (1, 2)):
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * step / (1 if a == b else 2)
            strain[b, a] += 0 if a == b else sign * step / 2
            strains.append(crystal.copy())
            strains[-1].set_cell(crystal.cell.array @ strain, scale_atoms=True)
    for k in range(3):
        for sign in (1, -1):
            strains.append(crystal.copy())
            strains[-1].positions[1, k] += sign * step
    got = singles(potential, strains)
    slopes = [(p.stress - m.stress) / (2 * step) for p, m in zip(got[::2], got[1::2], strict=True)]
    forces = [
        (p.forces[1] - m.forces[1]) / (2 * step) for p, m in zip(got[::2], got[1::2], strict=True)
    ]
    # The strain's force on the atom, its displacement, and the stress that this takes off.
    gives_way = np.linalg.solve(-np.array(forces[2:]).T, forces[1])
    relief = sum(u * slope for u, slope in zip(gives_way, slopes[2:], strict=True))
    return {
        "C11": slopes[0][0, 0] / units.GPa,
        "C12": slopes[0][1, 1] / units.GPa,
        "C44": (slopes[1] + relief)[1, 2] / units.GPa,
        "C44 clamped": slopes[1][1, 2] / units.GPa,
    }


def lattice(potential: Any, symbols: str, a: float) -> tuple[float, float]:
    """Lattice constant and energy of an atom, where the pressure is 0, by Newton's method."""
    for _ in range(5):
        trial = [diamond(symbols, x) for x in (a, a * 1.0001, a * 0.9999)]
        here, up, down = (np.trace(one.stress) / 3 for one in singles(potential, trial))
        a -= here * 0.0002 * a / (up - down)
    [end] = singles(potential, [diamond(symbols, a)])
    return a, end.energy / 2


def assert_printed(values: Iterable[float], printed: Sequence[str], unit: float = 1.0) -> None:
    """Numbers round to what is printed."""
    for value, text in zip(values, printed, strict=True):
        digits = len(text.partition(".")[2])
        assert f"{value / unit:.{digits}f}" == text


def assert_slopes(potential: Any, atoms: Atoms) -> None:
    """Forces and stress are differences of the energy."""
    [got] = singles(potential, [atoms])
    worst = max(1.0, np.abs(got.forces).max())
    differences = central_differences(potential, atoms)
    np.testing.assert_allclose(got.forces, differences, rtol=0, atol=1e-7 * worst)
    strained = stress_by_strain(potential, atoms)
    worst = np.abs(got.stress).max()
    np.testing.assert_allclose(got.stress, strained, rtol=0, atol=1e-6 * worst)


def assert_no_bit_depends_on_the_skin(potential: Any, atoms: Atoms, dtype: str) -> None:
    """Other skins list other neighbours, in rows of another width."""
    forms = [dataclasses.replace(potential, skin=skin) for skin in (0.0, 1.5)]
    [entry] = kr.io.structures_from([atoms])
    widths = [len(form.prepare(entry)["neighbor"]) for form in forms]
    assert widths[0] < widths[1]
    one, other = (singles(form, [atoms], dtype)[0] for form in forms)
    assert_same_bits(dataclasses.astuple(one), dataclasses.astuple(other))


def assert_bits_of_relaxations(potential: Any, atoms: Atoms, dtype: str) -> None:
    """When lists are made anew changes no bit, and a calculator has those of the end."""
    atoms = atoms.copy()
    atoms.rattle(0.12, seed=1)
    short = dataclasses.replace(potential, skin=0.05)
    options: dict[str, Any] = {"fmax": 1e-3, "max_steps": 60, "dtype": dtype}
    long, often = (kr.relax([atoms], form, **options) for form in (potential, short))
    moved = np.linalg.norm(long.atoms[0].positions - atoms.positions, axis=1).max()
    assert moved > 0.1  # more than the slack of the short skin
    assert_same_result(long, 0, often, 0)
    again = long.atoms[0].copy()
    again.calc = kr.ase.JaxCalculator(potential, dtype=dtype)
    for get in ("get_potential_energy", "get_forces", "get_stress"):
        assert_same_bits(getattr(again, get)(), getattr(long.atoms[0], get)())


def assert_gathers_alone(potential: Any, atoms: Atoms) -> None:
    """The compiled program of a structure takes rows, and scatters none."""
    [entry] = kr.io.structures_from([atoms])
    form = potential.specialize(entry)
    prepared = form.prepare(entry)
    size = size_class(form, entry.n_atoms, axis_lengths(form, prepared))
    tile = Tile(form, size, np.dtype("float64"))
    with jax.enable_x64(True):
        terms = tile.terms()
        evaluate = jax.jit(rounded(form.evaluate))
        text = evaluate.lower(tile.positions, tile.cell, terms).compile().as_text()
    assert " gather(" in text
    assert " scatter(" not in text
