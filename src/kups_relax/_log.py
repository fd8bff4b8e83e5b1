"""The package's logger. What it says of the user's data cannot move a terminal's cursor."""

import logging

from kups_relax.errors import printable

log = logging.getLogger("kups_relax")


def _escape(record: logging.LogRecord) -> bool:
    """Escape ids and paths in a record, and what would begin another line."""
    record.msg, record.args = printable(record.getMessage()), None
    return True


log.addFilter(_escape)
