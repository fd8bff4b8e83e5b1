"""Variable cells: ASE's filters step by step, the total gradient, bounded steps, the same bits."""

import itertools
import re

import jax
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.filters import FrechetCellFilter, UnitCellFilter
from ase.optimize import LBFGS
from ase.units import GPa

import kups_relax as kr
from coordinates.crystals import CUTOFF, crystal, lennard_jones
from helpers import DTYPES, argon_cluster, assert_same_result
from kups_relax.coordinates import Geometry, coordinates_of
from kups_relax.data import Terms
from kups_relax.errors import OptionError
from kups_relax.potentials import Evaluation
from kups_relax.relaxation._single import SinglePoints
from kups_relax.testing import count_programs
from support.crossing import first, in_turns

FILTERS = {kr.FrechetCell: FrechetCellFilter, kr.UnitCell: UnitCellFilter}
OPTIONS = {
    "free": {},
    "pressure": {"pressure": 0.002},
    "mask": {"mask": [1, 1, 0, 0, 0, 1]},
    "3 x 3 mask": {"mask": np.diag([1, 0, 1])},
    "hydrostatic": {"hydrostatic_strain": True},
    "volume": {"constant_volume": True},
    "factor": {"cell_factor": 20.0},
}


# Which crystals are compared with ASE's, and after how many steps.
FEW, MORE = ((0, 3), (2, 12)), ((0, 2, 3), (2, 20))


def of_ase(atoms, kind, options, steps):
    """Where ASE is after so many steps, its largest force, and how many steps it took."""
    atoms = atoms.copy()
    atoms.calc = LennardJones(epsilon=0.0104, sigma=3.40, rc=CUTOFF)
    names = {"pressure": "scalar_pressure"}
    names["cell_factor"] = "exp_cell_factor" if kind is kr.FrechetCell else "cell_factor"
    options = {names.get(name, name): value for name, value in options.items()}
    moving = FILTERS[kind](atoms, **options)
    optimizer, seen = LBFGS(moving, logfile=None), {}
    for n_steps in steps:
        optimizer.run(fmax=1e-3, steps=n_steps - optimizer.nsteps)
        there = atoms.copy()
        there.calc = SinglePointCalculator(there, **atoms.calc.results)
        fmax = np.linalg.norm(moving.get_forces(), axis=1).max()
        seen[n_steps] = there, fmax, optimizer.nsteps
    return seen


@pytest.mark.parametrize(
    ("name", "kind", "chosen"),
    [
        ("free", kr.FrechetCell, FEW),
        ("pressure", kr.UnitCell, FEW),
        ("mask", kr.FrechetCell, FEW),
        ("hydrostatic", kr.FrechetCell, FEW),
        ("volume", kr.UnitCell, FEW),
        *(
            pytest.param(name, kind, MORE, marks=pytest.mark.extended)
            for name, kind in itertools.product(OPTIONS, FILTERS)
        ),
    ],
)
def test_steps_are_those_of_ases_filters(name, kind, chosen):
    seeds, steps = chosen
    options, starts = OPTIONS[name], [crystal(seed) for seed in seeds]
    paths = [of_ase(start, kind, options, steps) for start in starts]
    for n_steps in steps:
        result = kr.relax(
            starts,
            lennard_jones(),
            "ase-lbfgs",
            fmax=1e-3,
            max_steps=n_steps,
            cell=kind(max_strain=1.0, **options),
        )
        for i, path in enumerate(paths):
            expected, fmax, taken = path[n_steps]
            got = result.atoms[i]
            np.testing.assert_allclose(got.cell.array, expected.cell.array, rtol=0, atol=1e-9)
            np.testing.assert_allclose(got.positions, expected.positions, rtol=0, atol=1e-9)
            np.testing.assert_allclose(result.energy[i], expected.get_potential_energy(), rtol=1e-9)
            np.testing.assert_allclose(result.fmax[i], fmax, rtol=1e-6, atol=1e-10)
            np.testing.assert_allclose(got.get_stress(), expected.get_stress(), atol=1e-10)
            assert result.n_steps[i] == taken


@pytest.mark.exact
@pytest.mark.parametrize(
    ("cell", "dtype"),
    in_turns(
        [kr.UnitCell(pressure=0.001), kr.FrechetCell()], DTYPES[::-1], leave={kr.FrechetCell()}
    ),
)
def test_cells_relax_together_as_they_do_alone(cell, dtype):
    # So small a skin makes lists anew on the way.
    starts = [crystal(seed, strain=0.05) for seed in range(8)]
    report = kr.verify(
        starts, lennard_jones(skin=0.3), draws=2, cell=cell, dtype=dtype, max_steps=30
    )
    assert report.ok, report


@pytest.mark.exact
@pytest.mark.extended
def test_no_bit_depends_on_the_age_of_lists():
    starts = [crystal(seed, strain=0.06) for seed in range(6)]
    results = [
        kr.relax(starts, lennard_jones(skin), cell="frechet", fmax=1e-4) for skin in (0.2, 1.5)
    ]
    assert results[0].converged.all()
    for i in range(len(starts)):
        assert_same_result(results[0], i, results[1], i)


def test_molecules_and_crystals_mix():
    mixed = [crystal(3), argon_cluster(7), crystal(1), argon_cluster(5, seed=2)]
    together = kr.relax(mixed, lennard_jones(), cell="frechet")
    assert together.converged.all()
    for i, atoms in enumerate(mixed):
        assert_same_result(together, i, kr.relax(atoms, lennard_jones(), cell="frechet"), 0)
    clusters = kr.relax([mixed[1], mixed[3]], lennard_jones())
    for i, j in ((1, 0), (3, 1)):
        assert together.energy[i] == clusters.energy[j]
        assert not together.atoms[i].cell.array.any()


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize("pressure", [0.0, 0.004])
def test_forces_on_the_cell_are_the_slope_of_the_enthalpy(kind, pressure):
    """Finite differences in all nine coordinates of the cell, far from the start."""
    [structure] = kr.io.structures_from(crystal(7, strain=0.1))
    mask = [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    # Far from the start in one step.
    cell = kind(pressure=pressure, mask=mask, max_strain=10.0)
    coordinates, arrays = coordinates_of(structure, cell)
    random = np.random.default_rng(0)
    n = structure.n_atoms
    rows = np.where(np.array(mask, bool).T, 0.2 * n * random.standard_normal((3, 3)), 0.0)
    x = np.concatenate([structure.positions.T, rows], axis=1)[..., None]
    terms = terms_of(arrays)
    first = structure.cell[..., None]

    @jax.jit
    def geometry(x):
        nothing = Geometry(positions=np.zeros((3, n, 1)), cell=first)
        _, here, _ = coordinates.move(x, jax.numpy.zeros_like(x), nothing, first, terms)
        return here

    atoms = crystal(7)
    atoms.calc = kr.ase.JaxCalculator(lennard_jones())

    def evaluated(x):
        here = geometry(x)
        atoms.set_cell(np.asarray(here.cell)[..., 0])
        atoms.set_positions(np.asarray(here.positions)[..., 0].T)
        return atoms

    def enthalpy(x):
        evaluated(x)
        return atoms.get_potential_energy() + pressure * atoms.get_volume()

    with jax.enable_x64(True):
        evaluated(x)
        stress = atoms.get_stress(voigt=False)[..., None]
        on_atoms = atoms.get_forces().T[..., None]
        energy = np.array([atoms.get_potential_energy()])
        pull = coordinates.pull(x, geometry(x), first, energy, on_atoms, stress, terms)
        assert float(pull.value[0]) == pytest.approx(enthalpy(x), rel=1e-14)
        evaluated(x)
        forces = np.asarray(pull.forces)[..., 0]
        for j in range(3):
            for row in [*range(2), *range(n, n + 3)]:
                step = np.zeros_like(x)
                step[j, row] = 1e-4
                near, far = (enthalpy(x + k * step) - enthalpy(x - k * step) for k in (1, 2))
                # Of fourth order: energies are steep here.
                slope = (8 * near - far) / 12e-4
                assert forces[j, row] == pytest.approx(-slope, abs=1e-8)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kind", FILTERS)
def test_a_step_ends_though_no_share_of_it_is_short_enough(kind):
    [structure] = kr.io.structures_from(crystal(3))
    coordinates, arrays = coordinates_of(structure, kind(max_strain=0.01))
    # x stands for another cell than the one it is said to be in.
    x = np.concatenate([structure.positions.T, 2.0 * np.eye(3)], axis=1)[..., None]
    first = structure.cell[..., None]
    here = Geometry(positions=x[:, :-3], cell=first)
    move = jax.jit(lambda step: coordinates.move(x, step, here, first, terms_of(arrays)))
    there, geometry, _ = move(np.ones_like(x))
    assert np.isfinite(geometry.cell).all()
    np.testing.assert_allclose(there, x, atol=1e-12)


def terms_of(arrays):
    """A tile of one lane, by hand."""
    return Terms(arrays={k: np.asarray(v)[..., None] for k, v in arrays.items()}, counts={})


def test_a_relaxed_cell_bears_the_pressure():
    pressure = kr.gpa(0.5)
    assert pressure == pytest.approx(0.5 * GPa, rel=1e-8)
    cell = kr.FrechetCell(pressure=pressure)
    result = kr.relax([crystal(3), crystal(5)], lennard_jones(), cell=cell, fmax=1e-5)
    for atoms in result.atoms:
        stress = atoms.get_stress()
        np.testing.assert_allclose(stress, [-pressure] * 3 + [0.0] * 3, atol=1e-6)
    free = kr.relax([crystal(3), crystal(5)], lennard_jones(), cell="frechet", fmax=1e-5)
    for small, large in zip(result.atoms, free.atoms, strict=True):
        assert small.get_volume() < 0.97 * large.get_volume()


@pytest.mark.parametrize("kind", first(list(FILTERS)))
def test_what_the_mask_holds_does_not_change(kind):
    starts = [crystal(3), crystal(1)]
    result = kr.relax(starts, lennard_jones(), cell=kind(mask=[1, 1, 0, 0, 0, 1]), fmax=1e-4)
    assert result.converged.all()
    for before, after in zip(starts, result.atoms, strict=True):
        change = np.linalg.solve(before.cell.array, after.cell.array)
        assert np.abs(change[:2, :2] - np.eye(2)).max() > 1e-3
        np.testing.assert_allclose(change[2], [0, 0, 1], atol=1e-14)
        np.testing.assert_allclose(change[:, 2], [0, 0, 1], atol=1e-14)


def test_constant_volume_and_constant_shape():
    start = crystal(3, strain=0.06)
    volume = kr.relax(start, lennard_jones(), cell=kr.FrechetCell(constant_volume=True))
    assert volume.atoms[0].get_volume() == pytest.approx(start.get_volume(), rel=1e-12)
    assert not np.allclose(volume.atoms[0].cell.angles(), start.cell.angles(), atol=0.1)
    shape = kr.relax(start, lennard_jones(), cell=kr.FrechetCell(hydrostatic_strain=True))
    np.testing.assert_allclose(shape.atoms[0].cell.angles(), start.cell.angles(), atol=1e-10)
    ratio = shape.atoms[0].cell.lengths() / start.cell.lengths()
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-12)
    assert abs(ratio[0] - 1) > 1e-3


def test_atoms_and_cell_have_thresholds_of_their_own():
    starts = [crystal(seed) for seed in range(4)]
    loose = kr.relax(starts, lennard_jones(), cell=kr.FrechetCell(smax=1e-3), fmax=1e-3)
    tight = kr.relax(starts, lennard_jones(), cell=kr.FrechetCell(smax=1e-7), fmax=1e-3)
    for result, smax in ((loose, 1e-3), (tight, 1e-7)):
        assert result.converged.all()
        for i, atoms in enumerate(result.atoms):
            assert np.abs(atoms.get_stress()).max() < smax
            assert result.fmax[i] < 1e-3
    assert np.abs([a.get_stress() for a in loose.atoms]).max() > 1e-7
    assert (tight.n_steps > loose.n_steps).any()
    # Nothing to do for a threshold that is met.
    again = kr.relax(loose.atoms, lennard_jones(), cell=kr.FrechetCell(smax=1e-2), fmax=0.01)
    assert not again.n_steps.any()


@pytest.mark.extended
@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize("start", ["stretched", "sheared", "nearly relaxed"])
def test_one_atom_at_the_origin_goes_downhill(kind, start):
    atoms = bulk("Ar", "fcc", a=5.2547)
    if start == "stretched":
        atoms.set_cell(atoms.cell.array * 1.01)
    if start == "sheared":
        shear = np.array([[1, 0.05, 0], [0, 1, 0], [0, 0.02, 1]])
        atoms.set_cell(atoms.cell.array @ shear)
    path = trajectory(atoms, kind(), fmax=1e-6)
    energies = [e for e, _ in path]
    assert len(path) > 3
    assert max(np.diff(energies)) < 1e-3
    assert not path[-1][1].positions.any()


@pytest.mark.parametrize("kind", first(list(FILTERS)))
def test_no_step_changes_a_lattice_vector_by_more_than_its_share(kind):
    for max_strain, a in ((0.05, 6.3), (0.02, 4.4), (0.2, 4.2)):
        atoms = bulk("Ar", "fcc", a=a)
        atoms.set_cell(atoms.cell.array @ np.array([[1, 0.3, 0], [0, 1, 0.1], [0, 0.2, 1]]))
        path = trajectory(atoms, kind(max_strain=max_strain), max_steps=12, fmax=1e-4)
        changes = [
            np.linalg.norm(b.cell.array - a.cell.array, axis=1) / a.cell.lengths()
            for (_, a), (_, b) in itertools.pairwise(path)
        ]
        assert 0.3 * max_strain < np.max(changes) <= max_strain * (1 + 1e-12)


def trajectory(atoms, cell, fmax, max_steps=40):
    """Energies and geometries of all steps."""
    options = {"cell": cell, "fmax": fmax, "max_steps": max_steps, "trajectory": 1}
    frames = kr.relax(atoms, lennard_jones(), **options).trajectory(0)
    return [(frame.get_potential_energy(), frame) for frame in frames]


@pytest.mark.parametrize("kind", first(list(FILTERS)))
def test_a_cell_that_explodes_says_so_and_changes_no_bit_of_the_others(kind):
    others = [crystal(3), crystal(2)]
    alone = kr.relax(others, lennard_jones(), cell="frechet")
    # Under tension there is no minimum.
    bad = crystal(1)
    bad.set_cell(bad.cell.array * 1.35, scale_atoms=True)
    result = kr.relax([bad], lennard_jones(), cell=kind(pressure=-0.05))
    assert result.status[0] == "exploded"
    assert "tenfold" in result.reason[0]
    assert np.isfinite(result.energy[0])
    ratio = result.atoms[0].get_volume() / bad.get_volume()
    assert 4 < ratio < 10
    mixed = kr.relax([others[0], bad, others[1]], lennard_jones(), cell="frechet")
    for i, j in ((0, 0), (2, 1)):
        assert_same_result(mixed, i, alone, j)


def test_slabs_relax_along_their_axes_and_refuse_pressure():
    slab = fcc111("Ar", (2, 2, 3), a=5.4, vacuum=8.0)
    slab.info["id"] = "slab"
    cell = kr.FrechetCell(mask=[1, 1, 0, 0, 0, 1])
    result = kr.relax(slab, lennard_jones(), cell=cell)
    assert result.converged[0]
    assert np.array_equal(result.atoms[0].cell.array[2], slab.cell.array[2])
    assert result.atoms[0].cell.lengths()[0] < slab.cell.lengths()[0] - 0.01
    pressed = kr.relax(slab, lennard_jones(), cell=kr.FrechetCell(pressure=0.01))
    assert pressed.status[0] == "failed"
    assert "pressure=0" in pressed.reason[0]


def test_a_cell_without_volume_or_a_potential_without_stress_is_refused():
    flat = Atoms("Ar", cell=[5, 5, 0], pbc=[True, True, False], info={"id": "flat"})
    result = kr.relax(flat, lennard_jones(), cell="frechet")
    assert result.status[0] == "failed"
    assert re.search("no volume.*vacuum", result.reason[0])
    result = kr.relax(crystal(3), Silent(), cell="frechet")
    assert result.status[0] == "failed"
    assert re.search("has no stress.*cell=None", result.reason[0])


class Silent(kr.potentials.Potential):
    """Forces, and no stress."""

    name = "silent"

    def prepare(self, structure):
        return {}

    def fields(self):
        return {}

    def evaluate(self, positions, cell, terms):
        return Evaluation(jax.numpy.zeros(positions.shape[-1]), positions)


@pytest.mark.extended
def test_a_calculator_moves_cells_and_one_without_stress_is_named():
    factory = kr.potentials.AseCalculator(argon_calculator, workers=0)
    starts = [crystal(3), crystal(2)]
    mine = kr.relax(starts, lennard_jones(), "ase-lbfgs", cell="frechet")
    theirs = kr.relax(starts, factory, "ase-lbfgs", cell="frechet")
    assert theirs.converged.all()
    assert (mine.n_steps == theirs.n_steps).all()
    for a, b in zip(mine.atoms, theirs.atoms, strict=True):
        np.testing.assert_allclose(a.cell.array, b.cell.array, atol=1e-9)
    silent = kr.potentials.AseCalculator(without_stress, workers=0)
    result = kr.relax(starts, silent, cell="frechet")
    assert result.status.tolist() == ["failed"] * 2
    assert re.search("no stress.*cell=None", result.reason[0])


def argon_calculator():
    return LennardJones(epsilon=0.0104, sigma=3.40, rc=CUTOFF)


def without_stress():
    calculator = argon_calculator()
    calculator.implemented_properties = ["energy", "free_energy", "forces"]
    return calculator


def test_another_pressure_compiles_nothing():
    kr.relax(crystal(3), lennard_jones(), cell=kr.FrechetCell())
    others = [
        {"pressure": 0.001},
        {"mask": [1, 1, 1, 0, 0, 0]},
        {"smax": 1e-3, "max_strain": 0.1, "cell_factor": 3.0},
    ]
    with count_programs() as programs:
        for options in others:
            kr.relax(crystal(3), lennard_jones(), cell=kr.FrechetCell(**options))
    assert programs.n_traced("_advance") == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pressure": np.nan}, "pressure is nan"),
        ({"mask": [1, 2, 3, 0, 0, 0]}, "mask is"),
        ({"mask": [1, 1, 1]}, "six values"),
        ({"hydrostatic_strain": True, "constant_volume": True}, "nothing to change"),
        ({"cell_factor": 0.0}, "cell_factor is 0.0"),
        ({"smax": -1.0}, "smax is -1.0"),
        ({"max_strain": np.inf}, "max_strain is inf"),
        ({"max_strain": None}, "max_strain is None; it must be a number"),
        ({"cell_factor": "1"}, "cell_factor is '1'; it must be a number"),
        ({"smax": 1j}, "smax is 1j; it must be a number"),
        ({"pressure": 10**400}, "pressure is 1000"),
        ({"mask": [[1], [1, 0]]}, "mask is .* expected six values"),
        ({"constant_volume": "maybe"}, "constant_volume is 'maybe'; it must be True or False"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(OptionError, match=words):
        kr.FrechetCell(**options)


def test_unknown_cells_are_refused_by_name():
    with pytest.raises(OptionError, match="'frechet', 'unit'"):
        kr.relax(crystal(3), lennard_jones(), cell="cubic")


@pytest.mark.extended
def test_a_calculator_keeps_its_list_while_the_cell_strains_little(monkeypatch):
    """And what it gives is what a new calculator gives, to the bit."""
    prepared = []
    prepare = SinglePoints._prepare
    monkeypatch.setattr(
        SinglePoints, "_prepare", lambda self, s: (prepared.append(s), prepare(self, s))
    )
    atoms = crystal(3)
    atoms.calc = kr.ase.JaxCalculator(lennard_jones())
    optimizer = LBFGS(FrechetCellFilter(atoms), logfile=None)
    for _ in optimizer.irun(fmax=1e-3):
        fresh = atoms.copy()
        fresh.calc = kr.ase.JaxCalculator(lennard_jones(skin=0.1))
        assert atoms.get_potential_energy() == fresh.get_potential_energy()
        assert np.array_equal(atoms.get_forces(), fresh.get_forces())
        assert np.array_equal(atoms.get_stress(), fresh.get_stress())
    mine = len(prepared) - (optimizer.nsteps + 1)
    assert optimizer.nsteps > 10
    assert mine < 4
