"""Write what is in a store to the files that other programs read."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kups_relax import io
from kups_relax.errors import OptionError
from kups_relax.store._store import Store


def export(store: Store, path: str | os.PathLike[str], *, overwrite: bool = False) -> int:
    """Write structures of a store in the format that the ending of the path names.

    They are read and written some at a time: a store may be larger than the memory. `io.write`
    says which formats there are, and how what they cannot hold is told. Where nothing could be read
    of an input there is no geometry to write; only a table (.csv) has a row for it.

    Args:
        store: All of it, or a part: `store.select("converged")`, `store[:100]`.
        path: .extxyz, .xyz, .traj, .sdf, .csv, .db, .cif, .vasp or POSCAR.
        overwrite: Whether `path` may exist.

    Returns:
        How many structures were written.

    Raises:
        OptionError: The ending is unknown.
        StructureError: The format can hold none of the structures, or one, and there are several.
        StoreError: The store cannot be read, or the file cannot be written.

    Example:
        >>> import tempfile, pathlib, ase, kups_relax as kr
        >>> pair = ase.Atoms("Ar2", [[0, 0, 0], [0, 0, 3.6]])
        >>> argon = kr.potentials.LennardJones(0.0104, 3.4)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     folder = pathlib.Path(folder)
        ...     run = kr.relax([pair, pair], argon, output=folder / "run.h5")
        ...     kr.store.export(run.select("converged"), folder / "done.extxyz")
        2
    """
    ending = Path(path).suffix.lower()
    if ending in io.STORES:
        raise OptionError(
            f"{str(path)!r} would be a store again; expected one of {', '.join(io.ENDINGS)}."
        )
    path = io.check_output(path, overwrite=overwrite)
    sources = _Sources(store, topologies=ending == ".sdf")
    return io.write(path, store.atoms, sources, store.table())


@dataclasses.dataclass(frozen=True)
class _Source:
    """What writers ask of an input."""

    id: str
    topology: Any


class _Sources(Sequence[Any]):
    """The inputs of a store, one by one."""

    def __init__(self, store: Store, *, topologies: bool) -> None:
        self._store, self._topologies = store, topologies

    def __len__(self) -> int:
        return len(self._store)

    def __getitem__(self, item: Any) -> Any:
        return list(self)[item]

    def __iter__(self) -> Iterator[Any]:
        store = self._store
        read = store.topologies() if self._topologies else iter([None] * len(store))
        for label, topology, n in zip(store.ids, read, store.n_evaluations.tolist(), strict=True):
            # Of what was refused before its first evaluation there may have been no bonds.
            refused = self._topologies and topology is None and n == 0
            yield io.Unreadable(id=label, reason="") if refused else _Source(label, topology)
