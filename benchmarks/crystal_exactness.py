"""Alone against batched, all bits: crystals and clusters whose lists are rebuilt and outgrown.

Skins are small and structures start stretched, so that atoms and cells move far on the way:
lists are made anew, and some no longer fit into their size class.
"""

import collections
import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import ase
import numpy as np
from ase.build import bulk
from ase.constraints import FixAtoms, FixSymmetry

import kups_relax as kr
from benchmarks import periodic
from kups_relax.relaxation._batch import Batch
from kups_relax.testing import count_programs

SKIN = 0.15
SIZES = (2, 3, 5, 20, 60, 150, 300)
# What each potential is of: its cubic crystal, and by how much that starts stretched.
KINDS: tuple[tuple[Any, str, str, float, float], ...] = (
    (periodic.argon(SKIN), "Ar", "fcc", 5.26, 1.15),
    (kr.potentials.EMT(skin=SKIN), "Cu", "fcc", 3.61, 1.12),
    (kr.potentials.StillingerWeber(skin=SKIN), "Si", "diamond", 5.43, 1.15),
)


def main() -> dict[str, Any]:
    """Compare 540 times in each of the twelve combinations."""
    random = np.random.default_rng(0)
    figures: dict[str, Any] = {}
    totals: collections.Counter[str] = collections.Counter()
    ends: collections.Counter[str] = collections.Counter()
    for kind, cell, dtype in itertools.product(KINDS, (None, "frechet"), ("float64", "float32")):
        potential, structures = kind[0], _structures(*kind[1:], moving_cell=cell is not None)
        with _counted() as events, count_programs() as programs:
            counts = _compare(
                structures,
                potential,
                random,
                ends,
                cell=cell,
                dtype=dtype,
                fmax=1e-3,
                max_steps=60,
            )
        counts = {**counts, **events, "programs": programs.n_traced("_advance")}
        totals.update(counts)
        name = f"{potential.name} {'variable' if cell else 'fixed'} cell {dtype}"
        figures[name] = counts
        print(f"   {name}: {counts}", flush=True)
    return {**totals, "statuses, alone": dict(ends), **figures}


def _structures(
    symbol: str, lattice: str, a: float, stretch: float, *, moving_cell: bool
) -> list[ase.Atoms]:
    """Crystals, free and held, and clusters cut from them: 24, of 8 atoms.

    Symmetry holds where cells move, atoms are held where they do not: fewer programs to compile.
    """
    repetitions = (2, 1, 1) if lattice == "fcc" else (1, 1, 1)
    made = []
    for seed in range(24):
        random = np.random.default_rng(seed)
        atoms = bulk(symbol, lattice, a=a, cubic=True).repeat(repetitions)
        # Half start where they are to stay, half outgrow their lists.
        factor = 1.02 if seed % 2 else stretch
        atoms.set_cell(atoms.cell.array * factor, scale_atoms=True)
        what = ("free", "free", "cluster", "symmetry" if moving_cell else "atoms")[seed // 2 % 4]
        if what != "symmetry":
            atoms.rattle(0.15, rng=random)
            periodic.deformed(atoms, random, strain=0.02, shear=0.02)
        else:
            periodic.deformed(atoms, random, strain=0.02)
        if what == "cluster":
            atoms.pbc, atoms.cell = False, None
        elif what == "atoms":
            atoms.set_constraint(FixAtoms([0, 3]))
        elif what == "symmetry":
            atoms.set_constraint(FixSymmetry(atoms))
        atoms.info["id"] = f"{what} {seed}"
        made.append(atoms)
    return made


def _compare(
    structures: list[ase.Atoms],
    potential: Any,
    random: np.random.Generator,
    ends: collections.Counter[str],
    **options: Any,
) -> dict[str, int]:
    """Relax each structure alone, then batches of 2 to 300 drawn with repetition."""
    options["progress"] = False
    alone = []
    for structure in structures:
        result = kr.relax([structure], potential, **options)
        alone.append(result.fingerprint[0])
        ends.update(result.status.tolist())
    wrong = 0
    for size in SIZES:
        chosen = random.choice(len(structures), size=size)
        got = kr.relax([structures[i] for i in chosen], potential, **options).fingerprint
        wrong += sum(f != alone[i] for i, f in zip(chosen, got, strict=True))
    return {"comparisons": sum(SIZES), "mismatches": wrong}


@contextlib.contextmanager
def _counted() -> Iterator[dict[str, int]]:
    """Count what happens to lists, in all threads."""
    renew = Batch.renew
    counts = {"rebuilt lists": 0, "structures that outgrew their class": 0}
    # Appending is atomic, adding is not.
    stale: list[int] = []
    grown: list[int] = []

    def renewing(self: Any) -> Any:
        stale.append(int((np.asarray(self._state.stale) & self._tile.occupied).sum()))
        got = renew(self)
        grown.append(len(got[1]))
        return got

    Batch.renew = renewing
    try:
        yield counts
    finally:
        Batch.renew = renew
        counts["rebuilt lists"] = sum(stale)
        counts["structures that outgrew their class"] = sum(grown)
