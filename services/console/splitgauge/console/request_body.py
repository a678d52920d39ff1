"""What a request says: its JSON body as a model, its conditions, its idempotency key. Every fault has a JSON pointer.

Owns the reading of HTTP requests; knows neither routes nor state.
"""

from dataclasses import dataclass
from typing import Any, TypeVar, cast

from fastapi import Request
from pydantic import BaseModel, TypeAdapter, ValidationError

from splitgauge.schemas.codec import decode, sha256_hex
from splitgauge.schemas.decision import IdempotencyKey
from splitgauge.schemas.errors import ContractError, MalformedError, StaleRevisionError

__all__ = ["Conditions", "InvalidBodyError", "conditions_of", "read_json", "read_model", "validated"]

MAX_BODY_BYTES = 1_048_576
"""Of a specification with everything in it, a few kilobytes; more than this is a mistake or an attack."""

MAX_KEY_LENGTH = 255

_Model = TypeVar("_Model")


class InvalidBodyError(ContractError):
    """A body that is JSON and breaks its model, in one place or in several.

    Attributes:
        errors: every fault: JSON pointer and message.
    """

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__(
            errors[0]["detail"],
            where=errors[0]["where"],
            remedy="The fields and their values stand in the OpenAPI document",
        )
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Conditions:
    """Under which conditions a change is wanted.

    Attributes:
        revision: of `If-Match`: the revision that the caller decided on; None: whatever it is now.
        key: of `Idempotency-Key`, with the hash of all that the request says.
    """

    revision: int | None
    key: IdempotencyKey | None


async def conditions_of(request: Request) -> Conditions:
    """The conditions of a change.

    Raises: StaleRevisionError for an `If-Match` that cannot be a revision of anything; ContractError for a bad key.
    """
    body = await _bytes(request)
    return Conditions(_revision(request.headers.get("if-match")), _key(request, body))


def _revision(header: str | None) -> int | None:
    if header is None or header.strip() == "*":
        return None
    tag = header.strip().removeprefix('"').removesuffix('"')
    if not tag.isdecimal():
        raise StaleRevisionError(
            f"no revision has the ETag {header}", where="If-Match", remedy="Send the ETag of the last answer"
        )
    return int(tag)


def _key(request: Request, body: bytes) -> IdempotencyKey | None:
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not 1 <= len(key) <= MAX_KEY_LENGTH:
        raise ContractError(f"an idempotency key has 1 to {MAX_KEY_LENGTH} characters", where="Idempotency-Key")
    # The same key on another route is another wish, so method and path belong to what was said.
    said = f"{request.method} {request.url.path}\n".encode() + body
    return IdempotencyKey(key=sha256_hex(key.encode()), body=sha256_hex(said))


async def _bytes(request: Request) -> bytes:
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
        raise _too_large()
    body = await request.body()
    if len(body) > MAX_BODY_BYTES:
        raise _too_large()
    return body


def _too_large() -> ContractError:
    return ContractError(f"the body has more than {MAX_BODY_BYTES} bytes", where="", code="too-large")


async def read_json(request: Request) -> Any:  # noqa: ANN401 - any JSON value
    """The body as it came; None where there is none. Raises: MalformedError naming line and column."""
    body = await _bytes(request)
    return decode(body) if body.strip() else None


async def read_model(request: Request, model: type[_Model]) -> _Model:
    """The body as a model; without a body, as the empty object.

    Raises: MalformedError for what is not JSON; InvalidBodyError for what the model refuses.
    """
    value = await read_json(request)
    return validated(model, {} if value is None else value)


def validated(model: type[_Model], value: Any) -> _Model:  # noqa: ANN401 - any JSON value
    """`value` as the model. Raises: InvalidBodyError with a JSON pointer for every fault."""
    try:
        if issubclass(model, BaseModel):
            return model.model_validate(value)
        return TypeAdapter(model).validate_python(value)
    except ValidationError as exc:
        raise InvalidBodyError(_faults(exc, value)) from exc
    except RecursionError as exc:
        raise MalformedError("the body is nested too deeply") from exc


def _faults(error: ValidationError, value: object) -> list[dict[str, str]]:
    faults: dict[str, str] = {}
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        where = _pointer(fault["loc"], value, missing=fault["type"] == "missing")
        message = fault["msg"].removeprefix("Value error, ")
        # A field that may be of several types has a fault for each: the first says enough.
        faults.setdefault(where, "unknown field" if fault["type"] == "extra_forbidden" else message)
    # A list whose items are at fault is also called too short: what is deeper says what to do.
    return [
        {"where": where, "detail": detail}
        for where, detail in faults.items()
        if not any(other.startswith(f"{where}/") for other in faults if where)
    ]


def _pointer(location: tuple[int | str, ...], value: object, *, missing: bool) -> str:
    """RFC 6901. pydantic's location also names the alternatives it tried, which the body does not have: left out."""
    pointer, here = "", value
    for index, part in enumerate(location):
        inside = _step(here, part)
        if inside is None and not (missing and index == len(location) - 1):
            continue
        pointer += "/" + str(part).replace("~", "~0").replace("/", "~1")
        here = inside[0] if inside is not None else None
    return pointer


def _step(here: object, part: int | str) -> tuple[object] | None:
    if isinstance(here, dict):
        fields = cast("dict[object, object]", here)
        return (fields[part],) if part in fields else None
    if isinstance(here, list) and isinstance(part, int):
        items = cast("list[object]", here)
        return (items[part],) if part < len(items) else None
    return None
