"""Keep results in an HDF5 file that is whole at any moment, and read them back."""

from kups_relax.store._check import Check as Check
from kups_relax.store._check import check as check
from kups_relax.store._check import verify as verify
from kups_relax.store._export import export as export
from kups_relax.store._extras import extras_of as extras_of
from kups_relax.store._extras import input_hash as input_hash
from kups_relax.store._layout import Row as Row
from kups_relax.store._save import attributes as attributes
from kups_relax.store._save import save as save
from kups_relax.store._save import versions as versions
from kups_relax.store._store import Store as Store
from kups_relax.store._store import open_store as open
from kups_relax.store._summary import summary as summary
from kups_relax.store._summary import when as when
from kups_relax.store._writer import Writer as Writer

__all__ = [
    "Check",
    "Row",
    "Store",
    "Writer",
    "check",
    "export",
    "extras_of",
    "input_hash",
    "open",
    "summary",
    "verify",
    "when",
]
