"""Potentials that are a JAX function of parameters and a graph."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from kups_relax._checks import NOT_NEGATIVE, POSITIVE, Choice, settle
from kups_relax.data import Field, Structure, Terms
from kups_relax.data._symbols import SYMBOLS
from kups_relax.errors import OptionError, PotentialError, shown
from kups_relax.ops import apart, fold
from kups_relax.potentials._base import Evaluation, Potential
from kups_relax.potentials._graph import EDGE_ARRAYS, Graph, assemble, edge_arrays
from kups_relax.potentials._species import charge_of, refuse_elements, symbols_of

Model = Callable[[Any, Graph], jax.Array]

_BATCHING = ("one-by-one", "together")

# Lengths that lists are padded to. The engine adds a tenth and rounds up, to 128 and 64.
_LEAST = {"edges": 116, "neighbors": 58}


@dataclasses.dataclass(frozen=True, eq=False)
class GraphModel(Potential):
    """Relax with a model of your own: a JAX function of its parameters and a `Graph`.

    The function returns the energy of each graph (n_graphs,), or, better, of each node
    (n_nodes,): those are added in a fixed order in the run's precision, and results have them as
    energies of atoms. It is differentiated here, once with respect to positions and cell, for
    forces and stress. Take distances from `graph.vectors()`, and sum with the graph's methods or
    with what you have; `jax.ops.segment_sum` is fine on a CPU.

    The graph has an edge if and only if it is shorter than the cutoff: beyond it, a model has no
    say. A model whose messages do not go to zero there has a jump in its energy, as it has
    everywhere else.

    Structures of a tile are evaluated one by one, by one program, and empty lanes are skipped:
    what a structure gets cannot depend on the others, whatever the function does. In 300 random
    companies each, in float32 and float64, no bit differed for the model in the examples, for
    nequix, and for small MACE, NequIP and ViSNet of mlip; together, as one graph, none did either
    (`python -m benchmarks adapters`). That is no promise: of a NequIP with twice the channels and
    vectors of second order, together, a quarter of the results depended on the company. On a CPU,
    one by one is the faster way too: 1.1 s and not 3.5 s for 160 structures of 4 to 13 atoms in
    float64, 0.9 s and not 1.9 s in float32.

    Attributes:
        function: (parameters, graph) -> energies, eV; jittable.
        params: A pytree of arrays. Compiled programs take it as an argument.
        cutoff: Angstrom.
        skin: Angstrom. Longer edges, up to cutoff + skin, are listed, and lists hold until an
            atom has moved skin/2. Every evaluation pays for the edges in the skin; a new list of
            ten atoms costs half a millisecond.
        dtype: What the model computes in: None, what the run computes in; or "float32" in a
            run of either kind. Floating parameters are converted. Vectors are differences of
            positions in the run's precision, and energies of nodes are added in it.
        elements: Chemical symbols that the model knows; None: any.
        batching: "one-by-one"; or "together", which gives the function one graph of a whole
            tile, as a GPU wants it. Run `kups_relax.verify` before you rely on that.
        name: For records.

    Raises:
        OptionError: An option that makes no sense.

    Example:
        >>> import jax.numpy as jnp
        >>> def springs(params, graph):
        ...     r = jnp.linalg.norm(graph.vectors(), axis=1)
        ...     energy = params["k"] / 4 * (r - params["length"]) ** 2
        ...     return graph.sum_at_receivers(energy)
        >>> GraphModel(springs, {"k": 5.0, "length": 1.1}, cutoff=3.0).describe()["cutoff"]
        3.0
    """

    rounds: ClassVar[bool] = False

    function: Model
    params: Any
    cutoff: float
    _: dataclasses.KW_ONLY
    skin: float = 0.5
    dtype: Literal["float32"] | None = None
    elements: tuple[str, ...] | None = None
    batching: Literal["one-by-one", "together"] = "one-by-one"
    name: str = "graph-model"  # pyright: ignore[reportIncompatibleVariableOverride]

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise OptionError(f"function is {shown(self.function)}; it must take (params, graph).")
        settle(
            self,
            cutoff=POSITIVE,
            skin=NOT_NEGATIVE,
            dtype=Choice((None, "float32")),
            batching=Choice(_BATCHING),
        )
        if not isinstance(self.name, str):
            raise OptionError(f"name is {shown(self.name)}; it must be text.")
        if self.elements is not None:
            given: Any = self.elements
            elements = tuple(given) if isinstance(given, str | list | tuple | set) else ()
            unknown = [s for s in elements if not isinstance(s, str) or s not in SYMBOLS[1:]]
            if unknown or not elements or isinstance(given, str):
                raise OptionError(
                    f"elements is {shown(given)}; it must be a list of chemical symbols, or None."
                    + (
                        f" It has {shown(unknown[0])}, which is no chemical symbol."
                        if unknown
                        else ""
                    )
                )
            object.__setattr__(self, "elements", elements)

    def _identity(self) -> tuple[Any, ...]:
        # Neither parameters nor every function can be hashed or compared by value.
        options = (self.cutoff, self.skin, self.dtype, self.elements, self.batching, self.name)
        return (id(self.function), id(self.params), *options)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def describe(self) -> dict[str, Any]:
        """Return the options as plain values, and how many parameters there are."""
        sizes = [np.size(leaf) for leaf in jax.tree.leaves(self.params)]
        return {
            "name": self.name,
            "function": getattr(self.function, "__qualname__", type(self.function).__qualname__),
            "n_parameters": sum(sizes),
            "cutoff": self.cutoff,
            "skin": self.skin,
            "dtype": self.dtype,
            "elements": None if self.elements is None else list(self.elements),
            "batching": self.batching,
        }

    @property
    def slack(self) -> float:
        """See `EnergyModel.slack`."""
        return self.skin / 2

    @property
    def reach(self) -> float:
        """See `EnergyModel.reach`."""
        return self.cutoff + self.skin

    def parameters(self) -> Any:
        """See `Potential.parameters`."""
        return self.params

    def n_lanes(self, n_atoms: int) -> int | None:
        """See `Potential.n_lanes`: few lanes where they are evaluated one by one."""
        del n_atoms
        return 8 if self.batching == "one-by-one" else None

    def fields(self) -> Mapping[str, Field]:
        """See `Potential.fields`."""
        fields = {name: Field(axes, "int", fill) for name, (axes, fill) in EDGE_ARRAYS.items()}
        return {**fields, "charge": Field((), "int"), "n_edges": Field((), "int")}

    def prepare(self, structure: Structure) -> Mapping[str, np.ndarray]:
        """List the edges up to cutoff + skin. See `Potential.prepare`.

        Raises:
            PotentialError: The structure has an element that the model does not know.
        """
        if self.elements is not None:
            advice = "Use a model that was trained on them."
            refuse_elements(f"{self.name} has no parameters", structure, self.elements, advice)
        symbols_of(structure)
        arrays = edge_arrays(structure, self.cutoff + self.skin)
        n_edges = len(arrays["senders"])
        padded = {name: _with_room(name, array) for name, array in arrays.items()}
        scalars = {"charge": charge_of(self.name, structure), "n_edges": n_edges}
        return {**padded, **{name: np.asarray(x, np.int32) for name, x in scalars.items()}}

    def evaluate(self, positions: jax.Array, cell: jax.Array, terms: Terms) -> Evaluation:
        """Compute energies (eV), forces (eV/Angstrom) and stress. See `Potential.evaluate`."""
        blocks = {
            "positions": jnp.moveaxis(positions, (2, 1), (0, 1)),
            "cell": jnp.moveaxis(cell, 2, 0),
            **{name: jnp.moveaxis(array, -1, 0) for name, array in terms.arrays.items()},
            "n_atoms": terms.counts["atoms"],
        }
        dtype = self.dtype or positions.dtype.name
        parameters = jax.tree.map(
            lambda p: p.astype(dtype) if jnp.issubdtype(p.dtype, jnp.floating) else p,
            jax.tree.map(jnp.asarray, terms.parameters),
        )

        def run(parameters: Any, blocks: dict[str, jax.Array]) -> Evaluation:
            return self._evaluate(parameters, blocks, dtype)

        if self.batching == "together":
            return run(parameters, blocks)

        def lane(block: dict[str, jax.Array]) -> Evaluation:
            block = {name: array[None] for name, array in block.items()}
            out = apart(block["n_atoms"][0] > 0, run, parameters, block)
            return jax.tree.map(lambda x: x[..., 0], out)

        return jax.tree.map(lambda x: jnp.moveaxis(x, 0, -1), jax.lax.map(lane, blocks))

    def _evaluate(self, parameters: Any, blocks: dict[str, jax.Array], dtype: str) -> Evaluation:
        """Evaluate some structures as one graph. Arrays come lanes first, and leave lanes last."""
        arrays = dict(blocks)
        x, cell = arrays.pop("positions"), arrays.pop("cell")
        graph = assemble(x, cell, arrays, cutoff=self.cutoff, dtype=dtype)

        def energy_of(x: jax.Array, cell: jax.Array) -> tuple[jax.Array, jax.Array | None]:
            # Where the model computes in 32 bits, its constants are of 32 bits too.
            with jax.enable_x64(dtype == "float64"):
                out = self.function(parameters, graph.at(x, cell))
            _check_output(self.name, out, graph)
            out = out.astype(x.dtype)
            if out.shape == (graph.n_graphs,):
                return out, None
            of_atoms = jnp.where(graph.node_mask, out, 0).reshape(graph.n_graphs, -1)[:, :-1]
            return graph.sum_over_graphs(out), of_atoms

        energy, pull, of_atoms = jax.vjp(energy_of, x, cell, has_aux=True)
        slope, cell_slope = pull(jnp.ones_like(energy))
        atom = graph.node_mask.reshape(graph.n_graphs, -1, 1)[:, :-1]
        zero = jnp.zeros((), slope.dtype)
        slope = jnp.where(atom, slope, zero)
        return Evaluation(
            energy=energy,
            forces=jnp.moveaxis(jnp.where(atom, -slope, zero), (2, 1), (0, 1)),
            stress=jnp.moveaxis(_stress(x, slope, cell, cell_slope), 0, -1),
            energies=None if of_atoms is None else of_atoms.T,
        )


def _with_room(name: str, array: np.ndarray) -> np.ndarray:
    """Pad short lists, so that small structures share programs."""
    axes, fill = EDGE_ARRAYS[name]
    least = [_LEAST.get(str(axis), 0) for axis in axes]
    padded = np.full(np.maximum(least, array.shape), fill, array.dtype)
    padded[tuple(map(slice, array.shape))] = array
    return padded


def _check_output(name: str, out: Any, graph: Graph) -> None:
    shapes = ((graph.n_graphs,), (len(graph.numbers),))
    if not hasattr(out, "shape") or out.shape not in shapes:
        got = f"an array of shape {out.shape}" if hasattr(out, "shape") else shown(out)
        raise PotentialError(
            f"{name} returned {got} for a graph of n_graphs={shapes[0][0]} and "
            f"n_nodes={shapes[1][0]}; expected (n_graphs,) or (n_nodes,). Drop other axes, e.g. "
            "by energies[:, 0]."
        )


def _stress(x: jax.Array, slope: jax.Array, cell: jax.Array, cell_slope: jax.Array) -> jax.Array:
    """(n_graphs, 3, 3) derivative by a symmetric strain over the volume; zero where it is zero.

    A strain moves atoms and lattice vectors alike, so its derivative follows from theirs.
    """
    virial = fold(x[..., :, None] * slope[..., None, :], axis=1)
    virial = virial + fold(cell[..., :, None] * cell_slope[..., None, :], axis=1)
    a, b, c = cell[:, 0], cell[:, 1], cell[:, 2]
    volume = jnp.abs(fold(a * jnp.cross(b, c), axis=1))[:, None, None]
    solid = volume > 0
    stress = (virial + jnp.swapaxes(virial, 1, 2)) / jnp.where(solid, 2 * volume, 1)
    return jnp.where(solid, stress, jnp.zeros((), stress.dtype))
