"""The topic from which Faust restores the table of stage 2. It belongs to the Faust app and to nobody's contract.

Owns its name and how it is made: like `splitgauge.partials`, partition by partition. Faust itself makes no topics here,
as the ones that it makes have the partitions of the broker's defaults and then do not match.
"""

import asyncio

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import for_code

from splitgauge.eventlog.kafka_admin import administration
from splitgauge.eventlog.kafka_errors import mapped, translate
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.kafka_topic_fit import FoundTopic, find_topics
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
    async with administration(settings) as admin:
        with mapped(settings.bootstrap):
            async with asyncio.timeout(settings.connect_timeout_s):
                # A topic that was just made, here or by another worker, is not seen at once, nor by all brokers.
                while len(found := await find_topics(admin, settings, (PARTIALS.name, CHANGELOG))) < 2:
                    if PARTIALS.name in found:
                        await _create(admin, changelog_topic(settings), found[PARTIALS.name])
                    await asyncio.sleep(_LOOK_EVERY_S)
    source, changelog = found[PARTIALS.name], found[CHANGELOG]
    policy = changelog.settings.get("cleanup.policy")
    misfit = changelog_misfit(
        changelog_topic(settings), partitions=changelog.partitions, policy=policy, wanted=source.partitions
    )
    if misfit is not None:
        raise misfit
    return source.partitions


async def _create(admin: AIOKafkaAdminClient, name: str, source: FoundTopic) -> None:
    settings = {"cleanup.policy": "compact"} | {key: source.settings[key] for key in _COPIED}
    wish = NewTopic(name, source.partitions, source.replication, topic_configs=settings)
    answer = await admin.create_topics([wish])
    for topic, code, message in answer.topic_errors:
        if code not in (0, _TOPIC_EXISTS):  # another worker was faster
            raise translate(for_code(code)(message), where=topic)
