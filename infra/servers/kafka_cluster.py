"""Apache Kafka on this machine without Docker: one node or several, KRaft, free ports, a folder of its own.

    python infra/servers/kafka_cluster.py --nodes 3 --libs .kafka/libs

starts a cluster, says its address, and stops it at Ctrl-C. Tests use `KafkaCluster`, whose nodes can be stopped,
killed, paused and started again one by one. Owns processes and files, speaks no Kafka.
"""

import argparse
import base64
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from uuid import UUID, uuid5

from secured_listeners import SecuredListeners
from server_process import Server, end, last_words, launch, serve

__all__ = ["KafkaCluster", "Node", "free_ports"]

START_S = 60.0
_HOST = "127.0.0.1"
_OUTPUT = "output.log"
# Small and quick to start: these nodes carry tests, on machines that do other things, too.
_JVM = ("-Xms64m", "-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_NAMESPACE = UUID("5bb4ba6e-3f0a-5b42-9a7a-0f5c2b3d1e10")


@dataclass(slots=True)
class Node:
    """One broker, which is a controller, too."""

    number: int
    port: int
    controller_port: int
    secured_port: int
    mutual_port: int
    folder: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def address(self) -> str:
        """As clients write it."""
        return f"{_HOST}:{self.port}"

    @property
    def secured_address(self) -> str:
        """For clients with TLS and a user, where the cluster has listeners for them."""
        return f"{_HOST}:{self.secured_port}"

    @property
    def mutual_address(self) -> str:
        """For clients with a certificate, where the cluster has listeners for them."""
        return f"{_HOST}:{self.mutual_port}"

    @property
    def runs(self) -> bool:
        """Whether its process lives."""
        return self.process is not None and self.process.poll() is None


class KafkaCluster(Server):
    """Nodes 1 to n of one cluster. A context manager: nothing of it is left after the block."""

    def __init__(
        self,
        libs: Path,
        *,
        nodes: int = 1,
        folder: Path | None = None,
        secured: SecuredListeners | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        """`libs`: the jars that `make broker` copies. `folder`: of the nodes' logs; None: a temporary one. `secured`:
        listeners beside the plain one. `properties`: of each broker, over those that it has here."""
        if not any(libs.glob("kafka_2.13-*.jar")):
            message = f"{libs} holds no Kafka; `make broker` copies it there"
            raise FileNotFoundError(message)
        self._libs = libs.resolve()
        self._own = folder is None
        self._folder = folder or Path(tempfile.mkdtemp(prefix="splitgauge-kafka-"))
        self._id = _cluster_id(self._folder)
        self._secured = secured
        self._given = properties or {}
        ports = iter(free_ports(4 * nodes))
        self.nodes = [
            Node(number, next(ports), next(ports), next(ports), next(ports), self._folder / f"node-{number}")
            for number in range(1, nodes + 1)
        ]

    @property
    def bootstrap(self) -> str:
        """Addresses of all nodes, as clients take them."""
        return ",".join(node.address for node in self.nodes)

    def start(self) -> Self:
        """All nodes, until each takes connections."""
        with ThreadPoolExecutor() as together:
            list(together.map(self._format, self.nodes))
        for node in self.nodes:
            self.launch(node)
        for node in self.nodes:
            self.await_ready(node)
        return self

    def launch(self, node: Node) -> None:
        """Start a node's process, with what it has on disk."""
        command = ["java", *_JVM, "-cp", f"{self._libs}/*", "kafka.Kafka", str(node.folder / "server.properties")]
        node.process = launch(command, node.folder / _OUTPUT)

    def await_ready(self, node: Node) -> None:
        """Until the node takes connections of clients. Raises: RuntimeError with what it said."""
        give_up = time.monotonic() + START_S
        while time.monotonic() < give_up:
            if not node.runs:
                break
            try:
                socket.create_connection((_HOST, node.port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        message = f"node {node.number} does not answer on port {node.port}:\n{last_words(node.folder / _OUTPUT)}"
        raise RuntimeError(message)

    def stop_node(self, node: Node, *, number: int = signal.SIGTERM) -> None:
        """Send the signal and wait for the end; SIGKILL where it does not come."""
        if node.process is not None:
            end(node.process, number)
            node.process = None

    def close(self) -> None:
        """All nodes, at once, and their files where the folder is temporary."""
        for node in self.nodes:
            # Without mercy: a node that hands its partitions over waits for others that end, too.
            self.stop_node(node, number=signal.SIGKILL)
        if self._own:
            shutil.rmtree(self._folder)

    def _format(self, node: Node) -> None:
        if (node.folder / "data" / "meta.properties").exists():
            return
        node.folder.mkdir(parents=True, exist_ok=True)
        path = node.folder / "server.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in self.properties(node).items()), encoding="utf-8")
        command = ["kafka.tools.StorageTool", "format", f"--cluster-id={self._id}", "-c", str(path)]
        if self._secured is not None:
            command += self._secured.format_options()
        done = subprocess.run(
            ["java", *_JVM, "-cp", f"{self._libs}/*", *command], capture_output=True, text=True, check=False
        )
        if done.returncode:
            message = f"node {node.number} cannot be formatted:\n{done.stdout[-1_000:]}{done.stderr[-1_000:]}"
            raise RuntimeError(message)

    def properties(self, node: Node) -> dict[str, str | int]:
        """What a node is started with, by Kafka's own names."""
        copies = min(3, len(self.nodes))
        for_clients = f"PLAINTEXT://{node.address}"
        if self._secured is not None:
            for_clients += f",SECURED://{node.secured_address},MUTUAL://{node.mutual_address}"
        return {
            "process.roles": "broker,controller",
            "node.id": node.number,
            "controller.quorum.voters": ",".join(
                f"{other.number}@{_HOST}:{other.controller_port}" for other in self.nodes
            ),
            "controller.listener.names": "CONTROLLER",
            "listeners": f"{for_clients},CONTROLLER://{_HOST}:{node.controller_port}",
            "advertised.listeners": for_clients,
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(node.folder / "data"),
            "auto.create.topics.enable": "false",
            "offsets.topic.num.partitions": 4,
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.num.partitions": 4,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": max(1, copies - 1),
            # A group is complete when it is complete; nobody waits for more members.
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1_000,
            # A leader that died is noticed at once, as tests of faults want it.
            "broker.session.timeout.ms": 3_000,
            "broker.heartbeat.interval.ms": 500,
            "controller.quorum.election.timeout.ms": 500,
            "controller.quorum.fetch.timeout.ms": 1_000,
            "log.cleaner.dedupe.buffer.size": 4 * 1024 * 1024,
            **({} if self._secured is None else self._secured.properties()),
            **self._given,
        }


def _cluster_id(folder: Path) -> str:
    """22 characters of base64, the same for the same folder."""
    return base64.urlsafe_b64encode(uuid5(_NAMESPACE, str(folder)).bytes).decode().rstrip("=")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now. Below the range that the system gives to outgoing connections, so that none of
    them is taken before a node, or a node that starts again, listens there."""
    found: list[int] = []
    first = 20_000 + os.getpid() * 37 % 10_000
    for port in range(first, first + 2_000):
        with socket.socket() as probe:
            try:
                probe.bind((_HOST, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    message = f"no {count} free ports from {first} on"
    raise RuntimeError(message)


def main() -> int:
    """Run a cluster until a signal comes."""
    parser = argparse.ArgumentParser(description="A Kafka cluster on this machine, until Ctrl-C.")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--libs", type=Path, default=Path(".kafka/libs"), help="the jars that `make broker` copies")
    parser.add_argument("--folder", type=Path, help="where it keeps its data; left out: a temporary folder")
    chosen = parser.parse_args()
    cluster = KafkaCluster(chosen.libs, nodes=chosen.nodes, folder=chosen.folder)
    return serve(cluster, lambda: f"Kafka answers on {cluster.bootstrap}")


if __name__ == "__main__":
    sys.exit(main())
