"""Options in one word, as the command line gives them: name:key=value,key=value."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from kups_relax.errors import OptionError

T = TypeVar("T")


def build(maker: Callable[..., T], name: str, options: str) -> T:
    """Make what "key=value,key=value" asks for, keys in kebab case.

    Args:
        maker: A dataclass, or a function; its parameters are the options.
        name: What messages call it.
        options: Numbers are read as numbers; true, false and none as these; others stay text.
            Where the maker wants a number, a whole number, or true or false, the value has to be
            one: its annotation says so, or where there is none, its default.

    Raises:
        OptionError: A key does not exist, or a value makes no sense.
    """
    parameters = {p.name.replace("_", "-"): p for p in inspect.signature(maker).parameters.values()}
    values: dict[str, Any] = {}
    for item in filter(None, options.split(",")):
        key, equals, value = item.partition("=")
        key = key.replace("_", "-")
        if not parameters:
            raise OptionError(f"{name} has no option {item!r}; it has none at all.")
        if not equals or key not in parameters:
            raise OptionError(
                f"{name} has no option {item!r}; expected key=value with one of "
                f"{', '.join(parameters)}."
            )
        values[key.replace("-", "_")] = _value(name, key, value, _kind(parameters[key]))
    try:
        return maker(**values)
    except TypeError as error:
        raise OptionError(f"'{name}:{options}': {error}") from error


def defaults_of(maker: Callable[..., Any]) -> dict[str, Any]:
    """Return the options of a maker by their names in kebab case, with their defaults."""
    parameters = inspect.signature(maker).parameters.values()
    return {p.name.replace("_", "-"): p.default for p in parameters}


def _kind(parameter: inspect.Parameter) -> Any:
    if parameter.annotation is parameter.empty:
        return type(parameter.default)
    return parameter.annotation


def _value(name: str, key: str, text: str, kind: Any) -> Any:
    value: Any
    try:
        value = float(text)
    except ValueError:
        value = {"none": None, "true": True, "false": False}.get(text.lower(), text)
    if kind is bool and not isinstance(value, bool):
        raise OptionError(f"{name}: {key} is {text!r}; expected true or false.")
    if kind is int:
        if not (isinstance(value, float) and value.is_integer()):
            raise OptionError(f"{name}: {key} is {text!r}; expected a whole number.")
        return int(value)
    if kind is float and (isinstance(value, bool) or not isinstance(value, float | None)):
        raise OptionError(f"{name}: {key} is {text!r}; expected a number.")
    return value
