"""The compose file and the image say what the code says. Containers are not run here."""

import re
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from compose_file import BROKERS, DOCUMENT, OURS, ROOT, SERVICES, properties_of
from kafka_broker import LIBS
from kafka_cluster import KafkaCluster
from splitgauge.cli.settings import PREFIX, Settings, load
from splitgauge.cluster.role import Role

IMAGE = (ROOT / "infra" / "Dockerfile").read_text(encoding="utf-8")
_GIVEN = re.compile(r"\$\{(\w+)(:[-?][^}]*)?\}")


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", OURS)
def test_every_setting_of_ours_is_one_and_they_go_together(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = {key: value for key, value in OURS[name]["environment"].items() if key.startswith(PREFIX)}
    assert {key.removeprefix(PREFIX).lower() for key in chosen} <= Settings.model_fields.keys()
    for key, value in chosen.items():
        monkeypatch.setenv(key, _GIVEN.sub("07" * 32, value))
    settings = load(None)
    assert settings.kafka().bootstrap == ",".join(f"{broker}:9092" for broker in BROKERS)
    plan = settings.topic_plan(observation_partitions=settings.observation_partitions)
    assert plan.replication == len(BROKERS)
    assert plan.min_isr == len(BROKERS) - 1
    assert settings.postgres == f"postgresql://splitgauge:{'07' * 32}@postgres:5432/splitgauge"


def test_every_role_runs_and_init_goes_before() -> None:
    commands = {name: service["command"] for name, service in OURS.items()}
    assert commands.pop("init") == ["init"]
    running = [(Role(role), name) for name, (run, role) in commands.items() if run == "run"]
    assert len(running) == len(commands)
    copies = dict.fromkeys(Role, 0)
    for role, name in running:
        copies[role] += OURS[name].get("deploy", {}).get("replicas", 1)
        assert OURS[name]["depends_on"] == {"init": {"condition": "service_completed_successfully"}}
    assert copies == dict.fromkeys(Role, 1) | {Role.ROUTER: 2, Role.AGGREGATOR: 2, Role.TABLES: 2}


def test_routers_share_the_unit_key_and_keep_a_spool_each() -> None:
    routers = [service for service in OURS.values() if service["command"] == ["run", "router"]]
    assert len({service["environment"]["SPLITGAUGE_UNIT_KEY"] for service in routers}) == 1
    assert len({service["hostname"] for service in routers}) == len(routers)
    folders = [service["volumes"] for service in routers]
    assert {target for (volume,) in folders for _, target in [volume.split(":")]} == {"/data"}
    assert len({volume for (volume,) in folders}) == len(routers)


def test_aggregators_keep_machine_code_where_the_image_has_it_and_its_user_may_write() -> None:
    [cache] = re.findall(r"NUMBA_CACHE_DIR=(\S+)", IMAGE)
    assert OURS["aggregator"]["volumes"] == [f"compiled:{cache}"]
    assert re.search(rf"install --directory --owner splitgauge .*{cache}$", IMAGE, re.MULTILINE)


def test_what_services_refer_to_is_there() -> None:
    volumes = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert volumes == DOCUMENT["volumes"].keys()
    ports = [port.rpartition(":")[0] for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == len(set(ports))
    assert all(port.startswith("127.0.0.1:") for port in ports)
    for service in SERVICES.values():
        assert service.get("depends_on", {}).keys() <= SERVICES.keys()
        for other, wanted in service.get("depends_on", {}).items():
            assert wanted["condition"] != "service_healthy" or "test" in SERVICES[other]["healthcheck"]


def test_brokers_are_those_of_the_tests_and_set_like_them() -> None:
    namespace = {"m": "http://maven.apache.org/POM/4.0.0"}
    pom = ET.parse(ROOT / "infra" / "kafka" / "pom.xml")  # noqa: S314 - a file of this repository
    version = pom.findtext(".//m:dependency[m:artifactId='kafka_2.13']/m:version", namespaces=namespace)
    with_three = KafkaCluster(LIBS, nodes=3)
    tried = with_three.properties(with_three.nodes[0])
    with_three.close()
    for number, (name, broker) in enumerate(BROKERS.items(), start=1):
        assert broker["image"] == f"apache/kafka:{version}"
        settings = properties_of(broker)
        assert settings["node.id"] == str(number)
        assert f"{number}@{name}:9093" in settings["controller.quorum.voters"]
        assert settings["advertised.listeners"].startswith(f"PLAINTEXT://{name}:9092,")
        (outside,) = broker["ports"]
        assert settings["advertised.listeners"].endswith(f",OUTSIDE://{outside.rpartition(':')[0]}")
        for setting in (
            "auto.create.topics.enable",
            "controller.listener.names",
            "group.initial.rebalance.delay.ms",
            "offsets.topic.replication.factor",
            "process.roles",
            "transaction.state.log.min.isr",
            "transaction.state.log.replication.factor",
        ):
            assert settings[setting] == str(tried[setting]), setting


def test_the_image_has_the_python_the_parts_and_the_address_of_this_version() -> None:
    about = project()
    assert f"FROM python:{about['tool']['pyright']['pythonVersion']}-slim" in IMAGE
    assert all(service["image"] == f"splitgauge:{about['project']['version']}" for service in OURS.values())
    kept = (ROOT / "infra" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    roots = {folder.split("/")[0] for folder in about["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}
    assert {line.removeprefix("!") for line in kept if line.startswith("!")} >= roots
    assert set(re.findall(rf"{PREFIX}(\w+)=", IMAGE)) == {"DATA_FOLDER", "HOST", "PORT"}
    assert f"EXPOSE {Settings.model_fields['port'].default}" in IMAGE
