"""What is to be said of the log itself: whether this version knows all its decisions, and whose unit key it has."""

from pathlib import Path

from splitgauge.cluster.finding import Finding
from splitgauge.eventlog.decisions import DecisionLog
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.experiments.state import Registry
from splitgauge.router.key_file import FILE_NAME, expect_fingerprint, load_or_create
from splitgauge.schemas.errors import SplitgaugeError
from splitgauge.schemas.topics import DECISIONS

__all__ = ["check_log"]


async def check_log(settings: KafkaSettings, data_folder: Path, unit_key: str | None) -> list[Finding]:
    """On topics that fit. `unit_key`: the setting; None: there may be a file in the folder, as of a router."""
    called = settings.topic(DECISIONS.name)
    try:
        registry, count = await _read(settings)
    except SplitgaugeError as exc:
        return [Finding.of_error("decisions", called, exc)]
    known = Finding.ok("decisions", called, f"this version knows the rules of all {count}")
    return [known, _unit_key(registry.key_fingerprint, data_folder, unit_key)]


async def _read(settings: KafkaSettings) -> tuple[Registry, int]:
    log = await KafkaEventLog.connect(settings)
    try:
        decisions = DecisionLog(log, source="/splitgauge/check", instance="check")
        return await decisions.catch_up(), decisions.history.end
    finally:
        await log.close()


def _unit_key(fingerprint: str | None, data_folder: Path, setting: str | None) -> Finding:
    """`fingerprint`: of the key that the log began with; None: no router has been there yet."""
    if setting is None and not (data_folder / FILE_NAME).exists():
        message = "none is set: a router would make one of its own, and only the first may"
        return Finding.warning("unit key", "routers", message, "Set `unit_key` for all routers of this log")
    try:
        key = load_or_create(data_folder, setting)
        if fingerprint is not None:
            expect_fingerprint(key, fingerprint)
    except SplitgaugeError as exc:
        return Finding.of_error("unit key", "routers", exc)
    return Finding.ok("unit key", "routers", "it is the log's" if fingerprint else "the log will begin with it")
