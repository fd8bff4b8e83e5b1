"""Optimizers of optax by name, as values: equal options are the same program."""

import dataclasses
import functools
import inspect
from typing import Any

import optax

from kups_relax._checks import FLAG, POSITIVE, Number, can_hash
from kups_relax.errors import OptionError, described
from kups_relax.optimizers._base import Transform
from kups_relax.optimizers._chain import chain
from kups_relax.optimizers._per_system import PerSystem
from kups_relax.optimizers._steps import MaxStepSize

Tree = Any


def _adabelief(
    learning_rate: float,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-16,
    eps_root: float = 1e-16,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """Make optax's adabelief, decoupled weight decay added where adamw has it."""
    return optax.chain(
        optax.scale_by_belief(b1=b1, b2=b2, eps=eps, eps_root=eps_root, nesterov=nesterov),
        optax.add_decayed_weights(weight_decay) if weight_decay else optax.identity(),
        optax.scale_by_learning_rate(learning_rate),
    )


_MAKERS: dict[str, Any] = {
    "adam": optax.adam,
    "adamw": optax.adamw,
    "nadam": optax.nadam,
    "nadamw": optax.nadamw,
    "adamax": optax.adamax,
    "amsgrad": optax.amsgrad,
    "radam": optax.radam,
    "adabelief": _adabelief,
    "yogi": optax.yogi,
    "adan": optax.adan,
    "lion": optax.lion,
    "optimistic-adam-v2": optax.optimistic_adam_v2,
    "rmsprop": optax.rmsprop,
    "rprop": optax.rprop,
    "sgd": optax.sgd,
}

# What cannot be said in a word.
_UNSAID = ("mask", "mu_dtype", "accumulator_dtype", "max_step_size")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """An optax transformation that is equal to another one made of the same options.

    Attributes:
        name: Of ours.
        options: (option, value) pairs, in order.
    """

    name: str
    options: tuple[tuple[str, Any], ...]

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.options)})"

    def init(self, params: Tree) -> Any:
        """Make the transformation's state."""
        return _made(self).init(params)

    def update(self, updates: Tree, state: Any, params: Tree = None) -> tuple[Tree, Any]:
        """Run the transformation."""
        return _made(self).update(updates, state, params)


@functools.lru_cache(maxsize=256)
def _made(recipe: Recipe) -> Any:
    return _MAKERS[recipe.name](**dict(recipe.options))


@dataclasses.dataclass(frozen=True)
class FromOptax:
    """Make one of optax's optimizers, followed by a bound on the step.

    Its options are those of optax's function, with defaults of its own for some, and
    `max_step_size`. Learning rates are for Angstrom and eV. With a rate that does not decay, many
    swing about the minimum with steps of its size: rmsprop, lion and optimistic-adam-v2 as a rule,
    rprop, adamax, nadam and amsgrad often; adam, adabelief, yogi and adan mostly come to rest.
    "lbfgs" needs fewer evaluations than any of them. Weight decay pulls positions towards the
    origin, and cells towards what they were: it moves minima.

    Attributes:
        name: Of ours.
        defaults: (option, value) pairs, where ours differ from optax's or optax has none.
    """

    name: str
    defaults: tuple[tuple[str, Any], ...]

    @property
    def summary(self) -> str:
        """First sentence of what optax says of it."""
        text = inspect.getdoc(getattr(optax, self.name.replace("-", "_"))) or ""
        return " ".join(text.split("\n\n")[0].split()).split(". ")[0].rstrip(".") + "."

    @property
    def __signature__(self) -> inspect.Signature:
        parameters = inspect.signature(_MAKERS[self.name]).parameters.values()
        ours = dict(self.defaults)
        options = [
            p.replace(kind=p.KEYWORD_ONLY, default=ours.get(p.name, p.default), annotation=p.empty)
            for p in parameters
            if p.name not in _UNSAID
        ]
        bound = inspect.Parameter("max_step_size", inspect.Parameter.KEYWORD_ONLY, default=0.2)
        return inspect.Signature([*options, bound])

    def __call__(self, **options: Any) -> Transform[Any]:
        """Make it.

        Raises:
            OptionError: Optax refuses an option.
        """
        given = self.__signature__.bind(**options)
        given.apply_defaults()
        values = {
            name: self._checked(name, value, self.__signature__.parameters[name].default)
            for name, value in given.arguments.items()
        }
        given.arguments.update(values)
        limit = values.pop("max_step_size")
        recipe = Recipe(self.name, tuple(values.items()))
        try:
            _made(recipe)
        except Exception as error:  # whatever optax raises
            raise OptionError(f"{self.name}: {described(error)}") from error
        made = chain(PerSystem(recipe), MaxStepSize(limit))
        return dataclasses.replace(made, made_by=(self.name, tuple(given.arguments.items())))

    def _checked(self, name: str, value: Any, default: Any) -> Any:
        """Check an option by its default: a flag, a number, or one that need not be set."""
        of = f"{self.name}: {name}"
        if isinstance(default, bool):
            return FLAG(of, value)
        if name == "max_step_size":
            return POSITIVE(of, value)
        if name == "learning_rate" and callable(value) and can_hash(value):
            return value
        unset = inspect.signature(_MAKERS[self.name]).parameters[name].default is None
        return Number(none=unset)(of, value)
