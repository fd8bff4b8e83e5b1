"""What of a structure moves: atoms, cell, and what constraints leave free."""

from kups_relax.coordinates._cells import FrechetCell as FrechetCell
from kups_relax.coordinates._cells import UnitCell as UnitCell
from kups_relax.coordinates._cells import VariableCell as VariableCell
from kups_relax.coordinates._cells import get as get
from kups_relax.coordinates._cells import gpa as gpa
from kups_relax.coordinates._cells import relative_strain as relative_strain
from kups_relax.coordinates._cells import shrinkage as shrinkage
from kups_relax.coordinates._coordinates import FREE as FREE
from kups_relax.coordinates._coordinates import Coordinates as Coordinates
from kups_relax.coordinates._coordinates import Geometry as Geometry
from kups_relax.coordinates._coordinates import Pull as Pull
from kups_relax.coordinates._coordinates import coordinates_of as coordinates_of
