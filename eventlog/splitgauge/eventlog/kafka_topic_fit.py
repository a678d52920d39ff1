"""What each topic of the contract has to be on Kafka, in Kafka's own settings, and where one that is there differs.

Owns the comparison. Some of it is the contract's: no role works on a topic that breaks it. The rest is what the
operator has planned, and holds only where a plan is given.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError

from splitgauge.eventlog.kafka_admin import configured
from splitgauge.eventlog.kafka_errors import mapped
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.partitions import Layout
from splitgauge.schemas.errors import ConflictError
from splitgauge.schemas.topics import TOPICS, Retention, Topic

__all__ = [
    "FoundTopic",
    "Misfit",
    "TopicMisfitError",
    "TopicPlan",
    "creation_settings",
    "find_topics",
    "misfits_of",
]

_DAY_MS = 24 * 60 * 60 * 1000
_ENVELOPE_BYTES = 1024
"""Of a batch around one event: 61 bytes of header, some 20 of lengths, and the key."""
_COMPACTED_SEGMENT_BYTES = 64 * 2**20
"""Only closed segments are compacted, and who reads windows or partials reads them all."""
_LOOK_EVERY_S = 0.1
_OPERATOR = {
    "partitions": "`observation_partitions`",
    "replication": "`kafka_replication`",
    "min.insync.replicas": "`kafka_min_isr`",
    "retention.ms": "`kafka_short_hours` or `kafka_long_hours`",
}
"""What the operator's own settings are called."""


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """What an operator decides about the topics.

    Attributes:
        partitions: of each topic, by its name without prefix; one that is left out may have any number.
        replication: copies of each partition.
        min_isr: copies that must have an event before it counts as written.
        short_ms, long_ms: how long topics of short and of long retention keep their events.
    """

    partitions: Layout
    replication: int = 3
    min_isr: int = 2
    short_ms: int = 3 * _DAY_MS
    long_ms: int = 30 * _DAY_MS

    def retention_ms(self, topic: Topic) -> int | None:
        """None: of topics that nobody decides about."""
        return {Retention.SHORT: self.short_ms, Retention.LONG: self.long_ms}.get(topic.retention)


@dataclass(frozen=True, slots=True)
class Misfit:
    """One setting of one topic that is not as it has to be.

    Attributes:
        planned: it is only the plan that wants it otherwise; every role works with the topic as it is.
    """

    topic: str
    setting: str
    found: str
    wanted: str
    planned: bool = False

    def __str__(self) -> str:
        return f"{self.topic}: {self.setting} is {self.found}, wanted {self.wanted}"


class TopicMisfitError(ConflictError):
    """Topics that are there do not fit the contract, or the plan."""

    code = "topic-misfit"

    def __init__(self, misfits: Sequence[Misfit]) -> None:
        self.misfits = tuple(misfits)
        ways: list[str] = []
        if any(misfit.setting == "partitions" for misfit in misfits):
            ways.append("another number of partitions needs a new log, under another `kafka_topic_prefix`")
        if any(misfit.setting != "partitions" for misfit in misfits):
            ways.append("change the topics with Kafka's own tools")
        planned = sorted({_OPERATOR[misfit.setting] for misfit in misfits if misfit.planned})
        if planned:
            ways.append(f"or set {', '.join(planned)} to what is there")
        remedy = "; ".join(ways)
        super().__init__("; ".join(map(str, misfits)), where="Kafka", remedy=remedy[:1].upper() + remedy[1:])


@dataclass(frozen=True, slots=True)
class FoundTopic:
    """A topic as it is.

    Attributes:
        replication: copies of the partition that has fewest.
        settings: those in force, by Kafka's names.
        leaderless: partitions that can be neither written nor read now.
        short: partitions that take no events now, as fewer copies than `min.insync.replicas` have the newest.
        behind: partitions of which some copy does not have the newest events.
        nodes: those that have copies, whether they run or not.
    """

    partitions: int
    replication: int
    settings: Mapping[str, str]
    leaderless: tuple[int, ...] = ()
    short: tuple[int, ...] = ()
    behind: tuple[int, ...] = ()
    nodes: frozenset[int] = frozenset()


def creation_settings(topic: Topic, settings: KafkaSettings, plan: TopicPlan) -> dict[str, str]:
    """What a topic is created with, in Kafka's own words."""
    return _contract(topic) | {
        "min.insync.replicas": str(plan.min_isr),
        "max.message.bytes": str(settings.largest(topic.name) + _ENVELOPE_BYTES),
        **({} if plan.retention_ms(topic) is None else {"retention.ms": str(plan.retention_ms(topic))}),
        **({"segment.bytes": str(_COMPACTED_SEGMENT_BYTES)} if topic.retention is Retention.NEWEST_PER_KEY else {}),
    }


async def find_topics(
    admin: AIOKafkaAdminClient, settings: KafkaSettings, names: Sequence[str] = tuple(TOPICS)
) -> dict[str, FoundTopic]:
    """Those of the topics that are there, by name without prefix.

    All topics of the brokers are asked for: a question for one by name could make a broker create it.
    """
    with mapped(settings.bootstrap):
        async with asyncio.timeout(settings.connect_timeout_s):
            while True:
                try:
                    return await _look(admin, {settings.topic(name): name for name in names})
                except (NodeNotReadyError, KafkaConnectionError):
                    # Any broker may be asked, also one that has just died and that the others still name.
                    await asyncio.sleep(_LOOK_EVERY_S)


def misfits_of(found: Mapping[str, FoundTopic], settings: KafkaSettings, plan: TopicPlan | None = None) -> list[Misfit]:
    """Where topics differ from the contract, and from the plan where there is one."""
    misfits: list[Misfit] = []
    for name, topic in found.items():
        called = settings.topic(name)
        misfits += _against_contract(called, TOPICS[name], topic, settings)
        if plan is not None:
            misfits += _against_plan(called, TOPICS[name], topic, plan)
    return misfits


async def _look(admin: AIOKafkaAdminClient, names: Mapping[str, str]) -> dict[str, FoundTopic]:
    """`names`: with the prefix -> without."""
    there = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics()}
    settings_of = await configured(admin, [called for called in names if called in there])
    return {names[called]: _found(there[called], settings) for called, settings in settings_of.items()}


def _found(partitions: Sequence[Mapping[str, Any]], settings: Mapping[str, str]) -> FoundTopic:
    min_isr = int(settings.get("min.insync.replicas", "1"))
    return FoundTopic(
        len(partitions),
        min((len(one["replicas"]) for one in partitions), default=0),
        settings,
        leaderless=tuple(sorted(one["partition"] for one in partitions if one["leader"] < 0)),
        short=tuple(sorted(one["partition"] for one in partitions if len(one["isr"]) < min_isr)),
        behind=tuple(sorted(one["partition"] for one in partitions if len(one["isr"]) < len(one["replicas"]))),
        nodes=frozenset(node for one in partitions for node in one["replicas"]),
    )


def _contract(topic: Topic) -> dict[str, str]:
    # A copy that lacks acknowledged events never becomes the one that counts.
    wanted = {"cleanup.policy": "delete", "unclean.leader.election.enable": "false"}
    match topic.retention:
        case Retention.FOREVER:
            return wanted | {"retention.ms": "-1", "retention.bytes": "-1"}
        case Retention.NEWEST_PER_KEY:
            return wanted | {"cleanup.policy": "compact"}
        case Retention.SHORT | Retention.LONG:
            return wanted


def _against_contract(called: str, topic: Topic, found: FoundTopic, settings: KafkaSettings) -> list[Misfit]:
    misfits: list[Misfit] = []
    if topic.single_partition and found.partitions != 1:
        misfits.append(Misfit(called, "partitions", str(found.partitions), "1, for it is one total order"))
    misfits += [
        Misfit(called, name, found.settings[name], value)
        for name, value in _contract(topic).items()
        if found.settings.get(name, value) != value
    ]
    if topic.retention in (Retention.SHORT, Retention.LONG) and found.settings.get("retention.ms") == "-1":
        # What callers sent, prompts among it, is not kept for ever.
        misfits.append(Misfit(called, "retention.ms", "-1", "a limit"))
    largest = found.settings.get("max.message.bytes", "")
    if largest and int(largest) < settings.largest(topic.name):
        misfits.append(Misfit(called, "max.message.bytes", largest, f"at least {settings.largest(topic.name)}"))
    min_isr = found.settings.get("min.insync.replicas", "")
    if min_isr and int(min_isr) > found.replication:
        most = f"at most {found.replication}, as there are no more copies"
        misfits.append(Misfit(called, "min.insync.replicas", min_isr, most))
    return misfits


def _against_plan(called: str, topic: Topic, found: FoundTopic, plan: TopicPlan) -> list[Misfit]:
    misfits: list[Misfit] = []

    def differs(setting: str, is_found: str, wanted: str) -> None:
        misfits.append(Misfit(called, setting, is_found, wanted, planned=True))

    wanted = plan.partitions.get(topic.name, found.partitions)
    if topic.counts_up and found.partitions < wanted:
        differs("partitions", str(found.partitions), str(wanted))
    elif not topic.counts_up and not topic.single_partition and found.partitions != wanted:
        differs("partitions", str(found.partitions), f"{wanted} (fixed when the topic was made)")
    if found.replication < plan.replication:
        differs("replication", str(found.replication), f"at least {plan.replication}")
    min_isr = found.settings.get("min.insync.replicas", "")
    if min_isr and int(min_isr) < plan.min_isr:
        differs("min.insync.replicas", min_isr, f"at least {plan.min_isr}")
    kept, planned = found.settings.get("retention.ms", ""), plan.retention_ms(topic)
    if planned is not None and kept not in ("", "-1", str(planned)):
        differs("retention.ms", kept, str(planned))
    return misfits
