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
            Where a default is a whole number, or true or false, the value has to be one.

    Raises:
        OptionError: A key does not exist, or a value makes no sense.
    """
    defaults = defaults_of(maker)
    values: dict[str, Any] = {}
    for item in filter(None, options.split(",")):
        key, equals, value = item.partition("=")
        key = key.replace("_", "-")
        if not equals or key not in defaults:
            what = f"expected key=value with one of {', '.join(defaults)}" if defaults else "or any"
            raise OptionError(f"{name} has no option {item!r}; {what}.")
        values[key.replace("-", "_")] = _value(name, key, value, defaults[key])
    try:
        return maker(**values)
    except TypeError as error:
        raise OptionError(f"'{name}:{options}': {error}") from error


def defaults_of(maker: Callable[..., Any]) -> dict[str, Any]:
    """Return the options of a maker by their names in kebab case, with their defaults."""
    parameters = inspect.signature(maker).parameters.values()
    return {p.name.replace("_", "-"): p.default for p in parameters}


def _value(name: str, key: str, text: str, default: Any) -> Any:
    value: Any
    try:
        value = float(text)
    except ValueError:
        value = {"none": None, "true": True, "false": False}.get(text.lower(), text)
    wanted = None
    if isinstance(default, bool):
        wanted = None if isinstance(value, bool) else "true or false"
    elif isinstance(default, int):
        whole = isinstance(value, float) and value.is_integer()
        value, wanted = (int(value), None) if whole else (value, "a whole number")
    elif isinstance(default, float) and not isinstance(value, float):
        wanted = "a number"
    if wanted is not None:
        raise OptionError(f"{name}: {key} is {text!r}; expected {wanted}.")
    return value
