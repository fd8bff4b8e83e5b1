"""Index and Table, and one structure on the host."""

from kups_relax.data._fields import Field as Field
from kups_relax.data._fields import Terms as Terms
from kups_relax.data._index import Index as Index
from kups_relax.data._keys import Keys as Keys
from kups_relax.data._structure import RESOLUTION as RESOLUTION
from kups_relax.data._structure import Structure as Structure
from kups_relax.data._structure import check_cell as check_cell
from kups_relax.data._table import Table as Table
