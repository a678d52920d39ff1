"""Reports: what they may say, and whose they are."""

from typing import Any

import pytest

from splitgauge.experiments.state import Registry
from splitgauge.router.reports import Attributed, Attribution, read_submitted
from splitgauge.router.token import Token, TokenSigner
from splitgauge.router.unit_key import UnitKey
from splitgauge.schemas.errors import ContractError, SplitgaugeError, UnknownSubjectError

KEY = UnitKey(bytes(range(32)))
TOKENS = TokenSigner(KEY.derive("token"))
ATTRIBUTION = Attribution(KEY, TOKENS)
REQUEST = "0f8fad5b-d9cb-469f-a165-70867728950e"
TOKEN = TOKENS.sign(Token(REQUEST, KEY.unit_id("anna"), "e1", 3))


def attributed(*reports: dict[str, Any], idempotency_key: str | None = None) -> list[Attributed]:
    return [
        ATTRIBUTION.attribute(report, registry=Registry(), idempotency_key=idempotency_key, index=index)
        for index, report in enumerate(read_submitted(list(reports)))
    ]


def refused(*reports: Any) -> SplitgaugeError:
    with pytest.raises(SplitgaugeError) as caught:
        attributed(*reports)
    return caught.value


def test_by_token_it_is_the_requests() -> None:
    [report] = attributed({"token": TOKEN, "metrics": {"ok": True, "stars": 4}, "time": "2026-11-22T10:00:00Z"})
    assert (report.unit_id, report.request_id) == (KEY.unit_id("anna"), REQUEST)
    assert (report.experiment_id, report.epoch) == ("e1", 3)
    assert report.metrics == {"ok": True, "stars": 4}
    assert type(report.metrics["ok"]) is bool
    assert report.time == "2026-11-22T10:00:00Z"


def test_sent_again_it_is_the_same_report() -> None:
    first, again, other = attributed(
        {"token": TOKEN, "metrics": {"ok": True}},
        {"token": TOKEN, "metrics": {"ok": True}},
        {"token": TOKEN, "metrics": {"ok": False}},
    )
    assert first.event_id == again.event_id != other.event_id


def test_by_unit_its_own_id_names_it_wherever_it_stands() -> None:
    one, two = attributed(
        {"unit": "anna", "id": "7", "metrics": {"ok": 1}}, {"unit": "anna", "id": "7", "metrics": {"ok": 1}}
    )
    [other_unit] = attributed({"unit": "bert", "id": "7", "metrics": {"ok": 1}})
    assert one.event_id == two.event_id != other_unit.event_id
    assert (one.unit_id, one.request_id, one.experiment_id) == (KEY.unit_id("anna"), None, None)


def test_by_unit_without_id_the_requests_key_and_the_place_name_it() -> None:
    reports = [{"unit": "anna", "metrics": {"ok": 1}}] * 2
    first, second = attributed(*reports, idempotency_key="k")
    again = attributed(*reports, idempotency_key="k")
    assert first.event_id != second.event_id
    assert [report.event_id for report in again] == [first.event_id, second.event_id]


@pytest.mark.parametrize(
    ("report", "where"),
    [
        ({"metrics": {"ok": 1}}, "/0"),
        ({"token": TOKEN, "unit": "anna", "metrics": {"ok": 1}}, "/0"),
        ({"unit": "anna", "metrics": {"ok": 1}}, "/0/id"),
        ({"unit": "", "id": "1", "metrics": {"ok": 1}}, "/0/unit"),
        ({"unit": "anna", "id": "1", "metrics": {}}, "/0/metrics"),
        ({"unit": "anna", "id": "1"}, "/0/metrics"),
        ({"unit": "anna", "id": "1", "metrics": {"latency_ms": 1}}, "/0/metrics/latency_ms"),
        ({"unit": "anna", "id": "1", "metrics": {"ok": 1}, "time": "yesterday"}, "/0/time"),
        ({"unit": "anna", "id": "1", "metrics": {"ok": 1}, "metric": 1}, "/0/metric"),
        ({"token": TOKEN, "experiment": "e2", "metrics": {"ok": 1}}, "/0/experiment"),
        ("text", "/0"),
    ],
)
def test_what_is_wrong_is_named_by_its_place(report: Any, where: str) -> None:
    error = refused(report)
    assert isinstance(error, ContractError)
    assert error.where == where


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), "1", None, [1]])
def test_a_metric_is_a_finite_number_or_a_boolean(value: Any) -> None:
    assert refused({"unit": "anna", "id": "1", "metrics": {"ok": value}}).where.startswith("/0/metrics/ok")


def test_an_unknown_token_and_an_unknown_experiment_are_not_found() -> None:
    forged = refused({"token": TOKEN[:-2] + "AA", "metrics": {"ok": 1}})
    assert isinstance(forged, UnknownSubjectError)
    assert (forged.code, forged.where) == ("unknown-token", "/0/token")
    unknown = refused({"unit": "anna", "id": "1", "experiment": "zzz", "metrics": {"ok": 1}})
    assert (unknown.code, unknown.where) == ("unknown-experiment", "/0/experiment")


def test_reports_are_a_list_of_bounded_length() -> None:
    documents: list[Any] = [{}, None, [{}] * 10_001]
    for document in documents:
        with pytest.raises(ContractError):
            read_submitted(document)
