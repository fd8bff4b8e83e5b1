"""The errors that users meet: what, which structure, got, expected, what to do."""

import shlex
from typing import Any


def shown(value: Any, most: int = 80) -> str:
    """Show a value in a message: its repr, on one line, cut where it is long.

    Args:
        value: Anything, also what a user gave by mistake: a model of a hundred lines, a class.
        most: Characters.
    """
    try:
        text = printable(" ".join(repr(value).split()))
    except Exception as error:  # a repr that raises must not take the place of the message
        text = f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def described(error: BaseException, most: int = 300) -> str:
    """Tell an exception on one line: its type and what it says, cut where it is long.

    Args:
        error: Whatever a library or a user's code raised.
        most: Characters.
    """
    try:
        said = str(error)
    except Exception:  # an error of the user's own whose text raises
        said = ""
    text = printable(" ".join(f"{type(error).__name__}: {said}".split())).removesuffix(":")
    return text if len(text) <= most else f"{text[: most - 3]}..."


def printable(text: str) -> str:
    r"""Escape what would move a terminal's cursor, change its colours, or begin another line.

    Example:
        >>> print(printable("a\x1b[31m\nb"))
        a\x1b[31m\nb
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shell_word(text: str) -> str:
    r"""Write a path, or another argument, as a word of a shell that can be copied from a terminal.

    Example:
        >>> print(shell_word("out.h5"), shell_word("a b.h5"), shell_word("-x.h5"))
        out.h5 'a b.h5' ./-x.h5
        >>> print(shell_word("it's\x1b[31m"))
        $'it\'s\x1b[31m'
    """
    if text.startswith("-"):
        # Else a command takes it for an option.
        text = f"./{text}"
    if text.isprintable():
        return shlex.quote(text)
    escaped = (
        f"\\{c}" if c in "\\'" else c if c.isprintable() else c.encode("unicode_escape").decode()
        for c in text
    )
    return f"$'{''.join(escaped)}'"


class KupsRelaxError(Exception):
    """Base of every error that kups_relax raises on purpose."""


class StructureError(KupsRelaxError, ValueError):
    """A structure cannot be used; the message names it and the way out."""


class PotentialError(KupsRelaxError):
    """A potential cannot describe a structure, or was given parameters that make no sense."""


class CalculatorError(KupsRelaxError, RuntimeError):
    """An ASE calculator is missing, or does not give what is needed of it."""


class CapacityError(KupsRelaxError):
    """A structure does not fit the arrays that were laid out for it."""


class StoreError(KupsRelaxError):
    """A result file cannot be read or written."""


class DamagedError(StoreError):
    """Data of a store cannot be read, or are not those that were written."""


class KeyMismatchError(KupsRelaxError, ValueError):
    """Keys of an Index or a Table are duplicate, missing, or foreign to each other."""


class OptionError(KupsRelaxError, ValueError):
    """An option has a value, or a name, that does not exist."""


class LeftOutWarning(UserWarning):
    """A file was written without something that its format cannot hold; the message names it."""


class BitsWarning(UserWarning):
    """A run goes on where the same structure may get other bits; the message names what differs."""


class UnknownStructureError(KupsRelaxError, KeyError, IndexError):
    """There is no structure of this id, or at this position."""

    # KeyError would show the message as a quoted string.
    __str__ = Exception.__str__
