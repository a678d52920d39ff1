"""What is to be said of the Kafka of a cluster: its brokers and their clock, the topics, the groups that read them.

Writes nothing and joins no group. Owns what is looked at and how bad it is; what a topic has to be says
`kafka_topic_fit`.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResourceType

from splitgauge.aggregator.changelog import CHANGELOG, app_id, changelog_misfit
from splitgauge.aggregator.fold_group import GROUP as FOLD_GROUP
from splitgauge.cluster.clock_checks import clock_finding
from splitgauge.cluster.finding import Finding
from splitgauge.cluster.role import Role
from splitgauge.eventlog.kafka_admin import Broker, administration, brokers, clock_ahead_s, configured
from splitgauge.eventlog.kafka_errors import mapped
from splitgauge.eventlog.kafka_reader import KafkaReader
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.kafka_topic_fit import FoundTopic, TopicMisfitError, TopicPlan, find_topics, misfits_of
from splitgauge.router.intake import GROUP as REQUEST_GROUP
from splitgauge.router.report_intake import GROUP as REPORT_GROUP
from splitgauge.schemas.errors import SplitgaugeError
from splitgauge.schemas.topics import DEAD_LETTERS, OBSERVATIONS, PARTIALS, REPORTS, REQUESTS, TOPICS

__all__ = ["absent_findings", "broker_finding", "check_kafka", "topic_finding"]

_START = "Start the brokers that are down"

_RELEASES = ((18, "4.1"), (17, "3.9"), (16, "3.7"), (15, "3.5"), (13, "3.1"))
"""Brokers do not say their version. Which form of a fetch they know tells from which release on they are."""


async def check_kafka(settings: KafkaSettings, plan: TopicPlan, now_s: Callable[[], float]) -> list[Finding]:
    """Never raises what Kafka did wrong: that is a finding."""
    try:
        there = await brokers(settings)
    except SplitgaugeError as exc:
        return [Finding.of_error("broker", settings.bootstrap, exc)]
    findings = [broker_finding(broker) for broker in there]
    findings += await _told("clock", "Kafka", _clock(settings, now_s))
    try:
        findings += await _administered(settings, plan, there)
    except SplitgaugeError as exc:
        findings.append(Finding.of_error("topic", "all", exc))
    return findings


def broker_finding(broker: Broker) -> Finding:
    """Of one broker, at the address under which clients are sent to it."""
    subject = f"{broker.address} (node {broker.number})"
    if broker.error is not None:
        remedy = f"{broker.error.remedy}; the address is its `advertised.listeners`"
        return Finding.failed("broker", subject, broker.error.message, remedy)
    newest = broker.fetch_version or 0
    release = next((release for version, release in _RELEASES if newest >= version), None)
    if release is None:
        oldest = _RELEASES[-1][1]
        return Finding.failed("broker", subject, f"it is older than Apache Kafka {oldest}", f"Use {oldest} or later")
    return Finding.ok("broker", subject, f"it answers, and knows what Apache Kafka {release} knows")


def absent_findings(topics: Collection[FoundTopic], there: Collection[Broker]) -> list[Finding]:
    """Of nodes that have copies of topics, and that the brokers do not count among themselves now."""
    nodes = frozenset[int]().union(*(topic.nodes for topic in topics)) - {broker.number for broker in there}
    message = "it has copies of our topics, and is not in the cluster now"
    remedy = "Start it; if it is gone for good, move its copies with kafka-reassign-partitions"
    return [Finding.warning("broker", f"node {number}", message, remedy) for number in sorted(nodes)]


async def _told(check: str, subject: str, work: Awaitable[list[Finding]]) -> list[Finding]:
    """What no role asks for: where it cannot be looked at, they work all the same."""
    try:
        return await work
    except SplitgaugeError as exc:
        return [Finding.warning(check, subject, f"not looked at: {exc.message}", exc.remedy)]


async def _clock(settings: KafkaSettings, now_s: Callable[[], float]) -> list[Finding]:
    return [clock_finding("Kafka", await clock_ahead_s(settings, now_s))]


async def _administered(settings: KafkaSettings, plan: TopicPlan, there: list[Broker]) -> list[Finding]:
    async with administration(settings) as admin:
        findings = await _told("broker", "settings", _broker_settings(admin, settings, there))
        topics = await find_topics(admin, settings, (*TOPICS, CHANGELOG))
        findings += absent_findings(topics.values(), there)
        changelog = topics.pop(CHANGELOG, None)
        findings += [topic_finding(name, topics.get(name), settings, plan) for name in TOPICS]
        findings.append(_changelog_finding(changelog, topics.get(PARTIALS.name), settings))
        findings += await _positions(admin, settings, topics)
    return findings


async def _broker_settings(admin: AIOKafkaAdminClient, settings: KafkaSettings, there: list[Broker]) -> list[Finding]:
    with mapped(settings.bootstrap):
        answering = [str(broker.number) for broker in there if not broker.error]
        found = await configured(admin, answering, kind=ConfigResourceType.BROKER)
    careless = [number for number, chosen in found.items() if chosen.get("auto.create.topics.enable") == "true"]
    if not careless:
        return [Finding.ok("broker", "settings", "no broker creates topics unasked")]
    nodes = ", ".join(sorted(careless))
    message = f"auto.create.topics.enable is true on node {nodes}: a topic that is gone comes back empty, and unfit"
    return [Finding.warning("broker", "settings", message, "Set it to false, and start the brokers again one by one")]


def topic_finding(name: str, found: FoundTopic | None, settings: KafkaSettings, plan: TopicPlan) -> Finding:
    """Of one topic, the worst first."""
    called = settings.topic(name)
    if found is None:
        remedy = "Create it with `splitgauge init`, or let this user describe it"
        return Finding.failed("topic", called, "it is not there", remedy)
    if found.leaderless:
        message = f"partitions {_listed(found.leaderless)} have no leader: nothing of them can be read or written"
        return Finding.failed("topic", called, message, _START)
    if found.short:
        message = f"partitions {_listed(found.short)} take no events, as fewer than min.insync.replicas are complete"
        return Finding.failed("topic", called, message, _START)
    misfits = misfits_of({name: found}, settings, plan)
    if misfits:
        message = "; ".join(f"{misfit.setting} is {misfit.found}, wanted {misfit.wanted}" for misfit in misfits)
        tell = Finding.warning if all(misfit.planned for misfit in misfits) else Finding.failed
        return tell("topic", called, message, TopicMisfitError(misfits).remedy)
    if found.behind:
        message = f"partitions {_listed(found.behind)} have copies without the newest events"
        return Finding.warning("topic", called, message, f"{_START}, or wait until they have caught up")
    return Finding.ok("topic", called, f"partitions: {found.partitions}, copies of each: {found.replication}")


def _changelog_finding(found: FoundTopic | None, partials: FoundTopic | None, settings: KafkaSettings) -> Finding:
    called = settings.topic(CHANGELOG)
    if found is None:
        message = "the changelog of stage 2 is not there"
        return Finding.warning("topic", called, message, "`splitgauge init` creates it, and so does the first worker")
    wanted = found.partitions if partials is None else partials.partitions
    policy = found.settings.get("cleanup.policy")
    misfit = changelog_misfit(called, partitions=found.partitions, policy=policy, wanted=wanted)
    if misfit is not None:
        return Finding.of_error("topic", called, misfit)
    return Finding.ok("topic", called, f"partitions: {found.partitions}, copies of each: {found.replication}")


@dataclass(frozen=True, slots=True)
class _Reading:
    """A group that has to read a topic to its end, and the role whose processes are its members."""

    topic: str
    group: str
    role: Role


def _readings(settings: KafkaSettings) -> tuple[_Reading, ...]:
    prefix = settings.topic_prefix
    return (
        _Reading(REQUESTS.name, prefix + REQUEST_GROUP, Role.ROUTER),
        _Reading(REPORTS.name, prefix + REPORT_GROUP, Role.ROUTER),
        _Reading(OBSERVATIONS.name, prefix + FOLD_GROUP, Role.AGGREGATOR),
        _Reading(PARTIALS.name, app_id(settings), Role.TABLES),
    )


async def _positions(
    admin: AIOKafkaAdminClient, settings: KafkaSettings, topics: Mapping[str, FoundTopic]
) -> list[Finding]:
    """Of groups, and of the dead letters; of topics that are there."""
    reader = KafkaReader(settings, {name: found.partitions for name, found in topics.items()})
    findings: list[Finding] = []
    try:
        findings += await _told("group", "all", _groups(admin, settings, reader, topics))
        if DEAD_LETTERS.name in topics:
            called = settings.topic(DEAD_LETTERS.name)
            findings += await _told("dead letters", called, _dead_letters(settings, reader))
    finally:
        await reader.close()
    return findings


async def _groups(
    admin: AIOKafkaAdminClient, settings: KafkaSettings, reader: KafkaReader, topics: Mapping[str, FoundTopic]
) -> list[Finding]:
    with mapped(settings.bootstrap):
        # To look for the coordinator of a group that never was would make brokers create what they keep groups in.
        known = {str(group[0]) for group in await admin.list_consumer_groups()}
    readings = [reading for reading in _readings(settings) if reading.topic in topics]
    return [await _group(admin, settings, reader, reading, known=reading.group in known) for reading in readings]


async def _group(
    admin: AIOKafkaAdminClient, settings: KafkaSettings, reader: KafkaReader, reading: _Reading, *, known: bool
) -> Finding:
    called, bounds = settings.topic(reading.topic), await reader.bounds(reading.topic)
    members, upto = 0, dict[int, int]()
    if known:
        with mapped(f"group {reading.group}"):
            (described,) = (await admin.describe_consumer_groups([reading.group]))[0].groups
            committed = await admin.list_consumer_group_offsets(reading.group)
        members = len(described[-1])
        upto = {place.partition: at.offset for place, at in committed.items() if place.topic == called}
    waiting = sum(end - max(start, upto.get(partition, 0)) for partition, (start, end) in bounds.items())
    if waiting and not members:
        message = f"nobody reads {called}, where {waiting} events wait"
        return Finding.warning("group", reading.group, message, f"Start `splitgauge run {reading.role}`")
    return Finding.ok("group", reading.group, f"members: {members}, events of {called} that wait: {waiting}")


async def _dead_letters(settings: KafkaSettings, reader: KafkaReader) -> list[Finding]:
    called = settings.topic(DEAD_LETTERS.name)
    count = sum(end - start for start, end in (await reader.bounds(DEAD_LETTERS.name)).values())
    if not count:
        return [Finding.ok("dead letters", called, "none")]
    message = f"{count} events could not be used"
    return [Finding.warning("dead letters", called, message, "`splitgauge tail dead-letters` says which, and why")]


def _listed(partitions: tuple[int, ...]) -> str:
    return ", ".join(map(str, partitions))
