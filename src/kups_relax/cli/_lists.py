"""Commands that say what there is: potentials, optimizers, versions."""

import dataclasses
import inspect
import platform
import textwrap
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_WIDTH = 80
_PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "optax", "ase", "h5py", "typer")
_OPTIONAL = ("rdkit", "spglib", "tblite", "torch-sim-atomistic", "nequix", "mlip")

_OWN_MODEL = """\
Any other model: --potential FILE.py:FUNCTION, a function of yours without
arguments that returns a potential. With my_model.py beside the input,

    from tblite.ase import TBLite
    from kups_relax.potentials import AseCalculator
    def make():
        return AseCalculator(lambda: TBLite(method="GFN2-xTB", verbosity=0))

it is --potential my_model.py:make. In the same way there are, in
kups_relax.potentials,
"""

_OWN_OPTIMIZER = """\
Any other: --optimizer FILE.py:FUNCTION, a function of yours without arguments
that returns an optimizer of kups_relax.optimizers or optax. With my.py,

    from kups_relax import optimizers as ko
    def make():
        return ko.chain(ko.ScaleByAseLbfgs(memory_size=30), ko.Scale(-0.5))

it is --optimizer my.py:make.
"""


def potentials() -> None:
    """List the potentials and their options, with defaults.

    \b
    Options go behind the name:
      --potential lennard-jones:epsilon=0.0104,sigma=3.4
    """
    from kups_relax import potentials as kp

    print("By name: --potential NAME or NAME:key=value,key=value\n")
    for name, cls in kp.NAMED.items():
        _print_entry(name, _first_sentence(cls), _options_of(cls))
    print(_OWN_MODEL)
    for cls in _models_without_name():
        _print_entry(cls.__name__, _first_sentence(cls), {})


def optimizers() -> None:
    """List the optimizers and their options, with defaults.

    \b
    Options go behind the name:
      --optimizer fire:dt=0.05,maxstep=0.1
    """
    from kups_relax._options import defaults_of
    from kups_relax.optimizers import NAMED
    from kups_relax.optimizers._optax import FromOptax

    print("By name: --optimizer NAME or NAME:key=value,key=value")
    print("Lengths in Angstrom, energies in eV.\n")
    ours = {name: make for name, make in NAMED.items() if not isinstance(make, FromOptax)}
    for name, make in ours.items():
        _print_entry(name, _first_sentence(make), defaults_of(make))
    print("From optax, with a bound on each step, max-step-size. With a rate that does not")
    print("decay many swing about the minimum; lbfgs needs fewer evaluations than any.\n")
    for name, make in NAMED.items():
        if isinstance(make, FromOptax):
            _print_entry(name, make.summary, defaults_of(make))
    print(_OWN_OPTIMIZER, end="")


def format_versions() -> str:
    """Say which versions of what are installed."""
    found = {name: _version(name) for name in (*_PACKAGES, *_OPTIONAL)}
    lines = [f"kups-relax {_version('kups-relax') or 'unknown'}"]
    lines.append(f"{'python':20s} {platform.python_version()}")
    lines += [f"{name:20s} {found[name] or 'not installed'}" for name in found]
    return "\n".join(lines)


def _models_without_name() -> list[Any]:
    """Return what makes potentials that no name stands for: classes, and functions like them."""
    from kups_relax import potentials as kp

    found = []
    for maker in vars(kp).values():
        cls = maker
        if inspect.isfunction(maker) and maker.__name__[0].isupper():
            cls = inspect.signature(maker, eval_str=True).return_annotation
        if not (inspect.isclass(cls) and issubclass(cls, kp.EnergyModel)):
            continue
        if not inspect.isabstract(maker) and maker not in kp.NAMED.values():
            found.append(maker)
    return found


def _options_of(cls: type[Any]) -> dict[str, Any]:
    """Return the options of a potential that can be given in a word."""
    return {
        field.name.replace("_", "-"): field.default
        for field in dataclasses.fields(cls)
        if field.default is None or isinstance(field.default, bool | int | float | str)
    }


def _print_entry(name: str, summary: str, options: Mapping[str, Any]) -> None:
    print(textwrap.fill(f"{name}: {summary}", _WIDTH, subsequent_indent="    "))
    if options:
        words = ", ".join(f"{key}={_word(value)}" for key, value in options.items())
        indent = " " * 6
        print(
            textwrap.fill(
                words, _WIDTH, initial_indent=indent, subsequent_indent=indent,
                break_on_hyphens=False,
            )
        )  # fmt: skip
    print()


def _word(value: Any) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _first_sentence(thing: Any) -> str:
    text = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    text = text.removeprefix("Make ").replace("`", "")
    return text[:1].upper() + text[1:]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
