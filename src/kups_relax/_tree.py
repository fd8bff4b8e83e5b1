"""Frozen dataclasses that are JAX pytrees."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform, overload

import jax

T = TypeVar("T")


def static(**kwargs: Any) -> Any:
    """Declare a field that is part of the program and not of the data.

    Its value is compared and hashed with the treedef: a new value means a new trace. Use it only
    for what must shape the program.
    """
    metadata = dict(kwargs.pop("metadata", {}), static=True)
    return dataclasses.field(metadata=metadata, **kwargs)


@overload
def dataclass(cls: type[T], /) -> type[T]: ...
@overload
def dataclass(*, eq: bool = False) -> Callable[[type[T]], type[T]]: ...


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(static,))
def dataclass(cls: Any = None, /, *, eq: bool = False) -> Any:
    """Make a class a frozen, keyword-only dataclass and register it as a pytree.

    Fields made by `static` belong to the treedef, all others are children. Rebuilding a pytree
    goes past `__init__` and `__post_init__`: JAX rebuilds them with tracers, shapes and sentinels
    inside, so validation belongs in constructors named `new` or `from_*`.
    """

    def wrap(cls: type[T]) -> type[T]:
        cls = dataclasses.dataclass(frozen=True, kw_only=True, eq=eq)(cls)
        fields = dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]
        jax.tree_util.register_dataclass(
            cls,
            data_fields=[f.name for f in fields if not f.metadata.get("static")],
            meta_fields=[f.name for f in fields if f.metadata.get("static")],
        )
        return cls

    return wrap if cls is None else wrap(cls)
