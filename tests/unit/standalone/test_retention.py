"""What callers sent is forgotten after its time; what decides is kept."""

from pathlib import Path

from splitgauge.eventlog.port import Record
from splitgauge.eventlog.sqlite import SqliteEventLog
from splitgauge.schemas import instants
from splitgauge.schemas.envelope import wrap
from splitgauge.schemas.topics import OBSERVATIONS, RESPONSES
from splitgauge.standalone.retention import trim_old

_HOUR_US = 3_600 * instants.SECOND_US
_NOW_US = 1_800_000_000 * instants.SECOND_US


def _event(age_hours: float) -> Record:
    time = instants.to_text(_NOW_US - round(age_hours * _HOUR_US))
    return Record(wrap(b"{}", type="splitgauge.response.v1", id="e", source="/test", time=time), partition=0)


async def test_responses_older_than_a_day_are_forgotten_and_offsets_stay(tmp_path: Path) -> None:
    log = SqliteEventLog.open(tmp_path)
    ages = [30.0, 25.0, 24.0, 23.0, 1.0]
    await log.append(RESPONSES.name, [_event(age) for age in ages])
    await log.append(OBSERVATIONS.name, [_event(age) for age in ages])

    await trim_old(log, now_us=_NOW_US)

    assert (await log.bounds(RESPONSES.name))[0] == (2, 5)
    assert [record.offset for record in await log.read(RESPONSES.name, 0, 2)] == [2, 3, 4]
    assert (await log.bounds(OBSERVATIONS.name))[0] == (0, 5)
    await log.close()


async def test_a_topic_of_young_events_and_an_empty_one_stay_as_they_are(tmp_path: Path) -> None:
    log = SqliteEventLog.open(tmp_path)
    await log.append(RESPONSES.name, [_event(2.0)])

    await trim_old(log, now_us=_NOW_US)

    assert (await log.bounds(RESPONSES.name))[0] == (0, 1)
    await log.close()
