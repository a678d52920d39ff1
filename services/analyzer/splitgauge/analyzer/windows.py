"""The newest window of every experiment, as far as it may be used (events.md, rule 5).

Pure. Owns which of two windows stands. Must not know looks or the log.
"""

from pydantic import ValidationError

from splitgauge.schemas.envelope import parse
from splitgauge.schemas.errors import MalformedError
from splitgauge.schemas.tables import FOLD_VERSION, WindowData

__all__ = ["Windows", "not_before"]


class Windows:
    """The fold of the windows topic."""

    def __init__(self) -> None:
        self._newest: dict[str, WindowData] = {}

    def newest(self, experiment_id: str) -> WindowData | None:
        """The experiment's window; None while no observation has reached it."""
        return self._newest.get(experiment_id)

    def take(self, value: bytes) -> str | None:
        """Read the next event: the id of the experiment that has a newer window now, or None.

        A window that an aggregator publishes again after a restart may stand behind the one before it: the higher
        position is kept. Windows of another fold are another version's. Raises: MalformedError for what is no window.
        """
        window = _read(value)
        if window is None or window.fold_version != FOLD_VERSION:
            return None
        known = self._newest.get(window.experiment_id)
        if known is not None and (window.positions == known.positions or not not_before(window, known.positions)):
            return None
        self._newest[window.experiment_id] = window
        return window.experiment_id


def not_before(window: WindowData, positions: dict[int, int]) -> bool:
    """Whether no position of the window went back behind these; a partition left out is at its beginning."""
    return all(window.positions.get(partition, 0) >= upto for partition, upto in positions.items())


def _read(value: bytes) -> WindowData | None:
    envelope = parse(value)
    if envelope.type == "splitgauge.window-buckets.v1":
        return None  # time buckets, which no verdict reads
    if envelope.type != "splitgauge.window.v1":
        raise MalformedError(f"an event of type {envelope.type!r} is no window", where="/type")
    try:
        return WindowData.model_validate(envelope.data)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = "/data/" + "/".join(str(part) for part in first["loc"])
        raise MalformedError(f"no window: {first['msg']}", where=where) from exc
