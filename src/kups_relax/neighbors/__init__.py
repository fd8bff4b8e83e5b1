"""Which atoms are near which, found on the host."""

from kups_relax.neighbors._list import TooManyPairs as TooManyPairs
from kups_relax.neighbors._list import nearest_distances as nearest_distances
from kups_relax.neighbors._list import neighbor_list as neighbor_list
from kups_relax.neighbors._matrix import NeighborMatrix as NeighborMatrix
from kups_relax.neighbors._matrix import distinct_images as distinct_images
from kups_relax.neighbors._matrix import neighbor_matrix as neighbor_matrix
from kups_relax.neighbors._matrix import reverse_slots as reverse_slots
