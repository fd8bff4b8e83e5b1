"""Internal coordinates and a model of how stiff they are: a guess of the Hessian, from geometry."""

from kups_relax.internals._chart import Chart as Chart
from kups_relax.internals._guide import Guide as Guide
from kups_relax.internals._guide import guide_of as guide_of
