"""The one error tree of Splitgauge. Every error that a user can meet is in it.

    SplitgaugeError
    ├── ContractError              an argument, a field or a file breaks its contract           422
    │   ├── MalformedError         bytes that are not what they claim to be                     400
    │   └── UnknownSubjectError    a workload, experiment, token or route that is not there     404
    ├── ConflictError              the state does not allow it                                  409
    │   ├── IllegalStepError       an action that is not legal in this state                    409
    │   ├── StaleRevisionError     the revision named is not the current one                    412
    │   └── IdempotencyError       a key used before with another body                          422
    ├── LogError                   the event log
    │   ├── LogUnavailableError    cannot be written or read now (full disk, no broker)         503
    │   ├── LogDamagedError        a place in the log cannot be read, or is missing             500
    │   ├── LogInUseError          the data folder belongs to another running process           409
    │   └── UnknownRulesError      decisions of a newer version: this reader must not guess     503
    └── UpstreamError              the endpoint of a variant failed                             502
        └── UpstreamTimeoutError                                                                504

Each carries a stable ``code`` (documented, safe to branch on), an HTTP ``status``, the ``message`` (what is wrong),
``where`` (JSON pointer, argument, file and line, or log position) and ``remedy`` (what to do).
"""

__all__ = [
    "ConflictError",
    "ContractError",
    "IdempotencyError",
    "IllegalStepError",
    "LogDamagedError",
    "LogError",
    "LogInUseError",
    "LogUnavailableError",
    "MalformedError",
    "SplitgaugeError",
    "StaleRevisionError",
    "UnknownRulesError",
    "UnknownSubjectError",
    "UpstreamError",
    "UpstreamTimeoutError",
]


class SplitgaugeError(Exception):
    """Base of all errors raised on purpose."""

    code = "internal"
    status = 500

    def __init__(self, message: str, *, where: str = "", remedy: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.remedy = remedy
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        parts = [f"{self.where}: {self.message}" if self.where else self.message]
        if self.remedy:
            parts.append(self.remedy)
        return ". ".join(part.rstrip(".") for part in parts) + "."


class ContractError(SplitgaugeError):
    """An argument, a field or a file breaks its contract."""

    code = "invalid"
    status = 422


class MalformedError(ContractError):
    """Bytes are not what they claim to be."""

    code = "malformed"
    status = 400


class UnknownSubjectError(ContractError):
    """A workload, an experiment, a token or a route that is not there."""

    code = "not-found"
    status = 404


class ConflictError(SplitgaugeError):
    """The present state does not allow it."""

    code = "conflict"
    status = 409


class IllegalStepError(ConflictError):
    """An action is not legal in the subject's state."""

    code = "illegal-step"


class StaleRevisionError(ConflictError):
    """The revision named is not the current one."""

    code = "stale-revision"
    status = 412


class IdempotencyError(ConflictError):
    """An idempotency key was used before with another body."""

    code = "idempotency-key-reused"
    status = 422


class LogError(SplitgaugeError):
    """Something about the event log."""

    code = "log"


class LogUnavailableError(LogError):
    """The log cannot be written or read at the moment."""

    code = "log-unavailable"
    status = 503


class LogDamagedError(LogError):
    """A place in the log cannot be read, or is missing."""

    code = "log-damaged"


class LogInUseError(LogError):
    """The data folder belongs to another running process."""

    code = "data-folder-in-use"
    status = 409


class UnknownRulesError(LogError):
    """A decision was made under rules that this version does not know."""

    code = "unknown-rules"
    status = 503


class UpstreamError(SplitgaugeError):
    """The endpoint of a variant failed."""

    code = "upstream-failed"
    status = 502


class UpstreamTimeoutError(UpstreamError):
    """The endpoint of a variant did not answer in time."""

    code = "upstream-timeout"
    status = 504
