"""The check behind the promise: relax alone, relax in random company, compare all bits."""

import dataclasses
from typing import Any

import numpy as np

from kups_relax import io
from kups_relax._checks import SEED, Whole, refuse_loops
from kups_relax._relax import one_caution, relax
from kups_relax.errors import OptionError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What a verification found.

    Attributes:
        n_structures: Structures that were relaxed alone.
        n_draws: Batches that were drawn.
        n_comparisons: Structures in these batches, each compared with itself alone.
        mismatches: (draw, id) of every comparison in which any bit differed.
    """

    n_structures: int
    n_draws: int
    n_comparisons: int
    mismatches: tuple[tuple[int, str], ...]

    @property
    def n_mismatches(self) -> int:
        """Number of comparisons in which any bit differed."""
        return len(self.mismatches)

    @property
    def ok(self) -> bool:
        """Whether something was compared and no bit differed."""
        return self.n_comparisons > 0 and not self.mismatches

    def __str__(self) -> str:
        return (
            f"{self.n_structures} structures alone and in {self.n_draws} random batches: "
            f"{self.n_comparisons} comparisons, {self.n_mismatches} mismatches"
        )


def verify(
    structures: Any, potential: Any, draws: int = 20, seed: int = 0, **relax_options: Any
) -> Report:
    """Check that batching changes nothing: every structure alone against random batches.

    Each draw takes a random number of the structures, at least two, in random order, some of
    them more than once, and relaxes them together. Positions, cell, energy, forces, number of
    steps and status of each are compared with those that the structure gets alone, bit by bit.
    It costs about draws / 2 times what relaxing the structures costs, and each of them once
    alone, in a tile with empty lanes.

    Args:
        structures: As for `relax`.
        potential: As for `relax`.
        draws: Number of batches, at least 1.
        seed: For the random choices.
        relax_options: Options of `relax`, except `output`.

    Returns:
        Counts of comparisons and mismatches, and where they were.

    Raises:
        OptionError: draws < 1, or an output is asked for.

    Example:
        >>> import ase, kups_relax as kr
        >>> pair = [ase.Atoms("Ar2", [[0, 0, 0], [0, 0, d]]) for d in (3.6, 4.1)]
        >>> kr.verify(pair, kr.potentials.LennardJones(0.0104, 3.4), draws=2).ok
        True
    """
    draws, seed = Whole(least=1)("draws", draws), SEED("seed", seed)
    refuse_loops("structures", structures)
    if relax_options.get("output") is not None:
        raise OptionError("verify writes no structures; leave output out, and use relax for it.")
    reading = {k: relax_options.pop(k) for k in ("seed", "n_conformers") if k in relax_options}
    if "n_conformers" in reading:
        reading["n_conformers"] = Whole(least=1)("n_conformers", reading["n_conformers"])
    entries = io.structures_from(structures, **reading)
    options = {"progress": False, **relax_options}
    with one_caution():
        alone = [relax([entry], potential, **options).fingerprint[0] for entry in entries]

        random = np.random.default_rng(seed)
        mismatches: list[tuple[int, str]] = []
        n_comparisons = 0
        for draw in range(draws):
            size = int(random.integers(min(2, len(entries)), len(entries) + 1))
            chosen = random.permutation(len(entries))[:size]
            again = random.choice(chosen, size=max(1, size // 8))
            batch = random.permutation(np.concatenate([chosen, again]))
            got = relax([entries[i] for i in batch], potential, **options).fingerprint
            n_comparisons += len(batch)
            mismatches += [
                (draw, entries[i].id)
                for i, fingerprint in zip(batch, got, strict=True)
                if fingerprint != alone[i]
            ]
    return Report(
        n_structures=len(entries),
        n_draws=draws,
        n_comparisons=n_comparisons,
        mismatches=tuple(mismatches),
    )
