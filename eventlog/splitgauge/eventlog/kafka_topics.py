"""The topics on Kafka: made as the contract wants them, and compared with it. What does not fit is refused, not mended.

Owns what each `Topic` of the contract means in Kafka's settings. Changes nothing on a topic that is there but its
number of partitions, upwards, where the contract allows that.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

from splitgauge.eventlog.kafka_errors import mapped, translate
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.partitions import DEFAULT_OBSERVATION_PARTITIONS, Layout
from splitgauge.schemas.errors import ConflictError, LogUnavailableError, UnknownSubjectError
from splitgauge.schemas.topics import TOPICS, Retention, Topic

__all__ = ["InitReport", "Misfit", "TopicMisfitError", "TopicPlan", "check_topics", "cluster_layout", "init_topics"]

_DAY_MS = 24 * 60 * 60 * 1000
_ENVELOPE_BYTES = 1024
"""Of a batch around one event: 61 bytes of header, some 20 of lengths, and the key."""
_COMPACTED_SEGMENT_BYTES = 64 * 2**20
"""Only closed segments are compacted, and who reads windows or partials reads them all."""
_TOPIC_EXISTS = 36
_SHOWN_WITHIN_S = 10.0
_LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """What an operator decides about the topics.

    Attributes:
        partitions: of each topic, by its name without prefix.
        replication: copies of each partition.
        min_isr: copies that must have an event before it counts as written.
        short_ms, long_ms: how long topics of short and of long retention keep their events.
    """

    partitions: Layout
    replication: int = 3
    min_isr: int = 2
    short_ms: int = 3 * _DAY_MS
    long_ms: int = 30 * _DAY_MS


@dataclass(frozen=True, slots=True)
class Misfit:
    """One setting of one topic that is not as it has to be."""

    topic: str
    setting: str
    found: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.setting} is {self.found}, wanted {self.wanted}"


class TopicMisfitError(ConflictError):
    """Topics that are there do not fit the contract."""

    code = "topic-misfit"

    def __init__(self, misfits: Sequence[Misfit]) -> None:
        self.misfits = tuple(misfits)
        super().__init__(
            "; ".join(map(str, misfits)),
            where="Kafka",
            remedy="Change the settings with Kafka's own tools; a number of partitions that may not change needs a new "
            "log, under another `topic_prefix`",
        )


@dataclass(frozen=True, slots=True)
class InitReport:
    """What `init_topics` did, by topic, as they are called on this Kafka."""

    created: tuple[str, ...]
    counted_up: Mapping[str, tuple[int, int]]
    """From how many partitions to how many."""
    unchanged: tuple[str, ...]
    partitions: Mapping[str, int]


def cluster_layout(*, observations: int = DEFAULT_OBSERVATION_PARTITIONS, others: int = 4) -> Layout:
    """So many partitions of observations, and of topics whose number is fixed like theirs; and of each other topic."""
    return {
        topic.name: 1 if topic.single_partition else others if topic.counts_up else observations
        for topic in TOPICS.values()
    }


async def init_topics(settings: KafkaSettings, plan: TopicPlan) -> InitReport:
    """Create what is missing and count partitions up where that is allowed; run again, it changes nothing.

    Raises: TopicMisfitError naming what does not fit, nothing being changed then; LogUnavailableError.
    """
    async with _admin(settings) as admin:
        before = await _found(admin, settings)
        _refuse_what_cannot_be_mended(before, settings, plan)
        missing = [topic for topic in TOPICS.values() if topic.name not in before]
        growing = {
            name: (topic.partitions, plan.partitions[name])
            for name, topic in before.items()
            if topic.partitions < plan.partitions[name]
        }
        await _create(admin, settings, plan, missing)
        if growing:
            with mapped("Kafka"):
                await admin.create_partitions(
                    {settings.topic(name): NewPartitions(wanted) for name, (_, wanted) in growing.items()}
                )
        after = await _shown(admin, settings, plan)
    return InitReport(
        created=tuple(settings.topic(topic.name) for topic in missing),
        counted_up={settings.topic(name): counts for name, counts in growing.items()},
        unchanged=tuple(settings.topic(name) for name in before if name not in growing),
        partitions={settings.topic(name): topic.partitions for name, topic in after.items()},
    )


async def check_topics(settings: KafkaSettings, plan: TopicPlan | None = None) -> Layout:
    """Compare the topics with the contract, and with the plan where there is one. Changes nothing.

    Returns: how many partitions each topic has.
    Raises: UnknownSubjectError where topics are missing; TopicMisfitError; LogUnavailableError.
    """
    async with _admin(settings) as admin:
        found = await _found(admin, settings)
    missing = [settings.topic(name) for name in TOPICS if name not in found]
    if missing:
        raise UnknownSubjectError(
            f"there is no topic {', '.join(missing)}", where="Kafka", remedy="Create it with `splitgauge init`"
        )
    misfits = _misfits(found, settings, plan)
    if misfits:
        raise TopicMisfitError(misfits)
    return {name: found[name].partitions for name in TOPICS}


@dataclass(frozen=True, slots=True)
class _Found:
    """A topic as it is."""

    partitions: int
    replication: int
    settings: Mapping[str, str]


def _settings(topic: Topic, settings: KafkaSettings, plan: TopicPlan) -> dict[str, str]:
    """What a topic is created with, in Kafka's own words."""
    wanted = {
        "cleanup.policy": "delete",
        "min.insync.replicas": str(plan.min_isr),
        "max.message.bytes": str(settings.event_bytes + _ENVELOPE_BYTES),
        # A copy that lacks acknowledged events never becomes the one that counts.
        "unclean.leader.election.enable": "false",
    }
    match topic.retention:
        case Retention.FOREVER:
            wanted |= {"retention.ms": "-1", "retention.bytes": "-1"}
        case Retention.NEWEST_PER_KEY:
            wanted |= {"cleanup.policy": "compact", "segment.bytes": str(_COMPACTED_SEGMENT_BYTES)}
        case Retention.SHORT:
            wanted["retention.ms"] = str(plan.short_ms)
        case Retention.LONG:
            wanted["retention.ms"] = str(plan.long_ms)
    return wanted


def _misfits(found: Mapping[str, _Found], settings: KafkaSettings, plan: TopicPlan | None) -> list[Misfit]:
    misfits: list[Misfit] = []
    for name, topic in found.items():
        called = settings.topic(name)
        misfits += _wrong_counts(called, TOPICS[name], topic, plan)
        misfits += _wrong_settings(called, TOPICS[name], topic, settings)
    return misfits


def _wrong_counts(called: str, topic: Topic, found: _Found, plan: TopicPlan | None) -> list[Misfit]:
    misfits: list[Misfit] = []
    wanted = 1 if topic.single_partition else plan.partitions[topic.name] if plan else found.partitions
    if found.partitions < wanted or (found.partitions > wanted and not topic.counts_up):
        fixed = "" if topic.counts_up else " (fixed when the topic was made)"
        misfits.append(Misfit(called, "partitions", str(found.partitions), f"{wanted}{fixed}"))
    if plan is None:
        return misfits
    if found.replication < plan.replication:
        misfits.append(Misfit(called, "replication", str(found.replication), f"at least {plan.replication}"))
    min_isr = found.settings.get("min.insync.replicas", "")
    if min_isr and int(min_isr) < plan.min_isr:
        misfits.append(Misfit(called, "min.insync.replicas", min_isr, f"at least {plan.min_isr}"))
    return misfits


def _wrong_settings(called: str, topic: Topic, found: _Found, settings: KafkaSettings) -> list[Misfit]:
    wanted = {
        "cleanup.policy": "compact" if topic.retention is Retention.NEWEST_PER_KEY else "delete",
        "unclean.leader.election.enable": "false",
    }
    if topic.retention is Retention.FOREVER:
        wanted |= {"retention.ms": "-1", "retention.bytes": "-1"}
    misfits = [
        Misfit(called, name, found.settings[name], value)
        for name, value in wanted.items()
        if found.settings.get(name, value) != value
    ]
    if topic.retention in (Retention.SHORT, Retention.LONG) and found.settings.get("retention.ms") == "-1":
        # What callers sent, prompts among it, is not kept for ever.
        misfits.append(Misfit(called, "retention.ms", "-1", "a limit"))
    largest = found.settings.get("max.message.bytes", "")
    if largest and int(largest) < settings.event_bytes:
        misfits.append(Misfit(called, "max.message.bytes", largest, f"at least {settings.event_bytes}"))
    return misfits


def _refuse_what_cannot_be_mended(found: Mapping[str, _Found], settings: KafkaSettings, plan: TopicPlan) -> None:
    growing = {
        settings.topic(name)
        for name, topic in found.items()
        if TOPICS[name].counts_up and topic.partitions < plan.partitions[name]
    }
    misfits = [
        misfit
        for misfit in _misfits(found, settings, plan)
        if misfit.setting != "partitions" or misfit.topic not in growing
    ]
    if misfits:
        raise TopicMisfitError(misfits)


@asynccontextmanager
async def _admin(settings: KafkaSettings) -> AsyncGenerator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**settings.client())
    try:
        with mapped(settings.bootstrap):
            async with asyncio.timeout(settings.connect_timeout_s):
                await admin.start()
        yield admin
    finally:
        await admin.close()


async def _found(admin: AIOKafkaAdminClient, settings: KafkaSettings) -> dict[str, _Found]:
    """Our topics that are there. All are asked for: a question for one by name could make a broker create it."""
    with mapped(settings.bootstrap):
        there = {topic["topic"]: topic for topic in await admin.describe_topics()}
        ours = {name: there[settings.topic(name)] for name in TOPICS if settings.topic(name) in there}
        configured = await _configured(admin, [settings.topic(name) for name in ours])
    return {
        name: _Found(
            len(topic["partitions"]),
            min((len(partition["replicas"]) for partition in topic["partitions"]), default=0),
            configured.get(topic["topic"], {}),
        )
        for name, topic in ours.items()
    }


async def _configured(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> dict[str, dict[str, str]]:
    if not topics:
        return {}
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics])
    configured: dict[str, dict[str, str]] = {}
    for code, message, _, topic, entries in (resource for answer in answers for resource in answer.resources):
        if code:
            raise for_code(code)(message)
        configured[topic] = {str(entry[0]): str(entry[1]) for entry in entries}
    return configured


async def _create(
    admin: AIOKafkaAdminClient, settings: KafkaSettings, plan: TopicPlan, topics: Sequence[Topic]
) -> None:
    if not topics:
        return
    wishes = [
        NewTopic(
            settings.topic(topic.name),
            plan.partitions[topic.name],
            plan.replication,
            topic_configs=_settings(topic, settings, plan),
        )
        for topic in topics
    ]
    with mapped(settings.bootstrap):
        answer: Any = await admin.create_topics(wishes)
    for topic, code, message in answer.topic_errors:
        if code not in (0, _TOPIC_EXISTS):  # somebody else may have created it just now; it is compared afterwards
            raise translate(for_code(code)(message), where=topic)


async def _shown(admin: AIOKafkaAdminClient, settings: KafkaSettings, plan: TopicPlan) -> dict[str, _Found]:
    """Once the topics are seen as planned. Raises: TopicMisfitError, LogUnavailableError."""
    try:
        async with asyncio.timeout(_SHOWN_WITHIN_S):
            while True:
                found = await _found(admin, settings)
                _refuse_what_cannot_be_mended(found, settings, plan)
                if len(found) == len(TOPICS) and not _misfits(found, settings, plan):
                    return found
                await asyncio.sleep(_LOOK_EVERY_S)
    except TimeoutError as exc:
        raise LogUnavailableError(
            "the topics were made, and do not appear", where=settings.bootstrap, remedy="Run it again"
        ) from exc
