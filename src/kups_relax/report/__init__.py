"""One HTML page about a store, for a browser without a network."""

from kups_relax.report._page import page as page
from kups_relax.report._page import write_report as write_report

__all__ = ["page", "write_report"]
