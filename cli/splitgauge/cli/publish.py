"""The documents published with the code, generated from the models: `python -m splitgauge.cli.publish [FOLDER]`.

JSON Schema of every event and of what people write, and OpenAPI 3.1 of the control plane. A test compares them with
what the models say, so that no change of the contract goes unseen.
"""

import json
import sys
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel

from splitgauge.console.service import Console, ConsoleSettings
from splitgauge.eventlog.port import EventLog
from splitgauge.schemas.analysis import AnalysisData, DeadLetterData
from splitgauge.schemas.decision import DecisionData
from splitgauge.schemas.envelope import Envelope
from splitgauge.schemas.experiment import ExperimentSpecification
from splitgauge.schemas.tables import BucketsData, PartialData, WindowData
from splitgauge.schemas.traffic import (
    AssignmentData,
    OutcomeData,
    ReportData,
    ReportObservationData,
    RequestData,
    ResponseData,
)
from splitgauge.schemas.workload import Workload

__all__ = ["EVENTS", "documents", "write"]

FOLDER = Path("schemas/published")
_DIALECT = "https://json-schema.org/draft/2020-12/schema"

EVENTS: dict[str, type[BaseModel]] = {
    "request.v1": RequestData,
    "response.v1": ResponseData,
    "report.v1": ReportData,
    "report-observation.v1": ReportObservationData,
    "assignment.v1": AssignmentData,
    "outcome.v1": OutcomeData,
    "partial.v1": PartialData,
    "window.v1": WindowData,
    "buckets.v1": BucketsData,
    "analysis.v1": AnalysisData,
    "decision.v1": DecisionData,
    "dead-letter.v1": DeadLetterData,
}
"""The `data` of each event type. A report has two: as applications write it, and as it stands in the observations."""

SPECIFICATIONS: dict[str, type[BaseModel]] = {
    "envelope": Envelope,
    "experiment": ExperimentSpecification,
    "workload": Workload,
}


def documents() -> dict[str, str]:
    """File name -> text, as they have to stand in the folder."""
    schemas = {name: _schema(model, written=name in EVENTS) for name, model in {**EVENTS, **SPECIFICATIONS}.items()}
    texts = {f"{name}.json": _text(schema) for name, schema in schemas.items()}
    return {**texts, "openapi.json": _text(_openapi())}


def write(folder: Path) -> list[str]:
    """Write them; the names of those that were not so before."""
    folder.mkdir(parents=True, exist_ok=True)
    changed: list[str] = []
    for name, text in documents().items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(name)
    return changed


def _schema(model: type[BaseModel], *, written: bool) -> dict[str, Any]:
    """Of events as they stand in the log, of specifications as people may write them."""
    mode = "serialization" if written else "validation"
    schema = model.model_json_schema(mode=cast("Any", mode))
    return {"$schema": _DIALECT, **schema}


def _openapi() -> dict[str, Any]:
    # Routes and models are described without being called, so the log behind them is never touched.
    unused = cast("EventLog", None)
    console = Console(unused, ConsoleSettings(), clock=int, ids=str)
    return console.app.openapi()


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name in write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER):
        sys.stdout.write(f"{name} changed\n")
