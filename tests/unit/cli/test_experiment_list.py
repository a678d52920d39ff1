"""The list of experiments where a server does not know the traffic of a variant."""

from pathlib import Path

import pytest

from cli_harness import CommandLine
from splitgauge.cli.client import Answer, Client


def test_unknown_traffic_is_a_dash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    variants = [{"name": "a", "traffic_percent": None}, {"name": "b", "traffic_percent": 12.5}]
    experiment = {"id": "e", "status": "draft", "base_workload_id": "w", "winner": None, "name": "n"}
    page = {"items": [{**experiment, "variants": variants}], "next": None}

    def answer(_client: Client, _path: str, *_needs: str) -> Answer:
        return Answer(200, page, None)

    monkeypatch.setattr(Client, "get", answer)

    listed = CommandLine(tmp_path).run("experiments", "list")

    assert listed.status == 0
    assert "a -, b 12.5 %" in listed.out
