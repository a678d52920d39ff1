"""Which logged analyses count: of each experiment, one chain of looks (events.md, rule 4).

Two analyzers may look at the same time. Both write; every reader accepts the same one, because the other names a look
that is no longer the last. Pure: analyses in, in the order of their partition, accepted looks out. Must not know how
an analysis is made, nor whether its verdict is right: that is found by making it again.
"""

from dataclasses import dataclass

from pydantic import ValidationError

from splitgauge.schemas.analysis import AnalysisData, PreviousLook
from splitgauge.schemas.codec import sha256_hex
from splitgauge.schemas.decision import RULES
from splitgauge.schemas.envelope import data_bytes, parse
from splitgauge.schemas.errors import MalformedError, UnknownRulesError

__all__ = ["AcceptedLook", "Looks", "read_look"]


@dataclass(frozen=True, slots=True)
class AcceptedLook:
    """A look that counts.

    Attributes:
        id: of its event.
        sha256: over the recorded bytes of its data, as the next look and a decision's evidence name it.
        offset: where it stands in its partition of the analyses.
    """

    id: str
    sha256: str
    offset: int
    data: AnalysisData

    @property
    def as_previous(self) -> PreviousLook:
        """How the look after this one names it."""
        return PreviousLook(id=self.id, sha256=self.sha256)


class Looks:
    """The fold of the analyses: the last accepted look of every experiment.

    An experiment's analyses all stand in one partition, so several partitions may be fed in any mixture.
    """

    def __init__(self) -> None:
        self._last: dict[str, AcceptedLook] = {}

    def last(self, experiment_id: str) -> AcceptedLook | None:
        """The experiment's last accepted look; None before the first."""
        return self._last.get(experiment_id)

    def take(self, offset: int, value: bytes) -> AcceptedLook | None:
        """Read the next analysis of a partition: the look if it is accepted, None for a fork or what is no analysis.

        Raises: UnknownRulesError for an analysis under rules of a later version, which this one must not judge.
        """
        look = read_look(offset, value)
        return look if look is not None and self.accept(look) else None

    def accept(self, look: AcceptedLook) -> bool:
        """Take the next look of a partition, read already; False for a fork."""
        if not self._follows(look.data):
            return False
        self._last[look.data.experiment_id] = look
        return True

    def resume(self, look: AcceptedLook) -> None:
        """Go on from a look that does not follow: for an audit, which says so and judges what comes after it."""
        self._last[look.data.experiment_id] = look

    def _follows(self, data: AnalysisData) -> bool:
        before = self._last.get(data.experiment_id)
        if before is None:
            return data.previous is None
        if data.previous is None or (data.previous.id, data.previous.sha256) != (before.id, before.sha256):
            return False
        # A partition that is left out has gone back to its beginning.
        return all(data.positions.get(partition, 0) >= upto for partition, upto in before.data.positions.items())


def read_look(offset: int, value: bytes) -> AcceptedLook | None:
    """The look in an event, whether it is accepted or not; None for what is no analysis. Raises: UnknownRulesError."""
    try:
        envelope = parse(value)
        if envelope.type != "splitgauge.analysis.v1":
            return None
        _expect_known_rules(envelope.data.get("rules", RULES), offset)
        data = AnalysisData.model_validate(envelope.data)
    except (MalformedError, ValidationError):
        return None  # every reader passes over it in the same way; replay names it
    return AcceptedLook(envelope.id, sha256_hex(data_bytes(value)), offset, data)


def _expect_known_rules(rules: object, offset: int) -> None:
    if isinstance(rules, int) and rules > RULES:
        raise UnknownRulesError(
            f"the analysis at offset {offset} stands under rules {rules}; this version knows rules up to {RULES}",
            where="/data/rules",
            remedy="Upgrade this instance",
        )
