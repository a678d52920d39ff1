"""What a covariate changes in a look: narrower intervals of the same effect, and nothing where it says nothing."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from look_stories import Story, cohort, rate, specification, sums, window, with_covariate
from splitgauge.schemas.analysis import AnalysisData, Comparison, GuardrailFinding
from splitgauge.schemas.tables import Cell, WindowData

SCALE = 1_000_000
REVENUE: dict[str, Any] = {"name": "revenue", "kind": "mean", "covariate": {"attribute": "spent_before"}}
PLAIN = {key: value for key, value in REVENUE.items() if key != "covariate"}
GOAL = {"metric": "revenue"}

Units = Sequence[tuple[float, int, float]]
"""(value, denominator, covariate) of each unit."""


def units(number: int, *, gain: float = 0.0, seed: int = 1, noise: float = 3.0, silent: int = 0) -> Units:
    """Spending goes on as it was before, more or less; some units report nothing."""
    chance = random.Random(seed)
    out: list[tuple[float, int, float]] = []
    for unit in range(number):
        before = round(chance.gauss(100, 10), 4)
        value = round(before + gain + chance.gauss(0, noise), 4)
        out.append((0.0, 0, before) if unit < silent else (value, 1, before))
    return out


def arm(of: Units, *, constant: float | None = None) -> Cell:
    fixed = [(round(m * SCALE), d, round((x if constant is None else constant) * SCALE)) for m, d, x in of]
    plain = cohort(len(of), {"success": rate(len(of), 3)})
    revenue = with_covariate(sums([(m, d) for m, d, _ in fixed]), fixed)
    return plain.model_copy(update={"metrics": {**plain.metrics, "revenue": revenue}})


def seen(control: Cell, challenger: Cell) -> WindowData:
    return window({"control": control, "challenger": challenger})


def look(control: Units, challenger: Units, **changes: Any) -> AnalysisData:
    story = Story(**{"metrics": [REVENUE], "goal": GOAL, **changes})
    return story.look(seen(arm(control), arm(challenger))).data


def goal(data: AnalysisData) -> Comparison:
    [found] = [one for one in data.comparisons if one.role == "goal"]
    return found


CONTROL, CHALLENGER = units(800, seed=1), units(800, gain=1.0, seed=2)


def test_effect_is_adjusted_as_on_the_units_themselves() -> None:
    found = goal(look(CONTROL, CHALLENGER))
    (y0, _, x0), (y1, _, x1) = (np.array(of).T for of in (CONTROL, CHALLENGER))
    x, y = np.concatenate([x0, x1]), np.concatenate([y0, y1])
    theta = float(np.cov(y, x)[0, 1] / np.var(x, ddof=1))
    rest = [y0 - theta * x0, y1 - theta * x1]

    assert found.effect == pytest.approx(rest[1].mean() - rest[0].mean())
    variances = [float(np.var(one, ddof=1)) for one in rest]
    pooled = sum(variances) / 2
    guarded = sum(max(own, pooled) for own in variances) / 800
    assert found.standard_error == pytest.approx(guarded**0.5)
    assert found.unadjusted_effect == pytest.approx(float(y1.mean() - y0.mean()))
    plain = sum(float(np.var(one, ddof=1)) for one in (y0, y1))
    assert found.variance_reduction == pytest.approx(1 - sum(variances) / plain)
    assert found.adjusted_by == "spent_before"


def test_relative_effect_has_the_noise_of_control_and_of_its_covariate() -> None:
    """Half-widths are as the standard errors: that of the linearised units, k y - theta x in control, k = y1 / y0."""
    found = goal(look(CONTROL, CHALLENGER))
    (y0, _, x0), (y1, _, x1) = (np.array(of).T for of in (CONTROL, CHALLENGER))
    x, y = np.concatenate([x0, x1]), np.concatenate([y0, y1])
    theta = float(np.cov(y, x)[0, 1] / np.var(x, ddof=1))
    k = (y1.mean() - theta * (x1.mean() - x0.mean())) / y0.mean()
    parts = [float(np.var(one, ddof=1)) for one in (k * y0 - theta * x0, y1 - theta * x1)]
    expected = (sum(parts) / 800) ** 0.5 / y0.mean()
    assert found.relative_effect == pytest.approx(k - 1)

    assert found.relative_upper is not None
    assert found.sequential_upper is not None
    assert found.relative_effect is not None
    assert found.effect is not None
    assert found.standard_error is not None
    widths = (found.relative_upper - found.relative_effect) / (found.sequential_upper - found.effect)
    # The guard for unequal splits raises the variance of the steadier arm.
    assert widths * found.standard_error == pytest.approx(expected, rel=0.05)
    assert widths * found.standard_error >= expected * (1 - 1e-9)


def test_adjusted_effect_decides() -> None:
    """One more with a spread of ten is undecided after 800 units an arm; with a spread of three it is not."""
    assert look(CONTROL, CHALLENGER).verdict.step == 8
    assert look(CONTROL, CHALLENGER, metrics=[PLAIN]).verdict.step == 10


def test_reason_says_what_it_is_adjusted_for() -> None:
    assert look(CONTROL, CHALLENGER).verdict.reason.startswith(
        "challenger's revenue, adjusted for spent_before, is 0.8694 higher"
    )


def test_values_of_the_variants_stay_as_measured() -> None:
    data = look(CONTROL, CHALLENGER)

    assert data.variants["control"].metrics["revenue"].value == pytest.approx(np.mean([m for m, *_ in CONTROL]))


def test_covariate_that_does_not_vary_changes_nothing() -> None:
    data = seen(arm(CONTROL, constant=7.0), arm(CHALLENGER, constant=7.0))
    with_it = goal(Story(metrics=[REVENUE], goal=GOAL).look(data).data)
    without = goal(Story(metrics=[PLAIN], goal=GOAL).look(data).data)

    assert (with_it.effect, with_it.standard_error, with_it.sequential_p) == pytest.approx(
        (without.effect, without.standard_error, without.sequential_p)
    )
    assert with_it.variance_reduction == 0.0


def test_units_without_data_still_have_their_covariate() -> None:
    """Half report nothing: the effect is of those who do, and the counts are theirs."""
    silent = [units(800, gain=gain, seed=seed, silent=400) for gain, seed in ((0.0, 1), (1.0, 2))]
    found = goal(look(*silent))

    assert (found.units, found.units_against) == (400, 400)
    assert found.effect == pytest.approx(1.0, abs=3 * (found.standard_error or 0.0))
    assert found.variance_reduction is not None
    # Those without data are no evidence, but their covariate is known: less is taken away than where all report.
    assert 0.2 < found.variance_reduction < 0.9


def test_metrics_without_a_covariate_are_not_adjusted() -> None:
    [success] = [one for one in look(CONTROL, CHALLENGER).comparisons if one.metric == "success"]

    assert (success.adjusted_by, success.variance_reduction, success.unadjusted_effect) == (None, None, None)


@pytest.mark.parametrize("margin_kind", ["absolute", "relative"])
def test_guardrail_takes_the_adjusted_numbers(margin_kind: str) -> None:
    margin = 1.0 if margin_kind == "absolute" else 0.01
    guardrail = {"metric": "revenue", "margin": margin, "margin_kind": margin_kind}

    def finding(metric: dict[str, Any]) -> GuardrailFinding:
        data = look(CONTROL, units(800, seed=2), metrics=[metric], goal={"metric": "success"}, guardrails=[guardrail])
        return data.guardrails[0]

    adjusted, plain = finding(REVENUE), finding(PLAIN)
    assert (adjusted.state, plain.state) == ("pass", "undecided")


def test_rate_that_does_not_vary_is_not_adjusted() -> None:
    """Always right against never: what is left of a covariate there is chance, and no variance."""
    solved = {"name": "revenue", "kind": "proportion", "scale": SCALE, "covariate": {"attribute": "spent_before"}}
    never = [(0.0, 1, x) for *_, x in CONTROL]
    always = [(1.0, 1, x) for *_, x in CHALLENGER]
    found = goal(look(never, always, metrics=[solved]))

    assert found.effect == 1.0
    assert found.standard_error == pytest.approx((2 * 0.25 / 800) ** 0.5)


def test_rare_outcomes_take_no_covariate() -> None:
    solved = {"name": "solved", "kind": "proportion", "scale": 1, "covariate": {"attribute": "age"}}

    with pytest.raises(ValidationError, match="which no covariate adjusts"):
        specification(metrics=[{**solved, "engine": "rare"}], goal={"metric": "success"})
    with pytest.raises(ValidationError, match="which no covariate adjusts"):
        specification(metrics=[solved], goal={"metric": "solved", "engine": "rare"})


# Imbalance (health).


def test_covariate_that_differs_between_the_arms_makes_it_invalid() -> None:
    shifted = [(value + 5, one, before + 5) for value, one, before in CHALLENGER]
    data = look(CONTROL, shifted)

    assert (data.health.state, data.verdict.step) == ("invalid", 4)
    assert data.health.covariate_log_e is not None
    assert data.health.covariate_log_e > np.log(1000)
    assert data.verdict.reason.startswith(
        "units differed before the experiment: spent_before of challenger's was 5.237 higher on average than of "
        "control's"
    )


def test_covariates_alike_are_healthy() -> None:
    health = look(CONTROL, CHALLENGER).health

    assert health.state == "healthy"
    assert health.covariate_log_e is not None
    assert health.covariate_log_e < 0


def test_few_units_show_no_imbalance() -> None:
    far = [(value, one, before + 50) for value, one, before in CHALLENGER[:99]]

    assert look(CONTROL[:99], far).health.covariate_log_e is None
    far = [(value, one, before + 50) for value, one, before in CHALLENGER[:100]]
    assert look(CONTROL[:100], far).health.state == "invalid"


def test_without_covariates_there_is_nothing_to_differ() -> None:
    assert look(CONTROL, CHALLENGER, metrics=[PLAIN]).health.covariate_log_e is None
