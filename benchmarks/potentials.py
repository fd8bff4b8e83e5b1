"""Potentials against ASE's, stress against finite strain, constants against printed ones."""

import itertools
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.emt import EMT as AseEMT

import kups_relax as kr
from benchmarks import periodic

# Lattice constant (Angstrom) and energy of an atom (eV); C11, C12, relaxed C44 (GPa): Balamane,
# Halicioglu, Tiller, Phys. Rev. B 46, 2250 (1992), doi:10.1103/PhysRevB.46.2250.
WEBER = (("5.431", "-4.3366"), ("151.4", "76.4", "56.4"))


def main() -> dict[str, Any]:
    """Evaluate the structures of the tests with each potential and with its oracles."""
    helpers, emt, pairs, tersoff, weber = periodic.of_tests(
        "helpers", "emt_cases", "test_neighbor_pairs", "test_tersoff", "test_stillinger_weber"
    )
    oracles: dict[str, list[tuple[Any, Any, list[Atoms]]]] = {
        "emt": [(kr.potentials.EMT(), AseEMT(), list(emt.cases().values()))],
        "lennard-jones": [
            (*pairs.PAIRS[k], list(pairs.CASES.values())) for k in ("lj", "lj smooth")
        ],
        "morse": [(*pairs.PAIRS["morse"], list(pairs.CASES.values()))],
        "tersoff": [
            (potential, periodic.ase_calculator(potential), _with_angles(tersoff.CASES[name]))
            for name in tersoff.SYSTEMS
            for potential in [kr.potentials.Tersoff(name, skin=0.0)]
        ],
    }
    figures: dict[str, Any] = {}
    for name, runs in oracles.items():
        worst = np.max([_from_ase(helpers, *run) for run in runs], axis=0)
        figures[f"{name}: largest relative difference from ASE"] = dict(
            zip(("energy", "forces", "stress"), worst.tolist(), strict=True),
            structures=sum(len(structures) for *_, structures in runs),
        )
    strained = [(p, structures) for p, _, structures in itertools.chain(*oracles.values())]
    strained.append((kr.potentials.StillingerWeber(skin=0.0), list(weber.SILICON.values())))
    by_potential: dict[str, float] = {}
    for potential, structures in strained:
        worst = _from_strain(helpers, potential, structures)
        by_potential[potential.name] = max(by_potential.get(potential.name, 0.0), worst)
    figures["stress: largest relative difference from finite strain"] = by_potential
    figures["printed constants"] = _printed(tersoff, weber)
    return figures


def _with_angles(cases: dict[str, Atoms]) -> list[Atoms]:
    # ASE divides by zero where a bond has no other bond beside it.
    return [atoms for name, atoms in cases.items() if name != "far apart"]


def _relative(got: Any, expected: Any) -> float:
    """The largest difference, in units of the largest number; of exact zeros, 0 or infinity."""
    difference, largest = np.abs(got - expected).max(), np.abs(expected).max()
    return float(difference / largest) if largest else float(np.inf if difference else 0.0)


def _from_ase(
    helpers: Any, potential: Any, calculator: Any, structures: list[Atoms]
) -> list[float]:
    worst = np.zeros(3)
    for atoms, got in zip(structures, helpers.singles(potential, structures), strict=True):
        atoms = atoms.copy()
        atoms.calc = calculator
        forces = atoms.get_forces()
        here = [_relative(got.energy, atoms.get_potential_energy()), 0.0, 0.0]
        # Forces that cancel (an atom between its images) have no size of their own.
        if np.abs(forces).max() > 1e-10 or np.abs(got.forces).max() > 1e-10:
            here[1] = _relative(got.forces, forces)
        if got.stress is not None:
            here[2] = _relative(got.stress, atoms.get_stress(voigt=False))
        worst = np.maximum(worst, here)
    return worst.tolist()


def _from_strain(helpers: Any, potential: Any, structures: list[Atoms]) -> float:
    worst = 0.0
    for atoms, got in zip(structures, helpers.singles(potential, structures), strict=True):
        if got.stress is not None and np.abs(got.stress).max() > 1e-8:
            worst = max(worst, _relative(helpers.stress_by_strain(potential, atoms), got.stress))
    return worst


def _printed(tersoff: Any, weber: Any) -> dict[str, Any]:
    """Constants that are what the papers print, of how many, and what they are."""
    equal = n = 0
    values: dict[str, Any] = {}
    rows = [
        (name, kr.potentials.Tersoff(name, skin=0.0), tersoff.SYSTEMS[name], *printed)
        for name, printed in tersoff.PUBLISHED.items()
    ]
    rows.append(("stillinger-weber", weber.SW, ("Si", 5.43), *WEBER))
    for name, potential, (symbols, start), (a, energy), elastic in rows:
        got = list(tersoff.lattice(potential, symbols, start))
        if elastic:
            constants = tersoff.elastic_constants(potential, tersoff.diamond(symbols, got[0]))
            # Tersoff's own tables of SiC are in Mbar.
            unit = 100.0 if name.startswith("sic") else 1.0
            got += [x / unit for x in constants.values()][: len(elastic)]
        texts = [a, energy, *elastic]
        rounded = [f"{x:.{len(t.partition('.')[2])}f}" for x, t in zip(got, texts, strict=True)]
        values[name] = rounded
        equal += sum(map(str.__eq__, rounded, texts))
        n += len(texts)
    return {"equal": equal, "of": n, **values}
