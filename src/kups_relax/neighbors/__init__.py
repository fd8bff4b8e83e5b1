"""Which atoms are near which, found on the host."""

from kups_relax.neighbors._list import neighbor_list as neighbor_list
from kups_relax.neighbors._matrix import NeighborMatrix as NeighborMatrix
from kups_relax.neighbors._matrix import neighbor_matrix as neighbor_matrix
