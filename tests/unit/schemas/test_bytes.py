"""Bytes, ids and times: exact, because digests and replays stand on them."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitgauge.schemas import codec, identifiers, instants
from splitgauge.schemas.envelope import data_bytes, parse, wrap
from splitgauge.schemas.errors import MalformedError
from splitgauge.schemas.tables import MetricSums

AT = "2026-11-22T10:00:00.000000Z"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.floats(allow_nan=False),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=10,
)


class TestCodec:
    def test_keys_are_sorted_and_nothing_is_added(self) -> None:
        assert codec.encode({"b": 1.0, "a": [None, True, "é"], "B": -0.0}) == (
            b'{"B":-0.0,"a":[null,true,"' + "é".encode() + b'"],"b":1.0}'
        )

    @given(st.dictionaries(st.text(), JSON))
    def test_order_of_writing_does_not_matter(self, value: dict[str, Any]) -> None:
        backwards = dict(reversed(value.items()))
        assert codec.encode(value) == codec.encode(backwards)
        assert codec.encode(codec.decode(codec.encode(value))) == codec.encode(value)

    @pytest.mark.parametrize(
        ("value", "canonical"),
        [
            (0.1 + 0.2, 0.3),
            (-0.0, 0.0),
            (1e-320, 1e-320),
            (123456789012.5, 123456789012.0),
            (2 / 3, 0.666666666667),
            (math.inf, None),
            (math.nan, None),
            (2**53 - 1, 2**53 - 1),
            (2**53, "9007199254740992"),
            (-(2**70), "-1180591620717411303424"),
            (True, True),
            ((1, {2: 0.5}), [1, {"2": 0.5}]),
        ],
    )
    def test_canonical_form(self, value: object, canonical: object) -> None:
        made = codec.canonical(value)
        assert made == canonical
        assert type(made) is type(canonical)
        assert not (isinstance(made, float) and math.copysign(1, made) < 0 and made == 0)

    @given(JSON)
    def test_canonical_form_is_stable(self, value: object) -> None:
        once = codec.canonical(value)
        assert codec.encode(codec.canonical(once)) == codec.encode(once)

    def test_what_is_no_json_is_named(self) -> None:
        with pytest.raises(MalformedError, match="set is no JSON value"):
            codec.canonical({1})

    @pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"NaN", b'{"a":1}x', b"[1,]"])
    def test_malformed_text_is_refused_with_its_place(self, data: bytes) -> None:
        with pytest.raises(MalformedError) as refused:
            codec.decode(data)
        assert refused.value.where.startswith("line ")

    def test_digest(self) -> None:
        assert codec.sha256_hex(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

    @pytest.mark.parametrize("value", [0, 2**53 - 1, 2**53, -(2**64), 10**40])
    def test_big_integers_survive(self, value: int) -> None:
        data = codec.encode(MetricSums(m=value).model_dump(mode="json"))
        assert MetricSums.model_validate(codec.decode(data)).m == value
        assert (b'"m":"' in data) == (abs(value) > 2**53 - 1)


class TestInstants:
    @pytest.mark.parametrize(
        ("instant_us", "text"),
        [
            (0, "1970-01-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (1_700_000_000_000_001, "2023-11-14T22:13:20.000001Z"),
            (-62_135_596_800_000_000, "0001-01-01T00:00:00.000000Z"),
        ],
    )
    def test_same_instant_same_text(self, instant_us: int, text: str) -> None:
        assert instants.to_text(instant_us) == text
        assert instants.from_text(text) == instant_us

    @pytest.mark.parametrize(
        ("text", "instant_us"),
        [("1970-01-01T01:00:00+01:00", 0), ("1970-01-01T00:00:00.5Z", 500_000), ("1970-01-01 00:00:01Z", 1_000_000)],
    )
    def test_other_offsets_and_precisions_are_read(self, text: str, instant_us: int) -> None:
        assert instants.from_text(text) == instant_us

    @pytest.mark.parametrize("text", ["", "yesterday", "2026-11-22", "2026-11-22T10:00:00", "2026-02-30T00:00:00Z"])
    def test_what_has_no_offset_or_is_no_time_is_refused(self, text: str) -> None:
        with pytest.raises(MalformedError):
            instants.from_text(text)

    @given(st.datetimes(), st.integers(-1439, 1439))
    def test_reading_never_fails_otherwise(self, moment: Any, minutes: int) -> None:
        sign, minutes = "-" if minutes < 0 else "+", abs(minutes)
        instants.from_text(f"{moment.isoformat()}{sign}{minutes // 60:02d}:{minutes % 60:02d}")


class TestEnvelope:
    def test_exact_bytes(self) -> None:
        event = wrap(
            b'{"a":1.0}',
            type="splitgauge.decision.v1",
            id="i",
            source="/splitgauge/console",
            time=AT,
            subject='s"data":',
            key="k",
            instance="n",
        )
        assert event == (
            b'{"specversion":"1.0","id":"i","source":"/splitgauge/console","type":"splitgauge.decision.v1",'
            b'"time":"2026-11-22T10:00:00.000000Z","datacontenttype":"application/json","subject":"s\\"data\\":",'
            b'"partitionkey":"k","instance":"n","data":{"a":1.0}}'
        )
        assert data_bytes(event) == b'{"a":1.0}'
        assert parse(event).subject == 's"data":'

    @given(st.dictionaries(st.text(), JSON), st.text(min_size=1))
    def test_recorded_bytes_are_taken_as_they_stand(self, data: dict[str, Any], name: str) -> None:
        recorded = codec.encode(data).replace(b":", b" : ")
        if not _is_json(recorded) or codec.decode(recorded) != data:
            return  # a colon stood in a text
        event = wrap(recorded, type="splitgauge.analysis.v1", id=name, source=name, time=AT)
        assert data_bytes(event) == recorded

    def test_data_of_another_producer_is_encoded_again(self) -> None:
        event = b'{"data": {"b": 1, "a": 2}, "specversion": "1.0", "id": "i", "source": "s", "type": "t"}'
        assert data_bytes(event) == b'{"a":2,"b":1}'

    @pytest.mark.parametrize(
        ("event", "where"),
        [
            (b"[]", "/"),
            (b'{"specversion": "2.0", "id": "i", "source": "s", "type": "t", "data": {}}', "/specversion"),
            (b'{"specversion": "1.0", "id": "", "source": "s", "type": "t", "data": {}}', "/id"),
            (b'{"specversion": "1.0", "id": "i", "source": "s", "type": "t", "data": []}', "/data"),
            (b'{"specversion": "1.0", "id": "i", "source": "s", "type": "t", "time": "x", "data": {}}', "/time"),
        ],
    )
    def test_what_is_no_event_is_named(self, event: bytes, where: str) -> None:
        with pytest.raises(MalformedError) as refused:
            parse(event)
        assert refused.value.where == where

    def test_unknown_attributes_are_kept(self) -> None:
        event = b'{"specversion": "1.0", "id": "i", "source": "s", "type": "t", "traceparent": "00-ab", "data": {}}'
        assert parse(event).model_dump()["traceparent"] == "00-ab"


class TestIdentifiers:
    """Fixed for ever: other ids would make every old event another event."""

    REQUEST = "6f1a6c0e-0000-4000-8000-000000000000"

    def test_exact_ids(self) -> None:
        assert {
            "request": identifiers.request_id_from_log("/app", "1"),
            "assignment": identifiers.live_event_id(self.REQUEST, "assignment"),
            "outcome": identifiers.live_event_id(self.REQUEST, "outcome"),
            "by token": identifiers.report_id_by_token(self.REQUEST, {"solved": True}),
            "by unit": identifiers.report_id_by_unit(None, "k", 0),
            "from log": identifiers.report_id_from_log("/app", "1"),
            "table": identifiers.table_id("window", "e1", {1: 7, 0: 5}, 1),
            "analysis": identifiers.analysis_id("e1", None, {0: 5}, AT),
            "decision": identifiers.decision_id(self.REQUEST, "promote"),
        } == EXACT_IDS

    def test_order_of_positions_and_metrics_does_not_matter(self) -> None:
        assert identifiers.table_id("w", "e", {0: 1, 1: 2}, 1) == identifiers.table_id("w", "e", {1: 2, 0: 1}, 1)
        assert identifiers.report_id_by_token(self.REQUEST, {"a": 1, "b": 2}) == identifiers.report_id_by_token(
            self.REQUEST, {"b": 2, "a": 1}
        )

    def test_every_part_matters(self) -> None:
        made = [
            identifiers.analysis_id("e1", None, {0: 5}, AT),
            identifiers.analysis_id("e2", None, {0: 5}, AT),
            identifiers.analysis_id("e1", "p", {0: 5}, AT),
            identifiers.analysis_id("e1", None, {0: 6}, AT),
            identifiers.analysis_id("e1", None, {0: 5}, AT.replace("10", "11")),
            identifiers.report_id_by_unit("c", "k", 0),
            identifiers.report_id_by_unit(None, "k", 1),
            identifiers.table_id("window", "e1", {0: 5}, 1),
            identifiers.table_id("window", "e1", {0: 5}, 2),
            identifiers.table_id("partial", "e1", {0: 5}, 1),
        ]
        assert len(set(made)) == len(made)


EXACT_IDS = {
    "request": "b2b9587b-c949-5516-8261-cd715a0182bc",
    "assignment": "f4805718-9ed0-528e-8c98-99d002004a00",
    "outcome": "2122bdf4-9929-5a56-b94b-c5f2e3506ed4",
    "by token": "df790a10-b95d-5915-836f-a24784fa5eef",
    "by unit": "945cc06f-abf7-50fa-bec0-605d951dc8dd",
    "from log": "458f7058-e4d9-504f-8163-6e7c94d43ead",
    "table": "b38e3fe7-04b5-546f-8524-dca78c4b9356",
    "analysis": "81150a24-c13e-5663-88c6-d32904575469",
    "decision": "3b9549b0-c358-513a-a4bb-5366d91d20db",
}


def _is_json(data: bytes) -> bool:
    try:
        codec.decode(data)
    except MalformedError:
        return False
    return True
