"""The Merck molecular force field, with atom types and parameters from RDKit.

How the bonded terms are laid out for speed. Everything is a function of bond vectors: bonds are
taken from atoms, angles from bonds, torsions from angles, and slopes go back the same way, each
step a gather. A torsion's cosine is the product of the unit normals of its two angles' planes,
and the sine of an out-of-plane angle is that of a plane's normal with the third bond, so the
slope with respect to an angle's normal collects both.

Each gather from something computed stands in a loop over x, y and z. What a loop reads is
stored; outside of one, XLA on CPU computes an operand anew for every element that is taken
from it, which made this code five times slower.
"""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from kups_relax._checks import Choice, settle
from kups_relax.data import Field, Terms
from kups_relax.data._structure import Structure
from kups_relax.ops import fold, take_rows
from kups_relax.potentials._base import Evaluation, Potential
from kups_relax.potentials._mmff94_parameters import MAX_DEGREE, mmff94_arrays
from kups_relax.potentials._pairs import all_pairs

_VARIANTS = ("MMFF94", "MMFF94s")


@dataclasses.dataclass(frozen=True)
class MMFF94(Potential):
    """Merck molecular force field for organic molecules and their complexes.

    The sum of seven terms: bond stretching (quartic), angle bending (cubic, or 1 + cos for
    linear centres), stretch-bend coupling, out-of-plane bending (Wilson angles), torsion,
    buffered 14-7 van der Waals, and buffered Coulomb with a constant dielectric. All pairs of
    atoms interact, without a cutoff, also between the molecules of a complex.

    Atom types, charges and parameters come from RDKit, which must be installed. They depend on
    the bonds, not on the positions. Each term agrees with RDKit's to 1e-6 kcal/mol where RDKit
    is told `ignoreInterfragInteractions=False`; by default it leaves out what acts between
    fragments, and pairs farther than 100 Angstrom.

    An evaluation of 44 atoms takes about 20 us of one core; it grows with the square of the
    number of atoms. Compiling takes 3 to 4 CPU seconds for each size of tile that is met first.

    Attributes:
        variant: "MMFF94", or "MMFF94s", whose out-of-plane and torsion parameters make
            delocalised three-coordinate nitrogen planar, as time-averaged structures show it.

    Raises:
        OptionError: `variant` is neither.

    Example:
        >>> MMFF94(variant="MMFF94s").describe()
        {'name': 'mmff94', 'variant': 'MMFF94s'}

    References:
        T. A. Halgren, J. Comput. Chem. 17, 490-641 (1996), parts I to V (IV with R. B. Nachbar),
        doi:10.1002/(SICI)1096-987X(199604)17:5/6<490::AID-JCC1>3.0.CO;2-P,
        doi:10.1002/(SICI)1096-987X(199604)17:5/6<520::AID-JCC2>3.0.CO;2-W,
        doi:10.1002/(SICI)1096-987X(199604)17:5/6<553::AID-JCC3>3.0.CO;2-T,
        doi:10.1002/(SICI)1096-987X(199604)17:5/6<587::AID-JCC4>3.0.CO;2-Q,
        doi:10.1002/(SICI)1096-987X(199604)17:5/6<616::AID-JCC5>3.0.CO;2-X.
        MMFF94s: T. A. Halgren, J. Comput. Chem. 20, 720-729 (1999),
        doi:10.1002/(SICI)1096-987X(199905)20:7<720::AID-JCC7>3.0.CO;2-X.
        RDKit's: P. Tosco, N. Stiefl, G. Landrum, J. Cheminform. 6, 37 (2014),
        doi:10.1186/s13321-014-0037-3.
    """

    name: ClassVar[str] = "mmff94"

    variant: Literal["MMFF94", "MMFF94s"] = "MMFF94"

    def __post_init__(self) -> None:
        settle(self, "MMFF94: ", variant=Choice(_VARIANTS))

    def prepare(self, structure: Structure) -> Mapping[str, np.ndarray]:
        """Look up terms and parameters of a molecule in RDKit.

        The bonds are those of `structure.topology`, an RDKit Mol with all hydrogens. Without
        one RDKit perceives them from positions and total charge, which costs more, and which
        finds another resonance form than a chemist would for some conjugated rings with sulfur.
        The first lookup of a molecule of 44 atoms takes 1 to 2 ms, one of another conformer
        0.04 ms.

        Returns:
            The arrays of `fields`: shared between conformers, and read-only. Energies are in
            eV, lengths in Angstrom, angles in radians.

        Raises:
            PotentialError: RDKit is missing; the structure is periodic; it has hydrogens that
                are not atoms; no bonds can be perceived; the topology is of other atoms; or
                MMFF94 has no types or parameters for it.
        """
        return mmff94_arrays(structure, self.variant)

    def fields(self) -> Mapping[str, Field]:
        """Say how the arrays are laid out.

        A bond's row holds its two atoms. Bond b is two directed bonds, 2 b (from the first atom)
        and 2 b + 1. An angle's row holds the two directed bonds that leave its centre, and the
        third one where the centre bends out of plane. A torsion's row holds two angles. The
        inverse lists say which slots of those rows take an atom, a directed bond, an angle.
        """

        def index(*axes: str | int) -> Field:
            return Field(axes, "int")

        def inverse(*axes: str | int) -> Field:
            return Field(axes, "int", -1)

        return {
            "bond": index("bonds", 2),
            "bond_inverse": inverse("atoms", MAX_DEGREE),
            "bond_k": Field(("bonds",)),
            "bond_r0": Field(("bonds",)),
            "angle": index("angles", 3),
            "angle_inverse": inverse("bonds", 2, MAX_DEGREE - 1),
            "angle_k": Field(("angles",)),
            "angle_theta0": Field(("angles",)),
            "angle_linear": Field(("angles",)),
            "angle_stretch": Field(("angles", 2)),
            "angle_r0": Field(("angles", 2)),
            "angle_oop": Field(("angles",)),
            "torsion": index("torsions", 2),
            "torsion_inverse": inverse("angles", 2 * (MAX_DEGREE - 1)),
            "torsion_k": Field((4, "torsions")),
            "vdw_inverse_radius": Field(("pairs",), fill=1.0),
            "vdw_depth": Field(("pairs",)),
            "charge_product": Field(("pairs",)),
        }

    def capacities(self, n_atoms: int) -> Mapping[str, int]:
        """Lengths of the term lists: 98 of 100 drug-like molecules fit at their own size.

        No atom has more than four bonds, so that every molecule fits at some size.
        """
        return {
            "bonds": n_atoms + n_atoms // 8,
            "angles": 2 * n_atoms,
            "torsions": 3 * n_atoms,
        }

    def evaluate(self, positions: jax.Array, cell: jax.Array, terms: Terms) -> Evaluation:
        """Compute energy (eV) and forces (eV/Angstrom). See `Potential.evaluate`."""
        del cell
        rows, forces = _bonded(positions, terms)
        energy, push = _all_pairs(positions, terms, terms["vdw_depth"], terms["charge_product"])
        of_angles = rows["angle"] + rows["stretch_bend"] + rows["out_of_plane"]
        parts = [rows["bond"], of_angles, rows["torsion"]]
        # At a power of two no fold has an odd row; that compiles a fifth faster.
        count = sum(len(part) for part in parts)
        unused = (1 << (count - 1).bit_length()) - count
        parts.append(jnp.zeros((unused, *energy.shape), energy.dtype))
        return Evaluation(energy + fold(jnp.concatenate(parts)), forces + push)

    def term_energies(self, positions: jax.Array, terms: Terms) -> dict[str, jax.Array]:
        """Compute each of the seven terms on its own.

        Args:
            positions: (3, atom capacity, n_lanes), Angstrom.
            terms: The prepared arrays.

        Returns:
            (n_lanes,) each, eV: bond, angle, stretch_bend, out_of_plane, torsion, vdw,
            electrostatic.
        """
        energies = {name: fold(row) for name, row in _bonded(positions, terms)[0].items()}
        depth, charges = terms["vdw_depth"], terms["charge_product"]
        energies["vdw"] = _all_pairs(positions, terms, depth, jnp.zeros_like(charges))[0]
        energies["electrostatic"] = _all_pairs(positions, terms, jnp.zeros_like(depth), charges)[0]
        return energies


def _bonded(positions: jax.Array, terms: Terms) -> tuple[dict[str, jax.Array], jax.Array]:
    """Compute the energy of every bonded term, and the forces of all of them.

    Rows beyond the counts have zero force constants. A length that is zero, in such rows or for
    the normal of an angle of 180 degrees, is taken as one, so that nothing becomes infinite.

    Returns:
        Energies (n, n_lanes) of each kind of term, and forces (3, A, n_lanes).
    """
    capacity, lanes = terms["bond_k"].shape

    ends = take_rows(positions, terms["bond"])
    along = ends[:, :, 1] - ends[:, :, 0]
    r = _root(_dot(along, along), 0.0)
    along = along * (1.0 / r)
    energies = {}
    energies["bond"], stretch_slope = _stretches(r, terms)

    both_ways = jnp.stack([along, -along], axis=2)
    lengths = jnp.broadcast_to(r[None, :, None], (1, *both_ways.shape[1:]))
    directed = jnp.concatenate([both_ways, lengths]).reshape(4, 2 * capacity, lanes)
    arms = jax.lax.map(lambda row: take_rows(row, terms["angle"]), directed)
    two, two_r, third, third_r = arms[:3, :, :2], arms[3, :, :2], arms[:3, :, 2], arms[3, :, 2]

    cos = _dot(two[:, :, 0], two[:, :, 1])
    normal = _cross(two[:, :, 0], two[:, :, 1])
    sin2 = _dot(normal, normal)
    sin = _root(sin2, _tiny(sin2))
    normal = normal * (1.0 / sin)
    bend, coupling, delta, bend_slope = _bends(cos, sin2, two_r, terms)
    energies["angle"], energies["stretch_bend"] = bend, coupling
    energies["torsion"], turn = _torsions(normal, two, terms)
    energies["out_of_plane"], tilt, wilson_sin = _tilts(normal, third, terms)

    # The slope with respect to each arm: turning the plane, closing the angle, stretching.
    turn = turn + tilt[:, None] * _dot(two, third[:, :, None])
    cos = cos[:, None]
    turn = (cos * turn[:, ::-1] - turn) / ((sin * sin)[:, None] * two_r)
    close = bend_slope[:, None] / two_r
    draw = (bend_slope[:, None] * cos + terms["angle_stretch"] * delta[:, None] * two_r) / two_r
    on_two = turn * normal[:, :, None] - close * two[:, :, ::-1] + draw * two
    tilt = tilt / third_r
    on_third = tilt * normal - (tilt * wilson_sin) * third
    on_arms = jnp.concatenate([on_two, on_third[:, :, None]], axis=2).reshape(3, -1, lanes)

    angle_inverse = terms["angle_inverse"].reshape(2 * capacity, -1, lanes)
    atom_inverse = terms["bond_inverse"]

    def on_bonds(row: tuple[jax.Array, jax.Array]) -> jax.Array:
        out = _collect(row[0], angle_inverse).reshape(capacity, 2, lanes)
        return out[:, 0] - out[:, 1] + stretch_slope * row[1]

    def on_atoms(row: jax.Array) -> jax.Array:
        taken = take_rows(row, jnp.maximum(atom_inverse, 0) >> 1)
        taken = jnp.where((atom_inverse & 1) == 1, -taken, taken)
        return fold(jnp.where(atom_inverse >= 0, taken, jnp.zeros((), row.dtype)), axis=1)

    return energies, jax.lax.map(on_atoms, jax.lax.map(on_bonds, (on_arms, along)))


def _stretches(r: jax.Array, terms: Terms) -> tuple[jax.Array, jax.Array]:
    """Energy of each bond, and its slope in the length."""
    delta = r - terms["bond_r0"]
    k_delta, delta2 = terms["bond_k"] * delta, delta * delta
    energy = k_delta * delta * (1.0 - 2.0 * delta + (7.0 / 3.0) * delta2)
    return energy, k_delta * (2.0 - 6.0 * delta + (28.0 / 3.0) * delta2)


def _bends(
    cos: jax.Array, sin2: jax.Array, r: jax.Array, terms: Terms
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Energies of bending and of stretch-bend, the deviation, and the slope divided by the sine.

    The slope is that of both energies in the angle. In a straight angle it has no direction and
    is taken as zero.
    """
    root = _root(sin2, _tiny(sin2))
    sin = jnp.where(sin2 <= _tiny(sin2), jnp.zeros((), sin2.dtype), root)
    acute = sin * _arc(jnp.abs(cos))
    delta = jnp.where(cos < 0.0, jnp.pi - acute, acute) - terms["angle_theta0"]
    k_delta = terms["angle_k"] * delta
    energy = k_delta * delta * (1.0 - 0.4 * delta) + terms["angle_linear"] * (1.0 + cos)
    pulls = terms["angle_stretch"] * (r - terms["angle_r0"])
    pull = pulls[:, 0] + pulls[:, 1]
    slope = k_delta * (2.0 - 1.2 * delta) + pull - terms["angle_linear"] * sin
    return energy, pull * delta, delta, slope / root


def _torsions(normal: jax.Array, arms: jax.Array, terms: Terms) -> tuple[jax.Array, jax.Array]:
    """Energy of each torsion; slope in each angle's unit normal, along each of its two arms."""
    (_, rows, lanes), index, inverse = normal.shape, terms["torsion"], terms["torsion_inverse"]
    dtype = normal.dtype

    def add_product(cos: jax.Array, row: jax.Array) -> tuple[jax.Array, jax.Array]:
        planes = take_rows(row, index)
        return cos + planes[:, 0] * planes[:, 1], planes

    cos, planes = jax.lax.scan(add_product, jnp.zeros((len(index), lanes), dtype), normal)
    k = terms["torsion_k"]
    energy = k[0] + cos * (k[1] + cos * (k[2] + cos * k[3]))
    slope = k[1] + cos * (2.0 * k[2] + (3.0 * cos) * k[3])
    on_planes = slope[:, None] * planes[:, :, ::-1]

    def add_component(along: jax.Array, row: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        on_normal = _collect(row[0].reshape(-1, lanes), inverse)
        return along + on_normal[:, None] * row[1], None

    along, _ = jax.lax.scan(add_component, jnp.zeros((rows, 2, lanes), dtype), (on_planes, arms))
    return energy, along


def _tilts(
    normal: jax.Array, third: jax.Array, terms: Terms
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Energy of each Wilson angle between a bond and a plane, its slope in the sine, the sine."""
    sin = _dot(normal, third)
    cos2 = 1.0 - sin * sin
    cos = jnp.sqrt(jnp.maximum(cos2, _tiny(cos2)))
    chi = sin * _arc(cos)
    k_chi = terms["angle_oop"] * chi
    return k_chi * chi, (k_chi + k_chi) / cos, sin


def _all_pairs(
    positions: jax.Array, terms: Terms, depth: jax.Array, charges: jax.Array
) -> tuple[jax.Array, jax.Array]:
    radius, n_atoms = terms["vdw_inverse_radius"], terms.counts["atoms"]
    return all_pairs(positions, n_atoms, _nonbonded, radius, depth, charges)[:2]


def _nonbonded(
    r2: jax.Array, inverse_radius: jax.Array, depth: jax.Array, charges: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Buffered 14-7 and buffered Coulomb energy of a pair, and its slope in the distance squared.

    What is used more than once comes out of a division or a root: those are what XLA on CPU
    stores, and does not compute again for each use.
    """
    r = jnp.sqrt(r2)
    x = r * inverse_radius
    x2 = x * x
    x6 = x2 * x2 * x2
    a, c = x + 0.07, r + 0.05
    a2 = a * a
    scale = depth / (a2 * a2 * a2 * a)
    inner = 1.0 / (x6 * x + 0.12)
    shape = inner - 2.0 / 1.12
    energy = (scale * shape * c + charges) / c
    steep = 7.0 * inverse_radius * scale * (shape + a * x6 * (inner * inner))
    c2 = c * c
    return energy, -0.5 * (steep * c2 + charges * a) / (r * a * c2)


def _collect(slots: jax.Array, inverse: jax.Array) -> jax.Array:
    """Add up what belongs to each row: (n_slots, n_lanes) to (rows, n_lanes)."""
    taken = take_rows(slots, jnp.maximum(inverse, 0))
    return fold(jnp.where(inverse >= 0, taken, jnp.zeros((), slots.dtype)), axis=1)


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: jax.Array, b: jax.Array) -> jax.Array:
    x = a[1] * b[2] - a[2] * b[1]
    y = a[2] * b[0] - a[0] * b[2]
    return jnp.stack([x, y, a[0] * b[1] - a[1] * b[0]])


def _tiny(x: jax.Array) -> float:
    """Squared sine below which an angle counts as straight."""
    return float(jnp.finfo(x.dtype).eps)


def _root(x: jax.Array, least: float) -> jax.Array:
    """Square root, or one where x is at most `least`; NaN stays NaN."""
    return jnp.sqrt(jnp.where(x <= least, jnp.ones((), x.dtype), x))


# acos(c) / sin(acos(c)) for c from 0 to 1: the rational minimax approximation, within 6e-18.
# The mathematical library's own arc functions cost twenty times as much, and differ by machine.
_ARC_P = (
    1.5707963267948966094,
    3.8091955060686923257,
    3.3308986224638909425,
    1.2708365890177503482,
    0.20153380400612085056,
    0.0099554008830770369412,
    0.000030141767837449095286,
)
_ARC_Q = (
    1.0,
    3.0616289483446430413,
    3.5696094469818558992,
    1.9751223609942883036,
    0.52529331169380692183,
    0.059597723895117246865,
    0.0019945990925540858988,
)


def _arc(cos: jax.Array) -> jax.Array:
    """An angle of at most 90 degrees, divided by its sine."""
    return _polynomial(_ARC_P, cos) / _polynomial(_ARC_Q, cos)


def _polynomial(coefficients: tuple[float, ...], x: jax.Array) -> jax.Array:
    value = jnp.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * x + coefficient
    return value
