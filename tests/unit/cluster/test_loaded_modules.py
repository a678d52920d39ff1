"""A process loads what its roles need, before its event loop runs, and nothing else."""

import subprocess
import sys

import pytest

SCRIPT = """
import asyncio, sys
from pathlib import Path

class Runner:
    def __init__(self, **_):
        print(*sys.modules)
        raise SystemExit

asyncio.Runner = Runner
from splitgauge.cluster.role import Role
from splitgauge.cluster.server import run
from splitgauge.cluster.settings import ClusterSettings
from splitgauge.eventlog.kafka_settings import KafkaSettings
from splitgauge.router.settings import RouterSettings

kafka, database = KafkaSettings("nowhere:9092"), "postgresql:///nowhere"
run(ClusterSettings(frozenset({Role(sys.argv[1])}), kafka, RouterSettings(Path()), "test", postgres=database))
"""

OF_ROLES = {
    "router": {"splitgauge.router.service", "aiohttp"},
    "aggregator": {"splitgauge.aggregator.fold_group", "asyncpg", "numpy"},
    "tables": {"splitgauge.aggregator.faust_tables", "faust", "numpy", "aiohttp"},
    "analyzer": {"splitgauge.analyzer.service", "numpy", "scipy"},
    "console": set[str](),
    "archiver": {"splitgauge.archiver.service", "asyncpg"},
}
HEAVY = set[str]().union(*OF_ROLES.values())
BORROWED = {"aggregator": {"scipy"}}
"""The buckets of histograms are of the statistics, which come as a whole."""


@pytest.mark.parametrize("role", OF_ROLES)
def test_a_process_loads_what_its_role_needs(role: str) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, role], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & HEAVY - BORROWED.get(role, set()) == OF_ROLES[role]
