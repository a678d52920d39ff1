"""`infra/compose.yaml` as tests read it."""

from pathlib import Path
from typing import Any

import yaml

__all__ = ["BROKERS", "DOCUMENT", "OURS", "ROOT", "SERVICES", "properties_of"]

ROOT = Path(__file__).parents[1]
DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "infra" / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("splitgauge:")}
BROKERS = {name: service for name, service in SERVICES.items() if service["image"].startswith("apache/kafka:")}

_PREFIX = "KAFKA_"


def properties_of(broker: dict[str, Any]) -> dict[str, str]:
    """As the image makes them of its environment."""
    return {
        key.removeprefix(_PREFIX).lower().replace("_", "."): value
        for key, value in broker["environment"].items()
        if key.startswith(_PREFIX)
    }
