"""A cluster of real processes of `splitgauge run`, each with a name: to be killed, stopped, paused, started again.

Owns their lives, and what the log has to be in the end, whatever happened to them. Traffic and endpoints are
`pipeline_harness`'s; Kafka and PostgreSQL belong to whoever asks for a cluster.
"""

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import aiohttp

from kafka_broker import plan
from kafka_cluster import free_ports
from pipeline_harness import OUTCOMES, Up
from plain_fold import (
    decisions_in,
    ends_of,
    events_in,
    newest_buckets,
    newest_windows,
    plain_buckets,
    plain_window,
    plain_windows,
    positions_of,
    tables_in,
)
from splitgauge.audit import replay
from splitgauge.eventlog.kafka import KafkaEventLog
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.eventlog.kafka_topic_fit import TopicPlan
from splitgauge.eventlog.kafka_topics import cluster_layout, init_topics
from splitgauge.router.unit_key import UnitKey
from splitgauge.schemas.codec import decode
from splitgauge.schemas.errors import SplitgaugeError
from splitgauge.schemas.topics import DEAD_LETTERS
from waiting import until

__all__ = ["UNIT_KEY", "Cluster"]

_SECRET = b"one key for all routers of a log"
UNIT_KEY = UnitKey(_SECRET)
_PATIENCE_S = 60.0
"""Until a process has to have reached Kafka: all start at once, on a machine that may have other things to do."""
_SAID_LAST = 4_000
"""Characters of what each process has said, shown where a test fails."""
_ANSWER_S = 5.0
"""Then a process that says nothing about itself is one that stands still."""


class Cluster:
    """Processes of `splitgauge run`, by name.

    Attributes:
        settings: where its Kafka is, for the processes and for the test.
        log: the test's own way to read it.
        up: name -> the process that was started last under it. Its address stays the same.
    """

    def __init__(
        self,
        folder: Path,
        log: KafkaEventLog,
        kafka: KafkaSettings,
        processes: Mapping[str, Sequence[str]],
        **given: object,
    ) -> None:
        """For `running`."""
        self.settings = kafka
        self.log = log
        self.up: dict[str, Up] = {}
        self._folder = folder
        self._roles = dict(processes)
        self._ports = dict(zip(processes, free_ports(len(processes)), strict=True))
        self._given = given
        self._plain_at: object = None
        self._plain: object = None

    @classmethod
    @asynccontextmanager
    async def running(
        cls,
        folder: Path,
        kafka: KafkaSettings,
        postgres: str | None,
        processes: Mapping[str, Sequence[str]],
        *,
        topics: TopicPlan | None = None,
        **settings: object,
    ) -> AsyncGenerator[Self]:
        """All ready, on topics that are made where they are missing. After the block all have stopped in order; where
        it failed they are dead, and the error tells how far they have come, and what they have said.

        Args:
            processes: name -> roles.
            topics: left out, 4 partitions of observations and 2 of most others, in one copy.
            settings: more of them, for every process, as in the settings file.
        """
        await init_topics(kafka, topics or plan(cluster_layout(observations=4, others=2)))
        log = await KafkaEventLog.connect(kafka)
        cluster = cls(folder, log, kafka, processes, **(_settings(kafka, postgres) | settings))
        try:
            await cluster._each(cluster.start)
            yield cluster
            await cluster._each(cluster.stop)
        except BaseException as exc:
            for note in await cluster._last_words():
                exc.add_note(note)
            raise
        finally:
            for up in cluster.up.values():
                await up.kill()
            await log.close()

    async def start(self, name: str) -> None:
        """Start it, again or for the first time, on the same address and folder, and wait until it is ready."""
        up = self.up[name] = await Up.start(
            self._folder / name,
            command=("run", *self._roles[name]),
            instance=name,
            port=self._ports[name],
            **self._given,
        )
        await up.ready()

    async def kill(self, name: str) -> None:
        """SIGKILL, paused or not."""
        await self.up[name].kill()

    async def stop(self, name: str) -> None:
        """Ask it to stop; it has to end well. Nothing where it has ended."""
        up = self.up[name]
        if up.process.returncode is None:
            assert await up.stop(signal.SIGTERM) == 0, up.said()

    def pause(self, name: str) -> None:
        """It stands still, with its connections open, until `wake`."""
        self.up[name].process.send_signal(signal.SIGSTOP)

    def wake(self, name: str) -> None:
        """After `pause`."""
        self.up[name].process.send_signal(signal.SIGCONT)

    async def decided(self) -> bool:
        """Whether all experiments are completed."""
        experiments = (await decisions_in(self.log)).newest.experiments
        return bool(experiments) and all(state.status == "completed" for state in experiments.values())

    async def applied(self, name: str) -> bool:
        """Whether the router of this name has applied every decision that is in the log."""
        parts = (await self.up[name].get("/readyz"))["parts"]
        return bool(parts["router"]["decisions_offset"] == (await decisions_in(self.log)).end)

    async def folded(self) -> bool:
        """Whether the newest windows show what the plain fold over the log, as it is now, has in its tables."""
        at = (await ends_of(self.log), (await decisions_in(self.log)).end)
        if at != self._plain_at:
            self._plain, self._plain_at = tables_in(await plain_windows(self.log)), at
        return tables_in(await newest_windows(self.log)) == self._plain

    async def expect_sound(
        self, *, buried: Collection[tuple[str, int, int]] = (), named: Collection[tuple[str, int, int]] = ()
    ) -> None:
        """Once everything is `folded`: windows are those of the plain fold at their positions, and so are the time
        buckets for charts; a replay makes every analysis and every automatic decision again; both experiments have
        ended as they have to; dead letters name just what is `buried`: (topic, partition, offset); the replay finds
        nothing but what it cannot read, `named`."""
        for experiment_id, window in (await newest_windows(self.log)).items():
            assert window == await plain_window(self.log, experiment_id, positions_of(window))
        buckets = await plain_buckets(self.log)
        await until(lambda: self._charted(buckets), what="the time buckets are those of the plain fold", every_s=0.3)
        found = await replay(self.log)
        assert {(one.topic, one.partition, one.start) for one in found.findings} == set(named), found.findings
        assert found.reproduced == found.analyses > 0
        history = await decisions_in(self.log)
        made = [judged.decision for judged in history.judged if judged.accepted and judged.decision is not None]
        automatic = [(one.subject.id, one.action) for one in made if one.actor.kind == "analyzer"]
        assert sorted(automatic) == [("failing", "roll_back"), ("winning", "promote")]
        assert found.automatic_reproduced == len(automatic)
        states = history.newest.experiments
        assert {name: (state.status, state.winner) for name, state in states.items()} == OUTCOMES
        letters = [decode(record.value)["data"] for record in await events_in(self.log, DEAD_LETTERS.name)]
        assert {(one["topic"], one["partition"], one["offset"]) for one in letters} == set(buried)

    async def _charted(self, buckets: object) -> bool:
        return await newest_buckets(self.log) == buckets

    async def _last_words(self) -> list[str]:
        """What somebody who was not there has to know of a test that failed. First what is short: output gets cut."""
        known, *answers = await asyncio.gather(self._known(), *(_readiness(up) for up in self.up.values()))
        lives = [
            f"{name} (exit status {up.process.returncode}) is ready: {answer!r}"
            for (name, up), answer in zip(self.up.items(), answers, strict=True)
        ]
        return [str(known), *lives, *(f"{name} has said:\n{up.said()[-_SAID_LAST:]}" for name, up in self.up.items())]

    async def _known(self) -> str:
        """How far things have come."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                ends, windows = await ends_of(self.log), await newest_windows(self.log)
                states = (await decisions_in(self.log)).newest.experiments
        except (SplitgaugeError, TimeoutError) as exc:
            return f"how far the log has come: {exc!r}"
        come = {
            name: (state.status, positions_of(windows[name]) if name in windows else None)
            for name, state in states.items()
        }
        return f"observations end at {ends}; experiments, and their windows: {come}"

    async def _each(self, step: Callable[[str], Coroutine[None, None, None]]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for name in self._roles:
                tasks.create_task(step(name))


async def _readiness(up: Up) -> object:
    try:
        async with asyncio.timeout(_ANSWER_S):
            return await up.get("/readyz")
    except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
        return exc


def _settings(kafka: KafkaSettings, postgres: str | None) -> dict[str, object]:
    """As the settings file has them."""
    said: dict[str, object] = {
        "kafka_bootstrap": kafka.bootstrap,
        "kafka_topic_prefix": kafka.topic_prefix,
        "kafka_heartbeat_s": kafka.heartbeat_s,
        "kafka_session_timeout_s": kafka.session_timeout_s,
        "kafka_connect_timeout_s": _PATIENCE_S,
        # On a busy machine a log that is there would else be taken for one that is away, and nothing be measured.
        "log_patience_s": 5.0,
        "unit_key": _SECRET.hex(),
    }
    return said if postgres is None else said | {"postgres": postgres}
