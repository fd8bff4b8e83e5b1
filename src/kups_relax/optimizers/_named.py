"""Optimizers by name: complete chains, from gradients to steps."""

import dataclasses
import functools
import hashlib
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec

import jax
import jax.numpy as jnp
import numpy as np

from kups_relax._checks import FLAG, can_hash
from kups_relax._loaded import FORM, is_location, load
from kups_relax._options import build, did_you_mean, spelled
from kups_relax.errors import KupsRelaxError, OptionError, described, shown
from kups_relax.optimizers._backtracking import BacktrackingLineSearch
from kups_relax.optimizers._base import Search, Transform
from kups_relax.optimizers._chain import Chain, as_transform, chain
from kups_relax.optimizers._conjugate import ConjugateGradient, Formula
from kups_relax.optimizers._descent import GradientDescent
from kups_relax.optimizers._fire import Fire, Fire2
from kups_relax.optimizers._lbfgs import ScaleByAseLbfgs
from kups_relax.optimizers._learning_rate import RATE, ScaleByLearningRate
from kups_relax.optimizers._model_hessian import ScaleByModelHessian
from kups_relax.optimizers._optax import FromOptax
from kups_relax.optimizers._steps import ClipByGlobalNorm, ClipByValue, MaxStepSize, Scale
from kups_relax.optimizers._systems import Lanes
from kups_relax.optimizers._zoom import ZoomLineSearch

Options = ParamSpec("Options")

_SEARCHES = {"backtracking": BacktrackingLineSearch, "zoom": ZoomLineSearch}


def _named(maker: Callable[Options, Chain]) -> Callable[Options, Chain]:
    """Have a chain remember the name and the options that it was made with."""
    name, signature = maker.__name__.replace("_", "-"), inspect.signature(maker)

    @functools.wraps(maker)
    def make(*args: Options.args, **kwargs: Options.kwargs) -> Chain:
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        made_by = (name, tuple(given.arguments.items()))
        return dataclasses.replace(maker(*args, **kwargs), made_by=made_by)

    return make


@_named
def ase_lbfgs() -> Chain:
    """Make ASE's L-BFGS to the letter: memory 100, alpha 70, longest step 0.2 Angstrom."""
    return chain(ScaleByAseLbfgs(), MaxStepSize(0.2), Scale(-1.0))


@_named
def lbfgs(
    memory_size: int = 16,
    learning_rate: Any = 1.0,
    scale_init_precond: bool = True,
    linesearch: Any = None,
    *,
    alpha: float = 70.0,
    max_step_size: float | None = 0.2,
    clip_norm: float | None = None,
    clip_value: float | None = None,
) -> Chain:
    """Make our L-BFGS: pairs of positive curvature alone, a step that is bounded.

    Options that optax's `lbfgs` has too have its names.

    Args:
        memory_size: Number of pairs kept.
        learning_rate: Factor on each step, or a schedule; see `ScaleByLearningRate`.
        scale_init_precond: Whether the initial inverse Hessian adapts to the newest pair; else it
            stays 1/alpha.
        linesearch: None: the step is taken as it is, one evaluation each. "backtracking", "zoom":
            a `BacktrackingLineSearch`, a `ZoomLineSearch` with `max_step_size`; or an object.
        alpha: Initial curvature, eV/Angstrom^2.
        max_step_size: Longest move of an atom, Angstrom; None: not bounded.
        clip_norm: Bound on the norm of each system's gradient; None: not bounded.
        clip_value: Bound on each component of the gradient; None: not bounded.

    Raises:
        OptionError: An option has a value that makes no sense.

    Example:
        >>> from kups_relax import optimizers as ko
        >>> optimizer = ko.lbfgs(linesearch="zoom", memory_size=8)
    """
    if not (callable(learning_rate) and can_hash(learning_rate)):
        learning_rate = RATE("learning_rate", learning_rate)
    scale_init_precond = FLAG("scale_init_precond", scale_init_precond)
    initial_scale = "adaptive" if scale_init_precond else "fixed"
    members: list[Any] = []
    if clip_value is not None:
        members.append(ClipByValue(clip_value))
    if clip_norm is not None:
        members.append(ClipByGlobalNorm(clip_norm))
    members.append(ScaleByAseLbfgs(memory_size, alpha, initial_scale, curvature_guard=True))
    plain = not callable(learning_rate) and learning_rate == 1
    if not plain:
        members.append(ScaleByLearningRate(learning_rate))
    if max_step_size is not None:
        members.append(MaxStepSize(max_step_size))
    if plain:
        members.append(Scale(-1.0))
    if linesearch is not None:
        members.append(_search(linesearch, max_step_size))
    return chain(*members)


@_named
def preconditioned(memory_size: int = 8, step: float = 1.0) -> Chain:
    """Make the optimizer of the fewest evaluations: steps from a guess of the Hessian.

    A step that raises the energy is taken back and shortened.

    Args:
        memory_size: Number of pairs kept.
        step: Multiplies the longest step; see `ScaleByModelHessian`.

    Raises:
        OptionError: An option has a value that makes no sense.
    """
    return chain(ScaleByModelHessian(memory_size, step), BacktrackingLineSearch())


def _search(linesearch: Any, max_step_size: float | None) -> Search[Any]:
    if isinstance(linesearch, Search):
        return linesearch
    if isinstance(linesearch, str) and linesearch in _SEARCHES:
        return _SEARCHES[linesearch](max_step_size=max_step_size)
    raise OptionError(
        f"linesearch is {shown(linesearch)}; expected None, one of {', '.join(_SEARCHES)}, or a "
        "BacktrackingLineSearch or ZoomLineSearch."
    )


def abc_fire(
    dt: float = 0.1,
    maxstep: float = 0.2,
    dtmax: float = 1.0,
    dtmin: float = 2e-3,
    nmin: int = 20,
    finc: float = 1.1,
    fdec: float = 0.5,
    astart: float = 0.25,
    fa: float = 0.99,
) -> Transform[Any]:
    """Make ABC-FIRE: `Fire2` with `use_abc`."""
    return Fire2(dt, maxstep, dtmax, dtmin, nmin, finc, fdec, astart, fa, use_abc=True)


@_named
def conjugate_gradient(
    beta: Formula = "hybrid", alpha: float = 70.0, max_step_size: float = 0.2
) -> Chain:
    """Make conjugate gradients with secant steps: `ConjugateGradient`, then a bounded step."""
    return chain(ConjugateGradient(beta=beta, alpha=alpha), MaxStepSize(max_step_size), Scale(-1.0))


@_named
def gradient_descent(alpha: float = 70.0, max_step_size: float = 0.2) -> Chain:
    """Make Barzilai and Borwein's descent: `GradientDescent`, then a bounded step."""
    return chain(GradientDescent(alpha=alpha), MaxStepSize(max_step_size), Scale(-1.0))


def _optax(name: str, learning_rate: float, **defaults: Any) -> FromOptax:
    return FromOptax(name, (("learning_rate", learning_rate), *defaults.items()))


def _searching(linesearch: str) -> Callable[..., Transform[Any]]:
    make = functools.partial(lbfgs, linesearch=linesearch)
    make.__doc__ = f"Make our L-BFGS with a line search by {linesearch}: `lbfgs`."
    return make


NAMED: dict[str, Callable[..., Transform[Any]]] = {
    "lbfgs": lbfgs,
    "preconditioned": preconditioned,
    "ase-lbfgs": ase_lbfgs,
    "lbfgs-backtracking": _searching("backtracking"),
    "lbfgs-zoom": _searching("zoom"),
    "fire": Fire,
    "fire2": Fire2,
    "abc-fire": abc_fire,
    "conjugate-gradient": conjugate_gradient,
    "gradient-descent": gradient_descent,
    **{
        optimizer.name: optimizer
        for optimizer in (
            _optax("adam", 0.02),
            _optax("adamw", 0.02),
            _optax("nadam", 0.02),
            _optax("nadamw", 0.02),
            _optax("adamax", 0.02),
            _optax("amsgrad", 0.02),
            _optax("radam", 0.02),
            _optax("adabelief", 0.02),
            _optax("yogi", 0.02),
            _optax("adan", 0.02),
            _optax("lion", 0.003),
            _optax("optimistic-adam-v2", 0.02),
            _optax("rmsprop", 0.01),
            _optax("rprop", 0.02),
            _optax("sgd", 0.01, momentum=0.9),
        )
    },
}

_NOT_BATCHED = {
    "optax-lbfgs": "optax's L-BFGS searches lines by calling the function itself, which only a "
    "single system's user can pass to update: optax.lbfgs(). For structures use 'lbfgs', or "
    "'lbfgs-zoom', which searches lines as optax's does, in each system"
}


def get(optimizer: Any) -> Transform[Any]:
    """Return the optimizer that a name, a transform of ours, or one of optax's stands for.

    Args:
        optimizer: "name" or "name:key=value,key=value" with keys in kebab case, such as
            "fire:dt=0.05,maxstep=0.1" or "adam:learning-rate=0.02": see `NAMED`; for one that is
            not ours, "package.module:factory" or "path/model.py:factory", where the factory is an
            optimizer or returns one when called; a `Transform`; or an
            `optax.GradientTransformation`, which is taken as it is: unlike those of optax by name,
            whose steps are bounded by `MaxStepSize(0.2)`.

    Raises:
        OptionError: The name or an option does not exist; the message lists those that do.
    """
    if not isinstance(optimizer, str):
        return as_transform(optimizer)
    name, _, options = optimizer.partition(":")
    if name in _NOT_BATCHED:
        raise OptionError(f"there is no optimizer {name!r} by name: {_NOT_BATCHED[name]}.")
    if name not in NAMED and is_location(optimizer):
        return as_transform(load(optimizer, "optimizer"))
    if name not in NAMED:
        raise OptionError(
            f"there is no optimizer {shown(name)}; expected one of {', '.join(NAMED)}, or {FORM}; "
            "in Python also an optimizer built with kups_relax.optimizers or optax."
            f"{did_you_mean(name, NAMED)}"
        )
    return build(NAMED[name], name, options)


def describe(optimizer: Transform[Any]) -> dict[str, Any]:
    """Return an optimizer's name and all options in effect, as plain values.

    Where it has no name, "name" is "custom", "built" says how it was built, and "program" is a
    digest of what it computes where functions are part of it.

    Example:
        >>> describe(get("preconditioned:step=0.5"))
        {'name': 'preconditioned', 'memory_size': 8, 'step': 0.5}
    """
    built = repr(optimizer)
    if built in _names():
        name = _names()[built]
        return {"name": name, **{k: _plain(v) for k, v in _defaults(name).items()}}
    if isinstance(optimizer, Chain) and optimizer.made_by is not None:
        name, options = optimizer.made_by
        return {"name": name, **{k: _plain(v) for k, v in options}}
    for name, maker in NAMED.items():
        if maker is type(optimizer) and dataclasses.is_dataclass(optimizer):
            fields = dataclasses.fields(optimizer)
            return {"name": name, **{f.name: _plain(getattr(optimizer, f.name)) for f in fields}}
    described = {"name": "custom", "built": _plain(optimizer)}
    if described["built"] != built and not optimizer.needs_chart:
        described["program"] = _program(optimizer)
    return described


def named(described: Mapping[str, Any]) -> str:
    """Return what `get` takes for an optimizer of this description: "fire:dt=0.05".

    How it was built, where it has no name.
    """
    if "built" in described:
        return str(described["built"])
    return spelled(described, NAMED.get(described["name"]))


def _program(optimizer: Transform[Any]) -> str:
    """Digest the operations and constants of an optimizer, for two systems of two atoms."""

    def steps(x: jax.Array, value: jax.Array) -> Any:
        state = optimizer.init(x, Lanes(n=2))
        return optimizer.update(x, state, x, value=value)

    x, value = jax.ShapeDtypeStruct((3, 2, 2), jnp.float32), jax.ShapeDtypeStruct((2,), jnp.float32)
    program = jax.make_jaxpr(steps)(x, value)
    digest = hashlib.sha256(_plain(program).encode())
    for constant in program.consts:
        digest.update(np.asarray(constant).tobytes())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.bool_ | np.integer | np.floating):
        return value.item()
    # Where functions are in memory differs between runs.
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def _defaults(name: str) -> dict[str, Any]:
    return {p.name: p.default for p in inspect.signature(NAMED[name]).parameters.values()}


@functools.cache
def _names() -> dict[str, str]:
    return {repr(make()): name for name, make in NAMED.items()}


@functools.lru_cache(maxsize=256)
def check_batched(optimizer: Transform[Any]) -> None:
    """Check that an optimizer makes steps of what the engine gives it.

    Args:
        optimizer: A transform of ours; see `get`.

    Raises:
        OptionError: It asks for more, as optax's line searches do, or makes something else.
    """
    if optimizer.needs_chart:
        # The engine has one for it, and nobody else.
        return
    x = jax.ShapeDtypeStruct((3, 2, 2), jnp.float32)
    value = jax.ShapeDtypeStruct((2,), jnp.float32)

    def one_step(x: jax.Array, value: jax.Array) -> Any:
        return optimizer.update(x, optimizer.init(x, Lanes(n=2)), x, value=value)

    try:
        updates, _ = jax.eval_shape(one_step, x, value)
        same = jax.tree.map(lambda u: u.shape, updates) == x.shape
    except KupsRelaxError:
        raise
    except Exception as error:  # whatever a transformation of others raises
        raise OptionError(
            f"{shown(optimizer)} makes no steps of gradients of many structures, (3, atoms, "
            f"structures), and of their energies alone: it raised {described(error)}. "
            "'lbfgs' needs no more."
        ) from error
    if not same:
        raise OptionError(
            f"{shown(optimizer)} makes no steps: of gradients of shape {x.shape} it makes "
            f"{shown(updates)}. 'lbfgs' makes steps."
        )
