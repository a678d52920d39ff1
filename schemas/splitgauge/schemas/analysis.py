"""Analyses: every logged look, whole, with all its inputs named, so that anyone can make it again."""

from typing import Literal

from pydantic import Field

from splitgauge.schemas.decision import RULES
from splitgauge.schemas.goal import Engine
from splitgauge.schemas.model import BigInteger, EventData, Instant
from splitgauge.schemas.tables import FOLD_VERSION

__all__ = [
    "AnalysisData",
    "Comparison",
    "CountedOutcome",
    "DeadLetterData",
    "DecisionsRead",
    "GuardrailFinding",
    "Health",
    "LookState",
    "MetricValue",
    "Novelty",
    "PlannedLook",
    "PlannedResult",
    "PreviousLook",
    "Proposal",
    "QuantileValue",
    "VariantNumbers",
    "Verdict",
]


class DecisionsRead(EventData):
    """How far the decisions had been read (exclusive), and the running digest there."""

    upto: int
    digest: str


class PreviousLook(EventData):
    """The last accepted look of the same experiment."""

    id: str
    sha256: str


class QuantileValue(EventData):
    """A quantile of one variant over its epochs. It decides nothing; the interval, at alpha, is for one look."""

    value: float | None = Field(description="at most 1/64 from the quantile of the values")
    lower: float | None = Field(description="null with a reason where there are too few values for an interval")
    upper: float | None
    standard_error: float | None = None
    values: int = Field(description="how many there are")
    design_effect: float | None = Field(
        default=None,
        description="how much larger the variance is because values of a unit go together, as for the nearest share "
        "under a limit; null: none is declared, and values count as independent",
    )
    reason: str | None = None


class MetricValue(EventData):
    """A metric of one variant: the ratio of sums over its epochs, combined; null with a reason where undefined."""

    value: float | None = Field(description="of kind quantile: the quantile")
    standard_error: float | None = None
    units: int
    reason: str | None = None
    quantiles: dict[str, QuantileValue] = Field(
        default={}, description="of latencies p50, p90, p95 and p99; of kind quantile the declared one"
    )


class VariantNumbers(EventData):
    """One variant in a look."""

    units: int
    requests: int
    exposed: int
    crossovers: int
    missing: int
    metrics: dict[str, MetricValue]
    probability_to_be_best: float | None = Field(
        default=None, description="on the goal, of control and the challengers in the running; it decides nothing"
    )
    expected_loss: float | None = Field(
        default=None, description="of choosing it, against the best of the others, in the goal's unit"
    )


class CountedOutcome(EventData):
    """Of the engine `rare`: the outcome of the rate that is the rarer one in both arms together, each unit once."""

    outcome: Literal["hit", "miss"] = Field(description="miss: units that failed the metric at least once")
    units: int = Field(description="the challenger's that had it")
    units_against: int
    rate_ratio: float | None = Field(description="the challenger's rate over control's; null: control's is 0")


class Comparison(EventData):
    """One challenger against control on one metric. Effects are challenger minus control.

    Intervals and r^2 of the sequences are at alpha divided by the number of challengers that the experiment began with.
    """

    variant: str
    against: str = Field(description="control; in `leader` of an analysis, the runner-up")
    metric: str
    role: Literal["goal", "guardrail", "secondary"]
    engine: Engine = Field(
        default="asymptotic",
        description="what concludes from it. The sequence is that of counts with `rare`, else the asymptotic one; with "
        "`fixed` and `group_sequential` it is for display, they conclude at planned looks (`state`)",
    )
    effect: float | None
    relative_effect: float | None
    relative_lower: float | None = Field(
        default=None, description="of relative_effect, always valid; with `rare` see sequential_lower"
    )
    relative_upper: float | None = None
    standard_error: float | None
    fixed_p: float | None = Field(description="valid only at the planned end, as fixed_lower and fixed_upper are")
    fixed_lower: float | None
    fixed_upper: float | None
    sequential_p: float | None = Field(description="always valid, at this look")
    sequential_p_minimum: float | None = Field(default=None, description="running minimum over looks; for display")
    sequential_lower: float | None = Field(
        description="of the effect; with `rare` of the rate ratio of `counted` less 1: 0.2 is 20 % more, null no bound"
    )
    sequential_upper: float | None
    log_e_value: float | None
    probability_to_beat_control: float | None
    credible_lower: float | None = Field(default=None, description="of the effect, from its posterior")
    credible_upper: float | None = None
    expected_loss: float | None = Field(description="of choosing the challenger, in the metric's unit")
    expected_loss_of_staying: float | None = None
    units_needed: BigInteger | None = Field(
        default=None, description="more units, both arms together, for a conclusive result"
    )
    units: int = Field(default=0, description="analysed units of the challenger that have the metric")
    units_against: int = Field(default=0, description="the same of whom it is compared with")
    adjusted_p: float | None = Field(
        default=None, description="of the goal: sequential_p after Holm over the challengers; at most alpha decides"
    )
    rarer_outcomes: int | None = Field(
        default=None, description="of a rate: units of both arms with the rarer outcome at least once"
    )
    adjusted_by: str | None = Field(
        default=None, description="the metric's covariate: all numbers but the `unadjusted` are adjusted for it"
    )
    variance_reduction: float | None = Field(
        default=None, description="share of the effect's variance that the covariate took away"
    )
    unadjusted_effect: float | None = None
    unadjusted_standard_error: float | None = None
    counted: CountedOutcome | None = Field(default=None, description="of the engine `rare`: what its sequence counts")
    conditional_power: float | None = Field(
        default=None, description="of the goal with a minimum detectable effect: to show it by the planned end"
    )
    discovery: bool | None = Field(
        default=None, description="of secondary metrics: among those that e-BH names at the experiment's alpha"
    )
    reason: str | None = Field(default=None, description="why numbers are null")


class GuardrailFinding(EventData):
    """One guardrail of one challenger. Harm is positive in the bad direction, in the margin's kind: absolute in the
    metric's unit, relative as a fraction of control's mean."""

    variant: str
    metric: str
    margin: float
    margin_kind: Literal["absolute", "relative"]
    state: Literal["pass", "harm", "undecided"]
    operational_harm: bool = Field(
        default=False, description="shown by the exact count process (decision rule, step 1)"
    )
    harm: float | None
    harm_lower: float | None = Field(
        description="one-sided lower bound at the alpha of a rollback, above 0 or above the margin, as configured"
    )
    harm_upper: float | None = Field(description="one-sided upper bound at the alpha of a pass")
    log_bayes_factor: float | None = Field(default=None, description="of the exact count process")
    failures: int | None = Field(default=None, description="of rates: units of both arms with a failure")
    reason: str


class Health(EventData):
    """Whether the numbers can be trusted."""

    state: Literal["healthy", "warning", "invalid"]
    problems: list[str] = []
    sample_ratio_log_e: float | None = None
    sample_ratio_latched: bool = False
    crossovers: int = 0
    crossover_share: float = 0.0
    missing: int = 0
    missing_log_e: float | None = None
    covariate_log_e: float | None = Field(
        default=None, description="largest over challengers and declared covariates: whether they differ from control's"
    )


class Novelty(EventData):
    """Whether the goal's effect of whom the look would promote wears off. It holds a promotion, and nothing else."""

    variant: str
    early: float | None = Field(
        description="effect up to 3 days after a unit's first exposure; null while there is nothing to compare"
    )
    late: float | None = Field(description="effect after that")
    standard_error: float | None = Field(description="of early less late")
    p_value: float | None = Field(description="of early = late; for this look")
    strong: bool = Field(description="less than half of the early effect is left, at p < .01: not promoted")


class Proposal(EventData):
    """What follows from a verdict: carried out, recommended, or only said, as the policy has it."""

    action: Literal["promote", "roll_back", "ramp", "complete"]
    consent: Literal["act", "recommend", "off"]
    variant: str | None = None
    step: int | None = None
    winner: str | None = None


class Verdict(EventData):
    """The first step of the decision rule that holds."""

    step: int = Field(ge=1, le=10)
    kind: Literal[
        "roll_back", "maximum_duration", "invalid", "hold", "control_wins", "ramp", "promote", "futility", "continue"
    ]
    variant: str | None = None
    winner: str = "inconclusive"
    reason: str
    proposal: Proposal | None = None
    units_needed: BigInteger | None = Field(default=None, description="more units that a conclusive result still needs")
    jobs_needed: BigInteger | None = Field(
        default=None, description="the same in requests, at the requests a unit has made"
    )
    promotable: str | None = Field(
        default=None,
        description="who would be promoted by step 8 with the minimum duration waived (a person's promotion)",
    )
    not_promotable_because: str | None = None


class PlannedResult(EventData):
    """The goal of one challenger at a planned look."""

    units: int = Field(description="both arms together")
    effect: float | None
    standard_errors: float | None = Field(description="the effect in its standard errors (z)")
    lower: float | None = Field(
        description="of the effect at alpha over the challengers: fixed, or the repeated interval of group_sequential"
    )
    upper: float | None
    p_value: float | None = Field(description="group_sequential: repeated, valid over all planned looks")
    adjusted_p: float | None = Field(description="after Holm over the challengers; at most alpha decides")


class PlannedLook(EventData):
    """A look that the engine `fixed` or `group_sequential` concludes from. It stands, and so does what it decided."""

    looked_at: Instant
    number: int = Field(description="how many of the planned looks are reached, those skipped included")
    planned: int = Field(description="how many there are")
    fraction: float = Field(description="units there over planned_units, of the challenger that has the fewest")
    alpha_spent: float = Field(description="of one challenger's share of alpha, up to and with this look")
    boundary: float | None = Field(description="standard errors that decide; null: this look cannot")
    results: dict[str, PlannedResult] = Field(description="by challenger")


class LookState(EventData):
    """What later looks need of earlier ones, beside the running minima and the latched sample ratio."""

    planned_looks: list[PlannedLook] = Field(
        default=[], description="engines fixed (one) and group_sequential: those taken, each at its first accepted look"
    )


class AnalysisData(EventData):
    """`analysis.v1`: verdict = f(state at `revision`, window at `positions`, `looked_at`, `previous`)."""

    experiment_id: str
    revision: int
    positions: dict[int, int]
    digests: dict[int, str]
    decisions: DecisionsRead
    looked_at: Instant
    as_of: Instant | None
    previous: PreviousLook | None
    rules: int = RULES
    fold_version: int = FOLD_VERSION
    variants: dict[str, VariantNumbers]
    comparisons: list[Comparison]
    leader: Comparison | None = Field(default=None, description="with several challengers: the best against the next")
    guardrails: list[GuardrailFinding]
    health: Health
    novelty: Novelty | None = Field(default=None, description="asked only where the look would promote")
    verdict: Verdict
    state: LookState = LookState()


class DeadLetterData(EventData):
    """`dead-letter.v1`: what could not be used, why, and where it stands."""

    topic: str
    partition: int
    offset: int
    reason: str
    code: str
    value: str | None = Field(default=None, description="base64; left out where the topic holds what callers sent")
