"""YAML files of workloads and experiments: documents with the line of everything in them.

Owns reading and checking before anything is sent; every fault names file, document, line and JSON pointer. Knows no
server.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import yaml

from splitgauge.schemas.errors import ContractError, MalformedError
from splitgauge.schemas.experiment import ExperimentSpecification
from splitgauge.schemas.validation import InvalidError, validated
from splitgauge.schemas.workload import Workload

__all__ = ["Document", "read_documents"]

KINDS = ("workload", "experiment")


@dataclass(frozen=True, slots=True)
class Document:
    """One document that is in order.

    Attributes:
        place: file and line where it begins.
        activate: of experiments: whether it is to be started, too.
    """

    place: str
    kind: Literal["workload", "experiment"]
    id: str
    definition: Workload | ExperimentSpecification
    activate: bool = False


def read_documents(path: Path) -> list[Document]:
    """All documents of a file, in order; empty ones are passed over.

    Raises: MalformedError for what is not YAML; ContractError for a document that is none of ours, naming every fault.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ContractError(f"the file cannot be read: {exc}", where=str(path), remedy="Name a YAML file") from exc
    return [_document(path, number, node) for number, node in enumerate(_nodes(path, text), start=1)]


def _nodes(path: Path, text: str) -> Iterator[yaml.Node]:
    try:
        for node in yaml.compose_all(text, Loader=yaml.SafeLoader):
            if node.tag != "tag:yaml.org,2002:null":
                yield node
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark is not None else str(path)
        raise MalformedError(
            f"not YAML: {getattr(exc, 'problem', None) or exc}", where=where, remedy="Correct the line"
        ) from exc


def _document(path: Path, number: int, node: yaml.Node) -> Document:
    place = f"{path}:{node.start_mark.line + 1} (document {number})"
    _refuse_repeated_keys(path, number, node)
    value = _value(path, node)
    fields = _fields(value)
    kind = fields.pop("kind", None)
    if kind not in KINDS:
        raise ContractError(
            "a document says what it is", where=place, remedy=f"Begin it with `kind: {KINDS[0]}` or `kind: {KINDS[1]}`"
        )
    activate = fields.pop("activate", False) if kind == "experiment" else False
    if not isinstance(activate, bool):
        raise _fault(path, number, node, [{"where": "/activate", "detail": "either true or false"}])
    try:
        if kind == "workload":
            workload = validated(Workload, fields)
            return Document(place, "workload", workload.key, workload)
        experiment = validated(ExperimentSpecification, fields)
    except InvalidError as exc:
        raise _fault(path, number, node, exc.errors) from exc
    if experiment.id is None:
        raise _fault(path, number, node, [{"where": "/id", "detail": "needed, so that it can be applied again"}])
    return Document(place, "experiment", experiment.id, experiment, activate)


def _fields(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {}
    return {str(key): item for key, item in cast("dict[object, Any]", value).items()}


def _value(path: Path, node: yaml.Node) -> Any:  # noqa: ANN401 - any YAML value
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(node)  # pyright: ignore[reportUnknownMemberType] - its stub says `node` only
    except yaml.constructor.ConstructorError as exc:
        line = node.start_mark.line if exc.problem_mark is None else exc.problem_mark.line
        raise MalformedError(
            f"not plain YAML: {exc.problem}", where=f"{path}:{line + 1}", remedy="Write plain values only"
        ) from exc
    finally:
        loader.dispose()


def _fault(path: Path, number: int, node: yaml.Node, errors: list[dict[str, str]]) -> InvalidError:
    """The faults with the line of each; one that is missing has the line of what it is missing in."""
    placed = [
        {
            "where": f"{path}:{_line(node, error['where']) + 1} (document {number}, {error['where'] or '/'})",
            "detail": error["detail"],
        }
        for error in errors
    ]
    return InvalidError(placed)


def _line(node: yaml.Node, pointer: str) -> int:
    line = node.start_mark.line
    for part in pointer.split("/")[1:]:
        inside = _inside(node, part.replace("~1", "/").replace("~0", "~"))
        if inside is None:
            return line
        key, node = inside
        line = key.start_mark.line
    return line


def _inside(node: yaml.Node, part: str) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and part.isdecimal() and int(part) < len(node.value):
        item = node.value[int(part)]
        return item, item
    return None


def _refuse_repeated_keys(path: Path, number: int, node: yaml.Node) -> None:
    """YAML readers let the last one win in silence: a guardrail written twice would lose one."""
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[Hashable] = set()
        for key, value in node.value:
            if isinstance(key.value, str) and key.value in seen:
                raise ContractError(
                    f"{key.value!r} is written twice",
                    where=f"{path}:{key.start_mark.line + 1} (document {number})",
                    remedy="Leave one of them out",
                )
            seen.add(key.value if isinstance(key.value, str) else id(key))
            children.append(value)
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    for child in children:
        _refuse_repeated_keys(path, number, child)
