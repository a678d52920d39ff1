"""A look as a record: its bytes, what it carries from look to look, and which sums it reads."""

import math
from collections.abc import Iterator
from typing import cast

import pytest

from look_stories import (
    EXPERIMENT,
    HOUR_S,
    PERSON,
    START_US,
    Story,
    Units,
    analysis_event,
    at,
    cell,
    cohort,
    mean,
    rate,
    specification,
    window,
)
from splitgauge.analyzer import analyse, decisions_read, encode_analysis
from splitgauge.experiments import ExperimentState
from splitgauge.experiments.commands import reweight_experiment, roll_back_variant
from splitgauge.schemas.analysis import AnalysisData, Comparison, GuardrailFinding
from splitgauge.schemas.codec import decode, sha256_hex
from splitgauge.schemas.envelope import data_bytes
from splitgauge.schemas.errors import ContractError
from splitgauge.schemas.identifiers import analysis_id
from splitgauge.schemas.tables import Cell


def arm(units: int, wrong: int, failures: int = 3, **more: Units) -> Cell:
    return cohort(units, {"success": rate(units, failures), "correct": rate(units, wrong), **more})


def comparison(data: AnalysisData, metric: str, variant: str = "challenger") -> Comparison:
    [found] = [one for one in data.comparisons if (one.metric, one.variant) == (metric, variant)]
    return found


def finding(data: AnalysisData, metric: str) -> GuardrailFinding:
    [found] = [one for one in data.guardrails if one.metric == metric]
    return found


DATA = window(
    {
        "control": arm(1000, 300, latency_ms=mean(1000, 100, 30)),
        "challenger": arm(1000, 235, latency_ms=mean(1000, 103, 30)),
    }
)


# Bytes.


def test_same_inputs_make_the_same_bytes() -> None:
    looks = [Story().look(DATA) for _ in range(2)]

    assert looks[0].value == looks[1].value
    assert looks[0].sha256 == sha256_hex(looks[0].value)
    assert looks[0].id == analysis_id(EXPERIMENT, None, {0: 1000}, at(48 * HOUR_S))


def test_bytes_are_those_of_an_earlier_version() -> None:
    """A change of a number here is another version of the rules."""
    assert Story().look(DATA).sha256 == "a37bad3424d7718b7e29239e414bf401b115e48953368fab785d687fb0947822"


def test_bytes_survive_the_log() -> None:
    taken = Story().look(DATA)
    recorded = data_bytes(analysis_event(taken))
    again = AnalysisData.model_validate(decode(recorded))

    assert recorded == taken.value
    assert again == taken.data
    assert encode_analysis(again) == recorded


def test_every_number_has_twelve_digits_before_the_verdict_reads_it() -> None:
    found = list(_floats(Story().look(DATA).data.model_dump(mode="python")))

    assert len(found) > 50
    assert [value for value in found if float(f"{value:.11e}") != value] == []


def _floats(value: object) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict):
        for child in cast("dict[str, object]", value).values():
            yield from _floats(child)
    elif isinstance(value, list):
        for child in cast("list[object]", value):
            yield from _floats(child)


def test_order_of_epochs_and_variants_in_the_window_changes_nothing() -> None:
    turned = DATA.model_copy(
        update={"epochs": {epoch: dict(reversed(cells.items())) for epoch, cells in DATA.epochs.items()}}
    )

    assert Story().look(turned).value == Story().look(DATA).value


def test_look_of_a_draft_or_of_another_experiments_window_is_refused() -> None:
    story = Story()
    draft = ExperimentState("e1", specification(), "draft", 1, START_US)
    read = decisions_read(story.history, 0)

    with pytest.raises(ContractError, match="is draft"):
        analyse(draft, DATA, looked_at=at(0), previous=None, decisions=read)
    with pytest.raises(ContractError, match="window is of experiment 'other'"):
        story.look(DATA.model_copy(update={"experiment_id": "other"}))


# Numbers.


def test_numbers_of_the_variants_and_of_the_goal() -> None:
    data = Story().look(DATA).data

    assert data.variants["control"].metrics["correct"].value == 0.7
    assert data.variants["control"].metrics["latency_ms"].value == 100.0
    goal = comparison(data, "correct")
    assert (goal.effect, goal.relative_effect, goal.units, goal.units_against) == (0.065, 0.0928571428571, 1000, 1000)
    control, challenger = (p * (1 - p) * 1000 / 999 for p in (0.7, 0.765))
    # The steadier arm takes the pooled variance: the guard for unequal splits.
    assert goal.standard_error == pytest.approx(math.sqrt((control + (control + challenger) / 2) / 1000))
    assert goal.rarer_outcomes == 535
    assert goal.fixed_p == pytest.approx(0.000996, abs=1e-5)


def test_always_valid_p_and_interval_agree_at_alpha() -> None:
    goal = comparison(Story().look(DATA).data, "correct")

    assert goal.sequential_p is not None
    assert goal.log_e_value is not None
    assert goal.sequential_lower is not None
    assert goal.sequential_p == pytest.approx(math.exp(-goal.log_e_value))
    assert (goal.sequential_p <= 0.05) == (goal.sequential_lower > 0)
    assert goal.adjusted_p == goal.sequential_p


def test_relative_interval_is_a_fraction_of_control() -> None:
    goal = comparison(Story().look(DATA).data, "correct")

    assert goal.relative_lower is not None
    assert goal.relative_upper is not None
    assert goal.relative_lower < 0.0928571428571 < goal.relative_upper
    assert goal.relative_lower == pytest.approx(0.0928571428571 - (goal.relative_upper - 0.0928571428571))


def test_credible_interval_is_that_of_the_posterior() -> None:
    """Under a flat prior the posterior is normal around the effect, at the plain standard error."""
    goal = comparison(Story().look(DATA).data, "correct")

    assert (goal.credible_lower, goal.credible_upper) == (goal.fixed_lower, goal.fixed_upper)


def test_expected_loss_and_probability_point_the_same_way() -> None:
    data = Story().look(DATA).data
    goal, latency = comparison(data, "correct"), comparison(data, "latency_ms")

    assert goal.probability_to_beat_control is not None
    assert goal.probability_to_beat_control > 0.99
    assert latency.probability_to_beat_control is not None
    assert latency.probability_to_beat_control < 0.05


def test_secondary_metrics_are_reported_with_e_bh() -> None:
    data = (
        Story()
        .look(
            window(
                {
                    "control": arm(1000, 300, latency_ms=mean(1000, 100, 10), ttft_ms=mean(1000, 50, 10)),
                    "challenger": arm(1000, 300, latency_ms=mean(1000, 110, 10), ttft_ms=mean(1000, 50, 10)),
                }
            )
        )
        .data
    )

    assert (comparison(data, "latency_ms").discovery, comparison(data, "ttft_ms").discovery) == (True, False)
    assert comparison(data, "correct").discovery is None


def test_router_metrics_without_data_are_left_out() -> None:
    assert {one.metric for one in Story().look(DATA).data.comparisons} == {"success", "latency_ms", "correct"}


def test_p_in_the_far_tail_is_not_zero() -> None:
    data = Story().look(window({"control": arm(500_000, 400_000), "challenger": arm(500_000, 100_000)})).data
    goal = comparison(data, "correct")

    assert goal.fixed_p is not None
    assert goal.sequential_p is not None
    assert goal.fixed_p > 0
    assert goal.sequential_p > 0


def test_rate_without_variance_in_an_arm_is_tested_exactly() -> None:
    success = comparison(
        Story().look(window({"control": arm(1000, 300, 0), "challenger": arm(1000, 300, 10)})).data, "success"
    )

    assert success.fixed_p == pytest.approx(0.00191, abs=1e-5)


def test_ratio_over_another_metric_comes_in_their_units() -> None:
    metrics = [
        {"name": "correct", "kind": "proportion", "scale": 1},
        {"name": "clicks", "kind": "count", "scale": 1000},
        {"name": "revenue", "kind": "ratio", "denominator": "metric:clicks", "scale": 100},
    ]
    spent = [(250 if unit % 2 else 50, 1000) for unit in range(500)]
    data = (
        Story(metrics=metrics)
        .look(window({"control": arm(500, 100, revenue=spent), "challenger": arm(500, 100, revenue=spent)}))
        .data
    )

    value = data.variants["control"].metrics["revenue"]
    assert value.value == 1.5
    assert value.standard_error == pytest.approx(1 / math.sqrt(500), rel=2e-3)


# Epochs.


def test_epochs_are_strata() -> None:
    """Control got its units when everything was worse. Within each epoch the arms are the same."""
    story = Story(weights=[9.0, 1.0])
    weights = {"control": 1.0, "challenger": 9.0}
    story.decide(lambda registry: reweight_experiment(registry, EXPERIMENT, weights, PERSON))
    data = story.look(
        window(
            {"control": arm(900, 450), "challenger": arm(100, 50)},
            {"control": arm(100, 10), "challenger": arm(900, 90)},
        )
    ).data

    assert comparison(data, "correct").effect == 0.0
    assert data.variants["control"].metrics["correct"].value == 0.54


def test_epoch_in_which_an_arm_had_no_slots_is_left_out_of_its_comparison() -> None:
    story = Story(challengers=("a", "b"))
    story.decide(lambda registry: reweight_experiment(registry, EXPERIMENT, {"control": 1, "a": 1, "b": 0}, PERSON))
    data = story.look(
        window(
            {name: arm(200, 60) for name in ("control", "a", "b")},
            {name: arm(300, 60) for name in ("control", "a")},
        )
    ).data

    assert [comparison(data, "correct", name).units_against for name in ("a", "b")] == [500, 200]


def test_arm_that_was_rolled_back_is_shown_and_not_compared() -> None:
    story = Story(challengers=("a", "b"))
    story.decide(lambda registry: roll_back_variant(registry, EXPERIMENT, "a", PERSON))
    data = story.look(window({name: arm(200, 60) for name in ("control", "a", "b")})).data

    assert data.variants["a"].units == 200
    assert {one.variant for one in data.comparisons} == {"b"}
    assert {one.variant for one in data.guardrails} == {"b"}
    assert data.leader is None


# Attribution window.


def by_day(**days: Cell) -> Cell:
    parts = {name.removeprefix("d").replace("_", "-"): part for name, part in days.items()}
    everything = cell(sum(part.units for part in parts.values()))
    return everything.model_copy(update={"days": parts})


@pytest.mark.parametrize(
    ("as_of_s", "units"),
    [(37 * HOUR_S, 0), (38 * HOUR_S, 300), (61.999 * HOUR_S, 300), (62 * HOUR_S, 500)],
    ids=["none", "first day", "a moment before the second", "both"],
)
def test_only_days_that_ended_the_attribution_window_ago_are_analysed(as_of_s: float, units: int) -> None:
    """The experiment begins at 10:00; its first day ends 14 h later, and the window of a day ends 38 h later."""
    story = Story(attribution_window_s=24 * HOUR_S)
    cells = {name: by_day(d2026_11_22=arm(300, 90), d2026_11_23=arm(200, 60)) for name in ("control", "challenger")}

    assert comparison(story.look(window(cells, as_of_s=as_of_s)).data, "correct").units == units


def test_router_metrics_need_no_attribution_window() -> None:
    story = Story(attribution_window_s=24 * HOUR_S)
    cells = {name: arm(300, 90) for name in ("control", "challenger")}

    assert comparison(story.look(window(cells)).data, "success").units == 300


# Guardrails.


def test_rate_with_few_failures_passes_by_exact_bounds() -> None:
    """0.5 points pass after 790 units an arm without a failure, and not after 780."""
    story = Story(guardrails=[{"metric": "success", "margin": 0.005}])

    def state(units: int) -> str:
        look = story.look(window({name: arm(units, 90, 0) for name in ("control", "challenger")}))
        return finding(look.data, "success").state

    assert (state(780), state(790)) == ("undecided", "pass")


def test_rate_with_25_failures_passes_by_its_sequence() -> None:
    story = Story(guardrails=[{"metric": "success", "margin": 0.02}])
    of = {units: {name: arm(units, 90, 13) for name in ("control", "challenger")} for units in (500, 2000)}

    assert finding(story.look(window(of[500])).data, "success").state == "undecided"
    assert finding(story.look(window(of[2000])).data, "success").state == "pass"


def test_relative_harm_is_a_fraction_of_control() -> None:
    story = Story(guardrails=[{"metric": "latency_ms", "margin": 0.1}])
    found = finding(story.look(DATA).data, "latency_ms")

    assert (found.harm, found.margin_kind, found.state) == (0.03, "relative", "pass")
    assert found.harm_lower is not None
    assert found.harm_upper is not None
    assert found.harm_lower < 0.03 < found.harm_upper < 0.1


# What is carried from look to look.


def test_running_minimum_of_p_never_rises() -> None:
    story = Story()
    clear = story.accepted(window({"control": arm(1000, 300), "challenger": arm(1000, 200)}))
    unclear = story.accepted(window({"control": arm(1000, 300), "challenger": arm(1000, 300)}))
    low = comparison(clear.data, "correct").sequential_p
    goal = comparison(unclear.data, "correct")

    assert low is not None
    assert low < 0.01
    assert (goal.sequential_p, goal.sequential_p_minimum) == (1.0, low)


def test_verdict_reads_the_present_look_and_not_the_running_minimum() -> None:
    story = Story()
    assert story.accepted(window({"control": arm(1000, 300), "challenger": arm(1000, 150)})).data.verdict.step == 8

    assert story.accepted(window({"control": arm(1000, 300), "challenger": arm(1000, 300)})).data.verdict.step == 10


def test_look_names_all_its_inputs() -> None:
    story = Story()
    first = story.accepted(DATA, at_s=10)
    second = story.look(DATA, at_s=20, previous=first).data

    assert second.previous is not None
    assert (second.previous.id, second.previous.sha256) == (first.id, first.sha256)
    assert (second.revision, second.positions, second.as_of) == (2, {0: 1000}, DATA.as_of)
    assert second.decisions.upto == 4
    assert second.decisions.digest == story.history.digest_at(4).hex()


def test_window_is_not_changed_by_looking_at_it() -> None:
    before = DATA.model_dump_json()
    Story().look(DATA)

    assert DATA.model_dump_json() == before
