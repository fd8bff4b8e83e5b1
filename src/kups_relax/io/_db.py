"""ASE's databases."""

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kups_relax.io._format import Format, Shown
from kups_relax.io._left_out import encodable

if TYPE_CHECKING:
    import ase

# Names that ASE keeps for itself.
_NAMES = {"id": "structure_id", "fmax": "judged_fmax"}


class Database(Format):
    """Outcomes can be searched for; info is data."""

    name = "ASE's database"
    parts = frozenset({"info", "arrays", "results", "constraints", "celldisp"})

    @contextlib.contextmanager
    def opened(self, path: Path) -> Iterator[Any]:
        """Begin a file, and return the function that adds a structure to it."""
        try:
            with _connected(str(path)) as database:
                yield lambda shown: _add(database, shown)
                # Without rows there are no tables yet.
                database.count()
        except sqlite3.Error as error:
            raise OSError(f"{type(error).__name__}: {error}") from error

    def again(self, shown: Shown) -> "ase.Atoms":
        """Write a structure in memory and read it back."""
        with _connected(":memory:") as database:
            row = database.get(id=_add(database, shown))
            atoms = row.toatoms()
            atoms.info.update(row.data)
        given, found = (getattr(a.calc, "results", {}) for a in (shown.atoms, atoms))
        for key in ("energy", "free_energy"):
            # SQLite has no -0; that is no reason to be without an energy.
            if given.get(key) == 0 and found.get(key) == 0:
                found[key] = given[key]
        return atoms


def _connected(path: str) -> Any:
    from ase.db.sqlite import SQLite3Database

    # The name of a file that is being made is temporary; who writes it is alone.
    return SQLite3Database(path, use_lock_file=False)


def _add(database: Any, shown: Shown) -> int:
    pairs, data = _entries(shown)
    return database.write(shown.atoms, key_value_pairs=pairs, data=data)


def _entries(shown: Shown) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Part what can be searched for from what is only kept.

    ASE refuses text that could be a number ("7" as an id) among key-value pairs, and names that
    it uses itself: "id", "fmax".
    """
    pairs, data = {}, dict(shown.atoms.info)
    for name, value in shown.labels.items():
        value = encodable(value) if isinstance(value, str) else value
        if value != value:
            continue
        if isinstance(value, str) and (_like_a_number(value) or not value):
            data[name] = value
        else:
            pairs[_NAMES.get(name, name)] = value
    return pairs, data


def _like_a_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text in ("True", "False")
    return True
