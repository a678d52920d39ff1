"""What can be set about one process, with the defaults in force. Read from file and environment by the command line."""

from dataclasses import dataclass, field

from splitgauge.analyzer.service import AnalyzerSettings
from splitgauge.router.settings import RouterSettings

__all__ = ["StandaloneSettings"]


@dataclass(frozen=True, slots=True)
class StandaloneSettings:
    """Settings of `splitgauge up`.

    Attributes:
        router: of the data path; its data folder is that of the whole process.
        host, port: where both HTTP surfaces listen. Port 0: a free one, printed.
        observation_partitions: of a new log; None: the log's own, 4 for a new one.
        shutdown_s: how long requests in flight may take after a stop is asked for.
    """

    router: RouterSettings
    analyzer: AnalyzerSettings = field(default_factory=AnalyzerSettings)
    host: str = "127.0.0.1"
    port: int = 8080
    observation_partitions: int | None = None
    shutdown_s: float = 10.0
