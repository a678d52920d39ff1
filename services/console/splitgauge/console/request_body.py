"""What a request says: its JSON body as a model, its conditions, its idempotency key. Every fault has a JSON pointer.

Owns the reading of HTTP requests; knows neither routes nor state.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request

from splitgauge.schemas.codec import decode, sha256_hex
from splitgauge.schemas.decision import IdempotencyKey
from splitgauge.schemas.errors import ContractError, StaleRevisionError
from splitgauge.schemas.validation import validated

__all__ = ["Conditions", "conditions_of", "read_json", "read_model"]

MAX_BODY_BYTES = 1_048_576
"""Of a specification with everything in it, a few kilobytes; more than this is a mistake or an attack."""

MAX_KEY_LENGTH = 255

_REVISION_DIGITS = 16
"""More have no revision, and thousands of them are no number to Python."""

_Model = TypeVar("_Model")


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

    Raises: StaleRevisionError for an `If-Match` that cannot be a revision of anything; ContractError for a bad key, or
        where another site's page makes the request.
    """
    _refuse_other_sites(request)
    body = await _bytes(request)
    return Conditions(_revision(request.headers.get("if-match")), _key(request, body))


def _refuse_other_sites(request: Request) -> None:
    """A page that an operator happens to visit may send a POST to 127.0.0.1; browsers say where it comes from."""
    site = request.headers.get("sec-fetch-site", "none")
    if site not in {"none", "same-origin"}:
        refusal = ContractError(
            "a page of another site asks for a change", where="Sec-Fetch-Site", remedy="Call from a page of this server"
        )
        refusal.code, refusal.status = "cross-site", 403
        raise refusal


def _revision(header: str | None) -> int | None:
    if header is None or header.strip() == "*":
        return None
    tag = header.strip().removeprefix('"').removesuffix('"')
    if not tag.isdecimal() or len(tag) > _REVISION_DIGITS:
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

    Raises: MalformedError for what is not JSON; InvalidError for what the model refuses.
    """
    value = await read_json(request)
    return validated(model, {} if value is None else value)
