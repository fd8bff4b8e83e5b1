"""Forces and stress against differences of the energy, and the energy against their integral."""

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from kups_relax.data import Structure
from kups_relax.testing._report import Check, Finding, judge
from kups_relax.testing._run import Case, Run
from kups_relax.testing._variants import strained

# Differences of fourth order, at three steps: short enough for stiff bonds, long enough for
# energies that are rounded coarsely. The smallest also shows how coarsely that is.
_STEPS = np.array([1e-4, 1e-3, 1e-2])
_MULTIPLES = np.array([-2, -1, 1, 2])
_FIRST = np.array([1, -8, 8, -1]) / 12
_FOURTH = np.array([1, -4, -4, 1])


class Slopes:
    """Derivatives of a structure's energy, by differences.

    Attributes:
        slope: (n_directions, n_steps), eV by the unit of the steps.
        noise: Standard deviation of an energy's error, eV: what is left of fourth differences
            when steps are so short that a smooth energy has none.
    """

    def __init__(self, steps: np.ndarray, energy: np.ndarray, center: float) -> None:
        """Args: energy (n_directions, n_steps, 4) at the multiples of the steps."""
        self.slope = (energy - center) @ _FIRST / steps
        fourth = energy @ _FOURTH + 6 * center
        rest = fourth[:, 0] - fourth[:, 1] * (steps[0] / steps[1]) ** 4
        self.noise = float(np.sqrt(np.mean(rest**2) / 70))
        self.steps = steps

    def finding(self, k: int, expected: float, scale: float, unit: str, where: str) -> Finding:
        """Compare a slope at the step that serves it best."""
        apart = np.abs(self.slope[k] - expected)
        allowed = scale + 4 * self.noise / self.steps
        best = int(np.argmin(apart / allowed))
        return Finding(float(apart[best]), float(allowed[best]), unit, where)


def forces_and_precision(run: Run, n_coordinates: int) -> tuple[Check, Check]:
    """Compare forces with differences of the energy, and see how precise both are."""
    random = run.random("forces")
    chosen = [
        np.sort(random.permutation(3 * case.structure.n_atoms)[:n_coordinates])
        for case in run.cases
    ]
    slopes = _slopes(
        run,
        _STEPS,
        [
            [_shift(run, case, k) for k in coordinates]
            for case, coordinates in zip(run.cases, chosen, strict=True)
        ],
    )
    forces: list[Finding] = []
    precision: list[Finding] = []
    for case, coordinates, slope in zip(run.cases, chosen, slopes, strict=True):
        scale = run.precision**0.5 * (case.longest + 0.01)
        if 4 * slope.noise / _STEPS[-1] < 0.1 * (case.longest + 0.01):
            found = [
                slope.finding(
                    k, -float(case.here.forces.flat[c]), scale, "eV/Å", f"{case.id}, atom {c // 3}"
                )
                for k, c in enumerate(coordinates)
            ]
            # Zero against zero says nothing, e.g. of a crystal of one atom.
            if case.longest > 0 or any(finding.ratio > 1 for finding in found):
                forces += found
        precision += _precision(run, case, slope.noise)
    return (
        judge(
            "forces",
            forces,
            hint=(
                "forces are not the negative gradient of the energy: a sign, a term that one of "
                "them lacks, stop_gradient, pairs counted twice, or a kink in the energy"
            ),
            otherwise="all forces are zero, or the energy is too coarse to differentiate",
        ),
        judge(
            "precision",
            precision if run.dtype == "float64" else [],
            hint=(
                "numbers of a float64 run are rounded as in float32, or coarser: arrays made "
                "without a dtype, a cast, or weights that pull it down. If the model is meant so, "
                "check it with dtype='float32'; if it iterates, give its precision"
            ),
            otherwise="the run is float32",
        ),
    )


def _precision(run: Run, case: Case, noise: float) -> Iterator[Finding]:
    allowed = 1e4 * run.precision * (abs(case.here.energy) + case.structure.n_atoms)
    yield Finding(noise, allowed, "eV", f"{case.id}, energy")
    known = case.here.forces[case.here.forces != 0]
    if len(known) >= 3:
        # Numbers that a cast to float32 does not change.
        short = bool((known.astype(np.float32) == known).all())
        worst = float(np.abs(known).max() * np.finfo(np.float32).eps) if short else 0.0
        yield Finding(worst, run.precision * 1e4 * case.longest, "eV/Å", f"{case.id}, forces")


def stress(run: Run) -> Check:
    """Compare the stress with differences of the energy by the strain."""
    cases = [c for c in run.cases if c.structure.pbc.all() and c.here.stress is not None]
    components = list(itertools.combinations_with_replacement(range(3), 2))
    steps = _STEPS / 5
    slopes = _slopes(
        run, steps, [[_strain(case.structure, *ab) for ab in components] for case in cases], cases
    )
    findings: list[Finding] = []
    for case, slope in zip(cases, slopes, strict=True):
        given = case.here.stress
        assert given is not None
        volume = abs(float(np.linalg.det(case.structure.cell)))
        scale = np.abs(given).max() * volume + case.structure.n_atoms * (case.longest + 0.01)
        scale *= run.precision**0.5
        for k, (a, b) in enumerate(components):
            where = f"{case.id}, component {'xyz'[a]}{'xyz'[b]}"
            mean = volume * (given[a, b] + given[b, a]) / 2
            found = slope.finding(k, mean, scale, "eV/Å^3", where)
            skew = volume * abs(given[a, b] - given[b, a])
            worst = max(found.value, skew)
            findings.append(Finding(worst / volume, found.tolerance / volume, "eV/Å^3", where))
    return judge(
        "stress",
        findings,
        hint=(
            "stress is not the strain derivative of the energy over the volume: ASE's sign "
            "(positive under tension), the volume, pairs counted twice, or shifts that are not "
            "strained with the cell"
        ),
        otherwise="the potential gives no stress"
        if any(case.structure.pbc.all() for case in run.cases)
        else "no structure is periodic along all axes",
    )


def continuity(run: Run, n_paths: int = 2) -> Check:
    """Follow the energy along straight paths of single atoms, and look for jumps."""
    random = run.random("continuity")
    paths = []
    for case in run.cases:
        for _ in range(n_paths):
            direction = random.normal(size=3)
            atom = int(random.integers(case.structure.n_atoms))
            paths.append((case, atom, 0.5 * direction / np.linalg.norm(direction)))
    # Each round looks closer at the intervals in which the energy departs most from the integral
    # of the force. A kink is lost on the way, a jump stays as high as it was.
    intervals = [(path, 0.0, 1.0) for path in range(len(paths))]
    findings: list[Finding] = []
    for n_parts, n_worst in ((64, 3), (16, 1), (16, 1), (16, 1)):
        energy, force = _along(run, paths, intervals, n_parts)
        # The integral over an interval, from the forces at its ends and one beyond each.
        integral = force @ np.array([-1, 13, 13, -1]) / 24
        width = np.array([[(end - start) / n_parts] for _, start, end in intervals])
        jump = np.abs(np.diff(energy, axis=1)[:, 1:-1] + integral * width)
        steepest = np.ptp(force, axis=2)
        closer = []
        findings = []
        for row, (path, start, end) in enumerate(intervals):
            case, atom, direction = paths[path]
            reach = float(np.abs(case.structure.positions).max()) + 1
            for part in np.argsort(-jump[row])[:n_worst]:
                at = start + part * (end - start) / n_parts
                closer.append((path, at, at + (end - start) / n_parts))
                allowed = 4 * run.energy_tolerance(case, reach)
                allowed += 2 * float(steepest[row, part] * width[row, 0])
                length = at * np.linalg.norm(direction)
                where = f"{case.id}, atom {atom} moved by {length:.6f} Å"
                findings.append(Finding(float(jump[row, part]), allowed, "eV", where))
        intervals = closer
    return judge(
        "continuity",
        findings,
        hint=("the energy jumps where an atom crosses a cutoff: shift or smooth it to zero there"),
        otherwise="there are no structures",
    )


def _along(
    run: Run,
    paths: Sequence[tuple[Case, int, np.ndarray]],
    intervals: Sequence[tuple[int, float, float]],
    n_parts: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Energies (n, n_parts + 3), and forces along each path's unit of way (n, n_parts, 4)."""
    variants = []
    for path, start, end in intervals:
        case, atom, direction = paths[path]
        for part in range(-1, n_parts + 2):
            positions = case.structure.positions.copy()
            positions[atom] += (start + part * (end - start) / n_parts) * direction
            variants.append(run.move(case, positions))
    got = iter(run.evaluate(variants, "float64"))
    energy = np.zeros((len(intervals), n_parts + 3))
    force = np.zeros((len(intervals), n_parts + 3))
    for row, (path, _, _) in enumerate(intervals):
        _, atom, direction = paths[path]
        for part in range(n_parts + 3):
            here = next(got)
            energy[row, part] = here.energy
            force[row, part] = here.forces[atom] @ direction
    return energy, np.lib.stride_tricks.sliding_window_view(force, 4, axis=1)


def _slopes(
    run: Run,
    steps: np.ndarray,
    motions: Sequence[Sequence[Callable[[float], Structure]]],
    cases: Sequence[Case] | None = None,
) -> list[Slopes]:
    """Differentiate the energy of each case along its motions: functions of a step."""
    cases = run.cases if cases is None else cases
    variants: list[Structure] = []
    for case, own in zip(cases, motions, strict=True):
        variants.append(case.structure)
        variants += [move(h * m) for move in own for h in steps for m in _MULTIPLES]
    energy = run.energies(variants)
    out, start = [], 0
    for own in motions:
        size = len(own) * len(steps) * len(_MULTIPLES)
        values = energy[start + 1 : start + 1 + size].reshape(len(own), len(steps), -1)
        out.append(Slopes(steps, values, energy[start]))
        start += 1 + size
    return out


def _shift(run: Run, case: Case, coordinate: int) -> Callable[[float], Structure]:
    def move(step: float) -> Structure:
        positions = case.structure.positions.copy()
        positions.flat[coordinate] += step
        return run.move(case, positions)

    return move


def _strain(structure: Structure, a: int, b: int) -> Callable[[float], Structure]:
    def move(step: float) -> Structure:
        strain = np.zeros((3, 3))
        strain[a, b] += step / 2
        strain[b, a] += step / 2
        return strained(structure, strain)

    return move
