"""Options in one word, as the command line gives them: name:key=value,key=value."""

import dataclasses
from typing import Any, TypeVar

from kups_relax.errors import OptionError

T = TypeVar("T")


def build(cls: type[T], name: str, options: str) -> T:
    """Make a dataclass from "key=value,key=value", keys in kebab case.

    Args:
        cls: A dataclass.
        name: What messages call it.
        options: Numbers are read as numbers; true, false and none as these; others stay text.

    Raises:
        OptionError: A key does not exist, or a value makes no sense.
    """
    known = [f.name.replace("_", "-") for f in dataclasses.fields(cls)]  # pyright: ignore
    values: dict[str, Any] = {}
    for item in filter(None, options.split(",")):
        key, equals, value = item.partition("=")
        if not equals or key not in known:
            raise OptionError(
                f"{name} has no option {item!r}; expected key=value with one of {', '.join(known)}."
            )
        values[key.replace("-", "_")] = _value(value)
    try:
        return cls(**values)
    except TypeError as error:
        raise OptionError(f"'{name}:{options}': {error}") from error


def _value(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return {"none": None, "true": True, "false": False}.get(text.lower(), text)
