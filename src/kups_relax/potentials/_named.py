"""Potentials by name, as the command line and configuration files give them."""

from typing import Any

from kups_relax._loaded import FORM, is_location, load
from kups_relax._options import build, did_you_mean
from kups_relax.errors import OptionError
from kups_relax.potentials._base import EnergyModel, Potential
from kups_relax.potentials._emt import EMT
from kups_relax.potentials._harmonic import Harmonic
from kups_relax.potentials._lennard_jones import LennardJones
from kups_relax.potentials._mmff94 import MMFF94
from kups_relax.potentials._morse import Morse
from kups_relax.potentials._stillinger_weber import StillingerWeber
from kups_relax.potentials._tersoff import Tersoff

NAMED: dict[str, type[Potential]] = {
    p.name: p for p in (MMFF94, LennardJones, Morse, EMT, StillingerWeber, Tersoff, Harmonic)
}


def get(potential: Any) -> EnergyModel:
    """Return the potential that a name stands for, e.g. "lennard-jones:epsilon=0.0104,sigma=3.4".

    Args:
        potential: A `Potential` (returned as it is); "name" or "name:key=value,key=value" with
            keys in kebab case, numbers read as numbers; or, for one that is not ours,
            "package.module:factory" or "path/model.py:factory", where the factory is a potential
            or returns one when called. Our names come first. Modules are also sought in the
            current directory.

    Raises:
        OptionError: The name or a key does not exist, or a value makes no sense; the message
            lists what there is. Or what is named cannot be imported, raises, or gives no
            potential.
    """
    if isinstance(potential, EnergyModel):
        return potential
    if not isinstance(potential, str):
        raise OptionError(
            f"{potential!r} is no potential; expected a kups_relax potential such as "
            "potentials.MMFF94(), or a name."
        )
    name, _, options = potential.partition(":")
    if name not in NAMED and is_location(potential):
        found = load(potential, "potential")
        if not isinstance(found, EnergyModel):
            raise OptionError(
                f"{potential!r} gives {found!r} ({type(found).__name__}), which is no kups_relax "
                "potential; expected a Potential, or a function without arguments that returns one."
            )
        return found
    if name not in NAMED:
        raise OptionError(
            f"there is no potential {name!r}; expected one of {', '.join(NAMED)}, or {FORM}."
            f"{did_you_mean(name, NAMED)}"
        )
    return build(NAMED[name], name, options)
