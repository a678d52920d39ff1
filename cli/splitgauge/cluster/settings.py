"""What can be set about one process of a cluster. Read from file and environment by the command line."""

from dataclasses import dataclass, field

from splitgauge.cluster.role import Role
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.router.settings import RouterSettings

__all__ = ["ClusterSettings"]


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """Settings of `splitgauge run`.

    Attributes:
        roles: what this process does.
        kafka: where the log is.
        router: of the data path, where the process has it.
        postgres: the address of the database for checkpoints and archive; None: there is none.
        instance: who this process is, in its events.
        host, port: where it answers over HTTP. Port 0: a free one, printed.
        shutdown_s: how long requests in flight may take after a stop is asked for.
        publish_interval_s: between two publications of what moved, in each stage of the aggregator.
        checkpoint_interval_s: between two checkpoints of a partition.
        look_debounce_s: at most one look at an experiment in this time.
        archive_rest_s: of the archiver, between rounds that found nothing new.
    """

    roles: frozenset[Role]
    kafka: KafkaSettings
    router: RouterSettings
    instance: str
    postgres: str | None = field(default=None, repr=False)
    host: str = "127.0.0.1"
    port: int = 8080
    shutdown_s: float = 10.0
    publish_interval_s: float = 0.1
    checkpoint_interval_s: float = 5.0
    look_debounce_s: float = 0.25
    archive_rest_s: float = 1.0
