"""Collect what a file cannot hold, and warn once for each kind."""

import dataclasses
import os
import re
import sys
import warnings
from collections.abc import Hashable
from typing import Any

from kups_relax.errors import LeftOutWarning

# Modules of this package, and those between its frames: functools' wrappers have none.
_OWN = re.compile(rf"{__name__.partition('.')[0]}(\.|$)")


@dataclasses.dataclass(slots=True)
class _Kind:
    text: str
    label: str
    why: str
    n_more: int = 0


class LeftOut:
    """Collect what was left out of a file, and warn of it once the file is whole.

    A warning in the middle would end the run of a user who has Python raise warnings.

    Args:
        path: Of the file.
        form: Name of its format, for people.
    """

    def __init__(self, path: str | os.PathLike[str], form: str) -> None:
        self._path, self._form = os.fspath(path), form
        self._kinds: dict[Hashable, _Kind] = {}

    def add(self, label: str, text: str, kind: Hashable, why: str = "") -> None:
        """Remember one thing.

        Args:
            label: Id of the structure.
            text: What it is: "info['when'], a datetime".
            kind: Things of one kind are told together, the first of them by its name.
            why: Why it cannot be written; the format could not give it back.
        """
        if kind in self._kinds:
            self._kinds[kind].n_more += 1
        else:
            self._kinds[kind] = _Kind(text, label, why or f"{self._form} cannot give it back")

    def warn(self) -> None:
        """Warn of each kind, where the user's code called this package, and forget it."""
        kinds, self._kinds = self._kinds, {}
        for kind in kinds.values():
            more = f", and {kind.n_more} more of the kind" if kind.n_more else ""
            warnings.warn(
                f"{self._path!r}: {name(kind.label)}: left out {kind.text}{more}: {kind.why}. The "
                "rest is there.",
                LeftOutWarning,
                stacklevel=_depth() + 1,
            )


def _depth() -> int:
    """Count the frames of this package on top of the user's."""
    frame, depth = sys._getframe(1), 1
    while frame.f_back is not None and _OWN.match(frame.f_globals.get("__name__", "")):
        frame, depth = frame.f_back, depth + 1
    return depth - 1


def name(value: Any) -> str:
    """Show a key or an id in a message, whatever it is: `repr` may be long, or raise."""
    try:
        text = ascii(value)
    except Exception:  # integers of thousands of digits, and objects of the user's own
        return f"({type(value).__name__})"
    return text if len(text) <= 60 else f"{text[:57]}..."


def encodable(text: str) -> str:
    """Replace what UTF-8 cannot encode: half of a surrogate pair."""
    return text.encode(errors="replace").decode()
