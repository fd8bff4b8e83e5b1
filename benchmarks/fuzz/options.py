"""Odd values for every option: each is taken as what it is, or refused in words.

Options are found by signatures and annotations, so that a new one is met without being listed.
Nothing is compiled: an option of a run has been taken once the run asks for its first structure.
"""

import contextlib
import functools
import inspect
import io
import math
import numbers
import os
import pathlib
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import ase
import jax.numpy as jnp
import numpy as np
import optax
from ase.build import bulk
from ase.calculators.emt import EMT

import kups_relax as kr
import kups_relax.ase as ka
from benchmarks.fuzz.option_values import TEXTS, VALUES
from kups_relax import coordinates, optimizers, potentials
from kups_relax.cli import _app

ARGON = kr.potentials.LennardJones(0.0104, 3.4)


class Reached(BaseException):
    """A run has taken its options and reads its input."""


def _input() -> Iterator[Any]:
    raise Reached
    yield


_NUMBER, _WHOLE, _FLAG, _OTHER = "number", "whole", "flag", "other"


def cases(seed: int, n: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Draw calls with one odd value each.

    Args:
        seed: Of the draws.
        n: How many are drawn; a few are left out, which would compile.

    Yields:
        What it is, and a call that returns or raises a KupsRelaxError, in words. AssertionError:
        something was taken that makes no sense.
    """
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        targets = [*_targets(), *_commands(pathlib.Path(folder))]
        for i in range(n):
            name, kind, call = draw.choice(targets)
            of, make = draw.choice([*VALUES.items()])
            if name.endswith(": structures") and of == "Atoms":
                # They are relaxed.
                continue
            if kind == "text":
                text = draw.choice(TEXTS)
                of, make = repr(text[:40]), functools.partial(str, text)
            place = pathlib.Path(folder, str(i))
            yield f"{name}={of}", functools.partial(_checked, place, call, kind, make)


def _checked(
    folder: pathlib.Path, call: Callable[[Any], Any], kind: str, make: Callable[[], Any]
) -> Any:
    """Call in a folder of its own, and look at what was taken."""
    value, before = make(), pathlib.Path.cwd()
    folder.mkdir()
    os.chdir(folder)
    try:
        call(value)
    except Reached:
        pass
    finally:
        os.chdir(before)
        shutil.rmtree(folder, ignore_errors=True)
    assert _makes_sense(kind, value), "taken, and makes no sense"
    return "taken"


def _makes_sense(kind: str, value: Any) -> bool:
    """Return whether a number is one, and a flag one; of other options nobody knows here."""
    if kind in (_OTHER, "text") or value is None:
        return True
    if kind == _FLAG:
        return isinstance(value, bool | np.bool_)
    scalar = isinstance(value, np.ndarray | jnp.ndarray) and value.ndim == 0
    value = value.item() if scalar else value
    if kind == _WHOLE:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if callable(value):
        # A schedule.
        return True
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _kind(parameter: inspect.Parameter) -> str:
    """Return what kind of value an option takes, by its annotation."""
    text = parameter.annotation
    text = text if isinstance(text, str) else getattr(text, "__name__", str(text))
    words = {word.strip() for word in text.split("|")} - {"None", "NoneType"}
    known = {"float": _NUMBER, "int": _WHOLE, "bool": _FLAG}
    return known.get(words.pop(), _OTHER) if len(words) == 1 else _OTHER


def _targets() -> Iterator[tuple[str, str, Callable[[Any], Any]]]:
    """Yield each option of Python's interface: its name, its kind, and a call with a value."""

    def entry(name: str, function: Callable[..., Any], **fixed: Any) -> Any:
        for p in inspect.signature(function).parameters.values():
            if p.kind is p.VAR_KEYWORD:
                continue

            def call(value: Any, p: inspect.Parameter = p) -> None:
                given = {key: make() for key, make in fixed.items()} | {p.name: value}
                if name == "verify" and p.name in ("potential",):
                    given["structures"] = ase.Atoms()
                function(**given)

            yield f"{name}: {p.name}", _kind(p), call

    yield from entry("relax", kr.relax, structures=_input, potential=lambda: ARGON)
    broken = functools.partial(ase.Atoms, "Ar2", np.zeros((2, 3)))
    yield from entry("verify", kr.verify, structures=broken, potential=lambda: ARGON)
    relax = [p for p in inspect.signature(kr.relax).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for p in relax:
        yield (
            f"verify: {p.name} of relax",
            _kind(p),
            lambda value, p=p: kr.verify(broken(), ARGON, draws=1, **{p.name: value}),
        )
    check = kr.testing.check_potential
    yield from entry("check_potential", check, structures=_input, potential=lambda: ARGON)
    for module in (potentials, optimizers, coordinates):
        for name, maker in sorted(vars(module).items()):
            if name.startswith("_") or not callable(maker) or name in _NOT_BY_VALUE:
                continue
            if inspect.isclass(maker) and (inspect.isabstract(maker) or not _is_ours(maker)):
                continue
            yield from _constructor(module, name, maker)
    for name, maker in optimizers.NAMED.items():
        yield from _constructor(optimizers, name, maker)
    yield from _of_ase()
    yield "coordinates.get", _OTHER, coordinates.get
    yield "optimizers.get", _OTHER, lambda v: optimizers.check_batched(optimizers.get(v))
    yield "optimizers.chain", _OTHER, lambda v: hash(optimizers.chain(v, optimizers.Scale(-1.0)))
    yield "potentials.get", _OTHER, potentials.get


# Contracts and records of the engine, which nobody makes of options.
_NOT_BY_VALUE = {
    "Asked", "Evaluation", "Field", "Terms", "Graph", "Session", "Systems", "Lanes", "Line",
    "Point", "Verdict", "Geometry", "Pull", "Coordinates", "coordinates_of", "relative_strain",
    "shrinkage", "apply_updates", "describe", "named", "check_batched", "get",
}  # fmt: skip


def _is_ours(cls: type) -> bool:
    kinds = (potentials.EnergyModel, optimizers.Transform, coordinates.VariableCell)
    return issubclass(cls, kinds) or cls.__name__.endswith("Parameters")


# What constructors need.
_NEEDED: dict[str, Any] = {
    "max_norm": 1.0,
    "max_delta": 1.0,
    "factor": -1.0,
    "learning_rate": 0.1,
    "transformation": optax.sgd(0.1),
    "calculator": EMT,
    "model": len,
    "function": lambda graph: {},
    "energy": lambda *_: 0.0,
    "cutoff": 5.0,
    "pressure": 1.0,
    "k": 1.0,
}


def _constructor(
    module: Any, name: str, maker: Any
) -> Iterator[tuple[str, str, Callable[[Any], Any]]]:
    parameters = inspect.signature(maker).parameters.values()
    for p in parameters:
        if p.kind is p.VAR_KEYWORD:
            continue

        def call(value: Any, p: inspect.Parameter = p) -> None:
            given = {
                q.name: _NEEDED.get(q.name, 1.0)
                for q in parameters
                if q.default is q.empty and q.kind not in (q.VAR_KEYWORD, q.VAR_POSITIONAL)
            }
            if p.kind is p.VAR_POSITIONAL:
                made = maker(*given.values(), value)
            else:
                made = maker(**(given | {p.name: value}))
            _look(made)

        yield f"{module.__name__.rpartition('.')[2]}.{name}: {p.name}", _kind(p), call


def _look(made: Any) -> None:
    """Do with what was made what a run does before it begins."""
    if isinstance(made, float):
        return
    if isinstance(made, potentials.StillingerWeberParameters):
        made = potentials.StillingerWeber({("Si", "Si", "Si"): made})
    if isinstance(made, potentials.TersoffParameters):
        made = potentials.Tersoff({("Si", "Si", "Si"): made})
    if isinstance(made, optimizers.Transform):
        optimizers.check_batched(made)
        optimizers.describe(made)
    hash(made)
    kr.errors.shown(made)
    assert made == made
    if isinstance(made, potentials.EnergyModel):
        made.describe()
        kr.relax(_input(), made, progress=False)
    if isinstance(made, coordinates.VariableCell):
        kr.relax(_input(), ARGON, cell=made, progress=False)


def _of_ase() -> Iterator[tuple[str, str, Callable[[Any], Any]]]:
    def atoms() -> ase.Atoms:
        made = bulk("Cu")
        made.calc = EMT()
        return made

    for name in ka.__all__:
        maker = getattr(ka, name)
        if not inspect.isclass(maker) or issubclass(maker, BaseException):
            continue
        for p in inspect.signature(maker).parameters.values():
            if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
                continue

            def call(value: Any, p: inspect.Parameter = p, maker: Any = maker) -> None:
                takes = inspect.signature(maker).parameters
                given: dict[str, Any] = {"atoms": atoms()} if "atoms" in takes else {}
                if "logfile" in takes:
                    given["logfile"] = None
                if "potential" in takes:
                    given["potential"] = ARGON
                maker(**(given | {p.name: value}))

            yield f"ase.{name}: {p.name}", _kind(p), call
    for name, kind in (("fmax", _NUMBER), ("steps", _WHOLE)):
        yield (
            f"ase.LBFGS.run: {name}",
            _OTHER,
            lambda value, name=name: ka.LBFGS(atoms(), logfile=None).run(
                **({"fmax": 1e9, "steps": 0} | {name: value})
            ),
        )
        del kind


def _commands(folder: pathlib.Path) -> Iterator[tuple[str, str, Callable[[Any], Any]]]:
    """Yield each option of each command; structures fail before anything is compiled."""
    import typer

    source, store = folder / "in.extxyz", folder / "in.h5"
    broken = ase.Atoms("Ar2", np.zeros((2, 3)), info={"id": "broken"})
    ase.io.write(source, broken)  # pyright: ignore
    kr.relax(broken, ARGON, output=store, progress=False)
    group: Any = typer.main.get_command(_app.app)
    for name, command in group.commands.items():
        first = [] if name in ("potentials", "optimizers") else [source]
        first = [store] if name in ("info", "export", "report") else first
        for option in command.params:
            if option.param_type_name == "argument":
                yield f"kups-relax {name} ARGUMENT", "text", lambda v, n=name: _run(n, v)
                continue
            fixed = [] if name not in ("relax", "verify", "check") else ["-p", "emt"]
            if name == "export":
                fixed = ["-o", "out.csv"]
            if option.is_flag:
                continue
            words = [name, *first, *fixed, option.opts[0]]
            yield f"kups-relax {name} {option.opts[0]}", "text", lambda v, w=words: _run(*w, v)


def _run(*words: Any) -> None:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = _app.run([str(word) for word in words])
    assert status in (0, 1, 2), f"status {status}"
    assert said.getvalue().replace("\n", "").isprintable(), "printed what a terminal obeys"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with np.errstate(all="ignore"):
        yield
