"""The `kups-relax` command."""

from kups_relax.cli._app import main as main
from kups_relax.cli._print import format_table as format_table
