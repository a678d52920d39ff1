"""What the console has read of windows and analyses: the newest numbers and the accepted looks of every experiment.

Owns the choice among windows (events.md, rule 5); must not know how they are made or shown. Bytes are kept as they
came, and become models when somebody asks: windows come far more often than readers.
"""

from array import array
from dataclasses import dataclass, field

from pydantic import BaseModel, ValidationError

from splitgauge.experiments.looks import AcceptedLook, Looks
from splitgauge.schemas.envelope import parse
from splitgauge.schemas.errors import LogDamagedError, MalformedError
from splitgauge.schemas.tables import FOLD_VERSION, WindowData

__all__ = ["LookPlaces", "Readings"]


class _Head(BaseModel):
    """What the choice among windows needs of one; the rest is not looked at."""

    experiment_id: str
    positions: dict[int, int]
    fold_version: int = FOLD_VERSION


@dataclass(frozen=True, slots=True)
class _Window:
    positions: dict[int, int]
    value: bytes

    def reaches(self, positions: dict[int, int]) -> bool:
        return all(self.positions.get(partition, 0) >= upto for partition, upto in positions.items())


@dataclass(slots=True)
class LookPlaces:
    """Where the accepted looks of an experiment stand: offsets in one partition of the analyses."""

    partition: int
    offsets: "array[int]" = field(default_factory=lambda: array("q"))


class Readings:
    """The newest window and the last accepted look of every experiment, and where its other looks are."""

    def __init__(self) -> None:
        self._windows: dict[str, dict[int, _Window]] = {}
        self._looks = Looks()
        self._places: dict[str, LookPlaces] = {}
        self._analyses_read: dict[int, int] = {}

    def analyses_read(self, partition: int) -> int:
        """How far that partition of the analyses is read, exclusive: reading goes on from there."""
        return self._analyses_read.get(partition, 0)

    def take_window(self, value: bytes) -> None:
        """Read the next event of the windows. Time buckets, and what is no window of a known fold, are passed over."""
        read = _window(value)
        if read is None:
            return
        head, window = read
        of_experiment = self._windows.setdefault(head.experiment_id, {})
        newest = of_experiment.get(head.fold_version)
        if newest is None or window.reaches(newest.positions):
            of_experiment[head.fold_version] = window

    def take_analysis(self, partition: int, offset: int, value: bytes) -> AcceptedLook | None:
        """Read the next event of the analyses. Raises: UnknownRulesError."""
        look = self._looks.take(offset, value)
        self._analyses_read[partition] = offset + 1
        if look is not None:
            places = self._places.setdefault(look.data.experiment_id, LookPlaces(partition))
            places.offsets.append(offset)
        return look

    def last_look(self, experiment_id: str) -> AcceptedLook | None:
        """The last accepted look."""
        return self._looks.last(experiment_id)

    def places_of_looks(self, experiment_id: str) -> LookPlaces:
        """Where all accepted looks stand, oldest first."""
        return self._places.get(experiment_id) or LookPlaces(0)

    def window(self, experiment_id: str) -> WindowData | None:
        """The newest window: of the highest fold that has reached the last accepted look everywhere.

        Raises: LogDamagedError where what stands in the log is no window.
        """
        of_experiment = self._windows.get(experiment_id)
        if not of_experiment:
            return None
        look = self.last_look(experiment_id)
        reached = look.data.positions if look is not None else {}
        ready = [version for version, window in of_experiment.items() if window.reaches(reached)]
        window = of_experiment[max(ready or of_experiment)]
        try:
            return WindowData.model_validate(parse(window.value).data)
        except ValidationError as exc:
            raise LogDamagedError(
                f"the newest window of experiment {experiment_id!r} cannot be read: {exc.errors()[0]['msg']}",
                where="splitgauge.windows",
                remedy="It is made again with the next observation",
            ) from exc


def _window(value: bytes) -> tuple[_Head, _Window] | None:
    try:
        event = parse(value)
        if event.type != "splitgauge.window.v1":
            return None
        head = _Head.model_validate(event.data)
    except (MalformedError, ValidationError):
        return None  # it stands for nothing that could be shown; the next one replaces it
    return head, _Window(head.positions, value)
