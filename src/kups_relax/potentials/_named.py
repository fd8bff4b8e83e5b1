"""Potentials by name, as the command line and configuration files give them."""

from typing import Any

from kups_relax._loaded import FORM, is_location, load
from kups_relax._options import build, did_you_mean
from kups_relax.errors import OptionError, described, shown
from kups_relax.potentials._ase_calculator import AseCalculator
from kups_relax.potentials._base import EnergyModel, Potential
from kups_relax.potentials._copies import is_calculator
from kups_relax.potentials._emt import EMT
from kups_relax.potentials._harmonic import Harmonic
from kups_relax.potentials._lennard_jones import LennardJones
from kups_relax.potentials._mmff94 import MMFF94
from kups_relax.potentials._morse import Morse
from kups_relax.potentials._stillinger_weber import StillingerWeber
from kups_relax.potentials._tersoff import Tersoff
from kups_relax.potentials._torch_sim import TorchSim, is_torch_sim

NAMED: dict[str, type[Potential]] = {
    p.name: p for p in (MMFF94, LennardJones, Morse, EMT, StillingerWeber, Tersoff, Harmonic)
}


def get(potential: Any) -> EnergyModel:
    """Return the potential that a value stands for.

    Args:
        potential: A `Potential` (returned as it is); its name, "name" or "name:key=value,key=value"
            with keys in kebab case, numbers read as numbers, such as
            "lennard-jones:epsilon=0.0104,sigma=3.4"; or, for one that is not ours,
            "package.module:factory" or "path/model.py:factory", where the factory is a potential
            or returns one when called. Our names come first. Modules are also sought in the
            current directory. An ASE calculator, or a class of them, is taken as
            `AseCalculator(potential)`, a TorchSim model as `TorchSim(potential)`; a function
            without arguments is called, and what it returns is taken so.

    Raises:
        OptionError: The name or a key does not exist, or a value makes no sense; the message
            lists what there is. Or what is named cannot be imported, raises, or gives no
            potential.
    """
    if isinstance(potential, str):
        return _by_name(potential)
    found = _wrapped(potential)
    if found is None and callable(potential) and not isinstance(potential, type):
        found = _made_by(potential)
    if found is None:
        hint = ""
        if isinstance(potential, type) and issubclass(potential, EnergyModel):
            hint = f" Make one of the class: {potential.__name__}(...)."
        raise OptionError(
            f"{shown(potential)} is no potential; expected {_EXPECTED}, or a name.{hint}"
        )
    return found


_EXPECTED = (
    "a kups_relax potential such as potentials.MMFF94(), an ASE calculator, a TorchSim model, or a "
    "function without arguments that returns one of them"
)


def _wrapped(value: Any) -> EnergyModel | None:
    """Make a potential of what is one, or can be one as it is."""
    if isinstance(value, EnergyModel):
        return value
    if is_torch_sim(value):
        return TorchSim(value)
    if is_calculator(value):
        return AseCalculator(value)
    return None


def _made_by(factory: Any) -> EnergyModel | None:
    """Call a function, to see what it makes. Of calculators each structure gets a new one."""
    try:
        found = factory()
    except Exception as error:
        raise OptionError(
            f"the potential is the function {shown(factory)}, which raised {described(error)}; "
            f"expected {_EXPECTED}."
        ) from error
    if is_calculator(found) and not isinstance(found, type | EnergyModel):
        return AseCalculator(factory)
    return _wrapped(found)


def _by_name(text: str) -> EnergyModel:
    name, _, options = text.partition(":")
    if name in NAMED:
        return build(NAMED[name], name, options)
    if not is_location(text):
        raise OptionError(
            f"there is no potential {shown(name)}; expected one of {', '.join(NAMED)}, or {FORM}."
            f"{did_you_mean(name, NAMED)}"
        )
    value = load(text, "potential")
    found = _wrapped(value)
    if found is None:
        raise OptionError(
            f"{text!r} gives {shown(value)} ({type(value).__name__}), which is no kups_relax "
            f"potential; expected {_EXPECTED}."
        )
    return found
