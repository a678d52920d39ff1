"""What an application was promised, held against the log: no answer without its events, no event twice.

Knows an application and a log, and nothing of what happened to Splitgauge in between.
"""

from pipeline_harness import Application
from plain_fold import events_in
from splitgauge.eventlog.port import EventLog
from splitgauge.router.token import TokenSigner
from splitgauge.router.unit_key import UnitKey
from splitgauge.schemas.codec import decode
from splitgauge.schemas.envelope import Envelope, parse
from splitgauge.schemas.identifiers import request_id_from_log
from splitgauge.schemas.topics import OBSERVATIONS, RESPONSES

__all__ = ["all_answered", "expect_promises_kept"]


async def all_answered(log: EventLog, application: Application) -> bool:
    """Whether every request event that was taken has its response in the log."""
    responses = await events_in(log, RESPONSES.name)
    return {decode(record.value)["data"]["caller_request_id"] for record in responses} >= set(application.accepted)


async def expect_promises_kept(log: EventLog, application: Application, key: UnitKey, *, strict: bool = False) -> None:
    """Every answer has its assignment, every report that was taken stands, every request event has its outcome.

    `strict`: every answer has its outcome as well.
    """
    events = [parse(record.value) for record in await events_in(log, OBSERVATIONS.name)]
    assigned = _by_request(events, "assignment")
    ended = _by_request(events, "outcome")
    assert all(len(ids) == 1 for ids in [*assigned.values(), *ended.values()]), "one id for each request"
    assert ended.keys() <= assigned.keys()

    tokens = TokenSigner(key.derive("token"))
    answered = [tokens.verify(answer.token).request_id for answer in application.answers if answer.token is not None]
    assert answered
    assert len(set(answered)) == len(answered)
    assert set(answered) <= assigned.keys()
    if strict:
        assert set(answered) <= ended.keys()
    reported = {tokens.verify(token).request_id for token in application.reported}
    assert reported
    assert reported <= _by_request(events, "report").keys()
    by_event = {request_id_from_log("/test/app", event_id) for event_id in application.accepted}
    assert by_event
    assert by_event <= ended.keys()


def _by_request(events: list[Envelope], kind: str) -> dict[str, set[str]]:
    """Request id -> ids of its events of a kind: a repeated event counts once."""
    found: dict[str, set[str]] = {}
    for event in events:
        if event.type == f"splitgauge.{kind}.v1":
            found.setdefault(event.data["request_id"], set()).add(event.id)
    return found
