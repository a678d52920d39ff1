"""The mathematics of experiments, usable by itself: arrays in, named tuples of float64 arrays out, one element per
comparison.

    exact sums -> Moments -> Cells per epoch -> Arms over epochs -> Effect -> any engine
    (aggregates)            (means, ratios)    (strata)            (effects)  fixed, confidence_sequence, posterior,
    planning

Counts go straight to `count_sequence`, guardrails from arms to `noninferiority`, families to `multiplicity`. Every
function broadcasts, raises no warning, gives nan where its docstring says undefined, and refuses what breaks its
contract with a ContractError that names argument, value and rule. No clock, no randomness, no I/O; nothing of
Splitgauge but its error tree.
"""

from splitgauge.statistics.aggregates import Cells, Moments, cells, exact_moments, means, proportions, ratios
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
from splitgauge.statistics.effects import Effect, absolute_effect, effect, relative_effect
from splitgauge.statistics.fixed import FEW_UNITS, FixedTest, ProportionTest, proportion_test, welch_test, z_test
from splitgauge.statistics.multiplicity import benjamini_hochberg, bonferroni, e_bh, holm
from splitgauge.statistics.noninferiority import Guardrail, RareRateGuardrail, guardrail_sequence, rare_rate_guardrail
from splitgauge.statistics.novelty import (
    NOVELTY_COLUMNS,
    NOVELTY_PRODUCTS,
    Novelty,
    NoveltyMoments,
    novelty_moments,
    novelty_test,
)
from splitgauge.statistics.planning import Remaining, conditional_power, remaining_units, required_units
from splitgauge.statistics.posterior import Posterior, normal_posterior
from splitgauge.statistics.rate_ratio import RateRatio, rate_ratio_sequence
from splitgauge.statistics.strata import Arm, Arms, arm, combine_epochs, guarded

__all__ = [
    "FEW_UNITS",
    "NOVELTY_COLUMNS",
    "NOVELTY_PRODUCTS",
    "Arm",
    "Arms",
    "Cells",
    "Effect",
    "FirstFailures",
    "FixedTest",
    "Guardrail",
    "Moments",
    "Novelty",
    "NoveltyMoments",
    "OneSidedSequence",
    "Posterior",
    "ProportionTest",
    "RareRateGuardrail",
    "RateBounds",
    "RateRatio",
    "Remaining",
    "SampleRatio",
    "TwoSidedSequence",
    "absolute_effect",
    "arm",
    "benjamini_hochberg",
    "bonferroni",
    "cells",
    "combine_epochs",
    "conditional_power",
    "e_bh",
    "effect",
    "exact_moments",
    "first_failures",
    "guarded",
    "guardrail_sequence",
    "holm",
    "log_bayes_factor",
    "means",
    "mixture_variance",
    "normal_posterior",
    "novelty_moments",
    "novelty_test",
    "one_sided_sequence",
    "proportion_test",
    "proportions",
    "rare_rate_guardrail",
    "rate_ratio_sequence",
    "rate_sequence",
    "rate_tuning",
    "ratios",
    "relative_effect",
    "remaining_units",
    "required_units",
    "sample_ratio",
    "two_sided_sequence",
    "welch_test",
    "z_test",
]
