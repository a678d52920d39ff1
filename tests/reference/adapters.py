"""How each method of the reference cases is called through the public API of splitgauge.statistics.

One function per method: input of the case -> results under the names that the case expects. Names that a peer
computes by another convention are left out here, each with its reason in NOT_COMPARED.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from splitgauge import statistics as st

Case = Mapping[str, Any]
Results = dict[str, Any]

LEFT_OUT = {
    "pooled_t": "pooled t: Welch's is used throughout",
    "arcsine": "arcsine power: the normal form on the rates themselves is used",
    "barnard": "Barnard's test: Fisher's is the exact one",
    "boschloo": "Boschloo's test: Fisher's is the exact one",
    "agresti": "Agresti-Caffo interval: Newcombe's is used",
    "score": "score interval: Newcombe's is used",
    "simes": "Simes-Hochberg: Holm needs no assumption about dependence",
    "fdr_by": "Benjamini-Yekutieli: e-BH holds under any dependence",
    "ancova": "ANCOVA: CUPED is the same from aggregates",
    "event_count": "event-count sequence: successes are counted once per unit",
    "betting": "betting sequence: it needs the order of the outcomes, aggregates do not have it",
    "empirical_process": "empirical-process bound",
    "double_stitching": "double-stitching bound",
    "gamma_exponential": "gamma-exponential bound",
}
"""What stays out, with the reason: part of a method's name, which each file may decorate in its own way."""


def left_out(method: str) -> str | None:
    """Why a method stays out; None if it does not."""
    if method in ADAPTERS:
        return None
    name = method.lower().replace("-", "_")
    return next((reason for part, reason in LEFT_OUT.items() if part in name), None)


NOT_YET: frozenset[str] = frozenset()
"""Methods of later parts of the library."""

NOT_COMPARED = {
    ("tea-tasting", "rel_effect_size_ci_lower"): "interval of the log ratio; ours is the delta method on the ratio",
    ("tea-tasting", "rel_effect_size_ci_upper"): "interval of the log ratio; ours is the delta method on the ratio",
    ("statsmodels", "n_per_arm_t"): "t power; ours is the normal form",
    ("statsmodels", "se_naive_request_level"): "the wrong answer, recorded as a warning",
}
"""(peer, name) pairs that follow another convention."""

RESTATED = {"kind", "difference", "equal_var", "use_t", "rho", "alternative", "method", "spending", "sides"}
"""Keys of inputs that may go unread: they say again what the name of the method says, or what follows from the rest."""

_OF_CLUSTERS = {
    "n_clusters",
    "main_sum",
    "main_sum_squares",
    "denominator_sum",
    "denominator_sum_squares",
    "main_denominator_sum_product",
}

UNREAD = {
    "additional_samples_fixed": {"sequential_tuning_parameter"},
    "cluster_robust_ols_cr0": {"alpha"},
    "quantile_iid_absolute": _OF_CLUSTERS,
    "quantile_iid_relative": _OF_CLUSTERS,
}
"""Keys that a method has no use for."""


def understood(method: str, key: str) -> bool:
    """Whether it is fine that the adapter of a method did not read a key (`key.key` within a side)."""
    name = key.rsplit(".", 1)[-1]
    # Each sum of a side says again over how many units it was taken.
    return name in RESTATED or name in UNREAD.get(method, ()) or (name == "n" and "." in key)


WRONG_AT_PEER = {
    # The step of its trapezoids is 0.05 of the increment before a look, far too coarse for the short one from 0.50 to
    # 0.51. With steps ten times as fine its own code says 2.620614. Ours is checked against Simpson's rule on 8,001
    # nodes in tests/unit/statistics/test_recursion.py.
    ("spotify-confidence", "lan_demets_power_family"): {2.621701814196845: 2.620603436760},
}
"""(peer, method): numbers that a peer has wrong by more than its case's tolerance, and the right ones."""

_SCALE = 10**6


def _exact(value: float, scale: int) -> int:
    return round(value * scale)


def _cells(side: Case) -> st.Cells:
    """Control or treatment of a case: counts, a mean's sums, or a ratio's sums."""
    if "m" in side:
        m, d = side["m"], side["d"]
        moments = st.exact_moments(
            n=[side["n"]],
            m=[_exact(m["sum"], _SCALE)],
            d=[int(d["sum"])],
            mm=[_exact(m["sum_squares"], _SCALE**2)],
            dd=[int(d["sum_squares"])],
            md=[_exact(side["sum_md"], _SCALE)],
            scale=_SCALE,
        )
        return st.ratios(moments)
    if "sum_squares" in side:
        n, total = side["n"], _exact(side["sum"], _SCALE)
        squares = _exact(side["sum_squares"], _SCALE**2)
        return st.means(st.exact_moments(n=[n], m=[total], d=[n], mm=[squares], dd=[n], md=[total], scale=_SCALE))
    return st.proportions([side["n"]], [side["sum"]])


def _arms(case: Case) -> st.Arms:
    control, treatment = (_cells(case[side]) for side in ("control", "treatment"))
    return st.Arms(st.arm(*control), st.arm(*treatment))


def _effect(case: Case, *, relative: bool = False) -> st.Effect:
    return (st.relative_effect if relative else st.absolute_effect)(*_arms(case))


def _fixed(effect: st.Effect, test: st.FixedTest) -> Results:
    return {
        "effect": effect.value,
        "se": effect.se,
        "ci_lower": test.lower,
        "ci_upper": test.upper,
        "p_value": test.p_value,
    }


def _welch(*, relative: bool) -> Callable[[Case], Results]:
    def run(case: Case) -> Results:
        effect = _effect(case, relative=relative)
        return _fixed(effect, st.welch_test(effect, alpha=case["alpha"]))

    return run


def _z(case: Case) -> Results:
    effect = _effect(case)
    return _fixed(effect, st.z_test(effect, alpha=case["alpha"], few_units=0))


def _by_tea(*, z: bool) -> Callable[[Case], Results]:
    def run(case: Case) -> Results:
        arms, effect, relative = _arms(case), _effect(case), _effect(case, relative=True)
        alpha = case.get("alpha", 0.05)
        test = st.z_test(effect, alpha=alpha, few_units=0) if z else st.welch_test(effect, alpha=alpha)
        return {
            "control": arms.control.mean,
            "treatment": arms.treatment.mean,
            "effect_size": effect.value,
            "effect_size_ci_lower": test.lower,
            "effect_size_ci_upper": test.upper,
            "rel_effect_size": relative.value,
            "pvalue": test.p_value,
            "p_value": test.p_value,
            "statistic": test.statistic,
        }

    return run


def _proportion(method: str) -> Callable[[Case], Results]:
    def run(case: Case) -> Results:
        control, treatment = case["control"], case["treatment"]
        test = st.proportion_test(
            control["n"],
            control["sum"],
            treatment["n"],
            treatment["sum"],
            alpha=case["alpha"],
            method=method,
            continuity=bool(case.get("correction")),
        )
        relative = test.effect / (control["sum"] / control["n"])
        return {
            "control": control["sum"] / control["n"],
            "treatment": treatment["sum"] / treatment["n"],
            "effect_size": test.effect,
            "rel_effect_size": relative,
            "pvalue": test.p_value,
            "p_value": test.p_value,
            "statistic": test.statistic,
        }

    return run


def _newcombe(case: Case) -> Results:
    control, treatment = case["control"], case["treatment"]
    test = st.proportion_test(control["n"], control["sum"], treatment["n"], treatment["sum"], alpha=case["alpha"])
    return {"ci_lower": test.lower, "ci_upper": test.upper}


def _cluster_robust(case: Case) -> Results:
    arms = _arms(case)
    cr0 = sum(arm.mean_variance * (arm.n - 1) / arm.n for arm in arms)
    return {"effect": _effect(case).value, "se_cluster_cr0": np.sqrt(cr0)}


def _sequence(*, relative: bool) -> Callable[[Case], Results]:
    def run(case: Case) -> Results:
        effect, alpha = _effect(case, relative=relative), case["alpha"]
        r2 = st.mixture_variance(case["sequential_tuning_parameter"], alpha=alpha)
        found = st.two_sided_sequence(effect, alpha=alpha, r2=r2)
        return {
            "effect": effect.value,
            "se": effect.se,
            "ci_lower": found.lower,
            "ci_upper": found.upper,
            "p_value": found.p_value,
        }

    return run


def _one_sided(*, greater: bool) -> Callable[[Case], Results]:
    def run(case: Case) -> Results:
        effect, alpha = _effect(case, relative=case["difference"] == "relative"), case["alpha"]
        r2 = st.mixture_variance(case["sequential_tuning_parameter"], alpha=alpha, sides=1)
        found = st.one_sided_sequence(effect, alpha=alpha, r2=r2)
        p = found.p_greater if greater else found.p_less
        return {
            "effect": effect.value,
            "se": effect.se,
            "ci_lower": found.lower if greater else -np.inf,
            "ci_upper": np.inf if greater else found.upper,
            # The peer stops its search there: it takes no alpha of 0.5 or more, and none below 1e-5.
            "p_value": np.clip(p, 1e-5, 0.4999),
        }

    return run


def _normal_posterior(*, relative: bool) -> Callable[[Case], Results]:
    def run(case: Case) -> Results:
        effect, prior = _effect(case, relative=relative), case["prior_on_lift"]
        unit = 1.0 if relative else abs(_arms(case).control.mean)
        found = st.normal_posterior(
            effect,
            alpha=case["alpha"],
            direction=-1 if case["inverse"] else 1,
            prior_mean=prior["mean"] * unit if prior else 0.0,
            prior_sd=np.sqrt(prior["variance"]) * unit if prior else np.inf,
        )
        return {
            "chance_to_win": found.probability_to_beat,
            "effect": found.mean,
            "posterior_sd": found.sd,
            "ci_lower": found.lower,
            "ci_upper": found.upper,
            "risk_control": found.loss_staying,
            "risk_treatment": found.loss_choosing,
        }

    return run


def _beta_binomial(case: Case) -> Results:
    control, treatment, (a, b) = case["control"], case["treatment"], case["prior"]
    found = st.beta_binomial_posterior(
        control["n"],
        control["sum"],
        treatment["n"],
        treatment["sum"],
        alpha=0.05,
        prior_control=(a, b),
        prior_treatment=(a, b),
    )
    return {
        "chance_to_win": found.probability_to_beat,
        "expected_loss_choose_treatment": found.loss_choosing,
        "expected_loss_choose_control": found.loss_staying,
    }


def _rate(case: Case) -> Results:
    c = st.rate_tuning(case["t_opt"], alpha=case["alpha_opt"])
    found = st.rate_sequence(case["n"], case["successes"], alpha=case["alpha"], concentration=c)
    return {"ci_lower": found.lower, "ci_upper": found.upper}


def _normal_mixture(case: Case) -> Results | None:
    if case["one_sided"]:
        return None
    r2 = st.mixture_variance(case["v_opt"], alpha=case["alpha_opt"])
    unit = st.effect(0.0, np.sqrt(case["v"]), n_control=case["v"], n_treatment=0)
    return {"bound": st.two_sided_sequence(unit, alpha=case["alpha"], r2=r2).half_width}


def _normal_log_mixture(case: Case) -> Results:
    r2 = st.mixture_variance(case["v_opt"], alpha=case["alpha_opt"])
    unit = st.effect(case["s"], np.sqrt(case["v"]), n_control=case["v"], n_treatment=0)
    return {"log_e_value": st.two_sided_sequence(unit, alpha=0.05, r2=r2).log_e_value}


def _remaining(case: Case) -> Results:
    effect, alpha = _effect(case, relative=True), case["alpha"]
    r2 = st.mixture_variance(case["sequential_tuning_parameter"], alpha=alpha) if case["sequential"] else None
    found = st.remaining_units(effect, case["target_mde_relative"], alpha=alpha, power=case["target_power"], r2=r2)
    return {
        "power_now": found.power_now,
        "scaling_factor": found.growth,
        # The peer has no number where nothing is missing; ours is 0.
        "additional_users": found.units if found.growth > 0 else None,
    }


def _required(case: Case) -> Results:
    # A one-sided test is half of a two-sided one with twice its error.
    alpha = case["alpha"] * (1 if case["alternative"] == "two-sided" else 2)
    n = st.required_units(1.0, case["cohen_d"], alpha=alpha, power=case["power"])
    return {"n_per_arm_normal": n}


def _adjusted(correct: Callable[[Any], Any]) -> Callable[[Case], Results]:
    def run(case: Case) -> Results:
        adjusted = correct(case["p_values"])
        return {"adjusted": adjusted, "reject": adjusted <= case["alpha"]}

    return run


def _e_bh(case: Case) -> Results:
    with np.errstate(divide="ignore"):
        return {"reject": st.e_bh(np.log(case["e_values"]), alpha=case["alpha"])}


def _noninferiority(case: Case) -> Results:
    effect, up = _effect(case), case["preferred_direction"] == "increase"
    base = _arms(case).control.mean
    null = (-1 if up else 1) * case["relative_margin"] * np.abs(base)
    test = st.z_test(effect, alpha=2 * case["alpha"], null=null, few_units=0)
    p_value = test.p_greater if up else test.p_less
    return {
        "effect": effect.value,
        "ci_lower": test.lower if up else -np.inf,
        "ci_upper": np.inf if up else test.upper,
        "p_value": p_value,
        "null_hypothesis": null,
        "is_significant": p_value < case["alpha"],
    }


def _sample_ratio(case: Case) -> Results:
    seen = np.cumsum(case["increments"], axis=0)
    log_e = st.log_bayes_factor(seen, case["weights"], concentration=case["dirichlet_concentration"])
    return {
        "p_values": np.minimum.accumulate(np.minimum(np.exp(-log_e), 1.0)),
        "posterior_probability": 1 / (1 + np.exp(-log_e)),
    }


def _quantile_arm(side: Case, *, clustered: bool) -> st.Arm:
    """The peer's intervals are at 5 % whatever the test's alpha is."""
    effect_of_design: Any = 1.0
    if clustered:
        sums = [
            [_exact(side[name], 1)]
            for name in (
                "main_sum",
                "denominator_sum",
                "main_sum_squares",
                "denominator_sum_squares",
                "main_denominator_sum_product",
            )
        ]
        m, d, mm, dd, md = sums
        share = st.ratios(st.exact_moments(n=[side["n_clusters"]], m=m, d=d, mm=mm, dd=dd, md=md))
        effect_of_design = st.design_effect(share, side["n"], rate=side["nu"])
    return st.quantile_arm(
        side["n"],
        side["quantile_hat"],
        side["quantile_lower"],
        side["quantile_upper"],
        level=side["nu"],
        alpha=0.05,
        n_interval=side["n_star"],
        effect_of_design=effect_of_design,
    )


def _quantile(*, clustered: bool, relative: bool) -> Callable[[Case], Results]:
    def run(case: Case) -> Results:
        control, treatment = (_quantile_arm(case[side], clustered=clustered) for side in ("control", "treatment"))
        effect = (st.relative_effect if relative else st.absolute_effect)(control, treatment)
        return _fixed(effect, st.welch_test(effect, alpha=case["alpha"]))

    return run


def _chi_square(case: Case) -> Results:
    share = np.asarray(case["weights"], dtype=np.float64) / np.sum(case["weights"])
    return {"p_value": st.chi_square_test([case["users"]], share).p_value}


def _share(method: str) -> Callable[[Case], Results]:
    def run(case: Case) -> Results:
        control, treatment = case["users"]
        share = case["weights"][1] / sum(case["weights"])
        test = st.share_test(
            treatment, control + treatment, share, method=method, continuity=bool(case.get("correction"))
        )
        return {"p_value": test.p_value, "pvalue": test.p_value}

    return run


def _rate_ratio(case: Case) -> Results:
    (control, treatment), weights = case["successes"], case["assignment_probabilities"]
    found = st.rate_ratio_sequence(
        [control],
        [treatment],
        weights[1],
        alpha=case["alpha"],
        concentration=case["dirichlet_concentration"],
    )
    return {"p_value": found.p_value, "log_rate_ratio_ci": [found.lower, found.upper]}


def _with_covariate(side: Case) -> st.Moments:
    n, total, square = side["n"], side["post"]["sum"], side["post"]["sum_squares"]
    return st.exact_moments(
        n=[n],
        m=[_exact(total, _SCALE)],
        d=[n],
        mm=[_exact(square, _SCALE**2)],
        dd=[n],
        md=[_exact(total, _SCALE)],
        x=[_exact(side["pre"]["sum"], _SCALE)],
        xx=[_exact(side["pre"]["sum_squares"], _SCALE**2)],
        mx=[_exact(side["sum_post_pre"], _SCALE**2)],
        dx=[_exact(side["pre"]["sum"], _SCALE)],
        scale=_SCALE,
        x_scale=_SCALE,
    )


def _cuped(case: Case) -> tuple[st.Adjusted, st.Effect]:
    adjusted = st.adjusted_means(*(_with_covariate(case[side]) for side in ("control", "treatment")))
    arms = st.combine_epochs(adjusted.control, adjusted.treatment, guard=False)
    return adjusted, st.absolute_effect(*arms)


def _cuped_absolute(case: Case) -> Results:
    _, effect = _cuped(case)
    return _fixed(effect, st.welch_test(effect, alpha=case["alpha"]))


def _cuped_relative(case: Case) -> Results:
    """The peer's derivative by control's mean is -y1/y0^2 where -(y1 - theta (x1 - x0))/y0^2 is right
    (tests/unit/statistics/test_cuped.py has the derivation): its error is made here from our parts, and must be near.
    """
    adjusted, _ = _cuped(case)
    right = st.adjusted_relative_effect(adjusted, guard=False)
    control, treatment = adjusted.control, adjusted.treatment
    k = adjusted.unadjusted[1].value / control.value
    tilted = k**2 * control.variance + 2 * k * (k - 1) * adjusted.control_shift_covariance
    tilted = tilted + (k - 1) ** 2 * adjusted.control_shift_variance
    se = np.sqrt(treatment.variance / treatment.n + tilted / control.n) / control.value
    np.testing.assert_allclose(right.se, np.squeeze(se), rtol=0.1)
    theirs = right._replace(se=se)
    return _fixed(theirs, st.welch_test(theirs, alpha=case["alpha"]))


def _cuped_by_tea(case: Case) -> Results:
    """Its arms are both adjusted to the mean covariate of all units, ours to control's: the same difference."""
    adjusted, effect = _cuped(case)
    control, treatment = (_with_covariate(case[side]) for side in ("control", "treatment"))
    overall = (control.n * control.mean_x + treatment.n * treatment.mean_x) / (control.n + treatment.n)
    base = control.mean_m - adjusted.theta * (control.mean_x - overall)
    test = st.welch_test(effect, alpha=case["alpha"])
    return {
        "control": base,
        "treatment": base + effect.value,
        "effect_size": effect.value,
        "effect_size_ci_lower": test.lower,
        "effect_size_ci_upper": test.upper,
        "rel_effect_size": effect.value / base,
        "pvalue": test.p_value,
        "statistic": test.statistic,
    }


def _cuped_z(case: Case) -> Results:
    """The peer divides the covariate's moments by n, and those of the metric by n - 1; ours are by n - 1 all."""
    adjusted, effect = _cuped(case)
    variance = sum(
        (plain.variance - (plain.variance - cell.variance) * (plain.n - 1) / plain.n) / plain.n
        for cell, plain in zip(adjusted[:2], adjusted.unadjusted, strict=True)
    )
    theirs = effect._replace(se=np.sqrt(variance))
    return _fixed(theirs, st.z_test(theirs, alpha=case["alpha"], few_units=0))


def _lan_demets(spending: st.Spending, *, one_side: bool = False) -> Callable[[Case], Results]:
    def run(case: Case) -> Results:
        fractions, alpha, sides = case["information_fractions"], case["alpha"], case["sides"]
        if one_side:  # two one-sided boundaries, each of which knows nothing of the other
            alpha, sides = alpha / sides, 1
        found = st.group_sequential_boundaries(fractions, alpha=alpha, spending=spending, phi=2.0, sides=sides)
        return {"z_bounds": found.boundary}

    return run


ADAPTERS: dict[str, Callable[[Case], Results | None]] = {
    "additional_samples_fixed": _remaining,
    "additional_samples_sequential": _remaining,
    "asymptotic_cs_one_sided_greater": _one_sided(greater=True),
    "asymptotic_cs_one_sided_lesser": _one_sided(greater=False),
    "asymptotic_cs_two_sided_absolute": _sequence(relative=False),
    "asymptotic_cs_two_sided_relative": _sequence(relative=True),
    "beta_binomial_exact": _beta_binomial,
    "beta_binomial_mixture_cs": _rate,
    "bonferroni": _adjusted(st.bonferroni),
    "ci_diff_newcomb": _newcombe,
    "ci_diff_wald": _z,
    "chi_square": _chi_square,
    "cluster_robust_ols_cr0": _cluster_robust,
    "cuped_welch_absolute": _cuped_absolute,
    "cuped_welch_relative": _cuped_relative,
    "cuped_welch_t": _cuped_by_tea,
    "cuped_z": _cuped_z,
    "e_bh": _e_bh,
    "fdr_bh": _adjusted(st.benjamini_hochberg),
    "holm": _adjusted(st.holm),
    "lan_demets_obrien_fleming": _lan_demets("obrien_fleming"),
    "lan_demets_pocock": _lan_demets("pocock"),
    "lan_demets_power2": _lan_demets("power"),
    "lan_demets_power_family": _lan_demets("power", one_side=True),
    "mean_welch_t": _by_tea(z=False),
    "mean_welch_z": _by_tea(z=True),
    "normal_log_mixture_two_sided": _normal_log_mixture,
    "normal_mixture_bound_two_sided": _normal_mixture,
    "normal_normal_absolute": _normal_posterior(relative=False),
    "normal_normal_relative": _normal_posterior(relative=True),
    "proportion_fisher": _proportion("exact"),
    "proportion_norm": _proportion("pooled"),
    "quantile_clustered_absolute": _quantile(clustered=True, relative=False),
    "quantile_clustered_relative": _quantile(clustered=True, relative=True),
    "quantile_iid_absolute": _quantile(clustered=False, relative=False),
    "quantile_iid_relative": _quantile(clustered=False, relative=True),
    "ratio_delta_welch_t": _by_tea(z=False),
    "required_n_per_arm": _required,
    "sequential_multinomial_dirichlet": _sample_ratio,
    "srm_binom": _share("exact"),
    "srm_norm": _share("normal"),
    "two_sample_success_count_cs": _rate_ratio,
    "welch_t_absolute": _welch(relative=False),
    "welch_t_relative": _welch(relative=True),
    "z_noninferiority": _noninferiority,
    "z_pooled": _proportion("pooled"),
    "z_unpooled": _z,
}
