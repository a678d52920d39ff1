"""What came of requests, as applications saw it: checked, and attributed to a unit. Pure.

Owns what a report may say. By token nothing is looked up; by unit the unit becomes its keyed hash here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, TypeAdapter, ValidationError

from splitgauge.experiments.state import Registry
from splitgauge.router.json_value import is_array
from splitgauge.router.token import Token, TokenSigner
from splitgauge.router.unit_key import UnitKey
from splitgauge.schemas.errors import ContractError, UnknownSubjectError
from splitgauge.schemas.identifiers import report_id_by_token, report_id_by_unit
from splitgauge.schemas.metric import ROUTER_METRICS
from splitgauge.schemas.model import Instant, Name

__all__ = ["Attributed", "Attribution", "Submitted", "read_submitted"]

MOST_REPORTS = 10_000
"""In one request: they are made durable together."""

MetricValue = StrictBool | StrictInt | Annotated[float, Field(strict=True, allow_inf_nan=False)]


class Submitted(BaseModel):
    """A report as it comes over HTTP."""

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


_SUBMITTED = TypeAdapter(Submitted)


def read_submitted(document: object) -> list[Submitted]:
    """The reports of an HTTP request. Raises: ContractError with the JSON pointer of what is wrong."""
    if not is_array(document):
        raise ContractError("reports come as a list", where="", remedy="Send [{...}], also for a single report")
    if len(document) > MOST_REPORTS:
        raise ContractError(f"{len(document)} reports at once", remedy=f"Send {MOST_REPORTS} at most")
    reports: list[Submitted] = []
    for index, item in enumerate(document):
        try:
            reports.append(_SUBMITTED.validate_python(item))
        except ValidationError as exc:
            raise _invalid(exc, index) from exc
    return reports


class Attribution:
    """Attributes reports; `registry` is the state of the decisions that they are read with."""

    def __init__(self, key: UnitKey, tokens: TokenSigner) -> None:
        self._key = key
        self._tokens = tokens

    def submitted(
        self, report: Submitted, *, index: int, idempotency_key: str | None, registry: Registry
    ) -> Attributed:
        """A report that came over HTTP. Raises: UnknownSubjectError, ContractError naming the place."""
        where = f"/{index}"
        if report.token is not None and report.unit is None:
            token = self.token(report.token, experiment_id=report.experiment, where=where)
            return self.by_token(
                token, report.metrics, report_id_by_token(token.request_id, report.metrics), report.time
            )
        if report.unit is None or report.token is not None:
            raise _neither(where)
        unit_id = self._key.unit_id(report.unit)
        if report.id is not None:
            # A report's own id is the caller's name for it among the unit's, wherever it stands in the list.
            event_id = report_id_by_unit(None, f"{unit_id}\n{report.id}", 0)
        elif idempotency_key:
            event_id = report_id_by_unit(None, idempotency_key, index)
        else:
            raise ContractError(
                "a report by unit needs an id, or it would count again when it is sent again",
                where=f"{where}/id",
                remedy="Give it an `id`, or the request the header Idempotency-Key",
            )
        self.expect_known(report.experiment, registry, where=where)
        _expect_free(report.metrics, where)
        return Attributed(event_id, unit_id, report.metrics, report.time, report.experiment)

    def by_unit(
        self, unit: str, metrics: Mapping[str, float | bool], event_id: str, *, experiment_id: str | None
    ) -> Attributed:
        """A report by unit, its id known."""
        _expect_free(metrics, "/data")
        return Attributed(event_id, self._key.unit_id(unit), metrics, None, experiment_id)

    def by_token(
        self, token: Token, metrics: Mapping[str, float | bool], event_id: str, time: str | None = None
    ) -> Attributed:
        """A report by token, its id known."""
        _expect_free(metrics, "")
        return Attributed(event_id, token.unit_id, metrics, time, token.experiment_id, token.epoch, token.request_id)

    def token(self, text: str, *, experiment_id: str | None, where: str) -> Token:
        """The token. Raises: UnknownSubjectError; ContractError where an experiment is named that is not its own."""
        try:
            token = self._tokens.verify(text)
        except UnknownSubjectError as exc:
            exc.where = f"{where}/token"
            raise
        if experiment_id is not None and experiment_id != token.experiment_id:
            raise ContractError(
                f"the token's request was not split by experiment {experiment_id!r}",
                where=f"{where}/experiment",
                remedy="Leave `experiment` out: the token says it",
            )
        return token

    def expect_known(self, experiment_id: str | None, registry: Registry, *, where: str) -> None:
        """Raises: UnknownSubjectError where the experiment named is not there."""
        if experiment_id is not None and experiment_id not in registry.experiments:
            raise UnknownSubjectError(
                f"there is no experiment {experiment_id!r}",
                where=f"{where}/experiment",
                remedy="GET /api/v1/ab-tests lists them",
                code="unknown-experiment",
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


def _invalid(error: ValidationError, index: int) -> ContractError:
    first = error.errors()[0]
    place = "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in (index, *first["loc"]))
    return ContractError(first["msg"], where=f"/{place}", remedy="See POST /api/v1/reports in the API's description")
