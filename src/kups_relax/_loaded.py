"""Potentials and optimizers that others wrote, found by where they are defined."""

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import inspect
import os
import pathlib
import sys
import threading
from types import ModuleType
from typing import Any

from kups_relax.errors import OptionError, described

FORM = "package.module:factory or model.py:factory"

# No other process can import these by name.
_from_files: dict[str, ModuleType] = {}
_ONE_AT_A_TIME = threading.Lock()


def serialize(value: Any) -> bytes:
    """Pickle a value for another process, lambdas and what is defined in files by their content."""
    import cloudpickle

    # What is registered is known to the whole process.
    with _ONE_AT_A_TIME, contextlib.ExitStack() as undo:
        # Those that somebody took out of Python's are found by nobody.
        there = [m for name, m in _from_files.items() if sys.modules.get(name) is m]
        for module in there:
            cloudpickle.register_pickle_by_value(module)
            undo.callback(cloudpickle.unregister_pickle_by_value, module)
        return cloudpickle.dumps(value)


def is_location(text: str) -> bool:
    """Whether a text has the form "package.module:factory" or "path/model.py:factory"."""
    module, colon, attribute = text.rpartition(":")
    is_module = module.endswith(".py") or all(part.isidentifier() for part in module.split("."))
    return bool(colon) and is_module and all(part.isidentifier() for part in attribute.split("."))


def load(text: str, what: str) -> Any:
    """Import what a text names, and call it if it can be called.

    The current directory is made importable for a module, the file's own one for a file; both
    come last on `sys.path`, so that they hide nothing. A file is imported once.

    Args:
        text: "package.module:factory" or "path/model.py:factory". The factory takes no arguments.
        what: What messages call it, such as "potential".

    Returns:
        What the factory returned, or what stands there if that cannot be called.

    Raises:
        OptionError: There is no such module or attribute, or one of them raised; with its reason.
    """
    where, _, name = text.rpartition(":")
    module = (
        _file(text, pathlib.Path(where)) if where.endswith(".py") else _module(text, where, what)
    )
    try:
        found = functools.reduce(getattr, name.split("."), module)
    except AttributeError:
        has = [n for n, v in vars(module).items() if not n.startswith("_") and _is_own(v, module)]
        raise OptionError(
            f"{text!r}: {where} has no {name!r}; it has {', '.join(sorted(has)[:10]) or 'nothing'}."
        ) from None
    if not callable(found):
        return found
    try:
        return found()
    except Exception as error:
        raise OptionError(f"{text!r}: {name}() raised {described(error)}") from error


def _module(text: str, name: str, what: str) -> ModuleType:
    _make_importable(os.getcwd())
    try:
        return importlib.import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and _is_part(error.name, name):
            raise OptionError(
                f"{text!r}: there is no {what} and no module {error.name!r}. Install it, or "
                "run in the directory that holds it."
            ) from None
        raise OptionError(f"{text!r}: importing {name} raised {described(error)}") from error


def _file(text: str, path: pathlib.Path) -> ModuleType:
    path = path.resolve()
    if not path.is_file():
        raise OptionError(f"{text!r}: there is no file {path}.")
    # A name of its own: stems such as "model" are many. Known to Python, since dataclasses look
    # their module up.
    name = f"{path.stem}_{hashlib.sha1(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    _make_importable(str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise OptionError(f"{text!r}: importing {path.name} raised {described(error)}") from error
    _from_files[name] = module
    return module


def _make_importable(directory: str) -> None:
    if directory not in sys.path:
        sys.path.append(directory)


def _is_part(missing: str | None, name: str) -> bool:
    return missing is not None and (name == missing or name.startswith(missing + "."))


def _is_own(value: Any, module: ModuleType) -> bool:
    """Whether a module offers this itself, and did not import it."""
    if inspect.ismodule(value):
        return False
    return getattr(value, "__module__", None) == module.__name__ or not callable(value)
