"""What came of requests, as applications saw it: checked, and attributed to a unit. Pure.

Owns what a report may say. By token nothing is looked up; by unit the unit becomes its keyed hash here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, ValidationError

from splitgauge.experiments.state import Registry
from splitgauge.router.json_value import is_array
from splitgauge.router.token import TokenSigner
from splitgauge.router.unit_key import UnitKey
from splitgauge.schemas.errors import ContractError, UnknownSubjectError
from splitgauge.schemas.identifiers import report_id_by_token, report_id_by_unit
from splitgauge.schemas.metric import ROUTER_METRICS
from splitgauge.schemas.model import Instant, Name
from splitgauge.schemas.validation import first_fault

__all__ = ["Attributed", "Attribution", "Submitted", "read_submitted"]

MOST_REPORTS = 10_000
"""In one request: they are made durable together."""

MetricValue = StrictBool | StrictInt | Annotated[float, Field(strict=True, allow_inf_nan=False)]


class Submitted(BaseModel):
    """A report as applications write it, over HTTP; events of the log are held to the same."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token: str | None = None
    unit: str | None = Field(default=None, min_length=1)
    experiment: str | None = None
    time: Instant | None = None
    metrics: dict[Name, MetricValue] = Field(min_length=1, max_length=256)
    id: str | None = Field(default=None, min_length=1, max_length=200)


@dataclass(frozen=True, slots=True)
class Attributed:
    """Whose report it is.

    Attributes:
        event_id: the same report makes the same id.
        request_id: of a report by token.
        experiment_id, epoch: by token those of the request; by unit what the report names.
    """

    event_id: str
    unit_id: str
    metrics: Mapping[str, float | bool]
    time: str | None = None
    experiment_id: str | None = None
    epoch: int | None = None
    request_id: str | None = None


def read_submitted(document: object) -> list[Submitted]:
    """The reports of an HTTP request. Raises: ContractError with the JSON pointer of what is wrong."""
    if not is_array(document):
        raise ContractError("reports come as a list", where="", remedy="Send [{...}], also for a single report")
    if len(document) > MOST_REPORTS:
        raise ContractError(f"{len(document)} reports at once", remedy=f"Send {MOST_REPORTS} at most")
    reports: list[Submitted] = []
    for index, item in enumerate(document):
        try:
            reports.append(Submitted.model_validate(item))
        except ValidationError as exc:
            where, fault = first_fault(exc, item)
            remedy = "A report has `token` or `unit`, `metrics` by name, and if wanted `id`, `time` and `experiment`"
            raise ContractError(fault, where=f"/{index}{where}", remedy=remedy) from exc
    return reports


class Attribution:
    """Attributes reports."""

    def __init__(self, key: UnitKey, tokens: TokenSigner) -> None:
        self._key = key
        self._tokens = tokens

    def attribute(
        self,
        report: Submitted,
        *,
        registry: Registry,
        event_id: str | None = None,
        idempotency_key: str | None = None,
        index: int = 0,
    ) -> Attributed:
        """Whose report it is.

        Args:
            event_id: of a report from the log, where it follows from the event.
            idempotency_key, index: of a report over HTTP, and its place in the request's list.
        Raises: UnknownSubjectError, ContractError naming the place.
        """
        where = f"/{index}" if event_id is None else "/data"
        _expect_free(report.metrics, where)
        if report.token is not None and report.unit is None:
            return self._by_token(report, report.token, event_id=event_id, where=where)
        if report.unit is None or report.token is not None:
            raise _neither(where)
        if report.experiment is not None and report.experiment not in registry.experiments:
            raise UnknownSubjectError(
                f"there is no experiment {report.experiment!r}",
                where=f"{where}/experiment",
                remedy="GET /api/v1/ab-tests lists them",
                code="unknown-experiment",
            )
        unit_id = self._key.unit_id(report.unit)
        own_id = event_id or _id_by_unit(report, unit_id, idempotency_key, index)
        return Attributed(own_id, unit_id, report.metrics, report.time, report.experiment)

    def _by_token(self, report: Submitted, text: str, *, event_id: str | None, where: str) -> Attributed:
        try:
            token = self._tokens.verify(text)
        except UnknownSubjectError as exc:
            exc.where = f"{where}/token"
            raise
        if report.experiment is not None and report.experiment != token.experiment_id:
            raise ContractError(
                f"the token's request was not split by experiment {report.experiment!r}",
                where=f"{where}/experiment",
                remedy="Leave `experiment` out: the token says it",
            )
        return Attributed(
            event_id or report_id_by_token(token.request_id, report.metrics),
            token.unit_id,
            report.metrics,
            report.time,
            token.experiment_id,
            token.epoch,
            token.request_id,
        )


def _id_by_unit(report: Submitted, unit_id: str, idempotency_key: str | None, index: int) -> str:
    if report.id is not None:
        # A report's own id is the caller's name for it among the unit's, wherever it stands in the list.
        return report_id_by_unit(None, f"{unit_id}\n{report.id}", 0)
    if idempotency_key:
        return report_id_by_unit(None, idempotency_key, index)
    raise ContractError(
        "a report by unit needs an id, or it would count again when it is sent again",
        where=f"/{index}/id",
        remedy="Give it an `id`, or the request the header Idempotency-Key",
    )


def _expect_free(metrics: Mapping[str, float | bool], where: str) -> None:
    reserved = sorted(metrics.keys() & ROUTER_METRICS.keys())
    if reserved:
        raise ContractError(
            f"metric {reserved[0]!r} is the router's own",
            where=f"{where}/metrics/{reserved[0]}",
            remedy="Report under a name that the experiment declares",
        )


def _neither(where: str) -> ContractError:
    return ContractError(
        "a report names either a token or a unit",
        where=where,
        remedy="Take the token from the answer's header x-splitgauge-request-id",
    )
