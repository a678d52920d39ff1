"""From an accepted look to the decision that follows from it, if any (events.md, rule 3).

Pure. The same look makes the same decision with the same id, so that proposing again after a crash, or by another
analyzer, changes nothing. Must not know how decisions are written.
"""

from dataclasses import dataclass

from splitgauge.experiments import ExperimentState, Registry
from splitgauge.experiments.commands import (
    By,
    complete_experiment,
    promote_variant,
    ramp_experiment,
    recommend,
    roll_back_variant,
)
from splitgauge.experiments.looks import AcceptedLook
from splitgauge.schemas.analysis import Proposal
from splitgauge.schemas.decision import Actor, DecisionData, Evidence, Recommendation
from splitgauge.schemas.errors import ContractError
from splitgauge.schemas.identifiers import decision_id

__all__ = ["ProposedDecision", "propose"]


@dataclass(frozen=True, slots=True)
class ProposedDecision:
    """A decision with the id of its event."""

    id: str
    decision: DecisionData


def propose(registry: Registry, look: AcceptedLook, *, name: str) -> ProposedDecision | None:
    """What the analyzer called `name` decides from the look; None where nothing follows, or no longer.

    A look at another revision than the present one is history: what it proposed was done, or overtaken.
    """
    state = registry.experiments.get(look.data.experiment_id)
    proposal = look.data.verdict.proposal
    if state is None or proposal is None or proposal.consent == "off":
        return None
    if state.status != "active" or state.revision != look.data.revision:
        return None
    by = By(
        actor=Actor(kind="analyzer", name=name),
        reason=look.data.verdict.reason,
        revision=look.data.revision,
        evidence=Evidence(id=look.id, sha256=look.sha256, revision=look.data.revision),
    )
    if proposal.consent == "recommend":
        return _recommended(registry, state, look, proposal=proposal, by=by)
    return ProposedDecision(decision_id(look.id, proposal.action), _acted(registry, state.id, proposal, by=by))


def _recommended(
    registry: Registry, state: ExperimentState, look: AcceptedLook, *, proposal: Proposal, by: By
) -> ProposedDecision | None:
    id_ = decision_id(look.id, "recommend")
    recommendation = Recommendation(id=id_, action=proposal.action, variant=proposal.variant, step=proposal.step)
    if any(_same(recommendation, other) for other in (state.recommendation, state.dismissed)):
        return None
    return ProposedDecision(id_, recommend(registry, state.id, recommendation, by))


def _same(one: Recommendation, other: Recommendation | None) -> bool:
    return other is not None and (one.action, one.variant, one.step) == (other.action, other.variant, other.step)


def _acted(registry: Registry, experiment_id: str, proposal: Proposal, *, by: By) -> DecisionData:
    match proposal:
        case Proposal(action="complete"):
            return complete_experiment(registry, experiment_id, by, winner=proposal.winner)
        case Proposal(action="promote", variant=str(variant)):
            return promote_variant(registry, experiment_id, variant, by)
        case Proposal(action="roll_back", variant=str(variant)):
            return roll_back_variant(registry, experiment_id, variant, by)
        case Proposal(action="ramp", step=int(step)):
            return ramp_experiment(registry, experiment_id, step, by)
        case _:
            raise ContractError(f"a proposal to {proposal.action} names no variant or step", where="/verdict/proposal")
