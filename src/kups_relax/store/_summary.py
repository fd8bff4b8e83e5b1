"""What is in a store, in a few numbers."""

import datetime
from typing import Any

import numpy as np

from kups_relax.store._store import Store


def summary(store: Store) -> dict[str, Any]:
    """Sum a store up as plain values that JSON can hold.

    Args:
        store: All of it, or a part.

    Returns:
        `path`, `bytes` of the file, `n_structures` finished, `complete`, `n_input` (None before
        the run has ended), `counts` by status, `n_atoms` and `n_steps` as least, median and most
        (None where there are none), `first_finished` and `last_finished` (seconds since 1970, or
        None), `options`, `versions`, `with_trajectory` (ids).
    """
    when = store.finished
    return {
        "path": str(store.path),
        "bytes": store.path.stat().st_size,
        "n_structures": len(store),
        "complete": store.complete,
        "n_input": store.n_input,
        "counts": store.counts,
        "n_atoms": _spread(store.n_atoms),
        "n_steps": _spread(store.n_steps),
        "first_finished": float(when.min()) if len(when) else None,
        "last_finished": float(when.max()) if len(when) else None,
        "options": store.options,
        "versions": store.versions,
        "with_trajectory": store.with_trajectory,
    }


def when(seconds: float) -> str:
    """Write seconds since 1970 as a date."""
    return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"


def _spread(values: np.ndarray) -> dict[str, float] | None:
    if not len(values):
        return None
    least, median, most = values.min(), np.median(values), values.max()
    return {"least": int(least), "median": float(median), "most": int(most)}
