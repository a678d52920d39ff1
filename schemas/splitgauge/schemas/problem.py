"""Errors as callers of HTTP see them: RFC 9457 problem details, the same from every surface.

Owns the rendering of an error; which status and code an error has is said in `errors`.
"""

from http import HTTPStatus

from splitgauge.schemas.errors import SplitgaugeError

__all__ = ["CONTENT_TYPE", "problem_of"]

CONTENT_TYPE = "application/problem+json"


def problem_of(error: SplitgaugeError) -> dict[str, str | int]:
    """The members of the problem document: RFC 9457's own, and `code`, `where` (JSON pointer or place), `remedy`.

    >>> from splitgauge.schemas.errors import MalformedError
    >>> problem_of(MalformedError("not JSON", where="/0", remedy="Send a list"))["code"]
    'malformed'
    """
    members: dict[str, str | int] = {
        "type": "about:blank",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "code": error.code,
        "detail": error.message,
    }
    if error.where:
        members["where"] = error.where
    if error.remedy:
        members["remedy"] = error.remedy
    return members
