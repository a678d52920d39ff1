"""The mathematics of experiments, usable by itself: arrays in, named tuples of float64 arrays out, one element per
comparison.

    raw rows -> Moments -> Cells per epoch -> Arms over epochs -> Effect -> any engine
    (units)     (aggregates: exact sums)     (strata)            (effects)  fixed, confidence_sequence, posterior,
                 means, ratios                                              planning

    docs/statistics.md goes this way with an example.

    Moments with a covariate -> cuped -> adjusted Cells (in the same place), balance (is it the same in both arms?)
    planned effect -> sample_size, sequential_power, group_sequential_power (before the start)

Counts go straight to `count_sequence` (for one look, `chi_square`), early and late sums to `novelty`, guardrails from
arms to `noninferiority`, families to `multiplicity`. Every function broadcasts, raises no warning, gives nan where its
docstring says undefined, and refuses what breaks its contract with a ContractError that names argument, value and rule.
No clock, no randomness, no I/O; nothing of Splitgauge but its error tree.
"""

from splitgauge.statistics.aggregates import Cells, Moments, cells, exact_moments, means, proportions, ratios
from splitgauge.statistics.balance import Balance, covariate_balance
from splitgauge.statistics.best_arm import BestArm, best_arm
from splitgauge.statistics.beta_binomial import BetaPosterior, beta_binomial_posterior
from splitgauge.statistics.binomial import ShareTest, share_test
from splitgauge.statistics.chi_square import ChiSquare, chi_square_test
from splitgauge.statistics.confidence_sequence import (
    OneSidedSequence,
    TwoSidedSequence,
    mixture_variance,
    one_sided_sequence,
    two_sided_sequence,
)
from splitgauge.statistics.count_sequence import (
    FirstFailures,
    RateBounds,
    SampleRatio,
    first_failures,
    log_bayes_factor,
    rate_sequence,
    rate_tuning,
    sample_ratio,
)
from splitgauge.statistics.cuped import (
    Adjusted,
    adjusted_means,
    adjusted_ratios,
    adjusted_relative_effect,
    variance_reduction,
)
from splitgauge.statistics.effects import Effect, absolute_effect, effect, relative_effect
from splitgauge.statistics.fixed import FEW_UNITS, FixedTest, ProportionTest, proportion_test, welch_test, z_test
from splitgauge.statistics.group_sequential import (
    GroupSequentialBoundaries,
    GroupSequentialPlan,
    GroupSequentialStopping,
    group_sequential_boundaries,
    group_sequential_drift,
    group_sequential_stopping,
)
from splitgauge.statistics.group_sequential_looks import GroupSequentialLook, TakenLook, group_sequential_look
from splitgauge.statistics.group_sequential_power import GroupPower, group_power, group_units
from splitgauge.statistics.histogram import (
    NAN_BUCKET,
    Histogram,
    bucket_edges,
    bucket_of,
    histogram_of,
    merged,
    representative,
    value_at_rank,
)
from splitgauge.statistics.multiplicity import benjamini_hochberg, bonferroni, e_bh, holm
from splitgauge.statistics.noninferiority import (
    Guardrail,
    NoninferiorityTest,
    RareRateGuardrail,
    guardrail_sequence,
    noninferiority_test,
    rare_rate_guardrail,
)
from splitgauge.statistics.novelty import (
    NOVELTY_COLUMNS,
    NOVELTY_PRODUCTS,
    Novelty,
    NoveltyMoments,
    novelty_moments,
    novelty_test,
)
from splitgauge.statistics.paired import PAIR_COLUMNS, paired_effect
from splitgauge.statistics.planning import Remaining, conditional_power, remaining_units, required_units
from splitgauge.statistics.posterior import BayesDecision, Posterior, bayes_decision, normal_posterior
from splitgauge.statistics.quantiles import (
    QuantileRanks,
    Quantiles,
    design_effect,
    histogram_quantiles,
    quantile_arm,
    quantile_ranks,
    quantile_ranks_sequence,
    quantile_values_needed,
)
from splitgauge.statistics.rate_ratio import RateRatio, rate_ratio_sequence
from splitgauge.statistics.sample_size import (
    PlannedEffect,
    detectable_effect,
    duration_days,
    fixed_power,
    fixed_units,
    linearised_variance,
    planned_mean,
    planned_proportion,
)
from splitgauge.statistics.sequential_power import SequentialPower, sequential_power, sequential_units
from splitgauge.statistics.spending import Spending, spent_alpha
from splitgauge.statistics.strata import Arm, Arms, arm, combine_epochs, guarded
from splitgauge.statistics.units import Fold, unit_moments

__all__ = [
    "FEW_UNITS",
    "NAN_BUCKET",
    "NOVELTY_COLUMNS",
    "NOVELTY_PRODUCTS",
    "PAIR_COLUMNS",
    "Adjusted",
    "Arm",
    "Arms",
    "Balance",
    "BayesDecision",
    "BestArm",
    "BetaPosterior",
    "Cells",
    "ChiSquare",
    "Effect",
    "FirstFailures",
    "FixedTest",
    "Fold",
    "GroupPower",
    "GroupSequentialBoundaries",
    "GroupSequentialLook",
    "GroupSequentialPlan",
    "GroupSequentialStopping",
    "Guardrail",
    "Histogram",
    "Moments",
    "NoninferiorityTest",
    "Novelty",
    "NoveltyMoments",
    "OneSidedSequence",
    "PlannedEffect",
    "Posterior",
    "ProportionTest",
    "QuantileRanks",
    "Quantiles",
    "RareRateGuardrail",
    "RateBounds",
    "RateRatio",
    "Remaining",
    "SampleRatio",
    "SequentialPower",
    "ShareTest",
    "Spending",
    "TakenLook",
    "TwoSidedSequence",
    "absolute_effect",
    "adjusted_means",
    "adjusted_ratios",
    "adjusted_relative_effect",
    "arm",
    "bayes_decision",
    "benjamini_hochberg",
    "best_arm",
    "beta_binomial_posterior",
    "bonferroni",
    "bucket_edges",
    "bucket_of",
    "cells",
    "chi_square_test",
    "combine_epochs",
    "conditional_power",
    "covariate_balance",
    "design_effect",
    "detectable_effect",
    "duration_days",
    "e_bh",
    "effect",
    "exact_moments",
    "first_failures",
    "fixed_power",
    "fixed_units",
    "group_power",
    "group_sequential_boundaries",
    "group_sequential_drift",
    "group_sequential_look",
    "group_sequential_stopping",
    "group_units",
    "guarded",
    "guardrail_sequence",
    "histogram_of",
    "histogram_quantiles",
    "holm",
    "linearised_variance",
    "log_bayes_factor",
    "means",
    "merged",
    "mixture_variance",
    "noninferiority_test",
    "normal_posterior",
    "novelty_moments",
    "novelty_test",
    "one_sided_sequence",
    "paired_effect",
    "planned_mean",
    "planned_proportion",
    "proportion_test",
    "proportions",
    "quantile_arm",
    "quantile_ranks",
    "quantile_ranks_sequence",
    "quantile_values_needed",
    "rare_rate_guardrail",
    "rate_ratio_sequence",
    "rate_sequence",
    "rate_tuning",
    "ratios",
    "relative_effect",
    "remaining_units",
    "representative",
    "required_units",
    "sample_ratio",
    "sequential_power",
    "sequential_units",
    "share_test",
    "spent_alpha",
    "two_sided_sequence",
    "unit_moments",
    "value_at_rank",
    "variance_reduction",
    "welch_test",
    "z_test",
]
