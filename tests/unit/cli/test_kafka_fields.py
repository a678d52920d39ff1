"""What an operator writes about Kafka, and what the event log gets of it."""

from pathlib import Path

import pytest

from splitgauge.cli.settings import load
from splitgauge.eventlog.kafka_settings import KafkaSecurity, KafkaSettings
from splitgauge.schemas.errors import ContractError


def test_keys_are_those_of_file_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "splitgauge.toml"
    file.write_text('kafka_bootstrap = "one:9092"\nkafka_topic_prefix = "eu."\nkafka_append_timeout_s = 3.0\n')
    monkeypatch.setenv("SPLITGAUGE_KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT")
    monkeypatch.setenv("SPLITGAUGE_KAFKA_USERNAME", "u")
    monkeypatch.setenv("SPLITGAUGE_KAFKA_PASSWORD", "p")
    found = load(file).kafka()
    assert (found.bootstrap, found.topic_prefix, found.append_timeout_s) == ("one:9092", "eu.", 3.0)
    assert found.security == KafkaSecurity("SASL_PLAINTEXT", username="u", password="p")


def test_defaults_are_those_of_the_event_log(tmp_path: Path) -> None:
    file = tmp_path / "splitgauge.toml"
    file.write_text('kafka_bootstrap = "one:9092"\n')
    assert load(file).kafka() == KafkaSettings(bootstrap="one:9092")


def test_a_user_without_a_password_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "splitgauge.toml"
    file.write_text('kafka_bootstrap = "one:9092"\nkafka_security_protocol = "SASL_SSL"\nkafka_username = "u"\n')
    with pytest.raises(ContractError, match="kafka_password"):
        load(file).kafka()


def test_more_copies_that_must_have_an_event_than_there_are_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "splitgauge.toml"
    file.write_text("kafka_replication = 1\n")
    with pytest.raises(ContractError, match="kafka_min_isr"):
        load(file).topic_plan(observation_partitions=None)


def test_heartbeats_that_come_after_the_end_of_a_session_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "splitgauge.toml"
    file.write_text('kafka_bootstrap = "one:9092"\nkafka_heartbeat_s = 20.0\n')
    with pytest.raises(ContractError, match="kafka_heartbeat_s"):
        load(file).kafka()
