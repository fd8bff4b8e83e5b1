"""What may not change the numbers of a structure: how it is told, and what stands around it."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import jax
import numpy as np

from kups_relax.data import Structure
from kups_relax.errors import PotentialError, StructureError
from kups_relax.potentials import Evaluation, Field, Potential, Terms
from kups_relax.relaxation import Evaluated, axis_lengths, evaluate, size_class
from kups_relax.testing._report import Check, Finding, judge
from kups_relax.testing._run import Case, Run
from kups_relax.testing._variants import (
    changed,
    doubled,
    moved,
    permuted,
    random_rotation,
    rattled,
    turned,
)


def permutation(run: Run) -> Check:
    """Put the atoms in another order."""
    random = run.random("permutation")
    cases = [case for case in run.cases if case.structure.n_atoms > 1]
    orders = [random.permutation(case.structure.n_atoms) for case in cases]

    def tell(k: int, case: Case) -> tuple[Structure, Evaluated]:
        here, order = case.here, orders[k]
        return permuted(case.structure, order), Evaluated(
            energy=here.energy,
            forces=here.forces[order],
            stress=here.stress,
            energies=None if here.energies is None else here.energies[order],
        )

    return judge(
        "permutation",
        _told_differently(run, cases, tell),
        hint=(
            "the order of the atoms matters: terms made from neighbours in the list of atoms, or "
            "features taken by position instead of by element"
        ),
        otherwise="no structure has two atoms",
    )


def translation(run: Run) -> Check:
    """Move the whole structure."""
    random = run.random("translation")

    def tell(k: int, case: Case) -> tuple[Structure, Evaluated]:
        del k
        return changed(
            case.structure, case.structure.positions + random.uniform(-5, 5, 3)
        ), case.here

    return judge(
        "translation",
        _told_differently(run, run.cases, tell),
        hint=(
            "absolute positions matter: something other than differences of positions, a centre "
            "that is not the structure's own, or padding atoms, which are at the origin"
        ),
        otherwise="there are no structures",
    )


def rotation(run: Run) -> Check:
    """Turn the whole structure, and its cell."""
    random = run.random("rotation")

    def tell(k: int, case: Case) -> tuple[Structure, Evaluated]:
        del k
        here, turn = case.here, random_rotation(random)
        return turned(case.structure, turn), dataclasses.replace(
            here,
            forces=here.forces @ turn.T,
            stress=None if here.stress is None else turn @ here.stress @ turn.T,
        )

    return judge(
        "rotation",
        _told_differently(run, run.cases, tell),
        hint=(
            "directions matter: vectors or tensors whose components are used one by one, a cell "
            "that is taken by columns, or a model that is only equivariant by training"
        ),
        otherwise="there are no structures",
    )


def lattice_vectors(run: Run) -> Check:
    """Move every atom by whole lattice vectors of its own."""
    random = run.random("lattice vectors")
    cases = [case for case in run.cases if case.structure.pbc.any()]

    def tell(k: int, case: Case) -> tuple[Structure, Evaluated]:
        del k
        s = case.structure
        shifts = random.integers(-2, 3, (s.n_atoms, 3)) * s.pbc
        return changed(s, s.positions + shifts @ s.cell), case.here

    return judge(
        "lattice vectors",
        _told_differently(run, cases, tell),
        hint=(
            "it matters in which image of the cell an atom is: vectors of pairs without their "
            "shifts, or only the nearest image, or positions that must be wrapped"
        ),
        otherwise="no structure is periodic",
    )


def supercell(run: Run) -> Check:
    """Describe a crystal by two of its cells."""
    cases = [c for c in run.cases if c.structure.pbc.any() and c.structure.topology is None]

    def tell(k: int, case: Case) -> tuple[Structure, Evaluated]:
        del k
        s, here = case.structure, case.here
        lengths = np.where(s.pbc, np.linalg.norm(s.cell, axis=1), np.inf)
        return doubled(s, int(np.argmin(lengths))), Evaluated(
            energy=2 * here.energy,
            forces=np.tile(here.forces, (2, 1)),
            stress=here.stress,
            energies=None if here.energies is None else np.tile(here.energies, 2),
        )

    return judge(
        "supercell",
        _told_differently(run, cases, tell),
        hint=(
            "two cells are not twice one cell: only the nearest image of each pair counts, or an "
            "atom does not see its own images, or something is not proportional to size"
        ),
        otherwise="no structure is periodic",
    )


def energies(run: Run) -> Check:
    """Add the energies of the atoms up."""
    findings = []
    for case in run.cases:
        shares = case.here.energies
        if shares is not None:
            apart = abs(float(shares.sum()) - case.here.energy)
            allowed = run.energy_tolerance(case, 0.0)
            allowed += 200 * run.precision * float(np.abs(shares).sum())
            findings.append(Finding(apart, allowed, "eV", case.id))
    return judge(
        "energies",
        findings,
        hint="the energies of the atoms do not add up to the energy: a term is in one alone",
        otherwise="the potential gives no energies of atoms",
    )


def padding(run: Run) -> Check:
    """Evaluate in a tile for more atoms, where sums are folded in another order."""
    findings: list[Finding] = []
    if isinstance(run.potential, Potential):
        probe = Probe(run.potential)
        wider = evaluate(probe, [case.structure for case in run.cases], dtype=run.dtype)
        for case, got in zip(run.cases, wider, strict=True):
            findings += run.compare(case, case.structure, got, case.here)
    return judge(
        "padding",
        findings,
        hint=(
            "what is not there counts: rows beyond terms.counts are not masked with where, or "
            "padding atoms, all at the origin, are seen by something"
        ),
        otherwise="it runs on the host, without padding",
    )


def skin(run: Run) -> Check:
    """Evaluate with what was prepared for other positions, as far away as the slack allows."""
    random = run.random("skin")
    cases: list[Case] = []
    late: list[Structure] = []
    now: list[Structure] = []
    for case in run.cases:
        form = run.potential.specialize(case.structure)
        for _ in range(4):
            # Far enough for distances to lie on both sides of any cutoff.
            here = rattled(case.structure, 0.1, random)
            moves = random.normal(size=(here.n_atoms, 3))
            moves *= 0.98 * (form.slack or 0.3) / np.linalg.norm(moves, axis=1, keepdims=True)
            before = changed(here, here.positions + moves)
            try:
                for structure in (here, before):
                    form.prepare(structure)
            except (StructureError, PotentialError):
                continue  # it is not the same molecule to it
            cases.append(case)
            late.append(moved(before, here.positions))
            now.append(here)
    findings: list[Finding] = []
    got, expected = run.evaluate(late), run.evaluate(now)
    for case, one, other, structure in zip(cases, got, expected, now, strict=True):
        findings += run.compare(Case(structure, other), case.structure, one, other)
    return judge(
        "skin",
        findings,
        hint=(
            "arrays that were prepared for positions within the slack of these (0.3 Å where it "
            "is None, which says that they hold always) give other numbers: lists made for the "
            "cutoff alone and not cutoff + skin, no slack where there is a list, or pairs beyond "
            "the cutoff that count"
        ),
        otherwise="it cannot describe the structures a little way off",
    )


def batch_invariance(run: Run, draws: int, company: int) -> Check:
    """Evaluate in random company, in random lanes, and compare all bits with those alone."""
    random = run.random("batch invariance")
    strangers = [
        run.move(case, rattled(case.structure, 0.1, random).positions)
        for case in run.cases
        for _ in range(min(company, 4))
    ]
    mismatches: list[str] = []
    n_comparisons = 0
    for _ in range(draws):
        n_own = int(random.integers(1, len(run.cases) + 1))
        own = random.permutation(len(run.cases))[:n_own]
        own = np.concatenate([own, random.choice(own, size=1)])
        n_others = int(random.integers(company * len(run.cases) + 1))
        others = random.integers(len(strangers), size=n_others) + len(run.cases)
        batch = random.permutation(np.concatenate([own, others]))
        pool = [*(case.structure for case in run.cases), *strangers]
        for k, got in zip(batch, run.evaluate([pool[k] for k in batch]), strict=True):
            if k < len(run.cases):
                n_comparisons += 1
                if _bits(got) != _bits(run.cases[k].here):
                    mismatches.append(run.cases[k].id)
    return Check(
        name="batch invariance",
        result="failed" if mismatches else "passed",
        value=len(mismatches),
        tolerance=0,
        unit="of bits",
        where=mismatches[0] if mismatches else "",
        n_comparisons=n_comparisons,
        note=(
            "the bits of a structure depend on its company: sums over atoms or terms outside "
            "kups_relax.ops, something taken over all lanes, matrix products, or rounds=False"
        )
        if mismatches
        else "",
    )


def _told_differently(
    run: Run, cases: Any, tell: Callable[[int, Case], tuple[Structure, Evaluated]]
) -> Iterator[Finding]:
    told = [tell(k, case) for k, case in enumerate(cases)]
    got = run.evaluate([structure for structure, _ in told])
    for case, (structure, expected), here in zip(cases, told, got, strict=True):
        yield from run.compare(Case(case.structure, expected), structure, here, expected)


def _bits(here: Evaluated) -> list[bytes | None]:
    parts = (np.float64(here.energy), here.forces, here.stress, here.energies)
    return [None if part is None else np.ascontiguousarray(part).tobytes() for part in parts]


# An axis that no potential has, longer than the structure needs: it takes a larger size class.
_WIDER = "kups_relax.testing.wider"


@dataclasses.dataclass(frozen=True)
class Probe(Potential):
    """A potential in a larger size class than its structures need.

    Attributes:
        inner: The potential.
    """

    inner: Potential

    name = "probe"

    @property
    def rounds(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """See `Potential.rounds`."""
        return self.inner.rounds

    @property
    def slack(self) -> float | None:
        """See `EnergyModel.slack`."""
        return self.inner.slack

    def specialize(self, structure: Structure) -> "Probe":
        """See `Potential.specialize`."""
        inner = cast(Potential, self.inner.specialize(structure))
        return dataclasses.replace(self, inner=inner)

    def fields(self) -> Mapping[str, Field]:
        """See `Potential.fields`."""
        return {**self.inner.fields(), _WIDER: Field((_WIDER,))}

    def capacities(self, n_atoms: int) -> Mapping[str, int]:
        """See `Potential.capacities`."""
        return {**self.inner.capacities(n_atoms), _WIDER: n_atoms}

    def n_lanes(self, n_atoms: int) -> int | None:
        """See `Potential.n_lanes`."""
        return self.inner.n_lanes(n_atoms)

    def parameters(self) -> Any:
        """See `Potential.parameters`."""
        return self.inner.parameters()

    def prepare(self, structure: Structure) -> Mapping[str, np.ndarray]:
        """See `Potential.prepare`."""
        prepared = self.inner.prepare(structure)
        size = size_class(self.inner, structure.n_atoms, axis_lengths(self.inner, prepared))
        return {**prepared, _WIDER: np.zeros(size.n_atoms + 1)}

    def evaluate(self, positions: jax.Array, cell: jax.Array, terms: Terms) -> Evaluation:
        """See `Potential.evaluate`."""
        return self.inner.evaluate(positions, cell, terms)
