"""ASE's binary trajectories."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kups_relax.io._format import Format, Shown

if TYPE_CHECKING:
    import ase


class Traj(Format):
    """Constraints of every kind that ASE can write down and make again."""

    name = "ASE's trajectory"
    parts = frozenset({"info", "arrays", "results", "constraints", "celldisp"})

    @contextlib.contextmanager
    def opened(self, path: Path) -> Iterator[Any]:
        """Begin a file, and return the function that adds a structure to it."""
        from ase.io.trajectory import TrajectoryWriter

        with TrajectoryWriter(path, "w") as file:
            yield lambda shown: file.write(_labelled(shown))

    def again(self, shown: Shown) -> "ase.Atoms":
        """Write a structure in memory and read it back."""
        from ase.io.trajectory import TrajectoryReader, TrajectoryWriter

        file: Any = io.BytesIO()
        TrajectoryWriter(file, "w").write(_labelled(shown))
        file.seek(0)
        back: Any = TrajectoryReader(file)
        [atoms] = back
        return atoms


def _labelled(shown: Shown) -> "ase.Atoms":
    shown.atoms.info.update(shown.labels)
    return shown.atoms
