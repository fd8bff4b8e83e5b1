"""The `kups-relax` command."""

from kups_relax.cli._main import main as main
