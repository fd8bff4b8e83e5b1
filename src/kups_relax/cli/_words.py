"""Messages of the package, which speak Python, in words of the command.

The package names an option as Python has it: `overwrite=True`, or `max_steps is -1`. One place
turns that into what somebody typed; stores and results keep what the package says.
"""

import functools
import re
from typing import Any

# Words of the command alone, which mean other things in messages.
_OTHERS = ("help", "status", "as_json", "quiet")
# Quoted text is the user's own; an apostrophe within a word opens none.
_QUOTED = r"(?<!\w)'[^'\n]*'(?!\w)|(?<!\w)\"[^\"\n]*\"(?!\w)"
_VALUE = r"'[^'\n]*'|\"[^\"\n]*\"|\.\.\.|-?[\w.]*\w"


def for_shell(text: str) -> str:
    """Translate the options that a message names.

    Example:
        >>> for_shell("x exists. Choose another name or allow it with overwrite=True.")
        'x exists. Choose another name or allow it with --overwrite.'
        >>> for_shell("Relax with cell=None, or use n_workers=1; max_steps is -1.")
        'Relax without --cell, or use --workers 1; --max-steps is -1.'
    """
    return _pattern().sub(_translated, text)


def _translated(found: re.Match[str]) -> str:
    if (name := found["without"]) is not None:
        return f"without {_flags()[name][0]}"
    if (name := found["name"]) is not None:
        flag, is_flag = _flags()[name]
        value = found["value"]
        if is_flag:
            return flag if value == "True" else f"no {flag}"
        return f"no {flag}" if value == "None" else f"{flag} {value.strip(_quotes(value))}"
    if (name := found["call"]) is not None:
        return f"kups-relax relax ... {for_shell(name)}"
    if (name := found["subject"]) is not None:
        return _flags()[name][0]
    if (name := found["identifier"]) is not None:
        return _flags()[name][0]
    if (name := found["kind"]) is not None:
        option = found["option"].replace("_", "-")
        return f"{_kinds()[name]}:{option}={found['setting'].lower()}"
    if (name := found["maker"]) is not None:
        return f"{_kinds()[name]}: "
    if (value := found["pbc"]) is not None:
        letter = value[0]
        return f'pbc="{letter} {letter} {letter}" in extended XYZ'
    return found[0]


def _quotes(value: str) -> str:
    return value[0] if value[0] in "'\"" else ""


@functools.cache
def _pattern() -> re.Pattern[str]:
    names = "|".join(sorted(_flags(), key=len, reverse=True))
    snake = "|".join(name for name in _flags() if "_" in name)
    kinds = "|".join(_kinds())
    return re.compile(
        rf"\bwith (?P<without>{names})=None\b"
        rf"|(?<![\w.:,({{-])(?P<name>{names})=(?P<value>{_VALUE})"
        rf"|\brelax\(\.\.\., (?P<call>(?:{names})=(?:{_VALUE}))\)"
        rf"|(?:^|(?<=and )|(?<=kups-relax: ))(?P<subject>{names})(?= is (?:['\"\d-]|None|nan|inf))"
        rf"|(?<![\w.=:,-])(?P<identifier>{snake})\b(?![=\w])"
        rf"|\b(?P<kind>{kinds})\((?:\.\.\., )?(?P<option>\w+)=(?P<setting>\.\.\.|\w+)\)"
        rf"|^(?P<maker>{kinds}): "
        rf"|\bpbc=(?P<pbc>True|False)\b"
        rf"|{_QUOTED}"
    )


@functools.cache
def _flags() -> dict[str, tuple[str, bool]]:
    """Options of all commands by their names in Python, and whether they are flags."""
    import typer

    from kups_relax.cli._app import app

    # Typer brings its own click, or uses the one there is.
    group: Any = typer.main.get_command(app)
    return {
        option.name: (option.opts[0], option.is_flag)
        for command in group.commands.values()
        for option in command.params
        if option.param_type_name == "option" and option.name not in _OTHERS
    }


@functools.cache
def _kinds() -> dict[str, str]:
    """Classes that have names in the command."""
    from kups_relax import potentials
    from kups_relax.coordinates import _cells

    return {
        cls.__name__: name
        for named in (potentials.NAMED, _cells.NAMED)
        for name, cls in named.items()
    }
