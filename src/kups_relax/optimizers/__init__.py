"""Optimizers that work per system, on any pytree. They know nothing of atoms."""

from kups_relax.optimizers._base import Chain as Chain
from kups_relax.optimizers._base import PerSystem as PerSystem
from kups_relax.optimizers._base import Transform as Transform
from kups_relax.optimizers._base import apply_updates as apply_updates
from kups_relax.optimizers._base import chain as chain
from kups_relax.optimizers._lbfgs import ScaleByAseLbfgs as ScaleByAseLbfgs
from kups_relax.optimizers._lbfgs import ScaleByAseLbfgsState as ScaleByAseLbfgsState
from kups_relax.optimizers._lbfgs import scale_by_ase_lbfgs as scale_by_ase_lbfgs
from kups_relax.optimizers._named import NAMED as NAMED
from kups_relax.optimizers._named import ase_lbfgs as ase_lbfgs
from kups_relax.optimizers._named import get as get
from kups_relax.optimizers._named import lbfgs as lbfgs
from kups_relax.optimizers._steps import ClipByGlobalNorm as ClipByGlobalNorm
from kups_relax.optimizers._steps import MaxStepSize as MaxStepSize
from kups_relax.optimizers._steps import Scale as Scale
from kups_relax.optimizers._systems import Lanes as Lanes
from kups_relax.optimizers._systems import Systems as Systems
