"""What can be set about a router, with the defaults in force."""

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

__all__ = ["Durability", "RouterSettings"]

Durability = Literal["default", "strict", "batched"]
"""What an answer waits for: its assignment; its outcome, too; nothing."""

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """Settings of one router.

    Attributes:
        data_folder: where the unit key's file and the spool are.
        unit_key: hexadecimal; None: from the data folder's file, made where there is none.
        durability: what an answer waits for.
        fail_closed: without a log answer 503, instead of what the workload serves.
        log_patience_s: how long the log may take for a batch before it counts as away.
        outcome_linger_s: how long an outcome waits for company on its way to the log.
        spool_bytes: the most that is kept on disk while the log is away.
        request_bytes, answer_bytes: the largest bodies taken.
        intake_concurrency: request events worked on at once.
        stop_grace_s: how long request events under way may take when the router stops.
        instance: who this router is, in its events.
    """

    data_folder: Path
    unit_key: str | None = field(default=None, repr=False)
    durability: Durability = "default"
    fail_closed: bool = False
    log_patience_s: float = 0.25
    outcome_linger_s: float = 0.003
    spool_bytes: int = 1024 * _MIB
    request_bytes: int = 16 * _MIB
    answer_bytes: int = 32 * _MIB
    intake_concurrency: int = 64
    stop_grace_s: float = 20.0
    instance: str = field(default_factory=socket.gethostname)
