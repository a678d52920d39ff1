"""`splitgauge apply`: from documents to what the server has, touching only what differs.

Owns the comparison and the calls; what a document is says `documents`.
"""

from dataclasses import dataclass
from typing import Any, Literal, cast

from splitgauge.cli.client import Answer, Client, path_of
from splitgauge.cli.documents import Document
from splitgauge.cli.failures import RefusedError
from splitgauge.schemas.experiment import ExperimentSpecification
from splitgauge.schemas.workload import Workload

__all__ = ["Applied", "Outcome", "apply_document", "merge_patch"]

Outcome = Literal["created", "changed", "unchanged", "refused"]


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one document.

    Attributes:
        activated: whether this call started the experiment.
        error: of a refused one: the server's words.
    """

    document: Document
    outcome: Outcome
    activated: bool = False
    error: RefusedError | None = None


def apply_document(client: Client, document: Document) -> Applied:
    """Make the server have the document. Raises: UnreachableError; a refusal is a result."""
    try:
        if document.kind == "workload":
            return Applied(document, _apply_workload(client, document))
        return _apply_experiment(client, document)
    except RefusedError as exc:
        return Applied(document, "refused", error=exc)


def _apply_workload(client: Client, document: Document) -> Outcome:
    wanted = document.definition.model_dump(mode="json", exclude_none=True)
    path = path_of("workloads", document.id)
    found = client.find(path, "id", "provider", "url", "revision")
    if found is None:
        client.call("POST", path_of("workloads"), wanted, needs=("id", "revision"))
        return "created"
    known = Workload.model_validate({key: value for key, value in found.body.items() if key in Workload.model_fields})
    if _same(known.model_dump(mode="json", exclude_none=True), wanted):
        return "unchanged"
    client.call("PUT", path, wanted, headers=_if_match(found))
    return "changed"


def _same(known: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """`42` and `"42"` are the same workload."""
    return {**known, "id": str(known["id"])} == {**wanted, "id": str(wanted["id"])}


def _apply_experiment(client: Client, document: Document) -> Applied:
    wanted = document.definition.model_dump(mode="json", exclude_none=True)
    path = path_of("ab-tests", document.id)
    found = client.find(path, "id", "status", "specification")
    outcome: Outcome
    if found is None or found.body["status"] == "discarded":
        outcome, found = "created", client.call("POST", path_of("ab-tests"), wanted, needs=("id", "status"))
    else:
        known = ExperimentSpecification.model_validate(found.body["specification"])
        patch = merge_patch(known.model_dump(mode="json", exclude_none=True), wanted)
        outcome = "changed" if patch else "unchanged"
        if patch:
            found = client.call("PATCH", path, patch, headers=_if_match(found), needs=("id", "status"))
    start = document.activate and found.body["status"] == "draft"
    if start:
        client.call("POST", f"{path}/activate", headers=_if_match(found))
    return Applied(document, "changed" if start and outcome == "unchanged" else outcome, activated=start)


def merge_patch(known: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """The JSON merge patch (RFC 7396) that makes `wanted` of `known`; empty where they are the same.

    >>> merge_patch({"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 4}})
    {'b': {'d': None, 'c': 4}}
    """
    patch: dict[str, Any] = {key: None for key in known if key not in wanted}
    for key, value in wanted.items():
        before = known.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            inner = merge_patch(cast("dict[str, Any]", before), cast("dict[str, Any]", value))
            if inner:
                patch[key] = inner
        elif key not in known or before != value:
            patch[key] = value
    return patch


def _if_match(answer: Answer) -> dict[str, str]:
    return {"If-Match": answer.etag} if answer.etag is not None else {}
