"""The archiver: copies what is kept from the event log to the archive, for as long as it runs."""

from splitgauge.archiver.service import Archiver, ArchiverSettings

__all__ = ["Archiver", "ArchiverSettings"]
