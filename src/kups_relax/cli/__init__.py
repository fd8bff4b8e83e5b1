"""The `kups-relax` command."""

from kups_relax.cli._app import format_table as format_table
from kups_relax.cli._app import main as main
