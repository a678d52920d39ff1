"""What the compiled scanner recognises: all that routers write, and nothing that may be read in another way."""

from dataclasses import replace
from itertools import product
from typing import get_args

import pytest

from fold_stories import START, unit_id
from router_traffic import given, observation, request_id
from scanned import decoded, scanned
from splitgauge.aggregator.compiled import scanner
from splitgauge.router.events import Assigned, Ending, EventMaker
from splitgauge.router.plan import Plan
from splitgauge.router.usage import Usage
from splitgauge.schemas.instants import to_text
from splitgauge.schemas.metric import ROUTER_METRICS
from splitgauge.schemas.traffic import OutcomeStatus, Reason
from splitgauge.schemas.workload import WorkloadConfiguration

MAKER = EventMaker(instance="router-1", observation_partitions=8)
OUTCOME = observation("outcome", given(request_id("r1"), unit_id("u1")), {"metrics": {"latency_ms": 100.5}})
ASSIGNMENT = observation("assignment", given(request_id("r1"), unit_id("u1")))
CONFIGURATION = WorkloadConfiguration.model_validate({"provider": "webhook", "url": "http://127.0.0.1:9/"})
PLAN = Plan("base", CONFIGURATION, unit_id("u1"), own_unit=False, reason="default")
SPLIT = replace(PLAN, reason="split", experiment_id="exp", epoch=3, slot=17, variant="challenger")


def _assigned(plan: Plan) -> Assigned:
    return Assigned(request_id("r1"), plan, to_text(START), 12)


def _expect_recognised(event: bytes) -> None:
    assert scanned(event) == decoded(event)
    assert scanned(event, behind=event) == decoded(event)


@pytest.mark.parametrize("reason", get_args(Reason))
def test_an_assignment_of_the_router_is_recognised_whatever_its_reason(reason: Reason) -> None:
    for plan in (PLAN, SPLIT, replace(SPLIT, covariates={"age": 41.5, "seats": 3, "delta": -1e-7})):
        _expect_recognised(MAKER.assignment(_assigned(replace(plan, reason=reason))).value)


@pytest.mark.parametrize(("reason", "status"), list(product(get_args(Reason), get_args(OutcomeStatus))))
def test_an_outcome_of_the_router_is_recognised_whatever_its_end(reason: Reason, status: OutcomeStatus) -> None:
    usages = (Usage(), Usage(1_200, 300, 77))
    for plan, usage, latency_ms in product((PLAN, SPLIT), usages, (0.0, 27.111917696952794, 1e-7, 812.0)):
        for success, ttft_ms, cost in ((None, None, None), (True, 1.5, 0.00123456), (False, 99.00000000000001, 1e-9)):
            ending = Ending(status, success, success is not None, latency_ms, ttft_ms, usage, cost)
            assigned = _assigned(replace(plan, reason=reason))
            _expect_recognised(MAKER.outcome(assigned, ending, time=to_text(START + 5)).value)


def test_a_request_that_is_its_own_unit_is_left_to_others() -> None:
    assert scanned(MAKER.assignment(_assigned(replace(SPLIT, own_unit=True))).value) is None


def test_the_words_are_those_of_the_contract() -> None:
    assert set(scanner.STATUSES) == set(get_args(OutcomeStatus))
    assert set(scanner.REASONS) == set(get_args(Reason))
    assert len(ROUTER_METRICS) == scanner.N_METRICS


@pytest.mark.parametrize("day", ["2024-02-28", "2100-02-28", "2000-03-01", "2026-12-30", "1971-01-01", "2199-12-30"])
def test_a_day_is_the_calendars(day: str) -> None:
    _expect_recognised(ASSIGNMENT.replace(b"2026-09-21T", day.encode() + b"T"))


@pytest.mark.parametrize("event", [ASSIGNMENT, OUTCOME])
def test_what_is_cut_off_anywhere_is_not_recognised(event: bytes) -> None:
    assert scanned(event) is not None
    assert [scanned(event[:end], behind=behind) for end in range(len(event)) for behind in (b"", event)] == [None] * (
        2 * len(event)
    )
    assert [scanned(event[:end], behind=event[end:]) for end in range(len(event))] == [None] * len(event)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"mode"', b'"mode":"shadow","mode"'),
        (b'"epoch":1', b'"epoch":1,"epoch":1'),
        (b'"epoch":1', b'"epoch":01'),
        (b'"epoch":1', b'"epoch":-1'),
        (b'"epoch":1', b'"epoch":1.0'),
        (b'"epoch":1', b'"epoch":1e0'),
        (b'"epoch":1', b'"epoch":true'),
        (b'"epoch":1', b'"epoch":"1"'),
        (b'"epoch":1', b'"epoch":10000000000000000000'),
        (b'"epoch":1', b'"epoch" :1'),
        (b'"epoch":1', b'"epo\\u0063h":1'),
        (b'"reason":"split"', b'"reason":"splat"'),
        (b'"reason":"split"', b'"reason":null'),
        (b'"calm"', b'"c\xc3\xa4lm"'),
        (b'"calm"', b'"c\\\\lm"'),
        (b'"calm"', b'"c\nlm"'),
        (b'"calm"', b"5"),
        (b"/splitgauge/router", b"/splitgauge/routes"),
        (b'"specversion"', b'"type":"splitgauge.outcome.v1","specversion"'),
        (b"14:13:20", b"14:60:20"),
        (b"14:13:20", b"24:13:20"),
        (b"09-21T", b"09-31T"),
        (b"09-21T", b"02-29T"),
        (b"09-21T", b"13-21T"),
        (b".000000Z", b".00000Z"),
        (b'"workload":"base"', b'"workload":[1,]'),
        (b'"workload":"base"', b'"workload":{"a":1,}'),
        (b'"workload":"base"', b'"workload":[' + b"[" * 99 + b"]" * 99 + b"]"),
        (b'"workload":"base"', b'"workload":nul'),
        (b'"workload":"base"', b'"workload":-'),
        (b'"workload":"base"', b'"workload":[}'),
    ],
)
def test_what_may_be_read_in_another_way_is_not_recognised(old: bytes, new: bytes) -> None:
    for event in (ASSIGNMENT, OUTCOME):
        changed = event.replace(b'"workload":"base"', b'"mode":"live","workload":"base"').replace(old, new)
        assert changed != event
        assert scanned(changed) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0.0), ("-0.0", 0.0), ("1e5", 1e5), ("1E-7", 1e-7), ("12.345678", 12.345678), ("0.1", 0.1),
        ("27.111917696952794", 27.111917696952794), ("9007199254.740991", None), ("8998192055.4", 8998192055.4),
        ("900719925474099.311e-9", 900719.925474099311), ("-1", None), ("01", None), ("1.", None), (".5", None),
        ("1e", None), ("1e+05", 1e5), ("1e100", None), ("0.1000000000000000000", None), ("1234567890123456.78", None),
        ("1.23456789012345678", 1.23456789012345678), ("NaN", None), ("Infinity", None), ("true", None),
    ],
)  # fmt: skip
def test_a_number_has_all_its_digits_or_is_not_recognised(text: str, value: float | None) -> None:
    event = OUTCOME.replace(b"100.5", text.encode())
    found = scanned(event)
    assert (found and found["metrics"][1]) == value
    if found is not None:
        assert found == decoded(event)
