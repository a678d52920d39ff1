"""What a workload is: an inference configuration that callers ask for and variants run."""

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, StringConstraints, field_validator, model_validator

from splitgauge.schemas.codec import MAX_SAFE_INTEGER
from splitgauge.schemas.model import Specification, Title

__all__ = ["Overrides", "Price", "SystemPrompt", "Workload", "WorkloadConfiguration", "WorkloadId"]

_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key"})
_ROUTER_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110, 5.6.2: what a header's name is made of."""

WorkloadId = (
    Annotated[int, Field(ge=0, le=MAX_SAFE_INTEGER, strict=True)]
    | Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$")]
)
"""A number or a name. `42` and `"42"` are the same workload."""


class Price(Specification):
    """What a request costs, in US dollars."""

    input_per_million: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="USD per million input tokens")
    cached_input_per_million: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="USD per million cached input tokens; as input if left out"
    )
    output_per_million: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="USD per million output tokens"
    )
    per_request: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="USD per answered request")


class SystemPrompt(Specification):
    """A system prompt, and what becomes of the caller's own."""

    text: str
    mode: Literal["replace", "prepend", "if_absent"] = "replace"


class Overrides(Specification):
    """What a variant changes of the workload that it refers to. Fields left out stay; parameters and headers merge."""

    url: str | None = Field(default=None, pattern=r"^https?://[^\s/]+")
    model: str | None = Field(default=None, min_length=1)
    credential: str | None = Field(default=None, pattern=r"^(env|file):.+$")
    system_prompt: SystemPrompt | None = None
    parameters: dict[str, JsonValue] = {}
    headers: dict[str, str] = {}
    timeout_s: float | None = Field(default=None, gt=0, le=3600)
    price: Price | None = None

    @field_validator("url")
    @classmethod
    def _url_can_be_called(cls, url: str | None) -> str | None:
        return None if url is None else _callable(url)

    @field_validator("headers")
    @classmethod
    def _headers_can_be_sent(cls, headers: dict[str, str]) -> dict[str, str]:
        return _sendable(headers)


class WorkloadConfiguration(Specification):
    """What runs: where requests go and how. Frozen into an experiment when it is activated.

    `parameters` are the workload's defaults for request fields (the caller's own win); `forced_parameters` come from a
    variant's overrides and win over the caller's.
    """

    provider: Literal["openai", "webhook"]
    url: str = Field(
        pattern=r"^https?://[^\s/]+",
        description="openai: base URL with its version (https://host/v1); webhook: the URL itself",
    )
    model: str | None = Field(
        default=None, min_length=1, description="what the endpoint calls the model; None: as the caller"
    )
    credential: str | None = Field(
        default=None, pattern=r"^(env|file):.+$", description="env:NAME or file:PATH; never the secret itself"
    )
    system_prompt: SystemPrompt | None = None
    parameters: dict[str, JsonValue] = {}
    forced_parameters: dict[str, JsonValue] = {}
    headers: dict[str, str] = {}
    timeout_s: float = Field(default=60.0, gt=0, le=3600, description="until the whole answer is there")
    price: Price = Price()

    @field_validator("url")
    @classmethod
    def _url_can_be_called(cls, url: str) -> str:
        return _callable(url)

    @field_validator("headers")
    @classmethod
    def _headers_can_be_sent(cls, headers: dict[str, str]) -> dict[str, str]:
        return _sendable(headers)

    @model_validator(mode="after")
    def _url_fits_provider(self) -> "WorkloadConfiguration":
        if self.provider == "openai" and "?" in self.url:
            message = "the url of an openai workload is a base that paths are added to: write it without a query"
            raise ValueError(message)
        return self

    def overridden(self, overrides: Overrides) -> "WorkloadConfiguration":
        """This configuration with a variant's changes; its parameters win over the caller's."""
        changes = {
            field: value
            for field in ("url", "model", "credential", "system_prompt", "timeout_s", "price")
            if (value := getattr(overrides, field)) is not None
        }
        return self.model_copy(
            update={
                **changes,
                "forced_parameters": {**self.forced_parameters, **overrides.parameters},
                "headers": {**self.headers, **overrides.headers},
            }
        )


class Workload(WorkloadConfiguration):
    """A workload as it is defined: a configuration with an id and a name."""

    id: WorkloadId
    name: Title = Field(default="", max_length=200, description="callers may ask for it by this name, too")

    @property
    def key(self) -> str:
        """The id as the registry knows it."""
        return str(self.id)

    @property
    def configuration(self) -> WorkloadConfiguration:
        """Without id and name."""
        return WorkloadConfiguration.model_validate(self.model_dump(exclude={"id", "name"}))


def _callable(url: str) -> str:
    if fault := _url_fault(url):
        message = f"the url {fault}"
        raise ValueError(message)
    return url


def _url_fault(url: str) -> str | None:
    # urlsplit drops line breaks and tabs: what was judged would not be what is called.
    if any(character.isspace() or not character.isprintable() or character == "\\" for character in url):
        return "has a space, a control character or a backslash; percent-encode it"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        return f"cannot be taken apart: {exc}"
    if "@" in parts.netloc:
        return "holds a user or a password, and what is written here is kept; use `credential`"
    if not host:
        return "has no host"
    if port == 0:
        return "has port 0, which nothing listens on"
    if "#" in url:
        return "has a fragment, which is never sent; leave it out"
    return None


def _sendable(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if fault := _header_fault(name, value):
            message = f"header {name!r} {fault}"
            raise ValueError(message)
    return headers


def _header_fault(name: str, value: str) -> str | None:
    if _TOKEN.fullmatch(name) is None:
        return "is no HTTP header name: letters, digits and !#$%&'*+-.^_`|~ only, at least one"
    if name.lower() in _SECRET_HEADERS:
        return "holds a secret, and what is written here is kept; use `credential`"
    if name.lower() in _ROUTER_HEADERS:
        return "is about the connection or the body, which the router sets for every request; leave it out"
    if any(character in value for character in "\r\n\0"):
        return "has a line break or NUL in its value, which would end the header early; write it in one line"
    return None
