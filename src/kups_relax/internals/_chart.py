"""Internal coordinates on the device: values, slopes, stiffness, and the Hessian these make.

All arrays end with the lanes. A row is a function of the vectors between its atoms; its slopes
are written out, so nothing here is differentiated, and sums over atoms and rows go through lists
that were made on the host: no scatter, one order.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from kups_relax._tree import dataclass, static
from kups_relax.data import Terms
from kups_relax.internals._guide import Guide
from kups_relax.internals._rows import (
    BEND,
    FADING,
    LINEAR,
    PYRAMID,
    STRAIGHT,
    STRETCH,
    TORSION,
)
from kups_relax.ops import apart, fold, take_rows
from kups_relax.ops import matrices as m

# A factor of a bond is at most exp of this: a bond that is too short is no stiffer for ever.
_MOST = 1.0

# Of packed atoms, whose spacing is only guessed at the start.
_MOST_PACKED = 1.6

# Angles nearer to 0 or 180 degrees than this sine have the slopes of this one.
_SINE = 0.03


@dataclass
class Reading:
    """The internal coordinates of a geometry.

    Attributes:
        values: (R, L), Angstrom, radian, or no unit.
        weights: (R, L), stiffness, eV per squared unit; 0 for padding.
        slopes: (3, R, slots, L), derivatives by the atoms' u.
        by_cell: (3, 3, R, L), derivatives by F; None where the cell does not change.
    """

    values: jax.Array
    weights: jax.Array
    slopes: jax.Array
    by_cell: jax.Array | None


@dataclass
class Chart:
    """Internal coordinates of the structures in a tile.

    Attributes:
        guide: Of the program.
        terms: The arrays of `guide_of`.
        factor: (L,) what the rows of the cell are multiplied by; None where it does not change.
        mask: (3, 3, L) which strains may change; likewise.
    """

    guide: Guide = static()
    terms: Terms
    factor: jax.Array | None
    mask: jax.Array | None

    @property
    def _per_row(self) -> jax.Array:
        """(3, 3, L) what a change of the cell's rows is multiplied by to give one of F."""
        assert self.factor is not None
        assert self.mask is not None
        return self.mask / self.factor

    @property
    def bonded(self) -> bool:
        """Whether stiffness is known, and paths are followed along the coordinates."""
        return self.guide.bonded

    @property
    def dense(self) -> bool:
        """Whether `hessian` is there."""
        return self.guide.dense

    @property
    def longest(self) -> jax.Array:
        """(L,) the longest way of an atom in a step, Angstrom."""
        return self.terms["longest"]

    def read(self, x: jax.Array) -> Reading:
        """Take the internal coordinates of x, (3, rows, L)."""
        u, strain = self._parts(x)
        at = take_rows(u, self.terms["index"])
        if self.guide.periodic:
            at = at + self.terms["shift"]
        here = at if strain is None else at + _turned(at, strain)
        values, weights, slopes = self._rows(here)
        by_cell = None
        if strain is not None:
            by_cell = fold(slopes[:, None] * at[None], axis=3)
            assert self.guide.cell is not None
            assert self.mask is not None
            if self.guide.cell.coupled:
                by_cell = self.guide.cell.allowed(by_cell, self.mask)
            slopes = slopes + _turned(slopes, m.transpose(strain))
        return Reading(values=values, weights=weights, slopes=slopes, by_cell=by_cell)

    def difference(self, a: jax.Array, b: jax.Array) -> jax.Array:
        """A - b of values, the short way round for torsions."""
        d = a - b
        if not self.bonded:
            return d
        turn = 2 * math.pi
        around = jnp.where(d > math.pi, d - turn, jnp.where(d < -math.pi, d + turn, d))
        return jnp.where(self.terms["kind"] == TORSION, around, d)

    def along(self, reading: Reading, step: jax.Array) -> jax.Array:
        """How rows change, (..., R, L), to first order of a step of x, (..., 3, rows, L)."""
        u, _ = self._split(step)
        moved = take_rows(u, self.terms["index"]) * reading.slopes
        change = fold(fold(moved, axis=-2), axis=-3)
        if reading.by_cell is not None:
            rows = self._strained(step)
            turned = reading.by_cell * rows[..., :, :, None, :]
            change = change + fold(fold(turned, axis=-4), axis=-3)
        return change

    def pull(self, reading: Reading, on_rows: jax.Array) -> jax.Array:
        """What forces on rows, (..., R, L), are on x, (..., 3, rows, L): the transpose."""
        on_atoms = self._on_atoms(on_rows[..., None, :, None, :] * reading.slopes)
        if self.guide.held:
            on_atoms = _projected(on_atoms, self.terms["free"])
        if reading.by_cell is None:
            return on_atoms
        on_cell = fold(on_rows[..., None, None, :, :] * reading.by_cell, axis=-2)
        return jnp.concatenate([on_atoms, self._on_rows(on_cell)], axis=-2)

    def reduced(self, gradient: jax.Array) -> jax.Array:
        """Take out of a gradient on x, (3, rows, L), what no allowed step goes along.

        Only what couples atoms: the rest is in `pull`. ASE's FixCom leaves a force on the whole
        system, which is the softest there is: a step would be nothing else.
        """
        if not self.guide.com:
            return gradient
        u, rows = self._split(gradient)
        mass = self.terms["mass"]
        total = fold(mass)
        u = u - mass * (fold(u, axis=1) / jnp.where(total > 0, total, 1.0))[:, None]
        return u if rows is None else jnp.concatenate([u, rows], axis=1)

    def times(self, reading: Reading, step: jax.Array) -> jax.Array:
        """Multiply steps of x, (..., 3, rows, L), by the Hessian, ridge included."""
        free = step
        if self.guide.held:
            u, rows = self._split(step)
            u = _projected(u, jnp.swapaxes(self.terms["free"], 0, 1))
            free = u if rows is None else jnp.concatenate([u, rows], axis=-2)
        on_rows = reading.weights * self.along(reading, free)
        return self.pull(reading, on_rows) + self.ridge(reading) * step

    def diagonal(self, reading: Reading) -> jax.Array:
        """(3, rows, L) of the Hessian, as if each row had an atom once, and none were held."""
        d = reading.slopes
        on_x = self._on_atoms(d * d * reading.weights[:, None])
        if reading.by_cell is not None:
            change = reading.by_cell * self._per_row[:, :, None]
            on_cell = fold(change * change * reading.weights, axis=-2)
            on_x = jnp.concatenate([on_x, jnp.swapaxes(on_cell, 0, 1)], axis=-2)
        return on_x + self.ridge(reading)

    def hessian(self, reading: Reading) -> jax.Array:
        """(L, n, n) what the stiffness of all rows is to x, n = 3 * rows of x, ridge included."""
        blocks = self._blocks(reading)
        n_atoms, n_lanes = blocks.shape[1], blocks.shape[-1]
        if self.guide.held:
            blocks = self._free_blocks(blocks)
        if reading.by_cell is None:
            n_rows = n_atoms
        else:
            columns = self._cell_columns(reading)
            side = columns[:, :n_atoms]
            corner = columns[:, n_atoms:]
            blocks = jnp.concatenate([blocks, side], axis=3)
            below = jnp.transpose(side, (2, 3, 0, 1, 4))
            bottom = jnp.concatenate([below, corner], axis=3)
            blocks = jnp.concatenate([blocks, bottom], axis=1)
            n_rows = n_atoms + 3
        n = 3 * n_rows
        matrix = blocks.reshape(n, n, n_lanes) + jnp.eye(n, dtype=blocks.dtype)[:, :, None] * (
            self.ridge(reading).reshape(n, 1, n_lanes)
        )
        return jnp.moveaxis(matrix, -1, 0)

    def ridge(self, reading: Reading) -> jax.Array:
        """(3, rows, L) what is added to the diagonal: how stiff x is of itself."""
        given = self.terms["ridge"]
        if not self.bonded:
            given = given * self._mean_stiffness(reading)
        n_atoms = self.terms["uses"].shape[0]
        ridge = jnp.broadcast_to(given, (3, n_atoms, given.shape[0]))
        if reading.by_cell is None:
            return ridge
        assert self.factor is not None
        cell = self.terms["modulus"]
        if not self.bonded:
            cell = self._mean_stiffness(reading)
        cell = given + cell / (self.factor * self.factor)
        return jnp.concatenate([ridge, jnp.broadcast_to(cell, (3, 3, cell.shape[0]))], axis=1)

    def _mean_stiffness(self, reading: Reading) -> jax.Array:
        """(L,) what an atom's rows amount to, on average."""
        n_atoms = self.terms.counts["atoms"].astype(reading.weights.dtype)
        mean = fold(reading.weights) * 2 / jnp.maximum(n_atoms, 1)
        return jnp.where(mean > 0, mean, 1.0)

    def _on_atoms(self, shares: jax.Array) -> jax.Array:
        """Sum the shares of rows and slots, (..., R, slots, L), over the rows of each atom."""
        shares = shares.reshape(*shares.shape[:-3], -1, shares.shape[-1])
        uses = self.terms["uses"]
        taken = take_rows(shares, jnp.maximum(uses, 0))
        return fold(jnp.where(uses >= 0, taken, 0), axis=-2)

    def _parts(self, x: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """The atoms' u, and F - 1."""
        u, rows = self._split(x)
        if rows is None:
            return u, None
        assert self.guide.cell is not None
        assert self.factor is not None
        assert self.mask is not None
        return u, self.guide.cell.deformation(m.transpose(rows) / self.factor) * self.mask

    def _split(self, x: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        if self.guide.cell is None:
            return x, None
        return x[..., :-3, :], x[..., -3:, :]

    def _strained(self, step: jax.Array) -> jax.Array:
        """The change of F that a step of the cell's rows is, to first order, (..., 3, 3, L)."""
        rows = jnp.swapaxes(step[..., -3:, :], -3, -2)
        return rows * self._per_row

    def _on_rows(self, by_f: jax.Array) -> jax.Array:
        """The transpose of `_strained`."""
        return jnp.swapaxes(by_f * self._per_row, -3, -2)

    def _free_blocks(self, blocks: jax.Array) -> jax.Array:
        """Project a (3, A, 3, A, L) matrix from both sides."""
        free = self.terms["free"]
        parts = [blocks[k] * free[:, k, :, None, None] for k in range(3)]
        blocks = (parts[0] + parts[1]) + parts[2]
        parts = [blocks[:, :, k, None] * free[:, k] for k in range(3)]
        return (parts[0] + parts[1]) + parts[2]

    def _cell_columns(self, reading: Reading) -> jax.Array:
        """(3, rows, 3, 3, L): what forces on x a strain by each component of the cell's rows is."""
        assert reading.by_cell is not None
        # How rows change with each component (component, row), which is F_(row, component).
        change = jnp.swapaxes(reading.by_cell * self._per_row[:, :, None], 0, 1)
        pulled = self.pull(reading, reading.weights * change)
        return jnp.moveaxis(pulled, (0, 1), (2, 3))

    def _blocks(self, reading: Reading) -> jax.Array:
        """(3, A, 3, A, L): the atoms' part."""
        return self._stored(self._whole, self._stored(self._coupled, reading))

    def _coupled(self, reading: Reading) -> jax.Array:
        """(3, 3, couples, L): the blocks of pairs of atoms that share rows."""
        d, n = reading.slopes, self.guide.n_slots
        pairs = [(a, b) for a in range(n) for b in range(a + 1, n)]
        stiff = d * reading.weights[:, None]
        products = [stiff[:, None, :, a] * d[None, :, :, b] for a, b in pairs]
        products += [jnp.swapaxes(p, 0, 1) for p in products]
        # (3, 3, R * products, L)
        listed = jnp.stack(products, axis=3)
        listed = listed.reshape(3, 3, -1, listed.shape[-1])
        shares = self.terms["couples"]
        return fold(jnp.where(shares >= 0, take_rows(listed, jnp.maximum(shares, 0)), 0), axis=-2)

    def _whole(self, blocks: jax.Array) -> jax.Array:
        """Put the blocks where they belong, below, above and on the diagonal."""
        couple = self.terms["couple"]
        lower = jnp.where(couple >= 0, take_rows(blocks, jnp.maximum(couple, 0)), 0)
        # (3, 3, A, A, L) of atoms (first, second) to (3, A, 3, A, L).
        lower = jnp.swapaxes(lower, 1, 2)
        whole = lower + jnp.transpose(lower, (2, 3, 0, 1, 4))
        # A shift of all atoms costs nothing, so a row of blocks adds up to zero.
        diagonal = -fold(whole, axis=3)
        same = jnp.eye(couple.shape[0], dtype=bool)[None, :, None, :, None]
        return jnp.where(same, diagonal[:, :, :, None], whole)

    def _stored(self, function: Any, *args: Any) -> Any:
        """Run a part whose results are read more than once, and should be computed once."""
        # True, and the compiler cannot know.
        return apart(self.longest[0] >= 0, function, *args)

    def _rows(self, at: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Values, weights and slopes, of (3, R, slots, L) places."""
        if not self.bonded:
            return self._stretches(at)
        kind = self.terms["kind"]
        p0, p1, p2, p3 = (at[:, :, k] for k in range(4))
        e1, e2 = p0 - p1, p2 - p1
        e3 = p3 - jnp.where(kind == TORSION, p2, p1)
        (r1, u1), (r2, u2), (r3, u3) = _unit(e1), _unit(e2), _unit(e3)
        weights = self._weights(kind, (r1, r2, r3), (u1, u2, u3))
        of_kind = {
            STRETCH: (r1, (u1, -u1, jnp.zeros_like(u1), jnp.zeros_like(u1))),
            BEND: _bend(u1, r1, u2, r2),
            LINEAR: _linear(u1, r1, u2, r2, self.terms["axis"]),
            TORSION: _torsion(e1, e2, e3, r2),
            PYRAMID: _pyramid((u1, r1), (u2, r2), (u3, r3)),
        }
        values = jnp.zeros_like(r1)
        slopes = [jnp.zeros_like(u1)] * 4
        for name, (value, by) in of_kind.items():
            values = jnp.where(kind == name, value, values)
            slopes = [jnp.where(kind == name, s, old) for s, old in zip(by, slopes, strict=True)]
        return values, weights, jnp.stack(slopes, axis=2)

    def _stretches(self, at: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        r, u = _unit(at[:, :, 0] - at[:, :, 1])
        real = self.terms["strength"] > 0
        factor = jnp.exp(_exponent(self.terms["decay"][0], r, _MOST_PACKED))
        weights = jnp.where(real, self.terms["strength"] * factor, 0)
        slopes = jnp.where(real[:, None], jnp.stack([u, -u], axis=2), 0)
        return jnp.where(real, r, 0), weights, slopes

    def _weights(
        self, kind: jax.Array, r: tuple[jax.Array, ...], u: tuple[jax.Array, ...]
    ) -> jax.Array:
        exponents = [_exponent(self.terms["decay"][k], r[k], _MOST) for k in range(3)]
        weights = self.terms["strength"] * jnp.exp((exponents[0] + exponents[1]) + exponents[2])
        cosine, other = _dot(u[0], u[1]), _dot(u[1], u[2])
        # From 0 to 1 as an angle opens from FADING to STRAIGHT.
        low, high = math.cos(math.radians(FADING)), math.cos(math.radians(STRAIGHT))
        t = jnp.clip((cosine - low) / (high - low), 0.0, 1.0)
        open_ = t * t * (3.0 - 2.0 * t)
        bent = self.terms["bent"]
        weights = weights * jnp.where(bent < 0, 1.0 - open_, jnp.where(bent > 0, open_, 1.0))
        # A torsion has no direction where one of its angles is straight.
        first = jnp.minimum(2.0 - 2.0 * cosine * cosine, 1.0)
        second = jnp.minimum(2.0 - 2.0 * other * other, 1.0)
        fade = jnp.maximum(first, 0.0) * jnp.maximum(second, 0.0)
        return jnp.where(kind > 0, jnp.where(kind == TORSION, weights * fade, weights), 0)


_Row = tuple[jax.Array, tuple[jax.Array, ...]]


def _bend(u: jax.Array, ru: jax.Array, v: jax.Array, rv: jax.Array) -> _Row:
    cosine = jnp.clip(_dot(u, v), -1.0, 1.0)
    sine = jnp.maximum(jnp.sqrt(jnp.maximum(1.0 - cosine * cosine, 0.0)), _SINE)
    first, last = (u * cosine - v) / (sine * ru), (v * cosine - u) / (sine * rv)
    return jnp.arccos(cosine), (first, -(first + last), last, jnp.zeros_like(u))


def _linear(u: jax.Array, ru: jax.Array, v: jax.Array, rv: jax.Array, axis: jax.Array) -> _Row:
    on_u, on_v = _dot(u, axis), _dot(v, axis)
    first, last = (axis - u * on_u) / ru, (axis - v * on_v) / rv
    return on_u + on_v, (first, -(first + last), last, jnp.zeros_like(u))


def _torsion(b1: jax.Array, b2: jax.Array, b3: jax.Array, r2: jax.Array) -> _Row:
    """Slopes of Blondel and Karplus, J. Comput. Chem. 1996, 17, 1132."""
    n1, n2 = _cross(b1, b2), _cross(b2, b3)
    value = jnp.arctan2(_dot(_cross(n1, n2), b2) / r2, _dot(n1, n2))
    first = n1 * (r2 / jnp.maximum(_dot(n1, n1), 1e-3))
    last = n2 * (r2 / jnp.maximum(_dot(n2, n2), 1e-3))
    f, g = _dot(b1, b2) / (r2 * r2), _dot(b3, b2) / (r2 * r2)
    shared = first * f + last * g
    return value, (first, shared - first, -(shared + last), last)


def _pyramid(*arms: tuple[jax.Array, jax.Array]) -> _Row:
    """The volume that three unit vectors span: 0 where they are in a plane."""
    (u, ru), (v, rv), (w, rw) = arms
    vw, wu, uv = _cross(v, w), _cross(w, u), _cross(u, v)
    value = _dot(u, vw)
    by = (vw - u * value) / ru, (wu - v * value) / rv, (uv - w * value) / rw
    return value, (by[0], -((by[0] + by[1]) + by[2]), by[1], by[2])


def _exponent(decay: jax.Array, r: jax.Array, most: float) -> jax.Array:
    return jnp.minimum(decay[1] - decay[0] * (r * r), most)


def _unit(v: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Length and direction; of a zero vector 1 and zero."""
    square = _dot(v, v)
    r = jnp.sqrt(jnp.where(square > 0, square, 1.0))
    return r, v / r


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return (a[0] * b[0] + a[1] * b[1]) + a[2] * b[2]


def _cross(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.stack([a[i - 2] * b[i - 1] - a[i - 1] * b[i - 2] for i in range(3)])


def _projected(vectors: jax.Array, onto: jax.Array) -> jax.Array:
    """Multiply vectors of atoms, (..., 3, A, L), by (3, 3, A, L) matrices."""
    parts = [vectors[..., k, None, :, :] * onto[:, k] for k in range(3)]
    return (parts[0] + parts[1]) + parts[2]


def _turned(vectors: jax.Array, matrix: jax.Array) -> jax.Array:
    """Multiply (3, R, slots, L) vectors by a (3, 3, L) matrix: v_i = sum_k matrix_ik v_k."""
    parts = [matrix[:, k, None, None] * vectors[None, k] for k in range(3)]
    return (parts[0] + parts[1]) + parts[2]
