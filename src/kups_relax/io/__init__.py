"""Read what chemists have, and write what they use.

Nothing here imports ase or rdkit before a function is called.
"""

from kups_relax.io._atoms import attach as attach
from kups_relax.io._atoms import label as label
from kups_relax.io._atoms import to_atoms as to_atoms
from kups_relax.io._compare import same as same
from kups_relax.io._entries import Entry as Entry
from kups_relax.io._entries import Unreadable as Unreadable
from kups_relax.io._left_out import LeftOut as LeftOut
from kups_relax.io._left_out import encodable as encodable
from kups_relax.io._left_out import name as name
from kups_relax.io._molecules import too_slow as too_slow
from kups_relax.io._read import Stream as Stream
from kups_relax.io._read import structures_from as structures_from
from kups_relax.io._write import ENDINGS as ENDINGS
from kups_relax.io._write import STORES as STORES
from kups_relax.io._write import check_output as check_output
from kups_relax.io._write import check_place as check_place
from kups_relax.io._write import checked as checked
from kups_relax.io._write import store_of as store_of
from kups_relax.io._write import write as write

__all__ = ["Entry", "Stream", "Unreadable", "check_output", "structures_from", "to_atoms", "write"]
