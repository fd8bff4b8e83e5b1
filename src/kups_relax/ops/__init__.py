"""Arithmetic whose order is fixed: sums, gathers, segments, and products rounded on their own."""

from kups_relax.ops._apart import apart as apart
from kups_relax.ops._gather import gather as gather
from kups_relax.ops._gather import inverse_list as inverse_list
from kups_relax.ops._gather import take_rows as take_rows
from kups_relax.ops._inverse import inverse as inverse
from kups_relax.ops._inverse import times as times
from kups_relax.ops._rounding import keep as keep
from kups_relax.ops._rounding import product as product
from kups_relax.ops._rounding import quotient as quotient
from kups_relax.ops._rounding import root as root
from kups_relax.ops._rounding import rounded as rounded
from kups_relax.ops._segments import Segments as Segments
from kups_relax.ops._sums import fold as fold
from kups_relax.ops._sums import fold_max as fold_max
