"""Stores with made-up results: as large and as odd as a test needs, in no time."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from kups_relax import io, store
from kups_relax._record import Record
from kups_relax.relaxation import Frame

OPTIONS = {
    "potential": {"name": "lennard-jones", "epsilon": 0.0104, "sigma": 3.4},
    "optimizer": {"name": "lbfgs", "memory_size": 20},
    "fmax": 0.01,
    "max_steps": 1000,
    "cell": None,
    "dtype": "float64",
    "seed": 0,
    "n_conformers": 1,
    "trajectory": [0, None],
}
STATUSES = ("converged", "max_steps", "non_finite", "failed", "exploded")


def made_store(path: Path, records: Sequence[Record], *, complete: bool = True) -> store.Store:
    """Write records as a run would have, and open the store."""
    ended = {"complete": complete, "n_input": len(records) if complete else -1}
    texts = {"options": json.dumps(OPTIONS), "versions": json.dumps({"kups-relax": "0.1"})}
    writer = store.Writer(path)
    writer.create({**texts, "complete": False, "n_input": -1, "run": "made"})
    for record in records:
        extras = store.extras_of(record.entry)
        writer.add(store.Row(record, extras, store.input_hash(record.entry, extras)))
    writer.write(**ended)
    writer.close()
    return store.Store(path)


def made_records(n: int, *, seed: int = 0, bad: float = 0.1) -> list[Record]:
    """Records of all statuses, sizes and energies; the first `bad` share did not converge."""
    rng = np.random.default_rng(seed)
    n_bad = int(n * bad)
    return [
        made_record(i, rng, status=STATUSES[1 + i % 4] if i < n_bad else "converged")
        for i in range(n)
    ]


def made_record(
    number: int,
    rng: np.random.Generator,
    *,
    label: str | None = None,
    status: str = "converged",
    reason: str | None = None,
    n_frames: int = 0,
    n_atoms: int | None = None,
) -> Record:
    """A random argon cluster, and what became of it."""
    n = int(rng.integers(5, 21)) if n_atoms is None else n_atoms
    label = label or f"made-{number}"
    atoms = Atoms(f"Ar{n}", 3.0 * np.arange(n)[:, None] + rng.uniform(size=(n, 3)))
    atoms.info["id"] = label
    [entry] = io.structures_from([atoms])
    failed = status == "failed"
    reason = reason or f"Ar{n}: atoms 0 and {n - 1} are {n / 100} Angstrom apart."
    frames: list[Any] = [
        Frame(
            step=10 * k,
            positions=atoms.positions,
            cell=None,
            energy=-0.05 * n + 2.0**-k,
            forces=rng.normal(size=(n, 3)),
            fmax=10.0 ** (-k / 2),
        )
        for k in range(n_frames)
    ]
    return Record(
        number=number,
        entry=entry,
        numbers=atoms.numbers,
        positions=atoms.positions,
        cell=np.zeros((3, 3)),
        pbc=np.zeros(3, bool),
        energy=np.nan if failed else float(-0.05 * n + 0.1 * rng.normal()),
        forces=None if failed else rng.normal(size=(n, 3)),
        stress=None,
        fmax=np.nan if failed else float(10 ** rng.uniform(-4, -2 if status == "converged" else 1)),
        n_steps=0 if failed else int(rng.gamma(2.0, 8.0 + n)),
        n_evaluations=0 if failed else 1,
        status=status,
        reason="" if status == "converged" else reason,
        frames=tuple(frames),
        finished=1.8e9 + 0.01 * number,
    )
