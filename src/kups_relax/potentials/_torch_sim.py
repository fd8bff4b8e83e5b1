"""TorchSim models as potentials."""

import dataclasses
import functools
import importlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from kups_relax._checks import Choice, settle
from kups_relax.data import Structure
from kups_relax.errors import OptionError, PotentialError, described, shown
from kups_relax.potentials._base import Evaluation
from kups_relax.potentials._host import Asked, HostPotential, Session
from kups_relax.potentials._species import symbols_of

_BATCHING = ("one-by-one", "together")
_ATTRIBUTES = ("__call__", "dtype", "device", "compute_forces", "compute_stress")

# Models are not made for threads: some keep what they work on in themselves.
_ONE_AT_A_TIME = threading.Lock()

# A lane, and the structure in it.
_Member = tuple[int, Structure]


@dataclasses.dataclass(frozen=True)
class TorchSim(HostPotential):
    """Relax with a TorchSim model: anything that has torch_sim's ModelInterface.

    The model is called with a SimState and computes in its own dtype on its own device. A float32
    model serves float64 runs too: it gets rounded positions, and its results are widened.
    Positions and forces go from JAX to torch and back by dlpack, without a copy through the host
    where both are on one device. Cells become TorchSim's columns; lattice vectors that slabs and
    chains lack are filled in, without which its neighbour lists are wrong. A structure's charge,
    and `atoms.info["spin"]`, are given as the state's `charge` and `spin`.

    One by one, none of 337 comparisons of a structure alone and in random company showed a
    different bit, for any of TorchSim 0.6.2's pair models, in float64 and in float32. Together,
    on a CPU, Morse and particle life did as well; of the others these differed, in float64 and
    in float32: Lennard-Jones 87 and 138, soft spheres (of one or many species) 59 and 90, the sum
    of Lennard-Jones and Morse 91 and 107. On the other hand 40 clusters of 13 atoms take a ninth
    of the time together: calls cost more than atoms there. (`python -m benchmarks torch_sim`. The
    pair models of TorchSim 0.3 work on one system after the other, and none differed.) A GPU has
    not been tried; sums by scattering are not repeatable there, even alone, unless
    `torch.use_deterministic_algorithms(True)` makes them so.

    Attributes:
        model: One with forces. It gives stress if it was made with `compute_stress=True`.
            Energies of atoms are not asked for: the interface does not say what they are, and
            those of 0.6.2's pair models add up to twice the energy.
        batching: "one-by-one" calls the model for each structure alone, so that what a structure
            gets cannot depend on the others, whatever the model does. "together" makes one state
            of all structures of a tile; where the model raises for it, or returns NaN, those
            concerned are evaluated alone. Run `kups_relax.verify` before you rely on its bits.

    Raises:
        OptionError: TorchSim is not installed, or the model is none, or has no forces.

    Example:
        >>> from torch_sim.models.lennard_jones import LennardJonesModel  # doctest: +SKIP
        >>> argon = TorchSim(LennardJonesModel(sigma=3.4, epsilon=0.0104))  # doctest: +SKIP
    """

    name: ClassVar[str] = "torch-sim"

    model: Any
    _: dataclasses.KW_ONLY
    batching: Literal["one-by-one", "together"] = "one-by-one"
    # What the structures of one state must have in common; made by `specialize`.
    _common: tuple[Any, ...] | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self) -> None:
        settle(self, batching=Choice(_BATCHING))
        _check_installed()
        missing = [name for name in _ATTRIBUTES if not hasattr(self.model, name)]
        if missing:
            raise OptionError(
                f"model is {shown(self.model)}, which is no TorchSim model: it has no "
                f"{missing[0]}. Give an instance of a subclass of torch_sim's ModelInterface."
            )
        if not self.model.compute_forces:
            raise OptionError(
                f"{_named(self.model)} computes no forces, and nothing relaxes without; make it "
                "with compute_forces=True."
            )

    def describe(self) -> dict[str, Any]:
        """Return the options as plain values."""
        return {
            "name": self.name,
            "model": _named(self.model),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": str(self.model.device),
            "batching": self.batching,
        }

    def specialize(self, structure: Structure) -> "TorchSim":
        """See `EnergyModel.specialize`: structures of one state have the same periodic axes.

        Raises:
            PotentialError: The structure's charge or spin is no number, or this TorchSim cannot
                tell a model of it, or of its periodic axes.
        """
        axes, labels = _abilities()
        pbc, said = _pbc(structure), _labels(structure)
        wrong = [k for k, v in said.items() if not isinstance(v, int | float | np.number)]
        if wrong:
            raise PotentialError(
                f"{structure.id!r}: {wrong[0]} is {shown(said[wrong[0]])}; it must be a number. "
                "Correct it, or take it from the structure."
            )
        if not axes and any(pbc) != all(pbc):
            raise PotentialError(
                f"{structure.id!r}: pbc is {list(pbc)}, and this version of TorchSim knows all or "
                "none. Install a newer one, or set all or none."
            )
        if not labels and any(said.values()):
            raise PotentialError(
                f"{structure.id!r}: this version of TorchSim cannot tell a model of "
                f"{', '.join(f'{name} {value}' for name, value in said.items())}. Install a newer "
                "one, or take charge and spin from the structure if they do not matter."
            )
        if self.batching == "one-by-one":
            return self
        return dataclasses.replace(self, _common=(pbc, *said))

    def n_lanes(self, n_atoms: int) -> int | None:
        """See `EnergyModel.n_lanes`: few lanes where structures are evaluated one by one."""
        del n_atoms
        return 8 if self.batching == "one-by-one" else None

    def gives_stress(self) -> bool:
        """Whether the model computes the stress."""
        return bool(self.model.compute_stress)

    def session(self) -> Session:
        """See `HostPotential.session`."""
        return _Session(self.model, together=self.batching == "together")


class _Session(Session):
    """Calls a model."""

    def __init__(self, model: Any, *, together: bool) -> None:
        self._model = model
        self._together = together
        self._rows: dict[tuple[_Member, ...], _Rows] = {}

    def close(self) -> None:
        self._rows.clear()

    def evaluate(self, asked: Asked) -> tuple[Evaluation, Mapping[int, str]]:
        members = [(lane, s) for lane, s in enumerate(asked.structures) if s is not None]
        for key in [key for key in self._rows if not set(key) <= set(members)]:
            del self._rows[key]
        with _ONE_AT_A_TIME:
            arrays = _Arrays(asked, _torch().device(self._model.device))
            alone = members
            if self._together and len(members) > 1:
                alone = self._try_together(arrays, members)
            failed: dict[int, str] = {}
            for lane, structure in alone:
                try:
                    self._run(arrays, [(lane, structure)])
                except PotentialError as error:
                    failed[lane] = f"{structure.id!r}: {error}"
                    arrays.clear(lane)
            return arrays.evaluation(), failed

    def _try_together(self, arrays: "_Arrays", members: Sequence[_Member]) -> list[_Member]:
        """Evaluate all at once. Returns those that need to be evaluated alone."""
        try:
            self._run(arrays, members)
        except PotentialError:
            # One of them made the model fail; alone, only that one does.
            return list(members)
        finite = arrays.finite()
        return [(lane, structure) for lane, structure in members if not finite[lane]]

    def _run(self, arrays: "_Arrays", members: Sequence[_Member]) -> None:
        """Evaluate members in one state.

        Raises:
            PotentialError: The model raised, or its output is not what the interface says.
        """
        key = tuple(members)
        if key not in self._rows:
            self._rows[key] = _Rows(members, self._model, arrays.device)
        rows = self._rows[key]
        try:
            out = self._model(rows.state(arrays))
        except Exception as error:
            raise PotentialError(
                f"{_named(self._model)} raised {described(error)}. Leave the "
                "structure out, or call the model with it alone to see why."
            ) from error
        shapes = {"energy": (len(members),), "forces": (len(rows.atoms), 3)}
        if arrays.stress is not None:
            shapes["stress"] = (len(members), 3, 3)
        arrays.put(rows, {key: self._checked(out, key, shapes[key]) for key in shapes})

    def _checked(self, out: Any, key: str, shape: tuple[int, ...]) -> Any:
        value: Any = out.get(key) if isinstance(out, Mapping) else None
        got = f"{key} of shape {tuple(value.shape)}" if hasattr(value, "shape") else f"no {key}"
        if got != f"{key} of shape {shape}":
            raise PotentialError(
                f"{_named(self._model)} returned {got}; expected {shape}, as torch_sim's "
                "ModelInterface says. Correct the model's output."
            )
        return value.detach()


class _Rows:
    """Where the atoms of a state's structures are in the tile, and what does not move.

    Attributes:
        lanes: (n_atoms,) int64, lane of each atom.
        atoms: (n_atoms,) int64, place of each atom in its lane.
        systems: (n_structures,) int64, lane of each structure.
    """

    def __init__(self, members: Sequence[_Member], model: Any, device: Any) -> None:
        structures = [s for _, s in members]
        counts = [s.n_atoms for s in structures]
        lanes = np.array([lane for lane, _ in members])

        def tensor(x: Any, device: Any, dtype: Any = None) -> Any:
            return _torch().as_tensor(x, dtype=dtype, device=device)

        self.systems = tensor(lanes, device)
        self.lanes = tensor(np.repeat(lanes, counts), device)
        self.atoms = tensor(np.concatenate([np.arange(n) for n in counts]), device)
        completion = np.array([_completion(s) for s in structures])
        self._completion = tensor(completion, device) if completion.any() else None
        to = functools.partial(tensor, device=model.device)
        labels = [_labels(s) for s in structures] if _abilities()[1] else [{}]
        pbc = _pbc(structures[0])
        self._like = {"device": model.device, "dtype": model.dtype}
        self._fixed = {
            # One value where one will do: that is all that older versions take.
            "pbc": pbc[0] if len(set(pbc)) == 1 else list(pbc),
            "masses": to(np.concatenate([_masses(s) for s in structures]), dtype=model.dtype),
            "atomic_numbers": to(
                np.concatenate([s.numbers for s in structures]), dtype=_torch().int
            ),
            "system_idx": to(np.repeat(np.arange(len(members)), counts)),
            **{
                name: to([label[name] for label in labels], dtype=model.dtype) for name in labels[0]
            },
        }

    def state(self, arrays: "_Arrays") -> Any:
        """Make a SimState of copies, so that a model may do with it what it wants."""
        cell = arrays.cell.permute(2, 1, 0)[self.systems]
        if self._completion is not None:
            cell = cell + self._completion.to(cell.dtype)
        positions = arrays.positions.permute(2, 1, 0)[self.lanes, self.atoms]
        fixed = {k: v.clone() if hasattr(v, "clone") else v for k, v in self._fixed.items()}
        return _sim_state()(
            positions=positions.to(**self._like), cell=cell.to(**self._like), **fixed
        )


class _Arrays:
    """A tile's geometries and results as tensors.

    Attributes:
        positions: (3, atom capacity, n_lanes), Angstrom: JAX's own memory, to be read only.
        cell: (3, 3, n_lanes), Angstrom: likewise.
        energy: (n_lanes,), eV.
        forces: (3, atom capacity, n_lanes), eV/Angstrom.
        stress: (3, 3, n_lanes), eV/Angstrom^3; None if it is not asked for.
    """

    def __init__(self, asked: Asked, device: Any) -> None:
        self._on_cpu = all(d.platform == "cpu" for d in asked.positions.devices())
        self.positions = self._from_jax(asked.positions, device)
        self.cell = self._from_jax(asked.cell, device)
        self.energy = self.positions.new_zeros(self.positions.shape[-1:])
        self.forces = _torch().zeros_like(self.positions)
        self.stress = _torch().zeros_like(self.cell) if asked.stress else None

    @property
    def device(self) -> Any:
        """Where the tensors are: where JAX has its arrays, if torch can go there."""
        return self.positions.device

    def _from_jax(self, array: jax.Array, device: Any) -> Any:
        if self._on_cpu or device.type == "cuda":
            return _torch().from_dlpack(jax.block_until_ready(array))
        return _torch().from_numpy(np.array(array))

    def put(self, rows: _Rows, values: Mapping[str, Any]) -> None:
        """Copy what a model returned to the lanes that it is of."""
        self.energy[rows.systems] = values["energy"].to(self.energy)
        self.forces.permute(2, 1, 0)[rows.lanes, rows.atoms] = values["forces"].to(self.forces)
        if self.stress is not None:
            stress = values["stress"].to(self.stress)
            self.stress.permute(2, 0, 1)[rows.systems] = stress

    def clear(self, lane: int) -> None:
        """Take back what a lane got."""
        for tensor in (self.energy, self.forces, self.stress):
            if tensor is not None:
                tensor[..., lane] = 0

    def finite(self) -> Any:
        """(n_lanes,) bool: whether energy and forces are finite."""
        return (self.energy.isfinite() & self.forces.isfinite().all(0).all(0)).tolist()

    def evaluation(self) -> Evaluation:
        """Return the results as JAX arrays, which take over the tensors' memory."""
        tensors = [t for t in (self.energy, self.forces, self.stress) if t is not None]
        if self.device.type == "cpu":
            # No copy either. Arrays by dlpack would be committed to their device, which JAX takes
            # for another kind of argument: every program would be compiled a second time.
            return Evaluation(*jax.device_put([t.numpy() for t in tensors]))
        return Evaluation(*map(jnp.from_dlpack, tensors))


def _completion(structure: Structure) -> np.ndarray:
    """(3, 3), columns: vectors for the axes of a slab or a chain that have none, else zeros."""
    if not structure.pbc.any() or structure.cell.any(axis=1).all():
        return np.zeros((3, 3))
    from ase.geometry import complete_cell

    missing = np.logical_not(structure.cell.any(axis=1))
    return np.where(missing[:, None], complete_cell(structure.cell), 0.0).T


def _masses(structure: Structure) -> np.ndarray:
    if structure.atoms is not None:
        return structure.atoms.get_masses()
    from ase.data import atomic_masses

    symbols_of(structure)
    return atomic_masses[structure.numbers]


def _pbc(structure: Structure) -> tuple[bool, ...]:
    return tuple(structure.pbc.tolist())


def _labels(structure: Structure) -> dict[str, Any]:
    """Charge and spin, if the structure says them."""
    spin = None if structure.atoms is None else structure.atoms.info.get("spin")
    said = {"charge": structure.charge, "spin": spin}
    return {name: value for name, value in said.items() if value is not None}


def is_torch_sim(value: Any) -> bool:
    """Return whether a value looks like an instance of a TorchSim model."""
    return not isinstance(value, type) and all(hasattr(value, name) for name in _ATTRIBUTES)


def _named(model: Any) -> str:
    return type(model).__name__


def _torch() -> Any:
    return importlib.import_module("torch")


def _sim_state() -> Any:
    return importlib.import_module("torch_sim").SimState


def _check_installed() -> None:
    try:
        _torch()
        _sim_state()
    except ImportError as error:
        raise OptionError(
            "TorchSim models need torch and torch-sim-atomistic, which cannot be imported "
            f"({error}). Install kups-relax[torch-sim]."
        ) from error


@functools.cache
def _abilities() -> tuple[bool, bool]:
    """Whether states have periodic axes one by one, and whether they take charge and spin."""
    torch, make = _torch(), _sim_state()
    options = {
        "positions": torch.zeros(1, 3),
        "masses": torch.ones(1),
        "cell": torch.eye(3)[None],
        "atomic_numbers": torch.ones(1, dtype=torch.int),
        "system_idx": torch.zeros(1, dtype=torch.int64),
    }
    axes = torch.is_tensor(make(**options, pbc=[True, True, False]).pbc)
    try:
        make(**options, pbc=False, charge=torch.zeros(1), spin=torch.zeros(1))
    except TypeError:
        return axes, False
    return axes, True
