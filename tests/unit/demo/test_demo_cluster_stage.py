"""What the demo on a cluster needs before it starts anything."""

from pathlib import Path

import pytest

from splitgauge.demo import cluster_stage
from splitgauge.schemas.errors import ContractError


@pytest.mark.parametrize("missing", ["_KAFKA", "_JARS"])
async def test_without_the_servers_of_a_checkout_it_says_where_they_come_from(
    missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cluster_stage, missing, tmp_path / "not here")
    with pytest.raises(ContractError, match="make demo-cluster"):
        await cluster_stage.cluster_stage(1, lambda _: None).__aenter__()


async def test_without_java_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cluster_stage, "_JARS", tmp_path)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ContractError, match="java"):
        await cluster_stage.cluster_stage(1, lambda _: None).__aenter__()
