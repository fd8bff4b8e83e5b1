"""Random inputs of all kinds, most of them damaged: each ends as a result or in words.

Cases are counted as clear (a result, an error of kups_relax, a failed entry whose reason is in
words), raw (another exception, or a reason that quotes one of our own code's), hang (over a time
limit), crash (the process died), or wrong (a result that an oracle contradicts). A case is made of
a seed and an index alone: `python -m benchmarks.fuzz GENERATOR --only INDEX` repeats one.
"""

import importlib.util
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.fuzz._pool import run

# Cases of each generator, and seconds that one may take; those that take longest first.
GENERATORS: dict[str, tuple[int, float]] = {
    "stores": (10_000, 60.0),
    "structures": (40_000, 60.0),
    "files": (40_000, 90.0),
    "smiles": (10_000, 60.0),
    "commands": (5_000, 60.0),
    "options": (5_000, 120.0),
}


def main(scale: float = 1.0, seed: int = 0) -> dict[str, Any]:
    """Run all generators, one on each core.

    Args:
        scale: Factor of the number of cases.
        seed: Another one makes other cases.
    """

    def figures(name: str) -> dict[str, Any]:
        n, limit = GENERATORS[name]
        return run(name, max(1, round(scale * n)), seed=seed, limit=limit).figures()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = {name: pool.submit(figures, name) for name in present()}
        return {"seed": seed, **{name: one.result() for name, one in found.items()}}


def present() -> list[str]:
    """Return the names of the generators that there are."""
    return [n for n in GENERATORS if importlib.util.find_spec(f"benchmarks.fuzz.{n}") is not None]
