"""Write results that are in memory to a store, as if it had been the run's output."""

import dataclasses
import json
import os
import platform
import secrets
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from kups_relax import io
from kups_relax._bits import BITS, environment
from kups_relax._record import Record
from kups_relax.store._extras import extras_of, input_hash
from kups_relax.store._layout import Row
from kups_relax.store._writer import Writer


def save(
    path: str | os.PathLike[str],
    records: Sequence[Record],
    options: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> None:
    """Write a complete store.

    Args:
        path: Of the file.
        records: What the structures got. Their places in the store are those in this sequence.
        options: With which the structures were relaxed.
        overwrite: Whether the file may exist.

    Raises:
        StoreError: It exists, or cannot be written.
    """
    path = Path(path)
    io.check_place(path, overwrite=overwrite)
    writer, left_out = Writer(path), io.LeftOut(path, "a store")
    try:
        io.check_place(path, overwrite=overwrite)
        writer.create(attributes(options))
        for number, record in enumerate(records):
            extras = extras_of(record.entry, left_out)
            row = dataclasses.replace(record, number=number)
            writer.add(Row(row, extras, input_hash(record.entry, extras)))
        writer.write(complete=True, n_input=len(records))
    finally:
        writer.close()
    left_out.warn()


def attributes(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a store that is begun.

    Args:
        options: With which structures are relaxed.
    """
    return {
        "options": json.dumps(options, default=_plain),
        "versions": json.dumps(versions()),
        "complete": False,
        "n_input": -1,
        "run": secrets.token_hex(8),
    }


def versions() -> dict[str, Any]:
    """Return the versions of what relaxes structures, and `bits`, the environment of their bits."""
    found: dict[str, Any] = {"python": platform.python_version()}
    for name in ("kups-relax", "jax", "jaxlib", "numpy", "ase"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return {**found, BITS: environment()}


def _plain(value: Any) -> Any:
    """Return what JSON can hold."""
    return value.tolist() if hasattr(value, "tolist") else repr(value)
