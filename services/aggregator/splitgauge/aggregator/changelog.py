"""The topic from which Faust restores the table of stage 2. It belongs to the Faust app and to nobody's contract.

Owns its name and how it is made: like `splitgauge.partials`, partition by partition. Faust itself makes no topics here,
as the ones that it makes have the partitions of the broker's defaults and then do not match.
"""

import asyncio
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

from splitgauge.eventlog.kafka_errors import mapped, translate
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.schemas.errors import ConflictError
from splitgauge.schemas.topics import PARTIALS

__all__ = ["CHANGELOG", "TABLE", "app_id", "changelog_misfit", "changelog_topic", "make_changelog"]

TABLE = "partials"
_APP = "splitgauge-tables"
CHANGELOG = f"{_APP}-{TABLE}-changelog"
"""As Faust calls it, without the prefix of topics and groups."""
_COPIED = ("min.insync.replicas", "max.message.bytes", "segment.bytes", "unclean.leader.election.enable")
_TOPIC_EXISTS = 36
_LOOK_EVERY_S = 0.05


def app_id(settings: KafkaSettings) -> str:
    """The name of the Faust app, which is that of its consumer group."""
    return settings.topic_prefix + _APP


def changelog_topic(settings: KafkaSettings) -> str:
    """Its name on this Kafka."""
    return settings.topic(CHANGELOG)


def changelog_misfit(name: str, *, partitions: int, policy: str | None, wanted: int) -> ConflictError | None:
    """Why Faust could not restore its table from such a topic. `wanted`: the partitions of `splitgauge.partials`."""
    if (partitions, policy) == (wanted, "compact"):
        return None
    return ConflictError(
        f"it has {partitions} partitions and cleanup.policy {policy}, wanted {wanted} and compact",
        where=name,
        remedy="Stop the workers of stage 2 and delete the topic: it is made again from splitgauge.partials",
        code="topic-misfit",
    )


async def make_changelog(settings: KafkaSettings) -> int:
    """Create the topic where it is missing. Returns: how many partitions it has, and so has `splitgauge.partials`.

    Raises: ConflictError where one is there that does not match; LogUnavailableError.
    """
    admin = AIOKafkaAdminClient(**settings.client())
    source, name = settings.topic(PARTIALS.name), changelog_topic(settings)
    with mapped(settings.bootstrap):
        await admin.start()
        try:
            async with asyncio.timeout(settings.connect_timeout_s):
                # A topic that was just made, here or by another worker, is not seen at once.
                while name not in (there := {topic["topic"]: topic for topic in await admin.describe_topics()}):
                    await _create(admin, name, source, there[source]["partitions"])
                    await asyncio.sleep(_LOOK_EVERY_S)
                policy = (await _settings(admin, name)).get("cleanup.policy")
        finally:
            await admin.close()
    found, wanted = len(there[name]["partitions"]), len(there[source]["partitions"])
    misfit = changelog_misfit(name, partitions=found, policy=policy, wanted=wanted)
    if misfit is not None:
        raise misfit
    return wanted


async def _create(admin: AIOKafkaAdminClient, name: str, source: str, partitions: list[dict[str, Any]]) -> None:
    like = await _settings(admin, source)
    settings = {"cleanup.policy": "compact"} | {key: like[key] for key in _COPIED}
    replication = min(len(partition["replicas"]) for partition in partitions)
    wish = NewTopic(name, len(partitions), replication, topic_configs=settings)
    answer = await admin.create_topics([wish])
    for topic, code, message in answer.topic_errors:
        if code not in (0, _TOPIC_EXISTS):  # another worker was faster
            raise translate(for_code(code)(message), where=topic)


async def _settings(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    code, message, _, _, entries = answers[0].resources[0]
    if code:
        raise translate(for_code(code)(message), where=topic)
    return {str(entry[0]): str(entry[1]) for entry in entries}
