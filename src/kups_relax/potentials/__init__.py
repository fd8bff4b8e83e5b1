"""Energy models that run on tiles."""

from kups_relax.data import Field as Field
from kups_relax.data import Terms as Terms
from kups_relax.potentials._ase_calculator import AseCalculator as AseCalculator
from kups_relax.potentials._base import EnergyModel as EnergyModel
from kups_relax.potentials._base import Evaluation as Evaluation
from kups_relax.potentials._base import Potential as Potential
from kups_relax.potentials._emt import EMT as EMT
from kups_relax.potentials._graph import Graph as Graph
from kups_relax.potentials._graph_model import GraphModel as GraphModel
from kups_relax.potentials._harmonic import Harmonic as Harmonic
from kups_relax.potentials._host import Asked as Asked
from kups_relax.potentials._host import HostPotential as HostPotential
from kups_relax.potentials._host import Session as Session
from kups_relax.potentials._lennard_jones import LennardJones as LennardJones
from kups_relax.potentials._mlip import Mlip as Mlip
from kups_relax.potentials._mmff94 import MMFF94 as MMFF94
from kups_relax.potentials._morse import Morse as Morse
from kups_relax.potentials._named import NAMED as NAMED
from kups_relax.potentials._named import get as get
from kups_relax.potentials._nequix import Nequix as Nequix
from kups_relax.potentials._stillinger_weber import StillingerWeber as StillingerWeber
from kups_relax.potentials._stillinger_weber import (
    StillingerWeberParameters as StillingerWeberParameters,
)
from kups_relax.potentials._sum import Sum as Sum
from kups_relax.potentials._tersoff import Tersoff as Tersoff
from kups_relax.potentials._tersoff import TersoffParameters as TersoffParameters
from kups_relax.potentials._torch_sim import TorchSim as TorchSim
