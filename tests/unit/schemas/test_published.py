"""The published documents are those that the models say now."""

import json
import re
from pathlib import Path

from splitgauge.cli.publish import documents
from splitgauge.schemas.envelope import EventType

FOLDER = Path(__file__).parents[3] / "schemas" / "published"
REMEDY = "run `python -m splitgauge.cli.publish`, and say in CHANGELOG.md what changed in the contract"


def test_documents_have_not_drifted() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    said = documents()
    drifted = sorted(name for name in said if written.get(name) != said[name])
    assert drifted == [], REMEDY
    assert sorted(set(written) - set(said)) == [], "nothing generates these any more"


def test_every_event_type_is_published() -> None:
    kinds = {kind.removeprefix("splitgauge.") for kind in EventType.__args__}  # type: ignore[attr-defined]  # of a Literal
    shared = {"partial-buckets.v1": "buckets.v1", "window-buckets.v1": "buckets.v1"}
    assert {f"{shared.get(kind, kind)}.json" for kind in kinds} <= set(documents())


def test_references_lead_somewhere() -> None:
    for name, text in documents().items():
        document = json.loads(text)
        for reference in re.findall(r'"\$ref": "#/([^"]+)"', text):
            here = document
            for part in reference.split("/"):
                assert part in here, f"{name}: #/{reference}"
                here = here[part]
