"""What is held does not move, whatever the optimizer: looked at in results, not in forces."""

import itertools

import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.constraints import FixCom
from benchmarks import held

import kups_relax as kr
from kups_relax.errors import OptionError
from kups_relax.optimizers import NAMED
from support.crossing import first, in_turns

# One program each: no cell, and the cells that couple components of the strain.
CELLS = ("fixed cell", "frechet, shape", "frechet, volume", "frechet, volume and mask")
POTENTIAL = kr.potentials.EMT()
# One of each kind of step: none of these is a sum of gradients.
KINDS = ("preconditioned", "lion", "adam", "rprop")
OTHERS = tuple(name for name in NAMED if name not in KINDS)


@pytest.mark.parametrize(
    ("optimizer", "cell"), [*in_turns(KINDS, CELLS), *in_turns(OTHERS, CELLS, leave=OTHERS)]
)
def test_no_optimizer_moves_what_is_held(optimizer: str, cell: str) -> None:
    chosen = [case for case in held.cases([cell]) if case.name.startswith("atoms")]
    moved = held.relaxed(optimizer, chosen, POTENTIAL)
    assert max(moved.values()) < held.MOVED, moved


@pytest.mark.extended
@pytest.mark.parametrize("optimizer", ["lion", "preconditioned"])
def test_constraints_are_kept_beside_a_held_volume(optimizer: str) -> None:
    moved = held.relaxed(optimizer, held.cases(["frechet, volume"]), POTENTIAL)
    assert max(moved.values()) < held.MOVED, moved


@pytest.mark.parametrize("optimizer", first(["lion", *(name for name in NAMED if name != "lion")]))
def test_no_optimizer_moves_what_is_held_in_ase(optimizer: str) -> None:
    for case in held.cases(["frechet, volume", "frechet, shape and mask"]):
        assert held.bridged(optimizer, case, EMT()) < held.MOVED, case.name


def shaken(repeats: tuple[int, int, int], n: int) -> list[Atoms]:
    """Supercells of copper, each shaken differently, with a held centre of mass."""
    structures = []
    for seed in range(n):
        atoms = held.crystal().repeat(repeats)
        atoms.rattle(0.02 * seed, seed=seed)
        atoms.set_constraint(FixCom())
        structures.append(atoms)
    return structures


@pytest.mark.exact
@pytest.mark.parametrize(
    ("optimizer", "dtype", "repeats"),
    [
        ("preconditioned", "float64", (1, 1, 1)),
        *(
            # 36 atoms: sums in more than one block, and a class of one lane and of several.
            pytest.param(optimizer, dtype, (3, 3, 1), marks=pytest.mark.extended)
            for optimizer in ("preconditioned", "lbfgs")
            for dtype in ("float64", "float32")
        ),
    ],
)
def test_what_is_held_has_the_bits_that_it_has_alone(
    optimizer: str, dtype: str, repeats: tuple[int, int, int]
) -> None:
    cell = kr.FrechetCell(constant_volume=True, mask="xx+yy")
    structures = [*shaken(repeats, 5), *shaken((1, 1, 1), 2)]
    options = {"optimizer": optimizer, "cell": cell, "fmax": 1e-3, "dtype": dtype}
    report = kr.verify(structures, POTENTIAL, draws=3, max_steps=40, **options)
    assert report.ok, report


def test_a_mask_and_a_volume_that_cannot_be_kept_together_are_refused() -> None:
    for cell, mask in itertools.product((kr.FrechetCell, kr.UnitCell), ("xy", "xx+yz")):
        with pytest.raises(OptionError, match="keeps the volume"):
            cell(constant_volume=True, mask=mask)
    with pytest.raises(OptionError, match="leave nothing to change"):
        kr.FrechetCell(constant_volume=True, mask="zz")
    with pytest.raises(OptionError, match="leave nothing to change"):
        kr.FrechetCell(hydrostatic_strain=True, mask="xy")
