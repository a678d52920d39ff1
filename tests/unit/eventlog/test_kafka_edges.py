"""What reaches aiokafka of the settings, what its errors become, and what nobody answers."""

import asyncio
import ssl
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka import errors as kafka

from splitgauge.eventlog.kafka_errors import mapped, refuses_us, translate
from splitgauge.eventlog.kafka_producer import Producers
from splitgauge.eventlog.kafka_reader import KafkaReader
from splitgauge.eventlog.kafka_settings import KafkaSecurity, KafkaSettings
from splitgauge.eventlog.kafka_writer import KafkaWriter
from splitgauge.eventlog.port import Bounds
from splitgauge.schemas.errors import (
    ContractError,
    LogDamagedError,
    LogUnavailableError,
    SplitgaugeError,
    UnknownSubjectError,
)
from splitgauge.schemas.topics import DECISIONS


def settings(security: KafkaSecurity) -> KafkaSettings:
    return KafkaSettings(bootstrap="one:9092,two:9092", security=security)


class TestSettings:
    def test_without_security_nothing_is_asked_for(self) -> None:
        client = settings(KafkaSecurity()).client()
        assert (client["security_protocol"], client["ssl_context"]) == ("PLAINTEXT", None)

    def test_user_name_and_password_are_passed_on_with_tls_that_checks_names(self) -> None:
        security = KafkaSecurity("SASL_SSL", mechanism="SCRAM-SHA-512", username="u", password="p")
        client = settings(security).client()
        context = client["ssl_context"]
        assert isinstance(context, ssl.SSLContext)
        assert context.check_hostname
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert client["security_protocol"] == "SASL_SSL"
        assert client["sasl_mechanism"] == "SCRAM-SHA-512"
        assert (client["sasl_plain_username"], client["sasl_plain_password"]) == ("u", "p")

    def test_passwords_are_not_shown(self) -> None:
        shown = repr(settings(KafkaSecurity("SASL_SSL", username="u", password="secret", key_password="hidden")))
        assert "secret" not in shown
        assert "hidden" not in shown

    def test_a_certificate_that_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        missing = tmp_path / "ca.pem"
        with pytest.raises(ContractError, match=r"ca\.pem"):
            settings(KafkaSecurity("SSL", ca_file=missing)).client()
        missing.write_text("no certificate")
        with pytest.raises(ContractError, match=r"ca\.pem"):
            settings(KafkaSecurity("SSL", ca_file=missing)).client()

    def test_what_is_written_is_acknowledged_by_all_and_written_once(self) -> None:
        producer = settings(KafkaSecurity()).producer()
        assert (producer["acks"], producer["enable_idempotence"]) == ("all", True)

    def test_groups_bear_the_prefix_too_and_wait_longer_for_an_answer_than_a_session_lasts(self) -> None:
        member = KafkaSettings(bootstrap="one:9092", topic_prefix="eu.").member("router")
        assert member["group_id"] == "eu.router"
        assert member["session_timeout_ms"] == 10_000
        assert member["request_timeout_ms"] == 15_000
        assert member["enable_auto_commit"] is False


class TestErrors:
    @pytest.mark.parametrize(
        ("foreign", "ours"),
        [
            (kafka.CorruptRecordException(), LogDamagedError),
            (kafka.OffsetOutOfRangeError(), LogDamagedError),
            (kafka.MessageSizeTooLargeError(), ContractError),
            (kafka.UnknownTopicOrPartitionError(), UnknownSubjectError),
            (kafka.KafkaConnectionError("nobody there"), LogUnavailableError),
            (kafka.NotEnoughReplicasError(), LogUnavailableError),
            (kafka.KafkaError("something"), LogUnavailableError),
            (TimeoutError(), LogUnavailableError),
            (ConnectionRefusedError(111, "Connection refused"), LogUnavailableError),
        ],
    )
    def test_each_becomes_the_one_that_says_the_same(self, foreign: Exception, ours: type[SplitgaugeError]) -> None:
        error = translate(foreign, where="a place")
        assert type(error) is ours
        assert error.where == "a place"

    def test_who_may_not_is_told_what_it_takes(self) -> None:
        assert "READ" in translate(kafka.TopicAuthorizationFailedError("t"), where="t").remedy
        assert "password" in translate(kafka.AuthenticationFailedError(), where="t").remedy

    def test_the_cause_is_kept(self) -> None:
        cause = kafka.KafkaError("why")
        with pytest.raises(LogUnavailableError, match="why") as raised, mapped("a place"):
            raise cause
        assert raised.value.__cause__ is cause

    def test_errors_of_ours_pass(self) -> None:
        error = ContractError("ours")
        with pytest.raises(ContractError) as raised, mapped("elsewhere"):
            raise error
        assert raised.value is error


async def test_a_read_that_nobody_answers_names_its_cause_and_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = KafkaReader(KafkaSettings("127.0.0.1:1"), {DECISIONS.name: 1})

    async def bounds(_: str, places: list[TopicPartition]) -> dict[TopicPartition, Bounds]:
        return dict.fromkeys(places, Bounds(0, 5))  # the broker went away only then

    monkeypatch.setattr(reader, "_bounds", bounds)
    with pytest.raises(LogUnavailableError) as raised:
        await reader.read(DECISIONS.name, 0, 0, 500)
    assert isinstance(raised.value.__cause__, kafka.KafkaConnectionError)
    assert not refuses_us(raised.value)


async def test_a_writer_whose_close_is_cancelled_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    writer, goes_on, ended = KafkaWriter(KafkaSettings("127.0.0.1:1"), {}), asyncio.Event(), list[bool]()

    async def close(_: Producers) -> None:
        await goes_on.wait()
        ended.append(True)

    monkeypatch.setattr(Producers, "close", close)
    first = asyncio.create_task(writer.close())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait((first,))
    goes_on.set()
    await writer.close()
    assert ended == [True]
