"""The topics on Kafka: made as the contract wants them, and compared with it. What does not fit is refused, not mended.

Changes nothing on a topic that is there but its number of partitions, upwards, where the contract allows that.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import for_code

from splitgauge.eventlog.kafka_admin import administration
from splitgauge.eventlog.kafka_errors import mapped, translate
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.kafka_topic_fit import (
    FoundTopic,
    TopicMisfitError,
    TopicPlan,
    creation_settings,
    find_topics,
    misfits_of,
)
from splitgauge.eventlog.partitions import DEFAULT_OBSERVATION_PARTITIONS, Layout
from splitgauge.schemas.errors import LogUnavailableError, UnknownSubjectError
from splitgauge.schemas.topics import TOPICS, Topic

__all__ = ["InitReport", "check_topics", "cluster_layout", "init_topics"]

_TOPIC_EXISTS = 36
_SHOWN_WITHIN_S = 10.0
_LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class InitReport:
    """What `init_topics` did, by topic, as they are called on this Kafka."""

    created: tuple[str, ...]
    counted_up: Mapping[str, tuple[int, int]]
    """From how many partitions to how many."""
    unchanged: tuple[str, ...]
    partitions: Mapping[str, int]


def cluster_layout(*, observations: int | None = DEFAULT_OBSERVATION_PARTITIONS, others: int = 4) -> Layout:
    """So many partitions of observations, and of topics whose number is fixed like theirs; and of each other topic.

    Without a number of observations those are left out: they may have what they have.
    """
    wanted = {
        topic.name: 1 if topic.single_partition else others if topic.counts_up else observations
        for topic in TOPICS.values()
    }
    return {name: count for name, count in wanted.items() if count is not None}


async def init_topics(settings: KafkaSettings, plan: TopicPlan) -> InitReport:
    """Create what is missing and count partitions up where that is allowed; run again, it changes nothing.

    Raises: TopicMisfitError naming what does not fit, nothing being changed then; LogUnavailableError.
    """
    async with administration(settings) as admin:
        before = await find_topics(admin, settings)
        _refuse_what_cannot_be_mended(before, settings, plan)
        missing = [topic for topic in TOPICS.values() if topic.name not in before]
        growing = {
            name: (topic.partitions, plan.partitions[name])
            for name, topic in before.items()
            if topic.partitions < plan.partitions.get(name, 0)
        }
        await _create(admin, settings, plan, missing)
        if growing:
            with mapped(settings.bootstrap):
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


async def check_topics(settings: KafkaSettings) -> Layout:
    """Compare the topics with the contract. Changes nothing.

    Returns: how many partitions each topic has.
    Raises: UnknownSubjectError where topics are missing; TopicMisfitError; LogUnavailableError.
    """
    async with administration(settings) as admin:
        found = await find_topics(admin, settings)
    missing = [settings.topic(name) for name in TOPICS if name not in found]
    if missing:
        raise UnknownSubjectError(
            f"there is no topic {', '.join(missing)}",
            where=settings.bootstrap,
            remedy="Create it with `splitgauge init`, or let this user describe it",
        )
    misfits = misfits_of(found, settings)
    if misfits:
        raise TopicMisfitError(misfits)
    return {name: found[name].partitions for name in TOPICS}


def _refuse_what_cannot_be_mended(found: Mapping[str, FoundTopic], settings: KafkaSettings, plan: TopicPlan) -> None:
    growing = {
        settings.topic(name)
        for name, topic in found.items()
        if TOPICS[name].counts_up and topic.partitions < plan.partitions.get(name, 0)
    }
    misfits = [
        misfit
        for misfit in misfits_of(found, settings, plan)
        if misfit.setting != "partitions" or misfit.topic not in growing
    ]
    if misfits:
        raise TopicMisfitError(misfits)


async def _create(
    admin: AIOKafkaAdminClient, settings: KafkaSettings, plan: TopicPlan, topics: Sequence[Topic]
) -> None:
    if not topics:
        return
    wishes = [
        NewTopic(
            settings.topic(topic.name),
            plan.partitions.get(topic.name, DEFAULT_OBSERVATION_PARTITIONS),
            plan.replication,
            topic_configs=creation_settings(topic, settings, plan),
        )
        for topic in topics
    ]
    with mapped(settings.bootstrap):
        answer: Any = await admin.create_topics(wishes)
    for topic, code, message in answer.topic_errors:
        if code not in (0, _TOPIC_EXISTS):  # somebody else may have created it just now; it is compared afterwards
            raise translate(for_code(code)(message), where=topic)


async def _shown(admin: AIOKafkaAdminClient, settings: KafkaSettings, plan: TopicPlan) -> dict[str, FoundTopic]:
    """Once the topics are seen as planned. Raises: TopicMisfitError, LogUnavailableError."""
    try:
        async with asyncio.timeout(_SHOWN_WITHIN_S):
            while True:
                found = await find_topics(admin, settings)
                _refuse_what_cannot_be_mended(found, settings, plan)
                if len(found) == len(TOPICS) and not misfits_of(found, settings, plan):
                    return found
                await asyncio.sleep(_LOOK_EVERY_S)
    except TimeoutError as exc:
        raise LogUnavailableError(
            "the topics were made, and do not appear", where=settings.bootstrap, remedy="Run it again"
        ) from exc
