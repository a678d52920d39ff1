"""The compose file's Kafka settings, asked of a real Kafka: it knows each of them, and takes them together."""

import subprocess
from pathlib import Path

from aiokafka.admin.config_resource import ConfigResourceType

from compose_file import BROKERS, properties_of
from kafka_broker import LIBS, fresh_settings
from splitgauge.eventlog.kafka_admin import administration, configured


async def test_a_broker_knows_every_setting() -> None:
    async with administration(fresh_settings()) as admin:
        known = (await configured(admin, ["1"], kind=ConfigResourceType.BROKER))["1"]
    assert [properties_of(node).keys() - known.keys() for node in BROKERS.values()] == [set()] * 3


def test_a_node_can_be_formatted_with_them(tmp_path: Path) -> None:
    node = BROKERS["kafka-1"]
    path = tmp_path / "server.properties"
    chosen = properties_of(node) | {"log.dirs": str(tmp_path / "data")}
    path.write_text("".join(f"{key}={value}\n" for key, value in chosen.items()), encoding="utf-8")
    command = [
        "kafka.tools.StorageTool",
        "format",
        f"--cluster-id={node['environment']['CLUSTER_ID']}",
        "-c",
        str(path),
    ]
    done = subprocess.run(
        ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{LIBS}/*", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data" / "meta.properties").exists()
