"""MMFF94 against RDKit, term by term, and against its own promises."""

import functools
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import mmff94_molecules as smiles
import numpy as np
import pytest

from kups_relax.data import Structure
from kups_relax.errors import OptionError, PotentialError
from kups_relax.ops import rounded
from kups_relax.potentials import MMFF94, Evaluation, Terms
from kups_relax.potentials import _mmff94_parameters as parameters
from kups_relax.potentials._mmff94 import _arc
from kups_relax.relaxation import SizeClass
from kups_relax.relaxation._tiles import Tile
from support.crossing import first

Chem = pytest.importorskip("rdkit.Chem")
from rdkit import rdBase  # noqa: E402
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers  # noqa: E402

TERMS = {  # ours: RDKit's
    "bond": "Bond",
    "angle": "Angle",
    "stretch_bend": "StretchBend",
    "out_of_plane": "Oop",
    "torsion": "Torsion",
    "vdw": "VdW",
    "electrostatic": "Ele",
}
VARIANTS = ("MMFF94", "MMFF94s")
POTENTIAL = MMFF94()  # the device program is the same for both variants
CAPACITIES = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384)
CLASSES = (24, 64, 192)  # few, because each is one compilation
LANES = 16

# kcal/mol. The formulas are the same, in doubles; RDKit's cubic bend constant has 9 digits.
TERM_TOLERANCE = 1e-5
# Of the largest component: RDKit's gradient is analytic too.
FORCE_TOLERANCE = 1e-7
# Of the largest force: a central difference of fourth order at this step (Angstrom).
SLOPE_TOLERANCE = 1e-6
STEP = 1e-3


@pytest.fixture(autouse=True)
def _doubles_and_silence() -> Iterator[None]:
    with jax.enable_x64(True), rdBase.BlockLogs():
        yield


@functools.cache
def molecule(text: str, rattle: float = 0.05, seed: int = 7) -> Any:
    """A molecule with hydrogens in a rattled geometry; fragments stand side by side."""
    mol = Chem.AddHs(Chem.MolFromSmiles(text))
    random = np.random.default_rng(seed)
    positions, edge = np.zeros((mol.GetNumAtoms(), 3)), 0.0
    parts = Chem.GetMolFrags(mol, asMols=True)
    for indices, part in zip(Chem.GetMolFrags(mol), parts, strict=True):
        assert rdDistGeom.EmbedMolecule(part, randomSeed=seed, useRandomCoords=True) == 0, text
        own = part.GetConformer().GetPositions()
        own = own + random.normal(0, rattle, own.shape)
        own[:, 0] += edge - own[:, 0].min()
        edge = own[:, 0].max() + 2.0
        positions[list(indices)] = own
    return place(mol, positions)


def place(mol: Any, positions: np.ndarray) -> Any:
    mol = Chem.Mol(mol, True)
    conformer = Chem.Conformer(mol.GetNumAtoms())
    for i, position in enumerate(np.asarray(positions).tolist()):
        conformer.SetAtomPosition(i, position)
    mol.AddConformer(conformer)
    return mol


def structure_of(mol: Any, id: str = "it", **changes: Any) -> Structure:
    numbers = np.asarray([atom.GetAtomicNum() for atom in mol.GetAtoms()], np.int32)
    positions = mol.GetConformer().GetPositions() if mol.GetNumConformers() else None
    given = {"numbers": numbers, "positions": positions, "topology": mol, **changes}
    return Structure(id=id, **given)


def tile_of(
    prepared: Sequence[Any], positions: Sequence[np.ndarray], capacity: int, dtype: Any = np.float64
) -> tuple[jax.Array, Terms]:
    """Lay structures out in the lanes of a tile; None leaves one empty."""
    own = tuple(sorted(POTENTIAL.capacities(capacity).items()))
    tile = Tile(POTENTIAL, SizeClass(capacity, len(prepared), own), np.dtype(dtype))
    for lane, (arrays, x) in enumerate(zip(prepared, positions, strict=False)):
        if arrays is not None:
            tile.put(lane, x, arrays)
    return jnp.asarray(tile.positions), tile.terms()


def fits(prepared: Any, capacity: int) -> bool:
    lengths = {**POTENTIAL.capacities(capacity), "atoms": capacity, "pairs": capacity}
    return all(
        length <= lengths[axis]
        for name, field in POTENTIAL.fields().items()
        for axis, length in zip(field.axes, prepared[name].shape, strict=False)
        if isinstance(axis, str)
    )


@jax.jit
def compute(positions: jax.Array, terms: Terms) -> tuple[dict[str, jax.Array], Evaluation]:
    return POTENTIAL.term_energies(positions, terms), POTENTIAL.evaluate(
        positions, jnp.zeros((3, 3, positions.shape[-1])), terms
    )


@jax.jit
@jax.grad
def slope_of_energy(positions: jax.Array, terms: Terms) -> jax.Array:
    return jnp.sum(
        POTENTIAL.evaluate(positions, jnp.zeros((3, 3, positions.shape[-1])), terms).energy
    )


def run(structures: Sequence[Structure], capacity: int, dtype: Any = np.float64, **options: Any):
    """Compute structures in lanes of one tile, which has at least as many as LANES."""
    potential = MMFF94(**options)
    empty = [None] * (LANES - len(structures))
    prepared = [potential.prepare(structure) for structure in structures]
    positions = [structure.positions for structure in structures]
    return compute(*tile_of([*prepared, *empty], positions, capacity, dtype))


def in_rdkit(mol: Any, variant: str) -> tuple[dict[str, float], float, np.ndarray]:
    """Each term, their sum (kcal/mol), and the gradient (kcal/mol/A)."""
    properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol, variant)

    def field(chosen: Sequence[str]) -> Any:
        for term in TERMS.values():
            getattr(properties, f"SetMMFF{term}Term")(term in chosen)
        field = rdForceFieldHelpers.MMFFGetMoleculeForceField(
            mol, properties, nonBondedThresh=1e9, ignoreInterfragInteractions=False
        )
        field.Initialize()
        return field

    whole = field(tuple(TERMS.values()))
    energies = {ours: field([theirs]).CalcEnergy() for ours, theirs in TERMS.items()}
    return energies, whole.CalcEnergy(), np.reshape(whole.CalcGrad(), (-1, 3))


@functools.cache
def comparison(variant: str) -> list[tuple[str, dict[str, float], float]]:
    """Every molecule: its SMILES, deviations of each term, relative deviation of the force."""
    waiting: dict[int, list[tuple[str, Any]]] = {capacity: [] for capacity in CLASSES}
    for text in smiles.MOLECULES:
        mol = molecule(text)
        prepared = MMFF94(variant=variant).prepare(structure_of(mol, text))
        waiting[next(c for c in CLASSES if fits(prepared, c))].append((text, mol))
    rows = []
    for capacity, cases in waiting.items():
        for start in range(0, len(cases), LANES):
            batch = cases[start : start + LANES]
            ours, evaluation = run(
                [structure_of(mol, text) for text, mol in batch], capacity, variant=variant
            )
            for lane, (text, mol) in enumerate(batch):
                theirs, total, gradient = in_rdkit(mol, variant)
                n = mol.GetNumAtoms()
                unit = parameters.KCAL_PER_MOL
                off = {k: abs(float(ours[k][lane]) / unit - theirs[k]) for k in TERMS}
                off["total"] = abs(float(evaluation.energy[lane]) / unit - total)
                forces = np.asarray(evaluation.forces[:, :n, lane]).T / unit
                rows.append((text, off, _relative(forces, -gradient)))
    return rows


def _relative(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(got - expected).max() / max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("term", [*TERMS, "total"])
def test_term_equals_rdkit(term: str, variant: str) -> None:
    rows = comparison(variant)
    assert len(rows) >= 150
    worst, text = max((off[term], text) for text, off, _ in rows)
    assert worst < TERM_TOLERANCE, text


@pytest.mark.parametrize("variant", VARIANTS)
def test_forces_equal_rdkit(variant: str) -> None:
    worst, text = max((off, text) for text, _, off in comparison(variant))
    assert worst < FORCE_TOLERANCE, text


def test_the_variants_differ() -> None:
    structure = structure_of(molecule("c1ccccc1N(C)C"))
    plain, static = (run([structure], 24, variant=v)[0] for v in VARIANTS)
    for term, energy in plain.items():
        assert (energy[0] == static[term][0]) == (term not in ("out_of_plane", "torsion"))


FEW = (
    "CC(=O)NC", "CS(=O)(=O)N", "C1CC1C#N", "c1ccoc1C=O", "C1CN2CCC1CC2", "CN=[N+]=[N-]", "C=C=C",
    "[NH3+]CC(=O)[O-]", "O.[Na+].[Cl-]", "COP(=O)([O-])OC", "CC(=O)N=C=S", "N#CC(Cl)Br", "C1=CC1",
)  # fmt: skip


def few(capacity: int = 24, dtype: Any = np.float64) -> tuple[jax.Array, Terms]:
    """Thirteen molecules in a tile of sixteen lanes."""
    mols = [molecule(text) for text in FEW]
    prepared = [POTENTIAL.prepare(structure_of(mol)) for mol in mols]
    positions = [mol.GetConformer().GetPositions() for mol in mols]
    return tile_of([*prepared, *[None] * (LANES - len(mols))], positions, capacity, dtype)


def test_forces_are_minus_the_slope_of_the_energy() -> None:
    x, terms = few()
    forces = np.asarray(compute(x, terms)[1].forces)
    slope = np.zeros_like(forces)
    for axis, atom in np.ndindex(forces.shape[:2]):
        # Lanes do not see each other: the same coordinate moves in all of them at once.
        def energy(step: float, at: tuple[int, int] = (axis, atom)) -> np.ndarray:
            return np.asarray(compute(x.at[at].add(step), terms)[1].energy)

        near, far = energy(STEP) - energy(-STEP), energy(2 * STEP) - energy(-2 * STEP)
        slope[axis, atom] = (8.0 * near - far) / (12.0 * STEP)
    real = np.asarray(terms.mask("atoms", x.shape[1]))
    largest = np.abs(forces).max(axis=(0, 1))[: len(FEW)]
    off = np.abs(np.where(real, slope + forces, 0.0)).max(axis=(0, 1))[: len(FEW)]
    assert (off < SLOPE_TOLERANCE * largest).all(), off / largest


def test_energy_can_be_differentiated() -> None:
    x, terms = few()
    slope = slope_of_energy(x, terms)
    forces = compute(x, terms)[1].forces
    np.testing.assert_allclose(slope, -forces, rtol=0, atol=1e-12 * float(jnp.abs(forces).max()))


def test_energy_is_the_sum_of_its_terms() -> None:
    energies, evaluation = compute(*few())
    assert set(energies) == set(TERMS)
    np.testing.assert_allclose(sum(energies.values()), evaluation.energy, rtol=1e-13)


def test_single_precision_agrees_with_double() -> None:
    x, terms = few()
    double = compute(x, terms)[1]
    single = compute(*few(dtype=np.float32))[1]
    assert single.forces.dtype == single.energy.dtype == np.float32
    scale = float(jnp.abs(double.forces).max())
    np.testing.assert_allclose(single.forces, double.forces, rtol=0, atol=3e-6 * scale)


ON_A_LINE = {
    "O=C=O": [-1.16, 0.0, 1.16],
    "C#N": [0.0, 1.15, -1.07],
    "C#C": [0.0, 1.2, -1.06, 2.26],
    "[N-]=[N+]=[N-]": [-1.18, 0.0, 1.18],
    # Not linear centres: a straight angle has no direction to bend back to.
    "O": [0.0, -0.96, 0.96],
    "OO": [0.0, 1.4, -0.96, 2.36],
}
IN_A_PLANE = ("c1ccccc1", "C=C", "C=O", "O=[N+]([O-])O", "[NH4+]", "N", "C1=CC1", "C=C=C")


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("text", ON_A_LINE)
def test_straight_molecules_have_forces_along_their_line(text: str, dtype: Any) -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles(text))
    mol = place(mol, np.outer(ON_A_LINE[text], [1.0, 0.0, 0.0]))
    energies, evaluation = run([structure_of(mol)], 24, dtype)
    forces = np.asarray(evaluation.forces)
    assert np.isfinite(forces).all()
    assert (forces[1:] == 0.0).all()
    theirs, _, _ = in_rdkit(mol, "MMFF94")
    for term, energy in energies.items():
        assert float(energy[0]) / parameters.KCAL_PER_MOL == pytest.approx(
            theirs[term], rel=1e-3 if dtype == np.float32 else 1e-6, abs=1e-4
        )


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("text", IN_A_PLANE)
def test_flat_molecules_have_forces_in_their_plane(text: str, dtype: Any) -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles(text))
    flat = molecule(text, 0.1).GetConformer().GetPositions() * [1.0, 1.0, 0.0]
    evaluation = run([structure_of(place(mol, flat))], 24, dtype)[1]
    forces = np.asarray(evaluation.forces)
    assert np.isfinite(forces).all()
    assert (forces[2] == 0.0).all()
    assert np.abs(forces[:2]).max() > 0.0


def test_nothing_is_nan_in_empty_lanes_and_padding() -> None:
    x, terms = few()
    energies, evaluation = compute(x, terms)
    real = np.asarray(terms.mask("atoms", x.shape[1]))
    forces = np.asarray(evaluation.forces)
    assert np.isfinite(forces).all()
    assert (forces[:, ~real] == 0.0).all()
    for energy in (*energies.values(), evaluation.energy):
        assert np.isfinite(energy).all()
        assert (np.asarray(energy)[len(FEW) :] == 0.0).all()
    assert np.isfinite(slope_of_energy(x, terms)).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_lane_has_the_same_bits_whatever_its_companions(dtype: Any) -> None:
    random = np.random.default_rng(0)
    mols = [molecule(text) for text in FEW]
    prepared = [POTENTIAL.prepare(structure_of(mol)) for mol in mols]
    positions = [mol.GetConformer().GetPositions() for mol in mols]
    none = np.zeros((0, 3))
    compared = 0
    for case in range(len(FEW)):
        alone = compute(
            *tile_of([prepared[case], *[None] * (LANES - 1)], [positions[case]], 24, dtype)
        )[1]
        for _ in range(3):
            crowd = random.choice([*range(len(FEW)), -1], LANES)
            lane = int(random.integers(LANES))
            crowd[lane] = case
            got = compute(
                *tile_of(
                    [prepared[c] if c >= 0 else None for c in crowd],
                    [positions[c] if c >= 0 else none for c in crowd],
                    24,
                    dtype,
                )
            )[1]
            assert np.array_equal(got.energy[lane], alone.energy[0])
            assert np.array_equal(got.forces[..., lane], alone.forces[..., 0])
            compared += 1
    assert compared == 3 * len(FEW)


@pytest.mark.exact
@pytest.mark.parametrize("dtype", first([np.float32, np.float64]))
def test_rounded_program_has_the_same_bits_at_any_number_of_lanes(dtype: Any) -> None:
    evaluate = jax.jit(rounded(POTENTIAL.evaluate))
    x, terms = few(dtype=dtype)
    cell = jnp.zeros((3, 3, x.shape[-1]), x.dtype)
    whole = evaluate(x, cell, terms)
    some = jax.tree.map(lambda array: array[..., 5:8], (x, cell, terms))
    part = evaluate(*some)
    assert np.array_equal(part.energy, whole.energy[5:8])
    assert np.array_equal(part.forces, whole.forces[..., 5:8])


def test_a_broken_lane_leaves_the_others_alone() -> None:
    x, terms = few()
    whole = compute(x, terms)[1]
    broken = compute(x.at[:, 2, 3].set(jnp.nan), terms)[1]
    assert np.isnan(broken.energy[3])
    others = np.arange(LANES) != 3
    assert np.array_equal(broken.energy[others], whole.energy[others])
    assert np.array_equal(broken.forces[..., others], whole.forces[..., others])


def test_arc_is_accurate_to_the_last_digits() -> None:
    angle = np.linspace(0.0, np.pi / 2, 10_001)[1:]
    got = np.asarray(_arc(jnp.cos(angle))) * np.sin(angle)
    assert np.abs(got / angle - 1.0).max() < 5 * np.finfo(float).eps


def test_kcal_per_mol_is_that_of_ase() -> None:
    import ase.units

    assert pytest.approx(ase.units.kcal / ase.units.mol, rel=1e-12) == parameters.KCAL_PER_MOL


def test_common_molecules_fit_their_own_capacity_and_every_one_some_capacity() -> None:
    fitting = 0
    for text in smiles.DRUGS:
        prepared = POTENTIAL.prepare(structure_of(molecule(text)))
        n = len(prepared["bond_inverse"])
        fitting += fits(prepared, next(c for c in CAPACITIES if c >= n))
    assert fitting >= 0.9 * len(smiles.DRUGS)
    cages = ("C12C3C4C1C5C2C3C45", "C1C2CC3CC1CC(C2)C3", "CC(C)(C)C(C)(C)C(C)(C)C")
    for text in cages:
        prepared = POTENTIAL.prepare(structure_of(molecule(text)))
        assert any(fits(prepared, capacity) for capacity in CAPACITIES)


# Preparation


@pytest.fixture
def cache() -> Any:
    parameters._cache.clear()
    return parameters._cache


def test_conformers_share_their_arrays(cache: Any) -> None:
    first, second = molecule("CCO"), molecule("CCO", 0.2)
    a, b = (POTENTIAL.prepare(structure_of(Chem.Mol(mol))) for mol in (first, second))
    assert len(cache) == 1
    assert all(a[name] is b[name] for name in POTENTIAL.fields())
    assert not any(array.flags.writeable for array in a.values())


def test_arrays_depend_on_the_content_of_the_topology_and_the_variant(cache: Any) -> None:
    mol = Chem.Mol(molecule("c1ccccc1N(C)C"))
    plain = POTENTIAL.prepare(structure_of(mol))
    static = MMFF94(variant="MMFF94s").prepare(structure_of(mol))
    assert not np.array_equal(plain["torsion_k"], static["torsion_k"])
    mol.GetAtomWithIdx(mol.GetNumAtoms() - 1).SetAtomicNum(9)  # a methyl hydrogen
    changed = POTENTIAL.prepare(structure_of(mol))
    assert not np.array_equal(plain["charge_product"], changed["charge_product"])
    assert len(cache) == 3


def test_the_cache_is_bounded(cache: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameters, "_CACHE_SIZE", 3)
    for text in ("C", "CC", "CCC", "CCCC", "CCCCC"):
        POTENTIAL.prepare(structure_of(molecule(text)))
    assert len(cache) == 3


def test_threads_get_the_arrays_of_their_own_molecule(cache: Any) -> None:
    structures = [structure_of(molecule(text)) for text in FEW] * 8
    expected = [POTENTIAL.prepare(structure)["bond_r0"] for structure in structures]
    cache.clear()
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda s: POTENTIAL.prepare(s)["bond_r0"], structures))
    for a, b in zip(got, expected, strict=True):
        assert np.array_equal(a, b)


def test_topology_that_was_not_sanitized_is_used() -> None:
    mol = molecule("c1ccccc1C(=O)N")
    plain = Chem.MolFromMolBlock(Chem.MolToMolBlock(mol), sanitize=False, removeHs=False)
    a, b = (POTENTIAL.prepare(structure_of(m)) for m in (mol, plain))
    assert all(np.array_equal(a[name], b[name]) for name in POTENTIAL.fields())
    unspecified = Chem.HybridizationType.UNSPECIFIED  # the caller's own Mol is left as it was
    assert all(atom.GetHybridization() == unspecified for atom in plain.GetAtoms())


@pytest.mark.parametrize(
    ("text", "charge"), [("CC(=O)NC", None), ("c1ccsc1", 0), ("C[NH3+]", 1), ("CC(=O)[O-]", -1)]
)
def test_bonds_are_perceived_without_a_topology(text: str, charge: int | None) -> None:
    mol = molecule(text, 0.0)
    ours = run([structure_of(mol, topology=None, charge=charge)], 24)[1]
    given = run([structure_of(mol)], 24)[1]
    assert float(ours.energy[0]) == pytest.approx(float(given.energy[0]), abs=1e-9)


def refusal(structure: Structure) -> str:
    with pytest.raises(PotentialError) as caught:
        POTENTIAL.prepare(structure)
    message = str(caught.value)
    assert message.startswith(f"{structure.id!r}: ")
    return message


def test_refuses_elements_without_parameters() -> None:
    message = refusal(structure_of(Chem.AddHs(Chem.MolFromSmiles("CB(C)[SeH]")), "mine"))
    assert "1 (B), 3 (Se)" in message
    assert "GFN2-xTB" in message


def test_refuses_bonding_without_a_type() -> None:
    message = refusal(structure_of(Chem.MolFromSmiles("[H][H]", sanitize=False)))
    assert "atom 0 (H) has no atom type; it has bonds to H1" in message
    assert "UFF" in message


@pytest.mark.parametrize(
    ("smiles", "told"),
    [
        ("CCO.S(F)(F)(F)(F)(F)F", "atom 3 (S) has no atom type; it has bonds to F4, F5, "),
        ("CC.C[Zn]C", "atom 3 (Zn) has no atom type; it has bonds to C2, C4"),
        ("CO.[I-]", "atom 2 (I) has no atom type; it has no bonds"),
        ("CCO.Cl", "atom 10 (H) has no atom type; it has bonds to Cl3"),
        ("CCO.O=O", "some of the atoms 3 (O), 4 (O) have bonds or charges"),
    ],
)
def test_atoms_without_a_type_are_named(smiles: str, told: str) -> None:
    assert told in refusal(structure_of(Chem.AddHs(Chem.MolFromSmiles(smiles))))


@pytest.mark.parametrize(
    ("charge", "told", "untold"),
    [
        (None, "Give its charge", "Correct its"),
        (2, "total charge of 2", "Give its"),
        (0.5, "its charge is 0.5; MMFF94 needs a whole number", "Give its"),
    ],
)
def test_a_charge_that_was_given_is_not_asked_for(charge: Any, told: str, untold: str) -> None:
    numbers = np.array([6, 1, 1, 1], np.int32)
    positions = np.array([[0, 0, 0], [1.08, 0, 0], [-0.54, 0.94, 0], [-0.54, -0.94, 0.0]])
    message = refusal(Structure(id="CH3", numbers=numbers, positions=positions, charge=charge))
    assert told in message
    assert untold not in message


def test_refuses_hydrogens_that_are_not_atoms() -> None:
    message = refusal(structure_of(Chem.MolFromSmiles("CCO")))
    assert "6 hydrogens" in message
    assert "Chem.AddHs" in message


def test_refuses_what_no_bonds_fit() -> None:
    mol = molecule("CC(=O)[O-]", 0.0)
    message = refusal(structure_of(mol, topology=None, charge=0))
    assert "total charge of 0" in message
    assert "SDF" in message


def test_refuses_a_topology_that_makes_no_sense() -> None:
    mol = Chem.MolFromSmiles("C(C)(C)(C)(C)C", sanitize=False)
    assert "Correct" in refusal(structure_of(mol))


@pytest.mark.parametrize("numbers", [[8, 1], [1, 8, 1]])
def test_refuses_a_topology_of_other_atoms(numbers: list[int]) -> None:
    mol = molecule("O")
    numbers = np.asarray(numbers, np.int32)
    changes = {"numbers": numbers, "positions": np.zeros((len(numbers), 3))}
    message = refusal(structure_of(mol, **changes))
    assert "[8, 1, 1]" in message
    assert "same order" in message


def test_refuses_something_else_for_a_topology() -> None:
    assert "is a str" in refusal(structure_of(molecule("O"), topology="O"))


def test_refuses_periodic_structures() -> None:
    pbc = np.asarray([True, False, False])
    message = refusal(structure_of(molecule("O"), pbc=pbc))
    assert "[True, False, False]" in message
    assert "pbc=False" in message


def test_says_how_to_install_rdkit(monkeypatch: pytest.MonkeyPatch) -> None:
    structure = structure_of(molecule("O"))
    monkeypatch.setitem(sys.modules, "rdkit", None)
    assert "pip install 'kups-relax[rdkit]'" in refusal(structure)


def test_refuses_an_unknown_variant() -> None:
    with pytest.raises(OptionError, match="'MMFF99'"):
        MMFF94(variant="MMFF99")  # pyright: ignore[reportArgumentType]


def test_import_leaves_rdkit_alone() -> None:
    code = "import sys, kups_relax.potentials; assert 'rdkit' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
