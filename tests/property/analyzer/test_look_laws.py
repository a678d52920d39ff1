"""Laws of looks, for any numbers: a verdict is a function of its inputs, and knows neither order nor arm names."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from look_stories import HOUR_S, Story, cell, sums, window
from splitgauge.analyzer import Look, is_worth_logging, propose
from splitgauge.schemas.analysis import AnalysisData, Comparison, PlannedLook
from splitgauge.schemas.tables import Cell, MetricSums, WindowData

COSTLY = settings(max_examples=30)

REQUESTS = st.integers(0, 4).flatmap(lambda d: st.tuples(st.integers(0, d), st.just(d)))
LATENCIES = st.tuples(st.integers(1, 10**12), st.just(1))


@st.composite
def arms(draw: st.DrawFn) -> Cell:
    """Any cohort: a few stories, told often enough that there are numbers to judge."""
    stories, times = draw(st.integers(1, 8)), draw(st.integers(1, 60))

    def told(one: st.SearchStrategy[tuple[int, int]]) -> MetricSums:
        once = sums(draw(st.lists(one, min_size=stories, max_size=stories)))
        return MetricSums(**{name: getattr(once, name) * times for name in MetricSums.model_fields})

    units = stories * times
    metrics = {"success": told(REQUESTS), "correct": told(REQUESTS), "latency_ms": told(LATENCIES)}
    return cell(units, requests=units * draw(st.integers(1, 5))).model_copy(update={"metrics": metrics})


@st.composite
def windows(draw: st.DrawFn, *, epochs: int = 1) -> WindowData:
    cells = [{name: draw(arms()) for name in ("control", "challenger")} for _ in range(epochs)]
    return window(*cells, as_of_s=draw(st.sampled_from([0.0, 48 * HOUR_S])))


def two_guardrails(**changes: object) -> Story:
    guardrails = [{"metric": "success", "margin": 0.02}, {"metric": "latency_ms", "margin": 0.1}]
    return Story(guardrails=guardrails, **changes)


@COSTLY
@given(windows())
def test_look_is_a_function_of_its_inputs(data: WindowData) -> None:
    looks = [two_guardrails().look(data) for _ in range(2)]

    assert looks[0].value == looks[1].value


KINDS: list[dict[str, object]] = [
    {},
    {"goal": {"metric": "correct", "minimum_detectable_effect": 0.1}},
    {"goal": {"metric": "latency_ms", "minimum_detectable_effect": 0.1, "effect": "relative"}},
    {"planned_units": 40, "goal": {"metric": "correct", "engine": "fixed", "minimum_detectable_effect": 0.1}},
    {
        "planned_units": 40,
        "goal": {"metric": "correct", "engine": "group_sequential", "minimum_detectable_effect": 0.1},
    },
    {"goal": {"metric": "correct", "engine": "rare", "minimum_detectable_effect": 0.1}},
    {
        "goal": {"metric": "correct", "engine": "bayes", "prior_sd": 0.1, "effect": "relative"},
        "policy": {"expected_loss_threshold": 0.01},
    },
    {"ramp": {"steps": [{"share": 0.1, "units": 10}]}, "minimum": {"units": 20, "requests": 20}},
    {"maximum_duration_s": HOUR_S},
]


@COSTLY
@given(windows(), st.sampled_from(KINDS))
def test_any_window_is_judged_by_exactly_one_step_with_a_reason(data: WindowData, changes: dict[str, object]) -> None:
    look = two_guardrails(**changes).look(data).data
    verdict = look.verdict

    assert verdict.reason
    assert (verdict.promotable is None) == (verdict.not_promotable_because is not None)
    if verdict.step == 8:
        assert verdict.promotable == "challenger"
        assert look.health.state != "invalid"
        assert all(finding.state == "pass" for finding in look.guardrails)
    if verdict.step > 2:
        assert all(finding.state != "harm" for finding in look.guardrails)


@COSTLY
@given(windows())
def test_swapped_arms_swap_the_effect(data: WindowData) -> None:
    [cells] = data.epochs.values()
    swapped = data.model_copy(
        update={"epochs": {"1": {"control": cells["challenger"], "challenger": cells["control"]}}}
    )
    there, back = (_goal(two_guardrails().look(seen)) for seen in (data, swapped))

    assert _negated(there.effect) == back.effect
    assert _negated(there.sequential_lower) == back.sequential_upper
    assert there.sequential_p == back.sequential_p
    assert there.standard_error == back.standard_error


@COSTLY
@given(windows())
def test_never_better_and_worse_at_once(data: WindowData) -> None:
    [cells] = data.epochs.values()
    swapped = data.model_copy(
        update={"epochs": {"1": {"control": cells["challenger"], "challenger": cells["control"]}}}
    )
    steps = {two_guardrails().look(seen).data.verdict.step for seen in (data, swapped)}

    assert steps != {8}


@COSTLY
@given(windows(), st.lists(windows(), max_size=4))
def test_what_was_seen_before_changes_no_number_but_the_running_minimum(
    data: WindowData, before: list[WindowData]
) -> None:
    """Looking more often neither declares nor un-declares anything; only the alarm of the sample ratio stays."""
    story = two_guardrails()
    for number, earlier in enumerate(before):
        story.accepted(earlier, at_s=10 + number)
    alone, after = two_guardrails().look(data).data, story.accepted(data).data

    assert _without_minimum(alone) == _without_minimum(after)
    assert alone.guardrails == after.guardrails
    if after.health.sample_ratio_latched == alone.health.sample_ratio_latched:
        assert alone.verdict == after.verdict


@COSTLY
@given(windows())
def test_logged_look_is_not_logged_again_at_once_and_proposes_one_thing(data: WindowData) -> None:
    story = two_guardrails()
    accepted = story.accepted(data)

    assert not is_worth_logging(story.look(data, previous=accepted).data, accepted.data)
    first, again = (propose(story.history.newest, accepted, name="a") for _ in range(2))
    assert first == again
    assert (first is None) == (accepted.data.verdict.proposal is None)


@COSTLY
@given(arms(), arms(), st.permutations([0, 1, 2]))
def test_order_of_challengers_changes_no_comparison(control: Cell, other: Cell, order: list[int]) -> None:
    names = ("a", "b", "c")
    cells = {"control": control, "a": other, "b": control, "c": other}
    turned = Story(challengers=tuple(names[place] for place in order)).look(window(cells)).data
    straight = Story(challengers=names).look(window(cells)).data

    assert _by_name(turned) == _by_name(straight)
    assert (turned.health.state, turned.health.missing_log_e) == (straight.health.state, straight.health.missing_log_e)


@COSTLY
@given(windows(epochs=2), st.sampled_from(["asymptotic", "rare", "bayes"]))
def test_p_and_interval_agree(data: WindowData, engine: str) -> None:
    goal = {"metric": "correct", "engine": engine}
    policy = {"expected_loss_threshold": 0.01}
    found = _goal(two_guardrails(goal=goal, policy=policy).look(data))
    low, high = found.sequential_lower, found.sequential_upper

    if found.sequential_p is not None:
        excludes = (low is not None and low > 0) or (high is not None and high < 0)
        assert (found.sequential_p < 0.05) == excludes or found.sequential_p == pytest.approx(0.05, rel=1e-9)


@COSTLY
@given(windows())
def test_swapped_arms_turn_the_rate_ratio_over(data: WindowData) -> None:
    [cells] = data.epochs.values()
    swapped = data.model_copy(
        update={"epochs": {"1": {"control": cells["challenger"], "challenger": cells["control"]}}}
    )
    goal = {"metric": "correct", "engine": "rare"}
    there, back = (_goal(two_guardrails(goal=goal).look(seen)) for seen in (data, swapped))

    assert there.sequential_p == pytest.approx(back.sequential_p)
    assert there.counted is not None
    assert back.counted is not None
    assert there.counted.outcome == back.counted.outcome
    if there.counted.rate_ratio and back.counted.rate_ratio:
        assert there.counted.rate_ratio * back.counted.rate_ratio == pytest.approx(1)
    if there.sequential_lower is not None and back.sequential_upper is not None:
        assert (1 + there.sequential_lower) * (1 + back.sequential_upper) == pytest.approx(1)


@COSTLY
@given(st.lists(windows(), min_size=2, max_size=4), st.sampled_from(["fixed", "group_sequential"]))
def test_planned_looks_that_were_taken_stand(seen: list[WindowData], engine: str) -> None:
    """Whatever comes later, also less than before: nothing of them changes, and none is taken twice."""
    story = two_guardrails(goal={"metric": "correct", "engine": engine}, planned_units=300, minimum={"units": 5})
    before: list[PlannedLook] = []
    for number, data in enumerate(seen):
        looks = story.accepted(data, at_s=10 + number).data.state.planned_looks
        assert looks[: len(before)] == before
        assert [look.number for look in looks] == sorted({look.number for look in looks})
        before = looks


def _goal(look: Look) -> Comparison:
    [goal] = [one for one in look.data.comparisons if one.role == "goal"]
    return goal


def _by_name(data: AnalysisData) -> dict[tuple[str, str], Comparison]:
    return {(one.variant, one.metric): one for one in data.comparisons}


def _negated(value: float | None) -> float | None:
    return None if value is None else -value + 0.0


def _without_minimum(data: AnalysisData) -> list[Comparison]:
    return [one.model_copy(update={"sequential_p_minimum": None}) for one in data.comparisons]
