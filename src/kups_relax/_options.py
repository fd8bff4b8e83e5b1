"""Options in one word, as the command line gives them: name:key=value,key=value."""

import difflib
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from kups_relax.errors import OptionError, shown

T = TypeVar("T")

# What float() reads besides ("1_0", "١", "nan", "infinity") is nothing that somebody meant.
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WORDS = {"none": None, "true": True, "false": False}


def build(maker: Callable[..., T], name: str, options: str) -> T:
    """Make what "key=value,key=value" asks for, keys in kebab case.

    Args:
        maker: A dataclass, or a function; its parameters are the options.
        name: What messages call it.
        options: Each value is read as what its annotation wants, or where that is missing or Any,
            its default: a number, a whole number, true or false, none, or the text as it was given.

    Raises:
        OptionError: A key does not exist or comes twice, or a value makes no sense.
    """
    parameters = {_kebab(p.name): p for p in inspect.signature(maker).parameters.values()}
    values: dict[str, Any] = {}
    for item in filter(None, (item.strip() for item in options.split(","))):
        key, equals, text = (part.strip() for part in item.partition("="))
        key = _kebab(key)
        if not parameters:
            raise OptionError(f"{name} has no option {shown(item)}; it has none at all.")
        if not equals or key not in parameters:
            raise OptionError(
                f"{name} has no option {shown(item)}; expected key=value with one of "
                f"{', '.join(parameters)}.{did_you_mean(key, parameters) if equals else ''}"
            )
        if parameters[key].name in values:
            raise OptionError(f"{name}: {key} is given twice, in {options!r}. Give it once.")
        values[parameters[key].name] = _value(name, key, text, parameters[key])
    try:
        return maker(**values)
    except TypeError as error:
        raise OptionError(f"'{name}:{options}': {error}") from error


def defaults_of(maker: Callable[..., Any]) -> dict[str, Any]:
    """Return the options of a maker by their names in kebab case, with their defaults."""
    return {_kebab(p.name): p.default for p in inspect.signature(maker).parameters.values()}


def spelled(options: Mapping[str, Any], maker: Callable[..., Any] | None = None) -> str:
    """Write a name and options as `build` reads them, leaving out what is the maker's default.

    Args:
        options: "name", and the options by name in any case.
        maker: What was made with them.

    Example:
        >>> spelled({"name": "fire", "dt": 0.05, "use_abc": True})
        'fire:dt=0.05,use-abc=true'
    """
    defaults = {} if maker is None else defaults_of(maker)
    missing = object()
    items = []
    for key, value in options.items():
        if key == "name" or defaults.get(_kebab(key), missing) == value:
            continue
        text = str(value).lower() if value is None or isinstance(value, bool) else f"{value}"
        items.append(f"{_kebab(key)}={text}")
    return f"{options['name']}{':' if items else ''}{','.join(items)}"


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest of some names, or "" where none is near.

    Example:
        >>> did_you_mean("lenard jones", ["lennard-jones", "morse"])
        " Did you mean 'lennard-jones'?"
    """
    plain = {re.sub(r"[-_ ]", "", name.lower()): name for name in names}
    word = re.sub(r"[-_ ]", "", word.lower())
    near = difflib.get_close_matches(word, plain, n=1, cutoff=0.6)
    if not near and len(word) > 2:
        near = [key for key in plain if key.startswith(word)][:1]
    return f" Did you mean {plain[near[0]]!r}?" if near else ""


def _kebab(name: str) -> str:
    return name.replace("_", "-")


def _kinds(parameter: inspect.Parameter) -> tuple[Any, ...]:
    """Return the types that a value may have; str where the text stays what it is."""
    annotation, default = parameter.annotation, parameter.default
    if annotation in (parameter.empty, Any):
        # A number where the default is one: "001000" is no number for a mask.
        if isinstance(default, bool | int) and annotation is parameter.empty:
            return (type(default),)
        if default is None and annotation is parameter.empty:
            # Of optax: numbers that are not set, such as a momentum.
            return (float, bool, type(None), str)
        number = isinstance(default, int | float) and not isinstance(default, bool)
        only = annotation is parameter.empty and number
        return (float, type(None)) if only else (*((float,) if number else ()), type(None), str)
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return typing.get_args(annotation)
    return (annotation,)


def _value(name: str, key: str, text: str, parameter: inspect.Parameter) -> Any:
    """Read a value as the first of its types that fits."""
    kinds, expected = _kinds(parameter), []
    for kind in kinds:
        if kind is float:
            if _NUMBER.fullmatch(text):
                if math.isinf(float(text)):
                    raise OptionError(
                        f"{name}: {key} is {shown(text)}, more than a number can hold."
                    )
                return float(text)
            expected.append("a number")
        elif kind is int:
            if _NUMBER.fullmatch(text) and float(text).is_integer():
                return int(text) if re.fullmatch(r"[+-]?[0-9]+", text) else int(float(text))
            expected.append("a whole number")
        elif kind is bool:
            if text.lower() in ("true", "false"):
                return _WORDS[text.lower()]
            expected.append("true or false")
        elif kind is type(None):
            if text.lower() == "none":
                return None
            expected.append("none")
        elif typing.get_origin(kind) is typing.Literal:
            if text in typing.get_args(kind):
                return text
            expected += map(repr, typing.get_args(kind))
        elif text:
            return text
        else:
            expected.append("a value")
    raise OptionError(f"{name}: {key} is {shown(text)}; expected {' or '.join(expected)}.")
