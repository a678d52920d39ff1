"""The roles that the processes of a cluster share among them. Imports nothing: the command line names them."""

from enum import StrEnum

__all__ = ["Role"]


class Role(StrEnum):
    """What a process does."""

    ROUTER = "router"
    AGGREGATOR = "aggregator"
    TABLES = "tables"
    ANALYZER = "analyzer"
    CONSOLE = "console"
    ARCHIVER = "archiver"
