"""MMFF94 term lists and parameters of one molecule, looked up in RDKit on the host."""

import collections
import threading
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from kups_relax.data._structure import Structure
from kups_relax.errors import PotentialError
from kups_relax.ops import inverse_list
from kups_relax.potentials._mmff94_types import DEGREES, untyped
from kups_relax.potentials._species import charge_of, refuse_periodic, symbols_of

KCAL_PER_MOL = 0.043364103900593226
"""1 kcal/mol in eV, as `ase.units` has it."""

MAX_DEGREE = 4
"""Most bonds of one atom: no MMFF94 atom type has more."""

_STRETCH = 143.9325  # from mdyn/A to kcal/mol/A^2, and from mdyn A/rad^2 to kcal/mol/rad^2
_COULOMB = 332.0716  # kcal/mol A/e^2
_COULOMB_14 = 0.75
_BUFFERS = 1.12 * 1.07**7  # the constant factors of the buffered 14-7 energy
_LINEAR_TYPES = frozenset({4, 53, 61})  # sp carbon, and nitrogen of =N= and of isonitriles
_INSTEAD = (
    "Use a potential that covers it, for example UFF in RDKit, or GFN2-xTB through an ASE "
    "calculator."
)
_PERCEPTION_STEPS = 100_000  # bond orders to try: without a bound, some structures take hours

_CACHE_SIZE = 256
_cache: collections.OrderedDict[tuple[bytes, str], Mapping[str, np.ndarray]] = (
    collections.OrderedDict()
)
_cache_lock = threading.Lock()


def mmff94_arrays(structure: Structure, variant: str) -> Mapping[str, np.ndarray]:
    """Make the arrays that `MMFF94.fields` lists, for one structure.

    They depend on the topology alone, so all conformers of a molecule share them: those of the
    latest 256 topologies are kept. They cannot be written to.

    Raises:
        PotentialError: See `MMFF94.prepare`.
    """
    try:
        from rdkit import Chem, rdBase
    except ImportError as error:
        raise PotentialError(
            f"{structure.id!r}: MMFF94 takes atom types and parameters from RDKit, which is not "
            "installed. Run `pip install 'kups-relax[rdkit]'`."
        ) from error
    refuse_periodic("MMFF94", structure)
    _refuse_foreign(structure)
    if structure.topology is None:
        with rdBase.BlockLogs():
            mol = _perceive(structure)
    elif isinstance(structure.topology, Chem.Mol):
        mol = Chem.Mol(structure.topology, True)  # without conformers and properties
    else:
        raise PotentialError(
            f"{structure.id!r}: its topology is a {type(structure.topology).__name__}; MMFF94 "
            "needs an RDKit Mol, or None to perceive the bonds from the positions."
        )
    # The content, not the object: a Mol can be changed, and each SDF record is a new one.
    key = (mol.ToBinary(int(Chem.PropertyPickleOptions.NoProps)), variant)
    with _cache_lock:
        found = _cache.get(key)
        if found is not None:
            _cache.move_to_end(key)
    if found is None:
        with rdBase.BlockLogs():
            _complete(mol, structure.id)
            found = _look_up(mol, structure.id, variant)
        with _cache_lock:
            _cache[key] = found
            while len(_cache) > _CACHE_SIZE:
                _cache.popitem(last=False)
    numbers = found["numbers"]
    if not np.array_equal(numbers, structure.numbers):
        raise PotentialError(
            f"{structure.id!r}: its topology has {len(numbers)} atoms, with atomic numbers "
            f"{_shorten(numbers)}; the structure has {structure.n_atoms}, with "
            f"{_shorten(structure.numbers)}. Give a topology of the same atoms, hydrogens "
            "included, in the same order."
        )
    return {name: array for name, array in found.items() if name != "numbers"}


def _refuse_foreign(structure: Structure) -> None:
    symbols = symbols_of(structure)
    foreign = [i for i, z in enumerate(structure.numbers.tolist()) if z not in DEGREES]
    if foreign:
        named = ", ".join(f"{i} ({symbols[i]})" for i in foreign[:8])
        more = f" and {len(foreign) - 8} more" if len(foreign) > 8 else ""
        raise PotentialError(
            f"{structure.id!r}: MMFF94 cannot describe it: it has no parameters for the elements "
            f"of {len(foreign)} atoms: {named}{more}. {_INSTEAD}"
        )


def _shorten(numbers: np.ndarray) -> str:
    shown = ", ".join(str(int(z)) for z in numbers[:12])
    return f"[{shown}, ...]" if len(numbers) > 12 else f"[{shown}]"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _perceive(structure: Structure) -> Any:
    """Find the bonds of a structure that came without."""
    from rdkit import Chem
    from rdkit.Chem import rdDetermineBonds

    mol = Chem.RWMol()
    conformer = Chem.Conformer(structure.n_atoms)
    for i, number in enumerate(structure.numbers.tolist()):
        atom = Chem.Atom(number)
        atom.SetNoImplicit(True)
        mol.AddAtom(atom)
        conformer.SetAtomPosition(i, structure.positions[i].tolist())
    mol.AddConformer(conformer)
    charge = charge_of("MMFF94", structure)
    try:
        rdDetermineBonds.DetermineBonds(
            mol, charge=charge, embedChiral=False, maxIterations=_PERCEPTION_STEPS
        )
        Chem.SanitizeMol(mol)
    except Exception as error:  # RDKit raises ValueError, RuntimeError, and types of its own
        raise PotentialError(
            f"{structure.id!r}: no bonds could be found that fit its positions and a total charge "
            f"of {charge} (RDKit: {_first_line(error)}). "
            + ("Give" if structure.charge is None else "Correct")
            + " its charge, info['charge']"
            + ", or read it from a file that has bonds, such as an SDF, or from an RDKit Mol."
        ) from error
    return Chem.Mol(mol, True)


def _complete(mol: Any, id: str) -> None:
    """Sanitize a molecule that has not been, and refuse hydrogens that are not atoms."""
    from rdkit import Chem

    unknown = Chem.HybridizationType.UNSPECIFIED
    heavy = [atom for atom in mol.GetAtoms() if atom.GetAtomicNum() > 1]
    try:
        if mol.NeedsUpdatePropertyCache() or any(a.GetHybridization() == unknown for a in heavy):
            Chem.SanitizeMol(mol)
    except Exception as error:
        raise PotentialError(
            f"{id!r}: RDKit cannot make sense of its topology ({_first_line(error)}). Correct "
            "its bonds and charges."
        ) from error
    missing = [(atom.GetIdx(), atom.GetSymbol(), atom.GetTotalNumHs()) for atom in heavy]
    missing = [found for found in missing if found[2]]
    if missing:
        first, symbol, _ = missing[0]
        raise PotentialError(
            f"{id!r}: {sum(count for *_, count in missing)} hydrogens of its topology are not "
            f"atoms, the first at atom {first} ({symbol}). MMFF94 needs all of them: add "
            "hydrogens with Chem.AddHs(mol, addCoords=True)."
        )


def _look_up(mol: Any, id: str, variant: str) -> Mapping[str, np.ndarray]:
    """Look everything up. Also returns "numbers", the atomic numbers of the topology."""
    from rdkit.Chem import rdForceFieldHelpers

    atoms = list(mol.GetAtoms())
    try:
        properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol, variant)
    except Exception as error:
        raise PotentialError(
            f"{id!r}: RDKit cannot assign MMFF94 types ({_first_line(error)}). {_INSTEAD}"
        ) from error
    if properties is None:
        raise PotentialError(f"{id!r}: MMFF94 cannot describe it: {untyped(mol)}. {_INSTEAD}")
    molecule = _Molecule(mol, id, properties)
    arrays = {"numbers": np.asarray([atom.GetAtomicNum() for atom in atoms], np.int32)}
    arrays |= molecule.bonds() | molecule.angles() | molecule.torsions() | molecule.pairs()
    for array in arrays.values():
        array.flags.writeable = False
    return arrays


class _Molecule:
    """Collect the terms of one molecule, in the order of its atoms and bonds.

    Bond b = (i, j) is also two directed bonds: 2 b points from i to j, 2 b + 1 from j to i.
    """

    def __init__(self, mol: Any, id: str, properties: Any) -> None:
        self.mol, self.id, self.properties = mol, id, properties
        self.n_atoms, self.n_bonds = mol.GetNumAtoms(), mol.GetNumBonds()
        self.bonded = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds()]
        self.types = [properties.GetMMFFAtomType(i) for i in range(self.n_atoms)]
        # Of each atom: its neighbours, and the directed bonds that point to them.
        self.near: list[list[tuple[int, int]]] = [[] for _ in range(self.n_atoms)]
        for b, (i, j) in enumerate(self.bonded):
            self.near[i].append((j, 2 * b))
            self.near[j].append((i, 2 * b + 1))
        for i, near in enumerate(self.near):
            if len(near) > MAX_DEGREE:
                self.refuse(f"atom {i} ({self.symbol(i)}) has {len(near)} bonds")
        self.r0: list[float] = []
        # Of each angle: its row, and the sign of its plane's normal.
        self.angle_of: dict[tuple[int, int, int], tuple[int, float]] = {}

    def symbol(self, i: int) -> str:
        return self.mol.GetAtomWithIdx(i).GetSymbol()

    def refuse(self, reason: str) -> NoReturn:
        raise PotentialError(f"{self.id!r}: MMFF94 cannot describe it: {reason}. {_INSTEAD}")

    def need(self, what: str, found: Any, *atoms: int) -> Any:
        if found is None:
            named = "-".join(f"{self.symbol(i)}{i}" for i in atoms)
            self.refuse(f"there are no {what} parameters for {named}")
        return found

    def bonds(self) -> dict[str, np.ndarray]:
        get, k = self.properties.GetMMFFBondStretchParams, []
        for i, j in self.bonded:
            _, kb, r0 = self.need("bond", get(self.mol, i, j), i, j)
            k.append(kb)
            self.r0.append(r0)
        index = _table(self.bonded, 2, np.int32)
        return {
            "bond": index,
            "bond_inverse": _inverse(index, self.n_atoms, MAX_DEGREE),
            "bond_k": 0.5 * _STRETCH * KCAL_PER_MOL * _table(k),
            "bond_r0": _table(self.r0),
        }

    def angles(self) -> dict[str, np.ndarray]:
        """Collect bends, with the bend out of plane of the third bond where there are three."""
        properties, mol = self.properties, self.mol
        index, bend, stretch, r0 = [], [], [], []
        for j, near in enumerate(self.near):
            linear = self.types[j] in _LINEAR_TYPES
            koop = 0.0
            if len(near) == 3:
                i, k, m = (atom for atom, _ in near)
                # A centre that the tables leave out has no such term.
                koop = properties.GetMMFFOopBendParams(mol, i, j, k, m) or 0.0
            for x, (i, out_i) in enumerate(near):
                for y, (k, out_k) in enumerate(near[x + 1 :], x + 1):
                    found = properties.GetMMFFAngleBendParams(mol, i, j, k)
                    _, ka, theta0 = self.need("angle", found, i, j, k)
                    both = None if linear else properties.GetMMFFStretchBendParams(mol, i, j, k)
                    self.angle_of[i, j, k] = len(index), 1.0
                    self.angle_of[k, j, i] = len(index), -1.0
                    index.append((out_i, out_k, near[3 - x - y][1] if koop else -1))
                    bend.append((0.0, np.pi, ka) if linear else (ka, np.deg2rad(theta0), 0.0))
                    stretch.append((0.0, 0.0) if both is None else both[1:])
                    r0.append((koop, self.r0[out_i // 2], self.r0[out_k // 2]))
        index, bend, r0 = _table(index, 3, np.int32), _table(bend, 3), _table(r0, 3)
        unit, width = _STRETCH * KCAL_PER_MOL, MAX_DEGREE - 1
        return {
            "angle": np.where(index >= 0, index, index[:, :1]),
            "angle_inverse": _inverse(index, 2 * self.n_bonds, width).reshape(-1, 2, width),
            "angle_k": 0.5 * unit * bend[:, 0],
            "angle_theta0": bend[:, 1].copy(),
            "angle_linear": unit * bend[:, 2],
            "angle_stretch": unit * _table(stretch, 2),
            "angle_r0": r0[:, 1:].copy(),
            "angle_oop": 0.5 * unit * r0[:, 0],
        }

    def torsions(self) -> dict[str, np.ndarray]:
        get = self.properties.GetMMFFTorsionParams
        index, v, sign = [], [], []
        for j, k in self.bonded:
            for i, m in ((i, m) for i, _ in self.near[j] for m, _ in self.near[k]):
                found = None if i in (k, m) or m == j else get(self.mol, i, j, k, m)
                if found is not None and any(found[1:]):
                    first, first_sign = self.angle_of[i, j, k]
                    second, second_sign = self.angle_of[j, k, m]
                    index.append((first, second))
                    sign.append(first_sign * second_sign)
                    v.append(found[1:])
        index = _table(index, 2, np.int32)
        v1, v2, v3 = 0.5 * KCAL_PER_MOL * _table(v, 3).T
        sign = _table(sign)
        # v1 (1 + cos phi) + v2 (1 - cos 2 phi) + v3 (1 + cos 3 phi), in powers of sign * cos phi.
        k = [v1 + 2.0 * v2 + v3, sign * (v1 - 3.0 * v3), -2.0 * v2, sign * (4.0 * v3)]
        return {
            "torsion": index,
            "torsion_inverse": _inverse(index, len(self.angle_of) // 2, 2 * (MAX_DEGREE - 1)),
            "torsion_k": np.stack(k),
        }

    def pairs(self) -> dict[str, np.ndarray]:
        """Collect all pairs: without those of distance one or two, and weaker at distance three."""
        types, example, kind = np.unique(self.types, return_index=True, return_inverse=True)
        table = np.zeros((2, len(types), len(types)))
        for x, i in enumerate(example.tolist()):
            for y, j in enumerate(example[: x + 1].tolist()):
                found = self.properties.GetMMFFVdWParams(i, j)
                table[:, x, y] = table[:, y, x] = self.need("van der Waals", found, i, j)[2:]
        radius, depth = table[:, kind[:, None], kind]
        charges = _table([self.properties.GetMMFFPartialCharge(i) for i in range(self.n_atoms)])
        near, at_three = self.paths(2), self.paths(3)
        scale = np.ones((self.n_atoms, self.n_atoms))
        scale[at_three] = _COULOMB_14
        scale[near] = 0.0
        depth[near] = 0.0
        return {
            "vdw_inverse_radius": 1.0 / radius,
            "vdw_depth": _BUFFERS * KCAL_PER_MOL * depth,
            "charge_product": _COULOMB * KCAL_PER_MOL * scale * (charges[:, None] * charges),
        }

    def paths(self, n_bonds: int) -> tuple[np.ndarray, np.ndarray]:
        """Index each two atoms with at most so many bonds between them, an atom and itself too."""
        from scipy.sparse import csr_array, eye_array

        ends = np.array(self.bonded, int).reshape(-1, 2).T
        there = csr_array((np.ones(self.n_bonds), tuple(ends)), (self.n_atoms, self.n_atoms))
        step = eye_array(self.n_atoms, format="csr") + there + there.T
        reached = step
        for _ in range(n_bonds - 1):
            reached = reached @ step
        return reached.nonzero()


def _table(rows: list, width: int | None = None, dtype: Any = np.float64) -> np.ndarray:
    """Make an array of rows that has its width even where there are none."""
    return np.asarray(rows, dtype).reshape(-1, *([] if width is None else [width]))


def _inverse(index: np.ndarray, n_rows: int, width: int) -> np.ndarray:
    """Make an inverse list of a fixed width, leaving out slots below zero."""
    flat = index.reshape(-1)
    real = np.flatnonzero(flat >= 0)
    inverse = inverse_list(flat[real], n_rows)
    if len(real):
        inverse = np.where(inverse >= 0, real[inverse], -1)
    wider = np.full((n_rows, width), -1, np.int32)
    wider[:, : inverse.shape[1]] = inverse
    return wider
