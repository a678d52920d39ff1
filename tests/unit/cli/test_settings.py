"""Settings: the same keys in file and environment, and which of them wins."""

from dataclasses import fields
from pathlib import Path

import orjson
import pytest

from cli_harness import CommandLine
from splitgauge.aggregator.partition_worker import Pace
from splitgauge.analyzer.service import AnalyzerSettings
from splitgauge.archiver.service import ArchiverSettings
from splitgauge.cli.settings import Settings, load
from splitgauge.cluster import server
from splitgauge.cluster.role import Role
from splitgauge.cluster.settings import ClusterSettings
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.router.settings import RouterSettings
from splitgauge.schemas.errors import ContractError


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("PORT", "HOST", "DATA_FOLDER", "FAIL_CLOSED"):
        monkeypatch.delenv(f"SPLITGAUGE_{name}", raising=False)


def test_defaults() -> None:
    settings = load(None)
    assert (settings.host, settings.port, settings.data_folder) == ("127.0.0.1", 8080, Path("splitgauge-data"))
    assert (settings.durability, settings.fail_closed, settings.observation_partitions) == ("default", False, None)


def test_command_line_goes_before_environment_before_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("splitgauge.toml").write_text('host = "file"\nport = 1\ndata_folder = "file"\nfail_closed = true\n')
    monkeypatch.setenv("SPLITGAUGE_HOST", "environment")
    monkeypatch.setenv("SPLITGAUGE_PORT", "2")
    settings = load(None, port=3, host=None)
    assert (settings.data_folder, settings.host, settings.port, settings.fail_closed) == (
        Path("file"),
        "environment",
        3,
        True,
    )


def test_named_file_is_read_instead(tmp_path: Path) -> None:
    Path("splitgauge.toml").write_text("port = 1\n")
    (tmp_path / "other.toml").write_text('durability = "strict"\n')
    settings = load(tmp_path / "other.toml")
    assert (settings.port, settings.durability) == (8080, "strict")


def test_unit_key_is_not_shown() -> None:
    assert "beef" not in repr(load(None, unit_key="beef"))


def test_fault_on_the_command_line_is_placed_there() -> None:
    with pytest.raises(ContractError) as refused:
        load(None, port=-1)
    assert (refused.value.where, refused.value.message.split(":")[0]) == ("the command line", "setting 'port'")


def test_defaults_are_those_of_the_parts(tmp_path: Path) -> None:
    settings, cluster = load(None), ClusterSettings(frozenset(), KafkaSettings(""), RouterSettings(tmp_path), "test")
    shared = {field.name for field in fields(ClusterSettings)} & Settings.model_fields.keys() - {"instance"}
    assert {name: getattr(settings, name) for name in shared} == {name: getattr(cluster, name) for name in shared}
    assert Pace() == Pace(settings.publish_interval_s, settings.checkpoint_interval_s)
    assert AnalyzerSettings().debounce_s == settings.look_debounce_s
    assert ArchiverSettings().rest_s == settings.archive_rest_s
    of_router = {field.name for field in fields(RouterSettings)} & Settings.model_fields.keys() - {"data_folder"}
    assert {name: getattr(settings, name) for name in of_router} == {
        name: getattr(cluster.router, name) for name in of_router
    }


def test_a_process_of_a_cluster_runs_with_what_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chosen = {
        "publish_interval_s": 1.5,
        "checkpoint_interval_s": 2.5,
        "look_debounce_s": 3.5,
        "archive_rest_s": 4.5,
        "shutdown_s": 5.5,
        "instance": "one",
    }
    of_router = {"intake_concurrency": 7, "spool_bytes": 8, "log_patience_s": 9.5, "fail_closed": True}
    lines = [f"{key} = {orjson.dumps(value).decode()}" for key, value in (chosen | of_router).items()]
    (tmp_path / "splitgauge.toml").write_text('kafka_bootstrap = "one:9092"\n' + "\n".join(lines), encoding="utf-8")
    ran: list[ClusterSettings] = []
    monkeypatch.setattr(server, "run", ran.append)
    assert CommandLine(tmp_path).run("run", "tables", "router").status == 0
    assert {name: getattr(ran[0], name) for name in chosen} == chosen
    assert {name: getattr(ran[0].router, name) for name in of_router} == of_router
    assert ran[0].roles == {Role.TABLES, Role.ROUTER}
