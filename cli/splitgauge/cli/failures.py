"""From an error to what a person sees and a script branches on: one line, and an exit status.

Owns the exit statuses and the guard around every command; no command prints an error or ends the process by itself.
"""

import functools
import os
import sys
from collections.abc import Callable
from typing import ParamSpec

import orjson
import typer

from splitgauge.schemas.errors import LogUnavailableError, SplitgaugeError
from splitgauge.schemas.problem import problem_of

__all__ = [
    "EXIT_FAILURE",
    "EXIT_INTERRUPTED",
    "EXIT_REFUSED",
    "EXIT_STATUSES",
    "EXIT_UNREACHABLE",
    "RefusedError",
    "UnreachableError",
    "guarded",
    "one_line",
]

EXIT_FAILURE = 1
EXIT_REFUSED = 3
EXIT_UNREACHABLE = 4
EXIT_INTERRUPTED = 130
_EXIT_PIPE_CLOSED = 141

EXIT_STATUSES = (
    "Exit status: 0 done; 1 failed, or a mismatch was found; 2 the command line is wrong; 3 the server refused (4xx); "
    "4 the server or the log cannot be reached; 130 interrupted."
)

_Parameters = ParamSpec("_Parameters")


class RefusedError(SplitgaugeError):
    """The server answered with a problem document of 4xx, or could not do it (5xx)."""


class UnreachableError(SplitgaugeError):
    """Nothing answers at the URL."""

    code = "unreachable"
    status = 503


def guarded(command: Callable[_Parameters, int | None]) -> Callable[_Parameters, None]:
    """The command with every error of ours as one line on the standard error, and the exit status it stands for."""

    @functools.wraps(command)
    def run(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> None:
        try:
            status = command(*args, **kwargs)
        except SplitgaugeError as exc:
            _tell(exc, as_json=kwargs.get("as_json") is True)
            status = _status_of(exc)
        except KeyboardInterrupt:
            status = EXIT_INTERRUPTED
        except BrokenPipeError:
            # Whoever read our output has gone (`| head`). Python would complain once more while it flushes at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = _EXIT_PIPE_CLOSED
        raise typer.Exit(status or 0)

    return run


def one_line(error: SplitgaugeError) -> str:
    """What is wrong. Where. What to do."""
    places = [f"{fault['where'] or '/'}: {fault['detail']}" for fault in getattr(error, "errors", [])]
    if len(places) > 1:
        message = "; ".join(places)
        return f"error: {message}. {error.remedy.rstrip('.')}."
    parts = [error.message, error.where, error.remedy]
    return "error: " + " ".join(f"{part.rstrip('.')}." for part in parts if part)


def _tell(error: SplitgaugeError, *, as_json: bool) -> None:
    if as_json:
        from splitgauge.schemas.validation import InvalidError

        problem: dict[str, object] = dict(problem_of(error))
        if isinstance(error, InvalidError):
            problem["errors"] = error.errors
        sys.stderr.write(orjson.dumps({"error": problem}).decode() + "\n")
    else:
        sys.stderr.write(" ".join(one_line(error).split()) + "\n")
    sys.stderr.flush()


def _status_of(error: SplitgaugeError) -> int:
    if isinstance(error, RefusedError):
        return EXIT_REFUSED if error.status < 500 else EXIT_FAILURE
    if isinstance(error, UnreachableError | LogUnavailableError):
        return EXIT_UNREACHABLE
    return EXIT_FAILURE
