"""A whole look, pure: experiment state, window, moment and last accepted look in; numbers, health and verdict out.

Owns how the parts make an `analysis.v1`, and its bytes. Whoever has the same inputs makes the same bytes: live, after a
crash, in a replay. Must not know the log, a clock, or when a look is taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from splitgauge.analyzer.beliefs import Standing, standings
from splitgauge.analyzer.comparisons import compare, compare_leader, in_the_running, shown_metrics
from splitgauge.analyzer.findings import Findings
from splitgauge.analyzer.guardrails import find_harm
from splitgauge.analyzer.health import check_health
from splitgauge.analyzer.numbers import Numbers, column, read_numbers
from splitgauge.analyzer.planned_looks import carry
from splitgauge.analyzer.quantiles import QuantileTable, read_quantiles
from splitgauge.analyzer.verdict import decide, judge_promotable
from splitgauge.analyzer.wearing_off import read_novelty
from splitgauge.experiments import DecisionHistory, ExperimentState
from splitgauge.experiments.looks import AcceptedLook
from splitgauge.schemas import instants
from splitgauge.schemas.analysis import (
    AnalysisData,
    DecisionsRead,
    MetricValue,
    VariantNumbers,
)
from splitgauge.schemas.codec import canonical, encode, sha256_hex
from splitgauge.schemas.errors import ContractError
from splitgauge.schemas.identifiers import analysis_id
from splitgauge.schemas.metric import Metric
from splitgauge.schemas.tables import WindowData

__all__ = ["Look", "analyse", "decisions_read", "empty_window", "encode_analysis", "look"]


@dataclass(frozen=True, slots=True)
class Look:
    """An analysis with its bytes.

    Attributes:
        id: of its event.
        value: the bytes of its data, as they go to the log.
        sha256: over these.
    """

    id: str
    data: AnalysisData
    value: bytes
    sha256: str


def empty_window(experiment_id: str) -> WindowData:
    """Of an experiment that no observation has reached: it is looked at all the same, its maximum duration passes."""
    return WindowData(experiment_id=experiment_id, positions={}, decisions_offset=0, digests={})


def decisions_read(history: DecisionHistory, upto: int) -> DecisionsRead:
    """The decisions below `upto`, named as an analysis names them."""
    return DecisionsRead(upto=upto, digest=history.digest_at(upto).hex())


def look(
    state: ExperimentState,
    window: WindowData,
    *,
    looked_at: str,
    previous: AcceptedLook | None,
    decisions: DecisionsRead,
) -> Look:
    """`analyse`, with the id and the bytes of the event."""
    data = analyse(state, window, looked_at=looked_at, previous=previous, decisions=decisions)
    value = encode_analysis(data)
    id_ = analysis_id(state.id, previous.id if previous is not None else None, window.positions, looked_at)
    return Look(id_, data, value, sha256_hex(value))


def encode_analysis(data: AnalysisData) -> bytes:
    """The bytes that are written and hashed (events.md, rule 13)."""
    return encode(canonical(data.model_dump(mode="json")))


def analyse(
    state: ExperimentState,
    window: WindowData,
    *,
    looked_at: str,
    previous: AcceptedLook | None,
    decisions: DecisionsRead,
) -> AnalysisData:
    """The look at `window`, made at the decisions below `decisions.upto`, which made `state`.

    Raises: ContractError where the experiment was never activated, or the window is of another one.
    """
    _expect_activated(state, window)
    numbers = read_numbers(state, window)
    before = previous.data if previous is not None else None
    comparisons = compare(state, numbers, before)
    compared = [one for one in comparisons if one.role == "goal" and one.effect is not None and one.standard_error]
    running = [one.variant for one in compared if in_the_running(state, one)]
    findings = Findings(
        state=state,
        looked_at_us=instants.from_text(looked_at),
        as_of_us=instants.from_text(window.as_of) if window.as_of is not None else None,
        variants=_variants(
            state,
            numbers,
            quantiles=read_quantiles(state, window, numbers),
            standing=standings(state, numbers, running),
        ),
        comparisons=tuple(comparisons),
        leader=compare_leader(state, numbers, comparisons),
        guardrails=tuple(find_harm(state, numbers)),
        health=check_health(state, numbers, before),
        carried=carry(state, comparisons, before, looked_at),
    )
    promotable = judge_promotable(findings).variant
    if promotable is not None:
        findings = replace(findings, novelty=read_novelty(state, window, promotable))
    return AnalysisData(
        experiment_id=state.id,
        revision=state.revision,
        positions=window.positions,
        digests=window.digests,
        decisions=decisions,
        looked_at=looked_at,
        as_of=window.as_of,
        previous=previous.as_previous if previous is not None else None,
        fold_version=window.fold_version,
        variants=findings.variants,
        comparisons=comparisons,
        leader=findings.leader,
        guardrails=list(findings.guardrails),
        health=findings.health,
        novelty=findings.novelty,
        verdict=decide(findings),
        state=findings.carried,
    )


def _expect_activated(state: ExperimentState, window: WindowData) -> None:
    if not state.epochs:
        raise ContractError(f"experiment {state.id!r} is {state.status}: there is nothing to look at", where="state")
    if window.experiment_id != state.id:
        raise ContractError(f"the window is of experiment {window.experiment_id!r}, not {state.id!r}", where="window")


def _variants(
    state: ExperimentState, numbers: Numbers, *, quantiles: QuantileTable, standing: Mapping[str, Standing]
) -> dict[str, VariantNumbers]:
    counts = {
        name: numbers.totals(getattr(numbers, name))
        for name in ("units", "requests", "exposed", "crossovers", "missing")
    }
    overall = numbers.overall
    enough = np.where(overall.n >= 2, overall.n, np.nan)
    errors = np.sqrt(overall.variance / enough)
    shown = shown_metrics(state, numbers)
    out: dict[str, VariantNumbers] = {}
    for place, variant in enumerate(numbers.variants):
        values, spreads = column(overall.value[place]), column(errors[place])
        stands = standing.get(variant)
        out[variant] = VariantNumbers(
            **{name: by_variant[variant] for name, by_variant in counts.items()},
            probability_to_be_best=stands.probability_to_be_best if stands is not None else None,
            expected_loss=stands.expected_loss if stands is not None else None,
            metrics={
                metric: _shown(
                    numbers.metrics[metric],
                    MetricValue(
                        value=values[index],
                        standard_error=spreads[index],
                        units=int(overall.n[place, index]),
                        reason=None if values[index] is not None else "no data",
                        quantiles=quantiles[variant].get(metric, {}),
                    ),
                )
                for index, metric in enumerate(numbers.metrics)
                if metric in shown
            },
        )
    return out


def _shown(metric: Metric, number: MetricValue) -> MetricValue:
    """Of a quantile the quantile, not the mean that its sums make."""
    if metric.kind != "quantile" or not number.quantiles:
        return number
    [quantile] = number.quantiles.values()
    return number.model_copy(update={"value": quantile.value, "standard_error": quantile.standard_error})
